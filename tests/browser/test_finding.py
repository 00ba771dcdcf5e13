"""What the panel says beside the finding, in Chromium: measured while idle, judged by key, saved in reports."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.browser.visit import choose, drop, fits, open_page, press, save
from tests.dicoms import phantom_dicom

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_reader_judges_a_dicom_file_and_saves_its_reports(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    drop(page, ("film.dcm", phantom_dicom(1, pneumonia=True)))
    finding = page.locator(".pl-finding")
    finding.wait_for()
    facts = page.locator(".pl-fact")
    stable = facts.filter(has_text=re.compile(r"(Stable: |Unstable: ).*small perturbation|when"))
    stable.wait_for()
    assert re.search(r"\d\.\d\d|above 0\.99|below 0\.01", stable.inner_text())
    assert "outside the thorax" in facts.filter(has_text="Evidence").inner_text().lower()
    page.get_by_text("35 %", exact=True).wait_for()

    press(page, "d")
    finding.get_by_text("Your verdict: disagree").wait_for()
    page.get_by_placeholder("Remarks for the report").fill("Seen and n agreed: u, y.")
    page.get_by_placeholder("Remarks for the report").blur()
    page.get_by_role("button", name="Undo last change").wait_for()
    press(page, "u")
    finding.get_by_text("Your verdict: unsure").wait_for()
    page.get_by_role("button", name="Undo last change").click()
    finding.get_by_text("Your verdict: disagree").wait_for()

    before = finding.inner_text()
    page.get_by_role("button", name="Undo last change").wait_for(state="detached")
    choose(page, page.get_by_role("combobox"), "Screening", finding.get_by_text("(screening)"))
    assert before.split("Probability")[1].split()[:2] == finding.inner_text().split("Probability")[1].split()[:2]

    page.get_by_role("slider", name="Prevalence of pneumonia among your patients").press("ArrowRight")
    page.get_by_text("36 %", exact=True).wait_for()
    name, content = save(page, "JSON")
    report = json.loads(content)
    assert report["purpose"] == "screening" and report["stability"]["changes"]
    assert report["reading"] == {"verdict": "disagree", "remarks": "Seen and n agreed: u, y."}
    assert report["validation"]["at_this_operating_point"]["prevalence"] == 0.36
    assert report["influence_map"]["regions"] and re.fullmatch(r"pneumolens-\w{8}\.json", name)

    for label, ending in (("DICOM SR", "-sr.dcm"), ("DICOM SC", "-sc.dcm")):
        name, content = save(page, label)
        assert name.endswith(ending) and content[128:132] == b"DICM"
    fits(page)
    page.close()

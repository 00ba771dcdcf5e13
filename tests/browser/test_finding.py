"""What else the reader is told, in Chromium: measured while nothing is pressed, judged by key, taken away by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.test_app import a_film, browser, drop, open_page, press, running_app, save, sideways
from tests.dicoms import phantom_dicom
from tests.ungated import add_ungated

pytestmark = [pytest.mark.browser, pytest.mark.slow]
__all__ = ["browser"]


@pytest.fixture(scope="module")
def app(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("data")
    with running_app(folder, PNEUMOLENS_PREVALENCE="35", **add_ungated(folder)) as started:
        yield started


def test_a_reader_is_told_judges_and_takes_the_report_away(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    drop(page, ("film.png", a_film(1)))
    finding = page.locator(".pl-finding")
    finding.wait_for()
    told = page.locator(".pl-fact")
    stable = told.filter(has_text=re.compile(r"(Stable: |Unstable: ).*small perturbation|when"))
    stable.wait_for()
    assert re.search(r"\d\.\d\d|above 0\.99|below 0\.01", stable.inner_text())
    assert "outside the thorax" in told.filter(has_text="Evidence").inner_text().lower()
    page.get_by_text("35 %", exact=True).wait_for()

    press(page, "d")
    finding.get_by_text("Your verdict: disagree").wait_for()
    page.get_by_placeholder("Remarks, for the report").fill("Seen and n agreed: u, y.")
    page.get_by_placeholder("Remarks, for the report").blur()
    page.get_by_role("button", name="Undo last change").wait_for()
    press(page, "u")
    finding.get_by_text("Your verdict: unsure").wait_for()
    page.get_by_role("button", name="Undo last change").click()
    finding.get_by_text("Your verdict: disagree").wait_for()

    before = finding.inner_text()
    page.get_by_role("button", name="Undo last change").wait_for(state="detached")
    press(page, "Shift")
    page.get_by_role("combobox").fill("Screen")
    page.get_by_role("option", name=re.compile("^Screening")).wait_for()
    page.keyboard.press("Enter")
    finding.get_by_text("(screening)").wait_for()
    assert before.split("Probability")[1].split()[:2] == finding.inner_text().split("Probability")[1].split()[:2]

    page.get_by_role("slider", name="Prevalence of pneumonia among your patients").press("ArrowRight")
    page.get_by_text("36 %", exact=True).wait_for()
    name, content = save(page, "JSON")
    report = json.loads(content)
    assert report["purpose"] == "screening" and report["stability"]["changes"]
    assert report["reading"] == {"verdict": "disagree", "remarks": "Seen and n agreed: u, y."}
    assert report["validation"]["at_this_operating_point"]["prevalence"] == 0.36
    assert report["influence_map"]["regions"] and re.fullmatch(r"pneumolens-\w{8}\.json", name)
    page.close()


@pytest.mark.parametrize("width", [1024, 1280])
def test_nothing_scrolls_sideways_and_dicom_objects_are_offered(browser: Any, app: tuple[str, int], width: int) -> None:
    page = open_page(browser, app[0], width=width)
    drop(page, ("film.dcm", phantom_dicom(1, pneumonia=True)))
    page.locator(".pl-finding").wait_for()
    for label, ending in (("DICOM SR", "-sr.dcm"), ("DICOM SC", "-sc.dcm")):
        name, content = save(page, label)
        assert name.endswith(ending) and content[128:132] == b"DICM"
    assert sideways(page) <= 0
    page.close()

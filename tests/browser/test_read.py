"""The Read page as a person uses it: one image, several, a queue, its exports; at two widths of the window."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tests.browser.visit import (
    FINDINGS,
    HEIGHT,
    WIDTHS,
    a_film,
    all_assessed,
    done,
    drop,
    fits,
    open_page,
    press,
    running_app,
    save,
    settle,
    sideways,
)
from tests.dicoms import phantom_dicom
from tests.imaging.test_archives import zipped
from tests.phantoms import as_jpeg, chest
from tests.ungated import VERSION

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENT = "Doe^Jane"
WELCOME = "Drop radiographs to assess them"
# Looked at once: between two looks, a picture that arrives moves everything below it.
FINDING_IS_PLACED = """isNarrow => {
    const tree = document.querySelector('.st-key-viewer [data-testid=stBidiComponentIsolated]')?.shadowRoot;
    const [panel, film] = [document.querySelector('.st-key-finding'), tree?.querySelector('.stage')].map(
        one => one?.getBoundingClientRect());
    if (!panel || !film || film.height < 100) return false;
    return isNarrow ? panel.top > film.bottom : panel.left > film.right && panel.top < film.bottom;
}"""
# The most places to drop files that were on the screen at once.
COUNT_UPLOADERS = """() => new MutationObserver(() => window.most = Math.max(
    window.most ?? 0, [...document.querySelectorAll('.stFileUploader')].filter(one => one.offsetParent).length)
).observe(document.body, {childList: true, subtree: true})"""


def shows(page: Any, name: str | re.Pattern[str]) -> None:
    """Wait until the image of that name is on the screen."""
    page.locator(".pl-name", has_text=name).wait_for()
    done(page)


def rows(page: Any) -> list[dict[str, str]]:
    names = ("number", "file", "finding", "probability", "warnings")
    found = page.locator("table[aria-label='Images of this visit'] tbody").evaluate(
        "body => [...body.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return [dict(zip(names, row, strict=True)) for row in found]


def value(probability: str) -> float:
    return {"–": -1.0, "< 0.01": 0.0, "> 0.99": 1.0}.get(probability) or float(probability.strip("<>– ") or -1)


def test_a_visit_at_two_widths(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    page.get_by_text(WELCOME).wait_for()
    fits(page)
    page.evaluate(COUNT_UPLOADERS)
    drop(page, ("one.png", a_film(1)))
    finding = page.locator(".pl-finding")
    finding.wait_for()
    assert page.evaluate("() => window.most") == 1, "no second place to drop files while the first one is assessed"
    assert re.search(FINDINGS, finding.inner_text())
    assert re.search(r"Probability\s+([<>] )?0\.\d\d", finding.inner_text())
    page.get_by_text("Evidence map, not a lesion outline").wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.wait_for_function(FINDING_IS_PLACED, arg=width < 1100)
        stage = page.locator(".stage").bounding_box()
        assert stage["width"] > 600 and stage["height"] > 300 and sideways(page) == 0
    for button, ending in (("PDF", ".pdf"), ("JSON", ".json")):
        name, content = save(page, button)
        assert re.fullmatch(rf"pneumolens-[0-9a-f]{{8}}\{ending}", name)
        assert content.startswith(b"%PDF" if ending == ".pdf" else b"{")

    # Several, one of them not an image: by key, by click, by arrow.
    drop(page, ("notes.png", b"no picture"), ("three.png", a_film(3)))
    all_assessed(page, 3)
    shows(page, "2 of 3 notes.png")
    press(page, "p")
    shows(page, "1 of 3 one.png")
    press(page, "n")
    shows(page, "notes.png")
    page.locator(".pl-warning", has_text=re.compile("Not assessed")).wait_for()
    assert page.locator(".pl-finding").count() == 0
    press(page, "n")
    shows(page, "three.png")
    press(page, "p")
    shows(page, "notes.png")
    for name in ("three.png", "one.png"):
        page.get_by_role("row", name=name).click()
        shows(page, name)
    press(page, "ArrowDown")
    shows(page, "notes.png")
    page.locator("tr[aria-selected=true]", has_text="notes.png").wait_for()
    # The viewer's own controls must not swallow the key for the next image.
    press(page, "ArrowUp")
    shows(page, "one.png")
    page.get_by_role("button", name="100 %").click()
    press(page, "n")
    shows(page, "notes.png")
    fits(page)

    page.get_by_role("link", name="Performance").click()
    page.locator(".pl-tiles").wait_for()
    page.locator(".js-plotly-plot").nth(5).wait_for()
    fits(page)
    page.get_by_role("link", name="Read").click()
    all_assessed(page, 3)
    page.get_by_role("button", name="Start over").click()
    page.get_by_text(WELCOME).wait_for()
    page.close()


def small_film(seed: int) -> bytes:
    """A file of its own for every seed, of fifty children: drawing one takes longer than assessing it does."""
    return as_jpeg(chest(seed % 50, (300, 360), pneumonia=bool(seed % 2)), 90 - seed // 50)


def check_queue(browser: Any, app: tuple[str, int], data_dir: Path, loose: int, archived: int) -> None:
    """Take so many loose files, an archive with so many more, a bad one and a DICOM file through the page."""
    count = loose + archived + 3
    page = open_page(browser, app[0])
    ward = zipped(
        *[(f"ward/{PATIENT}/IM{seed}", small_film(loose + seed)) for seed in range(archived)],
        ("ward/notes.txt", b"x"),
        ("ward/again.zip", zipped(("a.jpg", b""))),
    )
    drop(
        page,
        *[(f"{PATIENT} {seed}.jpg", small_film(seed)) for seed in range(loose)],
        ("ward.zip", ward),
        ("=bad.jpg", b"no picture"),
        ("IM1", phantom_dicom(60, size=(300, 360), ViewPosition="AP", PatientAge="004Y")),
    )
    shows(page, f"{PATIENT} 0.jpg")
    all_assessed(page, count)
    arrived = rows(page)
    assert [one["number"] for one in arrived] == [str(number) for number in range(1, count + 1)]
    assert [one["file"] for one in arrived] == [
        *[f"{PATIENT} {seed}.jpg" for seed in range(loose)],
        *[f"ward/{PATIENT}/IM{seed}" for seed in range(archived)],
        "ward/again.zip",
        "=bad.jpg",
        "IM1",
    ]
    refused = [one["file"] for one in arrived if one["finding"] == "Not assessed"]
    assert refused == ["ward/again.zip", "=bad.jpg"] and "archive inside an archive" in arrived[-3]["warnings"]
    assert page.get_by_text("1 file in the archive skipped").count() == 1
    fits(page)

    page.get_by_role("button", name="Probability").click()
    page.locator("th[aria-sort=descending]").wait_for()
    listed = rows(page)
    probabilities = [value(one["probability"]) for one in listed]
    assert probabilities == sorted(probabilities, reverse=True) and [one["file"] for one in listed[-2:]] == refused
    page.get_by_role("row", name=re.compile(rf"^{listed[0]['number']} ")).click()
    shows(page, f"1 of {count}")
    press(page, "n")
    shows(page, f"2 of {count}")
    assert listed[1]["file"] in page.locator(".pl-name").inner_text(), "the key follows the order on the screen"

    name, content = save(page, "CSV of all")
    assert name == f"pneumolens-{count}-films.csv" and content.startswith(b"\xef\xbb\xbf")
    written = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["number"] for row in written] == [one["number"] for one in listed]
    assert PATIENT not in content.decode() and "file" not in written[0] and "=bad" not in content.decode()
    for row, one in zip(written, listed, strict=True):
        assert (row["status"] == "refused") == (one["finding"] == "Not assessed") == (row["probability"] == "")
        assert (row["finding"] == "PNEUMONIA") == (one["finding"] == "Pneumonia likely") or row["near_operating_point"]
        assert row["classifier_version"] == VERSION and re.fullmatch("[0-9a-f]{64}|", row["sha256"])
    assert len({row["sha256"] for row in written}) == count

    page.get_by_text("File names in the CSV").click()
    page.get_by_text("which can name patients").wait_for()
    _, content = save(page, "CSV of all")
    written = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["file"] for row in written if "bad" in row["file"]] == ["'=bad.jpg"], "no formula for a spreadsheet"
    assert {row["file"] for row in written} >= {f"{PATIENT} 0.jpg", f"ward/{PATIENT}/IM{archived - 1}", "IM1"}

    name, content = save(page, "JSON of all")
    films = json.loads(content)["films"]
    assert name == f"pneumolens-{count}-films.json" and len(films) == count and PATIENT not in content.decode()
    report = next(one for one in films if one["number"] == count)["report"]
    assert report["radiograph"]["header"]["view_position"] == "AP"

    page.get_by_role("button", name="PDF of all").click()
    page.get_by_role("button", name=re.compile("Save the PDF|Save PDF")).wait_for()
    name, content = save(page, re.compile("Save the PDF|Save PDF"))
    pdf = PdfReader(io.BytesIO(content))
    assert name == f"pneumolens-{count}-films.pdf" and len(pdf.pages) > count and len(content) < 30_000_000
    assert PATIENT not in "".join(one.extract_text() for one in pdf.pages[:3])
    page.close()
    log = (data_dir / "app.log").read_text(errors="replace")
    assert PATIENT not in log and "bad.jpg" not in log and "Traceback" not in log and "ScriptRunContext" not in log


def test_a_queue_with_an_archive_and_a_bad_file(browser: Any, app: tuple[str, int], data_dir: Path) -> None:
    check_queue(browser, app, data_dir, loose=2, archived=2)


@pytest.mark.nightly
def test_fifty_files_an_archive_and_a_bad_one(browser: Any, app: tuple[str, int], data_dir: Path) -> None:
    check_queue(browser, app, data_dir, loose=50, archived=4)


@pytest.mark.nightly
def test_reading_is_stopped_by_its_button(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    drop(page, *[(f"{seed}.jpg", small_film(seed)) for seed in range(100, 300)])
    page.locator(".pl-finding").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("not assessed: stopped").wait_for()
    page.locator(".st-key-reading").wait_for(state="detached")
    read = page.get_by_text(re.compile(r"^\d+ images?: ")).inner_text()
    left = page.get_by_text("not assessed: stopped").inner_text()
    assert int(read.split()[0]) + int(left.split()[0]) == 200
    page.close()


def test_the_image_on_the_screen_does_not_fade_while_others_are_assessed(browser: Any, tmp_path: Path) -> None:
    """A page is held in the middle of its run: what it has not drawn yet stays stale while it is examined."""
    hold = tmp_path / "hold"
    with running_app(tmp_path, "tests/browser/stale_page.py", STALE_PAGE_HOLD=str(hold)) as (address, _):
        page = browser.new_page()
        page.goto(address)
        page.get_by_text("Run 1", exact=True).wait_for()
        settle(page)
        hold.touch()
        page.get_by_role("button", name="Run").click()
        for key, fades in (("read_grid", False), ("elsewhere", True)):
            stale = page.locator(f".st-key-{key} [data-stale=true]").first
            stale.wait_for()
            # Streamlit fades what is stale; the transition ends at its lowest opacity.
            stale.evaluate("one => Promise.all(one.getAnimations().map(animation => animation.finished))")
            opacity, transition = stale.evaluate(
                "one => [Number(getComputedStyle(one).opacity), getComputedStyle(one).transition]"
            )
            assert (opacity < 1) == fades, (key, opacity)
            assert fades or (transition.split(" ")[0] in ("none", "all") and "1s" not in transition)
        hold.unlink()
        page.get_by_text("Run 2", exact=True).wait_for()
        page.close()

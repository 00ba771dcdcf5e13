"""Many films at once, as a person meets them: dropped in Chromium, sorted, taken away, and the files looked into."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tests.browser.test_app import browser as browser
from tests.browser.test_app import open_page, press, running_app, save, sideways
from tests.dicoms import phantom_dicom
from tests.imaging.test_archives import zipped
from tests.phantoms import as_jpeg, chest
from tests.ungated import VERSION, add_ungated

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENT = "Doe^Jane"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("data")
    with running_app(folder, **add_ungated(folder)) as (address, _):
        yield address, folder


def a_film(seed: int) -> bytes:
    """A file of its own for every seed, of fifty children: drawing one takes longer than reading it does."""
    return as_jpeg(chest(seed % 50, (300, 360), pneumonia=bool(seed % 2)), 90 - seed // 50)


def drop(page: Any, *films: tuple[str, bytes]) -> None:
    page.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in films]
    )


def lines(page: Any) -> list[dict[str, str]]:
    names = ("number", "file", "finding", "probability", "warnings")
    rows = page.locator("table[aria-label='Images of this visit'] tbody").evaluate(
        "body => [...body.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def value(probability: str) -> float:
    return {"–": -1.0, "< 0.01": 0.0, "> 0.99": 1.0}.get(probability) or float(probability.strip("<>– ") or -1)


def test_fifty_files_an_archive_and_a_bad_one(browser: Any, app: tuple[str, Path]) -> None:
    address, folder = app
    page = open_page(browser, address)
    ward = zipped(
        *[(f"ward/{PATIENT}/IM{seed}", a_film(seed)) for seed in range(50, 54)],
        ("ward/notes.txt", b"x"),
        ("ward/again.zip", zipped(("a.jpg", b""))),
    )
    drop(
        page,
        *[(f"{PATIENT} {seed}.jpg", a_film(seed)) for seed in range(50)],
        ("ward.zip", ward),
        ("=bad.jpg", b"no picture"),
        ("IM1", phantom_dicom(60, size=(300, 360), ViewPosition="AP", PatientAge="004Y")),
    )
    page.get_by_text("Assessing image").first.wait_for()
    page.locator(".pl-name", has_text=f"{PATIENT} 0.jpg").wait_for()
    assert page.get_by_role("button", name="Stop", exact=True).count() == 1
    page.get_by_text(re.compile("^57 images: ")).wait_for()
    page.locator(".st-key-reading").wait_for(state="detached")
    arrived = lines(page)
    assert [one["number"] for one in arrived] == [str(number) for number in range(1, 58)]
    assert [one["file"] for one in arrived[49:]] == [
        f"{PATIENT} 49.jpg",
        *[f"ward/{PATIENT}/IM{seed}" for seed in range(50, 54)],
        "ward/again.zip",
        "=bad.jpg",
        "IM1",
    ]
    refused = [one["file"] for one in arrived if one["finding"] == "Not assessed"]
    assert refused == ["ward/again.zip", "=bad.jpg"] and "archive inside an archive" in arrived[54]["warnings"]
    assert page.get_by_text("1 file in the archive skipped").count() == 1
    assert sideways(page) == 0

    page.get_by_role("button", name="Probability").click()
    page.locator("th[aria-sort=descending]").wait_for()
    listed = lines(page)
    probabilities = [value(one["probability"]) for one in listed]
    assert probabilities == sorted(probabilities, reverse=True) and [one["file"] for one in listed[-2:]] == refused
    page.get_by_role("row", name=re.compile(rf"^{listed[0]['number']} ")).click()
    page.locator(".pl-name", has_text="1 of 57").wait_for()
    press(page, "n")
    page.locator(".pl-name", has_text="2 of 57").wait_for()
    assert listed[1]["file"] in page.locator(".pl-name").inner_text(), "the key walks the shown order"

    name, content = save(page, "CSV of all")
    assert name == "pneumolens-57-films.csv" and content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["number"] for row in rows] == [one["number"] for one in listed]
    assert PATIENT not in content.decode() and "file" not in rows[0] and "=bad" not in content.decode()
    for row, one in zip(rows, listed, strict=True):
        assert (row["status"] == "refused") == (one["finding"] == "Not assessed") == (row["probability"] == "")
        assert (row["finding"] == "PNEUMONIA") == (one["finding"] == "Pneumonia likely") or row["near_operating_point"]
        assert row["classifier_version"] == VERSION and re.fullmatch("[0-9a-f]{64}|", row["sha256"])
    assert len({row["sha256"] for row in rows}) == 57

    page.get_by_text("File names in the CSV").click()
    page.get_by_text("which can name patients").wait_for()
    _, content = save(page, "CSV of all")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["file"] for row in rows if "bad" in row["file"]] == ["'=bad.jpg"], "no formula for a spreadsheet"
    assert {row["file"] for row in rows} >= {f"{PATIENT} 0.jpg", f"ward/{PATIENT}/IM52", "IM1"}

    name, content = save(page, "JSON of all")
    films = json.loads(content)["films"]
    assert name == "pneumolens-57-films.json" and len(films) == 57 and PATIENT not in content.decode()
    assert next(one for one in films if one["number"] == 57)["report"]["radiograph"]["header"]["view_position"] == "AP"

    page.get_by_role("button", name="PDF of all").click()
    page.get_by_text(re.compile(r"^Printing page \d+ of 57")).first.wait_for()
    page.get_by_role("button", name="Save the PDF").wait_for()
    name, content = save(page, re.compile("Save the PDF"))
    pdf = PdfReader(io.BytesIO(content))
    assert name == "pneumolens-57-films.pdf" and len(pdf.pages) == 59 and len(content) < 30_000_000
    assert PATIENT not in "".join(one.extract_text() for one in pdf.pages[:3])
    page.close()
    log = (folder / "app.log").read_text(errors="replace")
    assert PATIENT not in log and "bad.jpg" not in log and "Traceback" not in log and "ScriptRunContext" not in log


def test_reading_is_stopped_by_its_button(browser: Any, app: tuple[str, Path]) -> None:
    page = open_page(browser, app[0])
    drop(page, *[(f"{seed}.jpg", a_film(seed)) for seed in range(100, 150)])
    page.locator(".pl-finding").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("not assessed: stopped").wait_for()
    page.locator(".st-key-reading").wait_for(state="detached")
    read = page.get_by_text(re.compile(r"^\d+ images: ")).inner_text()
    left = page.get_by_text("not assessed: stopped").inner_text()
    assert int(read.split()[0]) + int(left.split()[0]) == 50
    page.get_by_role("button", name="Start over").click()
    page.get_by_text("Drop radiographs to assess them").wait_for()
    page.close()


def test_arrows_in_the_table_step_through_the_films(browser: Any, app: tuple[str, Path]) -> None:
    page = open_page(browser, app[0], 1024)
    drop(page, *[(f"{seed}.jpg", a_film(seed)) for seed in range(200, 204)])
    page.get_by_text(re.compile("^4 images: ")).wait_for()
    page.locator(".st-key-reading").wait_for(state="detached")
    page.get_by_role("row", name="201.jpg").click()
    page.locator(".pl-name", has_text="201.jpg").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator(".pl-name", has_text="202.jpg").wait_for()
    page.locator("tr[aria-selected=true]", has_text="202.jpg").wait_for()
    assert sideways(page) == 0
    page.close()


# What of the page waits to be drawn anew, and how much of it can be seen, every other frame.
# It watches by itself, from the first finding on and not to the end: with the last film the page is drawn anew as after
# any press. Asked from outside, a busy browser would answer when all is over.
WATCH_FADING = """() => {
    const seen = {stale: 0, least: 1, transitions: []};
    window.watching = setInterval(() => {
        const reading = document.querySelector('.st-key-reading')?.innerText ?? '';
        const place = Number(/Reading film (\\d+) of 12/.exec(reading)?.[1] ?? 12);
        if (!document.querySelector('.pl-finding')) return;
        if (place > 8) {
            clearInterval(window.watching);
            window.seen = seen;
            return;
        }
        for (const one of document.querySelectorAll('.st-key-read_grid [data-stale=true]')) {
            const style = getComputedStyle(one);
            seen.stale += 1;
            seen.least = Math.min(seen.least, Number(style.opacity));
            if (!seen.transitions.includes(style.transition)) seen.transitions.push(style.transition);
        }
    }, 33);
}"""


def test_the_film_in_hand_does_not_fade_while_a_queue_is_read(browser: Any, app: tuple[str, Path]) -> None:
    page = open_page(browser, app[0])
    page.evaluate(WATCH_FADING)
    drop(page, *[(f"{seed}.jpg", a_film(seed)) for seed in range(300, 312)])
    seen = page.wait_for_function("() => window.seen").json_value()
    assert seen["stale"] > 0 and seen["least"] == 1, seen
    assert all(one.split(" ")[0] in ("none", "all") and "1s" not in one for one in seen["transitions"]), seen
    page.close()

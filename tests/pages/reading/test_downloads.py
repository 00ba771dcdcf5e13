"""What is taken away shows the film as the screen does. Made as Streamlit makes it: in a thread that has no session."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from pydicom import dcmread
from pypdf import PdfReader
from streamlit.testing.v1 import AppTest

from imaging.radiograph import decode_radiograph, rendered, to_uint8
from model.promotions import promote
from model.registry import add_version
from pages.reading.viewer import ViewerState
from pages.shared import installation
from tests.assessments import printed
from tests.dicoms import phantom_dicom
from tests.pages.performance.test_performance import a_card, install
from tests.pages.reading.test_read import StandIn, a_film, drop, open_read
from tests.pages.reading.test_read import network_of_module as network_of_module
from tests.pages.reading.test_read import stand_in as stand_in

TWO_WINDOWS: dict[str, Any] = {
    "WindowCenter": [2048, 900],
    "WindowWidth": [4096, 600],
    "WindowCenterWidthExplanation": ["Doe^Jane", "LUNG"],
}


pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each download of the last run holds, by its label."""
    found: dict[str, Any] = {}
    draw = st.download_button

    def download_button(label: str, data: Any, *others: Any, **how: Any) -> bool:
        found[label] = data
        return bool(draw(label, data, *others, **how))

    monkeypatch.setattr("streamlit.download_button", download_button)
    return found


def made(content: bytes | str | Callable[[], bytes | str]) -> bytes:
    if callable(content):
        with ThreadPoolExecutor(1) as thread:
            content = thread.submit(content).result()
    return content.encode() if isinstance(content, str) else content


def choosing(monkeypatch: pytest.MonkeyPatch, state: ViewerState) -> None:
    """Let the reader have chosen this in the viewer, which an AppTest has no browser for."""
    monkeypatch.setattr("pages.reading.viewer.show_viewer", lambda *_: state)


def test_report_and_picture_follow_what_the_viewer_shows(
    stand_in: StandIn, offered: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.evidence = -1.0
    choosing(monkeypatch, ViewerState("contour", 0.3, 1, True, "beside", (0.2, 0.9)))
    data = phantom_dicom(3, size=(1100, 1300), **TWO_WINDOWS)
    assert not drop(open_read(), ("film.dcm", data)).exception
    page = printed(made(offered["PDF"]))
    assert (
        "Evidence map against pneumonia (regions that lowered the probability), contours at 20 and 90 % of maximum."
        in page
    )
    assert "Displayed with window 2 of 3; assessed with window 1." in page and "Doe" not in page
    picture = dcmread(io.BytesIO(made(offered["DICOM SC"])))
    said = picture.DerivationDescription
    assert "against pneumonia" in said and "contours at 20 and 90 % of maximum" in said and "window 2 of 3" in said
    # But for the lines, the film at its own resolution.
    is_film = picture.pixel_array[:1100, :, 0] == to_uint8(rendered(decode_radiograph(data), 1))
    assert is_film.mean() > 0.97
    assert b'"layer": "mixed10"' in made(offered["JSON"]) and made(offered["DICOM SR"])


def test_a_file_that_was_let_go_is_reported_at_the_resolution_that_is_left(offered: dict[str, Any]) -> None:
    app = drop(open_read(), ("film.png", a_film()))
    source = app.session_state["read.films"].films[0].source
    source.data = source.decoded = None
    assert not app.run().exception
    assert "Evidence map, opacity 50 %" in printed(made(offered["PDF"]))


def test_a_pdf_of_all_draws_every_map_as_the_screen_did_when_it_was_asked_for(
    stand_in: StandIn, offered: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def texts() -> list[str]:
        content = next(data for label, data in offered.items() if label.startswith("Save the PDF"))
        return [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(made(content))).pages]

    def is_offered(app: AppTest) -> bool:
        return any(button.key == "read.print" for button in app.button)

    stand_in.evidence = -1.0
    choosing(monkeypatch, ViewerState("contour", 0.3, 1, True, "beside", (0.2, 0.9)))
    app = drop(open_read(), ("a.dcm", phantom_dicom(3, **TWO_WINDOWS)), ("b.dcm", phantom_dicom(4, **TWO_WINDOWS)))
    app = app.button(key="read.print").click().run()
    table, *films = texts()
    assert "The evidence maps show the regions that lowered the probability." in table
    assert len(films) == 2
    for film in films:
        assert "contours at 20 and 90 % of maximum" in film and "Displayed with window" not in film, (
            "each by its own first rendering"
        )
    assert not is_offered(app), "a PDF of what is shown is there"
    offered.clear()
    choosing(monkeypatch, ViewerState())
    app = app.run()
    assert "lowered" in texts()[0] and is_offered(app), "what was made stays, and another can be made"
    offered.clear()
    app = app.button(key="read.print").click().run()
    assert "The evidence maps show the regions that raised the probability." in texts()[0]


def test_the_csv_holds_file_names_exactly_when_they_were_asked_for(offered: dict[str, Any]) -> None:
    def columns() -> list[str]:
        return list(csv.DictReader(io.StringIO(made(offered["CSV of all"]).decode("utf-8-sig"))).fieldnames or [])

    app = drop(open_read(), ("Doe^Jane.png", a_film(1)), ("b.png", a_film(2)))
    without = offered["CSV of all"]
    assert "file" not in columns()
    app = app.checkbox(key="read.names").check().run()
    assert "file" in columns() and b"Doe^Jane.png" in made(offered["CSV of all"])
    assert b"Doe" not in made(without), "a download keeps what held when its button was drawn"
    app = app.checkbox(key="read.names").uncheck().run()
    assert not app.exception and "file" not in columns()


def test_a_film_that_another_version_assessed_meanwhile_is_listed_and_exported(
    tmp_path: Path, offered: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the page's start and its list, a promotion takes effect and a film is assessed again."""
    card, newer = a_card(), "2026.01.03-1"
    install(card, tmp_path, monkeypatch)
    monkeypatch.setattr("pages.shared.classifiers.load_classifier", StandIn(card).load)
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", a_film(2)))
    settings = installation.settings()

    def show_viewer(*_: object) -> ViewerState:
        queue = st.session_state["read.films"]
        if newer not in {one.kept.classifier_version for one in queue.films}:
            add_version(settings.versions_dir, a_card(newer), lambda path: path.write_bytes(b"weights"))
            promote(settings, newer, who="a test")
            old = queue.films[1]
            queue.replace_film(old, replace(old, kept=replace(old.kept, classifier_version=newer)))
        return ViewerState()

    monkeypatch.setattr("pages.reading.viewer.show_viewer", show_viewer)
    app = app.run()
    assert not app.exception
    versions = [
        row["classifier_version"]
        for row in csv.DictReader(io.StringIO(made(offered["CSV of all"]).decode("utf-8-sig")))
    ]
    assert sorted(versions) == ["2026.01.02-1", newer]
    reports = json.loads(made(offered["JSON of all"]))["films"]
    assert sorted(one["report"]["classifier"]["version"] for one in reports) == sorted(versions)

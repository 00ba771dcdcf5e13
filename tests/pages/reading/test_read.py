from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.runtime.scriptrunner.script_runner import _clean_problem_modules
from streamlit.testing.v1 import AppTest

from model.assessment import Assessment, InputIssue
from model.card import ModelCard
from model.engine import Classifier
from pages.reading.films import reassess
from pages.reading.queue import ARRIVAL, PROBABILITY
from pages.reading.table import OUTSIDE
from pages.shared import streamlit_patches
from tests import ROOT
from tests.dicoms import phantom_dicom
from tests.fake_classifier import usual_anatomy
from tests.imaging.test_archives import zipped
from tests.pages.performance.test_performance import PERFORMANCE, a_card, install, text
from tests.phantoms import as_jpeg, as_png, chest

FILM = (240, 288)


@dataclass
class StandIn:
    """Stands in for the network: answers with `logits` in turn, the last for ever, and counts the questions."""

    card: ModelCard
    logits: list[float] = field(default_factory=lambda: [2.0])
    evidence: float = 1.0
    asked: int = 0
    loaded: int = 0

    def explain(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert pictures.shape == (1, 299, 299) and pictures.dtype == np.uint8
        logit = self.logits[min(self.asked, len(self.logits) - 1)]
        self.asked += 1
        features = np.zeros((1, 8, 8, 2), np.float32)
        features[0, 2:4, 5:7] = self.evidence
        return np.array([logit], np.float32), features, np.ones((1, 2), np.float32)

    def reset(self) -> None:
        """Answer again as at first; `loaded` counts for the whole module."""
        self.logits, self.evidence, self.asked = [2.0], 1.0, 0
        vars(self).pop("explain", None)

    def load(self, _folder: Path, _architectures: tuple[str, ...] = ()) -> Classifier:
        self.loaded += 1
        return Classifier(
            self.card,
            "mixed10",
            lambda pictures: self.explain(pictures)[0],
            lambda pictures: self.explain(pictures),
            find_lungs=usual_anatomy,
        )


pytestmark = pytest.mark.usefixtures("stand_in")


@contextmanager
def installed(card: ModelCard, folder: Path) -> Iterator[StandIn]:
    """Install a version for all tests of a module, so that the page loads it once."""
    with pytest.MonkeyPatch.context() as patch:
        install(card, folder, patch)
        network = StandIn(card)
        patch.setattr("pages.shared.classifiers.load_classifier", network.load)
        yield network


@pytest.fixture(scope="module")
def network_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with installed(a_card(), tmp_path_factory.mktemp("installation")) as network:
        yield network


@pytest.fixture
def stand_in(network_of_module: StandIn) -> StandIn:
    network_of_module.reset()
    return network_of_module


def open_read() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()


def drop(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    return app.file_uploader[0].set_value([(name, data, "application/octet-stream") for name, data in files]).run()


@cache
def a_film(seed: int = 0) -> bytes:
    return as_png(chest(seed, FILM, pneumonia=True))


def component(app: AppTest, name: str) -> dict[str, Any] | None:
    found = [json.loads(one.proto.json) for one in app.get("bidi_component") if one.proto.component_name == name]
    return found[0] if found else None


def viewer(app: AppTest) -> dict[str, Any] | None:
    """What the viewer was given to draw, None where there is none."""
    return component(app, "pneumolens.viewer")


def table(app: AppTest) -> list[dict[str, Any]]:
    """The lines of the queue, none where it is not drawn."""
    return (component(app, "pneumolens.table") or {"lines": []})["lines"]


def column(app: AppTest, name: str) -> list[Any]:
    return [line[name] for line in table(app)]


def shown(app: AppTest) -> str:
    """Place and name of the film on the screen."""
    found = re.search(r'pl-name"><span>(.*?)</span>(.*?)</p>', text(app))
    return found.expand(r"\1\2").strip() if found else ""


def test_the_empty_page_says_what_to_do_and_what_happens_to_the_files(stand_in: StandIn) -> None:
    app = open_read()
    assert not app.exception
    said = text(app)
    for words in (
        "Decision support, not a diagnosis. Intended for frontal chest radiographs of children aged 1–5.",
        "Drop radiographs to assess them",
        "session’s memory",
        "never stored",
        "2026.01.02-1",
    ):
        assert words in said
    assert app.file_uploader[0].label.startswith("Frontal chest radiographs as DICOM, JPEG, PNG or TIFF")
    assert stand_in.loaded == 1 and stand_in.asked == 0


def test_one_film_gets_its_finding() -> None:
    app = drop(open_read(), ("film.png", a_film()))
    assert not app.exception
    said = text(app)
    for words in (
        "Pneumonia likely",
        "<strong>0.88</strong>",
        "operating point, 0.40",
        "n = 200",
        "Sensitivity",
        "Specificity",
        "PPV",
        "NPV",
        "Classifier 2026.01.02-1",
        "<span>1 of 1</span> film.png",
    ):
        assert words in said
    drawn = viewer(app)
    assert drawn is not None and drawn["image"]["caption"] == "Radiograph, 288 × 240 px" and drawn["evidence"]
    assert not table(app), "one film needs no queue"
    assert "positive" not in said.lower() and "negative" not in said.lower()


@pytest.mark.parametrize(
    ("logit", "words"),
    [
        (2.0, "<h2>Pneumonia likely</h2>"),
        (-2.0, "<h2>Pneumonia unlikely</h2>"),
        (-0.4, "<h2>Borderline (near the threshold)</h2>"),
        (30.0, "&gt; 0.99"),
        (-30.0, "&lt; 0.01"),
    ],
)
def test_findings_in_words(stand_in: StandIn, logit: float, words: str) -> None:
    stand_in.logits = [logit]
    assert words in text(drop(open_read(), ("film.png", a_film())))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The file is empty"),
        (b"some text", "not a picture"),
        (a_film()[:3000], "damaged or incomplete"),
        (as_png(np.zeros((1, 1), np.uint8)), "too small"),
    ],
)
def test_a_bad_file_gets_one_clear_sentence(stand_in: StandIn, data: bytes, words: str) -> None:
    app = drop(open_read(), ("bad.png", data))
    assert not app.exception and not app.error
    said = text(app)
    assert said.count("Not assessed</h2>") == 1 and words in said.split("Not assessed</h2>")[1]
    assert stand_in.asked == 0 and viewer(app) is None and not app.get("download_button")


def test_a_refused_picture_is_still_shown() -> None:
    app = drop(open_read(), ("grey.png", as_png(np.full((300, 300), 90, np.uint8))))
    drawn = viewer(app)
    assert "Not assessed</h2>" in text(app) and drawn is not None and drawn["evidence"] is None


def test_a_bad_file_stops_none_of_the_others(stand_in: StandIn) -> None:
    stand_in.logits = [2.0, -2.0]
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", b"no picture"), ("c.jpg", as_jpeg(chest(2, FILM))))
    assert not app.exception
    assert column(app, "file") == ["a.png", "b.png", "c.jpg"]
    assert column(app, "finding") == ["Pneumonia likely", "Not assessed", "Pneumonia unlikely"]
    assert column(app, "probability") == ["0.88", "–", "0.12"]
    assert "not a picture" in table(app)[1]["warnings"]
    assert "a.png" in text(app) and "<span>1 of 3</span>" in text(app)
    assert "3 images: 1 pneumonia likely, 1 pneumonia unlikely, 1 not assessed." in text(app)
    assert not app.get("progress")


def test_a_failure_inside_stops_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    app = open_read()
    with monkeypatch.context() as broken:
        broken.setattr("model.pipeline.decode_radiograph", fail)
        app = drop(app, ("secret name.png", a_film(1)))
    assert not app.exception
    assert "failed because of a software error" in text(app)
    assert "out of luck" in caplog.text and "secret name" not in caplog.text
    app = drop(app, ("b.png", a_film(2)))
    assert column(app, "finding") == ["Not assessed", "Pneumonia likely"]


def test_next_and_previous_walk_through_the_queue(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", a_film(2)))
    assert app.button(key="read.previous").disabled
    app = app.button(key="read.next").click().run()
    assert "<span>2 of 2</span> b.png" in text(app) and app.button(key="read.next").disabled
    app = app.button(key="read.previous").click().run()
    assert "<span>1 of 2</span> a.png" in text(app)
    assert stand_in.asked == 2


def test_controls_do_not_assess_again(stand_in: StandIn) -> None:
    app = drop(open_read(), ("film.png", a_film()))
    app = app.slider(key="prevalence").set_value(60).run()
    assert not app.exception
    assert stand_in.asked == 1 and stand_in.loaded == 1


def test_the_same_bytes_are_assessed_once(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)), ("copy.png", a_film(1)))
    app = drop(app, ("a.png", a_film(1)))
    assert column(app, "file") == ["a.png", "copy.png"]
    assert stand_in.asked == 1


def test_files_added_later_are_shown_and_the_others_stay() -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    app = drop(app, ("b.png", a_film(2)), ("c.png", a_film(3)))
    assert column(app, "file") == ["a.png", "b.png", "c.png"]
    assert "<span>2 of 3</span> b.png" in text(app)


def test_start_over_forgets_everything() -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    app = app.button(key="read.start_over").click().run()
    assert "Drop radiographs to assess them" in text(app) and "a.png" not in text(app)
    assert viewer(app) is None


def test_films_survive_a_look_at_the_other_page(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    app = app.slider(key="prevalence").set_value(60).run().switch_page(PERFORMANCE).run()
    assert not app.exception and app.slider(key="prevalence").value == 60
    app = app.switch_page("pages/reading/read.py").run()
    assert "a.png" in text(app) and "Pneumonia likely" in text(app)
    assert stand_in.asked == 1


def test_names_of_files_cannot_become_markup() -> None:
    said = text(drop(open_read(), ("<b>x</b>.png", a_film())))
    assert "&lt;b&gt;x&lt;/b&gt;.png" in said and "<b>x" not in said


def test_downloads_are_named_after_the_content() -> None:
    app = drop(open_read(), ("Doe^Jane.png", a_film()))
    buttons = [button.proto for button in app.get("download_button")]
    assert {"PDF", "JSON"} <= {button.label for button in buttons}
    assert all("Doe" not in str(button) for button in buttons)


def test_a_classifier_that_does_not_load_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(a_card(), tmp_path, monkeypatch)
    app = open_read()
    assert not app.exception
    assert "The weights are missing." in text(app) and "Decision support" in text(app)


def test_a_wrong_setting_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOLENS_COLOUR", "blue")
    app = open_read()
    assert not app.exception
    assert "Correct or remove the environment variable PNEUMOLENS_COLOUR." in text(app)


def test_an_archive_is_read_film_by_film(stand_in: StandIn) -> None:
    inner = zipped(("more.png", a_film(1)))
    app = drop(
        open_read(),
        (
            "ward.zip",
            zipped(
                ("a/1.png", a_film(1)),
                ("notes.txt", b"x"),
                ("a/2.dcm", b"no DICOM"),
                ("b/inner.zip", inner),
                ("b/3.png", a_film(2)),
            ),
        ),
    )
    assert not app.exception
    assert column(app, "file") == ["a/1.png", "a/2.dcm", "b/inner.zip", "b/3.png"]
    assert column(app, "finding") == ["Pneumonia likely", "Not assessed", "Not assessed", "Pneumonia likely"]
    assert "archive inside an archive" in table(app)[2]["warnings"]
    assert "1 file in the archive skipped" in text(app) and stand_in.asked == 2


def test_ordered_by_probability_and_the_keys_walk_that_order(stand_in: StandIn) -> None:
    stand_in.logits = [-2.0, 2.0, 0.5]
    app = drop(open_read(), *((f"{seed}.png", a_film(seed)) for seed in (1, 2, 3)), ("bad.png", b"no picture"))
    assert shown(app) == "1 of 4 1.png"
    app = app.segmented_control(key="read.order").set_value(PROBABILITY).run()
    assert column(app, "file") == ["2.png", "3.png", "1.png", "bad.png"]
    assert column(app, "number") == [2, 3, 1, 4]
    assert shown(app) == "3 of 4 1.png", "the film on the screen stays"
    app = app.button(key="read.previous").click().run()
    assert shown(app) == "2 of 4 3.png"
    app = app.button(key="read.next").click().run().button(key="read.next").click().run()
    assert shown(app) == "4 of 4 bad.png" and app.button(key="read.next").disabled
    app = app.segmented_control(key="read.order").set_value(ARRIVAL).run()
    assert column(app, "number") == [1, 2, 3, 4] and stand_in.asked == 3


def test_films_outside_the_population_are_never_called_likely_or_unlikely(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.pipeline import assess

    def outside(data: bytes, classifier: Classifier, *, turn: int = 0) -> Assessment:
        answer = assess(data, classifier, turn=turn)
        unlike = InputIssue("OUTSIDE_POPULATION", False, "Unlike.")
        return replace(answer, issues=(unlike,)) if stand_in.asked == 1 else answer

    monkeypatch.setattr("model.pipeline.assess", outside)
    app = drop(open_read(), ("adult.png", a_film(1)), ("child.png", a_film(2)))
    assert not app.exception
    assert column(app, "finding") == [OUTSIDE, "Pneumonia likely"]
    assert column(app, "probability") == ["–", "0.88"] and table(app)[0]["side"] == "none"
    assert "1 pneumonia likely, 1 outside the training population." in text(app)
    app = app.segmented_control(key="read.order").set_value(PROBABILITY).run()
    assert column(app, "file") == ["child.png", "adult.png"]


def test_reading_can_be_stopped(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from model.pipeline import assess

    def stopped(data: bytes, classifier: Classifier, *, turn: int = 0) -> Assessment:
        if stand_in.asked == 1:
            st.session_state["read.films"].stop()  # as its button does, which is there while films wait
        return assess(data, classifier, turn=turn)

    monkeypatch.setattr("model.pipeline.assess", stopped)
    app = drop(open_read(), *((f"{seed}.png", a_film(seed)) for seed in (1, 2, 3, 4)))
    assert not app.exception and "2 files not assessed: stopped" in text(app) and stand_in.asked == 2
    assert column(app, "file") == ["1.png", "2.png"] and not app.get("progress")


def test_header_facts_stand_beside_the_name_and_nothing_that_identifies() -> None:
    data = phantom_dicom(
        1,
        size=FILM,
        PatientName="Doe^Jane",
        PatientID="ID-4711",
        PatientAge="004Y",
        PatientSex="F",
        ViewPosition="AP",
        BodyPartExamined="CHEST",
    )
    app = drop(open_read(), ("IM000001", data))
    said = text(app) + json.dumps(viewer(app))
    assert not app.exception and "4 years, female, AP, Chest" in said
    assert "Doe" not in said and "4711" not in said


def test_a_film_is_read_again_as_the_reader_turns_it(stand_in: StandIn) -> None:
    app = drop(open_read(), ("film.png", a_film()))
    film = app.session_state["read.films"].films[0]
    reassess(film, 90)
    app = app.run()
    turned = app.session_state["read.films"].films[0]
    assert stand_in.asked == 2 and turned.turn == 90 and turned.kept.corrections == ("turned by 90°",)
    assert turned.size == (FILM[0], FILM[1]) and turned.number == film.number
    drawn = viewer(app)
    assert drawn is not None and drawn["image"]["caption"] == "Radiograph, 240 × 288 px"


def test_a_film_that_was_let_go_says_so(stand_in: StandIn) -> None:
    app = drop(open_read(), ("film.png", a_film()))
    source = app.session_state["read.films"].films[0].source
    source.data = source.decoded = None
    app = app.run()
    assert not app.exception and "add the file again to restore it" in text(app) and viewer(app) is not None
    app = drop(app, ("film.png", a_film()))
    assert "Original released" not in text(app) and source.data == a_film() and stand_in.asked == 1


def test_exports_of_all_name_no_file() -> None:
    app = drop(open_read(), ("Doe^Jane.png", a_film(1)), ("b.png", a_film(2)))
    buttons = [button.proto for button in app.get("download_button")]
    assert {"CSV of all", "JSON of all"} <= {button.label for button in buttons}
    assert all("Doe" not in str(button) for button in buttons)
    assert "Downloads identify an image by its number" in text(app)
    app = app.checkbox(key="read.names").check().run()
    assert "which can name patients" in text(app)


def test_a_pdf_of_all_is_printed_and_then_offered() -> None:
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", a_film(2)))
    app = app.button(key="read.print").click().run()
    assert not app.exception
    saved = [button.proto for button in app.get("download_button") if button.proto.label.startswith("Save the PDF")]
    assert len(saved) == 1 and app.session_state["read.printing"].content.startswith(b"%PDF")
    app = app.button(key="read.agree").click().run()
    assert app.button(key="read.print"), "a verdict that came since makes it stale"


def test_one_film_alone_needs_no_export_of_all() -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    assert not [button for button in app.get("download_button") if button.proto.label.endswith("of all")]


def test_uploads_stay_off_the_disk() -> None:
    from tempfile import SpooledTemporaryFile

    from starlette.formparsers import MultiPartParser

    streamlit_patches.keep_uploads_in_memory()
    with SpooledTemporaryFile(max_size=MultiPartParser.spool_max_size) as file:
        file.write(bytes(5_000_000))
        assert not file._rolled  # type: ignore[attr-defined]


def test_streamlit_cannot_cool_the_classifier_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit clears Keras after every run of a page, which costs each film half a second."""
    cleared: list[bool] = []
    keras = SimpleNamespace(backend=SimpleNamespace(clear_session=lambda: cleared.append(True)))
    monkeypatch.setitem(sys.modules, "keras", keras)
    streamlit_patches.keep_keras_session()
    _clean_problem_modules()
    assert not cleared


def test_importing_a_page_imports_no_tensorflow() -> None:
    code = (
        "import sys, importlib, model.pipeline; [importlib.import_module('pages.' + name) for name in "
        "('shared.charts', 'shared.classifiers', 'shared.administrator', 'reading.exports', 'reading.finding', "
        "'reading.queue', 'reading.viewer')]; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_streamlit_keeps_no_copy_of_a_film_that_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from streamlit.proto.Common_pb2 import FileURLs
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
    from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

    manager = MemoryUploadedFileManager("")
    records = [UploadedFileRec(f"file{i}", "film.png", "image/png", bytes([i])) for i in range(2)]
    for record in records:
        manager.add_file("visit", record)
    context = SimpleNamespace(uploaded_file_mgr=manager, session_id="visit")
    monkeypatch.setattr(streamlit_patches, "get_script_run_ctx", lambda: context)
    assert streamlit_patches.take_upload(UploadedFile(records[0], FileURLs())) == b"\x00"
    assert [record.file_id for record in manager.get_files("visit", ["file0", "file1"])] == ["file1"]
    streamlit_patches.release_memory()

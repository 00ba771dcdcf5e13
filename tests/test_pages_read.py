from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.runtime.scriptrunner.script_runner import _clean_problem_modules
from streamlit.testing.v1 import AppTest

from model.engine import Classifier
from model.pipeline import assess
from pages.shared import session
from pages.shared.films import DISPLAY_PX, INFLUENCE_PX, MOST_FILMS, Films, Waiting, keep
from pages.shared.viewer import CONTOUR
from tests.phantoms import as_jpeg, as_png, chest
from tests.test_pages_performance import PERFORMANCE, a_card, install, refuse_to_load, text

ROOT = Path(__file__).resolve().parent.parent
FILM = (240, 288)


@dataclass
class StandIn:
    """Stands in for the network: answers with `logits` in turn, the last for ever, and counts the questions."""

    logits: list[float] = field(default_factory=lambda: [2.0])
    influence: float = 1.0
    asked: int = 0
    loaded: int = 0

    def explain(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert pictures.shape == (1, 299, 299) and pictures.dtype == np.uint8
        logit = self.logits[min(self.asked, len(self.logits) - 1)]
        self.asked += 1
        features = np.zeros((1, 8, 8, 2), np.float32)
        features[0, 2:4, 5:7] = self.influence
        return np.array([logit], np.float32), features, np.ones((1, 2), np.float32)

    def load(self, folder: Path, architectures: tuple[str, ...] = ()) -> Classifier:
        self.loaded += 1
        return Classifier(a_card(folder.name), "mixed10", lambda pictures: self.explain(pictures)[0], self.explain)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    install(a_card(), tmp_path, monkeypatch)
    network = StandIn()
    monkeypatch.setattr("pages.shared.session.load_classifier", network.load)
    return network


def open_read() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()


def drop(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    return app.file_uploader[0].set_value([(name, data, "application/octet-stream") for name, data in files]).run()


def a_film(seed: int = 0) -> bytes:
    return as_png(chest(seed, FILM, pneumonia=True))


def pictures(app: AppTest) -> list[str]:
    return [image.url for element in app.get("image") for image in element.proto.imgs]


def test_the_empty_page_says_what_to_do_and_what_happens_to_the_files(stand_in: StandIn) -> None:
    app = open_read()
    assert not app.exception
    said = text(app)
    for words in ("Decision support, not a diagnosis. Intended for frontal chest radiographs of children aged 1–5.",
                  "Drop radiographs to read them", "session’s memory", "never stored", "2026.01.02-1"):
        assert words in said
    assert app.file_uploader[0].label.startswith("Frontal chest radiographs as JPEG or PNG, one or several")
    assert stand_in.loaded == 1 and stand_in.asked == 0


def test_one_film_gets_its_finding(stand_in: StandIn) -> None:
    app = drop(open_read(), ("film.png", a_film()))
    assert not app.exception
    said = text(app)
    for words in ("Pneumonia likely", "<strong>0.88</strong>", "operating point, 0.40", "n = 200", "Sensitivity",
                  "Specificity", "PPV", "NPV", "Classifier 2026.01.02-1", "not a lesion outline",
                  "<span>1 of 1</span> film.png", "Radiograph, 288 × 240 px"):
        assert words in said
    assert len(pictures(app)) == 2
    assert all(url.endswith(".png") for url in pictures(app)), "a film must not become a JPEG"
    assert not app.dataframe, "one film needs no queue"
    assert "positive" not in said.lower() and "negative" not in said.lower()


@pytest.mark.parametrize(("logit", "words"), [
    (2.0, "<h2>Pneumonia likely</h2>"), (-2.0, "<h2>Pneumonia unlikely</h2>"),
    (-0.4, "<h2>Near the operating point: read with care</h2>"), (30.0, "&gt; 0.99"), (-30.0, "&lt; 0.01")])
def test_findings_in_words(stand_in: StandIn, logit: float, words: str) -> None:
    stand_in.logits = [logit]
    assert words in text(drop(open_read(), ("film.png", a_film())))


def test_a_map_without_influence_says_so(stand_in: StandIn) -> None:
    stand_in.influence = 0.0
    app = drop(open_read(), ("film.png", a_film()))
    assert "The influence map is empty" in text(app)
    assert not [slider for slider in app.slider if slider.label == "Opacity"]


@pytest.mark.parametrize(("data", "words"), [
    (b"", "The file is empty"), (b"some text", "not a picture"), (a_film()[:3000], "damaged or incomplete"),
    (as_png(np.zeros((1, 1), np.uint8)), "too small"), (b"\0" * 128 + b"DICM" + b"\0" * 99, "DICOM")])
def test_a_bad_file_gets_one_clear_sentence(stand_in: StandIn, data: bytes, words: str) -> None:
    app = drop(open_read(), ("bad.png", data))
    assert not app.exception and not app.error
    said = text(app)
    assert said.count("Not assessed: ") == 1 and words in said.split("Not assessed: ")[1]
    assert stand_in.asked == 0 and not pictures(app) and not app.get("download_button")


def test_a_refused_picture_is_still_shown(stand_in: StandIn) -> None:
    app = drop(open_read(), ("grey.png", as_png(np.full((300, 300), 90, np.uint8))))
    assert "Not assessed: " in text(app) and len(pictures(app)) == 1


def test_a_bad_file_stops_none_of_the_others(stand_in: StandIn) -> None:
    stand_in.logits = [2.0, -2.0]
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", b"no picture"), ("c.jpg", as_jpeg(chest(2, FILM))))
    assert not app.exception
    queue = app.dataframe[0].value
    assert list(queue["File"]) == ["a.png", "b.png", "c.jpg"]
    assert list(queue["Finding"]) == ["Pneumonia likely", "Not assessed", "Pneumonia unlikely"]
    assert list(queue["Status"]) == ["Read", "Refused", "Read"]
    assert queue["Probability"].round(2).tolist()[::2] == [0.88, 0.12] and np.isnan(queue["Probability"][1])
    assert "not a picture" in queue["Remarks"][1]
    assert "a.png" in text(app) and "<span>1 of 3</span>" in text(app)
    assert "3 films: 1 pneumonia likely, 1 pneumonia unlikely, 1 not assessed." in text(app)
    assert not app.get("progress")


def test_a_failure_inside_stops_none_of_the_others(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("out of luck")

    app = open_read()
    with monkeypatch.context() as broken:
        broken.setattr("model.pipeline.network_input", fail)
        app = drop(app, ("secret name.png", a_film(1)))
    assert not app.exception
    assert "PneumoLens failed on this file" in text(app)
    assert "out of luck" in caplog.text and "secret name" not in caplog.text
    app = drop(app, ("b.png", a_film(2)))
    assert list(app.dataframe[0].value["Status"]) == ["Refused", "Read"]


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
    before = pictures(app)
    app = app.slider(key="read.opacity").set_value(90).run()
    stronger = pictures(app)
    assert stronger[0] == before[0] and stronger[1] != before[1]
    app = app.segmented_control(key="read.mode").set_value(CONTOUR).run()
    assert pictures(app)[0] == before[0] and pictures(app)[1] not in (before[1], stronger[1])
    app = app.slider(key="prevalence").set_value(60).run()
    assert not app.exception
    assert stand_in.asked == 1 and stand_in.loaded == 1


def test_the_same_bytes_are_assessed_once(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)), ("copy.png", a_film(1)))
    app = drop(app, ("a.png", a_film(1)))
    assert list(app.dataframe[0].value["File"]) == ["a.png", "copy.png"]
    assert stand_in.asked == 1


def test_files_added_later_are_shown_and_the_others_stay(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    app = drop(app, ("b.png", a_film(2)), ("c.png", a_film(3)))
    assert list(app.dataframe[0].value["File"]) == ["a.png", "b.png", "c.png"]
    assert "<span>2 of 3</span> b.png" in text(app)


def test_start_over_forgets_everything(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    app = app.button(key="read.start_over").click().run()
    assert "Drop radiographs to read them" in text(app) and "a.png" not in text(app)
    assert not pictures(app)


def test_films_survive_a_look_at_the_other_page(stand_in: StandIn) -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    app = app.slider(key="prevalence").set_value(60).run().switch_page(PERFORMANCE).run()
    assert not app.exception and app.slider(key="prevalence").value == 60
    app = app.switch_page("pages/clinician/read.py").run()
    assert "a.png" in text(app) and "Pneumonia likely" in text(app)
    assert stand_in.asked == 1


def test_names_of_files_cannot_become_markup(stand_in: StandIn) -> None:
    said = text(drop(open_read(), ("<b>x</b>.png", a_film())))
    assert "&lt;b&gt;x&lt;/b&gt;.png" in said and "<b>x" not in said


def test_downloads_are_named_after_the_content(stand_in: StandIn) -> None:
    app = drop(open_read(), ("Doe^Jane.png", a_film()))
    buttons = [button.proto for button in app.get("download_button")]
    assert [button.label for button in buttons] == ["Report as PDF", "Data as JSON"]
    assert all("Doe" not in str(button) for button in buttons)


def test_a_classifier_that_does_not_load_is_explained(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.shared.session.load_classifier", refuse_to_load)
    app = open_read()
    assert not app.exception
    assert "The weights are missing." in text(app) and "Decision support" in text(app)


def test_a_wrong_setting_is_explained(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOLENS_COLOUR", "blue")
    app = open_read()
    assert not app.exception
    assert "Correct or remove the environment variable PNEUMOLENS_COLOUR." in text(app)


def test_a_kept_film_is_small_and_its_report_whole() -> None:
    deep = chest(3, (1500, 2000)).astype(np.uint16) * 16
    data = as_png(deep)
    answer = assess(data, StandIn().load(Path("2026.01.02-1")))
    film = keep("large.png", data, answer)
    assert film.pixels is not None and film.influence is not None and answer.radiograph is not None
    assert film.pixels.shape == (750, DISPLAY_PX) and film.pixels.dtype == np.uint8
    assert max(film.influence.shape) == INFLUENCE_PX
    values = film.influence_values()
    assert values is not None and values.shape == film.pixels.shape
    assert values.min() >= 0 and values.max() == pytest.approx(1, abs=0.02)
    whole = film.assessment()
    assert whole.radiograph is not None and whole.heatmap is not None and answer.heatmap is not None
    assert whole.radiograph.pixels.shape == (1500, 2000) and whole.radiograph.bits == answer.radiograph.bits
    assert float(np.abs(whole.heatmap.values - answer.heatmap.values).max()) < 0.03
    assert whole.prediction == answer.prediction and whole.radiograph.sha256 == film.sha256


def test_small_films_are_kept_as_they_are() -> None:
    film = keep("small.png", a_film(), assess(a_film(), StandIn().load(Path("2026.01.02-1"))))
    assert np.array_equal(film.pixels, chest(0, FILM, pneumonia=True))


def test_the_queue_is_bounded() -> None:
    classifier = StandIn().load(Path("2026.01.02-1"))
    queue = Films()
    queue.drop([Waiting(f"{index}", b"x") for index in range(MOST_FILMS + 7)])
    assert len(queue.waiting) == MOST_FILMS and queue.turned_away == 7
    for index in range(MOST_FILMS + 5):
        data = b"not a picture %d" % index
        queue.add(keep(f"{index}", data, assess(data, classifier)))
    assert len(queue.films) == MOST_FILMS and queue.let_go == 5
    assert queue.films[0].name == "5" and queue.shown == 0
    queue.step(1000)
    assert queue.shown == MOST_FILMS - 1
    queue.step(-1000)
    assert queue.shown == 0


def test_streamlit_cannot_cool_the_classifier_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit clears Keras after every run of a page, which costs each film half a second."""
    cleared: list[bool] = []
    keras = SimpleNamespace(backend=SimpleNamespace(clear_session=lambda: cleared.append(True)))
    monkeypatch.setitem(sys.modules, "keras", keras)
    session.keep_warm()
    _clean_problem_modules()
    assert not cleared


def test_importing_a_page_imports_no_tensorflow() -> None:
    code = ("import sys, importlib; [importlib.import_module('pages.shared.' + name) for name in "
            "('charts', 'films', 'finding', 'measures', 'session', 'viewer')]; import model.pipeline; "
            "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_streamlit_keeps_no_copy_of_a_film_that_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from streamlit.proto.Common_pb2 import FileURLs
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
    from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

    from pages.shared import session

    manager = MemoryUploadedFileManager("")
    records = [UploadedFileRec(f"file{i}", "film.png", "image/png", bytes([i])) for i in range(2)]
    for record in records:
        manager.add_file("visit", record)
    context = SimpleNamespace(uploaded_file_mgr=manager, session_id="visit")
    monkeypatch.setattr(session, "get_script_run_ctx", lambda: context)
    assert session.take(UploadedFile(records[0], FileURLs())) == b"\x00"
    assert [record.file_id for record in manager.get_files("visit", ["file0", "file1"])] == ["file1"]
    session.give_memory_back()

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from model.registry import add_version
from pages.retraining import file_cache
from pages.shared import installation
from tests.comparisons import OLD, a_card
from tests.pages.performance.test_performance import text
from tests.phantoms import as_png, write_dataset
from training.data.audit import audit_folder, audit_from_json, audit_to_json
from training.data.dataset import scan_folder
from training.data.sources import dataset_at
from training.data.style_audit import StyleGroup
from training.fitting.config import TrainingConfig
from training.runs import audits, estimate, jobs, processes
from training.runs.estimate import Speed
from training.runs.request import read_request


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step stands behind the guard, which has tests of its own."""
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)


def page() -> None:
    import streamlit as st

    from pages.retraining import start
    from pages.shared import installation

    start.show(installation.settings(), "administrator", st.query_params.get("audit", ""))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_dataset(folder, 4)
    rng = np.random.default_rng(0)
    for patient in range(20, 31):  # with the two that are drawn 13 of each class, of whom two are held out
        for name in (f"NORMAL/IM-{patient:04d}-0001.png", f"PNEUMONIA/person{patient}_virus_1.png"):
            (folder / name).write_bytes(as_png(rng.integers(0, 256, (64, 64), np.uint8)))
    return folder


@pytest.fixture
def settings(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation with one version, one audited folder, a known speed, and no process that is really started."""
    shutil.copytree(drawn, tmp_path / "films")
    shipped = tmp_path / "shipped"
    add_version(shipped, a_card(OLD), lambda path: path.write_bytes(b"weights"))
    (shipped / "active.json").write_text(json.dumps({"version": OLD}))
    made = Settings(tmp_path / "var", data_roots=(tmp_path / "films",), shipped_weights=shipped)
    monkeypatch.setattr(installation, "settings", lambda: made)
    monkeypatch.setattr(processes, "launch", lambda folder, _: processes.record_process(folder, os.getpid()))
    # A process that is measured may be ended, and the one that seems to run here is this one.
    monkeypatch.setattr(estimate, "start_measuring", lambda *_: None)
    monkeypatch.setattr(estimate, "is_measuring", lambda *_: True)
    estimate.keep_speed(made, Speed("inception_v3", 299, 5.0, 12.0, os.cpu_count() or 1))
    return made


@pytest.fixture
def key(settings: Settings) -> str:
    dataset = dataset_at(settings, settings.data_roots[0])
    key = audits.start_audit(settings, dataset)
    audit = audit_folder(scan_folder(dataset.path))
    (settings.audits_dir / key / audits.RESULT).write_text(audit_to_json(audit))
    return key


def open_start(key: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.query_params["audit"] = key
    app.run()
    assert not app.exception
    return app


@pytest.mark.usefixtures("settings")
def test_quick_from_the_classifier_in_use_is_offered_first_with_an_estimate(key: str) -> None:
    app = open_start(key)
    assert app.radio(key="start.preset").value == "quick"
    assert app.radio(key="start.from").options == [f"Classifier in use, {OLD}", "ImageNet"]
    said = text(app)
    assert "15 pneumonia and 15 normal radiographs" in said and "About 1 minute" in said
    assert app.button(key="start.go").label == "Start training" and not app.button(key="start.go").disabled


@pytest.mark.usefixtures("settings")
def test_estimate_follows_the_choice(key: str) -> None:
    app = open_start(key)
    quick = text(app)
    app.radio(key="start.preset").set_value("thorough").run()
    assert text(app) != quick and "33 epochs" in text(app)


def test_press_puts_what_was_chosen_into_the_queue(settings: Settings, key: str) -> None:
    app = open_start(key)
    app.radio(key="start.preset").set_value("standard")
    app.selectbox(key="start.augmentation").set_value("framing")
    app.slider(key="start.validation").set_value(30)
    app.text_input(key="start.note").set_value("after the new detector")
    app.text_input(key="start.stated.ages").set_value(" 0–16 years ")
    app.run()
    app.button(key="start.go").click().run()
    assert not app.exception
    (job,) = jobs.list_jobs(settings)
    assert "".join(app.query_params["run"]) == job.id and "".join(app.query_params["step"]) == "train"
    assert (job.asked_by, job.preset, job.starting_point) == ("administrator", "standard", f"version {OLD}")
    config = TrainingConfig.from_json((job.folder / "config.json").read_text())
    assert (config.augmentation, config.validation_fraction) == ("framing", 0.3)
    assert "after the new detector" in (job.folder / "run.json").read_text()
    assert read_request(job.folder).stated == {"ages": "0–16 years"}


def test_a_network_that_sees_the_lungs_is_trained_with_a_recipe_for_them(settings: Settings, key: str) -> None:
    app = open_start(key)
    app.selectbox(key="start.architecture").set_value("inception_v3_lungs").run()
    assert app.selectbox(key="start.augmentation_lungs").value == "lungs" and not app.exception
    app.button(key="start.go").click().run()
    assert not app.exception
    (job,) = jobs.list_jobs(settings)
    config = TrainingConfig.from_json((job.folder / "config.json").read_text())
    assert (config.architecture, config.augmentation) == ("inception_v3_lungs", "lungs")


@pytest.mark.usefixtures("settings")
def test_second_training_waits_in_the_queue(key: str) -> None:
    app = open_start(key)
    app.button(key="start.go").click().run()
    again = open_start(key)
    assert again.button(key="start.go").label == "Add to queue"
    assert "1 training ahead" in text(again)


def test_small_network_starts_from_random_weights(settings: Settings, key: str) -> None:
    app = open_start(key)
    app.selectbox(key="start.architecture").set_value("cnn_77k").run()
    assert app.radio(key="start.from").options == ["Random weights"]
    assert "Measuring the speed of this machine" in text(app), "nothing is known of this network yet"
    app.button(key="start.go").click().run()
    (job,) = jobs.list_jobs(settings)
    assert json.loads((job.folder / "config.json").read_text())["architecture"] == "cnn_77k"
    assert job.starting_point == "random"


def test_folder_that_changed_or_is_blocked_leads_back_to_the_audit(settings: Settings, key: str) -> None:
    place = settings.audits_dir / key / audits.RESULT
    values = json.loads(place.read_text())
    place.write_text(json.dumps(values | {"issues": [{"code": "X", "blocking": True, "message": "No."}]}))
    app = open_start(key)
    assert "no valid audit" in text(app) and not app.radio
    app.button(key="start.back").click().run()
    assert "".join(app.query_params["step"]) == "audit"
    place.write_text(json.dumps(values))
    next((settings.data_roots[0] / "NORMAL").iterdir()).unlink()
    assert "no valid audit" in text(open_start(key))


def test_starting_weights_that_are_gone_are_said_in_words(
    settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = dataclasses.replace(settings, backbone_weights="no_such_file.h5")
    monkeypatch.setattr(installation, "settings", lambda: gone)
    app = open_start(key)
    app.radio(key="start.from").set_value("no_such_file.h5").run()
    app.button(key="start.go").click().run()
    assert "Name a file that exists" in text(app) and not jobs.list_jobs(settings)


def test_a_file_overwritten_in_place_stops_the_start(settings: Settings, key: str) -> None:
    """The page looks at folders alone until the button is pressed."""
    app = open_start(key)
    film = next((settings.data_roots[0] / "NORMAL").iterdir())
    film.write_bytes(film.read_bytes() + b"0")
    app.button(key="start.go").click().run()
    assert "The dataset has changed since its audit" in text(app) and not jobs.list_jobs(settings)


def test_published_facts_are_filled_in_and_stay_published(settings: Settings, key: str) -> None:
    """The drawn films have Kermany's names."""
    app = open_start(key)
    licence = app.text_input(key="start.stated.licence")
    assert "CC BY 4.0" in licence.value
    app.text_input(key="start.stated.source").set_value("Our own hospital").run()
    app.button(key="start.go").click().run()
    (job,) = jobs.list_jobs(settings)
    assert read_request(job.folder).stated == {"source": "Our own hospital"}


def test_what_headers_and_tables_say_is_shown_and_not_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"ages": {"value": "2–14 <years>", "from": "headers and tables"}, "licence": None}
    monkeypatch.setattr(file_cache, "description", lambda _: known)
    audit = audits.start_audit(settings, dataset_at(settings, settings.data_roots[0]))
    result = audit_to_json(audit_folder(scan_folder(settings.data_roots[0])))
    (settings.audits_dir / audit / audits.RESULT).write_text(result)
    app = open_start(audit)
    assert "<th>Ages</th><td>2–14 &lt;years&gt;</td>" in text(app)
    asked = [one.key for one in app.text_input]
    assert "start.stated.ages" not in asked and "start.stated.licence" in asked


def test_a_style_can_be_left_out(settings: Settings, key: str) -> None:
    path = settings.audits_dir / key / audits.RESULT
    counts = {"NORMAL": 0, "PNEUMONIA": 31}
    style = StyleGroup("3", "text", {"train": counts}, counts, (), 0.01, "PNEUMONIA")
    path.write_text(audit_to_json(dataclasses.replace(audit_from_json(path.read_text()), styles=(style,))))
    app = open_start(key)
    box = app.selectbox(key="start.leave_out")
    assert box.options == ["None", "Style 3: 0 NORMAL, 31 PNEUMONIA"]
    box.set_value("style=3").run()
    app.button(key="start.go").click().run()
    (job,) = jobs.list_jobs(settings)
    assert read_request(job.folder).leave_out == "style=3"

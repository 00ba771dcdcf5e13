"""Recalibration in the Decide step; no process is started."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from model.metrics import evaluate
from model.promotions import promotions
from model.registry import active_version, add_version
from pages.shared import installation
from tests.comparisons import LABELS, NEW, OLD, PATIENTS, a_card, install, well_calibrated
from tests.pages.retraining.test_compare import open_step, text
from tests.training.data.test_sources import folder_of
from training.data.sources import list_datasets
from training.runs import processes, recalibrations


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation with two versions and two datasets, one of them too small; processes are on paper only."""
    for name, n in (("few", 19), ("ward", 20)):
        folder_of(
            tmp_path / "server" / name,
            *(f"NORMAL/IM-{i:04d}-0001.png" for i in range(n)),
            *(f"PNEUMONIA/person{i}_virus_1.png" for i in range(n)),
        )
    made = dataclasses.replace(install(tmp_path / "var"), data_roots=(tmp_path / "server",))
    monkeypatch.setattr(installation, "settings", lambda: made)
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)
    monkeypatch.setattr(processes, "launch", lambda folder, _: processes.record_process(folder, os.getpid()))
    return made


def start(settings: Settings, name: str) -> AppTest:
    app = open_step("decide", "")
    assert not app.exception
    (chosen,) = (one.id for one in list_datasets(settings) if one.name.endswith(name))
    app.selectbox(key="recalibrate.data").set_value(chosen).run()
    app.button(key="recalibrate.start").click().run()
    assert not app.exception
    return app


def test_the_button_recalibrates_the_version_in_use_and_can_be_cancelled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = start(settings, "ward")
    state = recalibrations.read_recalibration(settings)
    assert (state.state, state.version, state.asked_by) == ("running", OLD, "administrator")
    assert state.data is not None and state.data.key_file == settings.patient_key_file.resolve()
    folder = settings.data_dir / "recalibration"
    processes.write_status(folder, phase="assessing the labelled radiographs", done=10, total=40, seconds_left=90.0)
    app.run()
    bar = app.get("progress")[0].proto
    assert bar.value == 25 and bar.text.startswith(f"{OLD}: assessing the labelled radiographs, 10 of 40, about")
    assert "recalibrate.start" not in [one.key for one in app.button]
    monkeypatch.setattr(processes, "stop", lambda folder: processes.record_process(folder, 2**22 + 1))
    app.button(key="recalibrate.cancel").click().run()
    assert "The last recalibration was cancelled. No version was added." in text(app)
    log = [json.loads(line) for line in (settings.data_dir / "activity.jsonl").read_text().splitlines()]
    assert [(one["act"], one["object"]) for one in log[-2:]] == [
        ("recalibrate", OLD),
        ("cancel-recalibration", OLD),
    ]


def test_too_few_patients_are_refused_with_what_to_add(settings: Settings) -> None:
    app = start(settings, "few")
    assert "of more patients: 1 with pneumonia and 1 without pneumonia" in text(app)
    assert recalibrations.read_recalibration(settings).state == "none"


def test_whoever_is_no_longer_signed_in_starts_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_step("decide", "")
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: False)
    app.button(key="recalibrate.start").click().run()
    assert recalibrations.read_recalibration(settings).state == "none"


def test_the_result_stands_before_and_after_with_intervals(settings: Settings) -> None:
    start(settings, "ward")
    made = "2026.01.03-1"
    figures = {
        name: evaluate(name, LABELS, well_calibrated(seed), 0.5, PATIENTS)
        for seed, name in enumerate(("before_recalibration", "validation"))
    }
    notes = (f"Recalibrated from {OLD}: threshold and intercept were refitted on 120 <radiographs>.",)
    card = a_card(made, evaluations=figures, notes=notes)
    add_version(settings.versions_dir, card, lambda path: path.write_text(OLD))
    recalibrations.keep_result(settings.data_dir / "recalibration", settings.versions_dir / made)
    said = text(open_step("decide", ""))
    assert f"{made}, recalibrated on ward" in said and f"Before<span>{OLD}</span>" in said
    assert "n = 120" in said and "<th>Sensitivity</th><td>1.000 (" in said and "120 &lt;radiographs&gt;" in said
    assert NEW in said, "the history and the versions follow"


def test_a_recalibrated_version_is_promoted_with_a_reason(settings: Settings) -> None:
    start(settings, "ward")
    made = "2026.01.03-1"
    add_version(settings.versions_dir, a_card(made), lambda path: path.write_text(OLD))
    recalibrations.keep_result(settings.data_dir / "recalibration", settings.versions_dir / made)
    app = open_step("decide", "")
    app.button(key="decide.recalibrated.go").click().run()
    assert "Enter a reason" in text(app) and active_version(settings) == OLD
    app.text_area(key="decide.recalibrated.reason").set_value("The radiology board has read the figures.")
    app.button(key="decide.recalibrated.go").click().run()
    assert not app.exception and active_version(settings) == made
    assert "Compared with the classifier in use" in promotions(settings)[-1].overruled
    assert "decide.recalibrated.go" not in [one.key for one in open_step("decide", "").button]

"""Recalibration as a background task; the work itself is tested in test_site_recalibration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import DatasetError, RunError
from core.settings import Settings
from model.registry import read_card
from tests.training.runs.test_site_recalibration import installation, write_films  # noqa: F401
from training.__main__ import main
from training.commands import workers
from training.data.data_request import DataRequest
from training.runs import processes
from training.runs.recalibrations import (
    cancel_recalibration,
    folders_in_use,
    read_recalibration,
    start_recalibration,
)

VERSION = "2026.01.01-1"


@pytest.fixture
def settings(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: F811
    monkeypatch.setattr(workers, "start_tensorflow", lambda **_: None)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    return installation


def on_paper(folder: Path, _arguments: Sequence[str]) -> None:
    processes.record_process(folder, os.getpid())


def test_the_worker_adds_a_version_which_the_page_then_finds(settings: Settings, tmp_path: Path) -> None:
    assert read_recalibration(settings).state == "none" and folders_in_use(settings) == ()
    data = DataRequest.of(write_films(tmp_path / "hospital", 25))
    arguments: list[str] = []
    start_recalibration(settings, VERSION, data, "administrator", lambda _, given: arguments.extend(given))
    assert main(arguments) == 0
    state = read_recalibration(settings)
    assert (state.state, state.version, state.asked_by) == ("done", VERSION, "administrator")
    assert (state.done, state.total) == (100, 100)
    card = read_card(settings.versions_dir / state.made)
    assert card.parent == VERSION and card.evaluations["before_recalibration"].n == 100


def test_one_runs_at_a_time_and_can_be_cancelled(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataRequest.of(write_films(tmp_path / "hospital", 20))
    start_recalibration(settings, VERSION, data, "administrator", on_paper)
    assert read_recalibration(settings).state == "running" and folders_in_use(settings) == data.resolved().sources
    with pytest.raises(RunError, match="one that is running"):
        start_recalibration(settings, VERSION, data, "administrator", on_paper)
    monkeypatch.setattr(processes, "stop", lambda folder: processes.record_process(folder, 2**22 + 1))
    cancel_recalibration(settings, "administrator")
    assert read_recalibration(settings).state == "cancelled" and len(list(settings.versions_dir.iterdir())) == 1


def test_too_few_patients_are_refused_before_a_process_is_started(settings: Settings, tmp_path: Path) -> None:
    data = DataRequest.of(write_films(tmp_path / "hospital", 19))
    with pytest.raises(DatasetError, match="at least 20 patients of each class") as refused:
        start_recalibration(settings, VERSION, data, "administrator", on_paper)
    assert "more patients: 1 with pneumonia and 1 without pneumonia." in refused.value.advice
    assert read_recalibration(settings).state == "none"


def test_a_failure_keeps_its_advice(settings: Settings, tmp_path: Path) -> None:
    root = write_films(tmp_path / "hospital", 20)
    arguments: list[str] = []

    def launch(folder: Path, given: Sequence[str]) -> None:
        processes.record_process(folder, 2**22 + 1)
        arguments.extend(given)

    start_recalibration(settings, VERSION, DataRequest.of(root), "administrator", launch)
    for path in (root / "NORMAL").iterdir():
        path.write_bytes(b"no picture")
    assert main(arguments) == 1
    state = read_recalibration(settings)
    assert state.state == "failed" and state.failure is not None and "Add labelled radiographs" in state.failure.advice

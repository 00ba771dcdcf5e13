from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import RunError
from core.files import is_locked, locked
from core.settings import Settings
from tests.comparisons import OLD, a_run, install
from tests.fake_trainer import SLEEPS, pid_of, trains_by, wait_until
from tests.phantoms import write_dataset
from training.data.sources import dataset_at
from training.fitting.config import default_config
from training.runs import audits, candidate, estimate, processes, run_queue
from training.runs.background import CANCELLED, BackgroundTask
from training.runs.jobs import list_jobs

STARTERS = 8
Start = Callable[[], object]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_dataset(tmp_path / "films", 14, size=(60, 70))
    return replace(install(tmp_path / "var"), data_roots=(tmp_path / "films",))


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The folders for which a process was started; each sleeps until the test has ended."""
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    folders: list[Path] = []
    launch = processes.launch

    def counted(folder: Path, arguments: Sequence[str]) -> None:
        folders.append(folder)
        launch(folder, arguments)

    monkeypatch.setattr(processes, "launch", counted)
    yield folders
    for folder in folders:
        processes.stop(folder, patience=0.1)


def audit(settings: Settings, _: pytest.MonkeyPatch) -> Start:
    dataset = dataset_at(settings, settings.data_roots[0])
    return lambda: audits.start_audit(settings, dataset)


def comparison(settings: Settings, _: pytest.MonkeyPatch) -> Start:
    run = a_run(settings)
    return lambda: candidate.start_comparison(settings, run, OLD)


def measurement(settings: Settings, _: pytest.MonkeyPatch) -> Start:
    return lambda: estimate.start_measuring(settings, "cnn_77k")


def training(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Start:
    config = default_config("cnn_2_1", epochs=1, input_px=64, batch_size=4, validation_fraction=0.4)
    request = run_queue.JobRequest(settings.data_roots[0], config.to_json(), "random", "standard")
    with monkeypatch.context() as patched:
        patched.setattr(run_queue, "advance", lambda _: None)
        for _ in range(3):
            run_queue.enqueue(settings, request, "administrator")
    return lambda: run_queue.advance(settings)


@pytest.mark.parametrize("prepared", [audit, comparison, measurement, training])
def test_simultaneous_starts_make_one_process(
    prepared: Callable[[Settings, pytest.MonkeyPatch], Start],
    settings: Settings,
    launched: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = prepared(settings, monkeypatch)
    barrier, errors = threading.Barrier(STARTERS), []

    def one() -> None:
        barrier.wait()
        try:
            start()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(STARTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(launched) == 1
    assert processes.is_running(launched[0])
    start()
    assert len(launched) == 1, "nor does a later one start a second"
    if prepared is training:
        states = [(job.state, job.place) for job in reversed(list_jobs(settings))]
        assert states == [("running", 0), ("queued", 1), ("queued", 2)]


def a_task(folder: Path, **changes: object) -> BackgroundTask:
    return BackgroundTask(
        "task", folder, ("_work", str(folder)), (folder / "result").is_file, **{"results": ("result",)} | changes
    )


@pytest.mark.usefixtures("launched")
def test_a_task_goes_through_its_states(tmp_path: Path) -> None:
    task = a_task(tmp_path / "task")
    assert task.state() == "none" and task.failure() is None
    assert task.start(lambda: (task.folder / "request").touch()) and task.state() == "running"
    assert (task.folder / "request").is_file() and not task.start()
    assert task.status("waiting") == replace(task.status(), phase="waiting")
    wait_until(lambda: processes.last_log_lines(task.folder))
    task.cancel("somebody")
    assert task.state() == "cancelled" and not processes.is_running(task.folder)
    assert json.loads((task.folder / CANCELLED).read_text())["who"] == "somebody"
    assert task.start() and task.state() == "running" and not (task.folder / CANCELLED).exists()
    (task.folder / "result").touch()
    processes.stop(task.folder, patience=0.1)
    assert task.state() == "done" and not task.start(keep=task.is_done)
    assert task.start() and task.state() == "running", "a result is deleted when the task is started again"
    processes.stop(task.folder, patience=0.1)
    assert task.state() == "failed"


@pytest.mark.usefixtures("launched")
def test_only_a_task_that_can_be_resumed_advises_it(tmp_path: Path) -> None:
    task = a_task(tmp_path / "task")
    task.start()
    wait_until(lambda: processes.last_log_lines(task.folder))
    processes.stop(task.folder, patience=0.1)
    failure, resumable = task.failure(), a_task(task.folder, resumes=True).failure()
    assert failure is not None and "Start the task again" in failure.advice and failure.last_log_lines == ("epoch 1/3",)
    assert resumable is not None and resumable == replace(failure, advice=resumable.advice)
    assert "Resume" in resumable.advice


@pytest.mark.usefixtures("launched")
def test_a_process_that_goes_on_is_not_called_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = a_task(tmp_path / "task")
    task.start()
    with monkeypatch.context() as patched:
        patched.setattr(processes, "stop", lambda _: None)
        with pytest.raises(RunError, match="one that still runs"):
            task.cancel("somebody")
    assert task.state() == "running" and pid_of(task.folder)


def test_a_task_that_is_being_started_counts_as_running(tmp_path: Path) -> None:
    task = a_task(tmp_path / "task")
    seen: list[str] = []

    def launch(_folder: Path, _: Sequence[str]) -> None:
        seen.append(task.state())

    assert task.start(launch=launch)
    assert seen == ["running"] and task.state() == "none"


def test_a_lock_is_seen_from_outside(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "start")
    with locked(tmp_path / "start"):
        assert is_locked(tmp_path / "start")
    assert not is_locked(tmp_path / "start")

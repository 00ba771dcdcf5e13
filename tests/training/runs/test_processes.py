from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.errors import DatasetError, RunError
from tests import ROOT
from tests.fake_trainer import CLINGS, SLEEPS, is_alive, pid_of, trains_by, wait_until
from training.runs import processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def test_a_process_works_on_its_folder_and_speaks_into_its_log(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    assert not processes.was_started(folder) and processes.failure(folder) is None
    processes.launch(folder, ["_run", str(folder)])
    assert processes.is_running(folder) and processes.was_started(folder)
    assert os.getsid(pid_of(folder)) == pid_of(folder), "it must not end with the terminal that started it"
    wait_until(lambda: processes.last_log_lines(folder) == ("epoch 1/3",))
    processes.stop(folder)
    assert not processes.is_running(folder) and not is_alive(pid_of(folder))


def test_stopping_leaves_no_orphan_even_where_nobody_listens(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(CLINGS, tmp_path / "fake", monkeypatch)
    processes.launch(folder, ["_run", str(folder)])
    wait_until((folder / "pids").is_file)
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    assert all(map(is_alive, pids))
    processes.stop(folder, patience=0.2)
    assert not any(map(is_alive, pids)) and not processes.is_running(folder)


def test_a_killed_process_leaves_its_last_words(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    processes.launch(folder, ["_run", str(folder)])
    wait_until(lambda: processes.last_log_lines(folder))
    os.kill(pid_of(folder), signal.SIGKILL)
    wait_until(lambda: not processes.is_running(folder), 10)
    failure = processes.failure(folder)
    assert failure is not None and failure.last_log_lines == ("epoch 1/3",)
    assert "killed" in failure.message and "Resume" in failure.advice


def test_a_process_id_that_was_given_to_somebody_else_is_not_ours(folder: Path) -> None:
    processes.record_process(folder, os.getpid())
    assert processes.is_running(folder)
    values = processes.read_json(folder / processes.PROCESS)
    for created in (values["created"] - 100, -1.0):
        (folder / processes.PROCESS).write_text(json.dumps(values | {"created": created}))
        assert not processes.is_running(folder)


def test_a_clock_that_is_set_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes.record_process(folder, os.getpid())
    boot, created = psutil.boot_time(), psutil.Process().create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _self: created + 3600)
    assert processes.is_running(folder)


def test_only_one_process_holds_a_folder_and_death_lets_go(folder: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pathlib import Path\nfrom training.runs import processes\n"
            "with processes.exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)",
            str(folder),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert processes.is_running(folder), "no process was written down, but one holds the folder"
        with pytest.raises(RunError, match="no other process"), processes.exclusive(folder, patience=0.05):
            pass
        holder.kill()
    assert not processes.is_running(folder)
    with processes.exclusive(folder, patience=0.05):
        assert processes.is_running(folder)


def test_a_process_that_closes_down_counts_as_ended(folder: Path) -> None:
    processes.record_process(folder, os.getpid())
    processes.mark_ended(folder)
    assert processes.was_started(folder) and not processes.is_running(folder)


def chained() -> OSError:
    error = ValueError("Can't close the ZIP file")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    return error  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("error", "message", "advice"),
    [
        (DatasetError("expected a folder. Received: none", advice="Name one."), "expected a folder", "Name one."),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full.", "Free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full.", "Free some space"),
        (chained(), "The disk is full.", "Free some space"),
        (FileNotFoundError(errno.ENOENT, "No such file", "person1_secret.jpeg"), "is gone", "Put it back"),
        (MemoryError(), "memory", "smaller batch"),
        (FloatingPointError("the loss became nan"), "infinite", "smaller learning rate"),
        (KeyError("person1_secret.jpeg"), "KeyError", "technical support"),
    ],
)
def test_errors_are_told_in_two_sentences_without_file_names(
    folder: Path, error: BaseException, message: str, advice: str
) -> None:
    processes.write_error(folder, error)
    processes.mark_ended(folder)
    failure = processes.failure(folder)
    assert failure is not None
    assert message in failure.message and advice in failure.advice
    assert "secret" not in failure.message + failure.advice


def test_an_error_is_told_on_a_disk_that_takes_no_whole_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    processes.mark_ended(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        processes.write_error(folder, OSError(errno.ENOSPC, "No space left on device"))
    failure = processes.failure(folder)
    assert failure is not None and failure.message == "The disk is full."

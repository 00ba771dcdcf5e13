"""Processes that outlive the program that started them, each with a folder that holds its state.

    <folder>/process.json   process id, its creation time, when it was started
    <folder>/output.log     its output
    <folder>/status.json    progress: phase, done, total, and the time of writing
    <folder>/error.json     the error in two sentences; written by the process itself
    <folder>/.alone.lock    held by the one process that may write here, where the task requires it (`exclusive`)

A process id alone is not unique, since the system reuses it; with the creation time it is. That time is counted from
the start of the system, since the wall clock may be set while a training runs. This module imports neither TensorFlow
nor Streamlit.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from core.errors import AppError, RunError
from core.files import PRIVATE_FILE, append_privately, private_opener, try_lock, write_atomically
from core.json_text import parse_json

PROCESS, OUTPUT, STATUS, ERROR = "process.json", "output.log", "status.json", "error.json"
ROOT = Path(__file__).resolve().parents[2]
_LOCK = ".alone.lock"
_PATIENCE_SECONDS = 3.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Child processes to be reaped when they end; those of other processes are not reaped here.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a task failed: what happened, what to do, and the last log lines."""

    message: str
    advice: str
    last_log_lines: tuple[str, ...] = ()


def launch(folder: Path, arguments: Sequence[str]) -> None:
    """Start `python -m training` with `arguments` as the process of `folder`; it continues when this process ends."""
    (folder / ERROR).unlink(missing_ok=True)
    with open(folder / OUTPUT, "ab", opener=private_opener) as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "training", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,  # whatever a library writes is for this user only, too
        )
    _children.append(process)
    record_process(folder, process.pid)


def record_process(folder: Path, pid: int) -> None:
    """Record `pid` as the process of `folder`."""
    created = -1.0  # of a process that has already ended
    with contextlib.suppress(psutil.Error):
        created = _created(psutil.Process(pid))
    write_atomically(folder / PROCESS, json.dumps({"pid": pid, "created": created, "started_at": _now()}))


def mark_ended(folder: Path) -> None:
    """Record that this process has finished its work on `folder`, so that another may begin while it closes down."""
    with contextlib.suppress(OSError):
        write_atomically(folder / PROCESS, json.dumps({"pid": os.getpid(), "created": -1.0, "ended_at": _now()}))


def was_started(folder: Path) -> bool:
    """Whether a process was ever started for `folder`."""
    return (folder / PROCESS).is_file()


def is_running(folder: Path) -> bool:
    """Return whether the process of `folder` is alive, or any process holds the lock of `folder`."""
    return _process(folder) is not None or is_held(folder)


@contextlib.contextmanager
def exclusive(folder: Path, patience: float = 2.0) -> Iterator[None]:
    """Hold the lock of a folder for this process; the system releases it when the process ends in any way.

    Parameters
    ----------
    folder
        The folder.
    patience
        Seconds to wait for another process that holds the lock.

    Raises
    ------
    RunError
        If another process still holds the lock after `patience` seconds.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_CREAT, PRIVATE_FILE)
    try:
        ended = time.monotonic() + patience  # `is_held` takes the lock for a moment
        while not try_lock(descriptor):
            if time.monotonic() > ended:
                raise RunError(
                    "expected a folder that no other process works on. Received: a locked folder",
                    advice="Wait until the other process has ended, or cancel it.",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def stop(folder: Path, patience: float = _PATIENCE_SECONDS) -> None:
    """End the process of `folder` and all that it started; what is alive after `patience` seconds is killed."""
    process = _process(folder)
    if process is None:
        return
    family = [process]
    with contextlib.suppress(psutil.Error):
        family += process.children(recursive=True)
    _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=patience)
    if alive:
        _signal(process, signal.SIGKILL)
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(alive, timeout=1.0)
    _reap()


def write_status(folder: Path, **values: Any) -> None:
    """Write the progress `values` of the task in `folder`, with the time."""
    write_atomically(folder / STATUS, json.dumps(values | {"at": _now()}))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty where it is missing or damaged."""
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def whole(value: Any) -> int:
    """Return a count of a JSON file, 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def number(value: Any) -> float | None:
    """Return a finite number of a JSON file, None for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if is_number else None


def write_error(folder: Path, error: BaseException) -> None:
    """Write a description of `error` into `folder`, as `describe_error` words it; the traceback is in the log."""
    message, advice = describe_error(error)
    text = json.dumps({"message": message, "advice": advice, "at": _now()})
    try:
        write_atomically(folder / ERROR, text)
    except OSError:  # on a full disk a few bytes may still fit
        with contextlib.suppress(OSError):
            append_privately(folder / ERROR, text.encode())


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return (what happened, what to do) for the error that ended a task."""
    if isinstance(error, AppError):
        return str(error), error.advice
    if any(isinstance(one, OSError) and one.errno in _NO_ROOM for one in _chain(error)):
        return "The disk is full.", "Free some space, then resume: nothing that was finished is lost."
    if isinstance(error, FileNotFoundError):
        return (
            "A file or folder that was there at the start is gone.",
            "Put it back, then resume; or start a new run with the present data.",
        )
    if isinstance(error, FloatingPointError):
        return "The loss became infinite.", "Start a new run with a smaller learning rate."
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return (
            "The memory of this machine is used up.",
            "End other programs or choose a smaller batch in the advanced settings, then resume.",
        )
    return (
        f"It ended with an unexpected error: {type(error).__name__}.",
        "Try to resume. If it happens again, technical support finds the cause in the log.",
    )


def failure(folder: Path) -> Failure | None:
    """Return why the process of `folder` ended without regard to its result; None while it runs or was not started."""
    if not was_started(folder) or is_running(folder):
        return None
    error = read_json(folder / ERROR)
    lines = last_log_lines(folder)
    if error:
        return Failure(str(error.get("message")), str(error.get("advice")), lines)
    if psutil.disk_usage(str(folder)).free < 50e6:
        return Failure("The disk is full.", "Free some space, then resume: nothing that was finished is lost.", lines)
    return Failure(
        "The process was ended from outside: killed, out of memory, or the machine was restarted.",
        "Resume it. If it happens again, check whether this machine has enough memory.",
        lines,
    )


def last_log_lines(folder: Path, lines: int = 12) -> tuple[str, ...]:
    """Return the last non-empty lines of a process's output.

    Parameters
    ----------
    folder
        Folder of the process.
    lines
        Largest number of lines.

    Returns
    -------
    tuple of str
        Oldest first; empty where there is no output.
    """
    try:
        with (folder / OUTPUT).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line for line in text.replace("\r", "\n").splitlines() if line.strip())[-lines:]


def _process(folder: Path) -> psutil.Process | None:
    _reap()
    values = read_json(folder / PROCESS)
    try:
        process = psutil.Process(int(values["pid"]))
        same = abs(_created(process) - float(values["created"])) < 1.5
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def _reap() -> None:
    for child in tuple(_children):
        if child.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread removed it
                _children.remove(child)


def _created(process: psutil.Process) -> float:
    """Return the seconds from the start of the system to that of a process."""
    return process.create_time() - psutil.boot_time()


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
        if os.getpgid(process.pid) == process.pid:  # it leads its own group, see launch
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def is_held(folder: Path) -> bool:
    """Return whether any process holds the lock of `folder`, see `exclusive`."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, is_shared=True)
    finally:
        os.close(descriptor)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

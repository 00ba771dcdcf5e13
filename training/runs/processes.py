"""Work that goes on in a process of its own, so that it outlives whoever started it. Its folder is the truth about it.

    <folder>/process.json   process id, when the system created it, when we started it
    <folder>/output.log     what it printed
    <folder>/status.json    where it stands: phase, done, total, and when that was written
    <folder>/error.json     what went wrong, in two sentences; written by the process itself
    <folder>/.alone.lock    held by the one process that may write here, where the work asks for that (`alone`)

A process id alone proves nothing, since the system gives it away again: together with the time of creation it does.
That time is counted from the start of the system, since the clock on the wall may be set while a training goes on.
No tensorflow here, and no streamlit.
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
# Children of this process that may have to be buried; a process that was started by another one is not ours to bury.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a piece of work failed: what happened, what to do, and the last lines that it printed."""

    message: str
    advice: str
    last_log_lines: tuple[str, ...] = ()


def launch(folder: Path, arguments: Sequence[str]) -> None:
    """Start `python -m training <arguments>` with `folder` as its own; it goes on when this process ends."""
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
    remember(folder, process.pid)


def remember(folder: Path, pid: int) -> None:
    """Write down which process works on `folder`."""
    created = -1.0  # of a process that has ended already: then it is no longer running, which is the truth
    with contextlib.suppress(psutil.Error):
        created = _created(psutil.Process(pid))
    write_atomically(folder / PROCESS, json.dumps({"pid": pid, "created": created, "started_at": _now()}))


def leave(folder: Path) -> None:
    """Let this process count as ended: it has done its work on `folder`, and another may begin while it closes down."""
    with contextlib.suppress(OSError):
        write_atomically(folder / PROCESS, json.dumps({"pid": os.getpid(), "created": -1.0, "ended_at": _now()}))


def was_started(folder: Path) -> bool:
    """Whether a process was ever started for `folder`."""
    return (folder / PROCESS).is_file()


def is_running(folder: Path) -> bool:
    """Whether the process of `folder` is alive, or any process holds `folder` for itself."""
    return _process(folder) is not None or is_held(folder)


@contextlib.contextmanager
def alone(folder: Path, patience: float = 2.0) -> Iterator[None]:
    """Hold `folder` for this process; the system lets go when it dies, however it dies.

    Raises RunError when another process still holds it after `patience` seconds.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_CREAT, PRIVATE_FILE)
    try:
        ended = time.monotonic() + patience  # `is_held` may be looking at this very moment
        while not try_lock(descriptor):
            if time.monotonic() > ended:
                raise RunError(
                    "expected a folder that no other process works on. Received: one that is held",
                    advice="Wait until the other process has ended, or cancel it.",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def stop(folder: Path, patience: float = _PATIENCE_SECONDS) -> None:
    """End the process of `folder` and all that it started; what has not ended after `patience` seconds is killed."""
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
    _bury()


def write_status(folder: Path, **values: Any) -> None:
    """Write where the work stands, with the time."""
    write_atomically(folder / STATUS, json.dumps(values | {"at": _now()}))


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of the folder says, empty while there is none or when it is not JSON."""
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
    """Write down why the work ended, for a person; the traceback goes to the log by itself."""
    message, advice = explain(error)
    said = json.dumps({"message": message, "advice": advice, "at": _now()})
    try:
        write_atomically(folder / ERROR, said)
    except OSError:  # on a full disk a few bytes may still go where whole blocks do not
        with contextlib.suppress(OSError):
            append_privately(folder / ERROR, said.encode())


def explain(error: BaseException) -> tuple[str, str]:
    """Return (what happened, what to do) for an error that ended a piece of work."""
    if isinstance(error, AppError):
        return str(error), error.advice
    if any(isinstance(one, OSError) and one.errno in _NO_ROOM for one in _chain(error)):
        return "The disk is full.", "Free some space, then resume: nothing that was finished is lost."
    if isinstance(error, FileNotFoundError):
        return (
            "A file or folder that was there at the start is gone.",
            "Put it back, then resume; or start anew with the data as they are now.",
        )
    if isinstance(error, FloatingPointError):
        return "The loss became infinite.", "Start a new run with a smaller learning rate."
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return (
            "The memory of this machine is used up.",
            "End other programs or choose a smaller batch in the advanced settings, then resume.",
        )
    return (
        f"It ended with an error of its own: {type(error).__name__}.",
        "Try to resume. If it happens again, technical support finds the cause in the log.",
    )


def failure(folder: Path) -> Failure | None:
    """Return why the work on `folder` ended; only its caller knows whether it ended because it was done."""
    if not was_started(folder) or is_running(folder):
        return None
    said = read_json(folder / ERROR)
    words = last_log_lines(folder)
    if said:
        return Failure(str(said.get("message")), str(said.get("advice")), words)
    if psutil.disk_usage(str(folder)).free < 50e6:
        return Failure("The disk is full.", "Free some space, then resume: nothing that was finished is lost.", words)
    return Failure(
        "The process was ended from outside: killed, out of memory, or the machine was restarted.",
        "Resume it. If it happens again, look whether this machine has enough memory.",
        words,
    )


def last_log_lines(folder: Path, lines: int = 12) -> tuple[str, ...]:
    """Return the last lines that the process printed."""
    try:
        with (folder / OUTPUT).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line for line in text.replace("\r", "\n").splitlines() if line.strip())[-lines:]


def _process(folder: Path) -> psutil.Process | None:
    _bury()
    values = read_json(folder / PROCESS)
    try:
        process = psutil.Process(int(values["pid"]))
        same = abs(_created(process) - float(values["created"])) < 1.5
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def _bury() -> None:
    for child in tuple(_children):
        if child.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread was quicker
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
    """Whether any process holds `folder` for itself, see `alone`."""
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

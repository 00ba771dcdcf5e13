"""Activity log: sign-ins, refusals and the administrator's acts, with time, source and object.

    <data_dir>/activity.jsonl          one act a line: at (UTC), act, outcome, who, source, object
    <data_dir>/activity.jsonl.1 …      earlier ones, up to `MOST_FILES`; each file is closed at `MOST_BYTES`
    <data_dir>/activity-refused.jsonl  earlier refused sign-ins, the newest `MOST_BYTES`

Anybody can be refused a sign-in, so that those refusals must not push out what an administrator did: they are counted
(`records.refusals`), and leave the log for a file of their own before a file is closed.

An object is a version, a run or what stands for a dataset, never a file's name or a reason: no patient data.
The app shows the same lines in its terminal.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.errors import AppError
from core.files import append_privately, locked, make_folder, write_atomically
from core.json_text import parse_json
from core.settings import Settings
from records import refusals
from records.throttle import LOCAL

ACTIVITY, REFUSED = "activity.jsonl", "activity-refused.jsonl"
MOST_BYTES, MOST_FILES = 1_000_000, 5
Outcome = Literal["done", "refused"]
log = logging.getLogger(__name__)


def note(
    settings: Settings, act: str, *, who: str, source: str = LOCAL, object: str = "", outcome: Outcome = "done"
) -> None:
    """Append an act to the log. A log that cannot be written does not keep anybody from acting.

    Parameters
    ----------
    settings
        Settings of the installation.
    act
        What was done, such as "sign-in" or "promote".
    who
        Name of the user.
    source
        The client's network address, or `LOCAL`.
    object
        Version, run or dataset that was acted on.
    outcome
        "refused" where the act was not allowed or failed.
    """
    now = _now()
    values = {"act": act, "outcome": outcome, "who": who, "source": source, "object": object}
    is_counted = outcome == "refused" and act in refusals.ACTS
    folder = settings.data_dir
    try:
        make_folder(folder)
        with locked(folder / ACTIVITY):
            for one in refusals.take_due(folder, now.timestamp(), "" if is_counted else source):
                _append(folder, now, _counted(one))
            if not is_counted or refusals.count(folder, act, source, now.timestamp()):
                _append(folder, now, values)
    except OSError as error:
        received = f"{type(error).__name__} for {json.dumps(values)}"
        log.warning("expected a data folder that can be written. Received: %s", received)


def _now() -> datetime:
    return datetime.now(UTC)


def _counted(one: refusals.Refusals) -> dict[str, Any]:
    first, last = (datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (one.since, one.until))
    counted = {"count": one.count, "since": first, "until": last}
    return {"act": one.act, "outcome": "refused", "who": "", "source": one.source, "object": "", **counted}


def _append(folder: Path, now: datetime, values: Mapping[str, Any]) -> None:
    """Write a line to the terminal and the file. Callers hold the log's lock."""
    line = json.dumps({"at": now.isoformat(timespec="seconds"), **values})  # ASCII: controls and line ends are escaped
    log.log(logging.INFO if values["outcome"] == "done" else logging.WARNING, "%s", line)
    path = folder / ACTIVITY
    if path.exists() and path.stat().st_size + len(line) > MOST_BYTES:
        _make_room(path)
    append_privately(path, f"{line}\n".encode())


@contextmanager
def noted(settings: Settings, act: str, *, who: str, source: str = LOCAL, object: str = "") -> Iterator[None]:
    """Note the act in the body as done, or as refused when it raises an AppError.

    Parameters
    ----------
    settings
        The installation.
    act
        What is done, such as "promote".
    who
        Who does it.
    source
        Address of the client, or `LOCAL`.
    object
        What it is done to, without patient data.
    """
    try:
        yield
    except AppError:
        note(settings, act, who=who, source=source, object=object, outcome="refused")
        raise
    note(settings, act, who=who, source=source, object=object)


def command_line_user() -> str:
    """Return the name under which a log or a history lists the user of a command line."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        name = f"user {os.getuid()}"
    return f"{name} (command line)"


def dataset_object(name: str) -> str:
    """Return what stands for a dataset: its own name may hold anything that somebody has typed."""
    return f"dataset {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _make_room(path: Path) -> None:
    """Move the refused sign-ins to a file of their own; close the file if the acts alone fill more than half of it."""
    lines = path.read_bytes().splitlines(keepends=True)
    refused = [line for line in lines if _is_refused_sign_in(line)]
    if refused:
        beside = path.with_name(REFUSED)
        kept, size = [], 0
        for line in reversed([*(beside.read_bytes().splitlines(keepends=True) if beside.exists() else ()), *refused]):
            size += len(line)
            if size > MOST_BYTES:
                break
            kept.append(line)
        write_atomically(beside, b"".join(reversed(kept)))
        acts = b"".join(line for line in lines if not _is_refused_sign_in(line))
        write_atomically(path, acts)
        if len(acts) <= MOST_BYTES / 2:
            return
    for n in range(MOST_FILES - 1, 0, -1):
        older = path if n == 1 else path.with_name(f"{path.name}.{n - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{n}"))


def _is_refused_sign_in(line: bytes) -> bool:
    try:
        values = parse_json(line)
    except ValueError:
        return False
    return isinstance(values, dict) and values.get("outcome") == "refused" and values.get("act") in refusals.ACTS


def show_in_terminal() -> None:
    """Show the acts on standard error; Python shows warnings alone by itself."""
    if not any(isinstance(one, _Terminal) for one in log.handlers):
        log.addHandler(_Terminal())
        log.setLevel(logging.INFO)


class _Terminal(logging.Handler):
    """Writes to whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write an act as a line."""
        with suppress(OSError, ValueError):  # a terminal that is closed
            sys.stderr.write(f"{self.format(record)}\n")

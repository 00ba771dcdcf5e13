"""Activity log: sign-ins, refusals and the administrator's acts, with time, source and object.

    <data_dir>/activity.jsonl       one act a line: at (UTC), act, outcome, who, source, object
    <data_dir>/activity.jsonl.1 …   earlier ones, up to `MOST_FILES`; each file is closed at `MOST_BYTES`

An object is a version, a run or what stands for a dataset, never a file's name or a reason: no patient data.
The app shows the same lines in its terminal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from core.errors import AppError
from core.files import append_privately, locked, make_folder
from core.settings import Settings
from records.throttle import LOCAL

ACTIVITY = "activity.jsonl"
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
    values = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "act": act,
        "outcome": outcome,
        "who": who,
        "source": source,
        "object": object,
    }
    line = json.dumps(values)  # ASCII: control characters and ends of lines are escaped
    log.log(logging.INFO if outcome == "done" else logging.WARNING, "%s", line)
    path = settings.data_dir / ACTIVITY
    try:
        make_folder(settings.data_dir)
        with locked(path):
            if path.exists() and path.stat().st_size + len(line) > MOST_BYTES:
                _rotate(path)
            append_privately(path, f"{line}\n".encode())
    except OSError as error:
        log.warning("expected a data folder that can be written. Received: %s", type(error).__name__)


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


def dataset_object(name: str) -> str:
    """Return what stands for a dataset: its own name may hold anything that somebody has typed."""
    return f"dataset {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _rotate(path: Path) -> None:
    for n in range(MOST_FILES - 1, 0, -1):
        older = path if n == 1 else path.with_name(f"{path.name}.{n - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{n}"))


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

"""Refused sign-ins, counted by source: anybody can cause them, so they must not fill the activity log.

    <data_dir>/refusals.json    those of the last `INTERVAL_SECONDS` that have no line of their own yet

The first refusal of a source has its line at once; those that follow within the interval are one line with a count,
written together with the next act after it. Callers hold the log's lock (`records.activity`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.files import write_atomically
from core.json_text import parse_json
from records.throttle import key_of

REFUSALS = "refusals.json"
# Acts that need no sign-in.
ACTS = ("sign-in", "set-password")
INTERVAL_SECONDS = 900.0
# Sources that are counted by themselves; those beyond are counted together.
MOST_SOURCES, OTHERS = 20, "other addresses"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals of one act and source within an interval.

    Attributes
    ----------
    act, source
        As in the activity log; `source` is `OTHERS` for those beyond `MOST_SOURCES`.
    since, until
        The first refusal, which has a line of its own, and the last one, in seconds since 1970.
    count
        Refusals after the first one.
    """

    act: str
    source: str
    since: float
    until: float
    count: int = 0


def count(folder: Path, act: str, source: str, now: float) -> bool:
    """Count a refusal.

    Parameters
    ----------
    folder
        The data folder.
    act
        One of `ACTS`.
    source
        The client's network address.
    now
        In seconds since 1970.

    Returns
    -------
    bool
        Whether it is the first one of its source in the interval, and needs a line of its own.
    """
    known, key = _read(folder), key_of(source)
    if all(one.source != key for one in known) and len({one.source for one in known} - {OTHERS}) >= MOST_SOURCES:
        key = OTHERS
    found = next((one for one in known if (one.act, one.source) == (act, key)), None)
    others = [one for one in known if one is not found]
    new = Refusals(act, key, now, now) if found is None else Refusals(act, key, found.since, now, found.count + 1)
    _write(folder, [*others, new])
    return found is None


def take_due(folder: Path, now: float, source: str = "") -> tuple[Refusals, ...]:
    """Return the counts that need a line now, and forget them.

    Parameters
    ----------
    folder
        The data folder.
    now
        In seconds since 1970; a clock that was set back ends an interval too.
    source
        A source whose counts are due before their interval has ended, since it acts.

    Returns
    -------
    tuple of Refusals
        Those with a count, oldest first.
    """
    known = _read(folder)
    key = key_of(source)
    due = [one for one in known if one.source == key or not 0 <= now - one.since < INTERVAL_SECONDS]
    if due:
        _write(folder, [one for one in known if one not in due])
    return tuple(sorted((one for one in due if one.count), key=lambda one: one.since))


def _read(folder: Path) -> list[Refusals]:
    try:
        values = parse_json((folder / REFUSALS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    found = (_refusals(one) for one in (values if isinstance(values, list) else ()))
    return [one for one in found if one is not None]


def _refusals(values: Any) -> Refusals | None:
    """Return a counted source of the file, None for what is none."""
    try:
        made = Refusals(**values)
    except TypeError:
        return None
    is_sound = (
        all(isinstance(one, str) for one in (made.act, made.source))
        and all(isinstance(one, int | float) and 0 <= one < 1e11 for one in (made.since, made.until))
        and isinstance(made.count, int)
    )
    return made if is_sound else None


def _write(folder: Path, known: list[Refusals]) -> None:
    write_atomically(folder / REFUSALS, json.dumps([asdict(one) for one in known]))

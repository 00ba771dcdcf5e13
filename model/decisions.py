"""Decisions about the version in use as the data folder records them, and whether its two records agree.

    <data_dir>/active.json        the version in use, with the decision that promoted it: the pointer
    <data_dir>/promotions.jsonl   every decision, one a line: the history

A decision holds the SHA-256 of the files of its version, the card among them, since the card decides the finding. Those
of the version that ships stand in its own `active.json`. No tensorflow here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.errors import ClassifierError
from core.json_text import parse_json
from core.settings import Settings

log = logging.getLogger(__name__)
ACTIVE, HISTORY = "active.json", "promotions.jsonl"
Act = Literal["promote", "rollback", "card"]
_PROMOTE_AGAIN = "Ask an administrator to promote a classifier again."


@dataclass(frozen=True, slots=True)
class Promotion:
    """A decision about the version in use.

    Attributes
    ----------
    at
        UTC, ISO 8601.
    who
        Name of the administrator.
    version, previous
        The version promoted, and the one in use before.
    why
        Reason.
    overruled
        Names of the rules that were overridden.
    act
        "promote", "rollback", or "card": the card of the version was changed, and nothing else.
    digests
        SHA-256 of the version's files by name; empty in decisions before 0.2.0.
    """

    at: str
    who: str
    version: str
    previous: str | None
    why: str = ""
    overruled: tuple[str, ...] = ()
    act: Act = "promote"
    digests: Mapping[str, str] = field(default_factory=dict)


def read_pointer(settings: Settings) -> dict[str, Any]:
    """Return the content of `active.json`, at least the version; empty where there is none.

    Raises
    ------
    ClassifierError
        If the file is damaged, missing although a version was promoted, or disagrees with the history.
    """
    # The history first: a decision that is made meanwhile is then newer than its end, never older.
    last = last_promotion(read_history(settings))
    if last is None and not (settings.data_dir / ACTIVE).exists():
        return _pointer(settings.shipped_weights / ACTIVE)
    values = _pointer(settings.data_dir / ACTIVE)
    if last is None:
        return values
    if not values:
        raise ClassifierError(
            f"expected {ACTIVE}, since {HISTORY} names {last.version}. Received: no such file",
            advice=f"The record of the version in use is missing. {_PROMOTE_AGAIN}",
        )
    decision = promotion_from(values["decision"]) if "decision" in values else None
    is_known = decision == last
    # A crash, or a full disk, leaves the last decision in the pointer alone.
    is_newer = decision is not None and decision.at > last.at and decision.version == values["version"]
    if (is_known and values["version"] == last.version) or is_newer:
        return values
    raise ClassifierError(
        f"expected {last.version} in {ACTIVE}, as decided at {last.at}. Received: {values['version']}, not so decided",
        advice=f"The record of the version in use disagrees with the history of promotions. {_PROMOTE_AGAIN}",
    )


def _pointer(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("version"), str):
        raise ClassifierError(
            f"expected the active version in {ACTIVE}. Received: a damaged file", advice=_PROMOTE_AGAIN
        )
    return values


def read_history(settings: Settings) -> tuple[Promotion, ...]:
    """Return the decisions in the history, oldest first; a partial line left by a crash is skipped."""
    try:
        lines = (settings.data_dir / HISTORY).read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    read = (_decision(line) for line in lines if line.strip())
    return tuple(one for one in read if one is not None)


def _decision(line: bytes) -> Promotion | None:
    try:
        return promotion_from(parse_json(line))
    except ValueError:
        return promotion_from(None)


def promotion_from(values: Any) -> Promotion | None:
    """Return the decision in a parsed line, None with a log line where there is none."""
    try:
        made = Promotion(**{**values, "overruled": tuple(values["overruled"])})
    except (TypeError, KeyError):
        made = None
    if made is None or not _is_sound(made):
        log.warning("a line of %s is not a decision and was skipped", HISTORY)
        return None
    return made


def _is_sound(one: Promotion) -> bool:
    texts = (one.at, one.who, one.version, one.previous or "", one.why, one.act, *one.overruled)
    digests = one.digests if isinstance(one.digests, dict) else {"": None}
    return all(isinstance(text, str) for text in (*texts, *digests.values()))


def last_promotion(history: tuple[Promotion, ...]) -> Promotion | None:
    """Return the last decision that put a version into use."""
    return next((one for one in reversed(history) if one.act != "card"), None)


def recorded_digests(settings: Settings, version: str) -> tuple[Mapping[str, str], ...]:
    """Return what the digests of the files of `version` may be, by the records below the data folder of `settings`.

    Returns
    -------
    tuple of mappings
        SHA-256 by file name; empty where nothing is on record. After a card was changed these are two, since a crash
        may have come between the record and the change.
    """
    shipped = _shipped_digests(settings, version)
    if shipped:
        return (shipped,)
    history = read_history(settings)
    try:
        decision = promotion_from(read_pointer(settings)["decision"])
    except (ClassifierError, KeyError):
        decision = None
    decisions = history if decision is None or decision in history else (*history, decision)
    known = [one for one in decisions if one.version == version and one.digests]
    if not known:
        return ()
    before = known[-2:-1] if known[-1].act == "card" else []
    return tuple(one.digests for one in (*before, known[-1]))


def _shipped_digests(settings: Settings, version: str) -> Mapping[str, str]:
    try:
        values = _pointer(settings.shipped_weights / ACTIVE)
    except ClassifierError:
        return {}
    digests = values.get("digests")
    return digests if values.get("version") == version and isinstance(digests, dict) else {}

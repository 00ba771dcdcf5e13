"""Decisions about the version in use as the data folder records them, and whether its records agree.

    <data_dir>/active.json             the version in use, with the decision that promoted it: the pointer
    <data_dir>/promotions.jsonl        every decision, one a line: the history
    <data_dir>/decisions/last.json     the last decision once more: the copy

Pointer and copy hold the seal of the history, how many decisions it had and their digest, so that a history which is
deleted, cut short or rewritten is noticed, and so is a deleted pointer, or both.

A decision holds the SHA-256 of the files of its version, the card among them, since the card decides the finding. Those
of the version that ships stand in its own `active.json`. No tensorflow here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.errors import ClassifierError
from core.json_text import parse_json
from core.settings import Settings

log = logging.getLogger(__name__)
ACTIVE, HISTORY = "active.json", "promotions.jsonl"
COPY = Path("decisions") / "last.json"
# Records are read one after the other: a decision that is made meanwhile must not look like a disagreement.
_READINGS = 3
Act = Literal["promote", "rollback", "card"]
VERSION_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", re.ASCII)
# Pages show these texts, and read the pointer at each run; the app itself writes no longer ones.
_LONGEST_TEXT, _MOST_POINTER_BYTES = 100_000, 1_000_000
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
        If the file is damaged, missing although a version was promoted, or disagrees with the history or its seals.
    """
    for _ in range(_READINGS - 1):
        try:
            return _read_pointer(settings)
        except ClassifierError:
            log.debug("the records of promotions are read again")
    return _read_pointer(settings)


def _read_pointer(settings: Settings) -> dict[str, Any]:
    # In this order a decision that is made meanwhile is newer than what was read before, never older.
    copy = _copy(settings)
    history = read_history(settings)
    last = last_promotion(history)
    if last is None and not (settings.data_dir / ACTIVE).exists():
        if copy is None:
            return _pointer(settings.shipped_weights / ACTIVE)
        raise ClassifierError(
            f"expected {ACTIVE} and {HISTORY}, since there is {COPY}. Received: no such files",
            advice=f"The records of the version in use are missing. {_PROMOTE_AGAIN}",
        )
    values = _pointer(settings.data_dir / ACTIVE)
    decision = promotion_from(values["decision"]) if "decision" in values else None
    if last is not None:
        _refuse_other(values, decision, last)
    whole = history if decision is None or decision in history else (*history, decision)
    for name, seal in ((ACTIVE, values.get("history")), (COPY, (copy or {}).get("history"))):
        if not fits(whole, seal):
            count = seal.get("count") if isinstance(seal, dict) else None
            raise ClassifierError(
                f"expected {HISTORY} with {count} decisions, as sealed in {name}. Received: {len(whole)}, or others",
                advice=f"The history of promotions is missing, cut short or changed. {_PROMOTE_AGAIN}",
            )
    if copy == {}:  # it is written at once or not at all
        raise ClassifierError(
            f"expected the last decision in {COPY}. Received: a damaged file",
            advice=f"A record of the version in use was changed. {_PROMOTE_AGAIN}",
        )
    return values


def _refuse_other(values: Mapping[str, Any], decision: Promotion | None, last: Promotion) -> None:
    """Raise ClassifierError for a pointer that does not hold the history's last decision, or a newer one."""
    if not values:
        raise ClassifierError(
            f"expected {ACTIVE}, since {HISTORY} names {last.version}. Received: no such file",
            advice=f"The record of the version in use is missing. {_PROMOTE_AGAIN}",
        )
    is_known = decision == last
    # A crash, or a full disk, leaves the last decision in the pointer alone.
    is_newer = decision is not None and decision.at > last.at and decision.version == values["version"]
    if not ((is_known and values["version"] == last.version) or is_newer):
        raise ClassifierError(
            f"expected {last.version} in {ACTIVE}, as decided at {last.at}. Received: {values['version']}, not so "
            "decided",
            advice=f"The record of the version in use disagrees with the history of promotions. {_PROMOTE_AGAIN}",
        )


def believed(settings: Settings) -> Promotion | None:
    """Return the decision to go by where the records disagree, None where none is left.

    Two records that agree are believed; else the history, unless a seal says that it was cut short or rewritten.
    """
    history = read_history(settings)
    copy, last = _copy(settings) or {}, last_promotion(history)
    try:
        pointer = _pointer(settings.data_dir / ACTIVE)
    except ClassifierError:
        pointer = {}
    named = [promotion_from(one["decision"]) if "decision" in one else None for one in (copy, pointer)]
    newer = (one for one in named if one is not None and one not in history)
    whole = (*history, *sorted(newer, key=lambda one: one.at))
    is_whole = all(fits(whole, one.get("history")) for one in (copy, pointer))
    found = [one for one in ((last, *named) if is_whole else (*named, last)) if one is not None]
    return max(found, key=found.count, default=None)  # the first of those that are named equally often


def seal_of(decisions: Sequence[Promotion]) -> dict[str, Any]:
    """Return the seal of a history: the number of its decisions, and a digest of them in their order."""
    values = [
        [one.at, one.who, one.version, one.previous, one.why, [*one.overruled], one.act, sorted(one.digests.items())]
        for one in decisions
    ]
    return {"count": len(values), "sha256": hashlib.sha256(json.dumps(values).encode()).hexdigest()}


def fits(decisions: Sequence[Promotion], seal: object) -> bool:
    """Return whether a history begins with the decisions that were sealed.

    Parameters
    ----------
    decisions
        The history, oldest first.
    seal
        What `seal_of` returned for its beginning, as read from a file; None where there is none, as before 0.2.0.
    """
    if seal is None:
        return True
    count = seal.get("count") if isinstance(seal, dict) else None
    return isinstance(count, int) and 0 <= count <= len(decisions) and seal_of(decisions[:count]) == seal


def _copy(settings: Settings) -> dict[str, Any] | None:
    """Return the copy, empty where it is damaged, None where there is none."""
    if not (settings.data_dir / COPY).exists():
        return None
    try:
        return _pointer(settings.data_dir / COPY)
    except ClassifierError:  # it counts where nothing else is left
        return {}


def _pointer(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_POINTER_BYTES + 1)
        values = parse_json(text) if len(text) <= _MOST_POINTER_BYTES else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        values = None
    version = values.get("version") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(version, str) or not VERSION_NAME.fullmatch(version):
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
    return all(map(_can_be_shown, (*texts, *digests.values()))) and bool(VERSION_NAME.fullmatch(one.version))


def _can_be_shown(text: object) -> bool:
    """Whether this is a text that a page can show: JSON has halves of characters too, which have no UTF-8."""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        return False
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


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
    except KeyError:
        decision = None
    except ClassifierError:
        decision = believed(settings)
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

"""Which version is in use, who decided so and why, and what goes on serving when its files are damaged.

`active.json` names the version in use and carries the decision that put it there, so that one renaming commits both;
`promotions.jsonl` keeps every decision, one to a line. A crash between the two loses neither: whoever reads the history
adds the decision that the pointer carries, and whoever decides next writes it down first. No tensorflow here.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from core.errors import ClassifierError
from core.files import locked, sync_folder, write_atomically
from core.settings import Settings
from model.registry import ACTIVE, read_pointer, verify, verify_again, version_folder

log = logging.getLogger(__name__)
HISTORY = "promotions.jsonl"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A decision about the version in use: when (UTC, ISO 8601), by whom, what for, and which rules were overruled."""

    at: str
    who: str
    version: str
    previous: str | None
    why: str = ""
    overruled: tuple[str, ...] = ()
    act: Literal["promote", "rollback"] = "promote"


def promote(
    settings: Settings,
    version: str,
    *,
    who: str,
    why: str = "",
    overruled: tuple[str, ...] = (),
    expected: str | None = None,
    act: Literal["promote", "rollback"] = "promote",
) -> Promotion:
    """Put a version into use and write down who decided so.

    `expected` is the version that the decision was made against: when another one is in use by now, somebody else
    decided meanwhile. Raises ClassifierError then, and when the version is missing or its weights are damaged.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with locked(settings.data_dir / ACTIVE):
        return _put_into_use(settings, version, who, why, overruled, expected, act)


def rollback(settings: Settings, *, who: str, why: str = "", expected: str | None = None) -> Promotion:
    """Put the version before the one in use back; raises ClassifierError as `promote` does, or when there is none."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with locked(settings.data_dir / ACTIVE):
        version = previous_version(settings)
        if version is None:
            raise ClassifierError(
                "expected a version to go back to. Received: none was in use before",
                advice="Promote the version that is to be in use.",
            )
        return _put_into_use(settings, version, who, why, (), expected, "rollback")


def _put_into_use(
    settings: Settings,
    version: str,
    who: str,
    why: str,
    overruled: tuple[str, ...],
    expected: str | None,
    act: Literal["promote", "rollback"],
) -> Promotion:
    verify(version_folder(settings, version))
    history = promotions(settings)
    try:
        previous = read_pointer(settings).get("version")
        in_use = settings.classifier or previous
    except ClassifierError:  # promoting again is what repairs the pointer
        previous = history[-1].version if history else None
        in_use = expected
    if expected is not None and in_use != expected:
        raise ClassifierError(
            f"expected {expected} in use. Received: {in_use}, which was put into use meanwhile",
            advice="Somebody else changed the version in use. Look at the page again, then decide.",
        )
    _write_down(settings, history)
    decision = Promotion(
        datetime.now(UTC).isoformat(timespec="milliseconds"), who, version, previous, why, tuple(overruled), act
    )
    write_atomically(settings.data_dir / ACTIVE, json.dumps({"version": version, "decision": asdict(decision)}))
    try:
        _write_down(settings, (*history, decision))
    except OSError:  # the version is in use, and the pointer carries the decision until the next one
        log.exception("the decision about %s could not be added to %s", version, HISTORY)
    return decision


def promotions(settings: Settings) -> tuple[Promotion, ...]:
    """Return every decision about the version in use on this installation, oldest first."""
    history = _history(settings)
    try:
        decision = read_pointer(settings).get("decision")
    except ClassifierError:  # said by whoever asks for the version in use
        decision = None
    last = None if decision is None else _promotion(decision)
    return history if last is None or last in history else (*history, last)


def previous_version(settings: Settings) -> str | None:
    """Return the version that `rollback` goes back to, None when no other was in use before this one."""
    return next(reversed(_before(promotions(settings))), None)


def _before(history: tuple[Promotion, ...]) -> tuple[str, ...]:
    """Return the versions that led to the one in use, oldest first; going back takes the last ones away again."""
    path: list[str] = []
    for one in history:
        if one.act == "rollback":
            while path and path.pop() != one.version:
                pass
        elif one.previous is not None and one.previous != one.version:
            path.append(one.previous)
    return tuple(path)


def _history(settings: Settings) -> tuple[Promotion, ...]:
    """Return the decisions that stand in the history; a line that a crash cut short is passed over."""
    try:
        lines = (settings.data_dir / HISTORY).read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    read = (_promotion(_parsed(line)) for line in lines if line.strip())
    return tuple(one for one in read if one is not None)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _promotion(values: Any) -> Promotion | None:
    try:
        return Promotion(**{**values, "overruled": tuple(values["overruled"])})
    except (TypeError, KeyError):
        log.warning("a line of %s is not a decision and was passed over", HISTORY)
        return None


def _write_down(settings: Settings, decisions: tuple[Promotion, ...]) -> None:
    """Add those of `decisions` that the history lacks; what stands in it is never written again."""
    path, known = settings.data_dir / HISTORY, _history(settings)
    missing = [one for one in decisions if one not in known]
    if not missing:
        return
    with path.open("ab") as file:
        # First a line's end: a crash may have left the last line without one.
        file.write(b"\n" * (file.tell() > 0 and not path.read_bytes().endswith(b"\n")))
        file.writelines(json.dumps(asdict(one), ensure_ascii=False).encode() + b"\n" for one in missing)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def serving_version(settings: Settings) -> tuple[str, ClassifierError | None]:
    """Return the version to serve and, where that is not the one in use, the error that names and refuses the latter.

    A version whose files are not whole is refused, and the last good one before it goes on serving. Cheap enough for
    every rerun of a page. Raises ClassifierError when no version is whole.
    """
    candidates = [] if settings.classifier is None else [settings.classifier]
    refused = None
    try:
        candidates += [version] if (version := read_pointer(settings).get("version")) else []
    except ClassifierError as error:
        refused = error
        candidates += [one.version for one in promotions(settings)[-1:]]
    candidates += reversed(_before(promotions(settings)))
    try:
        candidates += [read_pointer(Settings(settings.shipped_weights))["version"]]
    except (ClassifierError, KeyError):  # nothing shipped; what is missing is said of the version in use
        log.debug("no version shipped")
    for version in candidates:
        try:
            verify_again(version_folder(settings, version))
        except ClassifierError as error:
            refused = refused or _named(error, version)
        else:
            return version, refused
    raise refused or ClassifierError(
        "expected a classifier version in use. Received: none", advice="Install or train a classifier, then promote it."
    )


def _named(error: ClassifierError, version: str) -> ClassifierError:
    if version in error.advice:
        return error
    return ClassifierError(f"{error} ({version})", advice=f"Version {version} is refused. {error.advice}")

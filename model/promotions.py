"""Promotion of classifier versions: which is in use, by whose decision, and which serves when its files are damaged.

`active.json` names the version in use and holds the decision that promoted it, so that one rename commits both;
`promotions.jsonl` keeps every decision, one a line. A crash between the two loses neither: reading the history adds the
decision of the pointer, and the next decision writes it down first. No tensorflow here.
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
        "promote" or "rollback".
    """

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
    """Promote a version and record the decision.

    Parameters
    ----------
    settings
        Settings of the installation.
    version
        The version to promote.
    who, why, overruled, act
        As the attributes of `Promotion`.
    expected
        The version in use when the decision was made.

    Returns
    -------
    Promotion
        The recorded decision.

    Raises
    ------
    ClassifierError
        If another version than `expected` is in use by now, or the version is missing or damaged.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with locked(settings.data_dir / ACTIVE):
        return _promote(settings, version, who, why, overruled, expected, act)


def rollback(settings: Settings, *, who: str, why: str = "", expected: str | None = None) -> Promotion:
    """Promote the version that was in use before the present one.

    Parameters
    ----------
    settings
        The installation.
    who, why
        Name of the administrator and the reason, for the history.
    expected
        As `promote`.

    Raises
    ------
    ClassifierError
        As `promote`, or if there is no earlier version.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with locked(settings.data_dir / ACTIVE):
        version = previous_version(settings)
        if version is None:
            raise ClassifierError(
                "expected a version to go back to. Received: none was in use before",
                advice="Promote the version that should be in use.",
            )
        return _promote(settings, version, who, why, (), expected, "rollback")


def _promote(
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
            f"expected {expected} in use. Received: {in_use}, which was promoted meanwhile",
            advice="Another administrator changed the version in use. Reload the page, then decide.",
        )
    _append(settings, history)
    decision = Promotion(
        datetime.now(UTC).isoformat(timespec="milliseconds"), who, version, previous, why, tuple(overruled), act
    )
    write_atomically(settings.data_dir / ACTIVE, json.dumps({"version": version, "decision": asdict(decision)}))
    try:
        _append(settings, (*history, decision))
    except OSError:  # the version is in use, and the pointer carries the decision until the next one
        log.exception("the decision about %s could not be added to %s", version, HISTORY)
    return decision


def promotions(settings: Settings) -> tuple[Promotion, ...]:
    """Return every decision about the version in use on this installation, oldest first."""
    history = _history(settings)
    try:
        decision = read_pointer(settings).get("decision")
    except ClassifierError:  # raised again where the version in use is read
        decision = None
    last = None if decision is None else _promotion(decision)
    return history if last is None or last in history else (*history, last)


def previous_version(settings: Settings) -> str | None:
    """Return the version that `rollback` goes back to, None where there is none."""
    return next(reversed(_before(promotions(settings))), None)


def _before(history: tuple[Promotion, ...]) -> tuple[str, ...]:
    """Return the versions that led to the one in use, oldest first; a rollback removes the last ones."""
    path: list[str] = []
    for one in history:
        if one.act == "rollback":
            while path and path.pop() != one.version:
                pass
        elif one.previous is not None and one.previous != one.version:
            path.append(one.previous)
    return tuple(path)


def _history(settings: Settings) -> tuple[Promotion, ...]:
    """Return the decisions in the history; a partial line left by a crash is skipped."""
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
        log.warning("a line of %s is not a decision and was skipped", HISTORY)
        return None


def _append(settings: Settings, decisions: tuple[Promotion, ...]) -> None:
    """Append those of `decisions` that the history lacks; existing lines are never rewritten."""
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
    """Return the version to serve, and why it is not the one in use.

    A version with damaged files is refused by name, and the last intact one before it serves. Cheap enough for every
    rerun of a page.

    Returns
    -------
    tuple of str and ClassifierError or None
        The version, and the error that refused the one in use.

    Raises
    ------
    ClassifierError
        If no version is intact.
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
    except (ClassifierError, KeyError):  # nothing shipped; the error names the version in use
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

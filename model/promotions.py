"""Promotion of classifier versions: which is in use, by whose decision, and which serves when its files are damaged.

`active.json` names the version in use and holds the decision that promoted it, so that one rename commits both;
`promotions.jsonl` keeps every decision, one a line, and `decisions/last.json` the last one once more. A crash
between them loses none: reading the history adds the decision of the pointer, and the next decision writes it down
first. No tensorflow here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from core.errors import ClassifierError
from core.files import locked, make_folder, private_opener, sync_folder, write_atomically
from core.settings import Settings
from model.card import ModelCard, card_to_json
from model.decisions import (
    ACTIVE,
    COPY,
    HISTORY,
    Act,
    Promotion,
    believed,
    last_promotion,
    promotion_from,
    read_history,
    read_pointer,
    recorded_digests,
    seal_of,
)
from model.registry import (
    CARD,
    file_digests,
    file_sha256,
    known_sha256,
    refuse_other_files,
    verify,
    verify_again,
    version_folder,
)

log = logging.getLogger(__name__)


def promote(
    settings: Settings,
    version: str,
    *,
    who: str,
    why: str = "",
    overruled: tuple[str, ...] = (),
    expected: str | None = None,
    act: Act = "promote",
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
    make_folder(settings.data_dir)
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
    make_folder(settings.data_dir)
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
    act: Act,
) -> Promotion:
    digests = verified(settings, version)[1]
    history = promotions(settings)
    try:
        previous = read_pointer(settings).get("version")
        in_use = settings.classifier or previous
    except ClassifierError:  # promoting again is what repairs the pointer
        last = believed(settings)
        previous = None if last is None else last.version
        in_use = expected
    if expected is not None and in_use != expected:
        raise ClassifierError(
            f"expected {expected} in use. Received: {in_use}, which was promoted meanwhile",
            advice="Another administrator changed the version in use. Reload the page, then decide.",
        )
    _append(settings, history)
    decision = Promotion(_now(), who, version, previous, why, tuple(overruled), act, digests)
    write_atomically(settings.data_dir / ACTIVE, _pointing_to(decision, (*read_history(settings), decision)))
    try:
        _append(settings, (*history, decision))
        _write_copy(settings)
    except OSError:  # the version is in use, and the pointer carries the decision until the next one
        log.exception("the decision about %s could not be added to %s", version, HISTORY)
    return decision


def _pointing_to(decision: Promotion, history: tuple[Promotion, ...]) -> str:
    values = {"version": decision.version, "decision": asdict(decision), "history": seal_of(history)}
    return json.dumps(values)


def _write_copy(settings: Settings) -> None:
    """Write the copy, after the history, so that a crash leaves it behind and never ahead."""
    history = read_history(settings)
    last = last_promotion(history)
    if last is not None:
        make_folder((settings.data_dir / COPY).parent)
        write_atomically(settings.data_dir / COPY, _pointing_to(last, history))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def verified(settings: Settings, version: str, *, again: bool = False) -> tuple[Path, Mapping[str, str]]:
    """Compare a version's files with the checksums on its card, and with those on record for it.

    Parameters
    ----------
    settings
        Settings of the installation.
    version
        Name of an installed version.
    again
        Read only files that changed since: cheap enough for every rerun of a page.

    Returns
    -------
    tuple of Path and mapping of str to str
        The version's folder, and the SHA-256 of its files by name.

    Raises
    ------
    ClassifierError
        If the version is not installed, or its files were changed or damaged.
    """
    folder = version_folder(settings, version)
    card = (verify_again if again else verify)(folder)
    digests = file_digests(card, (known_sha256 if again else file_sha256)(folder / CARD))
    known = recorded_digests(settings, version)
    if known and (digests not in known or card.version != version):
        expected = str(known[-1].get(CARD))
        raise ClassifierError(
            f"expected sha256 {expected[:12]}… for the card of {version}. Received: {digests[CARD][:12]}…",
            advice=f"The card of version {version} was changed or damaged and will not be used.",
        )
    return folder, digests


def change_card(settings: Settings, card: ModelCard, *, who: str, why: str) -> None:
    """Replace the card of a version, for the same weights and population; of a version on record, as a decision.

    Parameters
    ----------
    settings
        The installation.
    card
        The new card; it names the version.
    who, why
        Who changes it and for what reason, for the history.

    Raises
    ------
    ClassifierError
        If the card is another version's or names other files, or the version is missing or damaged.
    """
    make_folder(settings.data_dir)
    with locked(settings.data_dir / ACTIVE):
        folder, _ = verified(settings, card.version)
        refuse_other_files(verify(folder), card)
        text, shipped = card_to_json(card), settings.shipped_weights / ACTIVE
        digests = file_digests(card, hashlib.sha256(text.encode()).hexdigest())
        history = promotions(settings)
        if any(one.version == card.version for one in history):
            change = Promotion(_now(), who, card.version, card.version, why, act="card", digests=digests)
            _append(settings, (*history, change))
            _write_copy(settings)
        write_atomically(folder / CARD, text)
        # The shipped version's own record; only whoever develops PneumoLens changes its card.
        if (
            folder.parent == settings.shipped_weights
            and read_pointer(Settings(settings.data_dir / "none", shipped_weights=settings.shipped_weights)).get(
                "version"
            )
            == card.version
        ):
            write_atomically(shipped, json.dumps({"version": card.version, "digests": digests}, indent=1) + "\n")


def promotions(settings: Settings) -> tuple[Promotion, ...]:
    """Return every decision about the version in use on this installation, oldest first."""
    history = read_history(settings)
    try:
        decision = read_pointer(settings).get("decision")
        last = None if decision is None else promotion_from(decision)
    except ClassifierError:  # raised again where the version in use is read
        last = believed(settings)
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


def _append(settings: Settings, decisions: tuple[Promotion, ...]) -> None:
    """Append those of `decisions` that the history lacks; existing lines are never rewritten."""
    path, known = settings.data_dir / HISTORY, read_history(settings)
    missing = [one for one in decisions if one not in known]
    if not missing:
        return
    with open(path, "ab", opener=private_opener) as file:
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
        last = believed(settings)
        candidates += [] if last is None else [last.version]
    candidates += reversed(_before(promotions(settings)))
    try:
        candidates += [read_pointer(Settings(settings.shipped_weights))["version"]]
    except (ClassifierError, KeyError):  # nothing shipped; the error names the version in use
        log.debug("no version shipped")
    for version in candidates:
        try:
            verified(settings, version, again=True)
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

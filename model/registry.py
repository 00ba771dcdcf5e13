"""Registry of classifier versions on disk: which are installed, which is in use, whether their files are intact.

A version is a folder <version>/ with `card.json`, the weights file that the card names and, where the card has their
checksums, `population.npz`, the training population, and `anatomy.npz`, the network that finds the lungs. The product
ships one; an installation adds its own below its data folder. No tensorflow here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

from core.errors import ClassifierError
from core.files import make_folder, sync_folder, write_atomically
from core.settings import Settings
from model.card import ModelCard, card_from_json, card_to_json
from model.decisions import VERSION_NAME, read_pointer
from model.population import POPULATION

CARD = "card.json"
ANATOMY = "anatomy.npz"
# A file that changed twice within a tick of the clock looks unchanged, so recent files are not cached.
_TICK_NS = 2_000_000_000
_checksums: dict[Path, tuple[tuple[int, ...], str]] = {}


def list_versions(settings: Settings) -> tuple[str, ...]:
    """Return every version that has a card, oldest first."""
    found = {
        path.parent.name
        for root in _roots(settings)
        for path in root.glob(f"*/{CARD}")
        if VERSION_NAME.fullmatch(path.parent.name)
    }
    return tuple(sorted(found, key=_version_key))


def _version_key(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[.\-]", version)]


def _roots(settings: Settings) -> tuple[Path, Path]:
    return settings.versions_dir, settings.shipped_weights


def version_folder(settings: Settings, version: str) -> Path:
    """Return the folder of `version` in the installation of `settings`.

    Raises
    ------
    ClassifierError
        If the version is not installed.
    """
    if VERSION_NAME.fullmatch(version):
        for root in _roots(settings):
            if (root / version / CARD).is_file():
                return root / version
    raise ClassifierError(
        f"expected a version of {', '.join(list_versions(settings))}. Received: {version}",
        advice="Choose a classifier version that is installed.",
    )


def active_version(settings: Settings) -> str:
    """Return the version in use: that of the settings, else the promoted one, else the one that ships.

    Raises
    ------
    ClassifierError
        If there is none.
    """
    version = settings.classifier or read_pointer(settings).get("version")
    if version is None:
        raise ClassifierError(
            "expected a classifier version in use. Received: none",
            advice="Install or train a classifier, then promote it.",
        )
    return str(version)


def load_card(settings: Settings, version: str) -> ModelCard:
    """Read the card of `version` in the installation of `settings`.

    Raises
    ------
    ClassifierError
        If it is missing or damaged.
    """
    return read_card(version_folder(settings, version))


def read_card(folder: Path) -> ModelCard:
    """Read the card in a version's folder.

    Raises
    ------
    ClassifierError
        If it is missing or damaged.
    """
    try:
        return card_from_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ClassifierError(
            f"expected a readable {CARD}. Received: {type(error).__name__}",
            advice="The classifier's card is missing; install the version again.",
        ) from error


def replace_card(folder: Path, card: ModelCard) -> None:
    """Replace the card of the version in `folder` by `card`, for the same weights and population.

    `model.promotions.change_card` does so for a version on record: the changed card would be refused otherwise.

    Raises
    ------
    ClassifierError
        If the card is that of another version, of other weights or of another population.
    """
    refuse_other_files(verify(folder), card)
    write_atomically(folder / CARD, card_to_json(card))


def refuse_other_files(kept: ModelCard, card: ModelCard) -> None:
    """Raise ClassifierError if `card` is not one of the version, weights and population of `kept`."""
    if any(
        getattr(card, name) != getattr(kept, name)
        for name in ("version", "sha256", "weights_file", "population_sha256", "anatomy_sha256")
    ):
        raise ClassifierError(
            f"expected a card of {kept.version} and its weights. Received: one of {card.version}",
            advice="Make a new version for other weights.",
        )


def file_digests(card: ModelCard, card_sha256: str) -> dict[str, str]:
    """Return the SHA-256 of the files of a verified version by name; `card_sha256` is that of the file of `card`."""
    population = {POPULATION: card.population_sha256} if card.population_sha256 else {}
    anatomy = {ANATOMY: card.anatomy_sha256} if card.anatomy_sha256 else {}
    return {CARD: card_sha256, card.weights_file: card.sha256, **population, **anatomy}


def verify(folder: Path) -> ModelCard:
    """Compare the files of a version with the checksums on its card, and return the card.

    Raises
    ------
    ClassifierError
        If they differ. Such files are never loaded.
    """
    return _check(folder, file_sha256)


def verify_again(folder: Path) -> ModelCard:
    """Verify as `verify` does, but read only files that changed since: cheap enough for every rerun of a page."""
    return _check(folder, known_sha256)


def _check(folder: Path, sha256_of: Callable[[Path], str]) -> ModelCard:
    card = read_card(folder)
    _compare(folder, card, card.weights_file, card.sha256, "weights", sha256_of)
    if card.population_sha256:
        _compare(folder, card, POPULATION, card.population_sha256, "population file", sha256_of)
    if card.anatomy_sha256:
        _compare(folder, card, ANATOMY, card.anatomy_sha256, "anatomy network", sha256_of)
    return card


def _compare(
    folder: Path, card: ModelCard, name: str, sha256: str, what: str, sha256_of: Callable[[Path], str]
) -> None:
    path = folder / name
    is_missing, was = ("are missing", "were") if what == "weights" else ("is missing", "was")
    if path.parent != folder or not path.is_file():
        raise ClassifierError(
            f"expected {name} beside the card of {card.version}. Received: no such file",
            advice=f"The {what} of version {card.version} {is_missing}; install it again.",
        )
    try:
        received = sha256_of(path)
    except OSError as error:
        raise ClassifierError(
            f"expected readable {what} of {card.version}. Received: {type(error).__name__}",
            advice=f"The {what} of version {card.version} cannot be read.",
        ) from error
    if received != sha256:
        raise ClassifierError(
            f"expected sha256 {sha256[:12]}… for {card.version}. Received: {received[:12]}…",
            advice=f"The {what} of version {card.version} {was} changed or damaged and will not be used.",
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """Return `file_sha256(path)`, cached while inode, size and times of the file stay the same.

    The change time is among them: unlike the modification time it cannot be set back.
    """
    about = path.stat()
    state = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    known = _checksums.get(path)
    if known is not None and known[0] == state:
        return known[1]
    checksum, now = file_sha256(path), time.time_ns()
    if now - about.st_ctime_ns > _TICK_NS:
        _checksums[path] = (state, checksum)
    return checksum


def next_version(root: Path, settings: Settings, today: date) -> str:
    """Return the next version name of a day, such as 2026.11.20-2; a name is never used twice.

    Parameters
    ----------
    root
        Folder of the versions.
    settings
        The installation, whose names are taken as well.
    today
        The day.
    """
    taken = {*list_versions(settings), *(path.name for path in root.glob("*"))}
    day = f"{today:%Y.%m.%d}-"
    numbers = [
        int(name.removeprefix(day)) for name in taken if name.startswith(day) and name.removeprefix(day).isdecimal()
    ]
    return f"{day}{max(numbers, default=0) + 1}"


def add_version(
    root: Path,
    card: ModelCard,
    write_weights: Callable[[Path], object],
    write_population: Callable[[Path], object] | None = None,
    anatomy: Path | None = None,
) -> Path:
    """Create the folder of a version, whole or not at all.

    Parameters
    ----------
    root
        Folder of all versions.
    card
        The card; its checksums are filled in from the files that are written.
    write_weights, write_population
        Write the files to the path that they are called with. Without a population the version has none.
    anatomy
        Weights of the anatomy network that frames its films; copied.

    Returns
    -------
    Path
        <root>/<version>

    Raises
    ------
    ClassifierError
        If the version exists.
    """
    folder = root / card.version
    if folder.exists():
        raise ClassifierError(
            f"expected a new version. Received: {card.version}, which exists",
            advice="Give the new classifier another version name.",
        )
    staging = root / f".{card.version}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    make_folder(staging)
    try:
        write_weights(staging / card.weights_file)
        if write_population is not None:
            write_population(staging / POPULATION)
        known = file_sha256(staging / POPULATION) if write_population is not None else ""
        if anatomy is not None:
            write_atomically(staging / ANATOMY, anatomy.read_bytes())
        complete = replace(
            card,
            sha256=file_sha256(staging / card.weights_file),
            population_sha256=known,
            anatomy_sha256=file_sha256(staging / ANATOMY) if anatomy is not None else "",
        )
        write_atomically(staging / CARD, card_to_json(complete))
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(root)
    return folder

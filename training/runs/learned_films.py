"""Films that a version has learned from: kept with the version, and looked for among those of an evaluation.

    <version>/films.npz   of each radiograph: SHA-256 of its file, label, side of the split, and its fingerprint

The fingerprint of a film is its perceptual hash (64 bits) and a sketch of its thumbnail (256 bits), too little to draw
a picture from. The file needs no checksum of its own: its SHA-256 and labels must give the digest of the data on the
card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from core.errors import AppError
from core.files import write_atomically
from core.formatting import format_count
from core.settings import Settings
from imaging.radiograph import DETAIL_PX, Radiograph, squash
from model.card import ModelCard
from model.registry import version_folder
from training.data.duplicates import (
    NEAR_BITS,
    THUMBNAIL_PX,
    Fingerprint,
    hash_masks,
    square_fingerprint,
    standardised,
)
from training.data.sample import Sample, digest
from training.runs.held_out import lineage, made_version, read_manifest

FILMS = "films.npz"
SKETCH_BITS = 256
# Thumbnails that correlate at `training.data.duplicates.NEAR_CORRELATION` differ in 14 ± 4 of the bits, those of two
# children in 50 and more.
NEAR_SKETCH_BITS = 24
# Bounds the comparisons where thousands of blank pictures share a hash.
_MOST_CANDIDATES = 200
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """Radiographs of a training.

    Attributes
    ----------
    sha256
        (n,), of each file.
    held_out
        (n,), bool: validation, on which calibration and operating points were chosen.
    phash
        (n,), uint64, and `sketch`, (n, 32), uint8; both empty for a training whose pictures are not on record.
    """

    sha256: tuple[str, ...]
    held_out: npt.NDArray[np.bool_]
    phash: npt.NDArray[np.uint64]
    sketch: Bits


@dataclass(frozen=True, slots=True)
class LearnedFilms:
    """Films of a set that a version, or one that it was initialized from, knows.

    Attributes
    ----------
    trained
        Number of films whose file was trained on.
    trained_nearly
        Number of further films that are the same picture, or nearly, as one that was trained on.
    held_out
        Number of further films on which the version was calibrated, as files or pictures.
    unknown
        Versions whose training films are not on record.
    """

    version: str
    n: int
    trained: int
    trained_nearly: int
    held_out: int
    unknown: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What the reader must know of the figures; "" where nothing speaks against them."""
        found = []
        if self.trained or self.trained_nearly:
            found.append(
                f"{self.trained + self.trained_nearly} of {format_count(self.n, 'radiograph')} were used to train "
                f"{self.version} or a version it was initialized from ({self.trained} as files, {self.trained_nearly} "
                "as the same or nearly the same picture); its figures are optimistic."
            )
        if self.held_out:
            found.append(
                f"{self.version} was calibrated on {self.held_out} of {format_count(self.n, 'radiograph')}; "
                "its calibration and operating points are optimistic."
            )
        if self.unknown:
            found.append(f"The training radiographs of {', '.join(self.unknown)} are not on record.")
        return " ".join(found)


def save_films(
    folder: Path, samples: Sequence[Sample], held_out: npt.NDArray[np.bool_], fingerprints: Sequence[Fingerprint]
) -> None:
    """Write films.npz into the folder of a version.

    Parameters
    ----------
    folder
        The version's folder.
    samples, held_out, fingerprints
        (n,), of the training.
    """
    arrays: dict[str, Any] = {
        "sha256": np.frombuffer(bytes.fromhex("".join(s.sha256 for s in samples)), np.uint8).reshape(-1, 32),
        "label": np.array([s.label for s in samples], np.uint8),
        "held_out": np.asarray(held_out, bool),
        "phash": np.array([f.phash for f in fingerprints], np.uint64),
        "sketch": sketches(fingerprints),
    }
    write_atomically(folder / FILMS, lambda file: np.savez(file, **arrays))


def sketches(fingerprints: Sequence[Fingerprint]) -> Bits:
    """Return the sketches of fingerprints, (n, SKETCH_BITS // 8), uint8.

    Each bit is the sign of a fixed random projection of the standardised thumbnail, so that the share of different bits
    is the angle between two thumbnails in half turns.

    References
    ----------
    Charikar 2002, "Similarity estimation techniques from rounding algorithms".
    """
    if not fingerprints:
        return np.zeros((0, SKETCH_BITS // 8), np.uint8)
    flat = np.stack([standardised(f.thumbnail) for f in fingerprints])
    return np.packbits(flat @ _projections() > 0, axis=1)


@cache
def _projections() -> npt.NDArray[np.float32]:
    """Return ±1, (THUMBNAIL_PX ** 2, SKETCH_BITS): from a hash, since generators may change from release to release."""
    n = THUMBNAIL_PX**2 * SKETCH_BITS
    bits = np.unpackbits(np.frombuffer(hashlib.shake_128(b"sketch of a thumbnail").digest(n // 8), np.uint8))
    return (2.0 * bits - 1).astype(np.float32).reshape(THUMBNAIL_PX**2, SKETCH_BITS)


def films_of(settings: Settings, card: ModelCard) -> Films | None:
    """Return the training films of a version, None where they are not on record.

    From films.npz in its folder, else from the split of its run, which has no fingerprints.

    Parameters
    ----------
    settings
        The installation.
    card
        Card of the version.
    """
    try:
        # Opened here, since NumPy leaves an archive that is cut short open.
        path = version_folder(settings, card.version) / FILMS
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            sha256 = tuple(row.tobytes().hex() for row in kept["sha256"])
            labels, held_out = kept["label"], kept["held_out"].astype(bool)
            phash, sketch = kept["phash"].astype(np.uint64), kept["sketch"].astype(np.uint8)
        samples = [Sample(Path(), int(y), "", False, sha256=one) for one, y in zip(sha256, labels, strict=True)]
        fits = len(held_out) == len(sha256) and len(phash) == len(sketch) and len(phash) in (0, len(sha256))
        if fits and sketch.shape[1:] == (SKETCH_BITS // 8,) and digest(samples) == card.data.get("digest"):
            return Films(sha256, held_out, phash, sketch)
    except (OSError, ValueError, KeyError, BadZipFile, AppError):
        pass  # a version without the file, or with a damaged one or one of other data: its run may know
    for run in settings.runs_dir.glob("*/"):
        if made_version(run) == card.version:
            try:
                rows = read_manifest(run)
            except AppError:
                return None
            return Films(
                tuple(s.sha256 for s, _ in rows),
                np.array([part == "validation" for _, part in rows], dtype=bool),
                np.zeros(0, np.uint64),
                np.zeros((0, SKETCH_BITS // 8), np.uint8),
            )
    return None


class FilmsSeen:
    """Collects the SHA-256 and the fingerprint of each radiograph of an evaluation as it is decoded."""

    def __init__(self) -> None:
        self.sha256: list[str] = []
        self.fingerprints: list[Fingerprint] = []

    def __call__(self, radiograph: Radiograph) -> None:
        """Take one radiograph."""
        self.sha256.append(radiograph.sha256)
        self.fingerprints.append(square_fingerprint(squash(radiograph, DETAIL_PX)))


def learned_films(settings: Settings, version: str, seen: FilmsSeen) -> LearnedFilms:
    """Count the films of an evaluation that a version, or one that it was initialized from, has learned from.

    Parameters
    ----------
    settings
        The installation.
    version
        Name of the version.
    seen
        The films of the evaluation.
    """
    n = len(seen.sha256)
    phash, sketch = np.array([f.phash for f in seen.fingerprints], np.uint64), sketches(seen.fingerprints)
    trained, nearly, held_out = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    unknown = []
    for place, (name, card) in enumerate(lineage(settings, version)):
        films = None if card is None else films_of(settings, card)
        if films is None:
            unknown.append(name)
            continue
        by_side = [
            {one for one, out in zip(films.sha256, films.held_out, strict=True) if out == side} for side in (0, 1)
        ]
        trained |= np.array([one in by_side[0] for one in seen.sha256], bool)
        held = np.array([one in by_side[1] for one in seen.sha256], bool)
        if len(films.phash):
            out = films.held_out
            nearly |= near(phash, sketch, films.phash[~out], films.sketch[~out])
            held |= near(phash, sketch, films.phash[out], films.sketch[out])
        if place == 0:  # what another version was calibrated on has no influence on the weights
            held_out |= held
    nearly &= ~trained
    held_out &= ~(trained | nearly)
    return LearnedFilms(version, n, int(trained.sum()), int(nearly.sum()), int(held_out.sum()), tuple(unknown))


def near(
    phash: npt.NDArray[np.uint64], sketch: Bits, known_phash: npt.NDArray[np.uint64], known_sketch: Bits
) -> npt.NDArray[np.bool_]:
    """Return which films are the same or nearly the same picture as a known one.

    The search is linear in the number of films, since only films that share half of their hash are compared.

    Parameters
    ----------
    phash, sketch
        (n,), uint64, and (n, SKETCH_BITS // 8), uint8: of the films.
    known_phash, known_sketch
        (m,) and (m, SKETCH_BITS // 8): of the known ones.

    Returns
    -------
    ndarray
        (n,), bool.
    """
    found = np.zeros(len(phash), bool)
    if not len(known_phash):
        return found
    for mask in hash_masks():
        bits = np.uint64(mask)
        order = np.argsort(known_phash & bits, kind="stable")
        keys = (known_phash & bits)[order]
        low, high = (np.searchsorted(keys, phash & bits, side=side) for side in ("left", "right"))
        for i in np.flatnonzero((high > low) & ~found):
            members = order[low[i] : min(high[i], low[i] + _MOST_CANDIDATES)]
            hashes = np.bitwise_count(known_phash[members] ^ phash[i]) <= NEAR_BITS
            drawn = np.bitwise_count(known_sketch[members] ^ sketch[i]).sum(axis=1) <= NEAR_SKETCH_BITS
            found[i] = bool((hashes & drawn).any())
    return found

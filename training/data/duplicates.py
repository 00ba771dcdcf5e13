"""Fingerprints of radiographs, and the search for identical and nearly identical ones.

Identical means equal pixels, whatever the file format. Nearly identical means perceptual hashes (Zauner 2010) within
three bits whose thumbnails correlate as well. The search is linear in the number of files.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

THUMBNAIL_PX = 32
# Hamming distance up to which two 64-bit hashes are compared more closely.
NEAR_BITS = 3
BANDS = 6
NEAR_CORRELATION = 0.985
# Bounds the comparisons, so that a folder of ten thousand blank radiographs does not take ten thousand times as long.
MAX_NEIGHBOURS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Digest of the pixels, 64-bit perceptual hash, and thumbnail, uint8 (THUMBNAIL_PX, THUMBNAIL_PX)."""

    digest: str
    phash: int
    thumbnail: npt.NDArray[np.uint8]


def fingerprint(grey: npt.NDArray[np.uint8], small: npt.NDArray[np.uint8]) -> Fingerprint:
    """Return the fingerprint of a radiograph.

    Parameters
    ----------
    grey
        uint8 (H, W): the whole radiograph.
    small
        uint8 (h, w): the same, reduced to a square.

    References
    ----------
    Zauner 2010, "Implementation and benchmarking of perceptual image hash functions": the signs of the 64 lowest
    frequencies about their median.
    """
    thumbnail = cv2.resize(small, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)
    low = np.asarray(cv2.dct(thumbnail.astype(np.float32)))[:8, :8].ravel()
    bits = low > np.median(low[1:])
    digest = hashlib.sha256(repr(grey.shape).encode() + np.ascontiguousarray(grey).tobytes()).hexdigest()
    return Fingerprint(digest, int("".join("1" if bit else "0" for bit in bits), 2), thumbnail)


def square_fingerprint(square: npt.NDArray[np.uint8]) -> Fingerprint:
    """Return the fingerprint of a radiograph of which only the squashed picture `square`, uint8 (n, n), is kept.

    Its digest is that of the square: radiographs with equal pixels have equal squares.
    """
    return fingerprint(square, square)


def same_radiographs(fingerprints: Sequence[Fingerprint]) -> list[list[int]]:
    """Return the groups of two or more places whose radiographs are identical or nearly identical.

    No place is in two groups: copies of a radiograph are in the group of all that are nearly identical to it.
    """
    seen = dict(enumerate(fingerprints))
    exact = {members[0]: members for members in exact_duplicates(seen)}
    near = [
        [i for first in members for i in exact.pop(first, [first])]
        for members in near_duplicates(seen, list(exact.values()))
    ]
    return sorted(sorted(members) for members in [*near, *exact.values()])


def exact_duplicates(fingerprints: Mapping[int, Fingerprint]) -> list[list[int]]:
    """Return groups of two or more keys whose pixels are equal."""
    return [members for members in _by(fingerprints, lambda i: fingerprints[i].digest) if len(members) > 1]


def near_duplicates(fingerprints: Mapping[int, Fingerprint], exact: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group radiographs whose perceptual hashes are close and whose thumbnails correlate.

    Parameters
    ----------
    fingerprints
        By index of the file.
    exact
        Groups of identical files, of which the first one counts.

    Returns
    -------
    list of list of int
        Groups of at least two indices.
    """
    spare = {i for members in exact for i in members[1:]}
    candidates = [i for i in fingerprints if i not in spare]
    parent = {i: i for i in candidates}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    # Computed on demand: few files get this far, and all of them would take gigabytes.
    flat = cache(lambda i: standardised(fingerprints[i].thumbnail))
    for mask in hash_masks():
        for members in _by(candidates, lambda i, mask=mask: fingerprints[i].phash & mask):  # type: ignore[misc]
            for position, i in enumerate(members):
                for j in members[position + 1 : position + 1 + MAX_NEIGHBOURS]:
                    if (
                        (fingerprints[i].phash ^ fingerprints[j].phash).bit_count() <= NEAR_BITS
                        and root(i) != root(j)
                        and float(flat(i) @ flat(j)) >= NEAR_CORRELATION
                    ):
                        parent[root(j)] = root(i)
    return [members for members in _by(candidates, root) if len(members) > 1]


def _by(items: Iterable[int], key: Callable[[int], Any]) -> list[list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def hash_masks() -> list[int]:
    """Return every choice of three of six bands of a 64-bit hash, as masks.

    Three flipped bits leave at least three bands unchanged, so two near hashes agree under one of the masks; and 32
    bits are rarely shared by chance, as 16 bits of a hundred thousand chest radiographs are.
    """
    edges = [round(64 * band / BANDS) for band in range(BANDS + 1)]
    bands = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
    return [sum(chosen) for chosen in combinations(bands, BANDS - NEAR_BITS)]


def standardised(thumbnail: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return a thumbnail's detail as a vector of length 1.

    Parameters
    ----------
    thumbnail
        (THUMBNAIL_PX, THUMBNAIL_PX), uint8.

    Returns
    -------
    ndarray
        (THUMBNAIL_PX ** 2,), float32.
    """
    # Without the low frequencies that all chest radiographs share, so that a correlation means the same exposure.
    grey = thumbnail.astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 4)
    return np.asarray((detail / (np.linalg.norm(detail) + 1e-6)).ravel(), np.float32)

"""Words for an acquisition style: what marks its films apart from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from training.data.style_features import MARK_CELLS, QUANTILES

Matrix = npt.NDArray[np.float64]

# A difference of medians in units of the spread over all films.
_CLEAR = 0.8
_MOST_WORDS = 5
# A cell of the mean mark map counts from this share of its brightest cell, and from this absolute value.
_PEAK_SHARE, _PEAK = 0.3, 1.0
_LARGE_CELLS = 4
_BORDER = 0.03
_NAMES = ("upper", "middle", "lower"), ("left", "middle", "right")
# Rows of `StyleFeatures.picture`: tone, then noise, then borders.
_MEDIAN, _BLACK, _SPREAD, _FINEST, _TOP = QUANTILES.index(50), len(QUANTILES), 19, 21, 34


def describe(raw: Mapping[str, Matrix], member: npt.NDArray[np.bool_]) -> str:
    """Describe a style in words, such as "large mark at the upper left, low contrast".

    Parameters
    ----------
    raw
        Features of n films by kind, as `training.data.styles.raw_matrix` returns them.
    member
        (n,), bool: the films of the style.
    """
    words = [*_marks(raw["marks"], member), *_picture(raw["picture"], member), *_file(raw["file"], member)]
    return ", ".join(words[:_MOST_WORDS]) or "no distinct feature"


def _marks(marks: Matrix, member: npt.NDArray[np.bool_]) -> list[str]:
    shape = (MARK_CELLS, MARK_CELLS)
    # Marks of most films of the style: the median film has them in about this cell.
    usual = np.median(_blurred(marks[member]), axis=0).reshape(shape)
    peak = float(usual.max())
    if peak < _PEAK:
        return ["no mark in a fixed place"]
    bright = (usual >= max(_PEAK, _PEAK_SHARE * peak)).astype(np.uint8)
    count, parts, boxes, middles = cv2.connectedComponentsWithStats(bright, connectivity=8)
    found = []
    for part in range(1, count):
        column, row = middles[part]
        vertical = _NAMES[0][min(2, int((row + 0.5) / MARK_CELLS * 3))]
        horizontal = _NAMES[1][min(2, int((column + 0.5) / MARK_CELLS * 3))]
        width, height, cells = (int(boxes[part][at]) for at in (2, 3, 4))
        kind = "text" if width >= 2 * height and row in (0, MARK_CELLS - 1) else "mark"
        size = "large " if cells >= _LARGE_CELLS and kind == "mark" else ""
        place = "middle" if vertical == horizontal == "middle" else f"{vertical} {horizontal}"
        strength = float(usual[parts == part].sum())
        found.append((strength, f"{size}{kind} at the {place}"))
    return list(dict.fromkeys(words for _, words in sorted(found, reverse=True)))[:3]


def _blurred(marks: Matrix) -> Matrix:
    """Blur the mark maps of films, (n, 196), by half a cell, so that letters a few pixels apart coincide."""
    maps = marks.reshape(-1, MARK_CELLS, MARK_CELLS)
    return np.stack([cv2.GaussianBlur(one, (3, 3), 0.6).ravel() for one in maps])


def _picture(picture: Matrix, member: npt.NDArray[np.bool_]) -> list[str]:
    low, middle, high = np.percentile(picture, (16, 50, 84), axis=0)
    apart = (np.median(picture[member], axis=0) - middle) / np.maximum((high - low) / 2, 1e-3)
    named = (
        (_SPREAD, "high contrast", "low contrast"),
        (_MEDIAN, "bright surroundings", "dark surroundings"),
        (_FINEST, "sharp or noisy", "soft"),
        (_BLACK, "clipped black", ""),
    )
    words = [
        (abs(apart[at]), more if apart[at] > 0 else less)
        for at, more, less in named
        if abs(apart[at]) >= _CLEAR and (more if apart[at] > 0 else less)
    ]
    borders = np.median(picture[member], axis=0)[_TOP:]
    sides = [side for side, wide in zip(("top", "right", "bottom", "left"), borders, strict=True) if wide >= _BORDER]
    found = [word for _, word in sorted(words, key=lambda one: (-one[0], one[1]))]
    return found + ([f"black border ({', '.join(sides)})"] if sides else [])


def _file(file: Matrix, member: npt.NDArray[np.bool_]) -> list[str]:
    """Name the encoding where nearly all of the style have it and few others do."""
    words = []
    for at, name in ((7, "progressive JPEG"), (9, "PNG"), (10, "DICOM")):
        own, rest = float(file[member, at].mean()), float(file[~member, at].mean()) if (~member).any() else 0.0
        if own >= 0.9 and rest <= 0.5:
            words.append(name)
    sizes = np.unique(np.round(np.exp(file[member, :2])).astype(int), axis=0)
    everybody = np.unique(np.round(np.exp(file[:, :2])).astype(int), axis=0)
    if len(sizes) == 1 and len(everybody) > 1 and math.isfinite(float(sizes[0][0])):
        words.append(f"{sizes[0][0]} × {sizes[0][1]} px")
    return words

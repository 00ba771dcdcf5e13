"""Where the influence on the probability lies: which side and zone of the lungs, and how much of it outside the thorax.

A classifier may lean on what has nothing to do with the lungs: in public data the metal letter beside the child tells
hospitals apart (Zech et al. 2018, doi 10.1371/journal.pmed.1002683; DeGrave et al. 2021, doi
10.1038/s42256-021-00338-7). How much of the influence falls outside the thorax makes that visible for one film.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_percentage
from imaging.film import FilmHeader
from model.anatomy import Mask, Thorax, find_lungs
from model.assessment import EvidenceRegions

MOSTLY = 0.5
MEDIASTINUM = "mediastinum"
NOT_FOUND = EvidenceRegions((), math.nan)
ZONES = tuple(f"{side} {level} zone" for side in ("right", "left") for level in ("upper", "middle", "lower"))
_OUTSIDE = "{share} of the influence falls outside the thorax. "
_LIKELY = (
    "The probability rests on something other than the lungs, such as a marker, a tube or the film’s edge: do "
    "not rely on it."
)
_UNLIKELY = "What little raised the probability is not in the lungs."

_GRID = 256
# Radiologists speak of thirds of the lung's height; the costophrenic angles reach a little below the lowest third.
_THIRDS = (0.3, 0.6)
# As wide as spine and great vessels. The heart lies before the left lower lobe, so its side counts as that zone.
_MIDLINE = 0.2
# A marker: small, compact, and much brighter than even the bright parts of what surrounds it, which a rib or the end of
# a clavicle never is. Shares of the picture's side, and grey levels.
_MARKER_SIDES, _MARKER_REACH, _MARKER_CONTRAST = (0.012, 0.12), 1 / 16, 45


def locate_evidence(
    pixels: npt.NDArray[np.uint8], influence: npt.NDArray[np.floating], *, is_mirrored: bool = False
) -> EvidenceRegions | None:
    """Share the influence out among six zones of the lungs, the mediastinum and what lies outside the thorax.

    pixels is uint8 (H, W), an upright frontal radiograph, larger is brighter; influence is (h, w) ≥ 0 over the same
    picture, on any grid. The picture's left is the patient's right unless `is_mirrored`. None when there is no
    influence, and `NOT_FOUND` where no lungs stand out, as where both are white: better nothing than the wrong zone.
    Influence on a marker beside the lungs counts as outside, even where the thorax reaches it.
    """
    height, width = influence.shape
    spread = np.asarray(influence, np.float64)
    if (height, width) != (_GRID, _GRID):
        how = cv2.INTER_AREA if min(height, width) > _GRID else cv2.INTER_LINEAR
        spread = np.asarray(cv2.resize(spread, (_GRID, _GRID), interpolation=how), np.float64)
    total = float(spread.sum())
    if not total > 0:
        return None
    thorax = find_lungs(pixels)
    if thorax is None:
        return NOT_FOUND
    inside = thorax.mask(_GRID, _GRID) & ~_beside_markers(pixels, thorax)
    across, down = thorax.coordinates(_GRID, _GRID)
    lateral = np.abs(across) > _MIDLINE
    is_right = (across > 0) if is_mirrored else (across < 0)
    levels = np.digitize(down, _THIRDS)
    shares = [
        float(spread[inside & lateral & (is_right == (side == "right")) & (levels == level)].sum()) / total
        for side in ("right", "left")
        for level in range(3)
    ]
    middle = float(spread[inside & ~lateral].sum()) / total
    outside = max(0.0, 1 - sum(shares) - middle)
    return EvidenceRegions(tuple(zip((*ZONES, MEDIASTINUM), (*shares, middle), strict=True)), outside)


def is_mirrored(header: FilmHeader | None) -> bool:
    """Tell whether a DICOM file says that its rows run towards the patient's right, so that sides change places.

    Without a word on orientation (PS3.3 C.7.6.1.1.1) the film is taken to be hung as usual.
    """
    return header is not None and header.orientation is not None and header.orientation[0][:1] == "R"


def region_words(regions: EvidenceRegions) -> str:
    """Say where most of the influence lies, the largest shares first, and how much falls outside the thorax.

    Or that the thorax was not found.
    """
    if not regions.is_found:
        return "The thorax was not found on this film, so it cannot be said where the influence lies"
    largest = sorted(regions.shares, key=lambda one: -one[1])[:3]
    zones = [f"{name} {format_percentage(share)}" for name, share in largest if share >= 0.1]
    outside = f"outside the thorax {format_percentage(regions.outside)}"
    if regions.outside > MOSTLY:
        said = ", ".join((outside, *zones)) if zones else f"{outside}, no zone above 10 %"
    else:
        said = f"{', '.join(zones) or 'spread out, no zone above 10 %'}; {outside}"
    return f"{said[0].upper()}{said[1:]}"


def outside_warning(regions: EvidenceRegions, is_likely: bool) -> str | None:
    """Return a warning when most of the influence falls outside the thorax, otherwise None.

    `is_likely` tells that the finding is pneumonia, or near it; below, the map enlarges what counted for little.
    """
    if not regions.is_found or regions.outside <= MOSTLY:
        return None
    return _OUTSIDE.format(share=format_percentage(regions.outside)) + (_LIKELY if is_likely else _UNLIKELY)


def _beside_markers(pixels: npt.NDArray[np.uint8], thorax: Thorax) -> Mask:
    """Return where markers lie that are not in the lungs, with as much around them as a cell of the map blurs."""
    small = np.asarray(cv2.resize(pixels, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.uint8)
    beside = cv2.subtract(small, cv2.medianBlur(small, 41))
    lungs, found = thorax.lungs(_GRID, _GRID), np.zeros((_GRID, _GRID), np.uint8)
    # Twice, since on a bone or at the lung's edge a marker only stands out by more than these do.
    for contrast in (_MARKER_CONTRAST, 2 * _MARKER_CONTRAST):
        for middle in _compact(small, (beside > contrast).astype(np.uint8)):
            if not lungs[middle[1], middle[0]]:
                cv2.circle(found, middle, round(_MARKER_REACH * _GRID), 1, -1)
    return np.asarray((found > 0) & ~lungs, np.bool_)


def _compact(small: npt.NDArray[np.uint8], bright: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the middles, (column, row), of the bright parts that look like a marker."""
    # The strokes of a letter, and letters of a word, are one thing.
    bright = np.asarray(cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    least, most = (share * _GRID for share in _MARKER_SIDES)
    found = []
    for part in range(1, count):
        left, top, width, height, _ = (int(value) for value in boxes[part])
        if min(width, height) < least or max(width, height) > most:
            continue
        near = np.s_[max(0, top - 7) : top + height + 7, max(0, left - 7) : left + width + 7]
        this = (parts[near] == part).astype(np.uint8)
        around = small[near][cv2.dilate(this, np.ones((5, 5), np.uint8)) == 0]
        peak = float(np.percentile(small[near][this > 0], 75))
        if around.size and peak - np.percentile(around, 92) > _MARKER_CONTRAST:
            found.append((left + width // 2, top + height // 2))
    return found

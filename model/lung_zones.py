"""Distribution of the evidence over the lungs: zone by zone, the mediastinum, and outside the thorax.

A classifier may rely on features unrelated to the lungs: in public data the metal letter beside the child identifies
the hospital (Zech et al. 2018, doi 10.1371/journal.pmed.1002683; DeGrave et al. 2021, doi 10.1038/s42256-021-00338-7).
The share of the evidence outside the thorax shows this for one radiograph.

Example: ``region_words(locate_evidence(pixels, heatmap.values))`` is "Right lower zone 60 %, …".
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_percentage
from imaging.film import FilmHeader
from model.assessment import EvidenceRegions
from model.thorax import Mask, Thorax, find_lungs

MOSTLY = 0.5
MEDIASTINUM = "mediastinum"
NOT_FOUND = EvidenceRegions((), math.nan)
ZONES = tuple(f"{side} {level} zone" for side in ("right", "left") for level in ("upper", "middle", "lower"))
_OUTSIDE = "{share} of the evidence is outside the thorax. "
_LIKELY = (
    "The probability depends on something other than the lungs, such as a marker, a tube or the image border. Do not "
    "rely on it."
)
_UNLIKELY = "The weak evidence for pneumonia is not in the lungs."

_GRID = 256
# Zones are thirds of the lung's height; the costophrenic angles reach a little below the lowest third.
_THIRDS = (0.3, 0.6)
# As wide as spine and great vessels. The heart overlies the left lower lobe, so its side counts as that zone.
_MIDLINE = 0.2
# A marker: small, compact, and much brighter than even the bright parts around it, unlike a rib or the end of a
# clavicle. Shares of the image's side, and grey levels.
_MARKER_SIDES, _MARKER_REACH, _MARKER_CONTRAST = (0.012, 0.12), 1 / 16, 45


def locate_evidence(
    pixels: npt.NDArray[np.uint8], evidence: npt.NDArray[np.floating], *, is_mirrored: bool = False
) -> EvidenceRegions | None:
    """Divide the evidence among six zones of the lungs, the mediastinum and the outside of the thorax.

    Evidence on a marker beside the lungs counts as outside, even where the marker overlaps the thorax.

    Parameters
    ----------
    pixels
        (H, W), uint8: an upright frontal radiograph, MONOCHROME2.
    evidence
        (h, w) ≥ 0 over the same image, on any grid.
    is_mirrored
        Whether the image's left is the patient's left.

    Returns
    -------
    EvidenceRegions or None
        None without evidence; `NOT_FOUND` where no lungs were found, as where both are opaque.
    """
    height, width = evidence.shape
    spread = np.asarray(evidence, np.float64)
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
    """Whether a DICOM header says that the rows run towards the patient's right, so that sides are swapped.

    Without Patient Orientation (PS3.3 C.7.6.1.1.1) the usual display convention is assumed.
    """
    return header is not None and header.orientation is not None and header.orientation[0][:1] == "R"


def region_words(regions: EvidenceRegions) -> str:
    """Describe the distribution of the evidence: the largest shares, and the share outside the thorax."""
    if not regions.is_found:
        return "The thorax was not found, so the evidence was not localised"
    largest = sorted(regions.shares, key=lambda one: -one[1])[:3]
    zones = [f"{name} {format_percentage(share)}" for name, share in largest if share >= 0.1]
    outside = f"outside the thorax {format_percentage(regions.outside)}"
    if regions.outside > MOSTLY:
        said = ", ".join((outside, *zones)) if zones else f"{outside}, no zone above 10 %"
    else:
        said = f"{', '.join(zones) or 'no zone above 10 %'}; {outside}"
    return f"{said[0].upper()}{said[1:]}"


def outside_warning(regions: EvidenceRegions, is_likely: bool) -> str | None:
    """Return a warning when most of the evidence is outside the thorax, otherwise None.

    Parameters
    ----------
    regions
        Distribution of the evidence.
    is_likely
        Whether the finding is pneumonia or borderline. Otherwise the map, scaled to its maximum, shows weak evidence.
    """
    if not regions.is_found or regions.outside <= MOSTLY:
        return None
    return _OUTSIDE.format(share=format_percentage(regions.outside)) + (_LIKELY if is_likely else _UNLIKELY)


def _beside_markers(pixels: npt.NDArray[np.uint8], thorax: Thorax) -> Mask:
    """Return the markers outside the lungs, bool (256, 256), each with the radius to which a cell of the map blurs."""
    small = np.asarray(cv2.resize(pixels, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.uint8)
    beside = cv2.subtract(small, cv2.medianBlur(small, 41))
    lungs, found = thorax.lungs(_GRID, _GRID), np.zeros((_GRID, _GRID), np.uint8)
    # Twice: on a bone or at the edge of the lung, only a higher contrast separates a marker.
    for contrast in (_MARKER_CONTRAST, 2 * _MARKER_CONTRAST):
        for middle in _compact(small, (beside > contrast).astype(np.uint8)):
            if not lungs[middle[1], middle[0]]:
                cv2.circle(found, middle, round(_MARKER_REACH * _GRID), 1, -1)
    return np.asarray((found > 0) & ~lungs, np.bool_)


def _compact(small: npt.NDArray[np.uint8], bright: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the centres, (column, row), of the bright parts that look like a marker."""
    # Joins the strokes of a letter and the letters of a word.
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

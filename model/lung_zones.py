"""Distribution of the evidence over the lungs: zone by zone, the mediastinum, and outside the thorax.

A classifier may rely on features unrelated to the lungs: in public data the metal letter beside the child identifies
the hospital (Zech et al. 2018, doi 10.1371/journal.pmed.1002683; DeGrave et al. 2021, doi 10.1038/s42256-021-00338-7).
The share of the evidence outside the thorax shows this for one radiograph.

Example: ``region_words(locate_evidence(anatomy, heatmap.values))`` is "Right lower zone 60 %, …".
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_percentage
from imaging.film import FilmHeader
from model.anatomy import Anatomy, lungs_apart
from model.assessment import EvidenceRegions

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
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
# A zone is a third of its lung's height. The tip of an outline strays: so much of it does not count.
_THIRDS, _STRAY = (1 / 3, 2 / 3), 0.01
# Labels of a map of zones: outside 0, then ZONES of the lung on the left of the picture, of the one on its right, and
# what lies between them.
_OUTSIDE_LABEL, _BETWEEN = 0, 7


def locate_evidence(
    anatomy: Anatomy | None, evidence: npt.NDArray[np.floating], *, is_mirrored: bool = False
) -> EvidenceRegions | None:
    """Divide the evidence among six zones of the lungs, the mediastinum and the outside of the thorax.

    Parameters
    ----------
    anatomy
        Of the radiograph, which is upright and frontal; None where its lungs were not looked for.
    evidence
        (h, w) ≥ 0 over the same image, on any grid.
    is_mirrored
        Whether the image's left is the patient's left.

    Returns
    -------
    EvidenceRegions or None
        None without evidence; `NOT_FOUND` where no two lungs were found.
    """
    height, width = evidence.shape
    spread = np.asarray(evidence, np.float64)
    if (height, width) != (_GRID, _GRID):
        how = cv2.INTER_AREA if min(height, width) > _GRID else cv2.INTER_LINEAR
        spread = np.asarray(cv2.resize(spread, (_GRID, _GRID), interpolation=how), np.float64)
    total = float(spread.sum())
    if not total > 0:
        return None
    if anatomy is None or not anatomy.is_found:
        return NOT_FOUND
    zones = zone_map(anatomy, _GRID, _GRID)
    sums = np.bincount(zones.ravel(), spread.ravel(), _BETWEEN + 1) / total
    # The patient's right is on the left of the picture.
    first = (4, 1) if is_mirrored else (1, 4)
    shares = [float(sums[start + level]) for start in first for level in range(3)]
    named = tuple(zip((*ZONES, MEDIASTINUM), (*shares, float(sums[_BETWEEN])), strict=True))
    return EvidenceRegions(named, max(0.0, 1 - sum(share for _, share in named)))


def zone_map(anatomy: Anatomy, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Return the zone of each pixel of a grid over the radiograph.

    Parameters
    ----------
    anatomy
        With two lungs.
    rows, columns
        Shape of the grid.

    Returns
    -------
    ndarray
        (rows, columns), uint8: 0 outside the thorax, which is the hull of the lungs and the chest wall; 1 to 3 the
        upper, middle and lower third of the lung on the left of the picture with the chest wall beside it; 4 to 6 those
        of the lung on its right; 7 what lies between the lungs.
    """
    lungs = lungs_apart(anatomy, rows, columns)
    y, x = np.mgrid[0:rows, 0:columns]
    # Along the line from the middle of one lung to that of the other, and across it, downwards.
    places = [np.nonzero(lung) for lung in lungs]
    middles = np.array([(found[1].mean(), found[0].mean()) for found in places])
    along = (middles[1] - middles[0]) / max(1e-9, float(np.linalg.norm(middles[1] - middles[0])))
    down = y * along[0] - x * along[1]
    reach = x * along[0] + y * along[1]
    inner = [
        _inner_edge(reach, down, lung, furthest) for lung, furthest in zip(lungs, (np.maximum, np.minimum), strict=True)
    ]
    zones = np.full((rows, columns), _BETWEEN, np.uint8)
    for lung, first, beside in zip(lungs, (1, 4), (reach <= inner[0], reach >= inner[1]), strict=True):
        own = down[lung]
        top, bottom = np.quantile(own, (_STRAY, 1 - _STRAY))
        level = np.digitize((down - top) / max(1.0, float(bottom - top)), _THIRDS)
        here = lung | (beside & (zones == _BETWEEN))
        zones[here] = (first + level)[here]
    zones[~anatomy.hull(rows, columns)] = _OUTSIDE_LABEL
    return zones


def _inner_edge(reach: Float, down: Float, lung: Mask, furthest: np.ufunc) -> Float:
    """Return how far a lung reaches towards the other at each pixel's height; above and below it, as at its ends."""
    height = np.round(down - down.min()).astype(int)
    edge = np.full(int(height.max()) + 1, -np.inf if furthest is np.maximum else np.inf)
    furthest.at(edge, height[lung], reach[lung])
    known = np.flatnonzero(np.isfinite(edge))
    edge = np.interp(np.arange(len(edge)), known, edge[known])
    # Below the dome of the diaphragm the lung recedes to its outer angle; what lies there is no mediastinum.
    lowest = slice(int(known[0] + _THIRDS[1] * (known[-1] - known[0])), None)
    edge[lowest] = furthest.accumulate(edge[lowest])
    return np.asarray(edge[height], np.float64)


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

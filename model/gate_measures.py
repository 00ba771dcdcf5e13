"""Grey-value measures of a picture: spread, clipping, and the exposed field.

Measured on a subsampled copy, so that the cost does not depend on the size of the radiograph. NumPy and OpenCV only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from imaging.film import Radiograph

Grey = npt.NDArray[np.uint8]
SAMPLE_PX = 384
# JPEG compression moves black and white by a grey level or two.
_EXTREME = 2
# A marker or a caption on the black beside the field is smaller than this share of the picture.
_SMALLEST_PART = 0.02


@dataclass(frozen=True, slots=True)
class GreyMeasures:
    """Grey-value measures of one picture.

    Attributes
    ----------
    spread
        Distance from the 2nd to the 98th percentile, in grey levels of 255; percentiles, because one burnt-in letter
        must not make a blank picture look like a radiograph.
    black, white
        Shares of the field at the darkest and the brightest value, in [0, 1].
    field
        Share of the picture inside the rectangle around everything that is not black. Black outside it is left by a
        collimator or a viewer and is ignored.
    """

    spread: float
    black: float
    white: float
    field: float

    @property
    def clipped(self) -> float:
        """Share of the field that is black or white, so that structures there are lost."""
        return self.black + self.white


def subsample(radiograph: Radiograph) -> Grey:
    """Return every k-th pixel of a radiograph.

    Returns
    -------
    ndarray
        (h, w), uint8, with at least `SAMPLE_PX` on the short side where the radiograph has as many.
    """
    step = max(1, min(radiograph.pixels.shape) // SAMPLE_PX)
    # Beyond an aspect ratio of 4 to 1 the long side is subsampled further.
    along = max(step, max(radiograph.pixels.shape) // (4 * SAMPLE_PX))
    rows, columns = (step, along) if radiograph.height <= radiograph.width else (along, step)
    sample = radiograph.pixels[::rows, ::columns].astype(np.float32) * (255.0 / (2**radiograph.bits - 1))
    return np.asarray(np.clip(np.round(sample), 0, 255), np.uint8)


def measure_greys(grey: Grey) -> GreyMeasures:
    """Measure the grey values of `grey`, (h, w), uint8, as `subsample` returns it."""
    low, high = np.percentile(grey, (2, 98))
    black, white = grey <= _EXTREME, grey >= 255 - _EXTREME
    field = _field(~black)
    size = int(np.count_nonzero(field))
    if not size:
        return GreyMeasures(float(high - low), 1.0, 0.0, 0.0)
    return GreyMeasures(
        float(high - low),
        float(np.count_nonzero(black & field) / size),
        float(np.count_nonzero(white & field) / size),
        size / grey.size,
    )


def _field(lit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the smallest rectangle, rotated or not, around every sizeable part of `lit`: bool (h, w)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit.astype(np.uint8), connectivity=4)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= _SMALLEST_PART * lit.size]
    if not large:
        return np.zeros(lit.shape, bool)
    points = cv2.findNonZero(np.isin(labels, large).astype(np.uint8))
    outline = np.round(cv2.boxPoints(cv2.minAreaRect(points))).astype(np.int32)
    return cv2.fillConvexPoly(np.zeros(lit.shape, np.uint8), outline, 1).astype(bool)

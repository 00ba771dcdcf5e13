"""Features of how a radiograph was made: marks, tone, noise, borders and encoding, with nothing inside the lungs.

Pixels inside the hull of the lungs are left out. The hull is the usual framing of a chest within the outline of the
body (`training.data.usual_hull`), the same for every film: a hull fitted to dark lungs would itself depend on the
disease.

>>> features = style_features(decode_radiograph(data), data)
>>> features.tone.shape
(20,)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph, squash
from training.data.encoding import Encoding, encoding_of
from training.data.usual_hull import usual_hull

Array = npt.NDArray[np.float32]
Square = npt.NDArray[np.uint8]

# Side of the square on which features are measured: many public copies exist in no finer form.
PX = 224
MARK_CELLS = 14
QUANTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
SCALES = (1, 2, 4, 8)
RINGS = 6
# A burned-in letter is this much brighter than the median of its surroundings, of a width of 21 of 224 pixels.
_MARK_CONTRAST, _MARK_WINDOW = 25, 21
_CORNER = 40
_BORDER_GREY = 12
_FORMATS = ("JPEG", "PNG", "DICOM", "other")


@dataclass(frozen=True, slots=True, eq=False)
class StyleFeatures:
    """Features of one film, float32.

    Attributes
    ----------
    marks
        (14, 14), at least 0: the mean contrast in grey levels of burned-in marks in each cell of the film.
    tone
        (20,): 13 quantiles of the grey values in [0, 1], the shares of black and of white, the mean grey values of the
        four corners, and the contrast of the tone curve (90th less 10th percentile).
    noise
        (14,): the logarithm of mean and median detail in four bands, from the finest, and six rings of the power
        spectrum of the corners relative to their sum.
    borders
        (4,): width of the black border at the top, right, bottom and left, as a share of the side.
    file
        (11,): logarithms of width, height and bytes per pixel, aspect, quantisation, components, whether subsampled and
        progressive, and three formats.
    """

    marks: Array
    tone: Array
    noise: Array
    borders: Array
    file: Array

    def picture(self) -> Array:
        """Return the features of the picture without its marks, float32 (38,)."""
        return np.concatenate((self.tone, self.noise, self.borders))


def style_features(radiograph: Radiograph, data: bytes) -> StyleFeatures:
    """Return the style features of a file.

    Parameters
    ----------
    radiograph
        The decoded radiograph.
    data
        The bytes of its file.
    """
    square = squash(radiograph, PX)
    return features_of(square, file_row(encoding_of(data), len(data), radiograph.width, radiograph.height))


def features_of(square: Square, file: Array) -> StyleFeatures:
    """Return the style features of a squashed radiograph.

    Parameters
    ----------
    square
        (224, 224), uint8: the radiograph.
    file
        (11,), float32: the features of its file, from `file_row`.
    """
    outside = ~usual_hull(square)
    seen = square[outside] if outside.any() else np.zeros(1, np.uint8)
    # In place of the lungs comes the mean of the rest, which has no detail and no border.
    blank = np.where(outside, square, np.uint8(round(float(seen.mean())))).astype(np.uint8)
    return StyleFeatures(
        _marks(square, outside), _tone(blank, seen), _noise(square, blank, outside), _borders(blank), file
    )


def file_row(encoding: Encoding, size_bytes: int, width: int, height: int) -> Array:
    """Return the features of a file.

    Parameters
    ----------
    encoding
        Its encoding.
    size_bytes
        Its size.
    width, height
        Of the picture, in pixels.

    Returns
    -------
    ndarray
        (11,), float32.
    """
    quantisation = 0.0 if math.isnan(encoding.quantisation) else math.log(encoding.quantisation)
    kind = encoding.format if encoding.format in _FORMATS else "other"
    return np.array(
        [
            math.log(width),
            math.log(height),
            math.log(max(1, size_bytes) / (width * height)),
            width / height,
            quantisation,
            encoding.components,
            encoding.subsampled,
            encoding.progressive,
            *(kind == name for name in _FORMATS[:3]),
        ],
        np.float32,
    )


def _marks(square: Square, outside: npt.NDArray[np.bool_]) -> Array:
    raised = cv2.subtract(square, cv2.medianBlur(square, _MARK_WINDOW))
    kept = np.where(outside & (raised > _MARK_CONTRAST), raised, 0).astype(np.float32)
    return np.asarray(cv2.resize(kept, (MARK_CELLS, MARK_CELLS), interpolation=cv2.INTER_AREA), np.float32)


def _tone(blank: Square, seen: npt.NDArray[np.uint8]) -> Array:
    quantiles = np.percentile(seen, QUANTILES) / 255
    corners = [float(part.mean()) / 255 for part in _corners(blank, _CORNER)]
    spread = quantiles[QUANTILES.index(90)] - quantiles[QUANTILES.index(10)]
    return np.array([*quantiles, (seen <= 2).mean(), (seen >= 253).mean(), *corners, spread], np.float32)


def _corners(square: Square, side: int) -> tuple[Square, ...]:
    return square[:side, :side], square[:side, -side:], square[-side:, :side], square[-side:, -side:]


def _noise(square: Square, blank: Square, outside: npt.NDArray[np.bool_]) -> Array:
    before = square.astype(np.float32)
    bands: list[float] = []
    for scale in SCALES:
        after = np.asarray(cv2.GaussianBlur(before, (0, 0), scale), np.float32)
        detail = np.abs(before - after)[outside] if outside.any() else np.zeros(1, np.float32)
        bands += [float(detail.mean()), float(np.median(detail))]
        before = after
    return np.concatenate((np.log(np.array(bands) + 0.05), _rings(blank))).astype(np.float32)


def _rings(blank: Square) -> Array:
    """Return the logarithm of the share of six rings in the power spectrum of the four corners."""
    window = np.outer(np.hanning(_CORNER), np.hanning(_CORNER)).astype(np.float32)
    power = np.zeros((_CORNER, _CORNER // 2 + 1), np.float32)
    for part in _corners(blank, _CORNER):
        grey = part.astype(np.float32)
        power += np.abs(np.fft.rfft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(_CORNER)[:, None], np.fft.rfftfreq(_CORNER)[None])
    ring = np.minimum((radius / 0.5 * RINGS).astype(int), RINGS - 1)
    sums = np.bincount(ring.ravel(), power.ravel(), RINGS) + 1.0
    return np.asarray(np.log(sums / sums.sum()), np.float32)


def _borders(blank: Square) -> Array:
    rows, columns = (np.asarray(np.percentile(blank, 95, axis=axis)) > _BORDER_GREY for axis in (1, 0))
    widths = [np.argmax(line) if line.any() else PX // 2 for line in (rows, columns[::-1], rows[::-1], columns)]
    return np.array([int(wide) / PX for wide in widths], np.float32)

"""Perturbation test: how far the probability moves under small changes that no reader would notice.

Example: ``stability_words(measure_stability(radiograph, classifier), prediction)`` is "Stable: 0.91–0.96 …".
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_probability_range
from imaging.film import Radiograph
from imaging.radiograph import squash
from model.assessment import Prediction, Stability
from model.calibration import probabilities
from model.engine import Classifier

Picture = npt.NDArray[np.uint8]

# The amplitudes by which training sets the width of the borderline band.
CROP = 0.02
DEGREES = 2.0
CONTRAST = 0.07
BRIGHTNESS = 8.0
_FINER = 2


def measure_stability(radiograph: Radiograph, classifier: Classifier) -> Stability:
    """Assess a radiograph and eight perturbed copies of it, in one batch.

    Parameters
    ----------
    radiograph
        The radiograph.
    classifier
        The classifier.

    Returns
    -------
    Stability
        Range of the calibrated probability in [0, 1], the unperturbed radiograph included.
    """
    detail = classifier.detail_px
    square = squash(radiograph, detail)
    # Rotated and cropped on a finer grid where there is one, so that resampling does not blur the copies.
    is_fine = min(radiograph.height, radiograph.width) >= _FINER * detail
    fine = squash(radiograph, _FINER * detail) if is_fine else square
    squares = [square, *(_at_most(change(fine), detail) for change in CHANGES.values())]
    batch = np.stack([classifier.input_of_square(one) for one in squares])
    # The graph of `explain` is built with the first radiograph; that of `run` would be built while the reader waits.
    found = [float(p) for p in probabilities(classifier.explain(batch)[0], classifier.card.calibration)]
    return Stability(min(found), max(found), tuple(zip(CHANGES, found[1:], strict=True)))


def crossing(stability: Stability, prediction: Prediction) -> tuple[str, ...]:
    """Return the perturbations under which the finding changes.

    Parameters
    ----------
    stability
        Probabilities under the perturbations.
    prediction
        Probability without perturbation, and operating point.

    Returns
    -------
    tuple of str
        Names of the perturbations.
    """
    point = prediction.operating_point
    above = prediction.probability >= point
    return tuple(name for name, probability in stability.changes if (probability >= point) != above)


def largest_change(stability: Stability, prediction: Prediction) -> tuple[str, float]:
    """Return the perturbation with the largest change of the probability.

    Parameters
    ----------
    stability
        Probabilities under the perturbations.
    prediction
        Probability without perturbation.

    Returns
    -------
    tuple of (str, float)
        Name of the perturbation, and the probability under it in [0, 1].
    """
    return max(stability.changes, key=lambda change: abs(change[1] - prediction.probability))


def stability_words(stability: Stability, prediction: Prediction) -> str:
    """Describe whether the finding of `prediction` holds in the perturbation test `stability`, with the range."""
    count = len(stability.changes)
    span = format_probability_range(stability.low, stability.high)
    over = crossing(stability, prediction)
    if not over:
        return f"Stable: {span} under {_number(count)} small perturbation{'' if count == 1 else 's'}"
    when = (
        f"when {over[0]}" if len(over) == 1 else f"under {_number(len(over))} of {_number(count)} small perturbations"
    )
    return f"Unstable: {span}; crosses the operating point, {prediction.operating_point:.2f}, {when}"


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)


def _at_most(picture: Picture, px: int) -> Picture:
    if picture.shape[0] == px:
        return picture
    return cv2.resize(picture, (px, px), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _mirrored(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])


def _cropped(picture: Picture) -> Picture:
    side = picture.shape[0]
    margin = round(CROP * side)
    inner = picture[margin : side - margin, margin : side - margin]
    return cv2.resize(inner, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _turned(degrees: float) -> Callable[[Picture], Picture]:
    def turn(picture: Picture) -> Picture:
        side = picture.shape[0]
        by = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1.0)
        return cv2.warpAffine(
            picture, by, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.uint8)

    return turn


def _toned(factor: float, offset: float) -> Callable[[Picture], Picture]:
    def tone(picture: Picture) -> Picture:
        mean = float(picture.mean())
        return np.clip(np.round((picture.astype(np.float32) - mean) * factor + mean + offset), 0, 255).astype(np.uint8)

    return tone


# Named so that "when …" reads as a sentence. In OpenCV positive angles are counterclockwise.
CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "mirrored": _mirrored,
    "cropped": _cropped,
    "rotated left": _turned(DEGREES),
    "rotated right": _turned(-DEGREES),
    "lower in contrast": _toned(1 - CONTRAST, 0),
    "higher in contrast": _toned(1 + CONTRAST, 0),
    "darker": _toned(1, -BRIGHTNESS),
    "brighter": _toned(1, BRIGHTNESS),
}

"""What a classifier reads of a radiograph as it is, and the evidence map of it: neither is judged nor corrected.

Versions that see the whole film read its square; those that frame it by its lungs read film and lungs, and the frame is
computed when they are shown, so that a change of the film is framed, greyed and levelled as a changed file would be,
with the lungs of the unchanged film.

>>> heatmaps(classifier, reading_of(classifier, radiograph)[None], (80, 80))[0].values.shape
(80, 80)
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph
from model.assessment import Heatmap
from model.engine import Classifier
from model.explanation import grad_cam
from model.frame_map import framed_map
from model.framing import find_frame, pair_of

Picture = npt.NDArray[np.uint8]


def reading_of(classifier: Classifier, radiograph: Radiograph) -> Picture:
    """Return what a classifier reads of a radiograph.

    Parameters
    ----------
    classifier
        The classifier; it finds the lungs where it needs them.
    radiograph
        The radiograph.

    Returns
    -------
    ndarray
        uint8 (input_px, input_px); (detail_px, detail_px, 3) of films framed by their lungs, as
        `model.framing.pair_of` returns it. `Classifier.inputs_of` makes network input of several.
    """
    if classifier.find_anatomy is None:
        return classifier.input_of(radiograph)
    square = classifier.square_of(radiograph)
    return pair_of(square, classifier.find_anatomy(square[None])[0])


def heatmaps(classifier: Classifier, readings: Picture, shape: tuple[int, int]) -> list[Heatmap]:
    """Return the evidence maps of readings on a grid over the film.

    Parameters
    ----------
    classifier
        The classifier.
    readings
        (n, px, px) or (n, px, px, 3), uint8, as `reading_of` returns them.
    shape
        (H, W) of the grid.
    """
    _, features, weights = classifier.explain(classifier.inputs_of(readings))
    if readings.ndim == 3:
        pairs = zip(features, weights, strict=True)
        return [grad_cam(one, weight, shape, layer=classifier.layer) for one, weight in pairs]
    maps = []
    for one, weight, reading in zip(features, weights, readings, strict=True):
        lungs = np.moveaxis(reading[..., 1:], -1, 0)
        maps.append(
            framed_map(one, weight, find_frame(lungs), lungs, shape, classifier.input_px, layer=classifier.layer)
        )
    return maps


def exchanged(reading: Picture, other: Picture, where: npt.NDArray[np.bool_]) -> Picture:
    """Return a reading with part of its film from another one.

    Parameters
    ----------
    reading, other
        (px, px) or (px, px, 3), uint8, as `reading_of` returns them; the lungs stay those of `reading`.
    where
        (px, px), bool: what is taken from `other`.

    Returns
    -------
    ndarray
        As `reading`.
    """
    film = np.where(where, film_of(other), film_of(reading))
    return with_film(reading, film)


def film_of(reading: Picture) -> Picture:
    """Return the film of a reading.

    Parameters
    ----------
    reading
        (px, px) or (px, px, 3), uint8, as `reading_of` returns it.

    Returns
    -------
    ndarray
        (px, px), uint8.
    """
    return reading if reading.ndim == 2 else reading[..., 0]


def with_film(reading: Picture, film: Picture) -> Picture:
    """Return a reading with another film and its own lungs.

    Parameters
    ----------
    reading
        (px, px) or (px, px, 3), uint8, as `reading_of` returns it.
    film
        (px, px), uint8.

    Returns
    -------
    ndarray
        As `reading`.
    """
    return film if reading.ndim == 2 else np.dstack((film, reading[..., 1:]))


def aligned(reading: Picture, like: Picture) -> Picture:
    """Return the film of a reading with its lungs where those of another reading are.

    Parameters
    ----------
    reading, like
        (px, px) or (px, px, 3), uint8, as `reading_of` returns them.

    Returns
    -------
    ndarray
        (px, px), uint8: as it is where no lungs are known.
    """
    film = film_of(reading)
    if reading.ndim == 2:
        return film
    px = len(film)
    own, other = (
        np.vstack((find_frame(np.moveaxis(one[..., 1:], -1, 0)).matrix(px, px), (0, 0, 1))) for one in (reading, like)
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        film, (own @ np.linalg.inv(other))[:2], (px, px), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)

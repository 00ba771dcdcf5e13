"""Anatomy: position of the lungs in a frontal chest radiograph, from the image alone.

Two schematic lung fields are moved, scaled and tilted until they are dark and their surroundings bright. Unlike a
threshold, the fit is not misled by an opaque or missing lung: the other lung, the mediastinum, the chest wall and the
diaphragm constrain it, and otherwise the usual framing of a chest radiograph. It is an estimate for terms such as
"right lower zone" and not a segmentation. Where both lungs are opaque, `find_lungs` finds none.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_FINE, _COARSE = 64, 32
# Lung edges over the height of a lung, apex 0 to costophrenic angle 1: how far out, as a share of the lung's reach.
_LEVELS = np.linspace(0, 1, 257, dtype=np.float32)
_OUTER = np.asarray(0.25 + 0.75 * (1 - (1 - _LEVELS) ** 2.7) ** 0.62, np.float32)
_RISE = np.clip((_LEVELS - 0.3) / 0.55, 0, 1)
_HEART = _RISE**2 * (3 - 2 * _RISE)
_INNER_RIGHT = np.asarray(0.2 + 0.10 * _HEART, np.float32)
_INNER_LEFT = np.asarray(0.2 + 0.38 * _HEART, np.float32)
# The wall around the lungs that must be bright, in shares of a lung's reach and height.
_WALL, _ABOVE, _BELOW = 0.16, 0.10, 0.30
# Usual framing of a chest film and how far films stray from it: middle, top, reach, height, asymmetry, tilt.
_USUAL_TOP, _USUAL_HEIGHT, _USUAL_REACH = 0.13, 0.70, 0.37
_SPREAD = (0.08, 0.08, 0.06, 0.11, 0.15, 0.14)
_PRIOR = 0.03
# The least correlation at which lungs count as found. Of training films all of 40 normal ones and 97 % of 70 with
# pneumonia have more; of normal ones with both lungs painted white 2–5 % do, of drawn ones with one lung white all.
_FOUND = 0.35
# How much larger than the usual framing a hull must be to hold the lungs of nearly every film.
_HULL_GROWTH, _HULL_MARGIN = 1.12, 0.06
# Where the search begins, beside or in proportion to the usual framing: middle, top, reach, height, tilt.
_STARTS = (
    np.array(
        np.meshgrid(
            (-0.08, 0.0, 0.08),
            (-0.1, 0.0, 0.1),
            (0.77, 1.0, 1.2),
            (0.72, 0.9, 1.1, 1.28),
            (-0.2, 0.0, 0.2),
            indexing="ij",
        )
    )
    .reshape(5, -1)
    .T
)
_STEPS = np.array((0.04, 0.04, 0.04, 0.04, 0.05, 0.08))
_LEAST = np.array((0.2, -0.2, 0.15, 0.15, 0.3, -0.5))
_MOST = np.array((0.8, 0.5, 0.6, 0.6, 1.1, 0.5))


@dataclass(frozen=True, slots=True)
class Thorax:
    """Position of the thorax in a radiograph, in shares of its width and height.

    Attributes
    ----------
    middle
        Column between the lungs at half their height.
    top
        Row of the apices.
    left, right
        Reach of the lung on the image's left and right, from the middle.
    height
        From the apices to the costophrenic angles.
    tilt
        In radians, clockwise.
    """

    middle: float
    top: float
    left: float
    right: float
    height: float
    tilt: float

    def coordinates(self, rows: int, columns: int) -> tuple[Array, Array]:
        """Return the anatomical coordinates of each pixel of a grid over the radiograph.

        Returns
        -------
        tuple of ndarray
            (rows, columns), float32: across, −1 at the outer edge of the lung on the image's left, 0 in the middle, 1
            at the right; and down, 0 at the apices and 1 at the costophrenic angles.
        """
        across, down = _coordinates(np.array([astuple(self)]), rows, columns)
        return across[0], down[0]

    def lungs(self, rows: int, columns: int) -> Mask:
        """Return the schematic lung fields on a grid over the radiograph, bool (rows, columns)."""
        return np.asarray(_lungs(*self.coordinates(rows, columns))[0], np.bool_)

    def mask(self, rows: int, columns: int, margin: float = 0.03) -> Mask:
        """Return the thorax on a grid over the radiograph: the convex hull of the lungs, widened to the chest wall.

        Parameters
        ----------
        rows, columns
            Shape of the grid.
        margin
            Width of the chest wall, as a share of the shorter side.

        Returns
        -------
        ndarray
            (rows, columns), bool
        """
        lungs = self.lungs(rows, columns).astype(np.uint8)
        outlines = cv2.findContours(lungs, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        drawn = np.zeros((rows, columns), np.uint8)
        if outlines:
            cv2.fillConvexPoly(drawn, cv2.convexHull(np.concatenate(outlines)), 1)
        wall = 2 * round(margin * min(rows, columns)) + 1
        return np.asarray(cv2.dilate(drawn, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wall, wall))) > 0, np.bool_)


def find_lungs(pixels: npt.NDArray[np.uint8]) -> Thorax | None:
    """Return the position of the thorax, or None where no dark lungs in brighter surroundings were found.

    Parameters
    ----------
    pixels
        (H, W), uint8, MONOCHROME2: an upright frontal radiograph.
    """
    thorax, correlation = fit_thorax(pixels)
    return thorax if correlation >= _FOUND else None


def usual_hull(pixels: npt.NDArray[np.uint8]) -> Mask:
    """Return a hull that holds the lungs of nearly every film: the usual framing within the outline of the body.

    Nothing is fitted to the lungs, so it is the same whether they are dark or opaque. On 400 radiographs of children
    with lung fields drawn by people it held 99.4 % of the lungs (99.2 % with pneumonia, 99.99 % without).

    Parameters
    ----------
    pixels
        (H, W), uint8, MONOCHROME2: an upright frontal radiograph.

    Returns
    -------
    ndarray
        (H, W), bool.
    """
    middle, top, reach, height = (float(value) for value in _usual(_prepared(pixels)[1]))
    wide = _HULL_GROWTH * reach
    thorax = Thorax(middle, top - (_HULL_GROWTH - 1) / 2 * height, wide, wide, _HULL_GROWTH * height, 0.0)
    return thorax.mask(pixels.shape[0], pixels.shape[1], _HULL_MARGIN)


def fit_thorax(pixels: npt.NDArray[np.uint8]) -> tuple[Thorax, float]:
    """Fit the position of the thorax in an upright frontal radiograph.

    Where nothing looks like lungs it is about the usual framing within the outline of the body.

    Parameters
    ----------
    pixels
        (H, W), uint8, MONOCHROME2.

    Returns
    -------
    tuple of Thorax and float
        The best fit, and its correlation in [−1, 1] with dark lungs in bright surroundings.
    """
    fine, body = _prepared(pixels)
    coarse = np.asarray(cv2.resize(fine, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA), np.float32)
    usual = _usual(body)
    middle, top, reach, height, tilt = _STARTS.T
    reach, height = usual[2] * reach, usual[3] * height
    starts = np.clip(np.column_stack((usual[0] + middle, usual[1] + top, reach, reach, height, tilt)), _LEAST, _MOST)
    best = starts[np.argsort(-_fit(coarse, starts, usual))[:2]]
    refined = [_refined(fine, start, usual) for start in best]
    fit, place = max(refined, key=lambda found: found[0])
    return Thorax(*(float(value) for value in place)), fit + float(_strayed(place[None], usual)[0])


def _refined(picture: Array, start: npt.NDArray[Any], usual: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
    """Climb from a start in ever smaller steps; return (fit, position)."""
    place, steps = start, _STEPS.copy()
    fit = float(_fit(picture, place[None], usual)[0])
    both = np.array((0, 0, 1, 1, 0, 0))  # both lungs wider or narrower at once
    moves = np.vstack((np.eye(6), -np.eye(6), both, -both))
    while steps[0] > 0.004:
        tried = np.clip(place + moves * steps, _LEAST, _MOST)
        fits = _fit(picture, tried, usual)
        if fits.max() > fit + 1e-5:
            fit, place = float(fits.max()), tried[fits.argmax()]
        else:
            steps /= 2
    return fit, place


def _prepared(pixels: npt.NDArray[np.uint8]) -> tuple[Array, Mask]:
    """Return brightness relative to the surroundings, float32 (64, 64) in about [−2.5, 2.5], and the body."""
    small = np.asarray(cv2.resize(pixels, (_FINE, _FINE), interpolation=cv2.INTER_AREA), np.float32)
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0), np.float32)
    body = _body(small)
    weight, spread = body.astype(np.float32), 0.22 * _FINE
    around = cv2.GaussianBlur(weight, (0, 0), spread) + 1e-3
    beside = small - cv2.GaussianBlur(small * weight, (0, 0), spread) / around
    deviation = np.sqrt(cv2.GaussianBlur(beside**2 * weight, (0, 0), spread) / around) + 3
    levelled = np.clip(beside / deviation, -2.5, 2.5)
    levelled[~body] = 0.6  # the air beside the body is dark and no lung
    return np.asarray(levelled, np.float32), body


def _body(small: Array) -> Mask:
    """Return what is not black background that reaches the image's border."""
    low, high = np.percentile(small, (1, 99))
    dark = (small < low + 0.18 * (high - low)).astype(np.uint8)
    parts = cv2.connectedComponents(dark)[1]
    border = np.unique(np.concatenate((parts[0], parts[-1], parts[:, 0], parts[:, -1])))
    return np.asarray(~np.isin(parts, border[border > 0]), np.bool_)


def _usual(body: Mask) -> npt.NDArray[Any]:
    """Return the usual position of the thorax within the outline of the body: middle, top, reach, height."""
    rows = np.flatnonzero(body.mean(1) > 0.15)
    if not len(rows):
        return np.array((0.5, _USUAL_TOP, _USUAL_REACH, _USUAL_HEIGHT))
    first, tall = float(rows[0]) / _FINE, float(rows[-1] + 1 - rows[0]) / _FINE
    columns = body[rows[0] + len(rows) // 4 : rows[0] + 3 * len(rows) // 4].mean(0)
    middle = float((columns * (np.arange(_FINE) + 0.5)).sum() / max(1e-6, columns.sum()) / _FINE)
    reach = min(_USUAL_REACH, 0.45 * float(columns.mean()))
    return np.array((np.clip(middle, 0.3, 0.7), first + tall * _USUAL_TOP, max(reach, 0.15), tall * _USUAL_HEIGHT))


def _coordinates(places: npt.NDArray[Any], rows: int, columns: int) -> tuple[Array, Array]:
    """Return (across, down), float32 (n, rows, columns), for places (n, 6) as in `Thorax`."""
    middle, top, left, right, height, tilt = (part.astype(np.float32)[:, None, None] for part in places.T)
    x = (np.arange(columns, dtype=np.float32) + 0.5)[None, None] / columns - middle
    y = (np.arange(rows, dtype=np.float32) + 0.5)[None, :, None] / rows - (top + height / 2)
    across, down = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    return np.where(across < 0, across / left, across / right), down / height + np.float32(0.5)


def _lungs(across: Array, down: Array) -> tuple[Mask, Mask]:
    """Return (the lung fields, what surrounds them and must be brighter)."""
    out = np.abs(across)
    level = (np.clip(down, 0, 1) * 256).astype(np.int16)
    outer, is_left = _OUTER[level], across < 0
    inner = np.where(is_left, _INNER_RIGHT[level], _INNER_LEFT[level])
    # The domes of the diaphragm; the patient's right one, on the picture's left, stands higher.
    dome = np.where(is_left, np.float32(0.84), np.float32(0.87))
    dome = dome + np.float32(0.15) * np.clip((out - 0.45) / 0.55, -1, 1.3) ** 2
    lungs = (out > inner) & (out < outer) & (down > 0) & (down < dome)
    around = (out < np.minimum(outer + _WALL, 1 + _WALL)) & (down > -_ABOVE) & (down < 1 + _BELOW)
    return lungs, around & ~lungs


def _fit(picture: Array, places: npt.NDArray[Any], usual: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return how well each of the places (n, 6) fits: a correlation in [−1, 1], less for an unusual framing.

    The correlation is that of the picture with −1 in the lungs and 1 around them. The constant added to the variance
    keeps noise of a flat picture from looking like a lung.
    """
    lungs, around = (
        part.reshape(len(places), -1).astype(np.float32) for part in _lungs(*_coordinates(places, *picture.shape))
    )
    grey = picture.ravel()
    n_in, n_out = lungs.sum(1) + 1e-6, around.sum(1) + 1e-6
    share = n_in / (n_in + n_out)
    dark, bright = lungs @ grey / n_in, around @ grey / n_out
    variance = (lungs + around) @ grey**2 / (n_in + n_out) - (share * dark + (1 - share) * bright) ** 2
    correlation = np.sqrt(share * (1 - share)) * (bright - dark) / np.sqrt(np.maximum(variance, 0) + 0.15)
    return np.asarray(correlation - _strayed(places, usual), np.float64)


def _strayed(places: npt.NDArray[Any], usual: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return what an unusual framing costs each of the places (n, 6)."""
    middle, top, left, right, height, tilt = places.T
    strays = (
        np.column_stack(
            (
                middle - usual[0],
                top - usual[1],
                (left + right) / 2 - usual[2],
                height - usual[3],
                np.log(left / right),
                tilt,
            )
        )
        / _SPREAD
    )
    return np.asarray(_PRIOR * (strays**2).sum(1), np.float64)

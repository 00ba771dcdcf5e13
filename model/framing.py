"""The frame in which the classifier sees a film: its lungs, upright, always at the same place and size.

What lies beside the thorax (markers, arms, the field of the X-ray unit, the shape of the file) is not shown. The width
and the height of the lungs are each brought to the same share of the picture: a film and the same film squashed to a
square, as public data are kept, then look alike. The lungs' outline goes along as a second channel, so that the network
can pool its features over the lungs only.

>>> pair = pair_of(square, anatomy)
>>> framed(pair, 299).shape
(299, 299, 2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import enlarge
from imaging.resample import resize
from model.anatomy import Anatomy, AnatomyFinder, convex_hull

Grey = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

# Room around the lungs on each side, as a share of the frame's side.
MARGIN = 0.09
# Chest wall that is shown beyond the hull of the lungs, as a share of the frame's side.
WALL = 0.035
# Share of the lungs' pixels beyond either edge that the frame does not follow: the tip of an outline strays.
STRAY = 0.01
# The usual slope of the line between the middles of the lungs, and the largest tilt that is removed, in radians.
_USUAL_SLOPE, MOST_TILT = 0.0, math.radians(25)
# Grey values inside the hull are brought to this mean and standard deviation; beside it there is one grey value.
MEAN, SPREAD, BESIDE = 128.0, 52.0, 128


@dataclass(frozen=True, slots=True)
class Frame:
    """Position of the lungs in a square picture, in shares of its side.

    Attributes
    ----------
    x, y
        Middle of the lungs.
    width, height
        Of the lungs, along their own axes.
    tilt
        In radians, clockwise.
    """

    x: float
    y: float
    width: float
    height: float
    tilt: float

    def matrix(self, square_px: int, output_px: int) -> Matrix:
        """Return the affine map from a pixel of the framed picture to one of the square, float64 (2, 3).

        Parameters
        ----------
        square_px, output_px
            Sides of the square and of the framed picture. Pixel centres are at whole numbers.
        """
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        across = self.width * square_px / ((1 - 2 * MARGIN) * output_px)
        down = self.height * square_px / ((1 - 2 * MARGIN) * output_px)
        linear = np.array(((cos * across, -sin * down), (sin * across, cos * down)))
        middle = np.array((self.x * square_px - 0.5, self.y * square_px - 0.5))
        return np.column_stack((linear, middle - linear @ np.full(2, (output_px - 1) / 2)))


WHOLE = Frame(0.5, 0.5, 1 - 2 * MARGIN, 1 - 2 * MARGIN, 0.0)


def find_frame(lungs: Grey) -> Frame:
    """Return the frame of the lungs in a square picture.

    Parameters
    ----------
    lungs
        (px, px), uint8, or (2, px, px) with the lung on the left and on the right apart: probability × 255. The tilt is
        known only where both are apart.

    Returns
    -------
    Frame
        `WHOLE` where there are no lungs.
    """
    px = lungs.shape[-1]
    both = lungs.max(0) if lungs.ndim == 3 else lungs
    rows, columns = np.nonzero(both >= 128)
    if len(rows) < 0.01 * px * px:
        return WHOLE
    tilt = _tilt(lungs) if lungs.ndim == 3 else 0.0
    x, y = (columns + 0.5) / px, (rows + 0.5) / px
    cos, sin = math.cos(tilt), math.sin(tilt)
    along, down = cos * x + sin * y, cos * y - sin * x
    (left, right), (top, bottom) = (np.quantile(values, (STRAY, 1 - STRAY)) for values in (along, down))
    middle, level = (left + right) / 2, (top + bottom) / 2
    return Frame(
        float(cos * middle - sin * level),
        float(sin * middle + cos * level),
        float(max(right - left, 0.1)),
        float(max(bottom - top, 0.1)),
        tilt,
    )


def _tilt(lungs: Grey) -> float:
    """Return the slope of the line between the middles of both lungs, in radians, clockwise."""
    middles = []
    for lung in lungs:
        rows, columns = np.nonzero(lung >= 128)
        if len(rows) < 0.01 * lung.size:
            return 0.0
        middles.append((columns.mean(), rows.mean()))
    (x0, y0), (x1, y1) = middles
    if x1 <= x0:
        return 0.0
    return float(np.clip(math.atan2(y1 - y0, x1 - x0) - _USUAL_SLOPE, -MOST_TILT, MOST_TILT))


def pair_of(square: Grey, anatomy: Anatomy) -> Grey:
    """Return a film and the outline of its lungs as one picture.

    Parameters
    ----------
    square
        (px, px), uint8: the film squashed to a square.
    anatomy
        Of the film.

    Returns
    -------
    ndarray
        (px, px, 3), uint8: film, lung on the left, lung on the right.
    """
    return pair_with(square, pooled_lungs(anatomy))


def pair_with(square: Grey, lungs: Grey) -> Grey:
    """Return a film and lungs as one picture, as `pair_of` does.

    Parameters
    ----------
    square
        (px, px), uint8: the film squashed to a square.
    lungs
        (2, rows, rows), uint8, 0 to 255: what is pooled over, see `pooled_lungs`.

    Returns
    -------
    ndarray
        (px, px, 3), uint8.
    """
    return np.dstack((square, *(resize(lung, square.shape[0]) for lung in lungs)))


def pooled_lungs(anatomy: Anatomy) -> Grey:
    """Return what features are pooled over: both lungs or, where their outline is in doubt, the whole thorax.

    Parameters
    ----------
    anatomy
        Of a film.

    Returns
    -------
    ndarray
        (2, px, px), uint8, 0 to 255; of the thorax twice the same, since its lungs are not distinguished.
    """
    if not anatomy.is_doubtful:
        return anatomy.lungs
    hull = anatomy.hull(*anatomy.lungs.shape[1:]).astype(np.uint8) * 255
    return np.stack((hull, hull))


def framed(pair: Grey, output_px: int) -> Grey:
    """Return the network's input of a film whose lungs are known.

    Parameters
    ----------
    pair
        (px, px, 3), uint8, as `pair_of` returns it.
    output_px
        Side of the input.

    Returns
    -------
    ndarray
        (output_px, output_px, 2), uint8: the film framed by its lungs, with one grey value beside the thorax; and the
        lungs, 0 to 255.
    """
    frame = find_frame(np.moveaxis(pair[..., 1:], -1, 0))
    return shown(*warped(pair, frame.matrix(pair.shape[0], output_px), output_px))


def pairs_of(squares: Grey, find_anatomy: AnatomyFinder) -> Grey:
    """Find the lungs of squared films.

    Parameters
    ----------
    squares
        (n, px, px), uint8.
    find_anatomy
        The anatomy network.

    Returns
    -------
    ndarray
        (n, px, px, 3), uint8, as `pair_of` returns each of them.
    """
    pairs = np.empty((*squares.shape, 3), np.uint8)
    for place, anatomy in enumerate(find_anatomy(squares)):
        pairs[place] = pair_of(squares[place], anatomy)
    return pairs


def network_pictures(pictures: Grey, input_px: int, find_anatomy: AnatomyFinder | None = None) -> Grey:
    """Return the network's input of squared films.

    Parameters
    ----------
    pictures
        (n, px, px), uint8; (n, px, px, 3) with the lungs beside each film, as `pair_of` returns them; or (n, px, px, 2)
        that are framed already.
    input_px
        Side of the input.
    find_anatomy
        The anatomy network, for a classifier that sees films framed by their lungs.

    Returns
    -------
    ndarray
        uint8 (n, input_px, input_px), or (n, input_px, input_px, 2) of films framed by their lungs.
    """
    if pictures.ndim == 3 and find_anatomy is not None:
        pictures = pairs_of(pictures, find_anatomy)
    if pictures.ndim == 4 and pictures.shape[-1] == 2:
        channels = (pictures[..., channel] for channel in range(2))
        return np.stack([np.stack([resize(one, input_px) for one in channel]) for channel in channels], -1)
    if pictures.ndim == 4:
        return np.stack([framed(pair, input_px) for pair in pictures])
    return np.stack([enlarge(square, input_px) for square in pictures])


def warped(pair: Grey, matrix: Matrix, output_px: int, how: int = cv2.INTER_LINEAR) -> tuple[Grey, Grey]:
    """Resample film and lungs by an affine map.

    Parameters
    ----------
    pair
        (px, px, 3), uint8, as `pair_of` returns it.
    matrix
        (2, 3), float64, as `Frame.matrix` gives it.
    output_px
        Side of the result.
    how
        OpenCV's interpolation of the film.

    Returns
    -------
    tuple of ndarray
        Film and lungs, each uint8 (output_px, output_px).
    """
    size, flags = (output_px, output_px), cv2.WARP_INVERSE_MAP
    film = cv2.warpAffine(pair[..., 0], matrix, size, flags=how | flags, borderMode=cv2.BORDER_REPLICATE)
    both = np.maximum(pair[..., 1], pair[..., 2])
    lungs = cv2.warpAffine(both, matrix, size, flags=cv2.INTER_LINEAR | flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(film, np.uint8), np.asarray(lungs, np.uint8)


def shown(film: Grey, lungs: Grey) -> Grey:
    """Return the network's input from a framed film and its lungs: what lies beside the thorax becomes one grey value.

    Grey values inside the thorax get the same mean and spread on every film.

    Parameters
    ----------
    film, lungs
        (px, px), uint8.

    Returns
    -------
    ndarray
        (px, px, 2), uint8. Where no lungs are known, all of the film is shown and counts as lung.
    """
    hull = convex_hull(lungs >= 128, WALL)
    if not hull.any():
        hull, lungs = np.ones_like(hull), np.full_like(lungs, 255)
    inside = film[hull].astype(np.float32)
    scale = SPREAD / max(float(inside.std()), 4.0)
    table = (np.arange(256, dtype=np.float32) - float(inside.mean())) * scale + MEAN
    levelled = cv2.LUT(film, np.clip(np.round(table), 0, 255).astype(np.uint8))
    return np.dstack((np.where(hull, levelled, BESIDE).astype(np.uint8), lungs))

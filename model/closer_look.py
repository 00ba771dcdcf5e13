"""A closer look at a film whose lungs are found with doubt: the same network on the chest alone.

Small lungs in a large field, as on a bedside film of a small child with the abdomen and arms on it, are smaller than
the network has learned to expect. Cut out by what it found first, they are of the usual size.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from imaging.resample import resize
from model.anatomy import LUNG, Anatomy
from model.networks.architectures import ANATOMY_PX

Picture = npt.NDArray[np.uint8]
# Left, top, right and bottom in shares of the side.
Box = tuple[float, float, float, float]
# Room around the lungs on each side, as a share of their own width and height.
ROOM = 0.22
# Share of the outlines' pixels beyond either edge that does not count: the tip of an outline strays.
STRAY = 0.01


def chest_box(anatomy: Anatomy) -> Box:
    """Return the part of a picture that the lungs of `anatomy`, which were found, take up, with room around them."""
    rows, columns = np.nonzero(anatomy.lungs.max(0) >= LUNG * 255)
    edges = []
    for places in (columns, rows):
        low, high = np.quantile(places, (STRAY, 1 - STRAY)) / ANATOMY_PX
        room = ROOM * (high - low)
        edges.append((max(0.0, float(low - room)), min(1.0, float(high + room))))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def cut_out(square: Picture, box: Box) -> Picture:
    """Return a part of a picture at the size of the network.

    Parameters
    ----------
    square
        (px, px), uint8.
    box
        From `chest_box`.

    Returns
    -------
    ndarray
        (ANATOMY_PX, ANATOMY_PX), uint8.
    """
    left, top, right, bottom = _pixels(box, square.shape[0])
    return resize(np.ascontiguousarray(square[top:bottom, left:right]), ANATOMY_PX)


def surer(before: Anatomy, closer: Anatomy, box: Box) -> Anatomy:
    """Return what a closer look found, where it has no doubts and sees the picture turned alike.

    Parameters
    ----------
    before
        Found in the whole picture.
    closer
        Found in the part of it.
    box
        Of the part.

    Returns
    -------
    Anatomy
        Of the whole picture; else `before`.
    """
    # Placed on a finer grid, so that the edges of the outlines are averaged rather than moved.
    fine = 2 * ANATOMY_PX
    left, top, right, bottom = _pixels(box, fine)
    lungs = np.zeros((2, fine, fine), np.uint8)
    for whole, lung in zip(lungs, closer.lungs, strict=True):
        whole[top:bottom, left:right] = cv2.resize(lung, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    placed = replace(closer, lungs=np.stack([resize(lung, ANATOMY_PX) for lung in lungs]))
    is_surer = placed.is_found and not placed.is_doubtful and placed.orientation == before.orientation
    return placed if is_surer else before


def _pixels(box: Box, px: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(edge * px) for edge in box)
    return left, top, max(right, left + 1), max(bottom, top + 1)

"""Drawn lungs for tests of films framed by them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from model.anatomy import Anatomy
from model.networks.architectures import ANATOMY_PX
from tests.phantoms import chest

Grey = npt.NDArray[np.uint8]


def ellipses(
    px: int, middle: tuple[float, float] = (0.5, 0.5), scale: float = 1.0, tilt: float = 0.0, aspect: float = 1.0
) -> Grey:
    """Draw both lungs as ellipses, uint8 (2, px, px); `middle` in shares of the side, `tilt` in degrees, clockwise."""
    lungs = np.zeros((2, px, px), np.uint8)
    turn = np.deg2rad(tilt)
    for lung, side in zip(lungs, (-1, 1), strict=True):
        x = middle[0] * px + side * 0.19 * scale * aspect * px * np.cos(turn)
        y = middle[1] * px + side * 0.19 * scale * px * np.sin(turn)
        size = (0.14 * scale * aspect * px, 0.3 * scale * px)
        cv2.ellipse(lung, ((x, y), (2 * size[0], 2 * size[1]), tilt), 255, -1)
    return lungs


def anatomy(**drawn: float) -> Anatomy:
    """Return an upright chest with drawn lungs."""
    pose = np.zeros(8, np.float32)
    pose[0] = 1
    return Anatomy(ellipses(ANATOMY_PX, **drawn), pose, 0.0)


def find_drawn(squares: Grey) -> tuple[Anatomy, ...]:
    """Find the lungs of every phantom at the same place."""
    return tuple(anatomy() for _ in squares)


def pair(seed: int = 0, px: int = 96, pneumonia: bool = False) -> Grey:
    """Draw a film with its lungs, uint8 (px, px, 3)."""
    return np.dstack((chest(seed, (px, px), pneumonia), *ellipses(px)))

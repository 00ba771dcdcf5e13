"""Resampling of pixels, for the app and for decoder processes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from imaging.film import Pixels
from imaging.lut import apply_lut


def eight_bits(pixels: Pixels, bits: int) -> npt.NDArray[np.uint8]:
    """Return pixels with 8 bits.

    Parameters
    ----------
    pixels
        (H, W), uint8 or uint16.
    bits
        How many bits of each are used.

    Returns
    -------
    ndarray
        (H, W), uint8, linear over that depth.
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    values = np.arange(65536, dtype=np.float32) * np.float32(255.0 / (2**bits - 1))
    return apply_lut(np.clip(np.round(values), 0, 255).astype(np.uint8), pixels)


def resize(pixels: npt.NDArray[np.uint8], px: int) -> npt.NDArray[np.uint8]:
    """Resample a picture to a square.

    Parameters
    ----------
    pixels
        (H, W), uint8.
    px
        Side of the square in pixels.

    Returns
    -------
    ndarray
        (px, px), uint8: the mean of the area along a side that shrinks, bilinear along one that grows.
    """
    if pixels.shape == (px, px):
        return pixels
    height, width = pixels.shape
    # INTER_AREA only averages when both sides shrink, so each axis has its own filter.
    if height > px:
        pixels = cv2.resize(pixels, (width, px), interpolation=cv2.INTER_AREA).astype(np.uint8)
    if width > px:
        pixels = cv2.resize(pixels, (px, pixels.shape[0]), interpolation=cv2.INTER_AREA).astype(np.uint8)
    if pixels.shape != (px, px):
        pixels = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return pixels

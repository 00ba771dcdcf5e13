"""The evidence map drawn on the radiograph: colours, overlay and contour lines. NumPy and OpenCV only.

Example: ``overlay(to_uint8(radiograph), heatmap.values, opacity=0.5)`` is an RGB picture of the radiograph's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from model.anatomy import Anatomy

# Points along each side at which the outlines of the lungs are traced.
_TRACED = 512
OUTLINE = (215, 221, 229)
# Inferno starts at black, which would darken a film instead of tinting it; from here on it is a colour.
_DARKEST = 0.22
_BAND_ROWS = 256


@cache
def _table() -> npt.NDArray[np.uint8]:
    lookup = np.round(np.linspace(255 * _DARKEST, 255, 256)).astype(np.uint8)
    bgr = cv2.applyColorMap(lookup[:, None], cv2.COLORMAP_INFERNO)
    table = np.ascontiguousarray(bgr[:, 0, ::-1]).astype(np.uint8)
    table.flags.writeable = False
    return table


def colour_table() -> npt.NDArray[np.uint8]:
    """Return the colours of the map from low to high evidence.

    Inferno without its black end: perceptually uniform, lightness rises throughout, and it reads the same with the
    common forms of colour blindness.

    Returns
    -------
    ndarray
        (256, 3), uint8, RGB; read-only.

    References
    ----------
    Smith & van der Walt 2015, https://bids.github.io/colormap/
    """
    return _table()


def overlay(pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32], opacity: float) -> npt.NDArray[np.uint8]:
    """Blend the evidence map with the radiograph.

    Parameters
    ----------
    pixels
        (H, W), uint8: the radiograph.
    values
        (H, W), float32 in [0, 1]: the evidence map.
    opacity
        In [0, 1]. A pixel is covered by `opacity` times the evidence there, so without evidence it stays unchanged.

    Returns
    -------
    ndarray
        (H, W, 3), uint8, RGB.

    Raises
    ------
    ValueError
        If the shapes differ or `opacity` is outside [0, 1].
    """
    _check_same_grid(pixels, values)
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1]. Received: {opacity}")
    table = colour_table().astype(np.float32)
    result = np.empty((*pixels.shape, 3), np.uint8)
    # In bands, because a large radiograph in float32 and three channels would take hundreds of megabytes.
    for top in range(0, pixels.shape[0], _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        evidence = np.clip(values[band], 0, 1)
        grey = pixels[band, :, None].astype(np.float32)
        colour = table[np.round(evidence * 255).astype(np.uint8)]
        result[band] = np.round(grey + (colour - grey) * (opacity * evidence)[..., None]).astype(np.uint8)
    return result


def contour(
    pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32], levels: Sequence[float] = (0.4, 0.6, 0.8)
) -> npt.NDArray[np.uint8]:
    """Draw contour lines of the evidence map on the radiograph.

    Each line has the colour of its level in `colour_table` and, from 375 px up, a dark edge that keeps it visible on
    bone. The thickness follows the size of the radiograph.

    Parameters
    ----------
    pixels
        (H, W), uint8: the radiograph.
    values
        (H, W), float32 in [0, 1]: the evidence map.
    levels
        Levels in (0, 1], as shares of the map's maximum.

    Returns
    -------
    ndarray
        (H, W, 3), uint8, RGB.

    Raises
    ------
    ValueError
        If the shapes differ or a level is outside (0, 1].
    """
    _check_same_grid(pixels, values)
    if not all(0 < level <= 1 for level in levels):
        raise ValueError(f"expected levels in (0, 1]. Received: {tuple(levels)}")
    result = np.repeat(pixels[..., None], 3, axis=2)
    thickness = max(1, round(min(pixels.shape) / 250))
    edge = thickness + 2 * (thickness // 2)
    # A region at the border of the radiograph is closed outside it, so that no line runs along the border.
    margin = edge + 1
    for level in sorted(levels):
        inside = np.pad(values >= level, margin, mode="edge").astype(np.uint8)
        lines = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-margin, -margin))[0]
        colour = [int(channel) for channel in colour_table()[round(level * 255)]]
        cv2.drawContours(result, lines, -1, (0, 0, 0), edge, cv2.LINE_AA)
        cv2.drawContours(result, lines, -1, colour, thickness, cv2.LINE_AA)
    return result


def lung_outlines(anatomy: Anatomy) -> tuple[npt.NDArray[np.float64], ...]:
    """Trace the outlines of the lungs.

    Parameters
    ----------
    anatomy
        Of a radiograph.

    Returns
    -------
    tuple of ndarray
        One for each piece of lung: (n, 2), float64 in [0, 1], x and y as shares of the radiograph's width and height.
    """
    found = anatomy.outline(_TRACED, _TRACED).astype(np.uint8)
    traced = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    smooth = (cv2.approxPolyDP(one, 0.8, True)[:, 0] for one in traced if len(one) >= _TRACED // 16)
    return tuple((one.astype(np.float64) + 0.5) / _TRACED for one in smooth if len(one) > 2)


def draw_lungs(picture: npt.NDArray[np.uint8], anatomy: Anatomy) -> npt.NDArray[np.uint8]:
    """Draw the outlines of the lungs, dashed, so that they are not taken for contours of the evidence.

    Parameters
    ----------
    picture
        (H, W, 3), uint8, RGB: the radiograph, with or without its evidence map.
    anatomy
        Of the radiograph.

    Returns
    -------
    ndarray
        (H, W, 3), uint8, RGB.
    """
    result = picture.copy()
    height, width = picture.shape[:2]
    thickness = max(1, round(min(height, width) / 400))
    dash = 5 * thickness
    for outline in lung_outlines(anatomy):
        closed = np.vstack((outline, outline[:1])) * (width, height)
        walked = np.concatenate(((0.0,), np.cumsum(np.hypot(*np.diff(closed, axis=0).T))))
        for start in np.arange(0, walked[-1], 2 * dash):
            at = np.linspace(start, min(start + dash, walked[-1]), 4)
            points = np.column_stack([np.interp(at, walked, closed[:, axis]) for axis in (0, 1)])
            line = [np.round(points).astype(np.int32)]
            cv2.polylines(result, line, False, (0, 0, 0), thickness + 2 * (thickness // 2), cv2.LINE_AA)
            cv2.polylines(result, line, False, OUTLINE, thickness, cv2.LINE_AA)
    return result


def _check_same_grid(pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32]) -> None:
    if pixels.ndim != 2 or pixels.shape != values.shape:
        raise ValueError(
            f"expected a radiograph and a map of one shape (H, W). Received: {pixels.shape} and {values.shape}"
        )

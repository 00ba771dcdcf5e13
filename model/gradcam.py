"""The influence map: feature map + head → `Heatmap`, and the radiograph with that map over it. NumPy and OpenCV only.

Selvaraju et al. 2017, "Grad-CAM", https://arxiv.org/abs/1610.02391, which for a head of global average pooling and one
dense layer is Zhou et al. 2016, "Learning deep features for discriminative localization",
https://arxiv.org/abs/1512.04150, up to a constant factor: the gradient of the logit is the dense layer's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from model.assessment import Heatmap

# A sum below this share of the terms that went into it is what float32 leaves over when they cancel.
_ROUNDING = 1e-6
# Inferno starts at black, which would darken a film instead of tinting it; from here on it is a colour.
_DARKEST = 0.22
_BAND_ROWS = 256


def grad_cam(
    feature_map: npt.NDArray[np.float32],
    head: npt.NDArray[np.float32],
    shape: tuple[int, int],
    *,
    layer: str = "mixed10",
    sign: int = 1,
) -> Heatmap:
    """Show which regions moved the logit towards the finding.

    feature_map is float32 (rows, columns, channels), the last convolutional activation of one radiograph; head is
    float32 (channels,), the dense layer's weights. The result lies on the radiograph's own grid, float32 (H, W) in
    [0, 1] for `shape` (H, W): the network saw the whole radiograph squashed to a square, so the map's cells divide
    each side evenly. It is scaled by its own maximum, so it compares regions of one radiograph and not radiographs;
    all zeros, with is_empty set, when no region raised the logit. sign=-1 explains "no pneumonia". `cells` of the
    result is what both signs are drawn from; see `influence`.

    Raises ValueError if head does not match feature_map's channels, or anything in them is not finite.
    """
    if feature_map.ndim != 3 or head.shape != feature_map.shape[2:]:
        raise ValueError(
            "expected a feature map (rows, columns, channels) and a head (channels,). "
            f"Received: {feature_map.shape} and {head.shape}"
        )
    if sign not in (1, -1):
        raise ValueError(f"expected a sign of 1 or -1. Received: {sign}")
    features, weights = feature_map.astype(np.float64), head.astype(np.float64)
    cells = features @ weights
    if not np.isfinite(cells).all():
        raise ValueError("expected finite features and weights. Received: nan or infinity")
    rounding = _ROUNDING * (np.abs(features) @ np.abs(weights)).max()
    for side in (1, -1):
        if (side * cells).max() <= rounding:
            cells = side * np.minimum(side * cells, 0)
    single = cells.astype(np.float32)
    values = influence(single, shape, against=sign < 0)
    return Heatmap(values, layer, is_empty=not values.any(), cells=single)


def influence(
    cells: npt.NDArray[np.float32], shape: tuple[int, int], *, against: bool = False
) -> npt.NDArray[np.float32]:
    """Draw one side of `Heatmap.cells`, float32 (rows, columns): the map for the finding, or the one against it.

    Returns float32 (H, W) in [0, 1] for `shape` (H, W), scaled by its own maximum; all zeros where no cell lies on
    that side. What moved the logit the other way counts as nothing, before and after cells are interpolated.
    """
    values = _upsample(_one_side(cells, against), shape)
    greatest = values.max()
    if greatest > 0:
        values /= greatest
    return values


def greatest_influence(cells: npt.NDArray[np.float32], shape: tuple[int, int], *, against: bool = False) -> float:
    """Return what `influence` divides by, in the cells' own unit: the greatest value among the `shape` (H, W) pixels.

    Whoever draws the map elsewhere needs it to draw the same one; it also tells how much less one side weighs.
    """
    side = _one_side(cells, against)
    rows, columns = (_weights(count, size) for count, size in zip(side.shape, shape, strict=True))
    # In bands: the whole map of a large film would take tens of megabytes for one number.
    parts = [rows[top : top + _BAND_ROWS] @ side @ columns.T for top in range(0, shape[0], _BAND_ROWS)]
    return max(0.0, *(float(part.max()) for part in parts))


def _one_side(cells: npt.NDArray[np.float32], against: bool) -> npt.NDArray[np.float32]:
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all():
        raise ValueError(f"expected finite cells (rows, columns). Received: {cells.shape}")
    return np.asarray(np.maximum(-cells if against else cells, 0), np.float32)


def _upsample(cells: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Interpolate cells (rows, columns) ≥ 0 to float32 (H, W) ≥ 0."""
    rows, columns = (_weights(count, size) for count, size in zip(cells.shape, shape, strict=True))
    values = np.asarray((rows @ cells) @ columns.T, np.float32)
    # The kernel undershoots beside a steep rise; influence below nothing has no meaning.
    return np.maximum(values, 0, out=values)


def _weights(cells: int, size: int) -> npt.NDArray[np.float32]:
    """Return float32 (size, cells): how much each cell counts at each pixel's centre, each row summing to 1.

    Cubic convolution with a = −1/2 (Keys 1981, doi 10.1109/TASSP.1981.1163711): it passes through the cells' own
    values and has no kinks, which bilinear interpolation of an 8 × 8 map shows as false stars. Beyond the outermost
    cells' centres their values continue, which mirroring about those centres joins smoothly.
    """
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    first = np.floor(position).astype(int)
    weights = np.zeros((size, cells))
    for step in (-1, 0, 1, 2):
        distance = np.abs(position - (first + step))
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        kernel = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        mirrored = cells - 1 - np.abs(cells - 1 - np.abs(first + step))
        np.add.at(weights, (np.arange(size), np.clip(mirrored, 0, cells - 1)), kernel)
    return weights.astype(np.float32)


@cache
def _table() -> npt.NDArray[np.uint8]:
    lookup = np.round(np.linspace(255 * _DARKEST, 255, 256)).astype(np.uint8)
    bgr = cv2.applyColorMap(lookup[:, None], cv2.COLORMAP_INFERNO)
    table = np.ascontiguousarray(bgr[:, 0, ::-1]).astype(np.uint8)
    table.flags.writeable = False
    return table


def colour_table() -> npt.NDArray[np.uint8]:
    """Return the map's colours, RGB uint8 (256, 3), from low to high influence.

    Inferno without its black end: perceptually uniform, its lightness rises throughout, and it reads the same with
    the common forms of colour blindness (Smith & van der Walt 2015).
    """
    return _table()


def overlay(pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32], opacity: float) -> npt.NDArray[np.uint8]:
    """Lay the map over the radiograph: RGB uint8 (H, W, 3).

    pixels is uint8 (H, W); values is float32 (H, W) in [0, 1]. How much of the colour covers a pixel is `opacity`, in
    [0, 1], times the influence there: where there is none the radiograph stays as it was.

    Raises ValueError if the shapes differ or opacity lies outside [0, 1].
    """
    _check_same_grid(pixels, values)
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1]. Received: {opacity}")
    table = colour_table().astype(np.float32)
    result = np.empty((*pixels.shape, 3), np.uint8)
    # In bands, because a large film in float32 and three channels would take hundreds of megabytes.
    for top in range(0, pixels.shape[0], _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        influence = np.clip(values[band], 0, 1)
        grey = pixels[band, :, None].astype(np.float32)
        colour = table[np.round(influence * 255).astype(np.uint8)]
        result[band] = np.round(grey + (colour - grey) * (opacity * influence)[..., None]).astype(np.uint8)
    return result


def contour(
    pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32], levels: Sequence[float] = (0.4, 0.6, 0.8)
) -> npt.NDArray[np.uint8]:
    """Draw lines of equal influence on the radiograph: RGB uint8 (H, W, 3).

    pixels is uint8 (H, W); values is float32 (H, W) in [0, 1]. Each level in (0, 1] has its colour of `colour_table`
    and, from 375 px up, a dark edge that keeps it visible on bone; thickness follows the picture's size.

    Raises ValueError if the shapes differ or a level lies outside (0, 1].
    """
    _check_same_grid(pixels, values)
    if not all(0 < level <= 1 for level in levels):
        raise ValueError(f"expected levels in (0, 1]. Received: {tuple(levels)}")
    result = np.repeat(pixels[..., None], 3, axis=2)
    thickness = max(1, round(min(pixels.shape) / 250))
    edge = thickness + 2 * (thickness // 2)
    # A region that reaches the picture's border is closed outside it, so that no line runs along the border.
    margin = edge + 1
    for level in sorted(levels):
        inside = np.pad(values >= level, margin, mode="edge").astype(np.uint8)
        lines = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-margin, -margin))[0]
        colour = [int(channel) for channel in colour_table()[round(level * 255)]]
        cv2.drawContours(result, lines, -1, (0, 0, 0), edge, cv2.LINE_AA)
        cv2.drawContours(result, lines, -1, colour, thickness, cv2.LINE_AA)
    return result


def _check_same_grid(pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32]) -> None:
    if pixels.ndim != 2 or pixels.shape != values.shape:
        raise ValueError(
            f"expected a radiograph and a map of one shape (H, W). Received: {pixels.shape} and {values.shape}"
        )

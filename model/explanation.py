"""Evidence map: which regions of a radiograph support a finding, from a feature map and the weights of its channels.

Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391). For a head of global average pooling and one dense
layer it is CAM (Zhou et al. 2016, https://arxiv.org/abs/1512.04150) up to a constant factor, because the gradient of
the logit is the dense layer's weights. NumPy only; `model.overlay` draws the map.

Example: ``grad_cam(feature_map, head, (radiograph.height, radiograph.width)).values`` is the map for pneumonia.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.assessment import Heatmap

# A sum below this share of its terms is rounding error of float32 after they cancel.
_ROUNDING = 1e-6
_BAND_ROWS = 256


def grad_cam(
    feature_map: npt.NDArray[np.float32],
    head: npt.NDArray[np.float32],
    shape: tuple[int, int],
    *,
    layer: str = "mixed10",
    sign: int = 1,
) -> Heatmap:
    """Map the evidence for a finding onto the radiograph.

    The map is scaled to its own maximum, so it compares regions of one radiograph and not radiographs.

    Parameters
    ----------
    feature_map
        (rows, columns, channels), float32: the last convolutional activation of one radiograph. The network's input is
        the whole radiograph squashed to a square, so the cells divide each side evenly.
    head
        (channels,), float32: the dense layer's weights.
    shape
        (H, W) of the radiograph.
    layer
        Name of the layer that `feature_map` comes from.
    sign
        +1 explains "pneumonia", -1 explains "no pneumonia".

    Returns
    -------
    Heatmap
        (H, W), float32 in [0, 1]; all zeros with ``is_empty`` set when no region raised the logit. Its ``cells`` give
        the map of either sign, see `evidence_map`.

    Raises
    ------
    ValueError
        If `head` does not match the channels of `feature_map`, or a value is not finite.

    References
    ----------
    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391; equal to CAM (Zhou et al. 2016) for a linear head.
    """
    if sign not in (1, -1):
        raise ValueError(f"expected a sign of 1 or -1. Received: {sign}")
    single = signed_cells(feature_map, head)
    values = evidence_map(single, shape, against=sign < 0)
    return Heatmap(values, layer, is_empty=not values.any(), cells=single)


def signed_cells(feature_map: npt.NDArray[np.float32], head: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the evidence of each cell of a feature map, in logits.

    Parameters
    ----------
    feature_map
        (rows, columns, channels), float32.
    head
        (channels,), float32: the dense layer's weights.

    Returns
    -------
    ndarray
        (rows, columns), float32. Where all cells of one sign are rounding errors of terms that cancel, they are 0.

    Raises
    ------
    ValueError
        If `head` does not match the channels of `feature_map`, or a value is not finite.
    """
    if feature_map.ndim != 3 or head.shape != feature_map.shape[2:]:
        raise ValueError(
            "expected a feature map (rows, columns, channels) and a head (channels,). "
            f"Received: {feature_map.shape} and {head.shape}"
        )
    features, weights = feature_map.astype(np.float64), head.astype(np.float64)
    cells = features @ weights
    if not np.isfinite(cells).all():
        raise ValueError("expected finite features and weights. Received: nan or infinity")
    rounding = _ROUNDING * (np.abs(features) @ np.abs(weights)).max()
    for side in (1, -1):
        if (side * cells).max() <= rounding:
            cells = side * np.minimum(side * cells, 0)
    return cells.astype(np.float32)


def evidence_map(
    cells: npt.NDArray[np.float32], shape: tuple[int, int], *, against: bool = False
) -> npt.NDArray[np.float32]:
    """Interpolate one sign of `Heatmap.cells` to the evidence map for pneumonia, or against it.

    Cells of the other sign count as zero, before and after the interpolation.

    Parameters
    ----------
    cells
        (rows, columns), float32: signed evidence, as `Heatmap.cells`.
    shape
        (H, W) of the map.
    against
        Whether to map the evidence against pneumonia.

    Returns
    -------
    ndarray
        (H, W), float32 in [0, 1], scaled to its own maximum; all zeros where no cell has that sign.

    Raises
    ------
    ValueError
        If `cells` has another shape or is not finite.
    """
    values = interpolate(_one_side(cells, against), shape)
    greatest = values.max()
    if greatest > 0:
        values /= greatest
    return values


def peak_evidence(cells: npt.NDArray[np.float32], shape: tuple[int, int], *, against: bool = False) -> float:
    """Return the maximum that `evidence_map` divides by.

    The viewer draws the same map with it, and compares the two signs.

    Parameters
    ----------
    cells
        (rows, columns), float32: signed evidence, as `Heatmap.cells`.
    shape
        (H, W) of the map.
    against
        Whether the map is of the evidence against pneumonia.

    Returns
    -------
    float
        In the unit of `cells` (logits); 0 where no cell has that sign.

    Raises
    ------
    ValueError
        If `cells` has another shape or is not finite.
    """
    side = _one_side(cells, against)
    rows, columns = (_weights(count, size) for count, size in zip(side.shape, shape, strict=True))
    # In bands: the whole map of a large radiograph would take tens of megabytes for one number.
    parts = [rows[top : top + _BAND_ROWS] @ side @ columns.T for top in range(0, shape[0], _BAND_ROWS)]
    return max(0.0, *(float(part.max()) for part in parts))


def _one_side(cells: npt.NDArray[np.float32], against: bool) -> npt.NDArray[np.float32]:
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all():
        raise ValueError(f"expected finite cells (rows, columns). Received: {cells.shape}")
    return np.asarray(np.maximum(-cells if against else cells, 0), np.float32)


def interpolate(cells: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Interpolate cells to a finer grid over the same area.

    Parameters
    ----------
    cells
        (rows, columns), float32 ≥ 0.
    shape
        (H, W) of the finer grid.

    Returns
    -------
    ndarray
        (H, W), float32 ≥ 0.
    """
    rows, columns = (_weights(count, size) for count, size in zip(cells.shape, shape, strict=True))
    values = np.asarray((rows @ cells) @ columns.T, np.float32)
    # The kernel undershoots beside a steep rise; negative evidence belongs to the other sign's map.
    return np.maximum(values, 0, out=values)


def _weights(cells: int, size: int) -> npt.NDArray[np.float32]:
    """Return the weight of each cell at each pixel's centre, float32 (size, cells), each row summing to 1.

    Cubic convolution with a = −1/2 (Keys 1981, doi 10.1109/TASSP.1981.1163711): it passes through the cells' own
    values and has no kinks, which bilinear interpolation of an 8 × 8 map shows as star-shaped artefacts. Beyond the
    centres of the outermost cells their values continue, mirrored about those centres.
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

"""Evidence map of a film that the network saw framed by its lungs: from the cells of the frame to the film's own grid.

The cells of the frame are exact: their mean and the head's bias are the logit. On the film the same evidence is laid
out over the lungs that it was pooled from, so that the viewer, the reports and the zones read it as any other map, and
its mean is the same.

Example: ``framed_map(features, weights, frame, lungs, (height, width), 299).cells`` are cells over the whole film.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from imaging.resample import resize
from model.anatomy import LUNG
from model.assessment import Heatmap
from model.explanation import evidence_map, interpolate, signed_cells
from model.framing import Frame, find_frame

Float = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

# Cells along each side of the film. A cell blurs beyond the outline of the lungs by its own width.
FILM_CELLS = 96
# Points along each side of a cell, and along each side of a cell of the frame, at which evidence is laid out.
_FINER = 4
# Less lung than this in a cell is the rounding of an outline.
_LEAST_LUNG = 0.02


def framed_map(
    feature_map: Float,
    head: Float,
    frame: Frame,
    lungs: Grey,
    shape: tuple[int, int],
    input_px: int,
    *,
    layer: str = "evidence",
) -> Heatmap:
    """Map the evidence of a framed film onto the film.

    Parameters
    ----------
    feature_map
        (rows, columns, channels), float32: the features of the frame, weighted by the lungs.
    head
        (channels,), float32: the dense layer's weights.
    frame
        The frame that the network saw.
    lungs
        (2, rows, rows), uint8, 0 to 255: what the features were pooled over, on the film; all of it where there is
        nothing.
    shape
        (H, W) of the film.
    input_px
        Side of the network's input.
    layer
        Name of the layer that `feature_map` comes from.

    Returns
    -------
    Heatmap
        (H, W), float32 in [0, 1]. Its ``cells`` are (`FILM_CELLS`, `FILM_CELLS`) over the film, with the mean of
        ``frame_cells``.

    Raises
    ------
    ValueError
        If `head` does not match the channels of `feature_map`, or a value is not finite.
    """
    frame_cells = signed_cells(feature_map, head)
    cells = film_cells(frame_cells, frame, lungs, input_px)
    values = evidence_map(cells, shape)
    return Heatmap(values, layer, is_empty=not values.any(), cells=cells, frame_cells=frame_cells, frame=frame)


def frame_of(lungs: Grey, square_px: int) -> Frame:
    """Return the frame of a film whose lungs are known, as `model.framing.framed` finds it.

    Parameters
    ----------
    lungs
        (2, rows, rows), uint8, 0 to 255: what the features are pooled over.
    square_px
        Side of the square to which the film was squashed.
    """
    return find_frame(np.stack([resize(lung, square_px) for lung in lungs]))


def film_cells(frame_cells: Float, frame: Frame, lungs: Grey, input_px: int) -> Float:
    """Lay the cells of a frame out over the film.

    Parameters
    ----------
    frame_cells
        (rows, columns), float32: signed evidence in logits.
    frame, lungs, input_px
        As in `framed_map`.

    Returns
    -------
    ndarray
        (`FILM_CELLS`, `FILM_CELLS`), float32: nothing where there is no lung; each sign has the mean that it has in
        `frame_cells`.
    """
    px = FILM_CELLS * _FINER
    probability = _probability(lungs, px)
    # The rim of the outline, where it is least sure, gets least.
    sure = np.asarray(np.where(probability >= LUNG, probability**2, 0), np.float32)
    to_cells = _to_cells(frame, px, frame_cells.shape, input_px)
    share = _shares(probability, to_cells, frame_cells.shape)
    weights = np.maximum(_at(share, to_cells, px), _LEAST_LUNG)
    film = np.zeros((FILM_CELLS, FILM_CELLS), np.float32)
    for sign in (1, -1):
        side = np.asarray(np.maximum(sign * frame_cells, 0), np.float32)
        on_lung = np.asarray(np.where(share >= _LEAST_LUNG, side, 0), np.float32)
        laid = np.asarray(sure * _at(on_lung, to_cells, px) / weights, np.float32)
        # Features that fell on no lung at all, as where the outline is a sliver, are laid out where the cells are.
        laid = laid if laid.any() else _at(side, to_cells, px)
        coarse = laid.reshape(FILM_CELLS, _FINER, FILM_CELLS, _FINER).mean((1, 3))
        total = float(coarse.mean())
        if total > 0:
            film += np.asarray(sign * coarse * (float(side.mean()) / total), np.float32)
    return film


def cell_grid(count: int, input_px: int) -> tuple[float, float]:
    """Return where the cells of a feature map lie along a side of the network's input.

    Convolutions without padding leave a margin around the cells, and strides are powers of two: the 17 cells of
    InceptionV3's mixed7 are 16 pixels wide and begin 13 pixels from the edge of 299.

    Parameters
    ----------
    count
        Cells along the side.
    input_px
        Pixels along the side.

    Returns
    -------
    tuple of float
        First edge of the first cell, and width of a cell, in pixels.
    """
    width = input_px / count
    if input_px % count:
        width = float(2 ** int(np.log2(width)))
    return float((input_px - width * count) // 2), width


def _probability(lungs: Grey, px: int) -> Float:
    """Return the probability of lung at each pixel of the film: float32 (px, px), 1 everywhere where there is none."""
    both = lungs.max(0)
    if not both.any():
        return np.ones((px, px), np.float32)
    return np.asarray(cv2.resize(both.astype(np.float32) / 255, (px, px), interpolation=cv2.INTER_LINEAR), np.float32)


def _to_cells(frame: Frame, px: int, cells: tuple[int, ...], input_px: int) -> npt.NDArray[np.float64]:
    """Return the affine map from a pixel of the film, squashed to `px`, to cells finer by `_FINER`: float64 (2, 3)."""
    onto_film = np.vstack((frame.matrix(px, input_px), (0, 0, 1)))
    into_frame = np.linalg.inv(onto_film)[:2]
    for axis, count in enumerate(reversed(cells[:2])):
        first, width = cell_grid(count, input_px)
        finer = width / _FINER
        into_frame[axis] /= finer
        into_frame[axis, 2] += (0.5 - first) / finer - 0.5
    return np.asarray(into_frame, np.float64)


def _at(cells: Float, to_cells: npt.NDArray[np.float64], px: int) -> Float:
    """Return the interpolated cells ≥ 0 at each pixel of the film: float32 (px, px), the outermost ones beside it."""
    rows, columns = cells.shape
    fine = interpolate(np.asarray(cells, np.float32), (rows * _FINER, columns * _FINER))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(fine, to_cells, (px, px), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _shares(probability: Float, to_cells: npt.NDArray[np.float64], cells: tuple[int, ...]) -> Float:
    """Return the share of lung in each cell of the frame: float32 (rows, columns) in [0, 1]."""
    rows, columns = cells[:2]
    fine = cv2.warpAffine(probability, to_cells, (columns * _FINER, rows * _FINER), flags=cv2.INTER_LINEAR)
    return np.asarray(fine.reshape(rows, _FINER, columns, _FINER).mean((1, 3)), np.float32)

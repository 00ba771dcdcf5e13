"""From the cells of a frame to the film: the same evidence, over the lungs, at the right place."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from model.anatomy import Anatomy
from model.explanation import peak_evidence
from model.frame_map import FILM_CELLS, cell_grid, film_cells, frame_of, framed_map
from model.framing import Frame
from model.networks.architectures import ANATOMY_PX

PX, CELLS = 299, 17
UPRIGHT = np.eye(8, dtype=np.float32)[0]


def lungs_at(*middles: tuple[float, float], size: tuple[float, float] = (0.13, 0.27), tilt: float = 0.0) -> Anatomy:
    """Two ellipses at (x, y), each with half axes `size`, in shares of the picture; `tilt` in degrees, clockwise."""
    drawn = np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.uint8)
    for lung, (x, y) in zip(drawn, middles, strict=True):
        middle = round(x * ANATOMY_PX), round(y * ANATOMY_PX)
        axes = round(size[0] * ANATOMY_PX), round(size[1] * ANATOMY_PX)
        cv2.ellipse(lung, middle, axes, tilt, 0, 360, 255, -1)
    return Anatomy(drawn, UPRIGHT, 0.0)


USUAL = lungs_at((0.3, 0.45), (0.7, 0.45))


def pooled(anatomy: Anatomy, cells: np.ndarray) -> np.ndarray:
    """Weight cells by their share of lung, as the network does, so that what lies on no lung is no evidence."""
    frame = frame_of(anatomy.lungs, 224)
    first, width = cell_grid(CELLS, PX)
    lungs = cv2.warpAffine(
        anatomy.lungs.max(0).astype(np.float32) / 255,
        frame.matrix(ANATOMY_PX, PX),
        (PX, PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    begin, side = int(first), int(width)
    inner = lungs[begin : begin + side * CELLS, begin : begin + side * CELLS]
    share = inner.reshape(CELLS, side, CELLS, side).mean((1, 3))
    return (cells * share / share.mean()).astype(np.float32)


def test_the_cells_lie_where_unpadded_convolutions_leave_them() -> None:
    assert cell_grid(17, 299) == (13.0, 16.0), "mixed7 of InceptionV3"
    assert cell_grid(8, 299) == (21.0, 32.0), "mixed10 of InceptionV3"
    assert cell_grid(7, 224) == (0.0, 32.0) and cell_grid(10, 40) == (0.0, 4.0)


def test_cells_of_the_frame_and_of_the_film_have_the_same_mean_and_with_the_bias_it_is_the_logit() -> None:
    rng, bias = np.random.default_rng(3), -0.7
    features = np.dstack([pooled(USUAL, rng.normal(size=(CELLS, CELLS))) for _ in range(6)])
    head = rng.normal(size=6).astype(np.float32)
    logit = float(features.mean((0, 1)) @ head) + bias
    heatmap = framed_map(features, head, frame_of(USUAL.lungs, 224), USUAL.lungs, (310, 420), PX)
    assert heatmap.frame_cells is not None and heatmap.cells is not None
    assert float(heatmap.frame_cells.mean()) + bias == pytest.approx(logit, abs=1e-5)
    assert float(heatmap.cells.mean()) + bias == pytest.approx(logit, abs=1e-4)
    assert heatmap.cells.shape == (FILM_CELLS, FILM_CELLS) and heatmap.values.shape == (310, 420)
    assert heatmap.values.max() == pytest.approx(1) and not heatmap.is_empty
    assert peak_evidence(heatmap.cells, (310, 420)) > 0


@pytest.mark.parametrize("tilt", [-15.0, 0.0, 12.0])
@pytest.mark.parametrize("shape", [(300, 480), (500, 380)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.08, -0.06)])
def test_a_cell_lands_where_the_frame_saw_it(tilt: float, shape: tuple[int, int], offset: tuple[float, float]) -> None:
    slope, (dx, dy) = math.tan(math.radians(tilt)) * 0.2, offset
    anatomy = lungs_at((0.3 + dx, 0.5 + dy - slope), (0.7 + dx, 0.5 + dy + slope), tilt=tilt)
    frame = frame_of(anatomy.lungs, 224)
    assert math.degrees(frame.tilt) == pytest.approx(tilt, abs=2)
    for row, column in ((8, 3), (6, 13), (11, 4)):
        cells = np.zeros((CELLS, CELLS), np.float32)
        cells[row, column] = 1
        first, width = cell_grid(CELLS, PX)
        seen = np.array([first + (column + 0.5) * width - 0.5, first + (row + 0.5) * width - 0.5, 1])
        x, y = (frame.matrix(1000, PX) @ seen + 0.5) / 1000
        values = framed_map(cells[..., None], np.ones(1, np.float32), frame, anatomy.lungs, shape, PX).values
        weight = values / values.sum()
        height, across = shape
        found = (
            (weight.sum(0) @ (np.arange(across) + 0.5)) / across,
            (weight.sum(1) @ (np.arange(height) + 0.5)) / height,
        )
        assert found == pytest.approx((x, y), abs=0.02)


def test_nothing_is_outside_the_lungs_beyond_a_cells_blur() -> None:
    rng = np.random.default_rng(4)
    cells = pooled(USUAL, np.abs(rng.normal(size=(CELLS, CELLS))))
    values = framed_map(
        cells[..., None], np.ones(1, np.float32), frame_of(USUAL.lungs, 224), USUAL.lungs, (400, 400), PX
    ).values
    outline = USUAL.outline(400, 400)
    assert values[outline].sum() / values.sum() > 0.93
    # The outermost cell may reach out by its width, and the interpolation by two more.
    for widths, most in ((1.5, 0.1), (3.0, 1e-6)):
        reach = math.ceil(widths * 400 / FILM_CELLS)
        ring = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        assert values[cv2.dilate(outline.astype(np.uint8), ring) == 0].max() <= most


def test_signs_stay_apart_and_keep_their_sums() -> None:
    cells = np.zeros((CELLS, CELLS), np.float32)
    cells[8, 3], cells[8, 13] = 2.0, -3.0
    film = film_cells(cells, frame_of(USUAL.lungs, 224), USUAL.lungs, PX)
    assert film[:, : FILM_CELLS // 2].min() >= 0 and film[:, FILM_CELLS // 2 :].max() <= 0
    assert np.maximum(film, 0).mean() == pytest.approx(2 / CELLS**2, rel=1e-4)
    assert np.minimum(film, 0).mean() == pytest.approx(-3 / CELLS**2, rel=1e-4)


def test_without_lungs_the_cells_are_laid_out_over_the_whole_film() -> None:
    nothing = Anatomy(np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.uint8), UPRIGHT, 0.0)
    frame = frame_of(nothing.lungs, 224)
    assert frame == Frame(0.5, 0.5, frame.width, frame.height, 0.0)
    cells = np.zeros((CELLS, CELLS), np.float32)
    cells[0, 0] = 1.0
    film = film_cells(cells, frame, nothing.lungs, PX)
    assert film.mean() == pytest.approx(1 / CELLS**2, rel=1e-4)
    assert film[: FILM_CELLS // 8, : FILM_CELLS // 8].sum() > 0.9 * film.sum()


def test_evidence_on_a_sliver_of_lung_is_not_lost() -> None:
    sliver = lungs_at((0.3, 0.45), (0.7, 0.45), size=(0.02, 0.02))
    cells = np.full((CELLS, CELLS), 0.5, np.float32)
    film = film_cells(cells, frame_of(sliver.lungs, 224), sliver.lungs, PX)
    assert film.mean() == pytest.approx(0.5, rel=1e-4)


def test_a_head_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="Received"):
        framed_map(
            np.zeros((3, 3, 2), np.float32),
            np.ones(3, np.float32),
            frame_of(USUAL.lungs, 224),
            USUAL.lungs,
            (30, 30),
            PX,
        )

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.anatomy import Anatomy
from model.overlay import colour_table, contour, draw_lungs, lung_outlines, overlay
from tests.fake_classifier import usual_lungs
from tests.phantoms import chest


def test_the_colours_grow_lighter_throughout_and_never_start_black():
    table = colour_table()
    assert table.shape == (256, 3) and table.dtype == np.uint8
    luminance = table @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > -0.5).all()  # ± one step of 8-bit rounding
    assert luminance[0] > 15 and luminance[-1] > 240
    red, _, blue = table[128].astype(int)
    assert red > blue  # RGB, not OpenCV's order: the middle of inferno is orange


def test_the_colour_table_cannot_be_spoilt_for_the_next_caller():
    with pytest.raises(ValueError, match="read-only"):
        colour_table()[0] = 0


def test_the_lungs_are_outlined_by_dashes_and_nothing_else_is_touched():
    anatomy = Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.0)
    outlines = lung_outlines(anatomy)
    assert len(outlines) == 2 and all(one.min() > 0 and one.max() < 1 for one in outlines)
    picture = np.full((300, 400, 3), 90, np.uint8)
    drawn = draw_lungs(picture, anatomy)
    assert (picture == 90).all() and drawn.shape == picture.shape
    lungs = anatomy.outline(300, 400).astype(np.uint8)
    ring = cv2.dilate(lungs, np.ones((7, 7))) - cv2.erode(lungs, np.ones((7, 7)))
    changed = (drawn != picture).any(2)
    assert not changed[ring == 0].any()
    edge = cv2.morphologyEx(lungs, cv2.MORPH_GRADIENT, np.ones((3, 3)))
    assert 0.3 < changed[edge > 0].mean() < 0.8, "dashes and gaps"


def test_an_overlay_without_opacity_or_evidence_is_the_grey_picture():
    pixels = chest(1, (120, 140))
    values = np.linspace(0, 1, pixels.size, dtype=np.float32).reshape(pixels.shape)
    grey = np.repeat(pixels[..., None], 3, axis=2)
    assert (overlay(pixels, values, 0.0) == grey).all()
    assert (overlay(pixels, np.zeros_like(values), 1.0) == grey).all()


def test_overlay_mixes_by_opacity_times_evidence():
    pixels = np.full((1, 3), 100, np.uint8)
    values = np.array([[0, 0.5, 1]], np.float32)
    mixed = overlay(pixels, values, 0.8)
    middle, top = colour_table()[[128, 255]].astype(float)  # 0.5 · 255 = 127.5, and NumPy rounds that to 128
    assert mixed.shape == (1, 3, 3) and mixed.dtype == np.uint8
    np.testing.assert_allclose(mixed[0, 1], 0.6 * 100 + 0.4 * middle, atol=0.51)
    np.testing.assert_allclose(mixed[0, 2], 0.2 * 100 + 0.8 * top, atol=0.51)


def test_overlay_treats_every_row_of_a_tall_picture_alike():
    pixels, values = np.full((700, 2), 60, np.uint8), np.full((700, 2), 0.7, np.float32)
    mixed = overlay(pixels, values, 0.5)
    assert (mixed == mixed[0, 0]).all() and (mixed[0, 0] != 60).any()


def _disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(y - height // 2, x - width // 2)
    return np.clip(1 - distance / (2 * radius), 0, 1).astype(np.float32)


def test_a_contour_runs_where_the_level_is_crossed_and_nowhere_else():
    pixels = np.full((300, 400), 90, np.uint8)
    drawn = contour(pixels, _disc(300, 400, 80), levels=(0.5,))  # 0.5 is reached 80 px from the middle
    touched = (drawn != 90).any(axis=2)
    rows, columns = np.nonzero(touched)
    distance = np.hypot(rows - 150, columns - 200)
    assert distance.min() > 75 and distance.max() < 85
    angles = np.unique(np.round(np.degrees(np.arctan2(rows - 150, columns - 200)) / 5))
    assert len(angles) >= 72  # all the way round
    on_the_line = drawn[150, 275:286].astype(int)  # one row outwards through the line, which is smoothed a little
    assert np.abs(on_the_line - colour_table()[128]).max(axis=1).min() < 25


def test_contour_lines_grow_with_the_picture():
    drawn = [contour(np.zeros((s, s), np.uint8), _disc(s, s, s / 4)) for s in (250, 1000)]
    share = [float((picture > 0).any(axis=2).mean()) for picture in drawn]
    assert share[1] == pytest.approx(share[0], rel=0.5)


def test_no_contour_runs_along_the_border_of_the_picture():
    values = np.ones((200, 200), np.float32)
    assert not contour(np.zeros((200, 200), np.uint8), values).any()
    values[:, :100] = 0
    drawn = contour(np.full((200, 200), 50, np.uint8), values, levels=(0.5,))
    columns = np.nonzero((drawn != 50).any(axis=(0, 2)))[0]
    assert columns.min() > 95 and columns.max() < 105


def test_a_map_without_evidence_has_no_contour():
    pixels = chest(1, (120, 140))
    assert (contour(pixels, np.zeros(pixels.shape, np.float32)) == pixels[..., None]).all()


@pytest.mark.parametrize("draw", [lambda p, v: overlay(p, v, 0.5), contour])
def test_a_map_of_another_shape_is_refused(draw):
    with pytest.raises(ValueError, match="one shape"):
        draw(np.zeros((10, 12), np.uint8), np.zeros((12, 10), np.float32))


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_an_opacity_outside_0_to_1_is_refused(opacity):
    with pytest.raises(ValueError, match="opacity"):
        overlay(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), opacity)


def test_a_level_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="levels"):
        contour(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), levels=(0.0,))

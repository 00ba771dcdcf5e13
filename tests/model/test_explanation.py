from __future__ import annotations

import numpy as np
import pytest

from model.explanation import evidence_map, grad_cam, peak_evidence

# Two channels of 3 × 3 and a head of (2, −1). By hand, 2a − b:
#   2·1−0  2·0−3  2·0−0        2 −3  0
#   2·0−0  2·3−2  2·1−1   =    0  4  1
#   2·0−1  2·1−0  2·2−3       −1  2  1
FIRST = [[1, 0, 0], [0, 3, 1], [0, 1, 2]]
SECOND = [[0, 3, 0], [0, 2, 1], [1, 0, 3]]
FEATURES = np.stack([FIRST, SECOND], axis=2).astype(np.float32)
HEAD = np.array([2, -1], np.float32)


def test_every_cell_is_the_weighted_sum_without_what_is_negative_over_the_maximum():
    heatmap = grad_cam(FEATURES, HEAD, (3, 3))
    by_hand = np.array([[2, 0, 0], [0, 4, 1], [0, 2, 1]]) / 4
    np.testing.assert_allclose(heatmap.values, by_hand, atol=1e-6)
    assert heatmap.values.dtype == np.float32
    assert heatmap.layer == "mixed10"
    assert not heatmap.is_empty


def test_the_other_sign_explains_no_pneumonia():
    heatmap = grad_cam(FEATURES, HEAD, (3, 3), sign=-1, layer="mixed7")
    by_hand = np.array([[0, 3, 0], [0, 0, 0], [1, 0, 0]]) / 3
    np.testing.assert_allclose(heatmap.values, by_hand, atol=1e-6)
    assert heatmap.layer == "mixed7"


def test_a_constant_factor_in_the_head_changes_nothing():
    np.testing.assert_allclose(
        grad_cam(FEATURES, 1000 * HEAD, (30, 40)).values, grad_cam(FEATURES, HEAD, (30, 40)).values, atol=1e-5
    )


@pytest.mark.parametrize("features", [np.zeros((3, 3, 2), np.float32), -FEATURES[..., :1].repeat(2, axis=2)])
def test_a_map_is_empty_when_no_region_raised_the_logit(features):
    heatmap = grad_cam(features, np.array([1, 1], np.float32), (20, 30))
    assert heatmap.is_empty
    assert heatmap.values.shape == (20, 30)
    assert not heatmap.values.any()


def test_what_rounding_leaves_of_cancelling_terms_is_not_shown_as_evidence():
    features = np.full((8, 8, 2), 1000, np.float32)
    head = np.array([1, np.nextafter(np.float32(-1), np.float32(0))], np.float32)
    assert (features @ head > 0).all()
    assert grad_cam(features, head, (64, 64)).is_empty


def test_the_map_has_the_radiographs_shape_and_lies_in_0_to_1():
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (8, 8, 5)).astype(np.float32)
    for shape in ((600, 720), (720, 600), (97, 1201), (8, 8), (5, 3)):
        values = grad_cam(features, rng.normal(0, 1, 5).astype(np.float32), shape).values
        assert values.shape == shape
        assert values.min() >= 0
        assert values.max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (7, 7), (6, 0)])
def test_a_cell_appears_where_it_lies_in_the_squashed_radiograph(row, column):
    features = np.zeros((8, 8, 1), np.float32)
    features[row, column] = 1
    height, width = 160, 480
    values = grad_cam(features, np.ones(1, np.float32), (height, width)).values
    # The cell covers rows 20·row … 20·row+19 and columns 60·column … 60·column+59, so its centre lies at half of each.
    total = values.sum()
    if 0 < row < 7 and 0 < column < 7:
        assert (values.sum(axis=1) * np.arange(height)).sum() / total == pytest.approx(20 * row + 9.5, abs=0.05)
        assert (values.sum(axis=0) * np.arange(width)).sum() / total == pytest.approx(60 * column + 29.5, abs=0.05)
    assert values[20 * row + 10, 60 * column + 30] > 0.99
    assert values[20 * row : 20 * row + 20, 60 * column : 60 * column + 60].sum() > 0.5 * total


def test_a_mirrored_feature_map_gives_the_mirrored_picture():
    features = np.random.default_rng(2).normal(0, 1, (8, 8, 3)).astype(np.float32)
    head = np.array([1, -0.5, 0.3], np.float32)
    plain, mirrored = (grad_cam(f, head, (123, 211)).values for f in (features, features[:, ::-1]))
    np.testing.assert_allclose(plain[:, ::-1], mirrored, atol=1e-5)


def test_a_cell_at_the_border_continues_to_it():
    features = np.zeros((8, 8, 1), np.float32)
    features[4, 0] = 1
    along = grad_cam(features, np.ones(1, np.float32), (80, 160)).values[45]
    np.testing.assert_allclose(along[:10], along[0], atol=1e-6)
    assert (np.diff(along[:30]) <= 1e-6).all()


def test_a_uniform_map_stays_uniform():
    features = np.ones((8, 8, 2), np.float32)
    np.testing.assert_allclose(grad_cam(features, np.ones(2, np.float32), (55, 77)).values, 1, atol=1e-5)


def test_the_arguments_are_left_as_they_were():
    features, head = FEATURES.copy(), HEAD.copy()
    grad_cam(features, head, (9, 9), sign=-1)
    assert (features == FEATURES).all() and (head == HEAD).all()


@pytest.mark.parametrize(
    ("features", "head", "sign", "words"),
    [
        (FEATURES, np.ones(3, np.float32), 1, r"Received: \(3, 3, 2\) and \(3,\)"),
        (FEATURES[0], HEAD, 1, r"Received: \(3, 2\)"),
        (FEATURES, HEAD[None], 1, "Received"),
        (FEATURES, HEAD, 0, "Received: 0"),
        (FEATURES * np.nan, HEAD, 1, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(features, head, sign, words):
    with pytest.raises(ValueError, match=words):
        grad_cam(features, head, (3, 3), sign=sign)


def test_the_cells_are_the_signed_weighted_sum_whichever_side_is_drawn():
    by_hand = np.array([[2, -3, 0], [0, 4, 1], [-1, 2, 1]])
    for sign in (1, -1):
        cells = grad_cam(FEATURES, HEAD, (3, 3), sign=sign).cells
        assert cells.dtype == np.float32
        np.testing.assert_allclose(cells, by_hand)


def test_both_sides_are_drawn_from_the_cells():
    for sign, against in ((1, False), (-1, True)):
        heatmap = grad_cam(FEATURES, HEAD, (40, 70), sign=sign)
        np.testing.assert_array_equal(evidence_map(heatmap.cells, (40, 70), against=against), heatmap.values)


def test_what_speaks_against_does_not_show_through_in_what_speaks_for():
    cells = np.zeros((8, 8), np.float32)
    cells[2, 2], cells[5, 5] = 1, -3
    without = np.maximum(cells, 0)
    np.testing.assert_array_equal(evidence_map(cells, (80, 90)), evidence_map(without, (80, 90)))
    assert evidence_map(cells, (80, 90), against=True)[54, 61] > 0.9


@pytest.mark.parametrize("against", [False, True])
def test_a_side_on_which_no_cell_lies_is_empty(against):
    cells = np.full((8, 8), 1 if against else -1, np.float32)
    assert not evidence_map(cells, (20, 30), against=against).any()
    assert peak_evidence(cells, (20, 30), against=against) == 0


def test_the_peak_evidence_is_what_the_map_was_divided_by():
    cells = np.random.default_rng(3).normal(0, 1, (8, 8)).astype(np.float32)
    for shape in ((700, 300), (256, 256)):
        for against in (False, True):
            greatest = peak_evidence(cells, shape, against=against)
            # The interpolation passes through the cells, and overshoots a little between two high ones.
            assert 0.95 < greatest / (-cells if against else cells).max() < 1.2
            doubled = peak_evidence(2 * cells, shape, against=against)
            assert doubled == pytest.approx(2 * greatest, rel=1e-6)
    on_the_grid = peak_evidence(cells, (8, 8))
    np.testing.assert_allclose(evidence_map(cells, (8, 8)) * on_the_grid, np.maximum(cells, 0), atol=1e-6)
    assert on_the_grid == pytest.approx(cells.max())


@pytest.mark.parametrize(
    "cells", [np.zeros(8, np.float32), np.zeros((0, 8), np.float32), np.full((2, 2), np.nan, np.float32)]
)
def test_cells_that_are_none_are_refused(cells):
    with pytest.raises(ValueError, match="cells"):
        evidence_map(cells, (20, 30))


def test_what_rounding_leaves_is_in_no_side_of_the_cells():
    features = np.full((8, 8, 2), 1000, np.float32)
    head = np.array([1, np.nextafter(np.float32(-1), np.float32(0))], np.float32)
    assert not grad_cam(features, head, (64, 64)).cells.any()

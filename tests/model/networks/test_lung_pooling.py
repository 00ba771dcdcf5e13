"""Pooling over the lungs: exact, blind to the rest, and on the grid of the cells' true centres."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from model.networks.build import build_network
from model.networks.graphs import forward_function, logit_function
from model.networks.layers import evidence_layer
from model.networks.lung_pooling import OnFinerGrid, OverLungs
from tests.lungs import pair


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """The network with random weights and a head that does not vanish."""
    made = build_network("inception_v3_lungs", 171)
    kernel = np.random.default_rng(1).normal(size=made.layers[-1].kernel.shape)
    made.layers[-1].kernel.assign(kernel)
    return made


def test_the_map_adds_up_to_the_logit_and_is_nothing_beside_the_lungs(network):
    film, right, left = np.moveaxis(pair(0, 171), -1, 0)
    picture = np.dstack((film, np.maximum(right, left)))[None]
    logits, features, weights, _ = forward_function(network)(picture)
    cells = (features[0] @ weights[0]).astype(np.float64)
    assert logits[0] == pytest.approx(cells.mean() + float(network.layers[-1].bias[0]), rel=1e-4)
    assert evidence_layer(network) == ("evidence", True)
    assert cells.shape == (9, 9)
    assert (cells[:, 0] == 0).all() and (cells != 0).any()


def test_without_lungs_nothing_is_divided_by_zero(network):
    assert np.isfinite(logit_function(network)(np.zeros((1, 171, 171, 2), np.uint8))).all()


def test_the_coarse_map_lies_on_the_cells_that_it_was_reduced_from():
    coarse = np.arange(4, dtype=np.float32)[None, :, None, None] * np.ones((1, 4, 4, 1), np.float32)
    fine = np.zeros((1, 9, 9, 5), np.float32)
    found = np.asarray(OnFinerGrid()([coarse, fine]))
    np.testing.assert_allclose(found[0, :, 0, 0], (0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3))
    assert found.shape == (1, 9, 9, 1)


def test_the_mean_over_all_cells_is_the_mean_over_the_lungs():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    share = rng.uniform(0, 255, (2, 5, 5, 1)).astype(np.float32)
    weighted = np.asarray(OverLungs()([features, share]))
    expected = (features * share).sum((1, 2)) / share.sum((1, 2))
    np.testing.assert_allclose(weighted.mean((1, 2)), expected, rtol=1e-5, atol=1e-6)

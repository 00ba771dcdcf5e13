"""Calibration measures against independent code and populations whose calibration is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model.calibration_measures import calibration_measures, class_weights, expected_calibration_error
from model.intervals import members


def sample(n: int = 4000, share: float = 0.73) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and probabilities that are correct at a prevalence of one half."""
    rng = np.random.default_rng(0)
    y = (rng.random(n) < share).astype(int)
    return y, 1 / (1 + np.exp(-(2 * (2 * y - 1) + 2 * rng.normal(size=n))))


def test_slope_is_that_of_a_weighted_logistic_regression() -> None:
    y, p = sample(500)
    p = p**1.3 / (p**1.3 + (1 - p) ** 1.3) * 0.98 + 0.01
    weight = class_weights(y, 0.5)
    logit = np.log(p / (1 - p))[:, None]
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(logit, y, weight * 500)
    found = calibration_measures(y, p, 0.5, members(None, 500))
    assert found is not None and found.slope.value == pytest.approx(oracle.coef_[0, 0], abs=1e-5)
    # Calibration in the large: with the intercept the mean probability is the prevalence.
    moved = 1 / (1 + np.exp(-(logit[:, 0] + found.intercept.value)))
    assert (weight * moved).sum() == pytest.approx(0.5, abs=1e-9)


def test_correct_probabilities_are_found_correct_at_their_prevalence_and_not_at_the_sets() -> None:
    y, p = sample()
    found = calibration_measures(y, p, 0.5, members(None, len(y)))
    assert found is not None and found.prevalence == 0.5
    assert found.intercept.low < 0 < found.intercept.high and found.slope.low < 1 < found.slope.high
    assert found.ece.low == 0 and found.ece.value < 0.02
    assert expected_calibration_error(y, p, members(None, len(y))).low > 0.05


def test_too_extreme_probabilities_have_a_small_slope() -> None:
    y, p = sample()
    extreme = p**2 / (p**2 + (1 - p) ** 2)
    found = calibration_measures(y, extreme, 0.5, members(None, len(y)))
    assert found is not None and found.slope.value == pytest.approx(0.5, abs=0.05) and found.slope.high < 0.6
    assert found.ece.low > 0.02


def test_debiased_error_is_less_and_nearer() -> None:
    """The plain error of correct probabilities falls with the sample; that of the debiased is smaller at any size."""
    y, p = sample(100)
    plain, debiased = (
        expected_calibration_error(y, p, members(None, 100), 0.5, debiased=one).value for one in (False, True)
    )
    assert 0 <= debiased < 0.7 * plain
    # By hand: one bin, four films at 0.5 of which three are ill: the gap is 0.25.
    one = expected_calibration_error(np.array([1, 1, 1, 0]), np.full(4, 0.5), np.arange(4))
    assert one.value == pytest.approx(0.25) and one.low == 0


def test_separated_classes_have_no_slope_and_one_class_no_calibration() -> None:
    found = calibration_measures(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), 0.5, np.arange(4))
    assert found is not None and math.isnan(found.slope.value) and math.isfinite(found.intercept.value)
    assert calibration_measures(np.ones(3), np.full(3, 0.7), 0.5, np.arange(3)) is None


def test_a_network_that_answers_nearly_the_same_for_every_film_has_no_slope() -> None:
    y, p = sample(200)
    found = calibration_measures(y, 0.4 - 1e-6 * p, 0.5, members(None, 200))
    assert found is not None and math.isnan(found.slope.value) and math.isfinite(found.intercept.value)

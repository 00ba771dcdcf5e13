from __future__ import annotations

import numpy as np
import pytest

from model.calibration import MAX_TEMPERATURE, fit_calibration, predict, probabilities, sigmoid
from model.card import Calibration, OperatingPoint

POINT = OperatingPoint(0.5, 0.4, 0.6, "by hand")


def test_sigmoid_neither_overflows_nor_loses_the_tails() -> None:
    values = sigmoid(np.array([-1000.0, -40.0, 0.0, 40.0, 1000.0]))
    assert values[0] == 0 and 0 < values[1] < 1e-17
    assert values[2] == 0.5 and values[4] == 1


def test_known_temperature_and_bias_are_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, 20000)
    labels = (rng.random(20000) < sigmoid(logits / 2.5 + 0.7)).astype(int)
    found = fit_calibration(labels, logits)
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert found.bias == pytest.approx(0.7, abs=0.08)


def test_weights_count_like_repetitions() -> None:
    labels, logits = np.array([0, 1, 0, 1, 1]), np.array([-2.0, 1.0, 0.5, -0.5, 3.0])
    longer = fit_calibration(np.tile(labels, 2000), np.tile(logits, 2000))
    uneven = fit_calibration(np.tile(labels, 2000), np.tile(logits, 2000), np.tile([3.0, 1, 3, 1, 1], 2000))
    assert uneven.bias < longer.bias - 0.5, "the first and third, both normal, now count three times"
    repeated = [0, 0, 0, 1, 2, 2, 2, 3, 4]
    tripled = fit_calibration(np.tile(labels[repeated], 2000), np.tile(logits[repeated], 2000))
    assert (tripled.temperature, tripled.bias) == pytest.approx((uneven.temperature, uneven.bias), rel=1e-2)


def test_perfectly_separated_classes_keep_a_finite_scale() -> None:
    found = fit_calibration(np.array([0] * 50 + [1] * 50), np.concatenate((np.full(50, -5.0), np.full(50, 5.0))))
    assert found.temperature == pytest.approx(5 / np.log(51), rel=0.01)


def test_worthless_logits_say_nothing() -> None:
    found = fit_calibration(np.array([0, 0, 1, 1]), np.array([3.0, 2.0, -2.0, -3.0]))
    assert found.temperature == MAX_TEMPERATURE
    assert probabilities(np.array([-3.0, 3.0]), found) == pytest.approx([0.5, 0.5], abs=0.01)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        fit_calibration(np.ones(4), np.arange(4.0))


@pytest.mark.parametrize(
    ("logit", "finding", "near", "words"),
    [
        (3.0, "PNEUMONIA", False, "Pneumonia likely"),
        (-3.0, "NO_PNEUMONIA", False, "Pneumonia unlikely"),
        (0.0, "PNEUMONIA", True, "Borderline (near the threshold)"),
        (-0.2, "NO_PNEUMONIA", True, "Borderline (near the threshold)"),
    ],
)
def test_finding_words_and_band(logit: float, finding: str, near: bool, words: str) -> None:
    prediction = predict(logit, Calibration(1.0), POINT)
    assert (prediction.finding, prediction.is_near, prediction.words) == (finding, near, words)


def test_a_broken_logit_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        predict(float("nan"), Calibration(1.0), POINT)

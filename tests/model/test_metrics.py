from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.card import MEASURES
from model.intervals import wilson
from model.metrics import auroc, evaluate, ppv_npv

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.6, 0.3, 0.9, 0.8, 0.3, 0.7, 0.95, 0.65])


def test_auroc_by_hand() -> None:
    # Of 4·6 = 24 pairs: 0.3 ties with 0.3 (½), 0.3 < 0.6 loses one; the other 22 are right.
    assert auroc(LABELS, SCORES) == pytest.approx(22.5 / 24)
    assert auroc(LABELS, -SCORES) == pytest.approx(1.5 / 24)
    assert math.isnan(auroc(np.ones(3), np.arange(3)))


def test_confusion_and_rates_by_hand() -> None:
    e = evaluate("x", LABELS, SCORES, 0.5)
    assert (e.tp, e.fn, e.tn, e.fp) == (5, 1, 3, 1)
    values = {name: e.measures[name].value for name in MEASURES}
    assert values["accuracy"] == pytest.approx(8 / 10)
    assert values["sensitivity"] == pytest.approx(5 / 6)
    assert values["specificity"] == pytest.approx(3 / 4)
    assert values["ppv"] == pytest.approx(5 / 6)
    assert values["npv"] == pytest.approx(3 / 4)
    assert values["f1"] == pytest.approx(10 / 12)
    assert values["brier"] == pytest.approx(((SCORES - LABELS) ** 2).mean())
    assert values["auroc"] == pytest.approx(auroc(LABELS, SCORES))


def test_average_precision_by_hand() -> None:
    # Ranked: + − + → 1/2·1 + 1/2·2/3
    e = evaluate("x", np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7]), 0.5)
    assert e.measures["auprc"].value == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_calibration_error_by_hand() -> None:
    # Two bins: 0.25 with 1 of 4 positive (no error), 0.85 with 1 of 2 positive (error 0.35 on a third of the sample).
    p, y = np.array([0.25] * 4 + [0.85] * 2), np.array([1, 0, 0, 0, 1, 0])
    e = evaluate("x", y, p, 0.5)
    assert e.measures["ece"].value == pytest.approx(0.35 / 3)
    assert [(b.probability, b.observed, b.n) for b in e.reliability] == [(0.25, 0.25, 4), (0.85, 0.5, 2)]


def test_intervals_hold_the_value_and_narrow_with_more_patients() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 1000)
    p = 1 / (1 + np.exp(-(3 * y - 1.5 + rng.normal(size=1000))))
    small, large = evaluate("x", y[:100], p[:100], 0.5), evaluate("x", y, p, 0.5)
    for name in MEASURES:
        m = large.measures[name]
        # ECE is biased upwards in every resample, so its interval need not hold the value.
        assert name == "ece" or m.low <= m.value <= m.high
        assert m.high - m.low < small.measures[name].high - small.measures[name].low


def test_two_films_of_one_child_are_not_two_observations() -> None:
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 2, 150), rng.random(150)
    doubled = evaluate("x", np.repeat(y, 4), np.repeat(p, 4), 0.5, [str(i // 4) for i in range(600)])
    naive = evaluate("x", np.repeat(y, 4), np.repeat(p, 4), 0.5)
    width = {e.unit: e.measures["accuracy"].high - e.measures["accuracy"].low for e in (doubled, naive)}
    assert width["patient"] > 1.6 * width["radiograph"]


def test_a_sample_without_errors_still_has_an_interval() -> None:
    e = evaluate("x", LABELS, LABELS * 0.8 + 0.1, 0.5)
    assert e.measures["specificity"].value == 1
    assert e.measures["specificity"].low == pytest.approx(wilson(4, 4)[0])
    assert 0.4 < e.measures["specificity"].low < 0.6


def test_undefined_figures_are_nan_not_zero() -> None:
    e = evaluate("x", np.ones(5), np.full(5, 0.9), 0.5)
    assert math.isnan(e.measures["specificity"].value)
    assert math.isnan(e.measures["auroc"].value)
    assert e.measures["sensitivity"].value == 1


def test_mismatched_or_empty_input_is_refused() -> None:
    with pytest.raises(ValueError, match="Received: 0 and 0"):
        evaluate("x", np.zeros(0), np.zeros(0), 0.5)
    with pytest.raises(ValueError, match="Received: 2 and 3"):
        evaluate("x", np.zeros(2), np.zeros(3), 0.5)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=60))
def test_resampled_auroc_agrees_with_the_rank_statistic(rows: list[tuple[int, int]]) -> None:
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]) / 10
    e = evaluate("x", y, p, 0.5)
    assert e.measures["auroc"].value == pytest.approx(auroc(y, p), nan_ok=True)
    xs = [x for x, _ in e.roc]
    assert xs == sorted(xs) and e.roc[0] == (0, 0)
    assert sum(e.histogram_normal) + sum(e.histogram_pneumonia) == e.n == e.tp + e.fp + e.tn + e.fn


def test_predictive_values_follow_bayes() -> None:
    ppv, npv = ppv_npv(0.98, 0.91, 0.2)
    assert ppv == pytest.approx(0.98 * 0.2 / (0.98 * 0.2 + 0.09 * 0.8))
    assert npv == pytest.approx(0.91 * 0.8 / (0.91 * 0.8 + 0.02 * 0.2))
    assert math.isnan(ppv_npv(0.0, 1.0, 0.2)[0])

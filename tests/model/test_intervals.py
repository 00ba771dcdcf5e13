"""Intervals against values worked out by hand and against independent code; coverage on a few seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from model.area_intervals import auprc_influence, auprc_interval, auroc_influence, auroc_interval, perfect_bound
from model.card import Measure
from model.intervals import (
    design_effect,
    difference_interval,
    mean_interval,
    members,
    proportion,
    ratio_interval,
    share_mean,
    spread,
    wilson,
)
from model.metrics import evaluate
from model.quantiles import beta_quantile, clopper_pearson, t_quantile


def clustered(seed: int, patients: int = 60, auc: float = 0.97) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, scores and patients; films of a patient have half of their variance in common."""
    rng = np.random.default_rng(seed)
    mu = math.sqrt(2) * stats.norm.ppf(auc)
    ill = rng.permutation(np.arange(patients) < 0.73 * patients).astype(int)
    member = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    shared, own = rng.normal(size=patients)[member], rng.normal(size=len(member))
    return ill[member], mu * ill[member] + (shared + own) / math.sqrt(2), member


def test_quantiles_are_scipys() -> None:
    for a, b in ((1, 1), (16, 1), (300.5, 2.3), (0.5, 0.5), (5, 3000)):
        for q in (0.001, 0.025, 0.5, 0.975):
            assert beta_quantile(q, a, b) == pytest.approx(stats.beta.ppf(q, a, b), abs=1e-9)
    for df in (1, 2, 5.5, 15, 1000):
        assert t_quantile(0.975, df) == pytest.approx(stats.t.ppf(0.975, df), abs=1e-8)
    exact = stats.binomtest(47, 50).proportion_ci(method="exact")
    assert clopper_pearson(47, 50) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert clopper_pearson(0, 0) == (0.0, 1.0) and t_quantile(0.5, 3) == 0


def test_wilson_is_scipys_and_one_film_each_is_not_clustered() -> None:
    right = np.arange(50) < 47
    expected = stats.binomtest(47, 50).proportion_ci(method="wilson")
    assert wilson(47, 50) == pytest.approx((expected.low, expected.high), abs=1e-7)
    assert proportion(right) == Measure(0.94, *wilson(47, 50))
    assert math.isnan(proportion(np.zeros(0, bool)).low)


def test_obuchowskis_variance_by_loops() -> None:
    y, s, member = clustered(1, 20, 0.8)
    s = s.round(1)  # with ties
    order = np.where(s[:, None] > s[None, :], 1.0, np.where(s[:, None] == s[None, :], 0.5, 0.0))
    area = order[np.ix_(y == 1, y == 0)].mean()
    own, other = order[:, y == 0].mean(1), order[y == 1, :].mean(0)
    m, n = int((y == 1).sum()), int((y == 0).sum())
    ill, well = sorted({*member[y == 1]}), sorted({*member[y == 0]})
    first = len(ill) / (len(ill) - 1) / m**2 * sum(((own - area)[(member == i) & (y == 1)].sum()) ** 2 for i in ill)
    second = (
        len(well) / (len(well) - 1) / n**2 * sum(((other - area)[(member == i) & (y == 0)].sum()) ** 2 for i in well)
    )
    value, influence = auroc_influence(y == 1, s, member)
    assert value == pytest.approx(area, abs=1e-12) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert float((np.bincount(member, influence) ** 2).sum()) == pytest.approx(first + second, rel=1e-9)


def test_average_precision_and_its_derivative() -> None:
    y, s, _ = clustered(2, 25, 0.85)
    s = s.round(1)
    value, influence = auprc_influence(y == 1, s)
    assert value == pytest.approx(average_precision_score(y, s), abs=1e-12)
    for film in (0, 7, 20):
        weight = np.ones(len(y))
        weight[film] += 1e-6
        moved = average_precision_score(y, s, sample_weight=weight)
        assert (moved - value) / 1e-6 == pytest.approx(influence[film], abs=1e-5)
    assert influence.sum() == pytest.approx(0, abs=1e-12)


def test_a_perfect_sample_is_no_certainty() -> None:
    y, s = np.repeat((0, 1), (20, 60)), np.arange(80.0)
    member = members(None, 80)
    assert auroc_interval(y, s, member) == Measure(1.0, 0.025 ** (1 / 20), 1.0)
    assert auroc_interval(y, -s, member).high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert 0.5 < auprc_interval(y, s, member).low < 1 == auprc_interval(y, s, member).high
    # Exact where 17 % of the normal films always score highest: 20 of them are all right in 2.5 % of samples.
    share = 1 - perfect_bound(60, 20)
    assert (1 - share) ** 20 == pytest.approx(0.025)
    two_each = np.repeat(np.arange(40), 2)
    assert auroc_interval(y, s, two_each).low == pytest.approx(perfect_bound(30, 10))
    e = evaluate("x", y, 1 / (1 + np.exp(40 - s)), 0.5)
    assert all(e.measures[name].low < 0.99 for name in ("auroc", "auprc", "sensitivity", "specificity", "f1", "npv"))


def test_what_is_not_defined_is_nan_and_what_has_no_variance_is_unknown() -> None:
    member = members(None, 4)
    assert math.isnan(auroc_interval(np.ones(4), np.arange(4), member).value)
    assert math.isnan(auprc_interval(np.zeros(4), np.arange(4), member).value)
    assert auroc_interval(np.array([0, 1, 0, 1]), np.ones(4), member) == Measure(0.5, 0.0, 1.0)
    assert math.isnan(mean_interval(np.ones(3), ["a", "a", "a"]).low)


def test_films_of_one_patient_count_as_less_than_films_of_many() -> None:
    rng = np.random.default_rng(3)
    right = rng.random(100) < 0.8
    member = np.repeat(np.arange(100), 3)
    assert design_effect(right, np.arange(100)) == 1
    assert design_effect(np.repeat(right, 3), member) == pytest.approx(3)  # as good as one film each
    assert design_effect(np.ones(300, bool), member) == pytest.approx(3)
    assert 1 <= design_effect(rng.random(300) < 0.8, member) < 1.6
    tripled, single = proportion(np.repeat(right, 3), member), proportion(right)
    assert (tripled.low, tripled.high) == pytest.approx((single.low, single.high))


def test_mean_is_students_t_for_many_patients() -> None:
    values = np.random.default_rng(4).normal(size=400)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.02)
    assert spread((values - values.mean()) / 400, np.arange(400)).variance == pytest.approx(stats.sem(values) ** 2)


def test_paired_difference_is_newcombes_method_10() -> None:
    # Newcombe 1998, table II: 36 both, 12 only the first, 2 only the second, 0 neither: 0.2000 (0.0569 to 0.3404).
    a = np.array([1] * 36 + [1] * 12 + [0] * 2, bool)
    b = np.array([1] * 36 + [0] * 12 + [1] * 2, bool)
    first, second = (Measure(float(one.mean()), *wilson(int(one.sum()), 50)) for one in (a, b))
    found = difference_interval(first, second, a - a.mean(), b - b.mean())
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=2e-4)


def test_a_ratio_holds_its_value_and_may_be_infinite() -> None:
    found = ratio_interval(Measure(0.9, 0.85, 0.94), Measure(0.1, 0.06, 0.16))
    assert found.low < 9 < found.high < 20
    none = ratio_interval(Measure(0.9, 0.85, 0.94), Measure(0.0, 0.0, 0.1))
    assert none.value == none.high == math.inf and 5 < none.low < 9


def test_intervals_of_the_areas_cover() -> None:
    """60 patients with up to four films each; the percentile bootstrap covers 76 % there at AUROC 0.995."""
    held = 0
    for seed in range(200):
        y, s, member = clustered(seed, auc=0.995)
        found = auroc_interval(y, s, member)
        held += found.low <= 0.995 <= found.high
    assert held >= 186


def test_a_mean_of_shares_stays_between_0_and_1_and_counts_patients() -> None:
    shares, patients = np.array([0.02, 0.04, 0.9, 0.88]), ["a", "a", "b", "b"]
    found, alone = share_mean(shares, patients), share_mean(shares)
    assert found.value == alone.value == pytest.approx(0.46)
    assert 0 < found.low < alone.low < 0.46 < alone.high < found.high < 1
    variance = stats.sem(shares) ** 2
    half = stats.t.ppf(0.975, round((4 * 0.43**2) ** 2 / (4 * 0.43**4) + 2, 2)) * math.sqrt(variance) / (0.46 * 0.54)
    assert math.log(alone.high / (1 - alone.high)) - math.log(0.46 / 0.54) == pytest.approx(half, rel=0.01)
    assert share_mean(np.array([0.3, 0.4]), ["a", "a"]) == Measure(0.35, 0.0, 1.0), "one patient tells no spread"
    assert share_mean(np.full(5, 1.0)) == Measure(1.0, 0.0, 1.0)
    assert math.isnan(share_mean(np.zeros(0)).value)
    assert proportion(np.array([1.0, 0.5, 0.0, 1.0])).value == 0.625, "an equal maximum counts by its share"

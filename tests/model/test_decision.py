"""Operating points for a purpose, and net benefit, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.decision import (
    RULE_IN_SPECIFICITY,
    SCREENING_SENSITIVITY,
    at_prevalence,
    decision_curve,
    operating_points_by_purpose,
    prevalence_by_em,
    prevalence_interval,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9])


def by_name(labels: object, scores: object, weights: object = None) -> dict[str, tuple[float, float, float]]:
    points = operating_points_by_purpose(
        np.array(labels), np.array(scores, float), None if weights is None else np.array(weights, float)
    )
    assert [p.purpose for p in points] == ["screening", "balanced", "rule_in"]
    return {p.purpose: (pytest.approx(p.probability), p.sensitivity, p.specificity) for p in points}


def test_points_lie_midway_between_neighbouring_scores() -> None:
    # Ascending: 0 0 0 [0.35] 1 [0.5] 0 [0.65] 1 1 1
    assert by_name(LABELS, SCORES) == {
        "screening": (0.35, 1.0, 0.75),  # the highest that loses no pneumonia: below 0.4, above 0.3
        "balanced": (0.35, 1.0, 0.75),  # J = 0.75 here and at 0.65; the more sensitive of the two
        "rule_in": (0.65, 0.75, 1.0),
    }  # the lowest above the normal film at 0.6


def test_screening_may_lose_two_in_a_hundred_and_no_more() -> None:
    labels = np.array([1] * 100 + [0] * 100)
    scores = np.concatenate((np.linspace(0.3, 0.99, 100), np.linspace(0.01, 0.2, 100)))
    screening = operating_points_by_purpose(labels, scores)[0]
    assert screening.sensitivity == pytest.approx(0.98)
    assert scores[1] < screening.probability < scores[2]


def test_equal_scores_are_never_parted() -> None:
    # Half of each class shares 0.5: no point lies between those films, so each side takes both or neither.
    points = by_name([0, 0, 1, 1], [0.2, 0.5, 0.5, 0.8])
    assert points["screening"] == (0.35, 1.0, 0.5)
    assert points["rule_in"] == (0.65, 0.5, 1.0)


def test_weights_count_a_radiograph_more_than_once() -> None:
    weights = [1, 1, 1, 1, 3, 1, 1, 1]
    tripled = np.repeat(np.arange(8), weights)
    assert by_name(LABELS, SCORES, weights) == by_name(LABELS[tripled], SCORES[tripled])
    # Without weight, the pneumonia at 0.4 no longer holds the screening point down.
    assert by_name(LABELS, SCORES, [1, 1, 1, 1, 0, 1, 1, 1])["screening"] == (0.65, 1.0, 1.0)


def test_a_target_that_cannot_be_met_is_said_so() -> None:
    # A normal film of probability 1 cannot be excluded by any probability.
    *_, rule_in = operating_points_by_purpose(np.array([0, 0, 1, 1]), np.array([0.2, 1.0, 0.5, 1.0]))
    assert rule_in.specificity == 0.5 and "0.95 cannot be met" in rule_in.chosen
    assert rule_in.probability <= 1


def test_a_target_that_only_calling_all_the_same_meets_is_said_so() -> None:
    screening, balanced, rule_in = operating_points_by_purpose(np.array([1, 0, 1, 0]), np.full(4, 0.3))
    assert (screening.sensitivity, screening.specificity) == (1, 0)
    assert "every radiograph without pneumonia is called pneumonia" in screening.chosen
    assert (rule_in.sensitivity, rule_in.specificity) == (0, 1) and "no pneumonia is found" in rule_in.chosen
    assert 0 <= screening.probability <= 0.3 < rule_in.probability < 1
    assert balanced.sensitivity + balanced.specificity == 1


def test_scores_next_to_each_other_in_floating_point_are_parted() -> None:
    low = 0.5
    high = float(np.nextafter(low, 1))
    screening, _, rule_in = operating_points_by_purpose(np.array([0, 1]), np.array([low, high]))
    assert screening.probability == rule_in.probability == high
    assert (screening.sensitivity, screening.specificity) == (1, 1)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10), st.integers(0, 3)), min_size=2, max_size=40))
def test_the_rates_of_a_point_are_those_of_its_probability(rows: list[tuple[int, int, int]]) -> None:
    y, p, w = (np.array(column) for column in zip(*rows, strict=True))
    p = p / 10
    if not (w[y == 1].sum() and w[y == 0].sum()):
        with pytest.raises(ValueError, match="both classes"):
            operating_points_by_purpose(y, p, w)
        return
    screening, balanced, rule_in = operating_points_by_purpose(y, p, w)

    def rates(threshold: float) -> tuple[float, float]:
        return (
            float(w[(y == 1) & (p >= threshold)].sum() / w[y == 1].sum()),
            float(w[(y == 0) & (p < threshold)].sum() / w[y == 0].sum()),
        )

    for one in (screening, balanced, rule_in):
        assert rates(one.probability) == pytest.approx((one.sensitivity, one.specificity))
    every = [rates(t) for t in np.unique([*p, *(p + 0.05), 0.0])]  # the scores and midway: all ways to part them
    assert screening.sensitivity >= SCREENING_SENSITIVITY - 1e-9
    assert screening.specificity == pytest.approx(max(sp for se, sp in every if se >= SCREENING_SENSITIVITY - 1e-9))
    assert balanced.sensitivity + balanced.specificity == pytest.approx(max(se + sp for se, sp in every))
    met = [se for se, sp in every if sp >= RULE_IN_SPECIFICITY - 1e-9]
    if "cannot be met" not in rule_in.chosen:
        assert rule_in.sensitivity == pytest.approx(max(met))


@pytest.mark.parametrize(
    ("labels", "scores", "weights"),
    [
        ([], [], None),
        ([1, 1], [0.1, 0.2], None),
        ([0, 1], [0.1], None),
        ([0, 1], [0.1, 1.2], None),
        ([0, 1], [0.1, float("nan")], None),
        ([0, 1], [0.1, 0.2], [1]),
        ([0, 1], [0.1, 0.2], [1, -1]),
        ([0, 1], [0.1, 0.2], [1, 0]),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(labels: object, scores: object, weights: object) -> None:
    with pytest.raises(ValueError, match=r"expected .* Received: "):
        by_name(labels, scores, weights)


def test_net_benefit_by_hand() -> None:
    # At 0.5: 3 of 4 found and 1 false alarm, which costs 0.5 / 0.5 = 1. At 0.2: 4 found, 3 false at a quarter.
    curve = decision_curve(LABELS, SCORES, np.array([0.0, 0.2, 0.5, 0.95]))
    assert curve.prevalence == 0.5
    assert curve.classifier == pytest.approx((0.5, 4 / 8 - 3 / 8 / 4, 3 / 8 - 1 / 8, 0.0))
    assert curve.treat_all == pytest.approx((0.5, 0.5 - 0.5 / 4, 0.0, 0.5 - 0.5 * 19))
    assert curve.treat_none == (0, 0, 0, 0)


def test_net_benefit_at_another_prevalence_weighs_the_classes() -> None:
    # Sensitivity 3/4, specificity 3/4 at 0.5; every fifth film shows pneumonia.
    curve = decision_curve(LABELS, SCORES, (0.5,), prevalence=0.2)
    assert curve.classifier == pytest.approx((0.2 * 0.75 - 0.8 * 0.25,))
    assert curve.treat_all == pytest.approx((0.2 - 0.8,))
    # The same as a set in which every fifth film shows pneumonia.
    normal = np.repeat(np.flatnonzero(LABELS == 0), 4)
    chosen = np.concatenate((np.flatnonzero(LABELS == 1), normal))
    assert decision_curve(LABELS[chosen], SCORES[chosen], (0.3, 0.5)) == decision_curve(
        LABELS, SCORES, (0.3, 0.5), prevalence=0.2
    )


def test_probabilities_carried_to_another_prevalence() -> None:
    # Odds 1:1 at a share of one half become 1:4 where one in five is positive; certainty stays certainty.
    assert at_prevalence(np.array([0.0, 0.5, 1.0]), 0.5, 0.2) == pytest.approx([0.0, 0.2, 1.0])
    assert at_prevalence(at_prevalence(SCORES, 0.5, 0.1), 0.1, 0.5) == pytest.approx(SCORES)
    with pytest.raises(ValueError, match=r"shares in \(0, 1\)"):
        at_prevalence(SCORES, 0.5, 0.0)


@pytest.mark.parametrize(
    ("labels", "thresholds", "prevalence"),
    [
        (LABELS, (1.0,), None),
        (LABELS, (-0.1,), None),
        (LABELS, (0.5,), 1.5),
        (np.ones(8), (0.5,), 0.5),
        (np.zeros(8), (0.5,), 0.5),
        (LABELS[:3], (0.5,), None),
    ],
)
def test_a_curve_that_is_not_defined_is_refused(
    labels: np.ndarray,
    thresholds: tuple[float, ...],
    prevalence: float | None,
) -> None:
    with pytest.raises(ValueError, match=r"expected .* Received: "):
        decision_curve(labels, SCORES, thresholds, prevalence)


def test_a_set_of_one_class_still_has_a_curve_at_its_own_prevalence() -> None:
    curve = decision_curve(np.zeros(4), SCORES[:4], (0.5,))
    assert curve.classifier == (-0.25,) and curve.treat_all == (-1.0,) and curve.prevalence == 0


def test_the_interval_of_a_prevalence_is_that_of_its_likelihood() -> None:
    certain = np.repeat([1.0, 0.0], [30, 70])
    found = prevalence_interval(certain, 0.5)
    # Without doubt about any film it is the likelihood interval of a proportion: 30 log(x / 0.3) + 70 log(...) = -1.92.
    assert found.value == pytest.approx(0.3, abs=1e-6)
    for end in (found.low, found.high):
        assert 30 * np.log(end / 0.3) + 70 * np.log((1 - end) / 0.7) == pytest.approx(-(1.959964**2) / 2, abs=1e-4)
    vague = np.repeat([0.7, 0.3], [30, 70])
    wide = prevalence_interval(vague, 0.5)
    assert wide.value == pytest.approx(prevalence_by_em(vague, 0.5)) and wide.high - wide.low > found.high - found.low
    none = prevalence_interval(np.zeros(100), 0.5)
    assert (
        none.low == 0 and none.value < 1e-6 and none.high == pytest.approx(1 - np.exp(-(1.959964**2) / 200), abs=1e-6)
    )

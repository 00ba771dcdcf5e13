"""Which group a film belongs to, and whether the card's figures for it are good enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.film import FilmHeader
from model.card import GroupResult, Measure, ModelCard
from model.intervals import proportion
from model.measured_groups import (
    AGE,
    AGE_AND_VIEW,
    VIEW,
    group_rates,
    group_standing,
    group_words,
    is_good,
    is_measured,
)
from tests.assessments import VALIDATION
from tests.fake_classifier import fake_card

UNDEFINED = Measure(float("nan"), float("nan"), float("nan"))
ADULT = "18 years and over"


def rate(right: int, n: int) -> Measure:
    return proportion(np.arange(n) < right, [f"p{i}" for i in range(n)]) if n >= 10 else UNDEFINED


def group(kind: str, name: str, normal: tuple[int, int] = (0, 0), ill: tuple[int, int] = (0, 0)) -> GroupResult:
    """Build a group from (right, all) of the normal and of the pneumonia radiographs."""
    (tn, negatives), (tp, positives) = normal, ill
    counts = negatives + positives, tp, negatives - tn, tn, positives - tp
    return GroupResult(kind, name, *counts, UNDEFINED, rate(tp, positives), rate(tn, negatives), False)


def card(*groups: GroupResult) -> ModelCard:
    return fake_card(evaluations={"validation": replace(VALIDATION, groups=groups)})


def test_the_age_group_decides_and_is_shown() -> None:
    good, bad = group(AGE, ADULT, (105, 120)), group(AGE, ADULT, (40, 120))
    header = FilmHeader(age_years=64.0)
    assert group_standing(card(good), header).is_inside is True
    assert group_standing(card(bad), header).is_inside is False
    assert group_standing(card(good), header).groups == (good,)
    assert group_standing(card(good), FilmHeader(age_years=7.0)).is_inside is None
    assert group_standing(card(good), FilmHeader()).is_inside is None
    assert group_standing(card(good), None).groups == ()
    assert group_standing(fake_card(), header).is_inside is None


def test_age_and_projection_together_go_before_the_age_alone() -> None:
    both = group(AGE_AND_VIEW, f"{ADULT}, AP", (20, 60))
    found = card(group(AGE, ADULT, (180, 200)), both, group(VIEW, "AP", (300, 320)))
    bedside, standing = (FilmHeader(age_years=50.0, view_position=view) for view in ("AP", "PA"))
    assert group_standing(found, bedside) == type(group_standing(found, bedside))((both,), False)
    assert group_standing(found, standing).is_inside is True
    few = card(group(AGE, ADULT, (180, 200)), group(AGE_AND_VIEW, f"{ADULT}, AP", (2, 12)))
    assert group_standing(few, bedside).is_inside is True, "twelve films tell nothing"


def test_a_projection_that_is_read_badly_is_outside_whatever_the_age() -> None:
    poor = group(VIEW, "AP", (10, 50))
    found = card(group(AGE, "1–5 years", (90, 100)), poor)
    assert group_standing(found, FilmHeader(age_years=3.0, view_position="AP")).is_inside is False
    assert group_standing(found, FilmHeader(view_position="AP")).is_inside is False
    assert group_standing(found, FilmHeader(view_position="PA")).is_inside is None
    alone = card(group(VIEW, "PA", (95, 100)))
    assert group_standing(alone, FilmHeader(age_years=3.0, view_position="PA")).is_inside is None, "not the age"


@pytest.mark.parametrize(
    ("normal", "ill", "measured", "good"),
    [
        ((25, 29), (0, 0), False, True),
        ((25, 30), (0, 0), True, True),
        ((19, 30), (0, 0), True, False),
        ((80, 100), (25, 100), True, False),
        ((80, 100), (70, 100), True, True),
        ((80, 100), (5, 29), True, True),
    ],
)
def test_good_is_a_finding_that_tells_something_at_both_lower_ends(
    normal: tuple[int, int], ill: tuple[int, int], measured: bool, good: bool
) -> None:
    one = group(AGE, ADULT, normal, ill)
    assert is_measured(one) is measured and is_good(one) is good


def test_the_rates_of_the_first_group_that_has_both_give_the_predictive_values() -> None:
    alone, both = group(AGE, ADULT, (100, 120)), group(VIEW, "PA", (90, 100), (40, 50))
    found = group_rates((alone, both))
    assert found is not None and (found.sensitivity, found.specificity) == (both.sensitivity, both.specificity)
    assert (found.positive, found.negative) == (50, 100)
    assert group_rates((alone,)) is None and group_rates(()) is None
    assert group_rates((group(AGE, ADULT, (100, 120), (20, 25)),)) is None


def test_the_figures_are_said_with_their_intervals_and_numbers() -> None:
    words = group_words(group(AGE, ADULT, (106, 120)))
    assert words == f"{ADULT}: specificity 0.88 (0.81–0.93), n = 120 normal; sensitivity not measured"
    assert "sensitivity 0.80" in group_words(group(AGE, ADULT, (106, 120), (40, 50)))
    assert "sensitivity not measured, n = 5 pneumonia" in group_words(group(AGE, ADULT, (106, 120), (4, 5)))
    assert group_words(group(VIEW, "AP", (30, 40))).startswith("AP view: ")

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime

import numpy as np
import pytest

from core.errors import ClassifierError
from model.assessment import Assessment, InputIssue
from model.calibration import predict
from model.card import Calibration, Measure, ModelCard, OperatingPoint, PurposePoint
from model.intervals import wilson
from model.metrics import evaluate
from model.operating import AIMS, DEFAULT, NAMES, at_purpose, available_purposes, operating_point, rates_at
from tests.fake_classifier import fake_card

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def a_card(screening: float = 0.2, balanced: float = 0.5, rule_in: float = 0.9, **changes: object) -> ModelCard:
    purposes = tuple(
        PurposePoint(name, cut, 0.9, 0.8, f"target of {name}")
        for name, cut in (("screening", screening), ("balanced", balanced), ("rule_in", rule_in))
    )
    return fake_card(operating_point=OperatingPoint(0.4, 0.3, 0.5, "by hand"), purposes=purposes, **changes)


def an_assessment(value: float | None, card: ModelCard) -> Assessment:
    if value is None:
        return Assessment.refused((InputIssue("EMPTY", True, "Empty."),), card.version, NOW, 0.1)
    prediction = predict(value, card.calibration, card.operating_point)
    return Assessment(None, (), prediction, None, card.version, NOW, 0.1)


def test_the_default_is_the_cards_own_point() -> None:
    card = a_card()
    assert operating_point(card) is card.operating_point
    assert available_purposes(card) == ("default", "screening", "balanced", "rule_in")
    assert available_purposes(fake_card()) == (DEFAULT,)
    assert set(NAMES) == set(AIMS) == set(available_purposes(card))


@pytest.mark.parametrize(("purpose", "cut"), [("screening", 0.2), ("balanced", 0.5), ("rule_in", 0.9)])
def test_a_purposes_band_is_as_wide_as_the_defaults_on_the_logit_scale(purpose: str, cut: float) -> None:
    point = operating_point(a_card(), purpose)
    assert point.probability == cut and point.near_low < cut < point.near_high
    assert logit(point.near_low) - logit(cut) == pytest.approx(logit(0.3) - logit(0.4))
    assert logit(point.near_high) - logit(cut) == pytest.approx(logit(0.5) - logit(0.4))
    assert point.chosen == f"target of {purpose}"


def test_a_band_without_end_stays_without_end() -> None:
    card = dataclasses.replace(a_card(), operating_point=OperatingPoint(0.4, 0.0, 1.0, "by hand"))
    point = operating_point(card, "rule_in")
    assert (point.near_low, point.near_high) == (0.0, 1.0)
    # A default at the very end of the scale has no logit; the band must still be one.
    card = dataclasses.replace(a_card(), operating_point=OperatingPoint(1.0, 0.9, 1.0, "by hand"))
    assert operating_point(card, "balanced").near_high == 1.0


def test_screening_never_calls_fewer_films_than_ruling_in() -> None:
    """Where a classifier meets both targets between two cuts, either cut serves either purpose."""
    card = a_card(screening=0.08, balanced=0.10, rule_in=0.05)
    cuts = {purpose: operating_point(card, purpose).probability for purpose in available_purposes(card)}
    assert cuts == {"default": 0.4, "screening": 0.05, "balanced": 0.10, "rule_in": 0.4}
    assert operating_point(card, "rule_in").chosen == (
        "target of rule_in; moved from 0.050 to keep the purposes in order"
    )
    assert "moved" not in operating_point(card, "balanced").chosen


@pytest.mark.parametrize("purpose", ["triage", "", "screening"])
def test_a_purpose_without_a_point_is_refused_by_name(purpose: str) -> None:
    with pytest.raises(ClassifierError, match=f"Received: {purpose}$") as caught:
        operating_point(fake_card(), purpose)
    assert "choose another purpose" in caught.value.advice


@pytest.mark.parametrize(
    ("value", "findings"),
    [
        (0.3, ("NO_PNEUMONIA", "PNEUMONIA", "NO_PNEUMONIA", "NO_PNEUMONIA")),
        (0.6, ("PNEUMONIA", "PNEUMONIA", "PNEUMONIA", "NO_PNEUMONIA")),
        (0.95, ("PNEUMONIA",) * 4),
    ],
)
def test_the_purpose_moves_the_finding_and_never_the_probability(value: float, findings: tuple[str, ...]) -> None:
    card = a_card()
    assessment = an_assessment(logit(value), card)
    for purpose, finding in zip(available_purposes(card), findings, strict=True):
        prediction = at_purpose(assessment, card, purpose).prediction
        assert prediction is not None
        assert prediction.probability == pytest.approx(value) and prediction.finding == finding
        assert prediction.purpose == purpose
        assert prediction.operating_point == operating_point(card, purpose).probability
    back = at_purpose(at_purpose(assessment, card, "rule_in"), card)
    assert back.prediction == assessment.prediction


def test_near_is_judged_at_the_purposes_own_band() -> None:
    card = a_card()
    assessment = an_assessment(logit(0.45), card)
    near = {purpose: at_purpose(assessment, card, purpose).prediction for purpose in available_purposes(card)}
    assert {purpose for purpose, one in near.items() if one and one.is_near} == {"default", "balanced"}


def test_a_refusal_stays_a_refusal_and_another_card_is_refused() -> None:
    card = a_card()
    refused = an_assessment(None, card)
    assert at_purpose(refused, card, "screening") is refused
    with pytest.raises(ClassifierError):
        at_purpose(refused, card, "triage")
    with pytest.raises(ValueError, match="fake-2"):
        at_purpose(refused, fake_card("fake-2"))


def test_rates_at_the_own_point_are_the_cards() -> None:
    evaluation = evaluate("validation", np.repeat((0, 1), 50), np.linspace(0.01, 0.99, 100), 0.4)
    rates = rates_at(evaluation, 0.4)
    assert rates.sensitivity is evaluation.measures["sensitivity"]
    assert (rates.positive, rates.negative, rates.n) == (50, 50, 100)


@pytest.mark.parametrize("cut", [0.1, 0.2, 0.25, 0.525, 0.7, 0.8, 0.975])
def test_rates_elsewhere_agree_with_counting_every_radiograph(cut: float) -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat((0, 1), (160, 440))
    scores = np.clip(rng.normal(np.where(labels == 1, 0.75, 0.25), 0.2), 0.001, 0.999)
    evaluation = evaluate("validation", labels, scores, 0.4)
    rates = rates_at(evaluation, cut)
    positive, negative = scores[labels == 1], scores[labels == 0]
    for measure, of in ((rates.sensitivity, positive >= cut), (rates.specificity, negative < cut)):
        # All of these cuts lie on the edge of one of the 40 bins, so that nothing has to be interpolated.
        assert measure.value == pytest.approx(float(of.mean()))
        assert (measure.low, measure.high) == pytest.approx(wilson(int(of.sum()), len(of)))


def test_a_cut_within_a_bin_is_as_uncertain_as_the_bin() -> None:
    evaluation = dataclasses.replace(
        evaluate("validation", np.array((0, 1)), np.array((0.1, 0.9)), 0.5),
        tp=30,
        fn=0,
        tn=10,
        fp=0,
        histogram_pneumonia=(0, 20, 0, 10),
        histogram_normal=(6, 4, 0, 0),
        effective_pneumonia=0.0,  # as on an older card
        effective_normal=5.0,
    )
    rates = rates_at(evaluation, 0.375)  # half of the second of four bins
    assert rates.sensitivity == Measure(20 / 30, wilson(10, 30)[0], wilson(30, 30)[1])
    assert rates.specificity == Measure(0.8, wilson(3, 5)[0], wilson(5, 5)[1])


def test_rates_of_a_class_that_is_not_there_are_undefined() -> None:
    evaluation = evaluate("validation", np.array((1, 1)), np.array((0.1, 0.9)), 0.5)
    rates = rates_at(evaluation, 0.2)
    assert math.isnan(rates.specificity.value) and rates.sensitivity.value == 0.5


def test_calibration_is_the_cards() -> None:
    card = a_card(calibration=Calibration(2.0, 0.5))
    prediction = at_purpose(an_assessment(1.0, card), card, "screening").prediction
    assert prediction is not None and prediction.probability == pytest.approx(1 / (1 + math.exp(-1.0)))

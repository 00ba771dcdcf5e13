from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import numpy as np
import pytest

from imaging.radiograph import Radiograph
from model.assessment import Assessment, Heatmap, InputIssue, Prediction

FILM = Radiograph(np.zeros((40, 48), np.uint8), "ab" * 32, "PNG")
MAP = Heatmap(np.zeros((40, 48), np.float32), "mixed10", is_empty=True)
WARNING, REFUSAL = InputIssue("COLOUR", False, "In colour."), InputIssue("UNREADABLE", True, "Damaged.")
LIKELY = Prediction(2.0, 0.9, 0.4, is_near=False)


def assessment(prediction: Prediction | None, *issues: InputIssue) -> Assessment:
    heatmap = MAP if prediction else None
    return Assessment(FILM, issues, prediction, heatmap, "1", datetime(2026, 11, 21, tzinfo=UTC), 0.2)


@pytest.mark.parametrize(
    ("probability", "operating_point", "near", "finding", "words"),
    [
        (0.90, 0.41, False, "PNEUMONIA", "Pneumonia likely"),
        (0.10, 0.41, False, "NO_PNEUMONIA", "Pneumonia unlikely"),
        (0.41, 0.41, False, "PNEUMONIA", "Pneumonia likely"),  # the operating point itself belongs to the finding
        (0.4099, 0.41, False, "NO_PNEUMONIA", "Pneumonia unlikely"),
        (0.45, 0.41, True, "PNEUMONIA", "Borderline (near the threshold)"),
        (0.38, 0.41, True, "NO_PNEUMONIA", "Borderline (near the threshold)"),
        (0.0, 0.0, False, "PNEUMONIA", "Pneumonia likely"),
        (1.0, 1.0, False, "PNEUMONIA", "Pneumonia likely"),
    ],
)
def test_the_finding_and_its_words(probability, operating_point, near, finding, words):
    prediction = Prediction(0.0, probability, operating_point, near)
    assert prediction.finding == finding
    assert prediction.words == words


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(ValueError, match=r"expected a probability in .* Received"):
        Prediction(0.0, value, 0.4, is_near=False)
    with pytest.raises(ValueError, match=r"expected a probability in .* Received"):
        Prediction(0.0, 0.4, value, is_near=False)


@pytest.mark.parametrize("code", ["", "unreadable", "Too_Small"])
def test_a_code_that_is_not_in_capitals_is_refused(code):
    with pytest.raises(ValueError, match="expected a code in capitals"):
        InputIssue(code, True, "words")


def test_an_assessment_answers_or_refuses():
    assert not assessment(LIKELY).is_refused
    assert not assessment(LIKELY, WARNING).is_refused
    assert assessment(None, REFUSAL).is_refused
    assert assessment(None, WARNING, REFUSAL).is_refused


@pytest.mark.parametrize(
    ("prediction", "issues"), [(None, ()), (None, (WARNING,)), (LIKELY, (REFUSAL,)), (LIKELY, (WARNING, REFUSAL))]
)
def test_an_assessment_that_does_both_or_neither_is_refused(prediction, issues):
    with pytest.raises(ValueError, match="either a prediction or a blocking issue"):
        assessment(prediction, *issues)


def test_the_values_cannot_be_changed():
    for value, field in (
        (LIKELY, "probability"),
        (WARNING, "blocking"),
        (MAP, "layer"),
        (assessment(LIKELY), "prediction"),
        (FILM, "bits"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field, None)


def test_values_that_hold_arrays_compare_by_identity_and_can_be_cached():
    same = Heatmap(MAP.values, MAP.layer, MAP.is_empty)
    assert same != MAP and len({same, MAP}) == 2
    assert assessment(LIKELY) != assessment(LIKELY)


def test_of_what_is_no_chest_film_nothing_is_said_of_its_exposure() -> None:
    clipped, other = InputIssue("CLIPPED", True, "Half is black."), InputIssue("NOT_FRONTAL", True, "Lateral.")
    assert assessment(None, other, clipped, WARNING).reasons == ("Lateral.",)
    assert assessment(None, clipped, WARNING).reasons == ("Half is black.",) and not assessment(LIKELY, WARNING).reasons

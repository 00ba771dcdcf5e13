"""Calibration, cross-fitting and conformal sets on the Performance page, of cards that have them and that lack them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from model.card import CalibrationMeasures, Measure, ModelCard, PurposePoint
from pages.performance.calibration_tables import (
    calibration_table,
    conformal_table,
    cross_fit_sentence,
    interval_of,
    is_cross_fitted,
    purpose_cells,
)
from tests.pages.performance.test_performance import a_card, an_evaluation, install, open_performance, text

MEASURED = CalibrationMeasures(0.4, Measure(-0.31, -0.53, -0.05), Measure(1.04, 0.75, 1.33), Measure(0.014, 0.0, 0.038))
RECORD = {
    "folds": 5,
    "patients": {"normal": 128, "pneumonia": 203},
    "purposes": {"screening": {"sensitivity": [0.98, 0.95, 0.99], "specificity": [0.27, 0.21, 0.35]}},
    "conformal": [
        {
            "alpha": 0.05,
            "coverage_normal": [0.963, 0.917, 0.984],
            "coverage_pneumonia": [0.966, 0.939, 0.981],
            "single": [0.947, 0.924, 0.963],
        }
    ],
}
POINTS = (PurposePoint("screening", 0.1, 0.98, 0.27, "on a bound"),)


def renewed(record: object = RECORD) -> ModelCard:
    evaluation = dataclasses.replace(an_evaluation(), calibration=MEASURED)
    return a_card(evaluations={"validation": evaluation}, purposes=POINTS, cross_fit=record)


def test_a_card_that_has_them_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(renewed(), tmp_path, monkeypatch)
    app = open_performance()
    assert not app.exception
    said = text(app)
    for words in (
        "Calibration at the prevalence of the calibration, 40 %",
        "−0.310 <span>(−0.530 to −0.050)</span>",
        "1.040 <span>(0.750–1.330)</span>",
        "0.014 <span>(0.000–0.038)</span>",
        "0.980 <span>(0.950–0.990)</span>",
        "Reported on patients on whom it was not chosen: cross-fitted in 5 folds over 203 patients with and",
        "Their thresholds were chosen in the same way on fewer patients",
        "95 % or more",
        "0.963 <span>(0.917–0.984)</span>",
    ):
        assert words in said, words
    assert "Measured on the validation patients" not in said


def test_an_older_card_shows_no_empty_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = dataclasses.replace(an_evaluation(), calibration=None)
    install(a_card(evaluations={"validation": old}, purposes=POINTS), tmp_path, monkeypatch)
    app = open_performance()
    assert not app.exception
    said = text(app)
    for words in ("Calibration at the prevalence", "Conformal sets", "cross-fitted", "Calibration slope"):
        assert words not in said
    assert "Measured on the validation patients." in said


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"folds": 1},
        {"folds": "five", "conformal": 3},
        {"folds": 5, "patients": {"normal": "x"}, "purposes": [], "conformal": ["no", {"alpha": "0.05"}]},
        {"folds": 5, "conformal": "text", "purposes": {"screening": {"sensitivity": [1, "a", None]}}},
    ],
)
def test_what_is_no_figure_is_left_out(record: dict[str, object]) -> None:
    card = renewed(record)
    assert conformal_table(card) == ""
    assert purpose_cells(card, "screening", 0.98, 0.27) == "<td>0.980</td><td>0.270</td>"
    assert "patients with" not in cross_fit_sentence(card)


def test_only_what_is_cross_fitted_is_said_to_be() -> None:
    card = renewed()
    assert is_cross_fitted(card, "validation") and not is_cross_fitted(card, "test")
    assert not is_cross_fitted(card, "validation_shifted"), "cards of before did not cross-fit it"
    point = dataclasses.replace(card.operating_point, chosen="best; its rates are cross-fitted")
    assert is_cross_fitted(dataclasses.replace(card, operating_point=point), "validation_shifted")
    assert not is_cross_fitted(a_card(), "validation")


def test_separated_classes_have_no_slope() -> None:
    perfect = dataclasses.replace(MEASURED, slope=Measure(math.nan, math.nan, math.nan))
    card = a_card(evaluations={"validation": dataclasses.replace(an_evaluation(), calibration=perfect)})
    assert "<td>–</td>" in calibration_table(card, ["validation"])
    assert interval_of([0.5, None, None]) is not None and interval_of([None, 0, 1]) is None

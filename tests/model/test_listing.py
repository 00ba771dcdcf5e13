from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from imaging.film import Radiograph
from model.anatomy import Anatomy
from model.assessment import Assessment, InputIssue, Population, Prediction
from model.card import GroupResult, Measure
from model.listing import ASIDE, csv_text, line
from tests.fake_classifier import usual_lungs

WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
OUTSIDE = InputIssue("OUTSIDE_POPULATION", False, "Unlike the films that the classifier has learned from.")


def an_assessment(*issues: InputIssue, probability: float | None = 0.9) -> Assessment:
    radiograph = Radiograph(np.zeros((40, 40), np.uint8), "ab" * 32, "PNG")
    prediction = None if probability is None else Prediction(1.0, probability, 0.4, False, "screening")
    return Assessment(radiograph, issues, prediction, None, "v-1", WHEN, 0.25, ("inverted",), 90, Population(1.5, 2.0))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_says_everything_that_a_program_needs() -> None:
    assert line(an_assessment()) == {
        "status": "assessed",
        "finding": "PNEUMONIA",
        "probability": 0.9,
        "operating_point": 0.4,
        "near_operating_point": False,
        "purpose": "screening",
        "population_distance": 1.5,
        "population_threshold": 2.0,
        "corrections": ["inverted"],
        "turn": 90,
        "issues": [],
        "lungs": None,
        "groups": [],
        "classifier_version": "v-1",
        "assessed_at": "2026-11-21T12:00:00+00:00",
        "seconds": 0.25,
        "sha256": "ab" * 32,
    }
    json.dumps(line(an_assessment()))


def test_lungs_and_figures_of_the_group_stand_in_the_line() -> None:
    nan = Measure(float("nan"), float("nan"), float("nan"))
    adults = GroupResult("age", "18 years and over", 100, 0, 10, 90, 0, nan, nan, Measure(0.9, 0.82, 0.95), False)
    usual = Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.01)
    film = replace(an_assessment(), anatomy=usual, groups=(adults,))
    said = line(film)
    assert said["lungs"] == {
        "found": True,
        "in_doubt": False,
        "share_of_image": round(sum(usual.areas), 4),
        "no_chest": 0.01,
    }
    assert said["groups"] == [
        {
            "name": "18 years and over",
            "specificity": {"value": 0.9, "low": 0.82, "high": 0.95},
            "sensitivity": None,
            "n_normal": 100,
            "n_pneumonia": 0,
            "is_good": True,
        }
    ]
    hidden = replace(film, anatomy=replace(usual, no_chest=0.4))
    nothing = replace(film, anatomy=replace(usual, lungs=usual.lungs * 0))
    assert [row["lungs"] for row in rows(csv_text(map(line, (film, hidden, nothing, an_assessment()))))] == [
        "found",
        "in doubt",
        "not found",
        "",
    ]
    (row, *_) = rows(csv_text([said]))
    assert row["groups"] == "18 years and over: specificity 0.90"
    assert json.loads(json.dumps(said)) == said


def test_a_film_outside_the_population_has_no_finding_and_its_probability_stands_aside() -> None:
    said = line(an_assessment(OUTSIDE))
    assert said["status"] == "outside" and said["finding"] is None and said["probability"] == 0.9
    (row,) = rows(csv_text([said]))
    assert row["finding"] == "" and row["probability"] == "" and row[ASIDE] == "0.9" and row["issues"] == OUTSIDE.code
    (inside,) = rows(csv_text([line(an_assessment())]))
    assert inside["probability"] == "0.9" and inside[ASIDE] == ""


def test_a_refused_film_has_its_reason_and_no_figures() -> None:
    said = line(an_assessment(InputIssue("CLIPPED", True, "More than a third is clipped."), probability=None))
    assert said["status"] == "refused" and said["finding"] is said["probability"] is said["purpose"] is None
    (row,) = rows(csv_text([said]))
    assert row["messages"] == "More than a third is clipped." and row["probability"] == row["operating_point"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", "＝1", '=HYPERLINK("x")'])
def test_text_that_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text: str) -> None:
    (row,) = rows(csv_text([{"remarks": text, "number": -3, "share": -0.25}]))
    assert row["remarks"] == "'" + text and row["number"] == "-3" and row["share"] == "-0.25"


def test_quotes_and_commas_survive_and_control_characters_are_escaped() -> None:
    text = 'He said "no", then\nleft; ünïcode – 肺'
    content = csv_text([{"remarks": text}, {"remarks": "plain"}, {"remarks": "\t=1"}])
    assert [row["remarks"] for row in rows(content)] == [text.replace("\n", "\\u000a"), "plain", "\\u0009=1"]
    assert content.startswith("remarks\r\n") and csv_text([]) == ""

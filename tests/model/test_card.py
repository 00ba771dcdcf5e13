from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from core.errors import ClassifierError
from model.card import (
    MEASURES,
    Calibration,
    Evaluation,
    Measure,
    ModelCard,
    OperatingPoint,
    PurposePoint,
    ReliabilityBin,
    card_from_json,
    card_to_json,
)

EVALUATION = Evaluation(
    split="validation",
    n=10,
    tp=4,
    fp=1,
    tn=4,
    fn=1,
    operating_point=0.41,
    measures={name: Measure(0.9 - i / 100, 0.8, 0.95) for i, name in enumerate(MEASURES)},
    roc=((0.0, 0.0), (0.2, 0.8), (1.0, 1.0)),
    precision_recall=((0.0, 1.0), (1.0, 0.5)),
    reliability=(ReliabilityBin(0.05, 0.1, 5), ReliabilityBin(0.95, 0.9, 5)),
    histogram_normal=(4, 1),
    histogram_pneumonia=(1, 4),
    unit="patient",
)
CARD = ModelCard(
    version="2026.11.21-1",
    parent="2026.11.20-1",
    created_at="2026-11-21T05:00:00+00:00",
    weights_file="weights.npz",
    sha256="ab" * 32,
    architecture="inception_v3",
    parameters=21_802_784,
    intended_use="Frontal chest radiographs of children of 1–5 years.",
    limitations=("Not for adults.", "One site."),
    data={"source": "Kermany", "n": {"NORMAL": 5, "PNEUMONIA": 5}},
    preprocessing={"input_px": 299, "detail_px": 224},
    training={"seed": 0},
    history=({"epoch": 1, "loss": 0.4}, {"epoch": 2, "loss": 0.3}),
    calibration=Calibration(1.3, -0.1),
    operating_point=OperatingPoint(0.41, 0.32, 0.5, "95 % sensitivity"),
    evaluations={"validation": EVALUATION, "adults": replace(EVALUATION, split="adults")},
    libraries={"tensorflow": "2.21"},
    notes=("A note.",),
    purposes=(
        PurposePoint("screening", 0.12, 0.98, 0.71, "highest of sensitivity 0.98"),
        PurposePoint("rule_in", 0.77, 0.84, 0.95, "lowest of specificity 0.95"),
    ),
    robustness=({"name": "clean", "accuracy": 0.95}, {"name": "inverted", "accuracy": None}),
)


def test_a_card_comes_back_from_json_as_it_was():
    read = card_from_json(card_to_json(CARD))
    assert read == CARD
    assert isinstance(read.evaluations["adults"].measures["auroc"], Measure)
    assert isinstance(read.evaluations["adults"].roc[1], tuple)
    assert isinstance(read.history, tuple) and isinstance(read.limitations, tuple) and isinstance(read.notes, tuple)


def test_a_card_is_readable_text_in_utf_8():
    assert "children of 1–5 years" in card_to_json(CARD)


def test_a_figure_that_is_not_defined_comes_back_as_nan():
    undefined = replace(EVALUATION, measures={"auroc": Measure(math.nan, math.nan, math.nan)})
    text = card_to_json(replace(CARD, evaluations={"validation": undefined}))
    assert "NaN" not in text
    for each in (text, text.replace('"value": null', '"value": NaN')):
        assert math.isnan(card_from_json(each).evaluations["validation"].measures["auroc"].value)


def test_a_first_version_without_notes_or_parent_comes_back():
    first = replace(CARD, parent=None, notes=(), evaluations={}, history=())
    assert card_from_json(card_to_json(first)) == first


def test_a_card_from_before_purposes_and_robustness_still_loads():
    values = json.loads(card_to_json(CARD))
    del values["purposes"], values["robustness"]
    assert card_from_json(json.dumps(values)) == replace(CARD, purposes=(), robustness=())


@pytest.mark.parametrize("changes", [{"probability": 1.2}, {"sensitivity": -0.1}, {"specificity": math.nan}])
def test_a_purpose_without_rates_is_none(changes):
    with pytest.raises(ValueError, match="two rates"):
        replace(CARD.purposes[0], **changes)


def damaged(**changes: object) -> str:
    return json.dumps(json.loads(card_to_json(CARD)) | changes)


def without(key: str) -> str:
    values = json.loads(card_to_json(CARD))
    del values[key]
    return json.dumps(values)


def evaluation_with(**changes: object) -> str:
    values = json.loads(card_to_json(CARD))
    values["evaluations"]["validation"] |= changes
    return json.dumps(values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "5",
        "[]",
        "{}",
        '"a card"',
        card_to_json(CARD)[:-40],
        without("version"),
        without("calibration"),
        without("evaluations"),
        without("history"),
        damaged(unknown=1),
        damaged(calibration=None),
        damaged(calibration={"warmth": 1}),
        damaged(operating_point=0.5),
        damaged(evaluations=[]),
        damaged(evaluations={"validation": None}),
        damaged(limitations=None),
        evaluation_with(measures={"auroc": 0.9}),
        evaluation_with(reliability=[[0, 1, 2]]),
        evaluation_with(roc=None),
        evaluation_with(roc=[0.0, 1.0]),
        damaged(calibration={"temperature": "x"}),
        damaged(calibration={"temperature": 0.0}),
        damaged(calibration={"temperature": -1.0}),
        damaged(calibration={"temperature": 1.0, "bias": float("nan")}),
        damaged(operating_point={"probability": 1.2, "near_low": 0.1, "near_high": 0.9, "chosen": ""}),
        damaged(operating_point={"probability": 0.5, "near_low": 0.6, "near_high": 0.9, "chosen": ""}),
        damaged(purposes=[{"purpose": "screening", "probability": 0.5}]),
        damaged(purposes=[0.5]),
        damaged(purposes=None),
        damaged(
            purposes=[{"purpose": "screening", "probability": 2, "sensitivity": 1, "specificity": 1, "chosen": ""}]
        ),
        damaged(robustness=["clean"]),
        damaged(robustness=5),
    ],
)
def test_damaged_json_is_a_classifier_error_with_advice(text):
    with pytest.raises(ClassifierError, match=r"expected a model card\. Received: ") as caught:
        card_from_json(text)
    assert "install the version again" in caught.value.advice


@pytest.mark.parametrize(
    "text",
    [
        evaluation_with(roc=[[0.0, 0.1, 0.2]]),  # a triple where a point belongs
        evaluation_with(precision_recall=[["nought", "one"]]),
    ],
)
def test_curves_that_are_none_are_a_classifier_error_too(text):
    with pytest.raises(ClassifierError, match="expected a model card"):
        card_from_json(text)

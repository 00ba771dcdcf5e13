"""The card in sections: what it holds, and what is said to be missing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from core.settings import Settings
from model.card import GroupResult, Measure, card_from_json, card_to_json
from model.card_sections import card_sections, card_to_text, data_rows
from model.registry import active_version, load_card
from tests.fake_classifier import fake_card


def test_missing_parts_are_said() -> None:
    rows = dict(data_rows(fake_card()))
    assert set(rows.values()) == {None} and {"Licence", "Ages", "Reference standard", "Train"} <= set(rows)
    assert "Licence" in card_to_text(fake_card()) and card_to_text(fake_card()).count("not stated") > 15


def test_a_description_is_shown_with_its_origin() -> None:
    described = {
        "licence": {"value": "CC BY 4.0", "from": "stated by the administrator"},
        "ages": None,
        "age_bands": {"under 1 year": 2, "unknown": 1},
        "sources": {"ward": 2, "clinic": 1},
    }
    card = fake_card(data={"source": "not stated", "description": described, "train": {"NORMAL": 1200, "patients": 3}})
    rows = dict(data_rows(card_from_json(card_to_json(card))))
    assert rows["Licence"] == "CC BY 4.0 (stated by the administrator)" and rows["Ages"] is rows["Source"] is None
    assert rows["Radiographs by age"] == "under 1 year 2, unknown 1" and rows["Train"] == "NORMAL 1,200, patients 3"
    assert rows["Radiographs by source"] == "ward 2, clinic 1"


def test_the_shipped_card_is_whole(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    card = load_card(settings, active_version(settings))
    text = card_to_text(card)
    assert "Mendeley Data" in text and "children aged 1–5 years" in text and card.sha256 in text
    assert "CC BY 4.0 (published)" in text and "Kermany, by its digest" in text
    performance = next(one for one in card_sections(card) if one.title.startswith("Performance"))
    assert [name for name, _ in performance.rows] == [*card.evaluations, "Under mild perturbations"]
    assert "at worst" in str(dict(performance.rows)["Under mild perturbations"])


@pytest.mark.parametrize("robustness", [({},), ({"mild": True, "accuracy_change": {"value": None}},)])
def test_damaged_rows_are_no_figures(robustness: tuple[dict[str, object], ...]) -> None:
    card = dataclasses.replace(fake_card(), robustness=robustness)
    assert "Under mild perturbations  not stated" in card_to_text(card)


def test_results_by_group_are_shown_in_their_order(tmp_path: Path) -> None:
    unknown, rate = Measure(math.nan, math.nan, math.nan), Measure(0.9, 0.8, 0.95)
    groups = (
        GroupResult("source", "clinic", 40, 36, 0, 0, 4, unknown, rate, unknown, False),
        GroupResult("source", "ward", 3, 1, 1, 1, 0, unknown, unknown, unknown, True),
    )
    card = load_card(Settings(tmp_path), active_version(Settings(tmp_path)))
    name, evaluation = next(iter(card.evaluations.items()))
    changed = {**card.evaluations, name: dataclasses.replace(evaluation, groups=groups)}
    (section,) = [
        one for one in card_sections(dataclasses.replace(card, evaluations=changed)) if "by group" in one.title
    ]
    assert section.rows == (
        ("source clinic", "n = 40; sensitivity 0.900 (0.800–0.950)"),
        ("source ward", "n = 3; too few to tell"),
    )
    assert not [one for one in card_sections(card) if "by group" in one.title]

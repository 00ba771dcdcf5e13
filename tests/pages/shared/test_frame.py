"""The safety sentence above every page names the patients of the version in use."""

from __future__ import annotations

from typing import Any

import pytest

from pages.shared.frame import safety_sentence
from tests.fake_classifier import fake_card
from training.fitting.intended_use import intended_ages, population_phrase

WORDS = "Decision support, not a diagnosis. Intended for frontal chest radiographs"


def described(**values: Any) -> dict[str, Any]:
    description = {"n": 100, **values}
    return description | {
        "intended_population": population_phrase(description),
        "intended_ages": intended_ages(description),
    }


@pytest.mark.parametrize(
    ("data", "of"),
    [
        ({}, " of children aged 1–5."),
        ({"description": described(recognised={"kermany": 100})}, " of children aged 1–5."),
        ({"description": described(age_range=[18.2, 93.0], age_bands={"unknown": 0})}, " of adults aged 18–93 years."),
        ({"description": described(age_range=[2.0, 16.0], age_bands={})}, " of children aged 2–16 years."),
        (
            {"description": described(ages={"value": "8 to <12> years", "from": "stated by the administrator"})},
            " of patients of these ages: 8 to &lt;12&gt; years.",
        ),
        ({"description": described()}, " of patients like those of the training data, whose ages are not stated."),
    ],
)
def test_it_follows_the_card(data: dict[str, Any], of: str) -> None:
    assert safety_sentence(fake_card(data=data)) == WORDS + of


def test_without_a_usable_version_nobody_is_named() -> None:
    assert safety_sentence(None) == f"{WORDS}."

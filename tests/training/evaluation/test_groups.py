from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from model.card import Evaluation, evaluation_from
from model.metrics import evaluate
from training.data.sample import Sample
from training.evaluation.evaluate import evaluation_to_json, evaluation_to_text
from training.evaluation.groups import TOO_FEW, age_band, group_results, groups_to_text, memberships

OLD, NEW, TINY = 40, 40, 8


def samples() -> list[Sample]:
    """Three units: one that is read right, one whose normals are all called pneumonia, one of eight films."""
    names = ["old"] * OLD + ["new"] * NEW + ["tiny"] * TINY
    return [
        Sample(Path(f"{i}.png"), i % 2, f"p{i}", True, source="A", unit=name, age_years=3.0 if i % 3 else 15.0)
        for i, name in enumerate(names)
    ]


def evaluated(styles: tuple[str, ...] = ()) -> Evaluation:
    films = samples()
    y = np.array([film.label for film in films])
    p = np.where(y == 1, 0.9, np.where([film.unit == "old" for film in films], 0.1, 0.8)) + np.linspace(0, 0.05, len(y))
    patients = [film.patient for film in films]
    results = group_results(memberships(films, styles), y, p, 0.5, patients)
    return dataclasses.replace(evaluate("test", y, p, 0.5, patients), groups=results)


def test_the_worst_unit_comes_first_and_the_smallest_last() -> None:
    units = [group for group in evaluated().groups if group.kind == "unit"]
    assert [unit.name for unit in units] == ["new", "old", "tiny"]
    new, old, tiny = units
    assert (new.tp, new.fp, new.tn, new.fn) == (20, 20, 0, 0) and new.specificity.value == 0
    assert 0 < new.specificity.high < 0.2 and new.sensitivity.value == 1
    assert new.auroc.value == 1, "its ranking is right, its threshold is not"
    assert old.specificity.value == old.auroc.value == 1
    assert tiny.too_few and math.isnan(tiny.specificity.value) and math.isnan(tiny.auroc.value)


def test_kinds_that_the_data_do_not_tell_are_left_out() -> None:
    found = evaluated().groups
    assert list(dict.fromkeys(group.kind for group in found)) == ["source", "unit", "age"]
    assert {group.name for group in found if group.kind == "age"} == {"1–5 years", "13–17 years"}
    assert memberships(samples(), ["1"] * len(samples()))["style"][0] == "1"
    assert [age_band(years) for years in (0.5, 1, 5.9, 6, 17.9, 18, 90)] == [
        "under 1 year",
        "1–5 years",
        "1–5 years",
        "6–12 years",
        "13–17 years",
        "18 years and over",
        "18 years and over",
    ]


def test_groups_stand_in_an_evaluation_and_an_earlier_one_has_none() -> None:
    own = evaluated()
    written = json.loads(evaluation_to_json(own, "a"))["groups"]
    assert (written[1]["name"], written[1]["specificity"]["value"]) == ("new", 0.0)
    assert written[3]["name"] == "tiny" and written[3]["specificity"]["value"] is None
    assert "worst first" in evaluation_to_text(own, "a")
    values = json.loads(json.dumps(dataclasses.asdict(own)))
    assert repr(evaluation_from(values).groups) == repr(own.groups)
    del values["groups"]
    assert evaluation_from(values).groups == ()


def test_the_text_names_the_worst_first_and_says_what_is_too_small() -> None:
    lines = groups_to_text(evaluated().groups).splitlines()
    at = next(i for i, line in enumerate(lines) if "by unit" in line)
    assert lines[at + 1].split()[0] == "new" and TOO_FEW in lines[at + 3]
    assert groups_to_text(()) == ""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from model.card import Evaluation, evaluation_from
from model.metrics import evaluate
from tests.fake_classifier import fake_card
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder
from training.data.loading import LoadedFolder
from training.data.sample import Sample
from training.evaluation.evaluate import evaluate_scores, evaluation_to_json, evaluation_to_text
from training.evaluation.groups import TOO_FEW, age_band, group_results, groups_to_text, memberships
from training.runs.run import training_data

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


def test_copies_of_a_film_under_other_names_leave_intervals_as_wide() -> None:
    films = [Sample(Path(f"{i}.png"), i % 2, f"p{i}", True, sha256=f"{i:064x}", source="a") for i in range(24)]
    copies = [dataclasses.replace(film, patient=f"{film.patient}-{k}") for film in films for k in range(3)]
    logits = np.array([((7 * i) % 24 - 12) / 6 for i in range(24)], np.float32)
    once = evaluate_scores(fake_card(), films, logits, "test")
    thrice = evaluate_scores(fake_card(), copies, np.repeat(logits, 3), "test")
    for a, b in ((once.measures["auroc"], thrice.measures["auroc"]), (once.groups[0].auroc, thrice.groups[0].auroc)):
        assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.1)


def test_re_encoded_copies_on_the_held_out_side_count_as_one_patient() -> None:
    films = [Sample(Path(f"{i}.png"), i % 2, f"p{i}", True, sha256=f"{i:064x}") for i in range(6)]
    held = np.array([True] * 4 + [False] * 2)
    names = ["p0", "p1", "p0", "p1", "p4", "p5"]
    pictures = np.zeros((6, 2, 2), np.uint8)
    loaded = LoadedFolder(DatasetFolder(DataRequest((Path("films"),)), (), (), ()), films, pictures, held, 0, [], names)
    assert loaded.groups_of_side(True) == ["p0", "p1", "p0", "p1"]
    assert training_data(loaded).val_patients == ("p0", "p1", "p0", "p1")

"""Groups left out in turn: a head that relies on the unit loses on it, one that reads the finding does not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from model.card import card_from_json, card_to_json
from model.card_sections import card_to_text
from tests.fake_classifier import fake_card
from training.data.sample import Sample
from training.evaluation.groups import memberships
from training.fitting.population import PooledFeatures
from training.runs.left_out_heads import MEASURED, leave_out_in_turn

N = 400


def a_dataset() -> tuple[list[Sample], np.ndarray, PooledFeatures]:
    """Two units: "ward" has both classes; "clinic" has PNEUMONIA only, a weak finding and a strong mark."""
    rng = np.random.default_rng(0)
    clinic = np.arange(N) % 4 == 0
    labels = np.where(clinic, 1, np.arange(N) // 2 % 2)
    features = rng.normal(0, 1, (N, 8)).astype(np.float32)
    features[:, 0] += np.where(clinic, -1.0, 2.0 * labels)
    features[:, 1] += 8 * clinic
    samples = [
        Sample(Path(f"{i}.png"), int(y), f"p{i}", True, unit="clinic" if c else "ward")
        for i, (y, c) in enumerate(zip(labels, clinic, strict=True))
    ]
    held_out = np.arange(N) % 5 == 0
    order = rng.permutation(N)
    return samples, held_out, PooledFeatures(order, features[order])


def test_a_unit_that_the_head_reads_instead_of_the_finding_loses_when_it_is_left_out() -> None:
    samples, held_out, pooled = a_dataset()
    found = leave_out_in_turn(pooled, samples, held_out, memberships(samples))
    clinic = next(one for one in found if one.without.name == "clinic")
    assert found[0] is clinic and clinic.without.n == 20 and clinic.left_out == (0, 80)
    assert clinic.reference.sensitivity.value == 0.95 and clinic.without.sensitivity.value < 0.5
    drop = clinic.differences["sensitivity"]
    assert drop.high < -0.2 and drop.value == clinic.without.sensitivity.value - 0.95
    assert math.isnan(clinic.without.specificity.value) and set(clinic.differences) == {"sensitivity"}
    # Without "ward" no film is without pneumonia: nothing can be refitted.
    assert [one.without.name for one in found] == ["clinic"]
    card = dataclasses.replace(fake_card("2026.01.01-1"), left_out=found, left_out_note=MEASURED)
    assert card_from_json(card_to_json(card)).left_out[0].left_out == (0, 80)
    text = card_to_text(card)
    assert "specificity not measured: no such film held out; training has it with pneumonia only" in text
    assert "The backbone has seen films of the group, the head has not" in text


def test_a_unit_that_is_read_by_the_finding_keeps_its_figures() -> None:
    samples, held_out, pooled = a_dataset()
    labels = np.array([sample.label for sample in samples])
    fair = [dataclasses.replace(s, unit="ab"[i // 20 % 2]) for i, s in enumerate(samples)]
    clear = pooled.features.copy()
    clear[:, :2] = np.random.default_rng(1).normal(0, 1, (N, 2))
    clear[:, 0] += 4 * labels[pooled.index]
    found = leave_out_in_turn(PooledFeatures(pooled.index, clear), fair, held_out, memberships(fair))
    assert {one.without.name for one in found} == {"a", "b"}
    for one in found:
        assert set(one.differences) == {"auroc", "sensitivity", "specificity"}
        assert one.without.auroc.value > 0.95 and abs(one.differences["auroc"].value) < 0.03

"""The simulation of intervals: its true values against a large sample, and its table against what it simulates."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.coverage import draw, ours, probabilities, truth
from tests import ROOT


def test_the_true_rates_are_those_of_a_large_sample_and_the_table_has_every_figure() -> None:
    area, rng = 0.9, np.random.default_rng(0)
    y, scores, _ = draw(rng, 60_000, area)
    p = probabilities(scores, area)[0]
    y_small, scores_small, member = draw(rng, 150, area)
    found = ours(y_small, scores_small, member, area, truth(area, 40_000), rng)
    for cut, words in ((0.5, "in a group"), (0.3, "at a threshold of 0.3")):
        for name, label in (("sensitivity", 1), ("specificity", 0)):
            right = ((p >= cut) == (label == 1))[y == label].mean()
            assert found[f"{name} {words}"][1] == pytest.approx(right, abs=0.01)
    for name, (measure, value) in found.items():
        assert math.isnan(measure.low) or measure.low <= measure.high, name
        assert math.isfinite(value), name
    rows = json.loads((ROOT / "benchmarks" / "coverage.json").read_text(encoding="utf-8"))["rows"]
    assert {row["figure"] for row in rows} == set(found)

"""The comparison as an administrator sees it, in each of its states; no classifier is ever loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.formatting import format_signed
from core.settings import Settings
from model.card import Measure, ReliabilityBin
from model.metrics import evaluate
from model.promotions import promote
from model.registry import add_version
from pages.retraining import charts_compare
from pages.retraining.compare import meaning, progress_words
from records.test_sets import add_test_set, record_look
from tests.comparisons import LABELS, NEW, OLD, PATIENTS, RUN, a_card, a_run, install, well_calibrated, write_result
from training.evaluation.groups import group_results
from training.runs import candidate, processes
from training.runs.candidate import ComparisonState
from training.runs.held_out import TrainingOverlap

SCRIPT = """
import streamlit as st
from pages.retraining import {step}
from pages.shared import installation
{step}.show(installation.settings(), {who}st.query_params.get("run", ""))
"""


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step stands behind the guard, which has tests of its own."""
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)


def open_step(step: str, run: str = RUN) -> AppTest:
    app = AppTest.from_string(
        SCRIPT.format(step=step, who='"administrator", ' if step == "decide" else ""), default_timeout=60
    )
    app.query_params["run"] = run
    return app.run()


def text(app: AppTest) -> str:
    """Everything that the page says in words, without what it looks like."""
    return "\n".join([*(one.proto.body for one in app.html), *(one.value for one in app.markdown)])


def charts(app: AppTest) -> str:
    return "\n".join(chart.proto.spec for chart in app.get("plotly_chart"))


def pictures(app: AppTest) -> int:
    return sum(len(element.proto.imgs) for element in app.get("image"))


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation with two versions, the older one in use."""
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("PNEUMOLENS_CLASSIFIER", raising=False)
    return install(tmp_path)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Sequence[str]]]:
    """What was started; each start stands for a process that goes on as long as this one."""
    starts: list[tuple[Path, Sequence[str]]] = []

    def launch(folder: Path, arguments: Sequence[str]) -> None:
        starts.append((folder, arguments))
        processes.record_process(folder, os.getpid())
        processes.write_status(folder, phase="loading both classifiers", done=0, total=0, seconds_left=None)

    monkeypatch.setattr(processes, "launch", launch)
    return starts


@pytest.mark.parametrize("run", ["", "20250101-000000", "../" + RUN, ".", "a/b"])
def test_no_run_says_what_to_do(settings: Settings, run: str) -> None:
    a_run(settings)
    app = open_step("compare", run)
    assert not app.exception
    assert "No training is selected" in text(app)
    app.button(key="compare.train").click().run()
    assert app.query_params["step"] == "train" and "run" not in app.query_params


def test_a_run_without_a_version_leads_back_to_it(settings: Settings) -> None:
    a_run(settings, None)
    app = open_step("compare")
    assert not app.exception and "has not produced a version yet" in text(app)
    app.button(key="compare.train").click().run()
    assert app.query_params["step"] == "train" and app.query_params["run"] == RUN


def test_the_button_says_what_it_compares_and_starts_it_once(
    settings: Settings, launched: list[tuple[Path, Sequence[str]]]
) -> None:
    run = a_run(settings)
    app = open_step("compare")
    assert not app.exception
    assert labels(app) == [f"Compare {NEW} with {OLD}"]
    assert "120 radiographs of the held-out validation patients" in text(app) and "minute" in text(app)
    app = app.button(key="compare.start").click().run()
    assert not app.exception
    assert launched == [(run / "comparison", ("_compare", str(run.resolve())))]
    asked = json.loads((run / "comparison" / "request.json").read_text())
    assert (asked["candidate"], asked["against"]) == (NEW, OLD)
    assert app.get("progress")[0].proto.text == "Loading both classifiers" and not app.button
    assert candidate.start_comparison(settings, run, OLD) is False and len(launched) == 1


@pytest.mark.usefixtures("launched")
def test_progress_shows_how_far_it_is(settings: Settings) -> None:
    run = a_run(settings)
    candidate.start_comparison(settings, run, OLD)
    processes.write_status(run / "comparison", phase="reading the films", done=30, total=120, seconds_left=300.0)
    bar = open_step("compare").get("progress")[0].proto
    assert bar.value == 25 and bar.text == "Reading the films, 25 %, about 5 minutes left"


def test_a_failure_says_why_and_offers_another_try(
    settings: Settings, launched: list[tuple[Path, Sequence[str]]]
) -> None:
    run = a_run(settings)
    folder = run / "comparison"
    folder.mkdir()
    processes.record_process(folder, 2**22 + 1)  # larger than any process id
    processes.write_error(folder, ValueError("a <secret> path"))
    app = open_step("compare")
    assert not app.exception
    assert "The comparison failed." in text(app) and "Start the comparison again." in text(app)
    assert "esume" not in text(app) and "secret" not in text(app)
    app = app.button(key="compare.start").click().run()
    assert len(launched) == 1 and "failed" not in text(app)


def test_a_process_that_was_killed_is_a_failure(settings: Settings) -> None:
    run = a_run(settings)
    (run / "comparison").mkdir()
    processes.record_process(run / "comparison", 2**22 + 1)
    app = open_step("compare")
    assert "The comparison failed." in text(app) and labels(app) == ["Restart comparison"]


def test_the_result_has_both_columns_with_differences(settings: Settings) -> None:
    run = a_run(settings)
    worse = well_calibrated()
    worse[np.flatnonzero(LABELS)[:20]] = 0.45
    result = write_result(settings, run, well_calibrated(1), worse)
    app = open_step("compare")
    assert not app.exception
    said = text(app)
    for key in ("auroc", "sensitivity", "specificity", "accuracy", "ece"):
        for side in (result.comparison.a, result.comparison.b):
            assert f"{side.figures[key].value:.3f} <span>" in said
        assert format_signed(result.comparison.differences[key].value) in said
    assert "60 of 60 true positives" in said and "40 of 60 true positives" in said and "candidate higher" in said
    assert "(DeLong)" in said and "only the candidate: 20" in said and "(McNemar)" in said
    assert "p &lt; 0.001" in said
    assert "Compared on &lt;drawn&gt; films." in said
    assert "Reliability diagram" in charts(app) and "Robustness to perturbations" in charts(app)
    assert labels(app) == ["Continue to decision"]
    app = app.button(key="compare.decide").click().run()
    assert app.query_params["step"] == "decide" and app.query_params["run"] == RUN


def test_films_are_shown_with_both_maps_or_without(settings: Settings) -> None:
    run = a_run(settings)
    result = write_result(settings, run, well_calibrated(1), well_calibrated(2))
    assert len(result.films) == 12
    app = open_step("compare")
    assert not app.exception and pictures(app) == 24
    assert "12 radiographs with the largest disagreement" in text(app) and "Radiograph 12, label: " in text(app)
    assert "patient" not in " ".join(path.name for path in (run / "comparison").iterdir())
    app = app.segmented_control[0].set_value("Without maps").run()
    assert not app.exception and pictures(app) == 24
    (run / "comparison" / result.films[0].film).unlink()
    app = app.run()
    assert pictures(app) == 22 and "Image not available" in text(app)


def test_an_empty_map_and_equal_classifiers_are_said(settings: Settings) -> None:
    run = a_run(settings)
    result = write_result(settings, run, well_calibrated(1), well_calibrated(2))
    first, *rest = result.films
    emptied = type(first)(**{**{name: getattr(first, name) for name in first.__slots__}, "map_is_empty": True})
    write_result(settings, run, well_calibrated(1), well_calibrated(2), films=(emptied, *rest))
    assert text(open_step("compare")).count("No region raised the probability.") == 1
    write_result(settings, run)
    assert "Both classifiers give the same probability for every radiograph." in text(open_step("compare"))


def test_a_comparison_with_a_version_no_longer_in_use_says_so(
    settings: Settings, launched: list[tuple[Path, Sequence[str]]]
) -> None:
    run = a_run(settings)
    write_result(settings, run)
    third = "2026.01.03-1"
    add_version(settings.versions_dir, a_card(third), lambda path: path.write_text(third))
    promote(settings, third, who="someone")
    app = open_step("compare")
    assert "The classifier in use has changed since this comparison" in text(app)
    app = app.button(key="compare.start").click().run()
    assert len(launched) == 1 and not (run / "comparison" / "comparison.json").exists()
    assert json.loads((run / "comparison" / "request.json").read_text())["against"] == third


def test_after_promotion_the_comparison_stays_to_be_read(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    promote(settings, NEW, who="administrator", expected=OLD)
    app = open_step("compare")
    assert f"{NEW} is in use. Comparison with {OLD} on 2026-01-02." in text(app)
    assert "changed since" not in text(app)
    (run / "comparison" / "comparison.json").unlink()
    assert "There is nothing to compare" in text(open_step("compare"))


def test_a_damaged_result_can_be_made_again(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    (run / "comparison" / "comparison.json").write_text('{"candidate": 1}')
    app = open_step("compare")
    assert not app.exception and labels(app) == [f"Compare {NEW} with {OLD}"]


@pytest.mark.parametrize(
    ("key", "low", "high", "patients", "words"),
    [
        ("auroc", -0.1, 0.1, 60, "no significant difference"),
        ("auroc", -0.1, 0.1, 29, "too few to tell"),
        ("auroc", 0.01, 0.1, 60, "candidate higher"),
        ("sensitivity", -0.2, -0.1, 29, "candidate lower"),
        ("sensitivity", -0.2, -0.1, 8, "too few to tell"),
        ("ece", -0.2, -0.1, 60, "candidate better calibrated"),
        ("ece", 0.1, 0.2, 60, "candidate worse calibrated"),
        ("auroc", math.nan, math.nan, 60, "not defined on these radiographs"),
    ],
)
def test_differences_in_words(key: str, low: float, high: float, patients: int, words: str) -> None:
    assert meaning(key, Measure((low + high) / 2, low, high), patients) == words


def test_a_phase_of_unknown_length_has_no_percentage() -> None:
    assert progress_words(ComparisonState("running", "loading", 0, 0)) == "Loading"


def test_charts_tell_both_apart_without_colour() -> None:
    bins = (ReliabilityBin(0.1, 0.2, 9), ReliabilityBin(0.9, 0.8, 36))
    figure = charts_compare.reliability_pair(bins, bins[:1], ("new", "old"), ("0.010", "0.020"), "n = 45")
    own, other = figure.data[-2:]
    assert (own.name, other.name) == ("candidate new, ECE 0.010", "in use old, ECE 0.020")
    assert list(own.y) == [0.2, 0.8] and list(other.y) == [0.2] and list(other.customdata) == [9]
    assert own.line.dash != other.line.dash and other.marker.symbol == "diamond"
    undefined = Measure(math.nan, math.nan, math.nan)
    bars = charts_compare.robustness_pair(
        [("unperturbed", Measure(0.9, 0.8, 0.95), undefined)], ("new", "old"), "n = 45"
    )
    own, other = bars.data
    assert list(own.x) == [0.9] and list(other.x) == [None]
    assert list(own.error_x.array) == pytest.approx([0.05]) and list(own.error_x.arrayminus) == pytest.approx([0.1])
    assert list(other.error_x.array) == [0] and other.marker.pattern.shape == "/"
    assert other.marker.pattern.fillmode == "overlay", "else the hatching takes the place of the bar's colour"


def grouped(p: np.ndarray, labels: np.ndarray, patients: list[str], names: list[str]) -> Any:
    groups = group_results({"style": names, "view": ["AP"] * len(names)}, labels, p, 0.5, patients)
    return dataclasses.replace(evaluate("validation", labels, p, 0.5, patients), groups=groups)


def test_groups_stand_worst_first_and_small_ones_are_too_few_to_tell(settings: Settings) -> None:
    run = a_run(settings)
    names = ["1" if i % 2 else "2" for i in range(len(LABELS))]
    names[:3] = ["<3>"] * 3
    own, other = well_calibrated(1), well_calibrated()
    own[[i for i, one in enumerate(names) if one == "2" and LABELS[i]]] = 0.2
    write_result(
        settings,
        run,
        own,
        evaluation=grouped(own, LABELS, PATIENTS, names),
        evaluation_against=grouped(other, LABELS, PATIENTS, names),
        learned_against=TrainingOverlap(7),
    )
    app = open_step("compare")
    assert not app.exception
    said = text(app)
    assert app.segmented_control(key="compare.groups").options == ["Acquisition style"], "all are of one projection"
    rows = re.findall(r"<tr><th>([^<]*)<span>(\d+ pneumonia, \d+ normal)</span></th>.*?<td>([^<]*)</td></tr>", said)
    assert [one[0] for one in rows] == ["2", "1", "&lt;3&gt;"]
    assert [one[2] for one in rows] == [
        "candidate&#x27;s sensitivity clearly lower",
        "no clear difference",
        "too few to tell",
    ]
    assert f"{OLD} or a version it was initialized from was trained on 7 of these 120 radiographs" in said


def test_eight_radiographs_are_too_few_to_tell_and_never_no_difference(settings: Settings) -> None:
    run = a_run(settings)
    chosen = np.r_[:4, 116:120]
    labels, patients = LABELS[chosen], [PATIENTS[i] for i in chosen]
    own, other = well_calibrated(1)[chosen], well_calibrated()[chosen]
    own[-1] = 0.4
    write_result(
        settings,
        run,
        own,
        other,
        labels=labels,
        patients=patients,
    )
    said = text(open_step("compare"))
    assert "n = 8" in said and "no significant difference" not in said and said.count("<td>too few to tell</td>") == 5
    assert "Too few to tell: with 4 patients of a class" in said


def test_how_often_the_test_set_was_looked_at_is_said(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    files = [(hashlib.sha256(bytes([i])).hexdigest(), i % 2) for i in range(4)]
    add_test_set(settings, "winter", files, "somebody")
    assert "winter" not in text(open_step("compare"))
    for _ in range(2):
        record_look(settings, files, (NEW, OLD), "compare", "test", "somebody")
    assert "Test set winter (4 files): looked at twice, by 2 versions" in text(open_step("compare"))

"""Tuning: what is searched, how a study goes on, what it refuses, and the command on synthetic radiographs."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import AppError, DatasetError
from core.progress import Progress, Report, ignore
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES
from tests.lungs import find_drawn
from tests.phantoms import as_jpeg, chest, write_dataset
from training.commands import tune as commands
from training.data.recipes import FORMER_NAMES, RECIPES
from training.experiments.space import SGD_FACTOR, Dimension, Plan, narrowed, recipe, space_for
from training.experiments.study_values import Outcome, TrialFailed
from training.fitting.config import TrainingConfig, config_from, default_config
from training.fitting.progress import EpochEnd

optuna = pytest.importorskip("optuna")
tune = pytest.importorskip("training.experiments.tune")
LUNGS = "tests.model.networks.small_network:lung_network"
FAILED, PRUNED = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED


def small_plan(**others: Any) -> Plan:
    dimensions, fixed = narrowed(space_for("cnn_2_1"), ("learning_rate", "label_smoothing", "optimizer"))
    return Plan("cnn_2_1", "random", dimensions, fixed, **{"epochs": 3, **others})


def request_in(folder: Path, trials: int, **others: Any) -> Any:
    return tune.TuneRequest(folder, folder / "s.db", folder / "s.best.json", trials, **others)


def ended(epoch: int, val_auroc: float, val_loss: float) -> Progress:
    return EpochEnd({"epoch": epoch, "val_auroc": val_auroc, "val_loss": val_loss}).progress(1, 3)


def outcome_of(config: TrainingConfig) -> Any:
    """A made-up valley with its floor at 0.003 and no smoothing."""
    value = 0.1 + abs(np.log10(config.stages[0].learning_rate / 0.003)) + config.label_smoothing
    return Outcome(float(value), 0.1, 0.1, 0.9, 0.8)


def valley(config: TrainingConfig, report: Report) -> Any:
    outcome = outcome_of(config)
    for epoch in range(1, len(config.epochs) + 1):
        report(ended(epoch, 1 - outcome.value / 10, outcome.value))
    return outcome


def run(folder: Path, trials: int, objective: Any = valley, plan: Plan | None = None, **others: Any) -> Any:
    plan = plan or small_plan()
    request = request_in(folder, trials, **others)
    with tune.opened(request.study, plan, request.prune) as study:
        return tune.search(study, plan, objective, request, ignore)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with one trial."""
    folder = tmp_path_factory.mktemp("begun")
    run(folder, 1)
    return folder


# --- what is searched ----------


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_untuned_values_make_the_default_recipe_and_every_corner_can_run(architecture: str) -> None:
    space = space_for(architecture)
    plan = Plan(architecture, "imagenet", space, epochs=14)
    usual = default_config(architecture, epochs=14, seed=2026)
    made = recipe(plan, plan.defaults)
    assert len(made.epochs) == 14
    assert made == usual if not ARCHITECTURES[architecture].is_transfer else made == default_config(architecture)
    for dimension in space:
        for value in dimension.choices or (dimension.low, dimension.high):
            assert recipe(plan, {**plan.defaults, dimension.name: value}).architecture == architecture
        assert dimension.help and dimension.range


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 6, 20])
def test_a_trial_has_the_epochs_asked_for_and_ends_at_the_size_of_service(epochs: int) -> None:
    for architecture in ("inception_v3", "cnn_77k", "inception_v3_scratch"):
        plan = Plan(architecture, "imagenet", space_for(architecture), epochs=epochs)
        made = recipe(plan, plan.defaults)
        assert len(made.epochs) == epochs and made.stages[-1].input_px == made.input_px


def test_sgd_takes_larger_steps_and_the_head_has_its_own() -> None:
    plan = Plan("inception_v3", "imagenet", space_for("inception_v3"), epochs=14)
    values = plan.defaults | {"learning_rate": 1e-4, "head_learning_rate": 2e-3, "train_after": "mixed5"}
    adam, sgd = (recipe(plan, values | {"optimizer": name}) for name in ("adam", "sgd"))
    assert [(s.name, s.train_after, s.learning_rate) for s in adam.stages] == [
        ("head", "pooled_features", 2e-3),
        ("small", "mixed5", 1e-4),
        ("full", "mixed5", 5e-5),
    ]
    assert [b.learning_rate / a.learning_rate for a, b in zip(adam.stages, sgd.stages, strict=True)] == pytest.approx(
        [SGD_FACTOR] * 3
    )


def test_networks_from_random_weights_have_no_layer_to_thaw() -> None:
    names = [d.name for d in space_for("inception_v3", has_weights=False)]
    assert names == [d.name for d in space_for("cnn_77k")] and "train_after" not in names
    assert "dropout" not in [d.name for d in space_for("cnn_2_1")], "it has none"


def test_search_and_fix_narrow_the_space() -> None:
    space = space_for("inception_v3")
    left, fixed = narrowed(
        space, ("learning_rate", "dropout"), {"batch_size": "16", "mirror": "yes", "train_after": "mixed5"}
    )
    assert [d.name for d in left] == ["learning_rate", "dropout"]
    made = recipe(Plan("inception_v3", "imagenet", left, fixed), {"learning_rate": 1e-3, "dropout": 0.5})
    assert (made.batch_size, made.mirror, made.dropout, made.stages[1].train_after) == (16, True, 0.5, "mixed5")
    for search, fix in (
        (("speed",), {}),
        ((), {"speed": "1"}),
        (("dropout",), {"dropout": "0.1"}),
        ((), {"batch_size": "many"}),
        ((), {"mirror": "perhaps"}),
        ((), {d.name: "0.1" for d in space if d.name != "batch_size"} | {"batch_size": "8"}),
    ):
        with pytest.raises(ValueError, match="Received"):
            narrowed(space, search, fix)
    with pytest.raises(ValueError, match="dropout"):
        Plan("inception_v3", "imagenet", left, (("dropout", 3.0),))
    with pytest.raises(ValueError, match="default"):
        Dimension("dropout", "", 0.9, 0.0, 0.5)


# --- the value ----------


def test_value_is_the_calibrated_log_loss_over_clean_and_shifted() -> None:
    pytest.importorskip("tensorflow")
    from training.experiments.trial import measured

    labels = np.array([0, 0, 0, 0, 1, 1])
    nothing = measured(labels, np.zeros(6), np.zeros((2, 6)))
    assert nothing.value == pytest.approx(np.log(2), abs=0.002) and nothing.auroc == 0.5
    logits = np.array([-2.0, -1.0, -1.5, 0.5, 0.2, 2.0])
    shifted = np.stack((logits[::-1] * 0.1, logits))
    first, scaled = measured(labels, logits, shifted), measured(labels, logits * 7, shifted * 7)
    assert first.value == pytest.approx((first.loss + first.loss_shifted) / 2)
    assert scaled.value == pytest.approx(first.value, abs=1e-6), "scaling the logits is no merit"
    assert first.loss < first.loss_shifted and first.auroc == pytest.approx(7 / 8)
    pooled = [(a, b) for a in shifted[:, labels == 1].ravel() for b in shifted[:, labels == 0].ravel()]
    assert first.auroc_shifted == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pooled]))


# --- how a study goes on ----------


def test_study_begins_with_the_default_and_keeps_the_best_recipe(tmp_path: Path) -> None:
    standing = run(tmp_path, 12, prune=False)
    first, best = standing.rows[0], standing.best
    assert first.note == "the default recipe" and first.parameters == small_plan().defaults
    assert best.value == min(row.value for row in standing.rows) < first.value
    written = config_from(json.loads((tmp_path / "s.best.json").read_text()))
    assert written == recipe(small_plan(), best.parameters) and outcome_of(written).value == best.value
    rows = list(csv.DictReader((tmp_path / "s.trials.csv").read_text().splitlines()))
    assert len(rows) == 12 and float(rows[best.number]["value"]) == best.value
    assert {"auroc", "auroc_shifted", "loss", "loss_shifted", "seconds", "learning_rate"} <= set(rows[0])


def test_interrupted_study_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(tmp_path / "a", 11)
    calls = 0

    def killed(config: TrainingConfig, report: Report) -> Any:
        nonlocal calls
        calls += 1
        if calls in (1, 6):
            raise KeyboardInterrupt
        return valley(config, report)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", 11, killed)
    standing = run(tmp_path / "b", 11)
    assert [row.parameters for row in standing.counted] == [row.parameters for row in whole.rows]
    assert [row.status for row in standing.rows].count("stopped") == 2
    assert len(run(tmp_path / "b", 11).rows) == 13, "nothing is left to do"


def test_trial_cut_off_by_a_kill_is_marked_failed_and_does_not_count(tmp_path: Path) -> None:
    plan, request = small_plan(), request_in(tmp_path, 3)
    with tune.opened(request.study, plan) as study:
        study.enqueue_trial(plan.defaults)
        study.ask()
    standing = run(tmp_path, 3)
    assert [row.status for row in standing.rows] == ["stopped", "finished", "finished", "finished"]
    assert standing.rows[1].parameters == plan.defaults, "the default recipe still comes first"


def test_no_trial_starts_after_the_time_is_up(tmp_path: Path) -> None:
    plan, request, now = small_plan(), request_in(tmp_path, 9, timeout_minutes=1.0), [0.0]

    def slow(config: TrainingConfig, report: Report) -> Any:
        now[0] += 25
        return valley(config, report)

    with tune.opened(request.study, plan) as study:
        standing = tune.search(study, plan, slow, request, ignore, clock=lambda: now[0])
    assert len(standing.rows) == 3


def test_trials_worse_than_the_median_are_pruned_and_others_are_not(tmp_path: Path) -> None:
    seen: list[int] = []

    def objective(config: TrainingConfig, report: Report) -> Any:
        bad = len(seen) == 7
        seen.append(0)
        for epoch in range(1, 7):
            seen[-1] = epoch
            report(ended(epoch, 0.6 if bad else 0.9, 0.5))
        return outcome_of(config)

    plan = small_plan(epochs=6)
    standing = run(tmp_path, 9, objective, plan)
    assert [row.status for row in standing.rows] == ["finished"] * 7 + ["pruned", "finished"]
    assert seen[7] == 3 and set(seen[:7] + seen[8:]) == {6}
    row = standing.rows[7]
    assert (row.value, row.epochs, row.auroc, row.val_loss) == (None, 3, 0.6, 0.5)
    (tmp_path / "all").mkdir()
    seen.clear()
    assert {row.status for row in run(tmp_path / "all", 9, objective, plan, prune=False).rows} == {"finished"}


def test_trial_that_diverges_counts_and_is_never_the_best(tmp_path: Path) -> None:
    def objective(config: TrainingConfig, report: Report) -> Any:
        if config.optimizer != "adamw":
            raise TrialFailed("the loss became nan")
        return valley(config, report)

    standing = run(tmp_path, 6, objective)
    assert {row.status for row in standing.rows} == {"finished", "failed"} and len(standing.counted) == 6
    assert all(
        row.note == "the loss became nan" and row.value is None for row in standing.rows if row.status == "failed"
    )
    assert standing.best is not None and standing.best.status == "finished"


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 4},
        {"seed": 1},
        {"validation_fraction": 0.2},
        {"input_px": 64},
        {"budget_minutes": 1.0},
        {"fixed": (("batch_size", 8),)},
    ],
)
def test_study_refuses_what_does_not_compare(begun: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    with pytest.raises(AppError, match="Received") as caught:
        run(tmp_path, 2, plan=dataclasses.replace(small_plan(), **other))
    assert "--study" in caught.value.advice
    assert len(run(tmp_path, 1).rows) == 1, "the study is as it was"


def test_study_refuses_other_radiographs(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    with tune.opened(tmp_path / "s.db", small_plan()) as study, pytest.raises(DatasetError, match="held out"):
        tune.remember(study, {"held_out": "abc"}, DatasetError)


def test_study_begun_with_former_recipe_names_continues(tmp_path: Path) -> None:
    former = {new: old for old, new in FORMER_NAMES.items()}
    dimensions, _ = narrowed(space_for("cnn_4_2"), ("learning_rate", "label_smoothing", "augmentation"))
    plan = Plan("cnn_4_2", "random", dimensions, epochs=2)
    begun = dataclasses.replace(
        plan,
        dimensions=tuple(
            dataclasses.replace(
                d,
                choices=tuple(former.get(str(choice), choice) for choice in d.choices),
                default=former.get(str(d.default), d.default),
            )
            for d in dimensions
        ),
    )
    first = run(tmp_path, 3, plan=begun)
    assert first.rows[0].parameters["augmentation"] == "seed"
    standing = run(tmp_path, 12, plan=plan)
    assert len(standing.rows) == 12 and {row.parameters["augmentation"] for row in standing.rows} <= {
        "strong",
        *former.values(),
    }
    best = TrainingConfig.from_json((tmp_path / "s.best.json").read_text())
    assert best.augmentation in RECIPES


def test_study_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        tune.opened(tmp_path / "s.db", small_plan()),
        pytest.raises(AppError, match="no other process"),
        tune.opened(tmp_path / "s.db", small_plan()),
    ):
        pass


def test_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"a letter to a friend, and not a data base at all" * 30)
    with pytest.raises(AppError, match="expected a study"):
        run(tmp_path, 1)
    (tmp_path / "s.db").unlink()
    with sqlite3.connect(tmp_path / "s.db") as other:
        other.execute("CREATE TABLE studies (colour TEXT)")
    other.close()
    with pytest.raises(AppError, match="expected a study"):
        run(tmp_path, 1)


# --- the page ----------


def test_page_holds_every_plot_and_loads_nothing(tmp_path: Path) -> None:
    from training.experiments.plots import importances, study_page

    plan = small_plan()
    standing = run(tmp_path, 14)
    with tune.opened(tmp_path / "s.db", plan) as study:
        page, weights = study_page(study, standing), importances(study)
    assert page.count('class="plotly-graph-div"') == 5 and page.count("More finished trials are needed") == 0
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page), "offline"
    assert next(iter(weights)) == "learning_rate" and sum(weights.values()) == pytest.approx(1)
    assert f"trial {standing.best.number}, log loss {standing.best.value:.4f}" in page


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_page_of_hardly_any_trials_says_so(tmp_path: Path, trials: int) -> None:
    from training.experiments.plots import study_page

    standing = run(tmp_path, trials)
    with tune.opened(tmp_path / "s.db", small_plan()) as study:
        assert "More finished trials are needed" in study_page(study, standing)


# --- the command ----------


def command(*arguments: str, data_dir: Path) -> int:
    parser = argparse.ArgumentParser()
    commands.add_commands(parser.add_subparsers(required=True))
    options = parser.parse_args(["tune", *arguments])
    return int(options.act(options, Settings(data_dir=data_dir)))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_dataset(folder, 12)
    return folder


SMALL = (
    "--architecture",
    "cnn_2_1",
    "--input-px",
    "40",
    "--epochs",
    "2",
    "--validation-fraction",
    "0.3",
    "--fix",
    "batch_size=8",
)


def test_command_trains_goes_on_and_refuses_other_films(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow")
    import keras

    policy = keras.mixed_precision.dtype_policy().name
    assert command("--data", str(films), "--trials", "2", *SMALL, data_dir=tmp_path) == 0
    folder = tmp_path / "studies"
    assert {path.name for path in folder.iterdir()} >= {
        "cnn_2_1.db",
        "cnn_2_1.best.json",
        "cnn_2_1.trials.csv",
        "cnn_2_1.html",
    }
    said = capsys.readouterr()
    assert [line.split(" · ")[0] for line in said.err.splitlines() if line.startswith("trial")] == [
        "trial 1/2 (number 0)",
        "trial 2/2 (number 1)",
    ]
    assert "Warning" not in said.err and "WARNING" not in said.err and f"--recipe {folder}" in said.out
    made = config_from(json.loads((folder / "cnn_2_1.best.json").read_text()))
    assert (made.architecture, made.input_px, made.batch_size, len(made.epochs)) == ("cnn_2_1", 40, 8, 2)
    assert keras.mixed_precision.dtype_policy().name == policy

    assert command("--data", str(films), "--trials", "3", *SMALL, data_dir=tmp_path) == 0
    assert "trial 3/3 (number 2)" in capsys.readouterr().err
    rows = list(csv.DictReader((folder / "cnn_2_1.trials.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["finished"] * 3
    assert all(0 < float(row["value"]) < 1 and 0 <= float(row["auroc_shifted"]) <= 1 for row in rows)

    shutil.copytree(films, tmp_path / "others")
    (tmp_path / "others" / "NORMAL" / "IM-0001-0001.jpeg").write_bytes(as_jpeg(chest(999, (120, 140))))
    with pytest.raises(DatasetError, match="data"):
        command("--data", str(tmp_path / "others"), "--trials", "4", *SMALL, data_dir=tmp_path)
    with pytest.raises(AppError, match="epochs"):
        command("--data", str(films), "--trials", "4", *SMALL, "--epochs", "1", data_dir=tmp_path)


def test_training_is_pruned_and_leaves_nothing_behind(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from training.experiments.trial import load_data, training_objective

    work = tmp_path / "s.trial"
    work.mkdir()
    (work / "checkpoint.npz").write_bytes(b"of a trial that was killed")
    plan = small_plan(input_px=40, validation_fraction=0.3)
    data = load_data(films, recipe(plan, plan.defaults), ignore)
    assert len(data.shifted) == 3 * len(data.fitting.val_labels)
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=-1.0))
    trial = study.ask()
    objective = training_objective(data, "random", work)
    with pytest.raises(optuna.TrialPruned):
        objective(recipe(plan, plan.defaults), tune.pruned(ignore, trial, plan.epochs))
    assert trial.user_attrs["last"]["epoch"] == 1 and not list(tmp_path.iterdir())
    with pytest.raises(TrialFailed, match="loss became"):
        objective(recipe(plan, plan.defaults | {"learning_rate": 9.9, "optimizer": "sgd"}), _overflow)
    assert not list(tmp_path.iterdir())


def test_a_network_that_sees_the_lungs_is_tuned_on_films_framed_by_them(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    from training.experiments import trial

    monkeypatch.setattr(trial, "shipped_finder", lambda: find_drawn)
    plan = Plan(LUNGS, "random", space_for(LUNGS), (("detail_px", 64),), epochs=1, input_px=40, validation_fraction=0.3)
    config = recipe(plan, plan.defaults)
    data = trial.load_data(films, config, ignore)
    n = len(data.fitting.val_labels)
    assert data.fitting.val_pictures.shape == (n, 64, 64, 3) and data.shifted.shape == (3 * n, 40, 40, 2)
    outcome = trial.training_objective(data, "random", tmp_path / "s.trial")(config, ignore)
    assert np.isfinite([outcome.loss, outcome.loss_shifted]).all() and 0 <= outcome.auroc <= 1


def test_the_space_of_the_network_that_sees_the_lungs_has_their_recipes() -> None:
    space = {one.name: one for one in space_for("inception_v3_lungs")}
    assert space["augmentation"].default == "lungs" and "lungs_finetune" in space["augmentation"].choices
    assert "mixed5" in space["train_after"].choices and space["train_after"].default == "mixed3"
    assert not {"domain_shift", "another_unit"} & set(space["augmentation"].choices), "the objective is drawn from them"


def _overflow(_: Progress) -> None:
    raise FloatingPointError("the loss became nan")


def test_command_stops_when_told_to_and_says_how_to_go_on(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tune_trial = pytest.importorskip("training.experiments.trial")

    def stopped(*_: object) -> Any:
        def objective(*_: object) -> Any:
            raise KeyboardInterrupt

        return objective

    monkeypatch.setattr(tune_trial, "training_objective", stopped)
    assert command("--data", str(films), *SMALL, data_dir=tmp_path) == 130
    assert "Continue with the same command" in capsys.readouterr().err
    assert (tmp_path / "studies" / "cnn_2_1.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("--search", "speed"), 2), (("--fix", "dropout=9"), 2), (("--fix", "optimizer=magic"), 2)],
)
def test_wrong_arguments(
    films: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--data", str(films), "--architecture", "cnn_77k", *arguments, data_dir=tmp_path) == status
    assert "Received" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--trials", "0"), ("--fix", "dropout"), ("--epochs", "some")])
def test_arguments_that_are_no_arguments(films: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        command("--data", str(films), *arguments, data_dir=tmp_path)
    assert caught.value.code == 2


@pytest.mark.parametrize("arguments", [("--architecture", "resnet9000"), ("--backbone-weights", "missing.h5")])
def test_what_there_is_not_is_said(films: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(AppError, match="Received"):
        command("--data", str(films), *arguments, data_dir=tmp_path)
    with pytest.raises(DatasetError):
        command("--data", str(tmp_path / "nowhere"), "--architecture", "cnn_2_1", data_dir=tmp_path)

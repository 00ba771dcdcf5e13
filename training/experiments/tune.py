"""A tuning study: hyper-parameter search by Optuna with trainings of one architecture.

    <study>.db           the study: SQLite, as Optuna keeps it; survives a killed process
    <study>.best.json    the best trial's configuration, which `train --recipe` takes; rewritten when a trial is better
    <study>.trials.csv   one row a trial, rewritten after each
    <study>.html         the plots, written at the end and when the study is interrupted
    <study>.trial/       the running trial's checkpoint
    <study>.lock         held while a process works on the study

What is minimised is a log loss on held-out patients, never on the test part: temperature and bias are fitted as for a
version's card, each class counts the same, and the pictures as they are count as much as copies of them changed by
the recipe `domain_shift`, or `another_unit` where films are framed by their lungs. AUROC does not separate settings
here: nearly every one reaches 0.99. The log loss keeps falling after the ranking is right, the temperature removes
any reward for scaling the logits, and the shifted copies measure whether probabilities hold on another hospital's
exports. The two fitted numbers see the radiographs that are scored, which favours every trial alike.

Pruning looks at 1 − AUROC after each epoch, which no label smoothing or class weight bends, against the median of
earlier trials at the same epoch.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from core.errors import AppError, DatasetError
from core.files import append_privately, make_folder, write_atomically
from core.printable import spreadsheet_text
from core.progress import Progress, Report
from training.data.data_request import DataRequest
from training.data.recipes import current_name
from training.experiments.space import Dimension, Plan, recipe
from training.experiments.study_values import Objective, Row, Standing, TrialEnd, TrialFailed, TrialStart
from training.fitting.progress import EpochEnd

STUDY_NAME, TRIALS = "pneumolens", "trials"
# Random trials before TPE has something to learn from, the default recipe among them.
STARTUP_TRIALS = 8
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """Files of a study and its extent: `trials` in all, those of earlier calls included.

    No trial starts after `timeout_minutes` of this call; 0 for no limit.
    """

    data: DataRequest
    study: Path
    out: Path
    trials: int
    timeout_minutes: float = 0.0
    prune: bool = True

    @property
    def table(self) -> Path:
        """The trials as CSV."""
        return self._beside(".trials.csv")

    @property
    def page(self) -> Path:
        """The plots."""
        return self._beside(".html")

    def _beside(self, suffix: str) -> Path:
        return self.out.with_name(self.out.name.removesuffix(".json").removesuffix(".best") + suffix)


@contextmanager
def opened(path: Path, plan: Plan, prune: bool = True) -> Iterator[optuna.Study]:
    """Open or create a study for this process alone; an interrupted trial is marked as failed.

    Parameters
    ----------
    path
        The SQLite file.
    plan
        The plan of the study.
    prune
        Whether unpromising trials are stopped early, by the median of earlier ones.

    Yields
    ------
    optuna.Study
        The study, locked until the end of the context.

    Raises
    ------
    AppError
        If the file is not a study, another process works on it, or it was begun with another plan.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    make_folder(path.parent)
    for made in (path, path.with_suffix(".lock")):
        append_privately(made, b"")  # SQLite would make it readable for everybody
    # A transaction on a file of its own: the operating system ends it with the process, kill -9 included.
    lock = sqlite3.connect(path.with_suffix(".lock"), timeout=0, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise AppError(
                f"expected a study that no other process uses. Received: {path} ({error})",
                advice="Wait for the other process, or name another file with --study.",
            ) from error
        # Not in the first half of the epochs, where a cosine schedule favours high learning rates.
        pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(2, plan.epochs // 2))
            if prune
            else optuna.pruners.NopPruner()
        )
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            study = optuna.create_study(study_name=STUDY_NAME, storage=storage, pruner=pruner, load_if_exists=True)
        except Exception as error:  # whatever a database makes of a file that is not one
            raise AppError(
                f"expected a study. Received: {path} ({str(error).splitlines()[0]})",
                advice="Name another file with --study.",
            ) from error
        try:
            remember(study, identity(plan), AppError)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                study.tell(trial.number, state=TrialState.FAIL)
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        lock.close()


def identity(plan: Plan) -> dict[str, Any]:
    """Return what all trials of a study share, as JSON values; only then are their values comparable."""
    values = asdict(plan) | {"backbone_weights": Path(plan.backbone_weights).name}
    values["search"] = {d.name: d.range for d in plan.dimensions}
    del values["dimensions"]
    return dict(json.loads(json.dumps(values | {"fixed": dict(plan.fixed)})))


def remember(study: optuna.Study, values: Mapping[str, Any], error: type[AppError]) -> None:
    """Store the values with which a study is begun.

    Parameters
    ----------
    study
        The study.
    values
        By name.
    error
        Class of the exception raised if the study's trials were made with other values.
    """
    if not study.get_trials(deepcopy=False):
        for name, value in values.items():
            study.set_user_attr(name, value)
    for name in values:
        begun, value = (_with_current_names(one.get(name)) for one in (study.user_attrs, values))
        if begun != value:
            if isinstance(begun, dict) and isinstance(value, dict):
                begun, value = (
                    {k: v for k, v in a.items() if b.get(k) != v} for a, b in ((begun, value), (value, begun))
                )
            raise error(
                f"expected the study's own {name.replace('_', ' ')}: {begun or 'none'}. Received: {value or 'none'}",
                advice="Continue with the values of the study, or create another one with --study FILE.db.",
            )


def _with_current_names(stored: Any) -> Any:
    """Return a stored value of a study with the present names of the augmentation recipes in it."""
    if not (isinstance(stored, dict) and "augmentation" in stored):
        return stored
    names = str(stored["augmentation"]).split(", ")
    return stored | {"augmentation": ", ".join(map(current_name, names))}


def _as_begun(study: optuna.Study, dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Return the dimensions with the choices the study was begun with; Optuna accepts no others afterwards."""
    stored: dict[str, tuple[str, ...]] = {
        name: tuple(map(str, distribution.choices))
        for trial in study.get_trials(deepcopy=False)
        for name, distribution in trial.distributions.items()
        if name == "augmentation" and isinstance(distribution, optuna.distributions.CategoricalDistribution)
    }
    return tuple(
        replace(d, choices=stored[d.name], default=stored[d.name][d.choices.index(d.default)])
        if d.name in stored and tuple(map(current_name, stored[d.name])) == d.choices
        else d
        for d in dimensions
    )


def search(
    study: optuna.Study,
    plan: Plan,
    objective: Objective,
    request: TuneRequest,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> Standing:
    """Run trials until the requested number or the time limit is reached.

    The values tried depend on the plan's seed and the counted trials, so an interrupted study continues as it would
    have continued. The first trial is the default recipe.

    Parameters
    ----------
    study, plan
        The study and its plan.
    objective
        Trains and scores a configuration.
    request
        Number of trials, time limit, and files of recipe and table, which are updated after each trial.
    report
        Called with the progress.
    clock
        Returns seconds.

    Returns
    -------
    Standing
        State of the study.
    """
    end = clock() + request.timeout_minutes * 60 if request.timeout_minutes else math.inf
    standing = publish(study, plan, request)
    dimensions = _as_begun(study, plan.dimensions)
    while (done := len(standing.counted)) < request.trials and clock() < end:
        # Optuna's own generator would restart in every process and repeat settings.
        seed = int(np.random.SeedSequence((plan.seed, done)).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if not done and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(plan.defaults, user_attrs={"note": "the default recipe"})
        trial = study.ask()
        report(Progress(TRIALS, done, request.trials, TrialStart(standing)))
        try:
            values = {d.name: _suggest(trial, d) for d in dimensions}
            outcome = objective(recipe(plan, values), pruned(report, trial, plan.epochs))
        except (optuna.TrialPruned, TrialFailed) as reason:
            # TPE ranks a pruned trial behind every finished one, which suits a diverged trial as well.
            if isinstance(reason, TrialFailed):
                trial.set_user_attr("hopeless", str(reason))
            study.tell(trial, state=TrialState.PRUNED)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            publish(study, plan, request)
            raise
        else:
            for name, value in asdict(outcome).items():
                trial.set_user_attr(name, value)
            study.tell(trial, outcome.value)
        standing = publish(study, plan, request)
        report(Progress(TRIALS, len(standing.counted), request.trials, TrialEnd(standing, standing.rows[-1])))
    return standing


def _suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, dimension.choices)
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def pruned(report: Report, trial: optuna.Trial, epochs: int) -> Report:
    """Return a report that also passes each epoch's row to the study, and raises TrialPruned where that prunes.

    Parameters
    ----------
    report
        Called with the progress first.
    trial
        The trial.
    epochs
        Number of epochs; a trial is not pruned after the last one.
    """

    def pass_on(progress: Progress) -> None:
        report(progress)
        if isinstance(progress.detail, EpochEnd):
            row = progress.detail.row
            trial.set_user_attr("last", {name: row[name] for name in ("epoch", "val_auroc", "val_loss")})
            trial.report(1 - row["val_auroc"], row["epoch"])
            if row["epoch"] < epochs and trial.should_prune():
                raise optuna.TrialPruned

    return pass_on


def row_of(trial: FrozenTrial) -> Row:
    """Return a trial as a row of the table."""
    attributes, last = trial.user_attrs, trial.user_attrs.get("last", {})
    failed = attributes.get("hopeless", "")
    status = (
        "failed"
        if failed
        else {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "stopped"}.get(
            trial.state, "running"
        )
    )
    return Row(
        trial.number,
        status,
        trial.value if status == "finished" else None,
        attributes.get("loss"),
        attributes.get("loss_shifted"),
        attributes.get("auroc", last.get("val_auroc")),
        attributes.get("auroc_shifted"),
        last.get("val_loss"),
        last.get("epoch", 0),
        trial.duration.total_seconds() if trial.duration else None,
        failed or attributes.get("note", ""),
        trial.params,
    )


def publish(study: optuna.Study, plan: Plan, request: TuneRequest) -> Standing:
    """Write the table of `study`, and its best recipe if it changed, to the files of `request`; return its state.

    The columns are the dimensions of `plan`.
    """
    trials = study.get_trials(deepcopy=False)
    standing = Standing(tuple(row_of(t) for t in trials if t.state != TrialState.WAITING), request.trials)
    make_folder(request.out.parent)
    write_atomically(request.table, _table(standing.rows, [d.name for d in plan.dimensions]))
    if (best := standing.best) is not None:
        text = recipe(plan, best.parameters).to_json() + "\n"
        if not request.out.is_file() or request.out.read_text(encoding="utf-8") != text:
            write_atomically(request.out, text)
    return standing


def _table(rows: tuple[Row, ...], parameters: list[str]) -> str:
    text = io.StringIO()
    columns = [name for name in Row.__slots__ if name != "parameters"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(spreadsheet_text, (*columns, *parameters)))
    writer.writerows(
        [_safe(value) for value in (*(getattr(row, n) for n in columns), *(row.parameters.get(n) for n in parameters))]
        for row in rows
    )
    return text.getvalue()


def _safe(value: object) -> object:
    return spreadsheet_text(value) if isinstance(value, str) else value


def tune(request: TuneRequest, plan: Plan, report: Report) -> Standing:
    """Run or continue a study and write recipe, table and page, also when interrupted.

    Parameters
    ----------
    request
        Dataset, study, files, number of trials and time limit.
    plan
        The plan of the study.
    report
        Called with the progress.

    Returns
    -------
    Standing
        State of the study.

    Raises
    ------
    AppError
        As `opened`.
    DatasetError
        If the radiographs are not those with which the study was begun.
    """
    from training.experiments.trial import load_data, training_objective

    with opened(request.study, plan, request.prune) as study:
        data = load_data(request.data, recipe(plan, plan.defaults), report)
        remember(study, data.identity, DatasetError)
        objective = training_objective(data, plan.backbone_weights, request.study.with_suffix(".trial"))
        try:
            return search(study, plan, objective, request, report)
        finally:
            # plotly takes a second to import, which whoever reads --help need not wait for
            from training.experiments.plots import study_page

            write_atomically(request.page, study_page(study, publish(study, plan, request)))

"""Command `tune`: a hyperparameter study, and its progress on a terminal or in a log."""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from core.errors import ClassifierError
from core.formatting import format_short_duration
from core.progress import Progress, Report
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES
from model.tf_startup import start_tensorflow
from training.commands.arguments import (
    add_command,
    add_data_options,
    add_patient_options,
    data_arguments,
    data_of,
    number,
    trainable,
)
from training.commands.terminal import terminal_report
from training.commands.train import starting_weights
from training.data.dataset import scan
from training.experiments.space import FIXABLE, Dimension, Plan, file_stem, narrowed, space_for
from training.fitting.progress import EpochEnd, FittingStep

if TYPE_CHECKING:
    from training.experiments.study_values import Row, Standing
    from training.experiments.tune import TuneRequest

_NOTE = """\
The second command continues the study of the first with forty more trials. An interrupted study continues from its
last finished trial when the same command is run again. What is best in a few epochs need not be best in many: strong
augmentation and small learning rates pay off later."""


def add_commands(acts: Any) -> None:
    """Add `tune` to the sub-commands."""
    parser = add_command(
        acts,
        "tune",
        "tune the hyperparameters of a training by repeated short trainings, on held-out patients, never on test",
        "tune --data chest_xray --trials 40",
        "tune --data chest_xray --trials 80",
        "tune --data chest_xray --trials 30 --architecture cnn_77k --epochs 10",
        "tune --data chest_xray --trials 20 --search learning_rate,dropout --fix optimizer=sgd",
        "tune --data chest_xray --trials 40 --budget-minutes 5 --timeout-minutes 180",
        "train --data chest_xray --recipe var/studies/inception_v3.best.json --epochs 20",
        note=f"{_NOTE}\n\n{_space_trial_line()}",
    )
    add_data_options(parser, "the data, whose test/ is not read")
    add_patient_options(parser)
    parser.add_argument(
        "--trials",
        type=number(int, 1, 100_000),
        default=20,
        metavar="N",
        help="number of trials, including those of earlier calls (%(default)s)",
    )
    what = parser.add_argument_group("training")
    what.add_argument(
        "--architecture",
        default="inception_v3",
        metavar="NAME",
        help=f"{', '.join(ARCHITECTURES)}, or package.module:function (%(default)s)",
    )
    what.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help='initial weights: a local file, "imagenet" (Keras downloads them) or "random" '
        "(default: the setting PNEUMOLENS_BACKBONE_WEIGHTS)",
    )
    what.add_argument(
        "--epochs", type=number(int, 1, 1000), default=6, metavar="N", help="epochs of a trial (%(default)s)"
    )
    what.add_argument(
        "--small-px",
        type=number(int, 32, 1024),
        metavar="PX",
        help="image side at reduced size (192, or three quarters)",
    )
    what.add_argument(
        "--input-px",
        type=number(int, 32, 1024),
        metavar="PX",
        help="image side in the last epochs and in use (default: the network's own)",
    )
    what.add_argument(
        "--validation-fraction",
        type=number(float, 0.01, 0.9),
        default=0.12,
        metavar="F",
        help="share of the patients held out (%(default)s)",
    )
    how = parser.add_argument_group("search")
    how.add_argument(
        "--search", type=_names, default=(), metavar="NAME,…", help="search these only (default: all of those below)"
    )
    how.add_argument(
        "--fix",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"keep one of those below, or {', '.join(FIXABLE)}, at a value; may be repeated",
    )
    how.add_argument(
        "--seed",
        type=number(int, 0, 2**31),
        default=2026,
        metavar="N",
        help="random seed of the split, the training and the search (%(default)s)",
    )
    how.add_argument("--no-prune", action="store_true", help="train every trial to its end")
    how.add_argument(
        "--budget-minutes",
        type=number(float, 0, 1e6),
        default=0.0,
        metavar="M",
        help="time limit of fitting for one trial (0: none)",
    )
    how.add_argument(
        "--timeout-minutes",
        type=number(float, 0, 1e6),
        default=0.0,
        metavar="M",
        help="start no further trial after this time (0: no limit)",
    )
    where = parser.add_argument_group("results")
    where.add_argument(
        "--study", type=Path, metavar="FILE.db", help="the study (default: <data folder>/studies/<architecture>.db)"
    )
    where.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="the best recipe, for train --recipe; a table (.trials.csv) and plots (.html) are written "
        "beside it (default: <study>.best.json)",
    )
    parser.set_defaults(act=_tune)


def _space_trial_line() -> str:
    """List everything that can be searched, for the help; the ranges are those of the default architecture."""
    space = space_for("inception_v3")
    width = max(len(d.name) for d in space)
    lines = [f"  {d.name:{width}}  {d.help}: {d.range}" for d in space]
    return "what is searched (ranges of inception_v3; learning rates and layers are each network's own):\n" + "\n".join(
        lines
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE. Received: {text}")
    return name.strip(), value.strip()


def plan_of(options: argparse.Namespace, settings: Settings) -> Plan:
    """Return the plan of the study that the `options` of `tune` describe, with the defaults of `settings`.

    Raises
    ------
    ClassifierError
        For an unknown architecture or missing weights.
    ValueError
        For values that cannot be trained with.
    """
    weights = starting_weights(options, settings, options.architecture)
    if weights not in ("imagenet", "random") and not Path(weights).is_file():
        raise ClassifierError(
            f"expected a file with the backbone's weights. Received: {weights}",
            advice='Name a file that exists, or "imagenet" to let Keras download its own.',
        )
    dimensions: tuple[Dimension, ...] = space_for(options.architecture, weights != "random")
    dimensions, fixed = narrowed(dimensions, options.search, dict(options.fix))
    return Plan(
        options.architecture,
        weights,
        dimensions,
        fixed,
        options.epochs,
        options.seed,
        options.small_px,
        options.input_px,
        options.validation_fraction,
        options.budget_minutes,
    )


def _tune(options: argparse.Namespace, settings: Settings) -> int:
    try:
        trainable(options.architecture)
        plan = plan_of(options, settings)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    data = data_of(options, settings)
    scan(data)
    start_tensorflow(in_batches=True)
    from training.experiments.tune import TuneRequest, tune

    study = options.study or settings.data_dir / "studies" / f"{file_stem(options.architecture)}.db"
    request = TuneRequest(
        data,
        study,
        options.out or study.with_suffix(".best.json"),
        options.trials,
        options.timeout_minutes,
        not options.no_prune,
    )
    print(f"study {study}", file=sys.stderr)
    with tqdm(disable=None, leave=False) as bar:
        try:
            standing = tune(request, plan, study_report(bar))
        except KeyboardInterrupt:
            bar.close()
            print(
                "Stopped; finished trials are kept. Continue with the same command, from the same folder:\n  "
                f"python -m training {shlex.join(sys.argv[1:])}",
                file=sys.stderr,
            )
            return 130
    return _print_result(standing, request)


def study_report(bar: tqdm[NoReturn]) -> Report:
    """Show a study on one line of a terminal, with a line for each trial that ended; in a log only the latter."""
    from training.experiments.study_values import TrialEnd, TrialStart

    phases = terminal_report(bar)
    standing: Standing | None = None

    def show(progress: Progress) -> None:
        nonlocal standing
        match progress.detail:
            case TrialStart(now):
                standing = now
                _show_trials(bar, now)
            case FittingStep() as step:
                if not bar.disable and standing is not None:
                    bar.set_description_str(_heading(standing, step))
            case TrialEnd(now, row):
                text = trial_line(now, row)
                if bar.disable:
                    print(text, file=sys.stderr, flush=True)
                else:
                    bar.write(text, file=sys.stderr)
            case EpochEnd():
                pass
            case _:
                phases(progress)

    return show


def _show_trials(bar: tqdm[NoReturn], standing: Standing) -> None:
    if bar.disable:
        return
    bar.bar_format = "{desc} {bar} {percentage:3.0f}%"
    bar.set_description_str(_heading(standing, None), refresh=False)
    if bar.total != standing.trials:
        bar.reset(standing.trials)
    bar.update(len(standing.counted) - bar.n)
    bar.refresh()


def _heading(standing: Standing, step: FittingStep | None) -> str:
    parts = [f"trial {len(standing.counted) + 1}/{standing.trials}"]
    if step is not None:
        val = "" if step.val_auroc is None else f", AUROC {step.val_auroc:.4f}"
        parts.append(f"epoch {step.epoch}/{step.epochs}{val}")
    if (best := standing.best) is not None:
        parts.append(f"best {best.value:.4f}")
    if (seconds := seconds_left(standing, step)) is not None:
        parts.append(f"{format_short_duration(seconds)} left")
    return " · ".join(parts)


def seconds_left(standing: Standing, step: FittingStep | None) -> float | None:
    """Estimate the remaining seconds of a study from its finished trials, else from the present one.

    Parameters
    ----------
    standing
        State of the study.
    step
        The last step of the present trial, None before the first.

    Returns
    -------
    float or None
        None while nothing is known.
    """
    left = float(standing.trials - len(standing.counted))
    if step is not None:
        left -= (step.epoch - 1 + step.step / step.steps) / step.epochs
    if times := [row.seconds for row in standing.counted if row.seconds is not None]:
        return statistics.fmean(times) * left
    if step is None:
        return None
    return step.seconds_left * left * step.epochs / max(1e-9, step.epochs - step.epoch + 1 - step.step / step.steps)


def trial_line(standing: Standing, row: Row) -> str:
    """Return the result of the trial `row` of the study `standing` in one line."""
    from training.experiments.plots import brief

    if row.status == "finished":
        result = (
            f"log loss {row.value:.4f} ({row.loss:.4f}, shifted {row.loss_shifted:.4f}) · AUROC {row.auroc:.4f}, "
            f"shifted {row.auroc_shifted:.4f}"
        )
    else:
        result = f"{row.status} after epoch {row.epochs}" + (f" ({row.note})" if row.status == "failed" else "")
        if row.auroc is not None and row.val_loss is not None:
            result += f" · loss {row.val_loss:.4f} uncalibrated · AUROC {row.auroc:.4f}"
    best = standing.best
    mark = " · best so far" if best is not None and best.number == row.number else ""
    values = ", ".join(f"{name} {brief(value)}" for name, value in row.parameters.items())
    return (
        f"trial {len(standing.counted)}/{standing.trials} (number {row.number}) · {result} · "
        f"{row.seconds or 0:.0f} s{mark} · {values}"
    )


def _print_result(standing: Standing, request: TuneRequest) -> int:
    from training.experiments.plots import brief

    best = standing.best
    counts = {
        status: sum(row.status == status for row in standing.counted) for status in ("finished", "pruned", "failed")
    }
    print(
        f"{len(standing.counted)} of {standing.trials} trials: "
        + (", ".join(f"{n} {status}" for status, n in counts.items() if n) or "none in the time given")
    )
    if best is None:
        print(
            "No trial ran to its end, so there is no recipe. Continue with more trials: --trials 40.", file=sys.stderr
        )
        return 1
    print(
        f"best: number {best.number}, log loss {best.value:.4f}, AUROC {best.auroc:.4f}, on shifted copies "
        f"{best.auroc_shifted:.4f}"
    )
    first = next((row for row in standing.rows if row.note == "the default recipe" and row.value is not None), None)
    if first is not None and first.number != best.number:
        print(
            f"default recipe: log loss {first.value:.4f}, AUROC {first.auroc:.4f}, on shifted copies "
            f"{first.auroc_shifted:.4f}"
        )
    for name, value in best.parameters.items():
        print(f"  {name} {brief(value)}")
    print(f"recipe {request.out}\ntrials {request.table}\nplots  {request.page}")
    print(
        f"Train with it: python -m training train {data_arguments(request.data)} "
        f"--recipe {shlex.quote(str(request.out))}"
    )
    return 0

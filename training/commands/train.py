"""Command `train`: train a version in this process, or resume a run."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from core.errors import AppError, ClassifierError, DatasetError
from core.files import append_privately
from core.printable import printable
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES
from model.tf_startup import start_tensorflow
from records.activity import command_line_user, note, noted
from training.commands.arguments import (
    WrongArgument,
    add_command,
    add_data_options,
    add_description_options,
    add_patient_options,
    data_of,
    named_folder,
    number,
    stated_of,
    trainable,
)
from training.commands.promote import rules_for
from training.commands.terminal import terminal_report
from training.commands.workers import failure_kept
from training.fitting.initial_weights import choose_initial_weights
from training.runs import processes

if TYPE_CHECKING:
    from training.data.data_request import DataRequest
    from training.fitting.config import TrainingConfig

_NOTE = """\
A network with ImageNet weights is trained in three stages: its head alone, fine-tuning at reduced size, fine-tuning at
full size. A network with random weights is trained as a whole: --epochs."""
# Options that shape the stages, and the names `default_config` has for them.
_STAGES = (
    "head_epochs",
    "small_epochs",
    "full_epochs",
    "epochs",
    "small_px",
    "input_px",
    "train_after",
    "learning_rate",
)
_FIELDS = (
    "seed",
    "batch_size",
    "validation_fraction",
    "precision",
    "augmentation",
    "augmentation_strength",
    "optimizer",
    "label_smoothing",
    "dropout",
    "weight_decay",
    "ema_momentum",
    "pathogen_weight",
    "mirror",
    "fills_border",
    "budget_minutes",
    "detail_px",
)


def add_commands(acts: Any) -> None:
    """Add `train` to the sub-commands."""
    train = add_command(
        acts,
        "train",
        "train a classifier version on a folder of radiographs",
        "train --data chest_xray",
        "train --data chest_xray --preset quick --backbone-weights inception_v3.h5 --promote",
        "train --data chest_xray --architecture cnn_77k --epochs 30",
        "train --data chest_xray --architecture my_networks.small:build",
        "train --data chest_xray --recipe best.json --tensorboard logs",
        "train --resume 2026.11.20-142233",
        note=_NOTE,
    )
    which = train.add_mutually_exclusive_group(required=True)
    add_data_options(which, required=False)
    which.add_argument("--resume", metavar="RUN", help="continue an interrupted run, by its name or directory")
    add_patient_options(train)
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the version (default: the data folder's versions/)"
    )
    train.add_argument(
        "--run-dir", type=Path, metavar="RUN", help="directory of the run (default: a new one, named by time)"
    )
    add_description_options(train)
    train.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="note for the model card; may be repeated"
    )
    train.add_argument(
        "--also-evaluate",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="evaluate on a further folder too; the result goes onto the model card; may be repeated",
    )
    add_tensorboard_option(train)
    train.add_argument(
        "--leave-out",
        default="",
        metavar="KIND=NAME",
        help="train without a style, source or unit: its patients become validation, such as style=3 or source=north",
    )
    train.add_argument(
        "--promote",
        action="store_true",
        help="promote the new version without a comparison; the history keeps which rules that overrides",
    )
    add_recipe_options(train)
    train.set_defaults(act=_train, parser=train)


def add_tensorboard_option(parser: argparse.ArgumentParser) -> None:
    """Add the folder for logs that TensorBoard shows."""
    parser.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="also write logs for TensorBoard there, in a folder for each run (look at them: tensorboard --logdir DIR)",
    )


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides how a network is trained; what is not given keeps the default, or the recipe's value."""
    from training.data.recipes import RECIPES, current_name
    from training.fitting.config import OPTIMIZERS, PRECISIONS, PRESETS

    what = parser.add_argument_group("network and stages")
    what.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="use the configuration in this file, as written by `tune` and by every run (config.json)",
    )
    what.add_argument(
        "--architecture",
        metavar="NAME",
        help=f"{', '.join(ARCHITECTURES)}, or package.module:function (default: inception_v3)",
    )
    what.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help='initial weights: a local file, a version (its classifier.npz), "imagenet" (Keras '
        'downloads them) or "random" '
        "(default: the setting PNEUMOLENS_BACKBONE_WEIGHTS)",
    )
    what.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default="standard",
        help="training preset: epochs of the head, at reduced and at full size, or of a network from random "
        "weights: " + "; ".join(f"{name} {a} + {b} + {c}, or {d}" for name, (a, b, c, d) in PRESETS.items()),
    )
    for name, text in (("head", "of the head alone"), ("small", "at reduced size"), ("full", "at full size")):
        what.add_argument(
            f"--{name}-epochs", type=number(int, 0, 1000), metavar="N", help=f"epochs {text} (default: the preset's)"
        )
    what.add_argument(
        "--epochs",
        type=number(int, 0, 1000),
        metavar="N",
        help="epochs of a network from random weights, or all epochs of a recipe (default: the preset's)",
    )
    what.add_argument("--small-px", type=number(int, 32, 1024), metavar="PX", help="image side at reduced size (192)")
    what.add_argument(
        "--input-px",
        type=number(int, 32, 1024),
        metavar="PX",
        help="image side at full size and in use (default: the network's own)",
    )
    what.add_argument(
        "--detail-px",
        type=number(int, 32, 1024),
        metavar="PX",
        help="side to which every radiograph is reduced first, in training and in use: nothing finer is seen (224). "
        "More needs memory for n × PX × PX bytes several times over, and --input-px at least as large to be of use",
    )
    what.add_argument(
        "--train-after",
        metavar="LAYER",
        help="the last frozen layer while fine-tuning (default: the network's own; mixed3)",
    )
    what.add_argument(
        "--learning-rate",
        type=number(float, 1e-7, 10),
        metavar="R",
        help="peak learning rate (default: the network's own; 2e-4)",
    )
    how = parser.add_argument_group("optimisation and augmentation")
    how.add_argument("--batch-size", type=number(int, 1, 1024), metavar="N", help="batch size (32)")
    how.add_argument(
        "--seed", type=number(int, 0, 2**31), metavar="N", help="random seed of split, order and augmentation (2026)"
    )
    how.add_argument(
        "--validation-fraction",
        type=number(float, 0.01, 0.9),
        metavar="F",
        help="share of the patients held out (0.12)",
    )
    how.add_argument(
        "--augmentation",
        type=current_name,
        choices=tuple(RECIPES),
        metavar="NAME",
        help=f"data augmentation: {', '.join(RECIPES)} (strong); python -m training preview-augmentation shows it",
    )
    how.add_argument(
        "--augmentation-strength", type=number(float, 0, 2), metavar="F", help="0 for none, 1 as named, up to 2 (1)"
    )
    how.add_argument("--optimizer", choices=OPTIMIZERS, help="optimizer (adamw)")
    how.add_argument("--dropout", type=number(float, 0, 0.9), metavar="F", help="dropout rate before the head (0.25)")
    how.add_argument("--weight-decay", type=number(float, 0, 1), metavar="F", help="decoupled weight decay (1e-4)")
    how.add_argument("--label-smoothing", type=number(float, 0, 0.5), metavar="F", help="label smoothing (0.03)")
    how.add_argument(
        "--ema-momentum",
        type=number(float, 0, 0.99999),
        metavar="F",
        help="momentum of the exponential moving average of the weights; 0: none (0.99)",
    )
    how.add_argument(
        "--pathogen-weight",
        type=number(float, 0, 1),
        metavar="F",
        help="weight of the auxiliary loss, viral against bacterial, where file names have it (0)",
    )
    how.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="test-time augmentation: average with the mirror image; doubles the time of an assessment (no)",
    )
    how.add_argument(
        "--fills-border",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="fill black borders with the continued margin, in training and in use (yes)",
    )
    how.add_argument(
        "--budget-minutes",
        type=number(float, 0, 1e6),
        metavar="M",
        help="time limit of fitting; epochs are shortened so that the schedule fits (0: none)",
    )
    how.add_argument(
        "--precision", choices=PRECISIONS, help="numeric precision (auto: bfloat16 where the hardware supports it)"
    )


def config_of(options: argparse.Namespace, has_weights: bool) -> TrainingConfig:
    """Return the configuration that the options describe.

    Parameters
    ----------
    options
        Options of `train`.
    has_weights
        Whether the network starts from trained weights.

    Raises
    ------
    ValueError
        For values that cannot be trained with, or options that contradict `--recipe`.
    DatasetError
        If the recipe cannot be read.
    """
    import dataclasses
    import json

    from training.fitting.config import config_from, default_config, refuse_unfit_sizes, rescaled

    chosen: Mapping[str, Any] = {n: v for n in _FIELDS if (v := getattr(options, n)) is not None}
    shape = {n: v for n in _STAGES if (v := getattr(options, n)) is not None}
    if options.recipe is None:
        return default_config(
            options.architecture or "inception_v3", options.preset, has_weights=has_weights, **shape, **chosen
        )
    if beside := [*(n for n in shape if n != "epochs"), *(["architecture"] if options.architecture else [])]:
        raise ValueError(
            "expected a recipe without other options for network and stages than --epochs. Received: "
            + ", ".join("--" + n.replace("_", "-") for n in beside)
        )
    try:
        config = config_from(json.loads(options.recipe.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(
            f"expected a recipe in {options.recipe}. Received: {error}",
            advice="Name a file that `python -m training tune` wrote, or a run's config.json.",
        ) from error
    if "epochs" in shape:
        chosen = {**chosen, "stages": rescaled(config.stages, shape["epochs"])}
    config = dataclasses.replace(config, **chosen)
    refuse_unfit_sizes(config)
    return config


def starting_weights(options: argparse.Namespace, settings: Settings, architecture: str) -> str:
    """Return the initial weights: "imagenet", "random" or the absolute path of a file.

    Parameters
    ----------
    options
        Options of `train` or `tune`; `--backbone-weights` takes precedence.
    settings
        The installation, with its default.
    architecture
        Name of the architecture; one without pretrained weights starts at random, or from a version of it.

    Raises
    ------
    WrongArgument
        If the option names other weights for an architecture without pretrained ones.
    """
    try:
        return choose_initial_weights(options.backbone_weights, settings.backbone_weights, architecture)
    except ClassifierError as error:
        raise WrongArgument(str(error), advice=error.advice) from error


def _train(options: argparse.Namespace, settings: Settings) -> int:
    from training.runs.leave_out import group_named
    from training.runs.request import RunRequest, create_run, read_config, read_request

    if options.resume:
        _refuse_beside_resume(options)
        run_dir = _run_to_resume(options.resume, settings)
    else:
        if options.leave_out:
            group_named(options.leave_out)
        run_dir = options.run_dir or settings.runs_dir / f"{datetime.now(UTC):%Y.%m.%d-%H%M%S}"
        try:
            named = trainable(architecture_of(options)).name
            weights = starting_weights(options, settings, named)
            config = config_of(options, has_weights=weights != "random")
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        create_run(
            run_dir,
            config,
            RunRequest(
                data_of(options, settings),
                (options.out or settings.versions_dir).resolve(),
                weights,
                options.source,
                options.promote,
                tuple(options.also_evaluate),
                tuple(options.note),
                None if options.tensorboard is None else options.tensorboard.resolve(),
                stated_of(options),
                options.leave_out,
            ),
        )
        say_split(read_request(run_dir).data)
    act, who = "resume" if options.resume else "train", command_line_user()
    # At the beginning: a training takes hours, and whoever kills it must not leave it out of the log.
    note(settings, act, who=who, object=run_dir.name)
    from training.runs.preflight import check_resources

    try:
        with failure_kept(run_dir):
            check_resources(run_dir, read_config(run_dir), read_request(run_dir))
    except AppError:
        note(settings, act, who=who, object=run_dir.name, outcome="refused")
        raise
    # After the checks, so that a refusal is immediate.
    start_tensorflow(in_batches=True)
    from training.runs.run import execute

    processes.record_process(run_dir, os.getpid())
    (run_dir / processes.ERROR).unlink(missing_ok=True)
    print(printable(f"run {run_dir}"), file=sys.stderr)
    with tqdm(disable=None, leave=False) as bar:
        try:
            with failure_kept(run_dir):
                folder = execute(run_dir, settings, terminal_report(bar))
        except AppError:
            note(settings, act, who=who, object=run_dir.name, outcome="refused")
            raise
        except Exception as error:  # a library may raise anything; a person wants a sentence, and support the rest
            bar.close()
            append_privately(run_dir / processes.OUTPUT, "".join(traceback.format_exception(error)).encode())
            print(*processes.describe_error(error), f"Details: {run_dir / processes.OUTPUT}", sep="\n", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            bar.close()
            print(f"Stopped. Continue: python -m training train --resume {run_dir}", file=sys.stderr)
            return 130
        finally:
            processes.mark_ended(run_dir)
    if read_request(run_dir).promote:
        from model.promotions import promote
        from model.registry import active_version
        from training.runs.promotion import broken

        in_use = active_version(settings)
        overruled = broken(rules_for(settings, folder.name, in_use))
        with noted(settings, "promote", who=who, object=folder.name):
            promote(settings, folder.name, who=who, why="training with --promote", expected=in_use, overruled=overruled)
    _print_result(folder)
    return 0


def _refuse_beside_resume(options: argparse.Namespace) -> None:
    """Refuse what a resumed run would not heed: everything about it stands in its directory."""
    alone = vars(options.parser.parse_args(["--resume", options.resume]))
    if beside := ["--" + name.replace("_", "-") for name, value in vars(options).items() if value != alone[name]]:
        raise WrongArgument(
            f"expected --resume without other options. Received: {', '.join(beside)}",
            advice="Leave them out: a resumed run keeps its own. To change them, start a new run.",
        )


def say_split(data: DataRequest) -> None:
    """Write to the terminal by what a dataset will be split, and what else is to be said of it before hours pass."""
    from training.data.dataset import scan
    from training.data.patient_preview import concerns, preview

    found = preview(scan(data))
    for line in (f"split {found.split}", *(sentence for _, sentence in concerns(found))):
        print(printable(line), file=sys.stderr)


def _run_to_resume(run: str, settings: Settings) -> Path:
    """Return the directory of a run that is named by itself or by its directory; raises DatasetError for neither."""
    from training.runs.candidate import run_of
    from training.runs.request import REQUEST

    found = run_of(settings, run) or Path(run)
    if not (found / REQUEST).is_file():
        raise DatasetError(
            f"expected the name or the directory of a training run. Received: {run}",
            advice="List the runs with: python -m training runs",
        )
    return found


def architecture_of(options: argparse.Namespace) -> str:
    """Return the architecture by the `options` or their recipe; `config_of` reports a recipe that cannot be read."""
    import json

    if options.recipe is not None:
        try:
            return str(json.loads(options.recipe.read_text(encoding="utf-8")).get("architecture", "inception_v3"))
        except (OSError, ValueError, AttributeError):
            return "inception_v3"
    return options.architecture or "inception_v3"


def _print_result(folder: Path) -> None:
    from model.registry import read_card
    from training.evaluation.evaluate import evaluation_to_text

    card = read_card(folder)
    for evaluation in card.evaluations.values():
        print(evaluation_to_text(evaluation, card.version))
    print(f"version {card.version} in {folder}")

"""Command `leaderboard`: every architecture on the same patients, in one table."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from core.errors import AppError, ClassifierError
from core.files import make_folder, write_atomically
from core.printable import printable
from core.progress import Report
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES, find_architecture
from model.tf_startup import start_tensorflow
from records.activity import command_line_user
from training.commands.arguments import (
    WrongArgument,
    add_command,
    add_data_options,
    add_patient_options,
    data_of,
    named_folder,
    number,
    trainable,
)
from training.commands.terminal import terminal_report
from training.commands.train import starting_weights

if TYPE_CHECKING:
    from training.experiments.leaderboard import Row

_NOTE = """\
A network that has a version from the same radiographs, seed and held-out patients is not trained again. An interrupted
training continues after its last finished epoch when the command is run again. Versions made here are for comparison;
before clinical use, python -m training recalibrate adds the training population for the input gate."""
COPIES = (1, 1)
Folders = tuple[tuple[str, Path], ...]
NOTE = (
    "Made for the leaderboard: it has no training population, so the gate cannot detect out-of-distribution images. "
    "Before clinical use: python -m training recalibrate."
)


def add_commands(acts: Any) -> None:
    """Add the command to the sub-commands."""
    board = add_command(
        acts,
        "leaderboard",
        "train or reuse every architecture on the same patients, and tabulate their results",
        "leaderboard --data chest_xray",
        "leaderboard --data chest_xray --budget-minutes 10 --only cnn_77k cnn_2_1 vgg16",
        "leaderboard --data chest_xray --also-evaluate other_hospital=films --out leaderboard.md",
        note=_NOTE,
    )
    add_data_options(board)
    add_patient_options(board)
    board.add_argument(
        "--also-evaluate",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a further test folder; may be repeated (the folder's own test part is always taken)",
    )
    board.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=list(ARCHITECTURES),
        help="only these networks; package.module:function too",
    )
    board.add_argument(
        "--budget-minutes",
        type=number(float, 0, 1e6),
        default=0.0,
        metavar="M",
        help="time limit of fitting for each network (default: none)",
    )
    board.add_argument(
        "--preset", choices=("quick", "standard", "thorough"), default="standard", help="training preset (%(default)s)"
    )
    board.add_argument(
        "--seed",
        type=number(int, 0, 2**31),
        default=2026,
        metavar="N",
        help="decides the split and the training (%(default)s)",
    )
    board.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help="initial weights of inception_v3 and inception_v3_lungs (default: the setting "
        "PNEUMOLENS_BACKBONE_WEIGHTS)",
    )
    board.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of the runs (default: the data folder's runs/leaderboard)"
    )
    board.add_argument(
        "--out",
        type=Path,
        default=Path("leaderboard.md"),
        metavar="FILE.md",
        help="tables; their data go to FILE.json beside it (%(default)s)",
    )
    board.set_defaults(act=_leaderboard)


def _leaderboard(options: argparse.Namespace, settings: Settings) -> int:
    for name in options.only:
        trainable(name)
    given = options.backbone_weights
    if given not in (None, "imagenet", "random") and not Path(given).is_file():
        raise WrongArgument(
            f"expected a file with the initial weights of inception_v3. Received: {given}",
            advice="Name a file that exists.",
        )
    start_tensorflow(in_batches=True)
    from training.data.dataset import scan
    from training.data.sample import digest
    from training.experiments.leaderboard import board_to_json, find_version, rows_from_json, rows_to_json, table
    from training.fitting.config import default_config
    from training.runs.run import audited, load, refuse_blocking

    extra = tuple(options.also_evaluate)
    data = data_of(options, settings)
    for _, folder in extra:  # before the trainings, which take hours
        scan(data.with_sources(folder))
    runs = options.runs or settings.runs_dir / "leaderboard"
    kept = runs / "rows.json"
    rows: dict[str, Row] = rows_from_json(kept.read_text()) if kept.is_file() else {}
    board: list[Row] = []
    failed: list[str] = []
    # Folders by their last name, without the paths of this machine.
    command = "python -m training " + shlex.join(_short(argument) for argument in sys.argv[1:])
    with tqdm(disable=None, leave=False) as bar:
        report = terminal_report(bar)
        audit = audited(data, report)
        refuse_blocking(audit)
        plain = default_config("cnn_77k", options.preset, seed=options.seed)
        loaded = load(data, plain, report)
        for name in options.only:
            bar.clear()
            print(f"{name} ({options.only.index(name) + 1} of {len(options.only)})", file=sys.stderr, flush=True)
            version = find_version(
                settings,
                name,
                digest(loaded.samples),
                plain.seed,
                plain.validation_fraction,
                digest(loaded.side(True)),
            )
            try:
                version = version or _train(name, options, settings, runs, report, (audit, loaded), extra)
                if version not in rows:
                    rows[version] = _measure(version, options, settings, loaded)
                rows[version] = _evaluated(rows[version], extra, options, settings)
            except AppError as error:
                print(printable(f"{name}: {error}"), printable(error.advice), sep="\n", file=sys.stderr)
                failed.append(name)
                continue
            make_folder(runs)
            write_atomically(kept, rows_to_json(rows))
            board.append(rows[version])
            write_atomically(options.out, f"# Leaderboard\n\n{table(board, command)}\n{_looks(board, settings)}")
            write_atomically(options.out.with_suffix(".json"), board_to_json(board, command))
    print(table(board, command))
    print(_looks(board, settings), end="")
    print(f"written to {options.out}", file=sys.stderr)
    return 1 if failed else 0


def _looks(board: Sequence[Row], settings: Settings) -> str:
    """Return how often the test sets of a board were looked at, a line each, in Markdown."""
    from training.evaluation.looks import sets_of

    said = sets_of(settings, [row.version for row in board])
    return "".join(f"\n{sentence[0].upper()}{sentence[1:]}.\n" for sentence in said)


def _short(argument: str) -> str:
    name, equals, path = argument.rpartition("=")
    return name + equals + Path(path).name if "/" in path else argument


def _train(
    name: str,
    options: argparse.Namespace,
    settings: Settings,
    runs: Path,
    report: Report,
    prepared: Any,
    extra: Folders,
) -> str:
    """Train a network, or go on with its run; one that can't have ImageNet weights starts from random ones."""
    import keras

    from training.fitting.config import default_config
    from training.runs.request import RunRequest, create_run
    from training.runs.run import execute

    # The option names weights of InceptionV3.
    weights = starting_weights(options, settings, name) if find_architecture(name).is_transfer else "random"
    # A file of weights belongs to networks with that backbone; the others can only be downloaded.
    if name not in ("inception_v3", "inception_v3_lungs") and weights not in ("random", "imagenet"):
        weights = "imagenet"
    run_dir = runs / name.replace(":", ".")
    for start in dict.fromkeys((weights, "random")):
        config = default_config(
            name,
            options.preset,
            has_weights=start != "random",
            seed=options.seed,
            budget_minutes=options.budget_minutes,
            copies=COPIES,
            learns_population=False,
        )
        here = run_dir if start == weights else run_dir.with_name(run_dir.name + "_random")
        if not here.exists():
            create_run(
                here,
                config,
                RunRequest(
                    data_of(options, settings), settings.versions_dir.resolve(), start, "", False, extra, (NOTE,)
                ),
            )
        try:
            return execute(here, settings, report, prepared).name
        except ClassifierError as error:
            if start == "random" or "backbone" not in str(error):
                raise
            print(f"{name}: no ImageNet weights are available; training from random weights", file=sys.stderr)
        finally:
            keras.backend.clear_session()
    raise AssertionError("unreachable")


def _classifier(version: str, options: argparse.Namespace, settings: Settings) -> Any:
    from model.engine import load_classifier
    from model.registry import version_folder

    return load_classifier(version_folder(settings, version), {*settings.architectures, *options.only})


def _measure(version: str, options: argparse.Namespace, settings: Settings, loaded: Any) -> Row:
    from training.experiments.leaderboard import TRAIN_SAMPLE, measure

    classifier = _classifier(version, options, settings)
    total = min(TRAIN_SAMPLE, len(loaded.side(False)))
    with tqdm(total=total, desc="scoring training radiographs", disable=None, leave=False) as bar:
        return measure(classifier, loaded, bar.update, [name for name, _ in options.also_evaluate])


def _evaluated(row: Row, extra: Folders, options: argparse.Namespace, settings: Settings) -> Row:
    """Evaluate a reused version on the folders on which its card has no evaluation."""
    missing = [(name, folder) for name, folder in extra if name not in row.tests]
    if not missing:
        return row
    from training.data.dataset import scan
    from training.evaluation.evaluate import evaluate_folder
    from training.evaluation.looks import recorder
    from training.experiments.leaderboard import figures

    classifier, tests = _classifier(row.version, options, settings), dict(row.tests)
    record = recorder(settings, "leaderboard", command_line_user())
    for name, folder in missing:
        test = data_of(options, settings).with_sources(folder)
        with tqdm(total=len(scan(test).train), desc=f"evaluating on {name}", disable=None, leave=False) as bar:
            tests[name] = figures(evaluate_folder(classifier, test, name, bar.update, record)[0])
    return replace(row, tests=tests)

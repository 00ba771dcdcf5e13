"""Command `anatomy`: train the network that outlines the lungs, or measure one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_atomically
from core.printable import printable
from core.progress import Progress
from core.settings import Settings
from model.tf_startup import start_tensorflow
from training.commands.arguments import WrongArgument, add_command, new_file, number, share
from training.fitting.anatomy_config import AnatomyConfig

_DEFAULT = AnatomyConfig()
_NOTE = """\
--data is a folder of upright frontal films in any layout, --masks a folder of masks with the same relative names: PNG
over the whole film, at any size, 255 lung and 127 device or marking, the lung behind the heart included. A table
masks.csv beside the masks names the film of each (file, mask, match_corr, patient); rows with match_corr below 0.80
are left out, and so are folders that are called test. Patients are found as the other commands find them, and a share
of them is held out. A folder of --out with a checkpoint is continued."""
_STATED = ("source", "licence", "attribution")


def add_commands(acts: Any) -> None:
    """Add `anatomy` to the sub-commands."""
    command = add_command(
        acts,
        "anatomy",
        "train the network that outlines the lungs from films with drawn lungs, or measure one",
        'anatomy --data chest_xray/train --masks lung_masks --out anatomy --licence "CC BY 4.0"',
        "anatomy evaluate --weights anatomy/anatomy.npz --data chest_xray/train --masks lung_masks --held-out",
        "anatomy evaluate --weights anatomy/anatomy.npz --data adults --masks adult_masks --json adults.json",
        note=_NOTE,
    )
    command.add_argument("action", nargs="?", choices=("train", "evaluate"), default="train", help="(%(default)s)")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of films, in any layout")
    command.add_argument("--masks", type=Path, required=True, metavar="DIR", help="folder of drawn lung masks")
    train = command.add_argument_group("train")
    train.add_argument("--out", type=Path, metavar="DIR", help="folder of the network and its record")
    train.add_argument(
        "--resume", action="store_true", help="continue the training in --out; without it such a folder is refused"
    )
    train.add_argument(
        "--epochs",
        type=number(int, 1, 1000),
        default=_DEFAULT.epochs,
        metavar="N",
        help="epochs (%(default)s)",
    )
    train.add_argument(
        "--films-per-epoch",
        type=number(int, 1, 10_000_000),
        default=_DEFAULT.films_per_epoch,
        metavar="N",
        help="films drawn for an epoch (%(default)s)",
    )
    train.add_argument(
        "--others-per-epoch",
        type=number(int, 0, 10_000_000),
        default=_DEFAULT.others_per_epoch,
        metavar="N",
        help="drawn pictures of other things in an epoch (%(default)s)",
    )
    train.add_argument(
        "--learning-rate",
        type=number(float, 1e-6, 1),
        default=_DEFAULT.learning_rate,
        metavar="X",
        help="maximum of the learning rate (%(default)s)",
    )
    train.add_argument(
        "--held-out",
        nargs="?",
        type=share,
        const=True,
        metavar="SHARE",
        help=f"train: share of the patients who are held out ({_DEFAULT.held_out}); evaluate: only patients who were",
    )
    train.add_argument("--seed", type=number(int, 0, 2**31 - 1), default=0, metavar="N", help="(%(default)s)")
    for name in _STATED:
        train.add_argument(f"--{name}", default="", metavar="TEXT", help=f"{name} of films and masks, for the record")
    evaluate = command.add_argument_group("evaluate")
    evaluate.add_argument("--weights", type=Path, metavar="FILE", help="the network (default: the shipped one)")
    evaluate.add_argument("--json", type=new_file, metavar="FILE", help="write the figures there as JSON")
    command.set_defaults(act=_anatomy)


def _anatomy(options: argparse.Namespace, settings: Settings) -> int:
    return _evaluate(options, settings) if options.action == "evaluate" else _train(options)


def _train(options: argparse.Namespace) -> int:
    if options.out is None:
        raise WrongArgument("expected a folder for the network. Received: no --out", advice="Add --out DIR.")
    if options.held_out is True:
        raise WrongArgument(
            "expected a share of the patients. Received: --held-out without one", advice="Write --held-out 0.15."
        )
    if (options.out / "checkpoint.npz").exists() and not options.resume:
        raise WrongArgument(
            f"expected a new folder. Received: {options.out}, which holds a training",
            advice="Add --resume to continue it, or name another folder for --out.",
        )
    start_tensorflow(in_batches=True)
    from training.evaluation.lung_outlines import outlines_to_json, outlines_to_text
    from training.runs.anatomy import AnatomySource, train_anatomy

    config = AnatomyConfig(
        epochs=options.epochs,
        films_per_epoch=options.films_per_epoch,
        others_per_epoch=options.others_per_epoch,
        learning_rate=options.learning_rate,
        held_out=options.held_out or _DEFAULT.held_out,
        seed=options.seed,
    )
    stated = {name: getattr(options, name) for name in _STATED if getattr(options, name)}
    with tqdm(disable=None, leave=False) as bar:
        source = AnatomySource(options.data, options.masks, stated)
        path, figures = train_anatomy(source, config, options.out, lambda progress: _show(bar, progress))
    if options.json is not None:
        write_atomically(options.json, outlines_to_json(figures) + "\n")
    print(outlines_to_text(figures, "held-out patients"))
    print(printable(f"  network: {path}"))
    return 0


def _show(bar: Any, progress: Progress) -> None:
    """Show progress on a terminal; in a log, one line a phase."""
    said = f"{progress.phase}: {progress.detail}" if progress.detail else progress.phase
    if bar.disable:
        last = getattr(bar, "said", "")
        # Of an epoch only its number: a line a step would fill a log.
        short = said.partition(",")[0]
        if short != last:
            print(printable(said), file=sys.stderr, flush=True)
            bar.said = short
        return
    if bar.total != progress.total or progress.done < bar.n:
        bar.reset(progress.total or None)
    bar.set_description_str(said, refresh=False)
    bar.update(progress.done - bar.n)


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    start_tensorflow()
    from model.anatomy_files import load_anatomy_finder, shipped_anatomy
    from training.data.lung_masks import read_lung_films
    from training.evaluation.lung_outlines import measure_outlines, outlines_to_json, outlines_to_text
    from training.runs.anatomy import only_held_out, read_record

    weights = options.weights or shipped_anatomy(settings)[0]
    record = read_record(weights)
    find = load_anatomy_finder(weights, record["sha256"])
    with tqdm(desc="reading films and masks", unit=" films", disable=None, leave=False) as bar:
        films = read_lung_films(options.data, options.masks, bar.update)
    if options.held_out:
        films = only_held_out(films, record)
    with tqdm(total=len(films.films), desc="outlining lungs", disable=None, leave=False) as bar:
        figures = measure_outlines(find, films, bar.update)
    if options.json is not None:
        write_atomically(options.json, outlines_to_json(figures) + "\n")
    print(outlines_to_text(figures, options.data.resolve().name))
    return 0

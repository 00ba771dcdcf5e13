"""Command `cross-validate`: train and predict in folds by patient."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.errors import DatasetError
from core.files import write_atomically
from core.printable import printable, printable_lines
from core.settings import Settings
from model.tf_startup import start_tensorflow
from training.commands.arguments import (
    add_command,
    add_data_options,
    add_patient_options,
    data_of,
    new_file,
    number,
    trainable,
)
from training.commands.terminal import terminal_report
from training.commands.train import add_recipe_options, architecture_of, config_of, starting_weights

_NOTE = """\
Each fold is a run of its own, so that K folds take K times as long as `train`, plus reading the data once; after the
first fold the time left is shown. Continue an interrupted one with --resume. Its versions are not
registered."""


def add_commands(acts: Any) -> None:
    """Add the command to the sub-commands."""
    parser = add_command(
        acts,
        "cross-validate",
        "train in folds by patient and evaluate each radiograph with a version that has not seen its patient",
        "cross-validate --data chest_xray --folds 5 --preset quick --json folds.json",
        "cross-validate --data chest_xray --leave-out style --preset quick --json styles.json",
        "cross-validate --resume 2026.12.01-101500",
        note=_NOTE,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    add_data_options(which, required=False)
    which.add_argument("--resume", metavar="NAME", help="continue an interrupted cross-validation, by its name")
    add_patient_options(parser)
    parser.add_argument(
        "--folds", type=number(int, 2, 20), default=5, metavar="K", help="number of folds (%(default)s)"
    )
    parser.add_argument(
        "--leave-out",
        choices=("style", "source", "unit"),
        help="leave each of these groups out of a run in turn, in place of folds by patient",
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as JSON")
    add_recipe_options(parser)
    parser.set_defaults(act=_cross_validate)


def _cross_validate(options: argparse.Namespace, settings: Settings) -> int:
    from training.runs.cross_validation import REQUEST, create_cross_validation, make_folder_of
    from training.runs.request import RunRequest

    if options.resume:
        folder = make_folder_of(settings, Path(options.resume).name)
        if not (folder / REQUEST).is_file():
            raise DatasetError(
                f"expected the name of a cross-validation. Received: {options.resume}",
                advice=f"Look into {folder.parent}.",
            )
    else:
        folder = make_folder_of(settings, f"{datetime.now(UTC):%Y.%m.%d-%H%M%S}")
        try:
            named = trainable(architecture_of(options)).name
            weights = starting_weights(options, settings, named)
            config = config_of(options, has_weights=weights != "random")
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        request = RunRequest(data_of(options, settings), folder / "versions", weights)
        create_cross_validation(folder, config, request, options.folds, options.leave_out or "")
    start_tensorflow(in_batches=True)
    from training.runs.cross_validation import cross_validate, result_to_text

    print(printable(f"cross-validation {folder}"), file=sys.stderr)
    with tqdm(disable=None, leave=False) as bar:
        try:
            result = cross_validate(folder, settings, terminal_report(bar))
        except KeyboardInterrupt:
            bar.close()
            print(f"Stopped. Continue: python -m training cross-validate --resume {folder.name}", file=sys.stderr)
            return 130
    if options.json:
        write_atomically(options.json, (folder / "result.json").read_text(encoding="utf-8") + "\n")
    print(printable_lines(result_to_text(result)))
    return 0

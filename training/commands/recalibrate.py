"""python -m training recalibrate: a version's weights with a scale chosen anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.settings import Settings
from model.registry import active_version, read_card, verify, version_folder
from model.tf_startup import start_tensorflow
from training.commands.terminal import terminal_report
from training.commands.train import named_folder

EXAMPLES = """examples:
  python -m training recalibrate --data chest_xray
  python -m training recalibrate --data chest_xray --classifier 2026.11.21-3 --also-evaluate other_hospital=films

DIR is the folder that the version was trained with, unchanged: the patients that it held out then are those on whom
the scale is chosen, and the command refuses where they cannot be told. Nothing is trained, and the new version is not
put into use; compare it first: python -m training compare --data DIR/test --classifier NEW --with OLD
"""


def add_commands(acts: Any) -> None:
    """Add `recalibrate` to the sub-commands."""
    again = acts.add_parser(
        "recalibrate",
        help="choose a version's calibration and operating points anew; the weights stay",
        description="Choose a version's calibration and operating points anew; the weights stay.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    again.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the folder that the version was trained with"
    )
    again.add_argument("--classifier", metavar="VERSION", help="(default: the version in use)")
    again.add_argument("--out", type=Path, metavar="DIR", help="where the version goes (default: the app's own folder)")
    again.add_argument(
        "--fills-border",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let the film's margin continue over black around it (default: as the version did)",
    )
    again.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="a remark for the card; may be repeated"
    )
    again.add_argument(
        "--also-evaluate",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="evaluate on a further folder and put the result onto the card; may be repeated",
    )
    again.set_defaults(act=_recalibrate)


def _recalibrate(options: argparse.Namespace, settings: Settings) -> int:
    version = options.classifier or active_version(settings)
    before = verify(version_folder(settings, version))
    extra = tuple(options.also_evaluate)
    start_tensorflow(in_batches=True)
    from training.evaluation.evaluate import evaluation_to_text
    from training.runs.recalibrate import recalibrate

    with tqdm(disable=None, leave=False) as bar:
        folder = recalibrate(
            settings,
            version,
            options.data,
            options.out or settings.versions_dir,
            extra=extra,
            notes=tuple(options.note),
            fills_border=options.fills_border,
            report=terminal_report(bar),
        )
    card = read_card(folder)
    for evaluation in card.evaluations.values():
        print(evaluation_to_text(evaluation, card.version))
    points = [f"{one.operating_point.probability:g} in {one.version}" for one in (before, card)]
    print(f"operating point {', '.join(points)}")
    print(f"version {card.version} in {folder}")
    return 0

"""Command `recalibrate`: a version's weights with calibration and operating points chosen anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.settings import Settings
from model.registry import active_version, read_card, verify, version_folder
from model.tf_startup import start_tensorflow
from records.activity import command_line_user, noted
from training.commands.arguments import add_command, add_data_options, add_patient_options, data_of, named_folder
from training.commands.terminal import terminal_report

_NOTE = """\
DIR is the unchanged folder that the version was trained with: calibration and operating points are chosen on the
patients held out then, and the command refuses a folder in which they cannot be identified. Nothing is trained, and the
new version is not promoted. Compare it with the old one first: python -m training compare"""


def add_commands(acts: Any) -> None:
    """Add `recalibrate` to the sub-commands."""
    again = add_command(
        acts,
        "recalibrate",
        "choose calibration and operating points of a version anew; its weights stay",
        "recalibrate --data chest_xray",
        "recalibrate --data chest_xray --classifier 2026.11.21-3 --also-evaluate other_hospital=films",
        note=_NOTE,
    )
    add_data_options(again, "the data that the version was trained with")
    add_patient_options(again)
    again.add_argument(
        "--classifier", metavar="VERSION", help="the version to recalibrate (default: the version in use)"
    )
    again.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the new version (default: the data folder's versions/)"
    )
    again.add_argument(
        "--fills-border",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="fill black borders with the continued margin (default: as the version does)",
    )
    again.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="note for the model card; may be repeated"
    )
    again.add_argument(
        "--also-evaluate",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="evaluate on a further folder too; the result goes onto the model card; may be repeated",
    )
    again.set_defaults(act=_recalibrate)


def _recalibrate(options: argparse.Namespace, settings: Settings) -> int:
    version = options.classifier or active_version(settings)
    before = verify(version_folder(settings, version))
    extra = tuple(options.also_evaluate)
    start_tensorflow(in_batches=True)
    from training.evaluation.evaluate import evaluation_to_text
    from training.runs.recalibrate import recalibrate

    with (
        noted(settings, "recalibrate", who=command_line_user(), object=version),
        tqdm(disable=None, leave=False) as bar,
    ):
        folder = recalibrate(
            settings,
            version,
            data_of(options, settings),
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

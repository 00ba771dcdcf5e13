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
With a VERSION, the data are a hospital's own: threshold and intercept are refitted on them, the slope only with enough
patients, and the figures before and after are printed, the latter cross-fitted.

Without, DIR is the unchanged folder that the version was trained with: calibration and operating points are chosen on
the patients held out then, and the command refuses a folder in which they cannot be identified.

Nothing is trained, and the new version is not promoted. Compare it with the old one first:
python -m training compare"""


def add_commands(acts: Any) -> None:
    """Add `recalibrate` to the sub-commands."""
    again = add_command(
        acts,
        "recalibrate",
        "choose calibration and operating points of a version anew; its weights stay",
        "recalibrate --data chest_xray",
        "recalibrate 2026.11.22-10 --data hospital",
        "recalibrate 2026.11.22-10 --data hospital --unlabelled last_month",
        "recalibrate --data chest_xray --classifier 2026.11.21-3 --also-evaluate other_hospital=films",
        note=_NOTE,
    )
    add_data_options(again, "the data that the version was trained with")
    add_patient_options(again)
    again.add_argument(
        "site_version",
        nargs="?",
        metavar="VERSION",
        help="refit threshold and intercept of this version on a hospital's own labelled radiographs (--data)",
    )
    again.add_argument(
        "--unlabelled",
        type=Path,
        metavar="DIR",
        help="with VERSION: radiographs as they come, from which the prevalence is estimated",
    )
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
    again.set_defaults(act=_recalibrate, refuse=again.error)


def _recalibrate(options: argparse.Namespace, settings: Settings) -> int:
    if options.site_version is not None:
        return _recalibrate_for_site(options, settings)
    if options.unlabelled is not None:
        options.refuse("expected a version before --unlabelled. Received: none")
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


def _recalibrate_for_site(options: argparse.Namespace, settings: Settings) -> int:
    if options.classifier or options.also_evaluate or options.fills_border is not None:
        options.refuse("expected VERSION, or --classifier, --also-evaluate and --fills-border. Received: both")
    version = options.site_version
    verify(version_folder(settings, version))
    start_tensorflow(in_batches=True)
    from training.evaluation.evaluate import evaluation_to_text
    from training.runs.site_recalibration import recalibrate_for_site

    with (
        noted(settings, "recalibrate", who=command_line_user(), object=version),
        tqdm(disable=None, leave=False) as bar,
    ):
        result = recalibrate_for_site(
            settings,
            version,
            data_of(options, settings),
            options.out or settings.versions_dir,
            unlabelled=options.unlabelled,
            notes=tuple(options.note),
            report=terminal_report(bar),
        )
    card = read_card(result.folder)
    print(evaluation_to_text(result.before, version))
    print(evaluation_to_text(result.after, card.version))
    for one in card.purposes:
        print(f"{one.purpose}: {one.chosen}")
    print(result.changed)
    print(f"version {card.version} in {result.folder}")
    return 0

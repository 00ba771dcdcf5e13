"""Command `localisation`: whether the evidence maps of a version lie in the lungs and on opacities."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_atomically
from core.printable import printable
from core.settings import Settings
from model.tf_startup import start_tensorflow
from training.commands.arguments import add_command, new_file, number

_NOTE = """\
A mask is a PNG over the whole film, at any size, with the film's path or name: 255 lung and 127 device or marking; or
255 opacity and 128 lung. A table masks.csv beside the masks names the film of each (file or image, mask, match_corr,
patient). Boxes are a CSV file with the columns file, x, y, w and h in pixels of the film, and optionally finding and
patient. The lung prior of a film is the mean of the lungs of other patients' films; without masks of lungs, of the
lungs that are found in them."""


def add_commands(acts: Any) -> None:
    """Add `localisation` to the sub-commands."""
    command = add_command(
        acts,
        "localisation",
        "measure where evidence maps lie: in the lungs, on opacities, beside a centre and a lung prior",
        "localisation --data chest_xray --masks lung_masks --held-out --json lungs.json",
        "localisation --data nih_adult --boxes boxes_640px.csv --json boxes.json",
        "localisation --data films --masks opacity_masks --classifier 2026.11.22-1 --limit 200",
        note=_NOTE,
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of radiographs, in any layout")
    marks = command.add_mutually_exclusive_group(required=True)
    marks.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks of lungs, or of opacities and lungs")
    marks.add_argument("--boxes", type=Path, metavar="CSV", help="table of boxes around opacities")
    command.add_argument(
        "--marks",
        choices=("lungs", "opacities"),
        help="what the masks mark (default: opacities where a mask holds the value 128)",
    )
    command.add_argument(
        "--classifier",
        "--version",
        dest="classifier",
        metavar="VERSION",
        help="the version to measure (default: the version in use)",
    )
    command.add_argument(
        "--held-out",
        action="store_true",
        help="only patients from whom the version did not learn; DIR is the folder that it was trained with",
    )
    command.add_argument(
        "--limit", type=number(int, 1, 10_000_000), metavar="N", help="draw at most N radiographs at random"
    )
    command.add_argument("--json", type=new_file, metavar="FILE", help="write the results there as JSON")
    command.set_defaults(act=_localisation)


def _localisation(options: argparse.Namespace, settings: Settings) -> int:
    from model.engine import load_classifier
    from model.promotions import verified
    from model.registry import active_version, read_card
    from records.activity import command_line_user
    from records.test_sets import record_look
    from training.data.regions import read_boxes, read_masks
    from training.evaluation.localisation import drawn, localisation_to_json, localisation_to_text, localise, only
    from training.evaluation.looks import looks_in_words

    if options.boxes:
        marked = read_boxes(options.data, options.boxes)
    else:
        marked = read_masks(options.data, options.masks, options.marks)
    folder = verified(settings, options.classifier or active_version(settings))[0]
    if options.held_out:
        from training.runs.held_out import held_out_sha256

        with tqdm(desc="finding held-out patients", unit=" files", disable=None, leave=False) as bar:
            held = held_out_sha256(settings, read_card(folder), options.data, bar.update)
        marked = only(marked, held)
    marked = drawn(marked, options.limit or len(marked.films))
    start_tensorflow()
    classifier = load_classifier(folder, architectures=settings.architectures)
    with tqdm(total=len(marked.films), desc="localising", disable=None, leave=False) as bar:
        result, failures = localise(classifier, marked, bar.update)
    for path, reason in failures:
        print(printable(f"skipped {path}: {reason}"), file=sys.stderr)
    files = [(sha256, None) for sha256 in result.sha256]
    name, who = str(options.data.resolve().name), command_line_user()
    said = looks_in_words(settings, record_look(settings, files, (result.version,), "localisation", name, who))
    if options.json is not None:
        write_atomically(options.json, localisation_to_json(result) + "\n")
    print(localisation_to_text(result, name))
    for sentence in said:
        print(printable(f"  {sentence}"))
    return 0

"""Command line of the classifier: assess radiographs in files, folders and zip archives."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import cv2
from tqdm import tqdm

from core.errors import AppError, DatasetError, RadiographError
from core.files import make_folder, write_atomically
from core.formatting import with_time_left
from core.printable import printable, printable_stdout
from core.settings import PURPOSES, load_settings
from imaging.radiograph import to_uint8
from model.assessment import Assessment
from model.engine import Classifier, load_classifier
from model.film_files import FilmFile, list_film_files
from model.listing import line
from model.operating import at_purpose, operating_point
from model.overlay import overlay
from model.pipeline import assess
from model.promotions import verified
from model.registry import active_version
from model.result_files import STDOUT, ResultFile
from model.tf_startup import start_tensorflow

EXAMPLES = """examples:
  python -m model assess film.dcm
  python -m model assess films/ more.zip --json results.jsonl --heatmaps maps/
  python -m model assess films/ more.zip --json results.jsonl --continue
  python -m model assess ward/ --purpose screening --csv ward.csv
  cat list.txt | xargs python -m model assess --json - | jq .probability

exit status: 0 every film has a line (refused ones too), 1 nothing could be assessed (the last line says why),
2 wrong arguments
"""
KEYS = """One JSON object a line: path, status (assessed, outside, refused), finding (PNEUMONIA, NO_PNEUMONIA, or null
unless assessed), probability, operating_point, near_operating_point, purpose, population_distance,
population_threshold, corrections, turn, issues (code, blocking, message), lungs (found, in_doubt, share_of_image,
no_chest, or null for versions that do not look for them), groups (what validation measured on radiographs of this age
and projection), classifier_version, assessed_at, seconds, sha256.

The CSV file has the same columns. There the probability of a film outside the training population has a column of its
own, so that no sorting mixes it with the others.

Each line is written as soon as its film is assessed. --continue resumes a run that was interrupted: it skips the files
that have a line already, by path and SHA-256, and removes a partial last line. A file that changed since gets a new
line at the end.

Reads DICOM, JPEG, PNG, TIFF, BMP, WebP and GIF. In folders and archives, other files are skipped; archives inside
archives are refused by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parse(arguments)
    with printable_stdout():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        settings = load_settings(os.environ)
        start_tensorflow()
        classifier = load_classifier(
            verified(settings, options.classifier or active_version(settings))[0],
            architectures=settings.architectures,
        )
        _assess_all(options, classifier, options.purpose or settings.purpose)
    except AppError as error:
        print(printable(str(error)), printable(error.advice), sep="\n", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Could not write the results: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m model",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "assess",
        help="assess films, folders and zip archives",
        epilog=EXAMPLES,
        description=KEYS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a film, a folder or a zip archive")
    command.add_argument(
        "--json", metavar="FILE", help="write JSON lines there; - is standard output (default, unless --csv is given)"
    )
    command.add_argument("--csv", metavar="FILE", help="write one CSV row a film there; - is standard output")
    command.add_argument(
        "--continue", dest="resume", action="store_true", help="append to FILE and skip the films that it holds"
    )
    command.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="write the radiograph with its evidence map there, one PNG a file, named by SHA-256",
    )
    command.add_argument(
        "--purpose",
        choices=PURPOSES,
        help="operating point to use (default: the site's, PNEUMOLENS_PURPOSE, or the version's)",
    )
    command.add_argument("--classifier", metavar="VERSION", help="(default: the version in use)")
    options = parser.parse_args(arguments)
    options.json = options.json or (None if options.csv else STDOUT)
    if options.json == options.csv == STDOUT:
        command.error("--json and --csv cannot both be standard output; give one of them a file")
    if options.resume and STDOUT in (options.json, options.csv):
        command.error("--continue needs a file: --json FILE or --csv FILE")
    return options


def _assess_all(options: argparse.Namespace, classifier: Classifier, purpose: str) -> None:
    operating_point(classifier.card, purpose)  # refuses a purpose that the version has no point for before any film
    films = [film for path in options.paths for film in list_film_files(path)]
    if not films:
        raise DatasetError(
            "expected at least one film. Received: folders without any",
            advice="Name files, or folders and archives with radiographs.",
        )
    if options.heatmaps is not None:
        make_folder(options.heatmaps)
    with ExitStack() as stack:
        results = [
            stack.enter_context(
                ResultFile(target, is_csv=is_csv, resume=options.resume, version=classifier.version, purpose=purpose)
            )
            for target, is_csv in ((options.json, False), (options.csv, True))
            if target is not None
        ]
        if options.resume:
            held = min(one.count for one in results)
            print(f"continuing: {held} of {len(films)} films have a line already", file=sys.stderr)
        archive = None
        for film in _with_progress(films):
            if archive is not None and (film.member is None or film.member.archive is not archive):
                archive.close()
            archive = None if film.member is None else film.member.archive
            _assess_one(film, classifier, purpose, results, options.heatmaps)


def _assess_one(
    film: FilmFile, classifier: Classifier, purpose: str, results: Sequence[ResultFile], heatmaps: Path | None
) -> None:
    try:
        data = film.read()
    except RadiographError as error:
        waiting = list(results)
        assessment = Assessment.refused(error, classifier.version, datetime.now(UTC))
    else:
        sha256 = hashlib.sha256(data).hexdigest()
        waiting = [one for one in results if not one.take(film.name, sha256)]
        if not waiting:
            return
        assessment = at_purpose(assess(data, classifier), classifier.card, purpose)
    if heatmaps is not None and assessment.heatmap is not None:
        _write_heatmap(heatmaps, assessment)
    values = {"path": film.name, **line(assessment)}
    for one in waiting:
        # An unreadable file has no SHA-256 in its line. It was read again, in case it is readable now.
        if values["sha256"] is not None or not one.take(film.name, None):
            one.write(values)


def _with_progress(films: Sequence[FilmFile]) -> Iterator[FilmFile]:
    """Show the progress and the time left on standard error: a bar on a terminal, else a line for each tenth."""
    if sys.stderr.isatty():
        yield from tqdm(films, desc="assessing", unit="film", leave=False)
        return
    last, step = time.monotonic(), max(1, len(films) // 10)
    for done, film in enumerate(films):
        if done and done % step == 0 and len(films) >= 10:
            # By the latest tenth: films that are skipped at the start take no time.
            now = time.monotonic()
            last, left = now, (now - last) / step * (len(films) - done)
            print(with_time_left(f"assessed {done} of {len(films)} films", left), file=sys.stderr, flush=True)
        yield film


def _write_heatmap(folder: Path, assessment: Assessment) -> None:
    if assessment.radiograph is None or assessment.heatmap is None:
        return
    picture = overlay(to_uint8(assessment.radiograph), assessment.heatmap.values, 0.5)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    # Named by content: a file name can hold a patient's name.
    write_atomically(folder / f"{assessment.radiograph.sha256[:16]}.png", encoded.tobytes())


if __name__ == "__main__":
    sys.exit(main())

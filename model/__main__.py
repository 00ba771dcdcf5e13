"""python -m model: assess radiographs from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
from tqdm import tqdm

from core.errors import AppError, RadiographError
from core.files import write_atomically
from core.purposes import PURPOSES
from core.settings import load_settings
from imaging.archives import is_archive
from imaging.intake import HEAD_BYTES, Member, list_archive, may_be_radiograph
from imaging.limits import check_file_size
from imaging.radiograph import to_uint8
from model.assessment import Assessment
from model.engine import Classifier, load_classifier
from model.listing import csv_text, line
from model.operating import at_purpose, operating_point
from model.overlay import overlay
from model.pipeline import assess
from model.registry import active_version, version_folder
from model.tf_startup import start_tensorflow

EXAMPLES = """examples:
  python -m model assess film.dcm
  python -m model assess films/ more.zip --json results.jsonl --heatmaps maps/
  python -m model assess ward/ --purpose screening --csv ward.csv
  cat list.txt | xargs python -m model assess --json - | jq .probability

exit status: 0 every film got its line (refused ones too), 1 nothing could be assessed (the last line says why),
2 wrong arguments
"""
KEYS = """One JSON object a line: path, status (assessed, outside, refused), finding (PNEUMONIA, NO_PNEUMONIA, or null
unless assessed), probability, operating_point, near_operating_point, purpose, population_distance,
population_threshold, corrections, turn, issues (code, blocking, message), classifier_version, assessed_at, seconds,
sha256.

The CSV has the same columns. There the probability of a film outside the classifier's population stands in a column of
its own, so that no sorting puts it among the others.

Takes DICOM, JPEG, PNG, TIFF, BMP, WebP and GIF. In folders and archives, other files are passed over; archives inside
archives are refused by name."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One file to assess: a path, and the member when it lies in a zip archive; or why its archive was not opened."""

    path: Path
    member: Member | None = None
    refused: RadiographError | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member.path}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = parser.add_subparsers(required=True, metavar="COMMAND")
    command = acts.add_parser(
        "assess",
        help="assess films, folders and zip archives",
        epilog=EXAMPLES,
        description=KEYS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a film, a folder or a zip archive")
    command.add_argument(
        "--json", metavar="FILE", help="where the lines go; - is standard output (default, unless --csv is given)"
    )
    command.add_argument("--csv", metavar="FILE", help="write one row a film there, too; - is standard output")
    command.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="write the radiograph with its influence map there, one PNG a file, named by sha256",
    )
    command.add_argument(
        "--purpose",
        choices=PURPOSES,
        help="operating point to read at (default: the site's, PNEUMOLENS_PURPOSE, or the version's)",
    )
    command.add_argument("--classifier", metavar="VERSION", help="(default: the version in use)")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(os.environ)
        start_tensorflow()
        classifier = load_classifier(
            version_folder(settings, options.classifier or active_version(settings)),
            architectures=settings.architectures,
        )
        return _assess_all(options, classifier, options.purpose or settings.purpose)
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Could not write the results: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _assess_all(options: argparse.Namespace, classifier: Classifier, purpose: str) -> int:
    operating_point(classifier.card, purpose)  # refuses a purpose of which the version has no point before any film
    items = [item for path in options.paths for item in _items(path)]
    if not items:
        print("expected at least one film. Received: folders without any", file=sys.stderr)
    if options.heatmaps is not None:
        options.heatmaps.mkdir(parents=True, exist_ok=True)
    target = options.json or (None if options.csv else "-")
    # On a terminal the bar would tear the lines apart; they are printed when it is done, or stream into a pipe.
    stream = target == "-" and options.csv != "-" and not sys.stdout.isatty()
    lines, archive = [], None
    for item in tqdm(items, desc="assessing", unit="film", disable=None, leave=False):
        if archive is not None and (item.member is None or item.member.archive is not archive):
            archive.close()
        archive = None if item.member is None else item.member.archive
        assessment = at_purpose(_assess(item, classifier), classifier.card, purpose)
        if options.heatmaps is not None and assessment.heatmap is not None:
            _write_heatmap(options.heatmaps, assessment)
        lines.append({"path": item.name, **line(assessment)})
        if stream:
            print(json.dumps(lines[-1], ensure_ascii=False), flush=True)
    if target is not None and not stream:
        _write(target, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines))
    if options.csv is not None:
        _write(options.csv, csv_text(lines))
    return 0


def _write(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text)


def _items(path: Path) -> Iterator[_Item]:
    """List what a path stands for. Within folders and archives, what does not look like a picture is passed over."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            name = inner.relative_to(path).as_posix()
            if inner.is_file() and may_be_radiograph(name, lambda inner=inner: _head(inner)):  # type: ignore[misc]
                yield from _items(inner)
    elif is_archive(_head(path)):
        try:
            for member in list_archive(path).members:
                yield _Item(path, member)
        except RadiographError as error:
            yield _Item(path, refused=error)
    else:
        yield _Item(path)


def _head(path: Path) -> bytes:
    """Return a file's first bytes, or none: whoever reads all of it says what is wrong."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _assess(item: _Item, classifier: Classifier) -> Assessment:
    try:
        data = _read(item)
    except RadiographError as error:
        return Assessment.refused(error, classifier.version, datetime.now(UTC))
    return assess(data, classifier)


def _read(item: _Item) -> bytes:
    """Read one file, unless it is too large; raises RadiographError."""
    if item.refused is not None:
        raise item.refused
    if item.member is not None:
        return item.member.read()
    try:
        check_file_size(item.path.stat().st_size)
        return item.path.read_bytes()
    except FileNotFoundError as error:
        raise RadiographError(
            "expected a file. Received: none", advice="There is no such file. Check the path."
        ) from error
    except OSError as error:
        raise RadiographError(
            f"expected a file that may be read. Received: {type(error).__name__}",
            advice=f"The file could not be read ({type(error).__name__}). Check that it is complete and that you may "
            "open it.",
        ) from error


def _write_heatmap(folder: Path, assessment: Assessment) -> None:
    if assessment.radiograph is None or assessment.heatmap is None:
        return
    picture = overlay(to_uint8(assessment.radiograph), assessment.heatmap.values, 0.5)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    # Named by content: a file name can hold a patient's name.
    write_atomically(folder / f"{assessment.radiograph.sha256[:16]}.png", encoded.tobytes())


if __name__ == "__main__":
    sys.exit(main())

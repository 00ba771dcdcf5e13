"""python -m model: assess radiographs from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from model.assessment import Assessment, InputIssue
from model.engine import Classifier, load_classifier
from model.errors import AppError
from model.files import write_atomically
from model.gradcam import overlay
from model.pipeline import assess
from model.quiet import start_tensorflow
from model.radiograph import MAX_BYTES, to_uint8
from model.registry import active_version, version_folder
from model.settings import load_settings

EXAMPLES = """examples:
  python -m model assess film.png
  python -m model assess films/ more.zip --json results.jsonl --heatmaps maps/
  cat list.txt | xargs python -m model assess --json - | jq .probability

exit status: 0 every file got its line (refused files too), 1 nothing could be assessed (the last line says why),
2 wrong arguments
"""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".dcm"})


@dataclass(frozen=True, slots=True)
class _Item:
    """One file to assess: a path, and the member's name when it lies in a zip archive."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    acts = parser.add_subparsers(required=True, metavar="COMMAND")
    command = acts.add_parser(
        "assess", help="assess files, folders and zip archives", epilog=EXAMPLES,
        description="One JSON object a line: path, status, finding, probability, operating_point, issues, "
                    "classifier_version, seconds.", formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, a folder or a zip archive")
    command.add_argument("--json", default="-", metavar="FILE",
                         help="where the lines go; - is standard output (default)")
    command.add_argument("--heatmaps", type=Path, metavar="DIR",
                         help="write the radiograph with its influence map there, one PNG a file, named by sha256")
    command.add_argument("--classifier", metavar="VERSION", help="(default: the version in use)")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(os.environ)
        start_tensorflow()
        classifier = load_classifier(version_folder(settings, options.classifier or active_version(settings)),
                                     architectures=settings.architectures)
        return _assess_all(options.paths, options.json, options.heatmaps, classifier)
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Could not write the results: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _assess_all(paths: Sequence[Path], target: str, heatmaps: Path | None, classifier: Classifier) -> int:
    items = [item for path in paths for item in _items(path)]
    if not items:
        print("expected at least one image file. Received: folders without any", file=sys.stderr)
    if heatmaps is not None:
        heatmaps.mkdir(parents=True, exist_ok=True)
    lines = []
    # On a terminal the bar would tear the lines apart; they are printed when it is done, or stream into a pipe.
    stream = target == "-" and not sys.stdout.isatty()
    for item in tqdm(items, desc="assessing", unit="film", disable=None, leave=False):
        data = _read(item)
        if isinstance(data, InputIssue):
            assessment = Assessment(None, (data,), None, None, classifier.version, datetime.now(UTC), 0.0)
        else:
            assessment = assess(data, classifier)
        if heatmaps is not None and assessment.heatmap is not None:
            _write_heatmap(heatmaps, assessment)
        text = json.dumps(_line(item, assessment), ensure_ascii=False)
        if stream:
            print(text, flush=True)
        lines.append(text)
    if target == "-" and not stream:
        print("\n".join(lines))
    elif target != "-":
        write_atomically(Path(target), "".join(line + "\n" for line in lines))
    return 0


def _items(path: Path) -> Iterator[_Item]:
    """List what a path stands for. Within a folder, files with other endings than pictures' are passed over."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file() and inner.suffix.lower() in SUFFIXES and not inner.name.startswith("."):
                yield _Item(inner)
    elif path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = Path(info.filename)
                if not info.is_dir() and name.suffix.lower() in SUFFIXES and not name.name.startswith("."):
                    yield _Item(path, info.filename)
    else:
        yield _Item(path)


def _read(item: _Item) -> bytes | InputIssue:
    """Read one file, at most `MAX_BYTES` of it whatever an archive claims."""
    try:
        if item.member is None:
            if item.path.stat().st_size > MAX_BYTES:
                return _too_large()
            return item.path.read_bytes()
        with zipfile.ZipFile(item.path) as archive, archive.open(item.member) as member:
            data = member.read(MAX_BYTES + 1)
        return data if len(data) <= MAX_BYTES else _too_large()
    except FileNotFoundError:
        return InputIssue("UNREADABLE", True, "There is no such file. Check the path.")
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        # RuntimeError is zipfile's word for an encrypted member, NotImplementedError for an unknown compression.
        return InputIssue("UNREADABLE", True, f"The file could not be read ({type(error).__name__}). "
                                              "Check that it is complete and that you may open it.")


def _too_large() -> InputIssue:
    return InputIssue("TOO_LARGE", True, f"The file is larger than {MAX_BYTES / 1e6:.0f} MB. "
                                         "Export the radiograph at the detector's own size or smaller.")


def _line(item: _Item, assessment: Assessment) -> dict[str, Any]:
    prediction = assessment.prediction
    return {
        "path": item.name, "status": "refused" if prediction is None else "assessed",
        "finding": prediction.finding if prediction else None,
        "probability": round(prediction.probability, 6) if prediction else None,
        "operating_point": prediction.operating_point if prediction else None,
        "near_operating_point": prediction.is_near if prediction else None,
        "issues": [{"code": i.code, "blocking": i.blocking, "message": i.message} for i in assessment.issues],
        "classifier_version": assessment.classifier_version, "seconds": round(assessment.seconds, 4),
        "sha256": assessment.radiograph.sha256 if assessment.radiograph else None}


def _write_heatmap(folder: Path, assessment: Assessment) -> None:
    if assessment.radiograph is None or assessment.heatmap is None:
        return
    picture = overlay(to_uint8(assessment.radiograph), assessment.heatmap.values, 0.5)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    # Named by content: a file name can hold a patient's name.
    write_atomically(folder / f"{assessment.radiograph.sha256[:16]}.png", encoded.tobytes())


if __name__ == "__main__":
    sys.exit(main())

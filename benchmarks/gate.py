"""Rates of the gate's findings by folder, through the call that serves the page.

Examples:
    python -m benchmarks.gate DATA/not_cxr DATA/nih_adult/NORMAL
    python -m benchmarks.gate --split RUN/split.csv --part validation DATASET
    python -m benchmarks.gate --change inverted --change 90 --limit 100 DATASET/test
    python -m benchmarks.gate --speed
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.errors import AppError
from core.settings import Settings, load_settings
from imaging.orientation import invert_grayscale, rotate
from imaging.radiograph import Radiograph, decode_radiograph, to_uint8
from model.assessment import Assessment
from model.engine import Classifier, load_classifier, wrap_network
from model.gate import check
from model.networks.weights import load_network
from model.pipeline import assess
from model.population import read_population
from model.registry import active_version, verify, version_folder
from model.tf_startup import start_tensorflow
from tests.phantoms import as_png, chest

WARNINGS = (
    "OUTSIDE_POPULATION",
    "INVERTED",
    "ROTATED",
    "LOW_CONTRAST",
    "CROPPED",
    "ANNOTATED",
    "FOR_PROCESSING",
    "AGE_OUTSIDE",
)
CHANGES: dict[str, Callable[[Radiograph], Radiograph]] = {
    "inverted": invert_grayscale,
    "90": lambda film: rotate(film, 90),
    "180": lambda film: rotate(film, 180),
    "270": lambda film: rotate(film, 270),
}


def main() -> int:
    """Print a table of rates by folder, and with --speed what the gate costs beside the network."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="every file below it is assessed")
    parser.add_argument("--population", type=Path, metavar="FILE", help="in place of the version's own")
    parser.add_argument("--split", type=Path, metavar="CSV", help="a run's split.csv: only its files below the folders")
    parser.add_argument("--part", default="validation", help="which of them (%(default)s)")
    parser.add_argument("--change", action="append", choices=CHANGES, default=[], help="also change each film so")
    parser.add_argument("--limit", type=int, metavar="N", help="so many files of each folder, drawn at random")
    parser.add_argument("--files", action="store_true", help="also print a line for each file")
    parser.add_argument("--speed", action="store_true", help="time the gate on large drawn films")
    options = parser.parse_args()
    try:
        settings = load_settings(os.environ)
        start_tensorflow()
        classifier = _classifier(settings, options.population)
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    if options.speed:
        _print_speed(classifier)
    if options.folders:
        print(f"| folder | films | refused | {' | '.join(WARNINGS)} | refused as | distance, median |")
        print("|---|---|---|" + "---|" * (len(WARNINGS) + 2))
    for folder in options.folders:
        files = _files(folder, options.split, options.part, options.limit)
        for name in (None, *options.change):
            answers = []
            for path in tqdm(files, desc=folder.name, disable=None, leave=False):
                answers.append(_assess(path, name, classifier))
                if options.files:
                    print(f"{path.name}: {_line(answers[-1])}")
            print(_row(folder.name + (f", {name}" if name else ""), answers), flush=True)
    return 0


def _classifier(settings: Settings, population: Path | None) -> Classifier:
    folder = version_folder(settings, active_version(settings))
    if population is None:
        return load_classifier(folder, settings.architectures)
    card = verify(folder)
    network = load_network(
        folder / card.weights_file, card.architecture, int(card.preprocessing["input_px"]), settings.architectures
    )
    return wrap_network(network, card, read_population(population))


def _files(folder: Path, split: Path | None, part: str, limit: int | None) -> list[Path]:
    if split is not None:
        with split.open(newline="") as file:
            files = [folder / row["path"] for row in csv.DictReader(file) if row["part"] == part]
    else:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md"))
    if limit is not None and limit < len(files):
        files = [files[i] for i in sorted(np.random.default_rng(0).permutation(len(files))[:limit])]
    return files


def _assess(path: Path, change: str | None, classifier: Classifier) -> Assessment:
    data = path.read_bytes()
    if change is not None:
        data = as_png(to_uint8(CHANGES[change](decode_radiograph(data))))
    return assess(data, classifier)


def _line(answer: Assessment) -> str:
    distance = f"{answer.population.distance:.2f}" if answer.population else "–"
    codes = ", ".join(issue.code for issue in answer.issues) or "nothing"
    return f"{codes}; distance {distance}; turn {answer.turn}; {', '.join(answer.corrections) or 'as it was'}"


def _row(name: str, answers: Iterable[Assessment]) -> str:
    answers = list(answers)
    n = len(answers)
    codes = [{issue.code for issue in one.issues} for one in answers]
    why = Counter(next(issue.code for issue in one.issues if issue.blocking) for one in answers if one.is_refused)
    distances = [one.population.distance / one.population.threshold for one in answers if one.population]
    middle = f"{statistics.median(distances):.2f} of the limit" if distances else "–"
    rates = (_rate(sum(code in one for one in codes), n) for code in WARNINGS)
    return (
        f"| {name} | {n} | {_rate(sum(one.is_refused for one in answers), n)} | {' | '.join(rates)} | "
        f"{', '.join(f'{code} {count}' for code, count in why.most_common()) or '–'} | {middle} |"
    )


def _rate(count: int, n: int) -> str:
    return f"{100 * count / n:.1f} % ({count})" if n else "–"


def _print_speed(classifier: Classifier) -> None:
    """Time statistics and judgement beside one forward pass, one after the other in turn."""
    print("| radiograph | greys and header, ms | judgement, ms | one forward pass, ms | ratio |\n|---|---|---|---|---|")
    small = chest(1, (1000, 1000))
    for px in (224, 1000, 4000):
        pixels = np.asarray(np.kron(small, np.ones((4, 4), np.uint8)) if px == 4000 else chest(1, (px, px)))
        film = Radiograph(pixels.astype(np.uint16) * 257, "0" * 64, "drawn", bits=16)
        square = classifier.input_of(film)[None]
        rows = []
        for _ in range(10):
            times = [time.perf_counter()]
            check(film)
            times.append(time.perf_counter())
            if classifier.forward is not None and classifier.population is not None:
                seen = classifier.forward(square)
                times.append(time.perf_counter())
                classifier.population.judge(seen.gate_features[0], seen.last[0])
            else:
                classifier.explain(square)
                times.append(time.perf_counter())
            times.append(time.perf_counter())
            rows.append(np.diff(times) * 1e3)
        greys, network, judged = np.median(rows, 0)
        ratio = (greys + judged) / network
        print(f"| {px} × {px}, 16 bits | {greys:.1f} | {judged:.1f} | {network:.0f} | {ratio:.3f} |")


if __name__ == "__main__":
    sys.exit(main())

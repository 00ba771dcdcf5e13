"""What the anatomy network finds in folders of pictures, and its time relative to one pass of the classifier's network.

Examples:
    python -m benchmarks.anatomy DATA/not_cxr DATA/laterals DATA/test/NORMAL
    python -m benchmarks.anatomy --turned DATA/test/NORMAL
    python -m benchmarks.anatomy --speed --film DATA/test/NORMAL/film.jpeg
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.assessment import classifier_and_peer
from core.errors import AppError, RadiographError
from core.formatting import format_estimate
from core.settings import load_settings
from imaging.radiograph import decode_square
from model.anatomy import Anatomy, AnatomyFinder
from model.anatomy_files import load_anatomy_finder, shipped_anatomy
from model.intervals import proportion
from model.networks.architectures import POSES
from model.registry import file_sha256
from model.tf_startup import start_tensorflow
from tests.phantoms import chest

_CHUNK = 64


def main() -> int:
    """Print a table of rates by folder, and with --speed the times."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.anatomy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="every picture below it")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the network (default: the shipped one)")
    parser.add_argument(
        "--turned", action="store_true", help="also turned and inverted copies of each folder's pictures"
    )
    parser.add_argument(
        "--files", action="store_true", help="also a line for each picture that is not found or doubtful"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="so many pictures of each folder, drawn at random")
    parser.add_argument("--speed", action="store_true", help="time it beside the classifier in use")
    parser.add_argument("--film", type=Path, metavar="FILE", help="on which it is timed (default: a drawn one)")
    options = parser.parse_args()
    try:
        if options.speed:
            _print_speed(options.weights, options.film)
        if options.folders:
            start_tensorflow()
            find = _finder(options.weights)
            print("| folder | films | no two lungs | doubtful | either | pose found |\n|---|---|---|---|---|---|")
        for folder in options.folders:
            names, squares = _squares(folder, options.limit)
            for pose in range(len(POSES) if options.turned else 1):
                found = _found(find, squares, pose)
                print(_row(folder, pose, found), flush=True)
                for name, one in zip(names, found, strict=True):
                    if options.files and not pose and (one.is_doubtful or not one.is_found):
                        print(f"{name}: {'doubtful' if one.is_found else 'no two lungs'}; {', '.join(one.doubts)}")
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    return 0


def _finder(weights: Path | None) -> AnatomyFinder:
    if weights is not None:
        return load_anatomy_finder(weights, file_sha256(weights))
    return load_anatomy_finder(*shipped_anatomy(load_settings(os.environ)))


def _squares(folder: Path, limit: int | None) -> tuple[list[str], npt.NDArray[np.uint8]]:
    """Read the pictures of a folder; what cannot be decoded is left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md", ".txt"))
    if limit is not None and limit < len(files):
        files = [files[i] for i in sorted(np.random.default_rng(0).permutation(len(files))[:limit])]
    names, squares = [], []
    for path in tqdm(files, desc=folder.name, disable=None, leave=False):
        try:
            squares.append(decode_square(path.read_bytes())[0])
        except RadiographError:
            continue
        names.append(path.name)
    return names, np.stack(squares)


def _found(find: AnatomyFinder, squares: npt.NDArray[np.uint8], pose: int) -> list[Anatomy]:
    quarters, inverted = POSES[pose]
    turned = np.ascontiguousarray(np.rot90(255 - squares if inverted else squares, -quarters, (1, 2)))
    return [one for start in range(0, len(turned), _CHUNK) for one in find(turned[start : start + _CHUNK])]


def _row(folder: Path, pose: int, found: list[Anatomy]) -> str:
    quarters, inverted = POSES[pose]
    changed = [f"turned by {90 * quarters}°"] * bool(quarters) + ["inverted"] * inverted
    none = np.array([not one.is_found for one in found])
    doubtful = np.array([one.is_found and one.is_doubtful for one in found])
    right = np.array([one.orientation == POSES[pose] for one in found])
    rates = (format_estimate(proportion(values), 3) for values in (none, doubtful, none | doubtful, right))
    return f"| {', '.join([folder.name, *changed])} | {len(found)} | {' | '.join(rates)} |"


def _print_speed(weights: Path | None, film: Path | None, repeats: int = 25) -> None:
    """Time both networks on one film, one after the other in turn. Lungs that are doubtful at first take two looks."""
    classifier, plain = classifier_and_peer()
    find = _finder(weights)
    square = chest(1, (224, 224)) if film is None else decode_square(film.read_bytes())[0]
    batch = np.zeros((1, classifier.input_px, classifier.input_px, 1), np.float32)
    ours, peers = [], []
    for turn in range(repeats + 1):
        times = [time.perf_counter()]
        plain(batch)
        times.append(time.perf_counter())
        find(square[None])
        times.append(time.perf_counter())
        if turn:
            peers.append(times[1] - times[0])
            ours.append(times[2] - times[1])
    ratio = statistics.median(own / peer for own, peer in zip(ours, peers, strict=True))
    print("| one pass of the classifier's network, ms | finding the lungs, ms | share |\n|---|---|---|")
    print(f"| {statistics.median(peers) * 1e3:.0f} | {statistics.median(ours) * 1e3:.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    sys.exit(main())

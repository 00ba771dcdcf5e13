"""What it costs to decode in a decoder process (`imaging.worker`) instead of in the process that asks.

The first line is one film, decoded both ways in turn; printed are the medians, their difference and their ratio. With
`--dataset`, the second line is a folder of radiographs read as a training reads it, in as many threads as there are
processors, in seconds of the clock and of all processes' processor time. A film decoded both ways must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.usage import processor
from imaging.film import Radiograph
from imaging.picture_decoder import read_picture
from imaging.pictures import decode_picture
from imaging.radiograph import squash
from tests.phantoms import as_jpeg, chest

SUFFIXES = (".jpeg", ".jpg", ".png")


def in_process(data: bytes) -> Radiograph:
    """Decode here, as `decode_picture` would without a decoder process."""
    read = read_picture(data)
    return Radiograph(read.pixels, hashlib.sha256(data).hexdigest(), read.source_format, read.bits)


WAYS: tuple[tuple[str, Callable[[bytes], Radiograph]], ...] = (("in process", in_process), ("worker", decode_picture))


def film(data: bytes, repeats: int) -> float:
    """Print the line of one film; returns how many milliseconds more the worker takes."""
    np.testing.assert_array_equal(in_process(data).pixels, decode_picture(data).pixels)
    taken: dict[str, list[float]] = {name: [] for name, _ in WAYS}
    for _ in range(repeats):
        for name, way in WAYS:
            began = time.perf_counter()
            way(data)
            taken[name].append(1000 * (time.perf_counter() - began))
    here, there = (statistics.median(taken[name]) for name, _ in WAYS)
    shape = decode_picture(data).pixels.shape
    print(
        f"{shape[1]} × {shape[0]} px, {len(data) / 1e6:.2f} MB, median of {repeats}: in process {here:.1f} ms, "
        f"worker {there:.1f} ms, difference {there - here:+.1f} ms, ratio {there / here:.2f}"
    )
    return there - here


def dataset(paths: Sequence[Path], rounds: int) -> None:
    """Print the line of a folder: the least of several rounds."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in WAYS}
    for _ in range(rounds):
        for name, way in WAYS:
            began, used = time.perf_counter(), processor()
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda path, way=way: squash(way(path.read_bytes())), paths))  # type: ignore[misc]
            taken[name].append((time.perf_counter() - began, processor() - used))
    here, there = (tuple(min(column) for column in zip(*taken[name], strict=True)) for name, _ in WAYS)
    print(
        f"{len(paths)} films, {os.cpu_count()} threads, least of {rounds}: in process {here[0]:.2f} s ({here[1]:.2f} s "
        f"processor), worker {there[0]:.2f} s ({there[1]:.2f} s), ratio {there[0] / here[0]:.2f} "
        f"({there[1] / here[1]:.2f})"
    )


def main() -> int:
    """Print the lines; exit status 1 if a film takes more than `--most` milliseconds longer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoder_process", description=__doc__)
    parser.add_argument("--film", type=Path, metavar="FILE", help="(a drawn JPEG of 2,000 × 1,600 px)")
    parser.add_argument("--repeats", type=int, default=40, metavar="N", help="(%(default)s)")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="a folder of radiographs")
    parser.add_argument("--films", type=int, default=400, metavar="N", help="at most so many of it (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--most", type=float, default=5.0, metavar="MS", help="(%(default)s)")
    options = parser.parse_args()
    more = film(options.film.read_bytes() if options.film else as_jpeg(chest(0, (1600, 2000))), options.repeats)
    if options.dataset:
        paths = sorted(path for path in options.dataset.rglob("*") if path.suffix.lower() in SUFFIXES)
        dataset(paths[: options.films], options.rounds)
    return 0 if more <= options.most else 1


if __name__ == "__main__":
    sys.exit(main())

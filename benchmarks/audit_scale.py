"""Scaling of audit and manifest: seconds per 1,000 files for growing folders of synthetic radiographs.

The peer is the same code on the smallest folder; a ratio near 1 means linear time. --cpu-time counts processor seconds,
for machines with other load. The pictures are small and differ in exposure, framing and texture, but all show chests,
so that their hashes collide as those of real radiographs do."""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tests.phantoms import chest
from training.data.audit import audit_folder
from training.data.dataset import scan_folder
from training.data.manifest import write_manifest
from training.data.sample import Sample
from training.data.split import hold_out, split_by_patient

SIDE = (64, 72)
CHILDREN = 60
WARM_UP = 200


def drawn_files(start: int, stop: int) -> Iterator[tuple[str, bytes]]:
    """Yield (path below the folder, PNG) of the radiographs `start` to `stop`, no two of them alike."""
    children = [chest(seed, SIDE, bool(seed % 2)).astype(np.float32) for seed in range(CHILDREN)]
    for number in range(start, stop):
        rng = np.random.default_rng((number, 20261121))
        label, patient = number % 2, number // 4 + 1
        picture = _another(children[2 * int(rng.integers(CHILDREN // 2)) + label], rng)
        name = (
            f"NORMAL/IM-{patient:06d}-{number:06d}.png"
            if label == 0
            else f"PNEUMONIA/person{patient}_{'bacteria' if patient % 2 else 'virus'}_{number}.png"
        )
        yield name, cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _another(child: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    height, width = child.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-8, 8), rng.uniform(0.9, 1.2))
    turn[:, 2] += rng.uniform(-5, 5, 2)
    moved = cv2.warpAffine(child, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    cloud = cv2.resize(rng.normal(0, 12, (9, 10)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    exposed = moved * rng.uniform(0.7, 1.2) + rng.uniform(-20, 20) + cloud + rng.normal(0, 3, child.shape)
    return np.clip(exposed, 0, 255).astype(np.uint8)


def hashed(samples: tuple[Sample, ...]) -> list[Sample]:
    """Return the samples with their sha256, as reading them would."""
    return [replace(s, sha256=hashlib.sha256(s.path.read_bytes()).hexdigest()) for s in samples]


def main() -> int:
    """Print one row per size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_scale", description=__doc__)
    parser.add_argument(
        "--files",
        type=int,
        nargs="+",
        default=(5_000, 20_000, 100_000),
        metavar="N",
        help="sizes of the folder (%(default)s)",
    )
    parser.add_argument(
        "--cpu-time",
        dest="clock",
        action="store_const",
        const=time.process_time,
        default=time.perf_counter,
        help="count processor seconds instead of those that pass",
    )
    options = parser.parse_args()
    clock = options.clock
    print(
        "| files | scan, s per 1,000 | audit, s per 1,000 | split and manifest, s per 1,000 | audit's ratio "
        "| manifest's ratio | groups of near duplicates | memory, MB |\n|" + "---|" * 8
    )
    first: tuple[float, float] | None = None
    with tempfile.TemporaryDirectory() as name:
        root, written = Path(name), 0
        for part in ("NORMAL", "PNEUMONIA"):
            (root / part).mkdir()
        for n in (WARM_UP, *sorted(options.files)):
            for path, data in drawn_files(written, n):
                (root / path).write_bytes(data)
            written = n
            started = clock()
            folder = scan_folder(root)
            scan = clock() - started
            started = clock()
            audit = audit_folder(folder)
            audited = (clock() - started) / n * 1000
            samples = hashed(folder.train)
            started = clock()
            split_by_patient(samples, 0.12, 0)
            write_manifest(root / "split.csv", samples, hold_out(samples, (), 0.12, 0), folder)
            listed = (clock() - started) / n * 1000
            if n == WARM_UP:  # imports scikit-learn and fills caches
                continue
            first = first or (audited, listed)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            print(
                f"| {n:,} | {scan / n * 1000:.3f} | {audited:.2f} | {listed:.3f} | {audited / first[0]:.2f} "
                f"| {listed / first[1]:.2f} | {len(audit.near_duplicate_groups)} | {memory:.0f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

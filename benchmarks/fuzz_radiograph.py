"""Fuzzing of `decode_radiograph`: hundreds of thousands of damaged files, under limits of memory and time.

Each file is decoded in a worker process with a data segment of at most one gibibyte; the decoder processes that it
starts (`imaging.worker`) are measured with it. Printed are the outcomes, exceptions other than RadiographError, workers
that died, the slowest files and peak memory. Files are numbered; `--first` repeats one.
"""

from __future__ import annotations

import argparse
import collections
import json
import resource
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

from benchmarks.usage import processor
from core.errors import RadiographError
from imaging import worker
from imaging.radiograph import decode_radiograph, rendered, to_uint8
from tests.mutations import drawn_seeds, mutated, real_seeds

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30


def work(first: int, count: int, folder: Path | None) -> int:
    """Decode the files `first` … and print one line of JSON for each; the last line holds the peaks of memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = drawn_seeds()
        headers, whole = real_seeds(folder) if folder else ([], [])
    resource.setrlimit(resource.RLIMIT_DATA, (GIB, GIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for index in range(first, first + count):
        data = mutated(index, usual, headers, whole)
        fault = ""
        began = time.perf_counter(), processor()
        try:
            film = decode_radiograph(data)
            to_uint8(film)
            if len(film.renderings) > 1:
                rendered(film, len(film.renderings) - 1)
            became = film.source_format
        except RadiographError as error:
            became = error.code
            if "while decoding" in str(error):
                became = str(error).split("Received: ")[-1]
        except BaseException:
            became, fault = "FAULT", traceback.format_exc(limit=-4)
        line = [index, became, time.perf_counter() - began[0], processor() - began[1], fault]
        print(json.dumps(line), flush=True)
    worker.shut_down()  # what an ended process took is known
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps(peaks), flush=True)
    return 0


def main() -> int:
    """Print one table; exit status 1 if anything but a refusal left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_radiograph", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (%(default)s)")
    parser.add_argument("--batch", type=int, default=2_000, metavar="N", help="files a worker process (%(default)s)")
    parser.add_argument("--real", type=Path, metavar="DIR", help="real DICOM files to damage as well")
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(*options.work, options.real)
    became: collections.Counter[str] = collections.Counter()
    faults, deaths, peaks = [], [], [0, 0]
    slowest: list[tuple[float, float, int]] = []
    position, last, began = options.first, options.first + options.files, time.monotonic()
    while position < last:
        command = [
            sys.executable,
            "-m",
            "benchmarks.fuzz_radiograph",
            "--work",
            str(position),
            str(min(options.batch, last - position)),
            *(["--real", str(options.real)] if options.real else []),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                answer = json.loads(line)
                if len(answer) == 2:
                    peaks = [max(pair) for pair in zip(peaks, answer, strict=True)]
                    continue
                index, what, seconds, processor_seconds, fault = answer
                became[what] += 1
                position = index + 1
                slowest = sorted([*slowest, (processor_seconds, seconds, index)])[-5:]
                if fault:
                    faults.append((index, fault))
        if process.returncode:
            deaths.append((position, process.returncode))
            position += 1
        print(
            f"{position - options.first:,} files, {len(faults)} faults, {len(deaths)} deaths, "
            f"{time.monotonic() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    print("| what became of the file | files |\n|---|---|")
    for name, count in became.most_common():
        print(f"| {name} | {count:,} |")
    print(f"\nworkers that died: {len(deaths)} {deaths[:20]}\nother exceptions: {len(faults)}")
    for index, fault in faults[:20]:
        print(f"file {index}:\n{fault}")
    print("slowest (processor seconds, seconds, file):", [(round(a, 2), round(b, 2), k) for a, b, k in slowest[::-1]])
    print(f"peak resident memory: {peaks[0] / 1e6:.0f} MB, of a decoding process {peaks[1] / 1e6:.0f} MB")
    return 1 if faults or deaths else 0


if __name__ == "__main__":
    sys.exit(main())

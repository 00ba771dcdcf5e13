"""Time and memory of a large DICOM file from upload to finding, and the parts of an assessment around the network.

The first table drives the app in a real browser: a synthetic 16-bit DICOM file of 4,000 × 4,000 px is dropped on the
Read page, and the time runs until its finding is on the screen. Memory is the peak of the app's processes beyond that
with the page open and the classifier loaded. The second table concerns one JPEG of 2,000 × 1,600 px: decoding, gate and
evidence map relative to one forward pass of the same network in the same process."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks.assessment import classifier_and_peer, in_turn
from benchmarks.serving import CHROMIUM, ROOT, free_port, wait_for
from core.errors import AppError
from imaging.radiograph import decode_radiograph, to_uint8
from model.pipeline import assess
from tests.dicoms import phantom_dicom
from tests.phantoms import as_jpeg, chest
from tests.ungated import add_ungated

AIM_SECONDS, AIM_MB = 3.0, 700.0
PATIENCE_MS = 300_000


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far, with that of its children that have ended."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def resident(pid: int) -> int:
    """Return the resident memory of a process and its children in bytes."""
    process, total = psutil.Process(pid), 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """Yield a list whose last item is the greatest resident memory so far, looked at every few milliseconds."""
    greatest, is_over = [resident(pid)], threading.Event()

    def look() -> None:
        while not is_over.wait(0.005):
            greatest.append(max(greatest[-1], resident(pid)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield greatest
    finally:
        is_over.set()
        thread.join()


@contextmanager
def opened_app(folder: Path, environment: dict[str, str]) -> Iterator[tuple[Page, int]]:
    """Start the app and open its read page in a browser; yield both, with the classifier loaded."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
        "--server.address",
        "127.0.0.1",
    ]
    environ = {**os.environ, "PNEUMOLENS_DATA_DIR": str(folder), **environment}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as app:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", 120)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.set_default_timeout(PATIENCE_MS)
                page.goto(f"http://127.0.0.1:{port}/")
                page.get_by_text("Drop radiographs to assess them").wait_for()
                page.locator("[data-test-script-state=notRunning]").wait_for()
                yield page, app.pid
                browser.close()
        finally:
            app.terminate()


def read_in_browser(films: int, side: int) -> None:
    """Print a row for each film."""
    print(
        "| film | upload to finding, s | of which the app computes, s | greatest memory beyond the idle app, MB |\n"
        "|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A drawn film is no child's, so the version that ships would say so instead of giving a finding; what the
        # population costs is in the second table.
        with opened_app(folder, add_ungated(folder)) as (page, pid):
            time.sleep(2)
            idle = resident(pid)
            for seed in range(films):
                path = folder / f"film{seed}.dcm"
                path.write_bytes(phantom_dicom(seed, size=(side, side), bits=16, pneumonia=bool(seed % 2)))
                before = processor_seconds(pid)
                with watched(pid) as greatest:
                    started = time.monotonic()
                    page.locator("input[type=file]").set_input_files(path)
                    page.locator(".pl-finding").wait_for()
                    took, computed = time.monotonic() - started, processor_seconds(pid) - before
                    page.locator("[data-test-script-state=notRunning]").wait_for()
                    page.wait_for_timeout(2000)  # the viewer fetches the film meanwhile
                print(
                    f"| {seed + 1} of {side} × {side} px, {path.stat().st_size / 1e6:.0f} MB | {took:.2f} | "
                    f"{computed:.2f} | {(greatest[-1] - idle) / 1e6:.0f} |",
                    flush=True,
                )
                page.get_by_role("button", name="Start over").click()
                page.get_by_text("Drop radiographs to assess them").wait_for()
                page.locator("[data-test-script-state=notRunning]").wait_for()
    print(f"\nAims: under {AIM_SECONDS:.0f} s and under {AIM_MB:.0f} MB. The idle app holds {idle / 1e6:.0f} MB.\n")


def as_jpeg_of(path: Path | None, height: int, width: int) -> bytes:
    """Return a film of that size as JPEG: a drawn one, or the given one resampled."""
    if path is None:
        return as_jpeg(chest(1, (height, width)))
    grey = to_uint8(decode_radiograph(path.read_bytes()))
    return as_jpeg(cv2.resize(grey, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8))


def around_the_network(repeats: int, data: bytes) -> int:
    """Print what an assessment costs without the network, relative to the network; return the exit status."""
    try:
        classifier, plain = classifier_and_peer()
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    film, words = decode_radiograph(data), assess(data, classifier).words
    peers, whole = in_turn(classifier, plain, data, repeats)
    around = [own - peer for own, peer in zip(whole, peers, strict=True)]
    ratio = statistics.median(own / peer for own, peer in zip(around, peers, strict=True))
    print("| radiograph | finding | network, ms | decoding, gate and evidence map, ms | ratio |\n|---|---|---|---|---|")
    print(
        f"| {film.height} × {film.width} px JPEG | {words} | {statistics.median(peers) * 1e3:.0f} | "
        f"{statistics.median(around) * 1e3:.0f} | {ratio:.2f} |\n\nAim: a ratio below 1."
    )
    return 0


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=5, metavar="N", help="DICOM films in the browser (%(default)s)")
    parser.add_argument("--side", type=int, default=4000, metavar="PX", help="of the DICOM films (%(default)s)")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="of the JPEG (%(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(2000, 1600), metavar=("H", "W"), help="of the JPEG %(default)s"
    )
    parser.add_argument(
        "--film",
        type=Path,
        metavar="FILE",
        help="a radiograph of a child to make the JPEG of; a drawn one, the default, may be refused, "
        "and a film about to be refused is looked at twice",
    )
    options = parser.parse_args()
    if options.films:
        read_in_browser(options.films, options.side)
    return around_the_network(options.repeats, as_jpeg_of(options.film, *options.size)) if options.repeats else 0


if __name__ == "__main__":
    sys.exit(main())

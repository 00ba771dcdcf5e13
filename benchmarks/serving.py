"""Memory of the serving process while many radiographs are read in a real browser.

A browser drops synthetic radiographs on the Read page in batches. After each batch the resident memory of the app's
process is printed, with its ratio to that after the first batch. The classifier in use runs without its training
population, since it would refuse synthetic radiographs."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from tests.phantoms import as_jpeg, chest
from tests.ungated import add_ungated

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"
# A busy machine takes minutes to start; what is measured begins later.
PATIENCE_MS = 300_000


def free_port() -> int:
    """Return a port on the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children in MB."""
    parent = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True))) / 1e6


def wait_for(url: str, seconds: float) -> None:
    """Wait until the address answers; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url} did not answer within {seconds:.0f} s")


def main() -> int:
    """Print one row per batch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--films", type=int, default=200, metavar="N", help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=20, metavar="N", help="dropped at once (%(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(1200, 1500), metavar=("H", "W"), help="%(default)s")
    options = parser.parse_args()
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
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PNEUMOLENS_DATA_DIR": folder, **add_ungated(Path(folder))},
        ) as app,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", PATIENCE_MS / 1000)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.set_default_timeout(PATIENCE_MS)
                page.goto(f"http://127.0.0.1:{port}/")
                print("| read | seconds per radiograph | memory, MB | ratio to the first batch |\n|---|---|---|---|")
                first = 0.0
                for start in range(0, options.films, options.batch):
                    paths = []
                    for seed in range(start, start + options.batch):
                        path = Path(folder) / f"film{seed}.jpg"
                        path.write_bytes(as_jpeg(chest(seed, tuple(options.size))))
                        paths.append(path)
                    began = time.monotonic()
                    page.locator("input[type=file]").first.set_input_files(paths)
                    reading = page.get_by_text("Reading film")
                    reading.wait_for()
                    reading.wait_for(state="hidden", timeout=2 * PATIENCE_MS)
                    page.locator(".pl-finding").wait_for()  # not refused: otherwise nothing was measured
                    per_film = (time.monotonic() - began) / options.batch
                    memory = resident_mb(app.pid)
                    first = first or memory
                    row = (start + options.batch, f"{per_film:.2f}", f"{memory:.0f}", f"{memory / first:.2f}")
                    print("| " + " | ".join(map(str, row)) + " |", flush=True)
                browser.close()
        finally:
            app.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())

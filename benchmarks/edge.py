"""What the edge costs from upload to finding: the app behind its middleware relative to the same app without it.

Both apps run at once. A drawn film is dropped on the Read page of each in turn, in one browser, and the clock runs
until its finding is on the screen. Then "Start over".
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.serving import CHROMIUM, ROOT, free_port, wait_for
from tests.dicoms import phantom_dicom
from tests.ungated import add_ungated

PATIENCE_MS = 300_000
# The app as it is started without its middleware and its guard of connections.
BARE = """
import streamlit as st
app = st.App({script!r})
"""


@contextmanager
def opened(browser: Browser, folder: Path, script: Path) -> Iterator[Page]:
    """Start a script as the app and open its Read page; yield it with the classifier loaded."""
    folder.mkdir()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
    environ = {**os.environ, "PNEUMOLENS_DATA_DIR": str(folder), **add_ungated(folder)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as app:
        try:
            wait_for(f"{address}/_stcore/health", 120)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(PATIENCE_MS)
            page.goto(address)
            idle(page)
            yield page
        finally:
            app.terminate()


def idle(page: Page) -> None:
    """Wait until the page is empty and at rest."""
    page.get_by_text("Drop radiographs to assess them").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()


def seconds_to_finding(page: Page, film: Path) -> float:
    """Return the time from dropping a film to its finding, and start over."""
    started = time.monotonic()
    page.locator("input[type=file]").set_input_files(film)
    page.locator(".pl-finding").wait_for()
    took = time.monotonic() - started
    page.locator("[data-loaded]").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.get_by_role("button", name="Start over").click()
    idle(page)
    return took


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=12, metavar="N", help="in each app (%(default)s)")
    parser.add_argument("--side", type=int, default=2000, metavar="PX", help="of the DICOM films (%(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bare = folder / "bare.py"
        bare.write_text(BARE.format(script=str(ROOT / "app.py")))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        pages = [
            stack.enter_context(opened(browser, folder / name, script))
            for name, script in (("own", ROOT / "app.py"), ("peer", bare))
        ]
        times: list[list[float]] = []
        for seed in range(options.films + 1):
            film = folder / f"{seed}.dcm"
            film.write_bytes(phantom_dicom(seed, size=(options.side, options.side), bits=16, pneumonia=bool(seed % 2)))
            turns = pages if seed % 2 else pages[::-1]
            took = {id(page): seconds_to_finding(page, film) for page in turns}
            times.append([took[id(page)] for page in pages])
        browser.close()
    own, peer = zip(*times[1:], strict=True)  # the first one warms up
    ratio = statistics.median(one / other for one, other in times[1:])
    print(
        "| films | without the edge, s | with it, s | ratio |\n|---|---|---|---|\n"
        f"| {len(own)} of {options.side} × {options.side} px | {statistics.median(peer):.2f} | "
        f"{statistics.median(own):.2f} | {ratio:.2f} |\n\nAim: a ratio below 1.05."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A visit to the app: started as the README says, opened in Chromium, used like a person does."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.phantoms import as_png, chest

SAFETY = "Decision support, not a diagnosis. Intended for frontal chest radiographs of children aged 1–5."
FINDINGS = r"Pneumonia likely|Pneumonia unlikely|Borderline \(near the threshold\)"
PATIENCE_MS = 180_000
# Of the window: one column below 1100 px, two above.
WIDTHS, HEIGHT = (1024, 1280), 800


def find_chromium() -> str:
    """Return Chromium's path; skips where it or Playwright is missing, but never in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    missing = [
        name
        for name, there in (("chromium", path), ("playwright", importlib.util.find_spec("playwright")))
        if not there
    ]
    if missing:
        reason = f"the browser tests need {' and '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, which CI must have")
        pytest.skip(reason)
    return str(path)


@contextmanager
def running_app(folder: Path, script: str = "app.py", **environment: str) -> Iterator[tuple[str, int]]:
    """Start the app as README says, or another script, on a free loopback port; yield its address and process id.

    What it prints is in `folder`/app.log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {"PNEUMOLENS_DATA_DIR": str(folder), **os.environ, **environment}
    log = folder / "app.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                script,
                "--server.port",
                str(port),
                "--server.address",
                "127.0.0.1",
            ],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                    if answer.status == 200:
                        break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, log.read_text(errors="replace")
            time.sleep(0.2)
        else:
            pytest.fail(f"the app did not start: {log.read_text(errors='replace')}")
        yield address, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def open_page(browser: Any, address: str) -> Any:
    """Open a page and wait until it is drawn."""
    page = browser.new_page()
    page.set_viewport_size({"width": WIDTHS[-1], "height": HEIGHT})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_text(SAFETY).wait_for()
    return page


def drop(page: Any, *films: tuple[str, bytes]) -> None:
    """Drop files of the given names and contents."""
    page.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in films]
    )


def settle(page: Any) -> None:
    """Wait until the page has run to its end and stands as it was drawn.

    On a busy machine that is seconds after the run has ended; the browser then has nothing left to do.
    """
    page.locator("[data-test-script-state=notRunning]").wait_for()
    # Chromium reports no idle time while the pointer rests where it was pressed or a caret blinks, so the wait for it
    # has an end once nothing has changed for some frames.
    page.evaluate("""() => new Promise(done => {
        let quiet = 0;
        const changes = new MutationObserver(() => { quiet = 0; });
        changes.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
        const frame = () => {
            quiet += 1;
            if (quiet < 5) return requestAnimationFrame(frame);
            changes.disconnect();
            return requestIdleCallback(done, {timeout: 500});
        };
        requestAnimationFrame(frame);
    })""")


def press(page: Any, key: str) -> None:
    """Press a key once the page listens for it: two presses within one run of the page count as one."""
    settle(page)
    page.keyboard.press(key)


def choose(page: Any, box: Any, name: str, chosen: Any) -> None:
    """Choose an option of a box by the start of its name, until `chosen` is on the page.

    A run of the page, which can begin at any time, closes the list of options.
    """
    from playwright.sync_api import TimeoutError

    for _ in range(20):
        settle(page)
        box.fill(name)
        try:
            page.get_by_role("option", name=re.compile(f"^{name}")).first.wait_for(timeout=5_000)
            page.keyboard.press("Enter")
            chosen.wait_for(timeout=10_000)
            return
        except TimeoutError:
            page.keyboard.press("Escape")
    pytest.fail(f"{name} could not be chosen")


def save(page: Any, name: str | re.Pattern[str]) -> tuple[str, bytes]:
    """Press the button and return name and bytes of what it gives; a run of the page in between would take it away."""
    settle(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=isinstance(name, str)).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def fits(page: Any) -> None:
    """Check that nothing scrolls sideways at either width; leaves the wider one."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        settle(page)
        assert sideways(page) == 0, width


def sideways(page: Any) -> int:
    """How many pixels of the page are beyond its right edge."""
    return page.evaluate(
        "() => Math.max(...['html', '[data-testid=stMain]'].map(one => {"
        " const box = document.querySelector(one); return box.scrollWidth - box.clientWidth }))"
    )


def done(page: Any) -> None:
    """Wait until no run of the page is going on."""
    page.locator("[data-test-script-state=notRunning]").wait_for()


def all_assessed(page: Any, count: int) -> None:
    """Wait until that many images are listed and none waits."""
    page.get_by_text(re.compile(rf"^{count} images: ")).wait_for()
    page.locator(".st-key-reading").wait_for(state="detached")


def a_film(seed: int = 0) -> bytes:
    return as_png(chest(seed, (600, 720), pneumonia=bool(seed % 2)))

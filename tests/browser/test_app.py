"""The app as a person meets it: started from the command line, opened in Chromium, read off the screen."""

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
from tests.ungated import add_ungated

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SAFETY = "Decision support, not a diagnosis. Intended for frontal chest radiographs of children aged 1–5."
FINDINGS = r"Pneumonia likely|Pneumonia unlikely|Borderline \(near the threshold\)"
PATIENCE_MS = 180_000
LIMIT_BYTES = 2.5e9


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def app(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("data")
    with running_app(folder, **add_ungated(folder)) as started:
        yield started


def open_page(browser: Any, address: str, width: int = 1280, height: int = 800) -> Any:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_text(SAFETY).wait_for()
    return page


def drop(page: Any, *films: tuple[str, bytes]) -> None:
    page.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in films]
    )


def settle(page: Any) -> None:
    """Wait until the page has run to its end and stands as it was drawn.

    On a busy machine that is seconds after the run has ended; the browser then has nothing left to do.
    """
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.evaluate("""() => new Promise(done => {
        const wait = next => requestIdleCallback(next, {timeout: 20_000});
        wait(() => wait(done));
    })""")


def press(page: Any, key: str) -> None:
    """Press a key once the page listens for it: two presses within one run of the page count as one."""
    settle(page)
    page.keyboard.press(key)


def save(page: Any, name: str | re.Pattern[str]) -> tuple[str, bytes]:
    """Press the button and return name and bytes of what it gives; a run of the page in between would take it away."""
    settle(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=isinstance(name, str)).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def sideways(page: Any) -> int:
    """How many pixels of the page lie beyond its right edge."""
    return page.evaluate(
        "() => Math.max(...['html', '[data-testid=stMain]'].map(one => {"
        " const box = document.querySelector(one); return box.scrollWidth - box.clientWidth }))"
    )


def a_film(seed: int = 0) -> bytes:
    return as_png(chest(seed, (600, 720), pneumonia=bool(seed % 2)))


@pytest.mark.parametrize("path", ["read", "performance", ""])
def test_the_first_request_after_a_start_shows_the_safety_sentence(browser: Any, tmp_path: Path, path: str) -> None:
    with running_app(tmp_path) as (address, _):
        page = open_page(browser, f"{address}/{path}")
        page.locator(".pl-tiles" if path == "performance" else "[data-testid=stFileUploader]").wait_for()
        assert page.get_by_role("link", name="Performance").count() == 1
        assert page.get_by_text("Page not found").count() == 0
        page.close()


def test_a_radiograph_goes_in_and_a_finding_comes_out(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    page.get_by_text("Drop radiographs to assess them").wait_for()
    page.evaluate("""() => new MutationObserver(() => window.most = Math.max(
        window.most ?? 0, [...document.querySelectorAll('.stFileUploader')].filter(one => one.offsetParent).length)
    ).observe(document.body, {childList: true, subtree: true})""")
    drop(page, ("film.png", a_film()))
    finding = page.locator(".pl-finding")
    finding.wait_for()
    assert page.evaluate("() => window.most") == 1, "no second place to drop files while the first film is read"
    assert re.search(FINDINGS, finding.inner_text())
    assert re.search(r"Probability\s+([<>] )?0\.\d\d", finding.inner_text())
    stage = page.locator(".stage").bounding_box()
    assert stage["width"] > 600 and stage["height"] > 300
    page.get_by_text("Evidence map, not a lesion outline").wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    for button, ending in (("PDF", ".pdf"), ("JSON", ".json")):
        name, content = save(page, button)
        assert re.fullmatch(rf"pneumolens-[0-9a-f]{{8}}\{ending}", name)
        assert content.startswith(b"%PDF" if ending == ".pdf" else b"{")
    page.close()


def test_a_queue_is_walked_by_key_and_by_click(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    drop(page, ("one.png", a_film(1)), ("notes.png", b"no picture"), ("three.png", a_film(3)))
    page.locator(".pl-name", has_text="1 of 3 one.png").wait_for()
    page.locator("[data-testid=stProgress]").wait_for(state="detached")
    press(page, "n")
    page.locator(".pl-name", has_text="notes.png").wait_for()
    page.locator(".pl-warning", has_text=re.compile("Not assessed.*This file is not a picture", re.DOTALL)).wait_for()
    assert page.locator(".pl-finding").count() == 0
    press(page, "n")
    page.locator(".pl-name", has_text="three.png").wait_for()
    press(page, "p")
    page.locator(".pl-name", has_text="notes.png").wait_for()
    for name in ("three.png", "one.png", "notes.png", "one.png"):
        page.get_by_role("row", name=name).click()
        page.locator(".pl-name", has_text=name).wait_for()
        page.locator("[data-test-script-state=notRunning]").wait_for()
    # What the viewer's own controls were given must not swallow the key for the next film.
    page.get_by_role("button", name="100 %").click()
    press(page, "n")
    page.locator(".pl-name", has_text="notes.png").wait_for()
    page.get_by_role("button", name="Start over").click()
    page.get_by_text("Drop radiographs to assess them").wait_for()
    page.close()


@pytest.mark.parametrize("width", [1280, 1024])
def test_nothing_scrolls_sideways(browser: Any, app: tuple[str, int], width: int) -> None:
    page = open_page(browser, app[0], width, 768)
    page.get_by_text("Drop radiographs to assess them").wait_for()
    assert sideways(page) == 0
    drop(page, ("one.png", a_film(1)), ("two.png", a_film(2)))
    page.locator(".pl-finding").wait_for()
    page.locator("[data-testid=stProgress]").wait_for(state="detached")
    assert sideways(page) == 0
    # Waited for in one look: between two, a picture that arrives moves everything below it.
    page.wait_for_function(
        """isNarrow => {
        const tree = document.querySelector('.st-key-viewer [data-testid=stBidiComponentIsolated]')?.shadowRoot;
        const [panel, film] = [document.querySelector('.st-key-finding'), tree?.querySelector('.stage')].map(
            one => one?.getBoundingClientRect());
        if (!panel || !film || film.height < 100) return false;
        return isNarrow ? panel.top > film.bottom : panel.left > film.right && panel.top < film.bottom;
    }""",
        arg=width < 1100,
    )
    page.get_by_role("link", name="Performance").click()
    page.locator(".pl-tiles").wait_for()
    page.locator(".js-plotly-plot").nth(5).wait_for()
    assert sideways(page) == 0
    page.close()


def test_another_page_can_be_opened_while_films_are_read(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    drop(page, *[(f"{seed}.png", a_film(seed)) for seed in range(50, 66)])
    page.locator(".pl-finding").wait_for()
    page.get_by_role("link", name="Performance").click()
    page.locator(".pl-tiles").wait_for()
    page.get_by_role("link", name="Read").click()
    page.get_by_text(re.compile(r"^16 images: ")).wait_for()
    page.close()


def test_memory_stays_bounded(browser: Any, app: tuple[str, int]) -> None:
    import psutil

    page = open_page(browser, app[0])
    drop(page, *[(f"{seed}.png", a_film(seed)) for seed in range(12)])
    page.locator(".pl-finding").wait_for()
    page.locator("[data-testid=stProgress]").wait_for(state="detached")
    process = psutil.Process(app[1])
    used = sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    assert used < LIMIT_BYTES, f"{used / 1e9:.2f} GB"
    page.close()

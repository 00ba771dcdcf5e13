"""One Chromium and one running app for all browser tests; each test is a visit of its own.

Both end with this package: while Playwright is open, the process has a running event loop, and no other test could
start one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visit import find_chromium, running_app
from tests.ungated import add_ungated


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium with one context, so that the pages of all tests share its cache."""
    chromium = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield opened.new_context()
        opened.close()


@pytest.fixture(scope="package")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the app, with what it logs in app.log."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="package")
def app(browser: Any, data_dir: Path) -> Iterator[tuple[str, int]]:
    """The address and process id of the app, which accepts drawn radiographs; skips where there is no browser."""
    assert browser
    with running_app(data_dir, PNEUMOLENS_PREVALENCE="35", **add_ungated(data_dir)) as started:
        yield started

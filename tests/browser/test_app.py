"""The app from its start: the first request, several pages at once, and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.visit import a_film, all_assessed, drop, open_page, running_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LIMIT_BYTES = 2.5e9


@pytest.mark.parametrize(
    ("path", "drawn"),
    [
        ("read", "[data-testid=stFileUploader]"),
        ("performance", ".pl-tiles"),
        ("retrain", "input[type=password]"),
    ],
)
def test_the_first_request_after_a_start_gets_the_frame(browser: Any, tmp_path: Path, path: str, drawn: str) -> None:
    with running_app(tmp_path) as (address, _):
        page = open_page(browser, f"{address}/{path}")
        page.locator(drawn).first.wait_for()
        assert page.get_by_role("link", name="Performance").count() == 1
        assert page.get_by_text("Page not found").count() == 0
        page.close()


@pytest.mark.nightly
def test_another_page_can_be_opened_while_images_are_assessed(browser: Any, app: tuple[str, int]) -> None:
    page = open_page(browser, app[0])
    drop(page, *[(f"{seed}.png", a_film(seed)) for seed in range(50, 66)])
    page.locator(".pl-finding").wait_for()
    page.get_by_role("link", name="Performance").click()
    page.locator(".pl-tiles").wait_for()
    page.get_by_role("link", name="Read").click()
    all_assessed(page, 16)
    page.close()


@pytest.mark.nightly
def test_memory_stays_bounded(browser: Any, app: tuple[str, int]) -> None:
    import psutil

    page = open_page(browser, app[0])
    process = psutil.Process(app[1])
    used = []
    for batch in range(4):
        drop(page, *[(f"{seed}.png", a_film(seed)) for seed in range(12 * batch, 12 * batch + 12)])
        all_assessed(page, 12 * (batch + 1))
        used.append(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))
    assert max(used) < LIMIT_BYTES, [f"{one / 1e9:.2f} GB" for one in used]
    page.close()

"""In Chromium: a page of another address cannot frame the app, and every page works under the policy."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visit import a_film, all_assessed, drop, open_page, running_app, save, settle
from tests.ungated import add_ungated

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Asks the framed app to send its uploads here, as a page of Streamlit's cloud may; see SET_FILE_UPLOAD_CLIENT_CONFIG.
FRAMING = """<!doctype html><iframe src="{app}" width="900" height="600"></iframe><script>
const frame = document.querySelector("iframe");
setInterval(() => frame.contentWindow.postMessage({{stCommVersion: 1, type: "SET_FILE_UPLOAD_CLIENT_CONFIG",
  prefix: location.origin + "/", headers: {{}}}}, "*"), 100);
frame.addEventListener("load", () => document.title = "framed");
</script>"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app that assesses drawn radiographs."""
    folder = tmp_path_factory.mktemp("data")
    with running_app(folder, **add_ungated(folder)) as (address, _):
        yield address


def test_no_page_can_frame_the_app(browser: Any, app: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(FRAMING.format(app=app))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{evil.server_address[1]}/index.html")
        page.wait_for_function("document.title === 'framed'")
        frame = page.frames[1]
        assert frame.url.startswith("chrome-error:"), frame.url
        page.close()
        evil.shutdown()


def test_every_page_works_under_the_policy(browser: Any, app: str) -> None:
    said: list[str] = []
    page = open_page(browser, app)
    page.set_default_timeout(60_000)
    page.on("console", lambda message: said.append(message.text))
    page.reload()
    drop(page, ("1.png", a_film(1)), ("2.png", a_film(2)))
    page.locator(".pl-finding").wait_for()
    page.locator("[data-loaded]").wait_for()
    all_assessed(page, 2)
    assert save(page, "CSV of all")[1].count(b"\n") == 3
    page.get_by_role("link", name="Performance").click()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    settle(page)
    page.get_by_role("link", name="Retrain").click()
    page.locator("input[type=password]").first.wait_for()
    settle(page)
    page.close()
    assert said, "the console was heard"
    assert not [line for line in said if "Content Security Policy" in line or "Content-Security-Policy" in line], said


def test_a_reload_keeps_the_films_and_start_over_removes_them_at_once(browser: Any, app: str) -> None:
    page = open_page(browser, app)
    page.set_default_timeout(60_000)
    media: list[str] = []
    page.on("request", lambda request: media.append(request.url) if request.url.startswith(f"{app}/media/") else None)
    drop(page, ("1.png", a_film(3)), ("2.png", a_film(4)))
    all_assessed(page, 2)
    page.locator("[data-loaded]").wait_for()
    assert media
    page.reload()
    all_assessed(page, 2)
    page.locator(".pl-finding").wait_for()
    page.locator("[data-loaded]").wait_for()
    stranger = browser.browser.new_context()
    assert stranger.request.get(media[-1]).status == 403, "whoever has the address has no cookie"
    stranger.close()
    status = "url => fetch(url).then(answer => answer.status)"
    assert page.evaluate(status, media[-1]) == 200
    settle(page)
    page.get_by_role("button", name="Start over").click()
    page.get_by_text("Drop radiographs to assess them").wait_for()
    assert page.evaluate(status, media[-1]) == 403
    drop(page, ("5.png", a_film(5)))
    page.locator(".pl-finding").wait_for()
    page.close()
    page = open_page(browser, app)  # the next person on this machine
    page.get_by_text("Drop radiographs to assess them").wait_for()
    page.close()

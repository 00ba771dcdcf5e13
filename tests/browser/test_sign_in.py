"""In Chromium: a sign-in survives a reload, and is in no one's hands who has the session alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg

from core.settings import Settings
from records.administrator import new_first_code, set_password
from tests.browser.visit import running_app, settle
from tests.server.client import Server, received

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PASSWORD = "correct horse battery"
SIGNED_IN = "Signed in as administrator"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An app with a password."""
    folder = tmp_path_factory.mktemp("data")
    settings = Settings(folder)
    set_password(settings, str(new_first_code(settings)), PASSWORD)
    with running_app(folder) as (address, pid):
        yield Server(address, pid, folder, folder / "none")


def test_a_sign_in_survives_a_reload_and_needs_its_cookie(browser: Any, server: Server) -> None:
    context = browser.browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    sent: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: sent.append(frame)))
    page.goto(f"{server.address}/retrain")
    page.locator("input[type=password]").fill(PASSWORD)
    with page.expect_response(re.compile("/_pneumolens/sign-in/")):
        page.get_by_role("button", name="Sign in").click()
    page.get_by_text(SIGNED_IN).wait_for()
    cookies = {one["name"]: one for one in context.cookies()}
    (sign_in,) = [one for name, one in cookies.items() if name.startswith("pneumolens_sign_in")]
    assert sign_in["httpOnly"] and sign_in["sameSite"] == "Strict"
    page.reload()
    page.get_by_text(SIGNED_IN).wait_for()
    settle(page)
    # The session's name is in every address of an upload. Neither it alone, nor with the cookie of the visit, will do.
    session = next(found[0] for one in reversed(sent) if (found := re.search(rb"[0-9a-f-]{36}", one))).decode()
    visit = "; ".join(f"{name}={one['value']}" for name, one in cookies.items() if "sign_in" not in name)
    assert server.status_of_socket(session=session) == 403
    assert SIGNED_IN not in drawn(server, visit, session)
    both = f"{visit}; {sign_in['name']}={sign_in['value']}"
    assert SIGNED_IN in drawn(server, both, "")
    # Signing out ends it everywhere.
    page.reload()
    page.get_by_text(SIGNED_IN).wait_for()
    settle(page)
    page.get_by_role("button", name="Sign out").click()
    page.locator("input[type=password]").wait_for()
    assert SIGNED_IN not in drawn(server, both, "")
    context.close()


def drawn(server: Server, cookie: str, session: str) -> str:
    """Return what the Retrain page shows to a connection with these cookies, run to its end."""
    request = BackMsg()
    request.rerun_script.page_name = "retrain"
    words = b""
    with server.socket(cookie=cookie, session=session) as connection:
        connection.send(request.SerializeToString())
        for message in received(connection):
            words += message.SerializeToString()
            if message.WhichOneof("type") == "script_finished":
                return words.decode("utf-8", "replace")
    raise AssertionError("the page did not end")

"""A WebSocket takes what a page of this app sends, and not more than a page sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from pages.server.message_limit import MessageLimit
from pages.server.pace import Pace
from pages.server.sign_ins import SignIns
from pages.server.visit_guard import CONNECTION, SIGN_IN, VISIT
from tests.browser.visit import running_app
from tests.server.client import PATIENCE_S, Server, received


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page with a cache, which says when it was empty."""
    folder = tmp_path_factory.mktemp("data")
    with running_app(folder, "tests/server/media_page.py") as (address, pid):
        yield Server(address, pid, folder, folder / "none")


def a_rerun() -> BackMsg:
    request = BackMsg()
    request.rerun_script.query_string = ""
    return request


def is_closed(connection: ClientConnection) -> bool:
    """Whether the server closes the connection; what it sends before is of no interest."""
    try:
        while True:
            connection.recv(PATIENCE_S)
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False


def is_drawn(server: Server) -> bool:
    """Whether a new visit gets its page."""
    with server.session(server.visit()) as connection:
        return any(one.WhichOneof("type") == "script_finished" for one in received(connection))


@pytest.mark.parametrize("kind", ["clear_cache", "load_git_info", "set_run_on_save", "debug_shutdown_runtime"])
def test_no_visitor_can_act_on_all_of_them(server: Server, kind: str) -> None:
    """Clearing the caches made the next page of everybody load the classifier anew, and voided the one-time code."""
    assert is_drawn(server)
    request = BackMsg()
    setattr(request, kind, True)
    with server.session(server.visit()) as connection:
        connection.send(request.SerializeToString())
        assert is_closed(connection)
    assert is_drawn(server)
    assert (server.folder / "app.log").read_text().count("filled the cache") == 1


def test_a_flood_of_messages_slows_its_own_connection_alone(server: Server) -> None:
    """Eight bytes a message stopped the service for minutes; now what is sent stays with the sender."""
    heartbeat = BackMsg()
    heartbeat.app_heartbeat = True
    sent = 4_000
    with server.session(server.visit()) as connection:
        for _ in range(sent):
            connection.send(heartbeat.SerializeToString())
        assert server.ask("/_stcore/health").status == 200 and is_drawn(server)
        answered = 0
        with suppress(TimeoutError):
            while answered < sent / 2:
                connection.recv(0.02)
                answered += 1
        assert answered < sent / 2


def test_a_flood_of_runs_is_slowed_and_then_closed() -> None:
    """Runs of four connections kept everybody waiting for seconds, and went on for minutes after these had ended."""
    now, left, handled, closed = [0.0], 2_000, 0, []

    async def run() -> None:
        async def receive() -> dict[str, Any]:  # all is in the buffers of the system already
            nonlocal left
            left -= 1
            return {"type": "websocket.receive", "bytes": a_rerun().SerializeToString()}

        async def app(_scope: Any, receive: Any, _send: Any) -> None:
            nonlocal handled
            while (message := await receive())["type"] == "websocket.receive":
                handled += 1
            closed.append(message["code"])

        async def send(_message: Any) -> None:
            raise AssertionError("nothing is sent")

        scope = {"type": "websocket", "client": ("10.0.0.1", 1), "headers": []}
        await MessageLimit(app, SignIns(), lambda: now[0])(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(with_time(now, run))
    assert closed == [1008] and left > 0
    assert now[0] <= 31 and 40 + 8 * 25 <= handled <= 40 + 8 * 31


def test_a_page_that_sends_without_a_pause_but_not_ahead_stays_open() -> None:
    now, handled = [0.0], 0

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            now[0] += 0.1
            if now[0] > 100:
                return {"type": "websocket.disconnect", "code": 1000}
            return {"type": "websocket.receive", "bytes": a_rerun().SerializeToString()}

        async def app(_scope: Any, receive: Any, _send: Any) -> None:
            nonlocal handled
            while (message := await receive())["type"] == "websocket.receive":
                handled += 1
            assert message["code"] == 1000

        async def send(_message: Any) -> None:
            raise AssertionError("nothing is sent")

        scope = {"type": "websocket", "client": ("10.0.0.1", 1), "headers": []}
        await MessageLimit(app, SignIns(), lambda: now[0])(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(with_time(now, run))
    assert 40 + 8 * 90 <= handled <= 40 + 8 * 101


async def with_time(now: list[float], run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run with pauses that only move the clock."""

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pages.server.message_limit.asyncio.sleep", sleep)
        await run()


def test_requests_for_uploads_are_few_enough_to_be_answered_at_once(server: Server) -> None:
    """Naming 50,000 files took the server two seconds for 100 kB, and could be repeated without a pause."""
    request = BackMsg()
    request.file_urls_request.file_names.extend([""] * 5_001)
    with server.session(server.visit()) as connection:
        connection.send(request.SerializeToString())
        assert is_closed(connection)


def test_what_is_no_message_is_not_told_to_the_terminal_line_by_line(server: Server) -> None:
    large = a_rerun()
    large.rerun_script.query_string = "x" * 4_000_000
    for sent in ("text", b"\xff\xff", large.SerializeToString()):
        with server.session(server.visit()) as connection:
            connection.send(sent)
            assert is_closed(connection)
    assert "Traceback" not in (server.folder / "app.log").read_text()


# The parts alone.


def received_by(sign_ins: SignIns, message: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Return what an app behind the limit receives for a message of a connection with these headers."""
    got: list[Any] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        got.append(await receive())

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.receive", "bytes": message}

    async def send(_message: Any) -> None:
        raise AssertionError("nothing is sent")

    scope = {"type": "websocket", "client": ("10.0.0.1", 1), "headers": headers}
    asyncio.run(MessageLimit(app, sign_ins)(scope, receive, send))  # type: ignore[arg-type]
    return got[0]  # type: ignore[no-any-return]


def test_an_administrator_may_ask_for_a_folder_of_uploads() -> None:
    sign_ins = SignIns()
    name = sign_ins.add("mark", 0.0, "visit", "connection").encode()
    request = BackMsg()
    request.file_urls_request.file_names.extend(["chest.png"] * 20_000)
    data = request.SerializeToString()
    by_cookie = [(VISIT, b"visit"), (CONNECTION, b"later"), (SIGN_IN, name)]
    by_connection = [(VISIT, b"visit"), (CONNECTION, b"connection"), (SIGN_IN, b"")]
    for headers in (by_cookie, by_connection):
        assert received_by(sign_ins, data, headers) == {"type": "websocket.receive", "bytes": data}
    for headers in (
        [(VISIT, b"other"), (CONNECTION, b"later"), (SIGN_IN, name)],
        [(VISIT, b"visit"), (CONNECTION, b"later"), (SIGN_IN, b"")],
    ):
        assert received_by(sign_ins, data, headers)["type"] == "websocket.disconnect"


def test_a_pace_allows_so_many_at_once_and_so_many_a_second() -> None:
    now = [0.0]
    pace = Pace(3, 2, lambda: now[0])
    assert pace.take(3) and not pace.take()
    now[0] = 1
    assert pace.take(2) and not pace.take()
    now[0] = 100
    assert not pace.take(4) and pace.take(3), "pauses do not add up"
    assert pace.wait() == 0.5 and pace.wait() == 1 and not pace.take()

"""Connections that send no request, and addresses that somebody else has forwarded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from pages.server import connections
from pages.server.connections import ForwardedHeaders, Peer, _peer
from tests.browser.visit import running_app
from tests.server.client import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little patience."""
    folder = tmp_path_factory.mktemp("data")
    with running_app(folder, "tests/server/media_page.py") as (address, pid):
        yield Server(address, pid, folder, folder / "none")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: ", b"GET / HTTP/1.1\r\nX: y\r\n"])
def test_a_connection_without_a_whole_head_is_closed(server: Server, sent: bytes) -> None:
    with server.connect(sent) as connection, suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    assert "no request within" in (server.folder / "app.log").read_text()


def test_a_head_in_pieces_is_answered_and_so_is_the_next_one(server: Server) -> None:
    head = f"GET /_stcore/health HTTP/1.1\r\nHost: {server.netloc}\r\n\r\n".encode()
    with server.connect(head[:-2]) as connection:
        connection.sendall(head[-2:])
        for _ in range(2):
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            connection.sendall(head)


def test_a_page_that_is_open_stays_open(server: Server) -> None:
    visit = server.visit()
    with server.session(visit) as session, server.connect() as silent:
        with suppress(ConnectionResetError):
            silent.recv(1)  # until it is closed
        assert session.ping().wait(60)


def seen(proxies: tuple[str, ...], peer: Peer, kind: str = "http", **headers: str) -> tuple[Any, str]:
    """Return client and scheme as the app sees them, when the server in front believed the headers."""
    found: dict[str, Any] = {}

    async def app(scope: Any, *_: Any) -> None:
        found.update(scope)

    async def ask() -> None:
        _peer.set(peer)
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": kind, "headers": given, "client": ("203.0.113.9", 0), "scheme": "https"}
        await ForwardedHeaders(app, proxies)(scope, None, None)  # type: ignore[arg-type]

    asyncio.run(ask())
    return found["client"][0], found["scheme"]


def test_forwarded_addresses_are_believed_of_named_proxies_alone() -> None:
    local, other = Peer("127.0.0.1", 5000, False), Peer("198.51.100.7", 5000, False)
    given = {"x_forwarded_for": "192.0.2.1", "x_forwarded_proto": "https"}
    assert seen((), local, **given) == ("127.0.0.1", "http")
    assert seen(("127.0.0.1",), other, **given) == ("198.51.100.7", "http")
    assert seen(("127.0.0.1",), local, **given) == ("192.0.2.1", "https")
    assert seen(("198.51.100.0/24",), other, "websocket", **given) == ("192.0.2.1", "wss")
    assert seen(("127.0.0.1",), local, x_forwarded_for="203.0.113.1, 192.0.2.1") == ("192.0.2.1", "http")
    for written in ("192.0.2.1:8080", "[2001:db8::1]:8080", "2001:db8::1", "::ffff:192.0.2.1"):
        expected = "192.0.2.1" if "192" in written else "2001:db8::1"
        assert seen(("127.0.0.1",), local, x_forwarded_for=f"1.1.1.1, {written},127.0.0.1") == (expected, "http")
    for wrong in ("", "unknown", "192.0.2.1, _hidden", "x" * 100_000):
        assert seen(("127.0.0.1",), local, x_forwarded_for=wrong) == ("127.0.0.1", "http")
    assert seen((), Peer("127.0.0.1", 5000, True), "websocket") == ("127.0.0.1", "wss")


def test_a_proxy_that_is_not_named_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(connections, "warn", said.append)
    connections._say_ignored.cache_clear()
    for _ in range(3):
        assert seen((), Peer("192.0.2.77", 5000, False), x_forwarded_for="192.0.2.1") == ("192.0.2.77", "http")
    assert len(said) == 1 and "PNEUMOLENS_PROXIES" in said[0]

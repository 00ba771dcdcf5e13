"""Connections before they are requests: how many there may be, how long one may be silent, and whose they are.

An ASGI middleware sees a connection only once it has sent the head of a request. What comes before is asyncio's: the
server asks the running event loop for its listening socket after the start of the app, so that this module can stand
between the two, with asyncio's public protocol and transport alone. `tests/server/test_connections.py` tells when an
installed server no longer asks in this way.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from pages.server.asgi import header, warn

# A browser opens connections before it needs them, and opens others when these are closed.
HEAD_SECONDS = 10.0
# Connections for each page that may be open, of which one address has a quarter; a browser opens six.
_FOR_A_PAGE, _OF_ONE_ADDRESS, _FEWEST = 4, 4, 64
_END_OF_HEAD = b"\r\n\r\n"
_FOR, _PROTO = b"x-forwarded-for", b"x-forwarded-proto"
# An address as proxies write it, some with a port.
_ADDRESS = re.compile(
    r"\[(?P<six>[0-9a-fA-F:.]+)\](?::\d+)?|(?P<host>[0-9.]+)(?::\d+)?|(?P<bare>[0-9a-fA-F:.]+)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection: its address, and whether it speaks TLS with this server."""

    host: str
    port: int
    is_secure: bool


_peer: ContextVar[Peer | None] = ContextVar("peer", default=None)


def most_connections(pages: int) -> int:
    """Return how many connections there may be in all where so many pages may be open."""
    return max(_FEWEST, _FOR_A_PAGE * pages)


@contextmanager
def guarded_connections(
    pages: int, proxies: tuple[str, ...] = (), head_seconds: float = HEAD_SECONDS
) -> Iterator[None]:
    """Guard every socket on which the running event loop begins to listen in the body.

    Parameters
    ----------
    pages
        How many pages may be open, by which the number of connections is limited.
    proxies
        Addresses and networks of reverse proxies, whose connections count only in all.
    head_seconds
        After which a connection is closed that has not sent the head of a request.
    """
    loop = asyncio.get_running_loop()
    begin, gate = loop.create_server, _Gate(most_connections(pages), proxies)

    async def create_server(protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> asyncio.Server:
        def guarded() -> asyncio.BaseProtocol:
            inner = protocol_factory()
            return _Guarded(inner, gate, head_seconds) if isinstance(inner, asyncio.Protocol) else inner

        if options.get("ssl"):
            options.setdefault("ssl_handshake_timeout", head_seconds)
        return await begin(guarded, *args, **options)

    loop.create_server = create_server  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.create_server = begin  # type: ignore[method-assign]


class _Gate:
    """How many connections there are, by address."""

    def __init__(self, most: int, proxies: tuple[str, ...]) -> None:
        self._most, self._open = most, Counter[str]()
        self._proxies = proxies

    def enter(self, host: str) -> bool:
        is_full = self._open[host] >= self._most // _OF_ONE_ADDRESS and not _is_one_of(host, self._proxies)
        if is_full or self._open.total() >= self._most:
            return False
        self._open[host] += 1
        return True

    def leave(self, host: str) -> None:
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]


class _Guarded(asyncio.Protocol):
    """Stands between a transport and the server's protocol until the connection has become a WebSocket, or ends."""

    def __init__(self, inner: asyncio.Protocol, gate: _Gate, head_seconds: float) -> None:
        self._inner, self._gate, self._head_seconds = inner, gate, head_seconds
        self._peer = Peer("", 0, False)
        self._timer: asyncio.TimerHandle | None = None
        self._tail = b""
        self._is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port = (*(transport.get_extra_info("peername") or ("", 0)), 0)[:2]
        self._peer = Peer(_plain(str(host)), int(port), transport.get_extra_info("sslcontext") is not None)
        self._is_counted = self._gate.enter(self._peer.host)
        if not self._is_counted:
            warn(f"refused a connection from {self._peer.host}: too many are open")
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(self._head_seconds, self._end)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self._is_counted:
            return
        if self._timer is not None:
            seen = self._tail + data
            self._tail = seen[-len(_END_OF_HEAD) + 1 :]
            if _END_OF_HEAD in seen:
                self._stop_timer()
        token = _peer.set(self._peer)  # the tasks that the server starts for the request inherit it
        try:
            self._inner.data_received(data)
        finally:
            _peer.reset(token)
        if self._transport.get_protocol() is not self:  # a WebSocket, which is counted as such from now on
            self._leave()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._is_counted else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_counted:
            self._leave()
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._is_counted:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._is_counted:
            self._inner.resume_writing()

    def _end(self) -> None:
        self._timer = None
        warn(f"closed a connection from {self._peer.host}: no request within {self._head_seconds:g} seconds")
        self._transport.abort()

    def _leave(self) -> None:
        self._stop_timer()
        if self._is_counted:
            self._is_counted = False
            self._gate.leave(self._peer.host)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ForwardedHeaders:
    """Middleware that believes `X-Forwarded-For` and `X-Forwarded-Proto` of the named proxies alone.

    The server in front of it believes whatever runs on the machine itself, so it is undone first.

    Parameters
    ----------
    app
        What answers the requests.
    proxies
        Addresses and networks of reverse proxies.
    """

    def __init__(self, app: ASGIApp, proxies: tuple[str, ...] = ()) -> None:
        self._app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        peer = _peer.get()
        if scope["type"] not in {"http", "websocket"} or peer is None:
            await self._app(scope, receive, send)
            return
        host, is_secure = peer.host, peer.is_secure
        if _is_one_of(host, self._proxies):
            host = _forwarded_for(scope, self._proxies) or host
            is_secure = {"https": True, "http": False}.get((header(scope, _PROTO) or "").strip(), is_secure)
        elif any(name in {_FOR, _PROTO} for name, _ in scope["headers"]):
            _say_ignored(host)
        kind = "http" if scope["type"] == "http" else "ws"
        client = (host, peer.port if host == peer.host else 0)
        await self._app({**scope, "client": client, "scheme": f"{kind}s" if is_secure else kind}, receive, send)


@lru_cache(maxsize=64)
def _say_ignored(host: str) -> None:
    """Warn once, since a proxy that is not named forwards every request."""
    warn(f"ignored what {host} forwards; if it is a reverse proxy, name it in PNEUMOLENS_PROXIES")


def _forwarded_for(scope: Scope, proxies: tuple[str, ...]) -> str | None:
    """Return the last address that is none of the proxies: each of them appends whom it was connected with."""
    given = b",".join(value for name, value in scope["headers"] if name == _FOR).decode("latin-1")
    for one in reversed(given.split(",")):
        found = _ADDRESS.fullmatch(one.strip())
        host = _plain(found["six"] or found["host"] or found["bare"]) if found else ""
        if not _is_address(host):
            return None
        if not _is_one_of(host, proxies):
            return host
    return None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _is_one_of(host: str, proxies: tuple[str, ...]) -> bool:
    return _is_address(host) and any(ip_address(host) in ip_network(one) for one in proxies)


def _plain(host: str) -> str:
    """Return an IPv4 address that came over IPv6 as itself, so that it counts once."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped or host) if isinstance(address, IPv6Address) else host

"""How much one address, one visit and all together may take: open connections, bytes of uploads, descriptors.

What a page takes of its uploads counts against the limits of its queue from then on, no longer against these.
"""

from __future__ import annotations

import logging
import resource
import threading
from collections import Counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.server.asgi import header, path_of, refuse
from pages.server.connections import most_connections
from pages.server.pace import Pace
from pages.server.visit_guard import UPLOAD, VISIT_KEY

log = logging.getLogger("pneumolens.server")
# Share of all connections that one address may have, and of all bytes that one visit may have.
_OF_ONE_ADDRESS, _OF_ONE_VISIT = 4, 2
# (at once, a second from then on) of one address: opening a connection costs more than what it may then send.
_OPENED_BY_ONE_ADDRESS = 200, 10
_MOST_ADDRESSES = 1_000
# Descriptors: a session has its connection and an event loop; Streamlit keeps 128 sessions without connection.
_FOR_A_SESSION, _FOR_KEPT_SESSIONS, _FOR_THE_APP = 5, 640, 400
_MOST_DESCRIPTORS = 65_536


class ConnectionLimit:
    """Middleware that refuses WebSockets beyond a number in all, and one address's beyond a quarter of it or too fast.

    Parameters
    ----------
    app
        What answers the other requests.
    most
        Connections in all.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most
        self._open: Counter[str] = Counter()
        self._paces: dict[str, Pace] = {}  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        source = str(client[0]) if client else ""
        if self._open[source] >= max(1, self._most // _OF_ONE_ADDRESS) or self._open.total() >= self._most:
            await refuse(scope, receive, send, 503, "Too many open pages. Close some, or raise PNEUMOLENS_CONNECTIONS.")
            return
        if not self._pace_of(source).take():
            await refuse(scope, receive, send, 503, "Too many pages were opened. Wait a moment.")
            return
        self._open[source] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[source] -= 1
            if not self._open[source]:
                del self._open[source]

    def _pace_of(self, source: str) -> Pace:
        if source not in self._paces and len(self._paces) >= _MOST_ADDRESSES:
            del self._paces[next(iter(self._paces))]
        return self._paces.setdefault(source, Pace(*_OPENED_BY_ONE_ADDRESS))


class UploadBudget:
    """The bytes of uploads that are being received, or wait for a page to take them. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], tuple[str, int]] = {}  # by session and file: the visit, and how many bytes
        self._receiving: Counter[str] = Counter()

    def receive(self, visit: str, count: int, most: int) -> bool:
        """Count received bytes; False, without effect, if the visit then had more than its share of `most`."""
        with self._lock:
            held = sum(size for of, size in self._held.values() if of == visit) + self._receiving[visit]
            total = sum(size for _, size in self._held.values()) + self._receiving.total()
            if held + count > most // _OF_ONE_VISIT or total + count > most:
                return False
            self._receiving[visit] += count
            return True

    def finish(self, visit: str, session: str, file: str, count: int, is_stored: bool) -> None:
        """Note that an upload of so many bytes has been received, and whether it is held from now on."""
        with self._lock:
            self._receiving[visit] -= count
            if not self._receiving[visit]:
                del self._receiving[visit]
            if is_stored:
                self._held[session, file] = visit, count

    def release(self, session: str, file: str | None = None) -> None:
        """Note that an upload, or all those of a session, are no longer held."""
        with self._lock:
            for key in [key for key in self._held if key[0] == session and file in (None, key[1])]:
                del self._held[key]


BUDGET = UploadBudget()


class UploadLimit:
    """Middleware that ends an upload (413) as soon as its visit, or all together, have received too many bytes.

    Parameters
    ----------
    app
        What answers the other requests.
    most
        Bytes in all; a visit may have half of them.
    """

    def __init__(self, app: ASGIApp, most: int, budget: UploadBudget = BUDGET) -> None:
        self._app, self._most, self._budget = app, most, budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        upload = UPLOAD.fullmatch(path_of(scope)) if scope["type"] == "http" else None
        if upload is None or scope["method"] not in {"PUT", "DELETE"}:
            await self._app(scope, receive, send)
            return
        session, file, visit = upload["session"], upload["file"], str(scope.get(VISIT_KEY, ""))
        if scope["method"] == "DELETE":
            await self._app(scope, receive, send)
            self._budget.release(session, file)
            return
        received, status = 0, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            count = len(message.get("body", b""))
            if count:
                if not self._budget.receive(visit, count, self._most):
                    raise _TooMuch
                received += count
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            length = header(scope, b"content-length") or "0"
            if length.isascii() and length.isdigit() and int(length) > self._most // _OF_ONE_VISIT:
                raise _TooMuch
            await self._app(scope, counted, noted)
        except ClientDisconnect:  # a page that was closed meanwhile, which the server would tell in sixty lines
            pass
        except _TooMuch:
            if not status:
                message = "Too many files wait to be read. Add them in smaller numbers."
                await refuse(scope, receive, send, 413, message)
        finally:
            self._budget.finish(visit, session, file, received, 200 <= status < 300)


class _TooMuch(Exception):
    """More was received than may be."""


def raise_descriptor_limit(connections: int) -> None:
    """Raise the limit of open files to what so many connections need, or say at the start that it is lower."""
    needed = connections * _FOR_A_SESSION + most_connections(connections) + _FOR_KEPT_SESSIONS + _FOR_THE_APP
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft != resource.RLIM_INFINITY and soft < needed:
        log.warning(
            "%d pages need %d open files; the system allows %d. Raise LimitNOFILE (or ulimit -n), or lower "
            "PNEUMOLENS_CONNECTIONS.",
            connections,
            needed,
            soft,
        )

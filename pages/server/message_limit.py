"""What a page may send through its WebSocket: which kinds of messages, how large, and how many a second.

Streamlit handles every message on the thread that serves everybody, and takes some that act on all visitors: one of
them empties every cache, the classifier's included. A connection that sends what no page of this app sends is closed.
One that sends too much waits: the server reads no more of it meanwhile. What was sent stays in the buffers of the
system, hours of work for a few megabytes, also after the sender has gone: a connection whose next message has always
been there already, for half a minute, is closed with all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnected

from pages.server import messages
from pages.server.asgi import header, warn
from pages.server.pace import Pace
from pages.server.sign_ins import SIGN_INS, SignIns
from pages.server.visit_guard import CONNECTION, SIGN_IN, VISIT

# The state of a page: a few hundred bytes for each file that was added.
_MOST_BYTES, _MOST_BYTES_SIGNED_IN = 4_000_000, 25_000_000
# Uploads asked for in one message: a folder of training radiographs is asked for in one, by an administrator.
_MOST_UPLOADS, _MOST_UPLOADS_SIGNED_IN = 5_000, 50_000
# (at once, a second from then on) of one connection, and of one address.
_MESSAGES, _MESSAGES_OF_ONE_ADDRESS, _UPLOADS_OF_ONE_ADDRESS = (100, 20), (400, 40), (10_000, 500)
# A run of a page costs as much as hundreds of other messages, on all threads.
_RUNS, _RUNS_OF_ONE_ADDRESS = (40, 8), (100, 16)
_LONGEST_WAIT_SECONDS = 30.0
# A message that was there already is received at once.
_AT_ONCE_SECONDS, _LONGEST_BACKLOG_SECONDS = 0.02, 30.0
_MOST_ADDRESSES = 1_000
_POLICY_VIOLATION, _NOT_UNDERSTOOD, _TOO_LARGE = 1008, 1002, 1009


class MessageLimit:
    """Middleware that closes a WebSocket with a message that no page of this app sends, and slows one with too many.

    Parameters
    ----------
    app
        What answers the requests.
    """

    def __init__(self, app: ASGIApp, sign_ins: SignIns = SIGN_INS, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._sign_ins, self._clock = app, sign_ins, clock
        self._paces: dict[str, _Paces] = {}  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        source = str(client[0]) if client else ""
        own, of_address = _Paces(self._clock, _MESSAGES, _RUNS), self._paces_of(source)
        caught_up = self._clock()

        async def limited() -> Message:
            nonlocal caught_up
            asked = self._clock()
            message = await receive()
            received = self._clock()
            if received - asked > _AT_ONCE_SECONDS:
                caught_up = received
            if message["type"] != "websocket.receive":
                return message
            is_signed_in = self._is_signed_in(scope)
            data = message.get("bytes")
            if data is None:
                return _closed(source, "a message of text", _NOT_UNDERSTOOD)
            if len(data) > (_MOST_BYTES_SIGNED_IN if is_signed_in else _MOST_BYTES):
                return _closed(source, "a message that is too large", _TOO_LARGE)
            request = messages.request_of(data)
            if request is None:
                return _closed(source, "a message of a kind that no page sends", _NOT_UNDERSTOOD)
            most = _MOST_UPLOADS_SIGNED_IN if is_signed_in else _MOST_UPLOADS
            if request.uploads > most:
                return _closed(source, "a request for too many uploads", _POLICY_VIOLATION)
            uploads = 0 if is_signed_in else request.uploads
            seconds = max(own.wait(request.kind, uploads), of_address.wait(request.kind, uploads))
            if seconds > _LONGEST_WAIT_SECONDS or received - caught_up > _LONGEST_BACKLOG_SECONDS:
                return _closed(source, "too many messages", _POLICY_VIOLATION)
            # Without any pause here, messages that have come already would be handled before anybody else is served.
            await asyncio.sleep(seconds)
            return message

        # Streamlit closes what the browser has closed already, which the server would tell in sixty lines each time.
        with suppress(WebSocketDisconnected):
            await self._app(scope, limited, send)

    def _paces_of(self, source: str) -> _Paces:
        if source not in self._paces and len(self._paces) >= _MOST_ADDRESSES:
            del self._paces[next(iter(self._paces))]
        paces = self._paces.pop(source, None) or _Paces(
            self._clock, _MESSAGES_OF_ONE_ADDRESS, _RUNS_OF_ONE_ADDRESS, _UPLOADS_OF_ONE_ADDRESS
        )
        self._paces[source] = paces
        return paces

    def _is_signed_in(self, scope: Scope) -> bool:
        return self._sign_ins.is_in_force(header(scope, VISIT), header(scope, CONNECTION), header(scope, SIGN_IN))


class _Paces:
    """The paces of messages, of runs of a page, and of uploads asked for; None where these are not limited."""

    def __init__(
        self,
        clock: Callable[[], float],
        messages: tuple[int, int],
        runs: tuple[int, int],
        uploads: tuple[int, int] | None = None,
    ) -> None:
        self._messages, self._runs = Pace(*messages, clock), Pace(*runs, clock)
        self._uploads = Pace(*uploads, clock) if uploads else None

    def wait(self, kind: str, uploads: int) -> float:
        """Count a message that asks for so many uploads, and return how many seconds later it may be handled."""
        seconds = self._messages.wait()
        if kind == "rerun_script":
            seconds = max(seconds, self._runs.wait())
        if uploads and self._uploads is not None:
            seconds = max(seconds, self._uploads.wait(uploads))
        return seconds


def _closed(source: str, what: str, code: int) -> Message:
    warn(f"closed a connection from {source or 'unknown'}: it sent {what}")
    return {"type": "websocket.disconnect", "code": code}

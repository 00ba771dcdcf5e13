"""What a page may send through its WebSocket: which kinds of messages, how large, and how many a second.

Streamlit handles every message on the thread that serves everybody, and takes some that act on all visitors: one of
them empties every cache, the classifier's included. A connection that sends what no page of this app sends is closed.
One that sends too much waits: the server reads no more of it meanwhile.
"""

from __future__ import annotations

import asyncio
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
_LONGEST_WAIT_SECONDS = 30.0
_MOST_ADDRESSES = 1_000
_POLICY_VIOLATION, _NOT_UNDERSTOOD, _TOO_LARGE = 1008, 1002, 1009


class MessageLimit:
    """Middleware that closes a WebSocket with a message that no page of this app sends, and slows one with too many.

    Parameters
    ----------
    app
        What answers the requests.
    """

    def __init__(self, app: ASGIApp, sign_ins: SignIns = SIGN_INS) -> None:
        self._app, self._sign_ins = app, sign_ins
        self._paces: dict[str, tuple[Pace, Pace]] = {}  # by address: of messages, of uploads asked for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        source = str(client[0]) if client else ""
        own, (of_address, uploads_of_address) = Pace(*_MESSAGES), self._paces_of(source)

        async def limited() -> Message:
            message = await receive()
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
            seconds = max(own.wait(), of_address.wait())
            if request.uploads and not is_signed_in:
                seconds = max(seconds, uploads_of_address.wait(request.uploads))
            if seconds > _LONGEST_WAIT_SECONDS:
                return _closed(source, "too many messages", _POLICY_VIOLATION)
            # Without any pause here, messages that have come already would be handled before anybody else is served.
            await asyncio.sleep(seconds)
            return message

        # Streamlit closes what the browser has closed already, which the server would tell in sixty lines each time.
        with suppress(WebSocketDisconnected):
            await self._app(scope, limited, send)

    def _paces_of(self, source: str) -> tuple[Pace, Pace]:
        if source not in self._paces and len(self._paces) >= _MOST_ADDRESSES:
            del self._paces[next(iter(self._paces))]
        paces = self._paces.pop(source, None) or (Pace(*_MESSAGES_OF_ONE_ADDRESS), Pace(*_UPLOADS_OF_ONE_ADDRESS))
        self._paces[source] = paces
        return paces

    def _is_signed_in(self, scope: Scope) -> bool:
        return self._sign_ins.is_in_force(header(scope, VISIT), header(scope, CONNECTION), header(scope, SIGN_IN))


def _closed(source: str, what: str, code: int) -> Message:
    warn(f"closed a connection from {source or 'unknown'}: it sent {what}")
    return {"type": "websocket.disconnect", "code": code}

"""What the middleware of this package share: headers of a request, refusals, and logs that cannot be flooded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import streamlit as st
from starlette.types import Receive, Scope, Send

log = logging.getLogger("pneumolens.server")
_LINES_PER_MINUTE = 20
# Loggers to which anybody on the network can have a line written: what is no HTTP, an upload that breaks off.
_LOGGERS_OF_STRANGERS = ("uvicorn.error", "streamlit.web.server.starlette.starlette_routes")
_POLICY_VIOLATION = 1008


def header(scope: Scope, name: bytes) -> str | None:
    """Return a header of a request, None where it is missing or occurs more than once.

    Parameters
    ----------
    name
        In lower case.
    """
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


def with_headers(scope: Scope, replaced: Iterable[bytes], new: Iterable[tuple[bytes, bytes]] = ()) -> Scope:
    """Return the request without the headers named in `replaced`, and with the new ones."""
    names = set(replaced)
    return {**scope, "headers": [*((key, value) for key, value in scope["headers"] if key not in names), *new]}


def path_of(scope: Scope) -> str:
    """Return the path of a request below `server.baseUrlPath`, with a slash at its beginning."""
    path, base = str(scope["path"]), str(st.get_option("server.baseUrlPath") or "").strip("/")
    return path.removeprefix(f"/{base}") if base and f"{path}/".startswith(f"/{base}/") else path


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    """Answer a request with a status and a sentence, or close a WebSocket before it is accepted."""
    client = scope.get("client")
    warn(f"refused {scope['type']} {scope['path']} from {client[0] if client else 'unknown'}: {message}")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": message[:120]})
        return
    body = f"{message}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    # What the client still sends of a refused body is not read.
    headers += [(b"connection", b"close")] if scope["method"] not in {"GET", "HEAD", "OPTIONS"} else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class RateLimit(logging.Filter):
    """At most so many warnings and errors a minute; the first one of the next minute says how many were left out."""

    def __init__(self, lines_per_minute: int = _LINES_PER_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._clock = lines_per_minute, clock
        self._minute, self._written, self._left_out = -1, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        minute = int(self._clock() // 60)
        if minute != self._minute:
            if self._left_out:
                log.warning("%d further lines like the next one were not logged", self._left_out)
            self._minute, self._written, self._left_out = minute, 0, 0
        if self._written >= self._most:
            self._left_out += 1
            return False
        self._written += 1
        return True


def limit_logs() -> None:
    """Limit how often the server underneath writes what anybody on the network can have it write."""
    for name in _LOGGERS_OF_STRANGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, RateLimit) for one in logger.filters):
            logger.addFilter(RateLimit())


_refusals = log.getChild("refusals")
_refusals.addFilter(RateLimit())


def warn(message: str) -> None:
    """Write a warning about something that was refused, with control characters escaped, at most so many a minute."""
    _refusals.warning("%s", "".join(one if one.isprintable() else repr(one)[1:-1] for one in message[:300]))

"""What a browser may do with the pages: the headers of every answer, and what the server does not answer at all."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from pathlib import Path

import streamlit as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.server.asgi import header, path_of, refuse

# Streamlit's figures on sessions and memory are nobody's business who can open a page; its sign-in is not in use, and
# writes a line to the terminal at each request.
CLOSED = ("/_stcore/metrics", "/_stcore/script-health-check", "/_stcore/agent", "/auth", "/oauth2callback")
# A radiograph must not stay in a browser's cache after the visit.
NEVER_STORED = ("/media/", "/_stcore/upload_file/")
_CONTROL = frozenset(map(chr, (*range(32), 127)))
_FEATURES = (
    "accelerometer autoplay bluetooth camera display-capture geolocation gyroscope hid magnetometer microphone midi "
    "payment serial usb xr-spatial-tracking"
)
_FIXED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": ", ".join(f"{one}=()" for one in _FEATURES.split()),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SecurityHeaders:
    """Middleware that adds the headers and closes `CLOSED`.

    Parameters
    ----------
    app
        What answers the requests.
    frame_ancestors
        Origins of the web pages that may show the app in a frame; none by default.
    """

    def __init__(self, app: ASGIApp, frame_ancestors: tuple[str, ...] = ()) -> None:
        self._app = app
        self._ancestors = frame_ancestors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_of(scope)
        added = {**_FIXED, "content-security-policy": content_policy(header(scope, b"host") or "", self._ancestors)}
        if not self._ancestors:
            added["x-frame-options"] = "DENY"
        if path.startswith(NEVER_STORED):
            added["cache-control"] = "no-store"
        names = {name.encode() for name in added}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
                headers = [*kept, *((name.encode(), value.encode("latin-1")) for name, value in added.items())]
                message = {**message, "headers": headers}
            await send(message)

        if _is_closed(path):
            await refuse(scope, receive, send_with_headers, 404, "Not found.")
            return
        await self._app(scope, receive, send_with_headers)


def _is_closed(path: str) -> bool:
    """Whether a path is one of `CLOSED`, or has a control character: a route also takes a line break at its end."""
    return any(path == one or path.startswith(f"{one}/") for one in CLOSED) or not _CONTROL.isdisjoint(path)


def content_policy(host: str, frame_ancestors: tuple[str, ...] = ()) -> str:
    """Return the Content-Security-Policy of a page that was requested from `host`.

    Scripts are the server's own files, the inline ones of Streamlit's page by their digests, and modules that
    Streamlit makes in the browser (``blob:``). Styles are written by scripts and cannot be named in advance.
    """
    sockets = f" ws://{host} wss://{host}" if re.fullmatch(r"[\w.:\[\]-]+", host, re.ASCII) else ""
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' blob: {' '.join(inline_scripts())}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            f"connect-src 'self'{sockets}",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            f"frame-ancestors {' '.join(frame_ancestors) or chr(39) + 'none' + chr(39)}",
        )
    )


@cache
def inline_scripts() -> tuple[str, ...]:
    """Return the sources, as a Content-Security-Policy names them, of the inline scripts in Streamlit's page."""
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return tuple(f"'sha256-{b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)

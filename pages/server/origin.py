"""Which host a request may name and which web page may have sent it: both exactly, before Streamlit sees the request.

Without this, Streamlit asks an address on the Internet for the server's own whenever it meets an Origin it does not
know, and waits for the answer on the thread that serves everybody.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

import streamlit as st
from starlette.types import ASGIApp, Receive, Scope, Send

from pages.server.asgi import header, refuse, with_headers

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
_SCHEMES = {"ws": "http", "wss": "https"}
_SAFE = {"GET", "HEAD"}


class OriginGuard:
    """Middleware that refuses requests to a foreign Host (421), from a foreign Origin (403) and of two lengths (400).

    Parameters
    ----------
    app
        What answers the other requests.
    origins
        Addresses under which browsers reach the app through a reverse proxy, such as ``https://lens.example``.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...] = ()) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        if _has_two_lengths(scope):
            await refuse(scope, receive, send, 400, "This request says twice how long it is.")
            return
        host = (header(scope, b"host") or "").lower()
        if not self._is_allowed_host(host, scope):
            await refuse(
                scope,
                receive,
                send,
                421,
                "This address is not one of PneumoLens. Add it to server.allowedHosts or PNEUMOLENS_ORIGINS.",
            )
            return
        own = f"{scheme_of(scope)}://{host}"
        if not self._is_allowed_origin(scope, own):
            await refuse(
                scope, receive, send, 403, "Another web page sent this request. Add its address to PNEUMOLENS_ORIGINS."
            )
            return
        # Streamlit needs no Origin for a page of its own, and the request's own one for a WebSocket.
        kept = [(b"origin", own.encode("latin-1"))] if scope["type"] == "websocket" else []
        await self._app(with_headers(scope, [b"origin"], kept), receive, send)

    def _is_allowed_host(self, host: str, scope: Scope) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"]
        names = {*LOOPBACK, *configured_hosts(), *_local_address(scope)}
        return name in names or host in names or host in {urlsplit(origin).netloc for origin in self._origins}

    def _is_allowed_origin(self, scope: Scope, own: str) -> bool:
        values = [value for key, value in scope["headers"] if key == b"origin"]
        if not values:
            return scope["type"] == "http" and scope["method"] in _SAFE
        return len(values) == 1 and values[0].decode("latin-1") in {own, *self._origins}


def _has_two_lengths(scope: Scope) -> bool:
    """Whether a proxy in front may see another end of the request than this server does (RFC 9112, section 6.3)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def _local_address(scope: Scope) -> set[str]:
    """Return the address at which this connection ends: in figures, it cannot be a foreign name for this machine."""
    server = scope.get("server")
    try:
        local = ip_address(str(server[0])) if server else None
    except ValueError:
        return set()
    return set() if local is None else {f"[{local}]" if local.version == 6 else str(local)}


def scheme_of(scope: Scope) -> str:
    """Return http or https."""
    scheme = str(scope["scheme"])
    return _SCHEMES.get(scheme, scheme)


def configured_hosts() -> set[str]:
    """Return the hosts that Streamlit's configuration names: exact names, with a port where one is given."""
    named = [st.get_option("server.address"), st.get_option("browser.serverAddress")]
    named += list(st.get_option("server.allowedHosts") or [])
    hosts = {str(one).strip().lower().rstrip(".") for one in named if one}
    hosts = {f"[{one}]" if one.count(":") > 1 and not one.startswith("[") else one for one in hosts}
    return {one for one in hosts if "*" not in one and one not in {"0.0.0.0", "[::]"}}

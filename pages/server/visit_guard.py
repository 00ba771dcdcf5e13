"""The middleware that binds sessions, uploads and media to the browser they belong to, by a cookie."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime

from pages.server import messages
from pages.server.asgi import header, path_of, refuse, warn, with_headers
from pages.server.origin import scheme_of
from pages.server.sign_ins import SIGN_INS, SignIns
from pages.server.visits import VISITS, Visits, digest, new_token, visit_of

# Headers that this middleware alone sets, for the pages to read.
VISIT, CONNECTION, SIGN_IN = b"x-pneumolens-visit", b"x-pneumolens-connection", b"x-pneumolens-sign-in"
# Where the middleware behind this one finds a request's visit.
VISIT_KEY = "pneumolens.visit"
SIGN_IN_PATH = "/_pneumolens/sign-in/"
UPLOAD = re.compile(r"/_stcore/upload_file/(?P<session>[^/]+)/(?P<file>[^/]+)")
_MEDIA = re.compile(r"/media/(?P<file>.+)", re.DOTALL)
# Before the name of a file that is made when it is asked for, so that it stands for no media file.
_DEFERRED = "deferred:"
# Fetched by every page at its start and at every reconnection, always with the cookies that there are.
_FIRST = ("/_stcore/health", "/_stcore/host-config")
_ASSETS = ("/static/", "/media/", "/component/", "/_stcore/", "/_pneumolens/")
# Of the time for which Streamlit keeps a session without connection: what ends here has not been forgotten there.
_SHARE_OF_TTL = 0.75
_AFTER_REFUSAL_SECONDS = 0.05


class VisitGuard:
    """Middleware that gives each browser a visit, and refuses (403) what belongs to another one.

    Parameters
    ----------
    app
        What answers the other requests.
    origins
        As for `pages.server.origin.OriginGuard`: a browser behind a proxy may speak TLS although this server does not.
    on_end
        Called with the name of a session that ends.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: tuple[str, ...] = (),
        on_end: Callable[[str], object] = lambda _: None,
        visits: Visits = VISITS,
        sign_ins: SignIns = SIGN_INS,
    ) -> None:
        self._app, self._on_end, self._visits, self._sign_ins = app, on_end, visits, sign_ins
        self._secure_hosts = {one.removeprefix("https://") for one in origins if one.startswith("https://")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    # ---- requests

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, is_secure = path_of(scope), self._is_secure(scope)
        visit = visit_of(cookie(scope, cookie_name("visit", is_secure)))
        upload, media = UPLOAD.fullmatch(path), _MEDIA.fullmatch(path)
        if path.startswith(SIGN_IN_PATH):
            await self._deliver(scope, receive, send, path.removeprefix(SIGN_IN_PATH), visit)
        elif upload and not (
            self._visits.owns(visit, upload["session"]) and self._visits.is_issued(upload["session"], upload["file"])
        ):
            await refuse(scope, receive, send, 403, "This upload belongs to another visit. Reload the page.")
        elif media and not self._visits.may_fetch(visit, messages.media_key(media["file"])):
            await refuse(scope, receive, send, 403, "This file belongs to another visit, or its visit has ended.")
        elif visit is None and scope["method"] == "GET" and _is_first(scope, path):
            new = set_cookie("visit", new_token(), is_secure)

            async def send_with_cookie(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", new)]}
                await send(message)

            await self._app(scope, receive, send_with_cookie)
        else:
            await self._app({**scope, VISIT_KEY: visit}, receive, send)

    async def _deliver(self, scope: Scope, receive: Receive, send: Send, ticket: str, visit: str | None) -> None:
        """Give the browser that signed in the cookie of the sign-in."""
        token = self._sign_ins.deliver(ticket, visit) if visit is not None and scope["method"] == "GET" else None
        if token is None:
            await refuse(scope, receive, send, 404, "Not found.")
            return
        headers = [
            (b"set-cookie", set_cookie("sign_in", token, self._is_secure(scope))),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _is_secure(self, scope: Scope) -> bool:
        return scheme_of(scope) == "https" or header(scope, b"host") in self._secure_hosts

    # ---- sessions

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_secure = self._is_secure(scope)
        visit = visit_of(cookie(scope, cookie_name("visit", is_secure)))
        if visit is None:
            await refuse(scope, receive, send, 403, "Open PneumoLens from its start page.")
            return
        asked = [one.strip() for one in (header(scope, b"sec-websocket-protocol") or "").split(",")]
        former = asked[2] if len(asked) > 2 and self._visits.owns(visit, asked[2]) else ""
        # A session that is not this visit's is not resumed: Streamlit begins a new one.
        asked = [*asked[:2], former] if former else asked[:2]
        sign_in = cookie(scope, cookie_name("sign_in", is_secure))
        own = [
            (b"sec-websocket-protocol", ", ".join(asked).encode("latin-1")),
            (VISIT, visit.encode()),
            (CONNECTION, secrets.token_hex(16).encode()),
            (SIGN_IN, digest(sign_in).encode() if sign_in else b""),
        ]
        inner = with_headers(scope, [name for name, _ in own], own)
        inner["subprotocols"] = asked
        following = _Following(self._visits, visit, former)
        try:
            await self._app(inner, following.receiving(receive, send), following.sending(send))
        finally:
            if following.session:
                self._visits.disconnect(following.session)
                seconds = float(st.get_option("server.disconnectedSessionTTL")) * _SHARE_OF_TTL
                asyncio.get_running_loop().call_later(seconds, self._end, seconds)

    def _end(self, seconds: float) -> None:
        """End the sessions that were without connection for so many seconds, with their films and files."""
        for session in self._visits.idle(seconds):
            self._visits.end(session)
            runtime.get_instance().close_session(session)
            self._on_end(session)


@dataclass(slots=True)
class _Following:
    """What is read of the messages of one connection: its session, the files shown, the uploads allowed."""

    visits: Visits
    visit: str
    session: str
    _is_known: bool = False
    _requests: int = 0

    def __post_init__(self) -> None:
        if self.session:
            self.visits.connect(self.session, self.visit)

    def receiving(self, receive: Receive, send: Send) -> Receive:
        """Wrap what the browser sends: a request for uploads will be answered with their names.

        A request for a file that Streamlit would make for anybody who knows its name is answered here if the file was
        not offered to this visit.
        """

        async def follow() -> Message:
            message = await receive()
            data = message.get("bytes")
            while data and not self._may_ask(data):
                warn("refused an operation of another visit")
                await send({"type": "websocket.send", "bytes": messages.refused_operation(data)})
                await asyncio.sleep(_AFTER_REFUSAL_SECONDS)  # else a flood of them would stop the service
                message = await receive()
                data = message.get("bytes")
            request = messages.request_of(data or b"")
            self._requests += request is not None and request.kind == "file_urls_request"
            return message

        return follow

    def _may_ask(self, data: bytes) -> bool:
        asked = messages.operation_asked(data)
        if asked is None:
            return True
        kind, file = asked
        return bool(kind) and (kind != "deferred_file" or self.visits.may_fetch(self.visit, f"{_DEFERRED}{file}"))

    def sending(self, send: Send) -> Send:
        """Wrap what the server sends: it names the session, the media files and the uploads."""

        async def follow(message: Message) -> None:
            data = message.get("bytes") if message["type"] == "websocket.send" else None
            if data:
                for file in messages.media_shown(data):
                    self.visits.show(self.visit, file)
                for file in messages.deferred_shown(data):
                    self.visits.show(self.visit, f"{_DEFERRED}{file}")
                if not self._is_known or self._requests:
                    self._read(data)
            await send(message)

        return follow

    def _read(self, data: bytes) -> None:
        if not self._is_known and (session := messages.session_of(data)) is not None:
            former, self._is_known = self.session, True
            if session != former and self.visits.connect(session, self.visit):
                self.session = session
                if former:
                    self.visits.disconnect(former)
        elif self._requests and (files := messages.uploads_allowed(data)) is not None:
            self._requests -= 1
            for file in files:
                self.visits.issue(self.session, file)


def _is_first(scope: Scope, path: str) -> bool:
    """Whether a request may begin a visit.

    A page that another site links to is asked for without the cookies that there may be, and must not replace them.
    """
    if header(scope, b"sec-fetch-site") == "cross-site":
        return False
    return path in _FIRST or not path.startswith(_ASSETS)


def cookie_name(kind: str, is_secure: bool) -> str:
    """Return the name of a cookie: cookies do not tell ports apart, so that two apps on one machine need two names."""
    return f"{'__Host-' if is_secure else ''}pneumolens_{kind}_{st.get_option('server.port')}"


def set_cookie(kind: str, value: str, is_secure: bool) -> bytes:
    """Return the header that sets a cookie until the browser is closed."""
    secure = "; Secure" if is_secure else ""
    return f"{cookie_name(kind, is_secure)}={value}; Path=/; HttpOnly; SameSite=Strict{secure}".encode()


def cookie(scope: Scope, name: str) -> str | None:
    """Return a cookie, None where it is missing or there are several, one of which somebody else has set."""
    pairs = (one.strip().partition("=") for one in (header(scope, b"cookie") or "").split(";"))
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else None

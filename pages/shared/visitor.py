"""The visitor of a page as the server sees them: their address, and their acts in the activity log."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit import runtime
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.settings import Settings
from pages.server import visit_guard
from pages.server.messages import media_key
from pages.server.visits import VISITS
from records import activity
from records.activity import Outcome
from records.administrator import NAME
from records.throttle import LOCAL


def source() -> str:
    """Return the client's network address, `LOCAL` where the browser runs on the server itself.

    Behind a reverse proxy it is the proxy's address, unless the server trusts the proxy's headers.
    """
    address = st.context.ip_address
    return address if isinstance(address, str) else LOCAL  # no string where a test runs a page without a server


@dataclass(frozen=True, slots=True)
class Visitor:
    """The browser that a page runs for.

    Attributes
    ----------
    visit, connection
        Names of the browser's visit and of the connection in use, None where a test runs a page without a server.
    sign_in
        Name of the sign-in whose cookie the browser has, None without one.
    """

    session: str
    visit: str | None = None
    connection: str | None = None
    sign_in: str | None = None


def current() -> Visitor | None:
    """Return the visitor that the page runs for; None where the connection has ended or did not come by the guard."""
    context = get_script_run_ctx()
    if context is None:
        return None
    if not _has_server():
        return Visitor(context.session_id)
    headers = _headers(context.session_id)
    visit, connection = (headers.get(name.decode()) for name in (visit_guard.VISIT, visit_guard.CONNECTION))
    if not visit or not connection:
        return None
    return Visitor(context.session_id, visit, connection, headers.get(visit_guard.SIGN_IN.decode()) or None)


def keep(name: str, value: object) -> None:
    """Keep a value of this session for the next session of the same browser, which a reload begins."""
    visitor = current()
    if visitor is not None and visitor.visit is not None:
        VISITS.keep(visitor.session, visitor.visit, name, value)


def take_up(name: str) -> Any:
    """Return what the browser's former session has kept, None without one."""
    visitor = current()
    return None if visitor is None or visitor.visit is None else VISITS.take_up(visitor.visit, name)


def show_file(name: str) -> None:
    """Let the browser fetch a media file whose address stands where only this app's own script looks for it."""
    visitor = current()
    if visitor is not None and visitor.visit is not None:
        VISITS.show(visitor.visit, media_key(name))


def hide_files() -> None:
    """Let the browser fetch nothing that it was shown so far."""
    visitor = current()
    VISITS.hide_files(None if visitor is None else visitor.visit)


def _has_server() -> bool:
    """Whether a server runs the page. `AppTest` runs it with a stand-in for the runtime."""
    return runtime.exists() and type(runtime.get_instance()) is Runtime


def _headers(session: str) -> Mapping[str, str]:
    client = runtime.get_instance().get_client(session)
    context = None if client is None else client.client_context
    return {} if context is None else {name.lower(): value for name, value in context.headers}


def note(settings: Settings, act: str, object: str = "", outcome: Outcome = "done") -> None:
    """Write an act of the administrator, or of whoever tries to be, into the activity log (`records.activity`)."""
    activity.note(settings, act, who=NAME, source=source(), object=object, outcome=outcome)


def noted(settings: Settings, act: str, object: str = "") -> AbstractContextManager[None]:
    """Note the act in the body as done, or as refused when it raises an AppError."""
    return activity.noted(settings, act, who=NAME, source=source(), object=object)

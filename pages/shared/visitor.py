"""The visitor of a page as the server sees them: their address, and their acts in the activity log."""

from __future__ import annotations

from contextlib import AbstractContextManager

import streamlit as st

from core.settings import Settings
from records import activity
from records.activity import Outcome
from records.administrator import NAME
from records.throttle import LOCAL


def source() -> str:
    """Return the client's network address, `LOCAL` where the browser runs on the server itself.

    Behind a reverse proxy it is the proxy's address, unless the server is told to trust the proxy's headers.
    """
    address = st.context.ip_address
    return address if isinstance(address, str) else LOCAL  # no string where a test runs a page without a server


def note(settings: Settings, act: str, object: str = "", outcome: Outcome = "done") -> None:
    """Write an act of the administrator, or of whoever tries to be, into the activity log (`records.activity`)."""
    activity.note(settings, act, who=NAME, source=source(), object=object, outcome=outcome)


def noted(settings: Settings, act: str, object: str = "") -> AbstractContextManager[None]:
    """Note the act in the body as done, or as refused when it raises an AppError."""
    return activity.noted(settings, act, who=NAME, source=source(), object=object)

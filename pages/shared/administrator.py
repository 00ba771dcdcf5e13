"""The sign-in guard of the administrator's pages: one-time code, password and session time-out.

A sign-in belongs to a browser: it is in force on the connection on which the password was given, and on those that send
the cookie that the browser fetches for it. It ends with "Sign out", after 30 minutes of inactivity and when the
password changes. A page needs the guard in three places: its script calls `require_administrator`, every fragment
`still_administrator`, since it runs again without its page, and every callback is `guarded`, since it runs before its
page.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.errors import AppError, SignInError
from core.settings import Settings
from pages.server.sign_ins import SIGN_INS, SignIn
from pages.server.visit_guard import SIGN_IN_PATH
from pages.shared import frame, installation, visitor
from records.administrator import (
    EXPECTED,
    FORGOTTEN,
    NAME,
    check_password,
    has_password,
    password_mark,
    set_password,
)

IDLE_SECONDS = 1800.0
_CHECK_SECONDS = 30.0
_FORM_PX = 420
_SIGN_IN, _ENDED = "administrator.session", "administrator.ended"
_clock = time.monotonic


def require_administrator() -> str:
    """Return the administrator's name where signed in; else draw the sign-in form and stop the page."""
    try:
        settings = installation.settings()
        if _is_signed_in(settings):
            sign_in = SIGN_INS.find(st.session_state[_SIGN_IN])
            if sign_in is not None:
                sign_in.used = _clock()
            _show_user()
            return NAME
        if has_password(settings):
            _ask_for_password(settings)
        else:
            _ask_for_first_code(settings)
    except AppError as error:
        frame.show_error(error)
    except OSError as error:
        frame.show_error(
            SignInError(
                f"expected a data folder that can be read. Received: {type(error).__name__}",
                advice="The data folder is not readable. Check its permissions.",
            )
        )
    st.stop()
    raise AssertionError("st.stop returned")  # no page continues past this guard


def still_administrator() -> str:
    """Return the administrator's name where signed in, else rerun the whole page; the first line of a fragment.

    Does not count as use: a fragment that polls would keep the session open.
    """
    if _is_signed_in(installation.settings()):
        return NAME
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        st.rerun()
    st.stop()
    raise AssertionError("st.stop returned")


def guarded(callback: Callable[..., object]) -> Callable[..., None]:
    """Wrap a widget's callback so that it acts only where signed in."""

    @wraps(callback)
    def act(*args: Any, **kwargs: Any) -> None:
        if _is_signed_in(installation.settings()):
            callback(*args, **kwargs)

    return act


def sign_out() -> None:
    """End the sign-in, on every page of the browser."""
    name = st.session_state.pop(_SIGN_IN, None)
    SIGN_INS.remove(name)
    if name is not None:
        visitor.note(installation.settings(), "sign-out")


def _is_signed_in(settings: Settings) -> bool:
    name, sign_in = _find_sign_in()
    if sign_in is None:
        return False
    st.session_state[_SIGN_IN] = name
    if _clock() - sign_in.used >= IDLE_SECONDS:
        st.session_state[_ENDED] = f"You were signed out after {IDLE_SECONDS / 60:.0f} minutes of inactivity."
    elif sign_in.mark != password_mark(settings):
        st.session_state[_ENDED] = "You were signed out because the password was changed."
    else:
        return True
    sign_out()
    return False


def _find_sign_in() -> tuple[str, SignIn | None]:
    """Return the sign-in in force on this connection: one that was made on it, or whose cookie it sent."""
    visit = visitor.current()
    if visit is None:
        return "", None
    name: str
    for name in (st.session_state.get(_SIGN_IN) or "", visit.sign_in or ""):
        sign_in = SIGN_INS.find(name)
        if (
            sign_in is not None
            and sign_in.visit == visit.visit
            and (sign_in.connection == visit.connection or name == visit.sign_in)
        ):
            return name, sign_in
    return "", None


def _sign_in(mark: str) -> None:
    visit = visitor.current()
    if visit is None:  # the connection ended meanwhile
        st.stop()
        raise AssertionError("st.stop returned")
    st.session_state[_SIGN_IN] = SIGN_INS.add(mark, _clock(), visit.visit, visit.connection)
    st.session_state.pop(_ENDED, None)
    st.rerun()


@st.fragment(run_every=_CHECK_SECONDS)
def _show_user() -> None:
    """Draw the user and "Sign out", and check regularly whether the session has ended, so that no page stays open."""
    still_administrator()
    _fetch_cookie()
    with st.container(
        horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small", key="administrator"
    ):
        st.html(f'<p class="pl-note">Signed in as {NAME}</p>', width="content")
        st.button("Sign out", on_click=sign_out, key="administrator.sign_out")


def _fetch_cookie() -> None:
    """Have the browser fetch the cookie of a new sign-in, which a script of the page could not set."""
    sign_in = SIGN_INS.find(st.session_state.get(_SIGN_IN))
    if sign_in is not None and sign_in.visit is not None and sign_in.ticket:
        base = str(st.get_option("server.baseUrlPath") or "").strip("/")
        path = f"/{base}{SIGN_IN_PATH}" if base else SIGN_IN_PATH
        st.html(f'<img src="{path}{sign_in.ticket}" alt="" hidden>')


def _ask_for_password(settings: Settings) -> None:
    st.html('<h1 class="pl-title">Sign in as administrator</h1>')
    ended = st.session_state.get(_ENDED)
    if ended is not None:
        st.html(f'<p class="pl-warning" role="alert">{escape(ended)}</p>', width=_FORM_PX)
    with st.form("administrator.sign_in", clear_on_submit=True, width=_FORM_PX):
        password = st.text_input(
            "Password", type="password", autocomplete="current-password", key="administrator.password"
        )
        is_sent = st.form_submit_button("Sign in", type="primary")
    if is_sent:
        try:
            with visitor.noted(settings, "sign-in"):
                mark = check_password(settings, password, visitor.source())
        except SignInError as error:
            _show_refusal(error)
        else:
            _sign_in(mark)
    st.html(f'<p class="pl-note">{escape(FORGOTTEN)}</p>')


def _ask_for_first_code(settings: Settings) -> None:
    st.html(
        '<h1 class="pl-title">Set the administrator password</h1><p class="pl-note">No password is set. Enter '
        "the one-time code that PneumoLens printed to its terminal at start-up, and choose a password.</p>"
    )
    with st.form("administrator.first", width=_FORM_PX):
        code = st.text_input("One-time code", autocomplete="one-time-code", key="administrator.code")
        password = st.text_input(
            "New password",
            type="password",
            autocomplete="new-password",
            key="administrator.new",
            help=f"Expected: {EXPECTED}.",
        )
        again = st.text_input(
            "Repeat new password", type="password", autocomplete="new-password", key="administrator.again"
        )
        is_sent = st.form_submit_button("Set password", type="primary")
    if is_sent:
        try:
            if password != again:
                raise SignInError(
                    "expected the same password twice. Received: two different passwords",
                    advice="The passwords do not match. Enter the same password twice.",
                )
            with visitor.noted(settings, "set-password"):
                mark = set_password(settings, code, password, visitor.source())
        except SignInError as error:
            _show_refusal(error)
        else:
            _sign_in(mark)


def _show_refusal(error: SignInError) -> None:
    st.html(f'<p class="pl-warning" role="alert">{escape(error.advice)}</p>', width=_FORM_PX)

"""Visits: the sessions of one browser, what they may fetch, and what of them outlives a reload. Does not use Streamlit.

A visit is known by a random token in a cookie. The token carries a signature of this start of the app, so that no token
costs memory until its browser opens a session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST_FILES, _MOST_ISSUED = 20_000, 100_000
_SECRET = secrets.token_bytes(32)
_TOKEN_BYTES = 32


def new_token() -> str:
    """Return a token for the cookie of a new visit."""
    value = secrets.token_urlsafe(_TOKEN_BYTES)
    return f"{value}.{_signature(value)}"


def visit_of(token: str | None) -> str | None:
    """Return the visit's name, which says nothing about its token; None for a token that this start did not make."""
    value, _, signature = (token or "").partition(".")
    if not value.isascii() or not hmac.compare_digest(_signature(value).encode(), signature.encode()):
        return None
    return digest(token or "")


def digest(token: str) -> str:
    """Return what a token is known by."""
    return hashlib.sha256(token.encode()).hexdigest()


def _signature(value: str) -> str:
    return hmac.new(_SECRET, value.encode(), "sha256").hexdigest()


@dataclass(slots=True, eq=False)
class _Session:
    """A session: its visit, how many connections it has, and what is kept of it while it has none."""

    visit: str
    connections: int = 0
    closed: float = 0.0
    issued: dict[str, None] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


class Visits:
    """The sessions of all visits. May be used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._files: dict[str, dict[str, None]] = {}  # by visit, in the order in which they were shown

    def connect(self, session: str, visit: str) -> bool:
        """Note a connection to a session; False, without effect, if the session belongs to another visit."""
        with self._lock:
            found = self._sessions.setdefault(session, _Session(visit, closed=self._clock()))
            if found.visit != visit:
                return False
            found.connections += 1
            return True

    def disconnect(self, session: str) -> None:
        """Note that a connection to a session has ended."""
        with self._lock:
            found = self._sessions.get(session)
            if found is not None:
                found.connections = max(0, found.connections - 1)
                found.closed = self._clock()

    def owns(self, visit: str | None, session: str) -> bool:
        """Whether a session belongs to a visit."""
        with self._lock:
            found = self._sessions.get(session)
            return found is not None and found.visit == visit

    def idle(self, seconds: float) -> list[str]:
        """Return the sessions that have been without a connection for so many seconds."""
        with self._lock:
            # A timer may go off a moment early.
            before = self._clock() - seconds + 0.1
            return [name for name, one in self._sessions.items() if not one.connections and one.closed < before]

    def end(self, session: str) -> None:
        """Forget a session, what was kept of it, and with the visit's last session what the visit may fetch."""
        with self._lock:
            found = self._sessions.pop(session, None)
            if found is not None and all(other.visit != found.visit for other in self._sessions.values()):
                self._files.pop(found.visit, None)

    # ---- files

    def issue(self, session: str, file: str) -> None:
        """Allow an upload to a session under a name that the server chose."""
        with self._lock:
            found = self._sessions.get(session)
            if found is not None:
                found.issued[file] = None
                if len(found.issued) > _MOST_ISSUED:
                    del found.issued[next(iter(found.issued))]

    def is_issued(self, session: str, file: str) -> bool:
        """Whether an upload was allowed."""
        with self._lock:
            found = self._sessions.get(session)
            return found is not None and file in found.issued

    def show(self, visit: str, file: str) -> None:
        """Let a visit fetch a file: it was named in a message to one of its sessions."""
        with self._lock:
            files = self._files.setdefault(visit, {})
            files.pop(file, None)
            files[file] = None
            if len(files) > _MOST_FILES:
                del files[next(iter(files))]

    def may_fetch(self, visit: str | None, file: str) -> bool:
        """Whether a file was named in a message to a session of the visit."""
        with self._lock:
            return visit is not None and file in self._files.get(visit, ())

    def hide_files(self, visit: str | None) -> None:
        """Let a visit fetch nothing that it was shown so far."""
        with self._lock:
            self._files.pop(visit or "", None)

    # ---- what outlives a reload

    def keep(self, session: str, visit: str, name: str, value: object) -> None:
        """Keep a value of a session for the visit's next session."""
        with self._lock:
            # The page can be faster than the message that names its session.
            found = self._sessions.setdefault(session, _Session(visit, closed=self._clock()))
            if found.visit == visit:
                found.kept[name] = value

    def take_up(self, visit: str, name: str) -> Any:
        """Return what the visit's last session has kept, None if one that has it still has a connection."""
        with self._lock:
            having = [one for one in self._sessions.values() if one.visit == visit and name in one.kept]
            if not having or any(one.connections for one in having):
                return None
            return max(having, key=lambda one: one.closed).kept[name]


VISITS = Visits()

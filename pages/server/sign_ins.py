"""Sign-ins of administrators: tokens in a cookie of their own, new at each sign-in. Does not use Streamlit."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from pages.server.visits import digest

_MOST = 1000


@dataclass(slots=True)
class SignIn:
    """A sign-in: the mark of its password, the time of its last use in seconds, and what it is bound to.

    Attributes
    ----------
    visit, connection
        The browser, and the connection on which the password was given; None where there is no server.
    ticket
        Stands in the page until the browser has fetched the cookie for it; empty from then on.
    """

    mark: str
    used: float
    visit: str | None
    connection: str | None
    token: str
    ticket: str


class SignIns:
    """All sign-ins in force, by the digest of their token. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, SignIn] = {}

    def add(self, mark: str, now: float, visit: str | None, connection: str | None) -> str:
        """Add a sign-in and return its name, the digest of a new token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            if len(self._all) >= _MOST:
                del self._all[min(self._all, key=lambda one: self._all[one].used)]
            self._all[digest(token)] = SignIn(mark, now, visit, connection, token, secrets.token_urlsafe(16))
        return digest(token)

    def find(self, name: str | None) -> SignIn | None:
        """Return a sign-in."""
        with self._lock:
            return self._all.get(name or "")

    def is_in_force(self, visit: str | None, connection: str | None, name: str | None) -> bool:
        """Whether a connection of a visit is a signed-in one: by the cookie it sent, or since the sign-in was on it.

        A sign-in that has ended by its age or by a new password still counts; no act may rest on this.
        """
        with self._lock:
            found = self._all.get(name or "")
            if found is not None and found.visit == visit:
                return True
            return any(one.visit == visit and one.connection == connection for one in self._all.values() if connection)

    def remove(self, name: str | None) -> None:
        """End a sign-in wherever it is in use."""
        with self._lock:
            self._all.pop(name or "", None)

    def deliver(self, ticket: str, visit: str | None) -> str | None:
        """Return the token for a ticket, once, to the visit that signed in."""
        with self._lock:
            for one in self._all.values():
                if one.ticket and secrets.compare_digest(one.ticket, ticket) and one.visit == visit:
                    one.ticket = ""
                    return one.token
        return None


SIGN_INS = SignIns()

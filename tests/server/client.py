"""What an attacker has: raw HTTP requests and raw WebSockets with headers at will."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """A running app: its address, process, data folder, and the file of what it tried to connect to elsewhere."""

    address: str
    pid: int
    folder: Path
    attempts: Path

    @property
    def netloc(self) -> str:
        """Host and port."""
        return urlsplit(self.address).netloc

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send one request with exactly these headers beside Host, which they may replace."""
        connection = http.client.HTTPConnection(self.netloc, timeout=PATIENCE_S)
        given = {"Host": self.netloc, **(headers or {})}
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    @contextmanager
    def socket(
        self, origin: str | None = "", cookie: str = "", session: str = "", host: str = ""
    ) -> Iterator[ClientConnection]:
        """Open a WebSocket as Streamlit's page does; `origin` "" is the app's own, None sends none."""
        headers = {"Cookie": cookie} if cookie else {}
        if host:
            headers["Host"] = host
        opened = connect(
            f"ws://{self.netloc}/_stcore/stream",
            origin=(origin or self.address) if origin is not None else None,  # type: ignore[arg-type]
            subprotocols=["streamlit", "token", *([session] if session else [])],  # type: ignore[list-item]
            additional_headers=headers,
            max_size=None,
            open_timeout=PATIENCE_S,
        )
        with opened as connection:
            yield connection

    def status_of_socket(self, **arguments: Any) -> int:
        """Return the status with which the server answers a WebSocket: 101 if it is accepted."""
        try:
            with self.socket(**arguments):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

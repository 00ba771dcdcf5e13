"""What an attacker has: raw HTTP requests and raw WebSockets with headers at will."""

from __future__ import annotations

import http.client
import socket as sockets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 60


def received(connection: ClientConnection) -> Iterator[ForwardMsg]:
    """Yield the server's messages."""
    while True:
        message = ForwardMsg()
        message.ParseFromString(connection.recv(PATIENCE_S))  # type: ignore[arg-type]
        yield message


def uploads(connection: ClientConnection, *names: str) -> list[str]:
    """Ask for uploads as the page does, and return their names."""
    request = BackMsg()
    request.file_urls_request.request_id = "1"
    request.file_urls_request.file_names.extend(names)
    connection.send(request.SerializeToString())
    answer = next(one for one in received(connection) if one.WhichOneof("type") == "file_urls_response")
    return [one.file_id for one in answer.file_urls_response.file_urls]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()


@dataclass(slots=True)
class Visit:
    """A browser's visit: its cookies, and the session of its last connection."""

    cookies: dict[str, str]
    session: str = ""

    @property
    def cookie(self) -> str:
        """The header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    @property
    def headers(self) -> dict[str, str]:
        """Of a request that changes something, but for Origin."""
        return {"Cookie": self.cookie, "X-Xsrftoken": self.cookies.get("_streamlit_xsrf", "")}


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
            return Answer(
                answer.status,
                {k.lower(): v for k, v in answer.getheaders()},
                answer.read(),
                tuple(v for k, v in answer.getheaders() if k.lower() == "set-cookie"),
            )
        finally:
            connection.close()

    def visit(self) -> Visit:
        """Begin a visit as a browser does: with the cookies that it is given."""
        answer = self.ask("/_stcore/health")
        pairs = (line.split(";")[0].partition("=") for line in answer.cookies)
        return Visit({name: value for name, _, value in pairs})

    @contextmanager
    def session(self, visit: Visit, session: str = "") -> Iterator[ClientConnection]:
        """Open a session and run its page once; notes the session's name in the visit."""
        with self.socket(cookie=visit.cookie, session=session) as connection:
            request = BackMsg()
            request.rerun_script.query_string = ""
            connection.send(request.SerializeToString())
            for message in received(connection):
                if message.WhichOneof("type") == "new_session":
                    visit.session = message.new_session.initialize.session_id
                    break
            yield connection

    def upload(self, visit: Visit, session: str, file: str, method: str = "PUT", size: int = 4) -> int:
        """Upload a file as the page does, and return the status."""
        body = (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="film.png"\r\n'
            b"Content-Type: image/png\r\n\r\n" + b"f" * size + b"\r\n--x--\r\n"
        )
        headers = {**visit.headers, "Origin": self.address, "Content-Type": "multipart/form-data; boundary=x"}
        path = f"/_stcore/upload_file/{session}/{file}"
        return self.ask(path, method, headers, body if method == "PUT" else b"").status

    @contextmanager
    def socket(
        self, origin: str | None = "", cookie: str = "", session: str = "", host: str = "", forwarded: str = ""
    ) -> Iterator[ClientConnection]:
        """Open a WebSocket as Streamlit's page does; `origin` "" is the app's own, None sends none."""
        headers = {"Cookie": cookie} if cookie else {}
        if host:
            headers["Host"] = host
        if forwarded:
            headers["X-Forwarded-For"] = forwarded
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

    def connect(self, sent: bytes = b"") -> sockets.socket:
        """Open a connection and send some bytes, which need be no request."""
        host, port = self.netloc.rsplit(":", 1)
        opened = sockets.create_connection((host, int(port)), PATIENCE_S)
        opened.sendall(sent)
        return opened

    def status_of_socket(self, **arguments: Any) -> int:
        """Return the status with which the server answers a WebSocket: 101 if it is accepted."""
        try:
            with self.socket(**arguments):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

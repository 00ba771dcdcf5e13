"""What anybody on the network can have written to the terminal is bounded, whoever writes it."""

from __future__ import annotations

import logging
import socket as sockets
import time
from contextlib import suppress

import pytest

from pages.server.asgi import RateLimit, warn
from tests.server.client import Server, uploads


def test_what_is_no_http_is_not_logged_line_by_line(server: Server) -> None:
    """Fifteen bytes wrote a line, as often as anybody liked."""
    for _ in range(60):
        with suppress(OSError), server.connect(b"no request\r\n\r\n") as connection:
            connection.recv(1000)
    lines = (server.folder / "app.log").read_text().splitlines()
    assert 1 <= sum("Invalid HTTP request" in one for one in lines) <= 40  # a minute may end meanwhile


def test_an_upload_that_breaks_off_is_no_error(server: Server) -> None:
    """Each one wrote sixty lines."""
    visit = server.visit()
    with server.session(visit) as connection:
        (file,) = uploads(connection, "film.png")
        headers = {
            "Host": server.netloc,
            "Origin": server.address,
            **visit.headers,
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": "1000",
        }
        head = f"PUT /_stcore/upload_file/{visit.session}/{file} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with server.connect(f"{head}\r\n--x\r\n".encode()) as broken:
            time.sleep(0.2)
            broken.shutdown(sockets.SHUT_RDWR)
        assert server.upload(visit, visit.session, file) == 204
    assert "ClientDisconnect" not in (server.folder / "app.log").read_text()


def test_a_limit_lets_some_lines_a_minute_through_and_says_how_many_it_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    limit = RateLimit(3, lambda: now[0])
    warning = logging.makeLogRecord({"levelno": logging.WARNING})
    assert [limit.filter(warning) for _ in range(5)] == [True] * 3 + [False] * 2
    assert limit.filter(logging.makeLogRecord({"levelno": logging.INFO})), "what nobody can cause is written"
    now[0] = 60
    assert limit.filter(warning)
    assert "2 further lines" in caplog.text


def test_refusals_are_limited_and_escaped(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        warn("refused\x1b[2J\n")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 42  # a minute may end meanwhile
    assert "\x1b" not in "".join(lines) and "\n" not in "".join(lines)

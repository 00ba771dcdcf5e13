"""Requests of other web pages and under other names end before Streamlit, and cause no call to anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from pages.server.origin import OriginGuard, configured_hosts
from tests.server.client import Server

PAGES = ("https://evil.example", "http://127.0.0.1:9", "http://localhost.evil.example", "null", "file://")


@pytest.mark.parametrize("origin", [*PAGES, None])
def test_a_socket_of_another_page_is_refused_before_streamlit(server: Server, origin: str | None) -> None:
    assert server.status_of_socket(origin=origin) == 403
    assert not server.attempts.exists(), server.attempts.read_text()


@pytest.mark.parametrize("origin", PAGES)
@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/_stcore/host-config", "/media/x", "/_stcore/metrics"])
def test_a_request_of_another_page_is_refused_before_streamlit(server: Server, path: str, origin: str) -> None:
    answer = server.ask(path, headers={"Origin": origin})
    assert answer.status in {403, 404} and "access-control-allow-origin" not in answer.headers
    assert not server.attempts.exists(), server.attempts.read_text()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "OPTIONS"])
def test_a_request_that_changes_something_must_name_its_page(server: Server, method: str) -> None:
    assert server.ask("/_stcore/upload_file/session/file", method).status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "a@localhost", ""])
def test_another_name_for_this_machine_is_refused(server: Server, host: str) -> None:
    """DNS rebinding: the attacker's page is at its own name, which now leads to this machine."""
    assert server.ask("/", headers={"Host": host}).status in {400, 421}
    if host:
        assert server.status_of_socket(origin=f"http://{host}", host=host) in {403, 400}


def test_a_request_of_two_lengths_is_refused(server: Server) -> None:
    """A proxy that believes the other length would take what follows for another visitor's request."""
    both = {"Origin": server.address, "Transfer-Encoding": "chunked"}
    answer = server.ask("/_stcore/health", "PUT", both, b"0\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (400, "close")


def test_the_page_itself_is_answered(server: Server) -> None:
    port = server.netloc.rsplit(":", 1)[1]
    for host in (server.netloc, f"localhost:{port}", f"LOCALHOST:{port}"):
        origin = f"http://{host.lower()}"
        assert server.ask("/_stcore/health", headers={"Host": host, "Origin": origin}).status == 200
    assert server.ask("/").status == 200
    assert not server.attempts.exists(), server.attempts.read_text()


# The guard alone, for what the running app is not configured to.


def answered(
    host: str,
    origin: str | None = None,
    *,
    origins: tuple[str, ...] = (),
    scheme: str = "http",
    server: str = "127.0.0.1",
    method: str = "GET",
) -> tuple[int, dict[bytes, bytes]]:
    """Return status and headers that the application behind the guard sees; status 200 where it was asked."""
    seen: dict[bytes, bytes] = {}
    sent: list[Message] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.update(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "scheme": scheme,
        "headers": headers,
        "server": (server, 8501),
        "client": ("192.0.2.9", 1),
    }
    asyncio.run(OriginGuard(app, origins)(scope, receive, send))
    return sent[0]["status"], seen


@pytest.mark.parametrize(
    ("host", "origin", "server", "status"),
    [
        ("192.0.2.7:8501", "http://192.0.2.7:8501", "192.0.2.7", 200),  # where the connection ends, in figures
        ("192.0.2.8:8501", "http://192.0.2.8:8501", "192.0.2.7", 421),
        ("[2001:db8::7]:8501", "http://[2001:db8::7]:8501", "2001:db8::7", 200),
        ("localhost:9000", "http://localhost:9000", "127.0.0.1", 200),  # through a tunnel
        ("localhost:9000", "http://localhost:8501", "127.0.0.1", 403),
        ("localhost:9000", "https://localhost:9000", "127.0.0.1", 403),
        ("lens.example", "https://lens.example", "127.0.0.1", 200),  # the proxy passes the name on
        ("127.0.0.1:8501", "https://lens.example", "127.0.0.1", 200),  # the proxy keeps it
        ("lens.example:444", "https://lens.example:444", "127.0.0.1", 421),
    ],
)
def test_hosts_and_origins_are_compared_exactly(host: str, origin: str, server: str, status: int) -> None:
    found, seen = answered(host, origin, origins=("https://lens.example",), server=server, method="PUT")
    assert found == status
    assert b"origin" not in seen, "Streamlit would look the address up on the Internet"


def test_hosts_of_streamlits_configuration_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"server.address": "0.0.0.0", "server.allowedHosts": ["Lens.example", "*.example", "*", "other:8443"]}
    monkeypatch.setattr("pages.server.origin.st.get_option", options.get)
    assert configured_hosts() == {"lens.example", "other:8443"}
    hosts = ("lens.example", "lens.example:8501", "other:8443", "other", "a.example")
    assert [answered(host)[0] for host in hosts] == [200, 200, 200, 421, 421]

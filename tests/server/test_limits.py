"""What one address or one visit takes leaves room for the others."""

from __future__ import annotations

import http.client
import logging
import resource
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import InvalidStatus

from pages.server.limits import UploadBudget, raise_descriptor_limit
from tests.browser.visit import running_app
from tests.server.client import Server, uploads

MB = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An app with narrow limits, started where few files may be open."""
    folder = tmp_path_factory.mktemp("data")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with running_app(folder, PNEUMOLENS_CONNECTIONS="12", PNEUMOLENS_UPLOAD_MB="4") as (address, pid):
            yield Server(address, pid, folder, folder / "none")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_address_cannot_have_all_connections(server: Server) -> None:
    visit = server.visit()
    with server.socket(cookie=visit.cookie), server.socket(cookie=visit.cookie), server.socket(cookie=visit.cookie):
        assert server.status_of_socket(cookie=visit.cookie) == 403
        assert server.ask("/_stcore/health").status == 200
    for _ in range(100):
        if server.status_of_socket(cookie=visit.cookie) == 101:
            break
        time.sleep(0.1)
    else:
        pytest.fail("connections that have ended still count")


def test_an_address_that_is_forwarded_by_nobody_counts_for_nothing(server: Server) -> None:
    visit = server.visit()
    with ExitStack() as opened:
        held = 0
        for _ in range(100):  # those of the last test may still be ending
            with suppress(InvalidStatus):
                opened.enter_context(server.socket(cookie=visit.cookie, forwarded=f"192.0.2.{held}"))
                held += 1
            if held == 3:
                break
            time.sleep(0.05)
        assert server.status_of_socket(cookie=visit.cookie, forwarded="192.0.2.9") == 403


def test_connections_without_a_request_are_counted(server: Server) -> None:
    with ExitStack() as opened:
        several = [opened.enter_context(server.connect()) for _ in range(40)]
        for _ in range(600):
            closed, _, _ = select.select(several, [], [], 0)
            if len(closed) >= 40 - 16:  # a quarter of 64
                break
            time.sleep(0.1)
        else:
            pytest.fail("one address has them all")
    assert "too many are open" in (server.folder / "app.log").read_text()
    for _ in range(100):
        with suppress(ConnectionError, http.client.HTTPException):
            visit = server.visit()
            break
        time.sleep(0.1)
    # One that became a WebSocket is no longer counted as a connection, nor is one that has ended.
    accepted = 0
    for _ in range(200):
        accepted += server.status_of_socket(cookie=visit.cookie) == 101
        if accepted == 20:
            break
        time.sleep(0.02)
    assert accepted == 20


def test_uploads_are_counted_while_they_are_received(server: Server) -> None:
    visit = server.visit()
    with server.session(visit) as connection:
        first, second, third = uploads(connection, "1.png", "2.png", "3.png")
        assert server.upload(visit, visit.session, first, size=MB) == 204
        assert server.upload(visit, visit.session, second, size=3 * MB) == 413, "by its announced length"
        assert server.upload(visit, visit.session, second, size=15 * MB // 10) == 413, "by what comes"
        assert server.upload(visit, visit.session, second, size=MB // 2) == 204
        assert server.upload(visit, visit.session, third, size=MB) == 413
        assert server.upload(visit, visit.session, first, "DELETE") == 204
        assert server.upload(visit, visit.session, third, size=MB) == 204


def test_the_app_raises_its_limit_of_open_files(server: Server) -> None:
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert soft == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


def test_a_limit_that_cannot_be_raised_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with caplog.at_level(logging.WARNING):
        raise_descriptor_limit(200)
    assert "LimitNOFILE" in caplog.text and "1024" in caplog.text


def test_a_budget_has_a_share_for_each_visit_and_a_whole() -> None:
    budget = UploadBudget()
    assert budget.receive("a", 50, 100) and not budget.receive("a", 1, 100)
    budget.finish("a", "s", "1", 50, True)
    assert not budget.receive("a", 1, 100), "it waits for its page"
    assert budget.receive("b", 50, 100) and not budget.receive("c", 1, 100)
    budget.finish("b", "t", "1", 50, False)
    assert budget.receive("c", 50, 100), "what was not stored is free again"
    budget.release("s", "1")
    assert budget.receive("a", 50, 100)
    budget.finish("a", "s", "2", 50, True)
    budget.release("s")
    assert budget.receive("b", 50, 100)

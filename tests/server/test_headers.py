"""The headers of every answer, and that nobody may frame the app."""

from __future__ import annotations

import pytest

from pages.server.headers import content_policy, inline_scripts
from tests.server.client import Server

FIXED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


@pytest.mark.parametrize(
    "path", ["/", "/performance", "/_stcore/health", "/_stcore/host-config", "/favicon.png", "/media/none", "/%2e%2e/x"]
)
def test_every_answer_has_the_headers(server: Server, path: str) -> None:
    headers = server.ask(path).headers
    assert FIXED.items() <= headers.items()
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["frame-ancestors"] == "'none'" and policy["default-src"] == "'self'"
    assert "unsafe" not in policy["script-src"] and "camera=()" in headers["permissions-policy"]


def test_refusals_have_the_headers_too(server: Server) -> None:
    answer = server.ask("/", headers={"Host": "evil.example"})
    assert answer.status == 421 and FIXED.items() <= answer.headers.items()


def test_what_is_of_a_visit_is_not_kept(server: Server) -> None:
    assert server.ask("/media/none").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/_stcore/metrics",
        "/_stcore/metrics%0a",  # a route takes a line break at its end
        "/_stcore/script-health-check",
        "/_stcore/agent/openapi.json",
        "/auth/login",
        "/oauth2callback",
    ],
)
def test_what_nobody_needs_is_closed(server: Server, path: str) -> None:
    assert server.ask(path).status == 404


def test_no_page_may_speak_to_the_app_from_outside(server: Server) -> None:
    """Streamlit's default lets pages of its own cloud send messages that redirect uploads."""
    assert b'"allowedOrigins":[]' in server.ask("/_stcore/host-config").body.replace(b" ", b"")


def test_a_portal_may_be_allowed() -> None:
    assert "frame-ancestors https://a.example https://b.example" in content_policy(
        "localhost", ("https://a.example", "https://b.example")
    )
    assert "evil" not in content_policy("localhost; script-src evil.example")


def test_the_inline_scripts_of_the_installed_page_are_found(server: Server) -> None:
    """Another Streamlit may have others, or write them otherwise: they would not run."""
    page = server.ask("/").body
    assert len(inline_scripts()) == page.count(b"<script>") == 1
    assert page.count(b"<script") == page.count(b"<script>") + page.count(b'<script type="module" crossorigin src=')

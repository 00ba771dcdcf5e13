"""A session, its uploads and its media belong to the browser that has its cookie."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import BackendOperationResponse, ForwardMsg
from websockets.sync.client import ClientConnection

from pages.server.messages import media_key, media_shown
from pages.server.sign_ins import SignIns
from pages.server.visits import Visits, new_token, visit_of
from tests.browser.visit import running_app
from tests.server.client import Server, Visit, received, uploads

TTL_SECONDS = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page with a picture whose sessions outlive their connection by a moment only."""
    folder, script = tmp_path_factory.mktemp("data"), "tests/server/media_page.py"
    with running_app(folder, script, STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL=str(TTL_SECONDS)) as (address, pid):
        yield Server(address, pid, folder, folder / "none")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(server: Server) -> None:
    for path in ("/", "/performance", "/_stcore/health", "/_stcore/host-config"):
        (line,) = [one for one in server.ask(path).cookies if one.startswith("pneumolens_visit")]
        assert line.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert not server.ask("/favicon.png", headers={"Sec-Fetch-Site": "cross-site"}).cookies
    visit = server.visit()
    again = server.ask("/", headers={"Cookie": visit.cookie}).cookies
    assert not any(one.startswith("pneumolens") for one in again), "a visit is not replaced"


@pytest.mark.parametrize("forged", ["", "pneumolens_visit_{port}=x.y", "pneumolens_visit_{port}={token}x"])
def test_a_socket_needs_the_cookie(server: Server, forged: str) -> None:
    port = server.netloc.rsplit(":", 1)[1]
    assert server.status_of_socket(cookie=forged.format(port=port, token=new_token())) == 403


def test_a_session_is_resumed_with_its_own_cookie_only(server: Server) -> None:
    mine, stranger = server.visit(), server.visit()
    with server.session(mine) as connection:
        session = mine.session
        with server.session(stranger, session):
            assert stranger.session not in {"", session}
        connection.ping().wait(10)
        assert connection.state.name == "OPEN", "the session was not taken from its connection"
    with server.session(mine, session):
        assert mine.session == session


def test_uploads_need_the_cookie_and_a_name_that_was_issued(server: Server) -> None:
    mine, stranger = server.visit(), server.visit()
    with server.session(mine) as connection:
        (file,) = uploads(connection, "film.png")
        for method in ("PUT", "DELETE"):
            assert server.upload(Visit({}), mine.session, file, method) == 403
            assert server.upload(stranger, mine.session, file, method) == 403
            assert server.upload(mine, mine.session, "invented", method) == 403
        assert server.upload(mine, mine.session, file) == 204
        assert server.upload(mine, mine.session, file, "DELETE") == 204


def media_of(connection: ClientConnection) -> str:
    """Return the address of a file that the page shows: a picture."""
    for message in received(connection):
        found = re.search(rb"/media/[0-9a-f]+\.\w+", message.SerializeToString())
        if found:
            return found[0].decode()
    raise AssertionError("no message")


def test_media_need_the_cookie_and_end_with_the_session(server: Server) -> None:
    mine, stranger = server.visit(), server.visit()
    with server.session(mine) as connection:
        media = media_of(connection)
        answer = server.ask(media, headers={"Cookie": mine.cookie})
        assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
        assert server.ask(media).status == server.ask(f"{media}/").status == server.ask(media, "HEAD").status == 403
        assert server.ask(media, headers={"Cookie": stranger.cookie}).status == 403
    for _ in range(100):
        if server.ask(media, headers={"Cookie": mine.cookie}).status == 403:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the files outlive the visit")
    # A session that has ended is not resumed.
    session = mine.session
    with server.session(mine, session):
        assert mine.session != session


def offered_by(connection: ClientConnection) -> str:
    """Return the name of the download that the page offers."""
    for message in received(connection):
        if message.delta.new_element.HasField("download_button"):
            return message.delta.new_element.download_button.deferred_file_id
    raise AssertionError("no message")


def ask_for(connection: ClientConnection, session: str, file: str) -> BackendOperationResponse:
    """Ask for an offered download, as the page does when its button is pressed."""
    request = BackMsg()
    request.backend_operation_request.request_id, request.backend_operation_request.session_id = "1", session
    request.backend_operation_request.deferred_file.file_id = file
    connection.send(request.SerializeToString())
    answer = next(one for one in received(connection) if one.WhichOneof("type") == "backend_operation_response")
    return answer.backend_operation_response


def test_a_download_that_is_made_when_asked_for_belongs_to_its_visit(server: Server) -> None:
    mine, stranger = server.visit(), server.visit()
    with server.session(mine) as connection, server.session(stranger) as other:
        file, own = offered_by(connection), offered_by(other)
        refused = ask_for(other, stranger.session, file)
        assert refused.error_msg and not refused.deferred_file.url
        media = ask_for(connection, mine.session, file).deferred_file.url
        assert server.ask(media, headers={"Cookie": mine.cookie}).body == b"of a film"
        assert server.ask(media, headers={"Cookie": stranger.cookie}).status == 403
        assert not ask_for(other, stranger.session, own).error_msg, "the connection is still of use"


def test_nobody_has_streamlit_write_into_the_folder_of_the_app(server: Server) -> None:
    visit = server.visit()
    for operation in ("install_skills", "dismiss_skills_nudge"):
        request = BackMsg()
        with server.session(visit) as connection:
            request.backend_operation_request.session_id = visit.session
            getattr(request.backend_operation_request, operation).SetInParent()
            connection.send(request.SerializeToString())
            answer = next(one for one in received(connection) if one.WhichOneof("type") == "backend_operation_response")
            assert "another visit" in answer.backend_operation_response.error_msg


def test_an_address_that_a_browser_has_sent_back_to_it_gives_no_file(server: Server) -> None:
    stranger, film = server.visit(), f"/media/{'0' * 56}.bin"
    with server.session(stranger) as connection:
        request = BackMsg()
        request.file_urls_request.request_id = film
        connection.send(request.SerializeToString())
        assert any(one.file_urls_response.response_id == film for one in received(connection))
        assert server.ask(film, headers={"Cookie": stranger.cookie}).status == 403, "not 404: it was not looked for"


# The parts alone.


def test_only_tokens_of_this_start_make_a_visit() -> None:
    token = new_token()
    assert visit_of(token) == visit_of(token) != visit_of(new_token())
    for forged in (None, "", ".", "x", "x.", token[:-1], f"x{token}", token.replace(".", "..", 1), "é.é"):
        assert visit_of(forged) is None, forged


def test_what_a_session_kept_is_taken_up_by_the_next_one_of_its_visit() -> None:
    now = [0.0]
    visits = Visits(lambda: now[0])
    for session, visit in (("a", "one"), ("b", "one"), ("c", "two")):
        assert visits.connect(session, visit)
        visits.keep(session, visit, "films", session)
    assert visits.take_up("one", "films") is None, "another tab is no reload"
    visits.disconnect("a")
    assert visits.take_up("one", "films") is None, "a tab with these films is still open"
    now[0] = 5
    visits.disconnect("b")
    assert not visits.connect("b", "two") and visits.take_up("two", "films") is None
    assert visits.take_up("one", "films") == "b" and visits.take_up("one", "other") is None
    visits.keep("d", "one", "films", "d")
    assert visits.connect("d", "one") and visits.take_up("one", "films") is None


def test_a_session_ends_after_a_time_without_connection() -> None:
    now = [0.0]
    visits = Visits(lambda: now[0])
    visits.connect("a", "one")
    visits.show("one", "file")
    visits.disconnect("a")
    now[0] = 60
    visits.connect("a", "one")
    assert not visits.idle(60), "it was resumed"
    visits.disconnect("a")
    now[0] = 119
    assert not visits.idle(60) and visits.may_fetch("one", "file")
    now[0] = 120
    assert visits.idle(60) == ["a"]
    visits.end("a")
    assert not visits.may_fetch("one", "file") and not visits.owns("one", "a")


def test_a_ticket_gives_the_token_once_to_its_visit() -> None:
    sign_ins = SignIns()
    name = sign_ins.add("mark", 0.0, "visit", "connection")
    found = sign_ins.find(name)
    assert found is not None
    ticket = found.ticket
    assert sign_ins.deliver(ticket, "other") is None and sign_ins.deliver("", "visit") is None
    assert sign_ins.deliver(ticket, "visit") == found.token and sign_ins.deliver(ticket, "visit") is None
    assert name != sign_ins.add("mark", 0.0, "visit", "connection"), "each sign-in has a token of its own"
    sign_ins.remove(name)
    assert sign_ins.find(name) is None


@pytest.mark.parametrize("name", [f"{'ab' * 28}.pdf", f"{'12' * 16}.bin", "ab" * 28])
@pytest.mark.parametrize("base", ["", "/lens"])
def test_a_media_file_is_found_where_streamlit_writes_its_address(name: str, base: str) -> None:
    picture, download, logo, made = ForwardMsg(), ForwardMsg(), ForwardMsg(), ForwardMsg()
    picture.delta.new_element.imgs.imgs.add().url = f"{base}/media/{name}"
    download.delta.new_element.download_button.url = f"{base}/media/{name}"
    logo.logo.image = f"{base}/media/{name}"
    made.backend_operation_response.deferred_file.url = f"{base}/media/{name}"
    for message in (picture, download, logo, made):
        assert media_shown(message.SerializeToString()) == [media_key(name)]


def test_a_media_file_is_not_found_in_what_a_browser_wrote() -> None:
    address = f"/media/{'ab' * 28}.bin"
    answer, other, text = ForwardMsg(), ForwardMsg(), ForwardMsg()
    other.backend_operation_response.request_id = address
    answer.file_urls_response.response_id = address
    text.delta.new_element.html.body = address
    for message in (answer, other, text):
        assert address.encode() in message.SerializeToString() and media_shown(message.SerializeToString()) == []

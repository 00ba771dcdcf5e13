"""One running app for the tests of a module, which may connect to this machine alone and writes down each attempt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.visit import running_app
from tests.server.client import Server

# Python runs this at its start. Nothing but loopback can be reached, and who tried is in a file.
WALL = """
import os, socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        with open({path!r}, "a") as attempts:
            print(address, file=attempts)
        raise OSError("expected an address of this machine. Received: %r" % (address,))
    return _connect(self, address)
socket.socket.connect = connect
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as README starts it, behind a wall."""
    folder, wall = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("wall")
    attempts = wall / "attempts.txt"
    (wall / "sitecustomize.py").write_text(WALL.format(path=str(attempts)))
    with running_app(folder, PYTHONPATH=str(wall)) as (address, pid):
        yield Server(address, pid, folder, attempts)


@pytest.fixture
def data_dir(server: Server) -> Path:
    """The data folder of the app, with what it logs in app.log."""
    return server.folder

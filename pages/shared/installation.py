"""Installation as every page sees it: its settings, and the work of each start of the app."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st

from core.errors import AppError
from core.files import hold, make_folder, tighten
from core.settings import Settings, load_settings
from pages.server.asgi import limit_logs
from pages.server.connections import guarded_connections
from pages.server.limits import raise_descriptor_limit
from pages.shared.streamlit_patches import keep_uploads_in_memory
from records.activity import show_in_terminal
from records.administrator import new_first_code

log = logging.getLogger(__name__)
LOCK = ".app.lock"


def settings() -> Settings:
    """Return the settings of this installation; raises SettingsError."""
    return load_settings(os.environ)


def edge_settings() -> Settings:
    """Return the settings for the start of the server: the strict defaults where they cannot be understood.

    Every page then says what is wrong with them.
    """
    try:
        return settings()
    except AppError as error:
        log.warning("%s %s", error, error.advice)
        return Settings(Path("var"))


@asynccontextmanager
async def lifespan(_server: object) -> AsyncIterator[None]:
    """Start the installation before the server takes its first visit."""
    here = edge_settings()
    raise_descriptor_limit(here.connections)
    limit_logs()
    start()
    with guarded_connections(here.connections, here.proxies):
        yield


def start() -> None:
    """Print the one-time code that sets the administrator's password, once for each start, until there is one.

    Called before the first visit, and again by every run of a page: a server that does not run `lifespan` starts with
    the first of them.
    """
    keep_uploads_in_memory()
    show_in_terminal()
    try:
        _start(str(settings().data_dir.absolute()))
    except AppError as error:  # radiographs can still be assessed; the Retrain page shows the error
        log.warning("%s %s", error, error.advice)


def _close(here: Settings) -> None:
    """Make the data folder, or close one that an earlier version left open to other users of this machine."""
    try:
        make_folder(here.data_dir)
        found = tuple(path for path in here.data_dir.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:  # what needs the folder says so
        return
    for folder in tighten(here.data_dir, *found):
        log.warning("%s could be read by other users of this machine. Now only the app's user may.", folder)


def _is_alone(here: Settings) -> bool:
    try:
        return hold(here.data_dir / LOCK)
    except OSError:  # what needs the folder says so
        return True


@st.cache_resource(max_entries=4, show_spinner=False)
def _start(data_dir: str) -> None:  # noqa: ARG001 (the key of the cache)
    here = settings()
    _close(here)
    if not _is_alone(here):
        print(
            "\n  Another PneumoLens app already serves this data folder. Its one-time code stays valid.\n"
            "  Stop one of the two apps, or give this one a data folder of its own (PNEUMOLENS_DATA_DIR).\n",
            flush=True,
        )
        return
    code = new_first_code(here)
    if code is not None:
        print(
            f"\n  One-time code for the Retrain page: {code}\n  It sets the administrator's password, once. The next "
            "start makes a new one.\n",
            flush=True,
        )

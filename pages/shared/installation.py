"""The installation as every page sees it: its settings, and what each start of the app does once."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st

from core.errors import AppError
from core.settings import Settings, load_settings
from pages.shared.streamlit_patches import keep_uploads_in_memory
from records.activity import show_in_terminal
from records.administrator import new_first_code

log = logging.getLogger(__name__)


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
    start()
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
    except AppError as error:  # radiographs can be read all the same; the Retrain page says what is wrong
        log.warning("%s %s", error, error.advice)


@st.cache_resource(max_entries=4, show_spinner=False)
def _start(data_dir: str) -> None:  # noqa: ARG001 (the key of the cache)
    code = new_first_code(settings())
    if code is not None:
        print(
            f"\n  One-time code for the Retrain page: {code}\n  It sets the administrator's password, once. The next "
            "start makes a new one.\n",
            flush=True,
        )

"""What every page needs of the installation: its start, the frame's guard, settings, cards, the classifier in memory.

The only place that caches resources, so that the process holds two classifiers at most.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from html import escape
from pathlib import Path

import streamlit as st
from starlette.formparsers import MultiPartParser
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import AppError
from core.settings import Settings, load_settings
from model.card import ModelCard
from model.engine import Classifier, load_classifier
from model.promotions import serving_version
from model.registry import CARD, read_card, version_folder
from records.administrator import new_first_code

log = logging.getLogger(__name__)
_FRAME = "frame.is_drawn"
_LOADING = "Loading the classifier and checking its files. About ten seconds, once after each start."


@asynccontextmanager
async def lifespan(server: object) -> AsyncIterator[None]:
    """Do what a start of the app asks for before the first visit."""
    start()
    yield


def start() -> None:
    """Print the one-time code that sets the administrator's password, once for each start, until there is one.

    Called before the first visit, and again by every run of a page: a server that knows no lifespan starts with the
    first of them.
    """
    keep_uploads_in_memory()
    try:
        _start(str(settings().data_dir.absolute()))
    except AppError as error:  # the films can be read all the same; the Retrain page says what is wrong
        log.warning("%s %s", error, error.advice)


@st.cache_resource(max_entries=4, show_spinner=False)
def _start(data_dir: str) -> None:
    code = new_first_code(settings())
    if code is not None:
        print(
            f"\n  One-time code for the Retrain page: {code}\n  It sets the administrator's password, once. The next "
            "start makes a new one.\n",
            flush=True,
        )


@contextmanager
def frame() -> Iterator[None]:
    """Mark that app.py has drawn the safety sentence for the page that runs inside."""
    st.session_state[_FRAME] = True
    try:
        yield
    finally:
        st.session_state[_FRAME] = False


def require_frame() -> None:
    """Stop a page script that runs without app.py, since nothing then says what the product is not for."""
    if not st.session_state.get(_FRAME, False):
        st.write("Open PneumoLens from its start page.")
        st.stop()


def settings() -> Settings:
    """Return the settings of this installation; raises SettingsError."""
    return load_settings(os.environ)


def purpose() -> str:
    """Return what films are read for: the reader's choice on the page, or the site's."""
    return str(st.session_state.get("purpose") or settings().purpose)


def card_in_use() -> ModelCard:
    """Return the card of the classifier that serves; raises ClassifierError when there is none.

    Its files are looked at on every run, so that a page serves a new version at its next rerun and never a damaged one.
    """
    return card_of(serving_version(settings())[0])


def show_refused() -> None:
    """Warn when the version in use was refused and an earlier one serves; pages say themselves when none does."""
    try:
        serving, refused = serving_version(settings())
    except AppError:
        return
    if refused is not None:
        advice, technical = (escape(words, quote=False) for words in (refused.advice, str(refused)))
        st.html(
            f'<section class="pl-warning" role="alert"><p><strong>{advice} Version {escape(serving)} serves in its '
            f'place.</strong></p><p class="pl-note">For technical support: {technical}</p></section>'
        )


def card_of(version: str) -> ModelCard:
    """Return the card of a version; raises ClassifierError when it is missing or damaged."""
    folder = version_folder(settings(), version)
    return _card(str(folder), _state(folder / CARD))


def classifier_of(version: str) -> Classifier:
    """Return a version ready to assess; the first call takes seconds and says so on the page.

    Raises ClassifierError when it is missing, damaged or does not fit this software.
    """
    folder = version_folder(settings(), version)
    return _classifier(str(folder), _state(folder / CARD), card_of(version).sha256)


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced, since a version whose files were is another one of the same name."""
    try:
        about = path.stat()
    except OSError:  # whoever reads it says what is wrong
        return ()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


@st.cache_resource(max_entries=4, show_spinner=False)
def _card(folder: str, state: tuple[int, ...]) -> ModelCard:
    return read_card(Path(folder))


# Two, so that the version before a promotion can finish its queue; each costs hundreds of MB.
@st.cache_resource(max_entries=2, show_spinner=_LOADING)
def _classifier(folder: str, state: tuple[int, ...], sha256: str) -> Classifier:
    gc.unfreeze()
    classifier = load_classifier(Path(folder), settings().architectures)
    keep_warm()
    return classifier


def keep_warm() -> None:
    """Keep Streamlit from throwing away, after every run of a page, what makes the next assessment fast.

    It calls `keras.backend.clear_session` whenever Keras is loaded: that empties TensorFlow's kernel cache and
    collects garbage among half a million objects, 0.6 s for each film and each press of a button. Nothing is built
    here between two runs that would need clearing; training has its own process.
    """
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.backend.clear_session = _clear_nothing
    gc.collect()
    gc.freeze()


def _clear_nothing(free_memory: bool = True) -> None:
    """Stand in for `keras.backend.clear_session`."""


def show_error(error: AppError) -> None:
    """Say what to do and what it means for the films; the technical sentence stands below for whoever is asked."""
    advice, technical = (escape(words, quote=False) for words in (error.advice, str(error)))
    st.html(
        f'<section class="pl-warning"><p><strong>{advice}</strong></p><p>Until then this page cannot be used. '
        f'Nothing was lost.</p><p class="pl-note">For technical support: {technical}</p></section>'
    )


def keep_uploads_in_memory() -> None:
    """Keep uploads off the disk: the server would write all of a file beyond 1 MB to a temporary one.

    What an upload may take of the memory is bounded by Streamlit's maxUploadSize, before and while it is received.
    """
    MultiPartParser.spool_max_size = 0  # no size at which it goes to disk (tempfile.SpooledTemporaryFile)


def take(file: UploadedFile) -> bytes:
    """Return an uploaded file's bytes and let go of Streamlit's copy, which it would keep until the visit ends."""
    data, context = file.getvalue(), get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(session_id=context.session_id, file_id=file.file_id)
    return data


def give_memory_back() -> None:
    """Return freed memory to the system.

    The C library keeps what was freed in a pool for each thread, and Streamlit runs a page in a new thread each time:
    without this the process grows with every film although it holds nothing more.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)

"""Cards and classifiers in memory: the only cache of them, so that the process holds two classifiers at most."""

from __future__ import annotations

import gc
from pathlib import Path

import streamlit as st

from core.errors import AppError
from model.card import ModelCard
from model.engine import Classifier, load_classifier
from model.promotions import serving_version, verified
from model.registry import CARD, read_card, version_folder
from pages.shared import installation
from pages.shared.frame import safety_sentence, show_fallback
from pages.shared.streamlit_patches import keep_keras_session

_LOADING = "Loading the classifier and verifying its files. About ten seconds, once after each start."


def card_in_use() -> ModelCard:
    """Return the card of the version in use.

    Its files are checked on every run, so that a page uses a new version from its next rerun and never a damaged one.

    Raises
    ------
    ClassifierError
        If there is no usable version.
    """
    return card_of(serving_version(installation.settings())[0])


def safety() -> str:
    """Return the safety sentence above every page as HTML, for the patients of the version in use."""
    try:
        card = card_in_use()
    except AppError:  # each page shows the error
        card = None
    return safety_sentence(card)


def show_refused() -> None:
    """Warn when the version in use was refused and an earlier one is used; without any, each page shows the error."""
    try:
        serving, refused = serving_version(installation.settings())
    except AppError:
        return
    if refused is not None:
        show_fallback(serving, refused)


def card_of(version: str) -> ModelCard:
    """Return the card of a version.

    Raises
    ------
    ClassifierError
        If it is missing or damaged.
    """
    folder = version_folder(installation.settings(), version)
    return _card(str(folder), _state(folder / CARD))


def classifier_of(version: str) -> Classifier:
    """Return a version ready to assess; the first call takes seconds and shows a spinner.

    Raises
    ------
    ClassifierError
        If the version is missing, damaged or does not fit this software.
    """
    folder, _ = verified(installation.settings(), version, again=True)
    return _classifier(str(folder), _state(folder / CARD), card_of(version).sha256)


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced: a version whose files were replaced is loaded anew."""
    try:
        found = path.stat()
    except OSError:  # reported where the file is read
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@st.cache_resource(max_entries=4, show_spinner=False)
def _card(folder: str, state: tuple[int, ...]) -> ModelCard:  # noqa: ARG001 (part of the cache's key)
    return read_card(Path(folder))


# Two, so that the version before a promotion can finish its queue; each costs hundreds of MB.
@st.cache_resource(max_entries=2, show_spinner=_LOADING)
def _classifier(folder: str, state: tuple[int, ...], sha256: str) -> Classifier:  # noqa: ARG001 (as above)
    gc.unfreeze()
    classifier = load_classifier(Path(folder), installation.settings().architectures)
    keep_keras_session()
    return classifier

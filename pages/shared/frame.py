"""Frame that app.py draws around every page: its guard, and the warnings above a page or in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape

import streamlit as st

from core.errors import AppError
from model.card import ModelCard
from model.gate import GUANGZHOU, training_ages

_FRAME = "frame.is_drawn"


@contextmanager
def mark_drawn() -> Iterator[None]:
    """Mark that app.py has drawn the safety sentence for the page that runs inside."""
    st.session_state[_FRAME] = True
    try:
        yield
    finally:
        st.session_state[_FRAME] = False


def safety_sentence(card: ModelCard | None) -> str:
    """Return the safety sentence as HTML: no diagnosis, and for whose radiographs the classifier is meant.

    Parameters
    ----------
    card
        Of the version in use; None where there is none, and nobody is named.
    """
    words = "Decision support, not a diagnosis. Intended for frontal chest radiographs"
    if card is None:
        return f"{words}."
    if training_ages(card) == GUANGZHOU:
        return f"{words} of children aged 1–5."
    described = card.data.get("description")
    stated = described.get("intended_population") if isinstance(described, Mapping) else None
    if not isinstance(stated, str) or not stated:
        return f"{words} of patients like those of the training data, whose ages are not stated."
    return f"{words} of {_escaped(stated.rstrip('.'))}."


def require_frame() -> None:
    """Stop a page script that runs without app.py, which draws the safety sentence."""
    if not st.session_state.get(_FRAME, False):
        st.write("Open PneumoLens from its start page.")
        st.stop()


def show_error(error: AppError) -> None:
    """Replace the page by an error: what to do, that nothing was lost, and the message for technical support."""
    st.html(
        f'<section class="pl-warning"><p><strong>{_escaped(error.advice)}</strong></p><p>Until then this page cannot '
        f"be used. Nothing was lost.</p>{_for_support(error)}</section>"
    )


def show_fallback(serving: str, refused: AppError) -> None:
    """Warn that the version in use was refused and that the version `serving` is used in its place."""
    st.html(
        f'<section class="pl-warning" role="alert"><p><strong>{_escaped(refused.advice)} Version {_escaped(serving)} '
        f"is used in its place.</strong></p>{_for_support(refused)}</section>"
    )


def _for_support(error: AppError) -> str:
    return f'<p class="pl-note">For technical support: {_escaped(str(error))}</p>'


def _escaped(words: str) -> str:
    return escape(words, quote=False)

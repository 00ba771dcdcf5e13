"""What a finding is worth: the purpose a film is read for, the rates there, PPV and NPV at the local prevalence."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from core.formatting import format_interval, format_rate
from model.card import Evaluation, ModelCard
from model.operating import AIMS, DEFAULT, NAMES, Rates, offered, operating_point, rates_at
from pages.shared import charts, installation
from pages.shared.measures import predictive_values

_CHOICE, _SET = "read.purpose", "read.prevalence"


def requested_purpose() -> str:
    """Return what films are read for: the reader's choice on the page, or the site's."""
    return str(st.session_state.get("purpose") or installation.settings().purpose)


def chosen_purpose(card: ModelCard) -> str:
    """Return what films are read for, as far as the version has an operating point for it: else its default."""
    purpose = requested_purpose()
    return purpose if purpose in offered(card) else DEFAULT


def chosen_prevalence() -> float:
    """Return the share of pneumonia, in (0, 1), that the reader has set on the page, or the site's."""
    percent = st.session_state.get("prevalence")
    return installation.settings().prevalence if percent is None else percent / 100


def prevalence_as_set() -> Callable[[], float]:
    """Return a function that gives the prevalence as it stands when it is called, from whatever thread.

    A download is made outside the page's own thread, where there is no session to ask, and the prevalence moves without
    the page being drawn anew.
    """
    held: dict[str, float] = st.session_state.setdefault(_SET, {})
    held.setdefault("prevalence", chosen_prevalence())
    return lambda: held["prevalence"]


def show_purpose(card: ModelCard) -> None:
    """Let the reader choose what films are read for; the choice holds for every film of the visit."""
    if len(offered(card)) == 1:
        return
    if st.session_state.get(_CHOICE) != chosen_purpose(card):  # setting it anew would close the list under the mouse
        st.session_state[_CHOICE] = chosen_purpose(card)
    st.selectbox(
        "Operating point",
        offered(card),
        key=_CHOICE,
        on_change=_choose,
        format_func=lambda one: f"{NAMES[one]}: pneumonia from {operating_point(card, one).probability:.2f}",
        help=" ".join(f"{NAMES[one]}: {AIMS[one]}" for one in offered(card)),
    )
    if chosen_purpose(card) != DEFAULT:
        st.html(f'<p class="pl-note">{escape(AIMS[chosen_purpose(card)])}</p>')


def _choose() -> None:
    # Kept apart from the widget, whose state Streamlit drops while another page, or a version without it, is shown.
    st.session_state["purpose"] = st.session_state[_CHOICE]


def show_rates(evaluation: Evaluation, cut: float) -> None:
    """Say how often the finding is right at this operating point, on the radiographs of `evaluation`."""
    rates = rates_at(evaluation, cut)
    rows = "".join(
        f"<tr><th>{name}</th><td>{format_rate(measure.value)} <span>{format_interval(measure)}</span></td></tr>"
        for name, measure in (("Sensitivity", rates.sensitivity), ("Specificity", rates.specificity))
    )
    st.html(
        f'<table class="pl-rows"><caption>At this operating point, on n = {rates.n} validation radiographs '
        f"(95 % interval)</caption>{rows}</table>"
    )


@st.fragment
def show_predictive_values(rates: Rates, sample: str | None = None) -> None:
    """Let the reader set how common pneumonia is, and say what a finding is worth there.

    With `sample`, the words for the radiographs behind it, the values are drawn over all prevalences, too.
    """
    if sample is not None:
        figure = charts.predictive_values(rates.sensitivity.value, rates.specificity.value, chosen_prevalence(), sample)
        st.plotly_chart(figure, theme=None, key="performance.predictive", config={"displayModeBar": False})
    site = round(100 * installation.settings().prevalence)
    prevalence = st.slider(
        "Prevalence of pneumonia among your patients",
        1,
        90,
        site,
        format="%d %%",
        key="prevalence",
        persist_state="session",
        help="What a finding is worth depends on how common pneumonia is where you work.",
    )
    st.session_state.setdefault(_SET, {})["prevalence"] = prevalence / 100
    values = predictive_values(rates.sensitivity, rates.specificity, prevalence / 100)
    st.html(
        '<table class="pl-rows">'
        f"<tr><th>PPV <em>of films called likely</em></th><td>{format_rate(values.ppv.value)} "
        f"<span>{format_interval(values.ppv)}</span></td></tr>"
        f"<tr><th>NPV <em>of films called unlikely</em></th><td>{format_rate(values.npv.value)} "
        f"<span>{format_interval(values.npv)}</span></td></tr></table>"
    )

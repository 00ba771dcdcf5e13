"""Predictive values of a finding: the operating point by purpose, its rates, PPV and NPV at the local prevalence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import streamlit as st

from core.formatting import format_interval, format_rate
from model import metrics
from model.card import Evaluation, Measure, ModelCard
from model.operating import AIMS, DEFAULT, NAMES, Rates, available_purposes, operating_point, rates_at
from pages.shared import charts, installation

_PURPOSE, _PREVALENCE = "read.purpose", "read.prevalence"


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """PPV and NPV at one prevalence, with the intervals of `model.metrics.predictive_values`."""

    ppv: Measure
    npv: Measure


def predictive_values(sensitivity: Measure, specificity: Measure, prevalence: float) -> PredictiveValues:
    """Return PPV and NPV at a prevalence, by Bayes' rule.

    Sensitivity and specificity, unlike PPV and NPV, do not depend on the prevalence in the evaluation set.

    Parameters
    ----------
    sensitivity, specificity
        With their 95 % confidence intervals.
    prevalence
        Share of patients with pneumonia, in (0, 1).
    """
    ppv, npv = metrics.predictive_values(sensitivity, specificity, prevalence)
    return PredictiveValues(ppv, npv)


def requested_purpose() -> str:
    """Return the purpose of reading: the reader's choice on the page, or the site's."""
    return str(st.session_state.get("purpose") or installation.settings().purpose)


def chosen_purpose(card: ModelCard) -> str:
    """Return the requested purpose, or the default where the version has no operating point for it."""
    purpose = requested_purpose()
    return purpose if purpose in available_purposes(card) else DEFAULT


def chosen_prevalence() -> float:
    """Return the prevalence of pneumonia, in (0, 1): the reader's choice on the page, or the site's."""
    percent = st.session_state.get("prevalence")
    return installation.settings().prevalence if percent is None else percent / 100


def prevalence_as_set() -> Callable[[], float]:
    """Return a function that returns the present prevalence in any thread.

    A download is made outside the page's own thread, which has no session, and the slider moves without a rerun.
    """
    held: dict[str, float] = st.session_state.setdefault(_PREVALENCE, {})
    held.setdefault("prevalence", chosen_prevalence())
    return lambda: held["prevalence"]


def show_purpose(card: ModelCard) -> None:
    """Draw the choice of the operating point, which holds for every film of the visit."""
    if len(available_purposes(card)) == 1:
        return
    if st.session_state.get(_PURPOSE) != chosen_purpose(card):  # setting it again would close the open list
        st.session_state[_PURPOSE] = chosen_purpose(card)
    st.selectbox(
        "Operating point",
        available_purposes(card),
        key=_PURPOSE,
        on_change=_choose,
        format_func=lambda one: f"{NAMES[one]}, {operating_point(card, one).probability:.2f}",
        help=" ".join(f"{NAMES[one]}: {AIMS[one]}" for one in available_purposes(card)),
    )
    if chosen_purpose(card) != DEFAULT:
        st.html(f'<p class="pl-note">{escape(AIMS[chosen_purpose(card)])}</p>')


def _choose() -> None:
    # Kept apart from the widget, whose state Streamlit drops while another page, or a version without it, is shown.
    st.session_state["purpose"] = st.session_state[_PURPOSE]


def show_rates(evaluation: Evaluation, cut: float) -> None:
    """Draw sensitivity and specificity at the operating point `cut`, on the radiographs of `evaluation`."""
    rates = rates_at(evaluation, cut)
    rows = "".join(
        f"<tr><th>{name}</th><td>{format_rate(measure.value)} <span>{format_interval(measure)}</span></td></tr>"
        for name, measure in (("Sensitivity", rates.sensitivity), ("Specificity", rates.specificity))
    )
    st.html(
        f'<table class="pl-rows"><caption>At this operating point, n = {rates.n} validation radiographs '
        f"(95 % CI)</caption>{rows}</table>"
    )


@st.fragment
def show_predictive_values(rates: Rates, sample: str | None = None) -> None:
    """Draw the slider for the prevalence, with PPV and NPV there.

    With `sample`, which names the radiographs behind them, both are also drawn over all prevalences.
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
        help="PPV and NPV depend on how common pneumonia is among the patients examined.",
    )
    st.session_state.setdefault(_PREVALENCE, {})["prevalence"] = prevalence / 100
    values = predictive_values(rates.sensitivity, rates.specificity, prevalence / 100)
    st.html(
        '<table class="pl-rows">'
        f"<tr><th>PPV <em>of “likely” findings</em></th><td>{format_rate(values.ppv.value)} "
        f"<span>{format_interval(values.ppv)}</span></td></tr>"
        f"<tr><th>NPV <em>of “unlikely” findings</em></th><td>{format_rate(values.npv.value)} "
        f"<span>{format_interval(values.npv)}</span></td></tr></table>"
    )

"""Recalibration on own radiographs in the Decide step: choice, progress, and figures before and after."""

from __future__ import annotations

from html import escape

import streamlit as st

from core.errors import AppError
from core.formatting import format_count, format_estimate, format_probability, with_time_left
from core.settings import Settings
from model.card import Evaluation
from model.registry import list_versions, load_card
from pages.retraining import file_cache
from pages.shared import visitor
from pages.shared.administrator import guarded, still_administrator
from pages.shared.measures import MEASURE_NAMES
from training.data import sources
from training.data.patients import FILE
from training.runs import audits, recalibrations
from training.runs.recalibrations import MIN_PATIENTS, Recalibration

BEFORE, AFTER = "before_recalibration", "validation"
_ROWS = ("sensitivity", "specificity", "auroc", "ece")
_ERROR = "recalibrate.error"


def show(settings: Settings, who: str, in_use: str | None) -> None:
    """Draw the state of the last recalibration, and the form that starts one."""
    st.html('<h2 class="pl-heading">Recalibration</h2>')
    if error := st.session_state.pop(_ERROR, None):
        _refusal(*error)
    state = recalibrations.read_recalibration(settings)
    if state.state == "running":
        show_progress(settings, who)
        return
    if state.state == "done":
        show_result(settings, state)
    elif state.state == "failed" and state.failure is not None:
        _refusal(state.failure.advice, state.failure.message)
        if state.log:
            with st.expander("Last log lines (for technical support)"):
                st.code("\n".join(state.log), language=None)
    elif state.state == "cancelled":
        st.html('<p class="pl-note" role="status">The last recalibration was cancelled. No version was added.</p>')
    with st.expander("Recalibrate on our own radiographs"):
        show_form(settings, who, in_use)


def show_form(settings: Settings, who: str, in_use: str | None) -> None:
    """Draw the choice of version and dataset, and the button that starts."""
    st.html(
        '<p class="pl-note">Refits threshold and intercept of a version on labelled radiographs of this hospital that '
        f"it was not trained on; at least {MIN_PATIENTS} patients of each class. The network does not change. The "
        "result is a new version; clinical use does not change.</p>"
    )
    versions = [*reversed(list_versions(settings))]
    datasets = {one.id: one for one in sources.list_datasets(settings)}
    if not datasets or not versions:
        st.html('<p class="pl-note">No dataset on the server. Add one in the Data step.</p>')
        return
    left, right = st.columns(2)
    with left:
        version = st.selectbox(
            "Version", versions, index=versions.index(in_use) if in_use in versions else 0, key="recalibrate.version"
        )
    with right:
        dataset = st.selectbox(
            "Labelled radiographs", list(datasets), key="recalibrate.data", format_func=lambda one: datasets[one].name
        )
    try:
        found = file_cache.patient_preview(settings, (datasets[dataset],), "")
    except AppError as error:
        _refusal(error.advice, str(error))
        return
    unknown = found.rules.get(FILE, 0)
    st.html(
        f'<p class="pl-note">{found.n:,} radiographs of {format_count(found.patients, "patient")}.'
        + (f" The patients of {unknown:,} are unknown: each counts as its own.</p>" if unknown else "</p>")
    )
    st.button(
        f"Recalibrate {version}",
        type="primary",
        key="recalibrate.start",
        on_click=guarded(_start),
        args=(settings, who, version, dataset),
    )


def _start(settings: Settings, who: str, version: str, dataset_id: str) -> None:
    try:
        with visitor.noted(settings, "recalibrate", version):
            data = audits.data_of(settings, sources.find_dataset(settings, dataset_id))
            recalibrations.start_recalibration(settings, version, data, who)
    except AppError as error:
        st.session_state[_ERROR] = (error.advice, str(error))


def _cancel(settings: Settings, who: str, version: str) -> None:
    try:
        with visitor.noted(settings, "cancel-recalibration", version):
            recalibrations.cancel_recalibration(settings, who)
    except AppError as error:
        st.session_state[_ERROR] = (error.advice, str(error))


@st.fragment(run_every=1)
def show_progress(settings: Settings, who: str) -> None:
    """Draw the progress of the recalibration, and the whole page again once it has ended."""
    still_administrator()
    state = recalibrations.read_recalibration(settings)
    if state.state != "running":
        st.rerun()
    words = f"{state.version}: {state.phase}" + (f", {state.done:,} of {state.total:,}" if state.total else "")
    st.progress(
        min(1.0, state.done / state.total) if state.total else 0.0, f"{with_time_left(words, state.seconds_left)}."
    )
    st.html('<p class="pl-note" role="status">The recalibration continues if you leave this page.</p>')
    st.button(
        "Cancel recalibration", key="recalibrate.cancel", on_click=guarded(_cancel), args=(settings, who, state.version)
    )
    with st.expander("Log"):
        st.code("\n".join(state.log) or "No log lines yet.", language=None)


def show_result(settings: Settings, state: Recalibration) -> None:
    """Draw the figures of a recalibration before and after, with intervals."""
    try:
        card, old = load_card(settings, state.made), load_card(settings, state.version)
        before, after = card.evaluations[BEFORE], card.evaluations[AFTER]
    except (AppError, KeyError):
        st.html(f'<p class="pl-note">The version {escape(state.made)} of the last recalibration is not available.</p>')
        return
    names = "" if state.data is None else f" on {state.data.title}"
    rows = (
        f"<tr><th>Operating point</th><td>{format_probability(old.operating_point.probability)}</td>"
        f"<td>{format_probability(card.operating_point.probability)}</td></tr>"
    )
    rows += "".join(f"<tr><th>{MEASURE_NAMES[key]}</th>{_cells(key, before, after)}</tr>" for key in _ROWS)
    changed = next((note for note in reversed(card.notes) if note.startswith("Recalibrated from")), "")
    st.html(
        f'<div class="pl-wide"><table class="pl-table"><caption>{escape(state.made)}, recalibrated{escape(names)}'
        f"</caption><tr><th></th><th>Before<span>{escape(state.version)}</span></th>"
        f"<th>After<span>{escape(state.made)}, cross-fitted</span></th></tr>{rows}</table></div>"
        f'<p class="pl-note">n = {after.n}, {after.tp + after.fn} pneumonia and {after.tn + after.fp} normal; 95 % '
        f"confidence intervals by patient. {escape(changed)} Asked for by {escape(state.asked_by)} on "
        f"{escape(state.asked_at[:10])}.</p>"
    )


def _cells(key: str, *evaluations: Evaluation) -> str:
    return "".join(f"<td>{format_estimate(one.measures[key], 3)}</td>" for one in evaluations)


def _refusal(strong: str, words: str) -> None:
    st.html(
        f'<section class="pl-warning" role="alert"><p><strong>{escape(strong)}</strong></p>'
        f'<p class="pl-note">{escape(words)}. No version was added.</p></section>'
    )

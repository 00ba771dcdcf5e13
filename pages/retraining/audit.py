"""The Audit step: findings on the selected dataset, most severe first, and whether it may be used for training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
import streamlit as st

from core.errors import AppError
from core.formatting import format_count, format_rate, with_time_left
from core.settings import Settings
from pages.retraining import charts_audit, file_cache
from pages.retraining.charts_audit import SPLIT_NAMES
from pages.retraining.choose import datasets_object
from pages.retraining.styles import show_styles
from pages.retraining.thumbnails import show_thumbnail
from pages.shared import visitor
from pages.shared.administrator import still_administrator
from training.data.audit import Audit, Group, Issue
from training.data.data_request import DataRequest
from training.runs import audits
from training.runs.audits import AuditState

GROUPS_AT_ONCE = 12
FILES_OF_A_GROUP = 4
# Warnings in the order in which they mislead: leaks, shortcuts, too few patients, then the state of the files.
WORST_FIRST = (
    "PATIENT_ON_BOTH_SIDES",
    "DUPLICATE_ON_BOTH_SIDES",
    "DUPLICATE_ACROSS_SPLITS",
    "PATIENT_IN_TWO_SPLITS",
    "UNKNOWN_PATIENTS",
    "PATIENT_PATTERN",
    "SOURCE_OF_ONE_CLASS",
    "ONE_CLASS_STYLE",
    "NEARLY_ONE_CLASS_STYLE",
    "STYLE_PREDICTS_LABEL",
    "SEES_NO_LUNGS",
    "FEW_FILMS",
    "FEW_HELD_OUT_PATIENTS",
    "SMALL_VALIDATION",
)
ROWS_AT_ONCE = 200


def show(settings: Settings, key: str) -> None:
    """Draw the audit `key`: its progress while it runs, then its report."""
    try:
        state = audits.read_audit(settings, key)
    except AppError as error:
        st.html(f'<p class="pl-warning"><strong>Audit not found.</strong> {escape(error.advice)}</p>')
        other_data_button()
        return
    st.html(
        f'<h1 class="pl-title">Audit of {escape(" + ".join(one.name for one in state.datasets))}</h1>'
        + "".join(f'<p class="pl-note">{escape(str(one.path))}</p>' for one in state.datasets)
    )
    if state.state == "running":
        show_progress(settings, key)
    elif state.audit is None:
        show_failure(settings, state)
    else:
        show_report(settings, state, state.audit)


@st.fragment(run_every=1)
def show_progress(settings: Settings, key: str) -> None:
    """Draw the progress of the audit, and the whole page again once it has ended."""
    still_administrator()
    state = audits.read_audit(settings, key)
    if state.state != "running":
        st.rerun()
    words = state.phase.capitalize()
    if state.total:
        words += f": {state.done:,} of {state.total:,}"
    st.progress(state.done / max(1, state.total), f"{with_time_left(words, state.seconds_left)}.")
    st.html('<p class="pl-note" role="status">The audit continues if you leave this page or close the browser.</p>')
    with st.container(horizontal=True, gap="small"):
        if st.button("Cancel audit", key="audit.cancel"):
            with visitor.noted(settings, "cancel-audit", key):
                audits.cancel_audit(settings, key)
            st.rerun()


def show_failure(settings: Settings, state: AuditState) -> None:
    """Draw why there is no report."""
    failure = state.failure
    message, advice = (failure.message, failure.advice) if failure else ("The audit ended.", "Repeat the audit.")
    st.html(
        f'<section class="pl-warning"><p><strong>{escape(message)}</strong></p><p>{escape(advice)} '
        "Nothing in the folder was changed.</p></section>"
    )
    if failure and failure.last_log_lines:
        with st.expander("Last log lines (for technical support)"):
            st.code("\n".join(failure.last_log_lines), language=None)
    with st.container(horizontal=True, gap="small"):
        repeat_button(settings, state)
        other_data_button()


def show_report(settings: Settings, state: AuditState, audit: Audit) -> None:
    """Draw the report of a finished audit, most severe findings first."""
    is_current = file_cache.is_current(settings, state)
    show_findings(audit, is_current)
    show_actions(settings, state, audit, is_current)
    show_baseline(audit)
    show_styles(audit, state.data)
    left, right = st.columns(2, gap="small")
    with left:
        draw("balance", charts_audit.class_balance(audit.class_counts))
    with right:
        draw("sizes", charts_audit.sizes(audit.sizes, audit.n - len(audit.unreadable)))
    data = state.data
    conflicts = set(audit.label_conflicts)
    show_groups("conflicts", "Identical radiographs with both labels", audit.label_conflicts, data)
    show_groups(
        "exact",
        "Exact duplicates",
        [group for group in audit.exact_duplicate_groups if group not in conflicts],
        data,
    )
    show_groups("near", "Near duplicates", audit.near_duplicate_groups, data)
    show_unreadable(audit)
    show_patients(audit)


def show_findings(audit: Audit, is_current: bool) -> None:
    """Draw the findings: first those that block training, then the warnings."""
    if not is_current:
        st.html(
            '<section class="pl-warning"><h2>The dataset has changed since this audit</h2><p>Files were added, '
            "removed or replaced. The report describes the earlier state.</p></section>"
        )
    blocking = "".join(f"<p>{escape(issue.message)}</p>" for issue in audit.issues if issue.blocking)
    if blocking:
        st.html(f'<section class="pl-warning"><h2>Training is blocked</h2>{blocking}</section>')
    warnings = sorted((one for one in audit.issues if not one.blocking), key=severity)
    notes = "".join(f"<li>{escape(issue.message)}</li>" for issue in warnings)
    words = f"{audit.n:,} files were read."
    if notes:
        st.html(
            f'<section class="pl-about"><h2>Warnings</h2><p>{words} These findings do '
            f"not block training. They are recorded on the model card of the new version.</p><ul>{notes}</ul></section>"
        )
    elif not blocking:
        st.html(
            f'<section class="pl-about"><h2>No problems found</h2><p>{words} No '
            "unreadable files, duplicates or label conflicts.</p></section>"
        )


def severity(issue: Issue) -> int:
    """Return the place of a warning in the list; the smaller, the more it misleads."""
    return WORST_FIRST.index(issue.code) if issue.code in WORST_FIRST else len(WORST_FIRST)


def show_actions(settings: Settings, state: AuditState, audit: Audit, is_current: bool) -> None:
    """Draw the buttons of the report, with the reason where training is not possible."""
    reason = (
        ""
        if is_current and not audit.is_blocked
        else "The dataset has changed since this audit. Repeat the audit."
        if not is_current
        else "Resolve the findings above in the dataset, then repeat the audit."
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("Continue to training", type="primary", disabled=bool(reason), key="audit.continue"):
            st.query_params["step"] = "train"
            st.query_params.pop("run", None)
            st.rerun()
        if not is_current:
            repeat_button(settings, state)
        other_data_button()
        if reason:
            st.html(f'<p class="pl-note">{reason}</p>')


def repeat_button(settings: Settings, state: AuditState) -> None:
    """Draw the button that audits the dataset in its present state."""
    if st.button("Repeat audit", key="audit.again"):
        with visitor.noted(settings, "audit", datasets_object(state.datasets)):
            st.query_params["audit"] = audits.start_audit(
                settings, *state.datasets, patient_pattern=state.data.patient_pattern
            )
        st.rerun()


def other_data_button() -> None:
    """Draw the button back to the Data step."""
    if st.button("Select other data", key="audit.back"):
        st.query_params["step"] = "data"
        st.query_params.pop("audit", None)
        st.rerun()


def show_baseline(audit: Audit) -> None:
    """Draw the shortcut baseline: the AUROC of file properties and of the style without lung content."""
    left, right = st.columns(2, gap="small")
    with left, st.container(key="panel_baseline"):
        st.html(
            f'<h2 class="pl-heading">Shortcut baseline (no lung content)</h2><p>{baseline_sentence(audit)}</p>'
            f"{baseline_table(audit)}"
            '<p class="pl-note">Cross-validated AUROC; 0.50 is chance. A useful classifier must exceed this '
            "baseline.</p>"
        )
    with right:
        if any(not math.isnan(area) for area in audit.shortcut_features.values()):
            draw("baseline", charts_audit.baseline(audit.shortcut_features, audit.shortcut_auroc))


def baseline_table(audit: Audit) -> str:
    """Return the AUROC of file properties, and of the acquisition style where it is known, as a table."""
    rows = (
        ("File properties", "size, width, height, intensity, contrast, sharpness", audit.shortcut_auroc),
        ("Acquisition style", "markers, tone, noise, borders, encoding, outside the lungs", audit.style_auroc),
    )
    return (
        '<table class="pl-table"><tr><th></th><th>AUROC</th></tr>'
        + "".join(
            f"<tr><th>{name}<span>{what}</span></th><td>{format_rate(auroc)}</td></tr>" for name, what, auroc in rows
        )
        + "</table>"
    )


def baseline_sentence(audit: Audit) -> str:
    """Return the interpretation of the shortcut baseline, by the stronger of file properties and style."""
    known = {
        name: auroc
        for name, auroc in (("File properties", audit.shortcut_auroc), ("Acquisition styles", audit.style_auroc))
        if not math.isnan(auroc)
    }
    if not known:
        return "Not available: at least ten patients of each class are required."
    name = max(known, key=lambda one: known[one])
    value = f"(AUROC {known[name]:.2f})"
    if known[name] >= 0.75:
        return (
            f"{name} alone separate the classes well {value}. The performance of a classifier on this "
            "dataset may be due to such shortcuts."
        )
    if known[name] >= 0.6:
        return f"{name} alone separate the classes moderately {value}."
    return f"{name} alone hardly separate the classes {value}."


def show_groups(name: str, title: str, groups: Sequence[Group], data: DataRequest) -> None:
    """Draw groups of duplicate files, a few at a time."""
    if not groups:
        return
    shown = min(len(groups), st.session_state.get(f"audit.shown.{name}", GROUPS_AT_ONCE))
    st.html(f'<h2 class="pl-heading">{title}</h2><p class="pl-note">{groups_count(shown, len(groups))}</p>')
    for first in range(0, shown, 3):
        for column, group in zip(st.columns(3, gap="small"), groups[first : min(first + 3, shown)], strict=False):
            with column, st.container(key=f"panel_group_{name}_{groups.index(group)}"):
                show_group(group, data)
    if shown < len(groups) and st.button(f"Show {min(GROUPS_AT_ONCE, len(groups) - shown)} more", key=f"audit.{name}"):
        st.session_state[f"audit.shown.{name}"] = shown + GROUPS_AT_ONCE
        st.rerun()


def groups_count(shown: int, n: int) -> str:
    """Return how many groups are shown."""
    return f"{shown} of {n:,} groups" if shown < n else format_count(n, "group")


def show_group(group: Group, data: DataRequest) -> None:
    """Draw one group: thumbnails, file names, labels and splits."""
    with st.container(horizontal=True, gap="small"):
        for file in group.files[:2]:
            show_thumbnail(data, file)
    files = list(zip(group.files, group.labels, group.parts, strict=True))
    rows = "".join(
        f"<tr><th>{escape(label)}, {SPLIT_NAMES.get(split, escape(split)).lower()}</th><td>{escape(file)}</td></tr>"
        for file, label, split in files[:FILES_OF_A_GROUP]
    )
    more = len(files) - FILES_OF_A_GROUP
    st.html(f'<table class="pl-facts">{rows}</table>' + (f'<p class="pl-note">and {more} more</p>' if more > 0 else ""))


def show_unreadable(audit: Audit) -> None:
    """Draw the unreadable files with the reasons."""
    if not audit.unreadable:
        return
    st.html(
        f'<h2 class="pl-heading">Unreadable files</h2><p class="pl-note">Excluded from training: '
        f"{rows_count(audit.unreadable)}</p>"
    )
    shown = audit.unreadable[:ROWS_AT_ONCE]
    st.dataframe(
        {"File": [path for path, _ in shown], "Reason": [reason for _, reason in shown]},
        hide_index=True,
        key="audit.unreadable",
        height=min(35 * len(shown) + 38, 300),
        alt="Unreadable files with reasons",
    )


def show_patients(audit: Audit) -> None:
    """Draw the patient IDs that occur in more than one split."""
    if not audit.patients_in_two_splits:
        return
    shown = audit.patients_in_two_splits[:ROWS_AT_ONCE]
    st.html(
        '<h2 class="pl-heading">Patients in more than one split</h2>'
        f'<p class="pl-note">Patient IDs from file names: {rows_count(audit.patients_in_two_splits)}</p>'
    )
    st.dataframe(
        {"Patient ID": list(shown)},
        hide_index=True,
        key="audit.patients",
        height=min(35 * len(shown) + 38, 300),
        alt="Patient IDs in more than one split",
    )


def rows_count(rows: Sequence[object]) -> str:
    """Return how many of the rows are shown."""
    return f"{len(rows):,}." if len(rows) <= ROWS_AT_ONCE else f"{len(rows):,}, of which the first {ROWS_AT_ONCE}."


def draw(name: str, figure: go.Figure) -> None:
    """Draw a figure in its panel."""
    with st.container(key=f"figure_audit_{name}"):
        st.plotly_chart(figure, theme=None, key=f"audit.figure.{name}", config={"displayModeBar": False})

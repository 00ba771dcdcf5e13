"""Audit: what the chosen folder hides, worst first, and whether it may be trained on."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from core.errors import AppError, RadiographError
from core.formatting import format_count, with_time_left
from core.settings import Settings
from imaging.radiograph import decode_radiograph, to_uint8
from pages.retraining import charts_audit
from pages.shared.administrator import still_administrator
from pages.shared.streamlit_patches import release_memory
from training.data.audit import Audit, Group
from training.runs import audits
from training.runs.audits import AuditState

GROUPS_AT_ONCE = 12
FILES_OF_A_GROUP = 4
ROWS_AT_ONCE = 200
THUMBNAIL_PX = 132
PART_NAMES = {"train": "training", "val": "validation", "test": "test"}


def show(settings: Settings, who: str, key: str) -> None:
    """Draw the audit of `key`: while it runs its progress, afterwards its report and the way on."""
    try:
        state = audits.read_audit(settings, key)
    except AppError as error:
        st.html(f'<p class="pl-warning"><strong>There is no such audit.</strong> {escape(error.advice)}</p>')
        choose_other()
        return
    st.html(
        f'<h1 class="pl-title">Audit of {escape(state.dataset.name)}</h1>'
        f'<p class="pl-note">{escape(str(state.dataset.path))}</p>'
    )
    if state.state == "running":
        show_progress(settings, key)
    elif state.audit is None:
        show_failure(settings, state)
    else:
        show_report(settings, state, state.audit)


@st.fragment(run_every=1)
def show_progress(settings: Settings, key: str) -> None:
    """Draw how far the audit is, and the whole page again once it has ended."""
    still_administrator()
    state = audits.read_audit(settings, key)
    if state.state != "running":
        st.rerun()
    words = state.phase.capitalize()
    if state.total:
        words += f": {state.done:,} of {state.total:,}"
    st.progress(state.done / max(1, state.total), f"{with_time_left(words, state.seconds_left)}.")
    st.html('<p class="pl-note" role="status">The audit goes on when you leave this page or close the browser.</p>')
    with st.container(horizontal=True, gap="small"):
        if st.button("Cancel the audit", key="audit.cancel"):
            audits.cancel_audit(settings, key)
            st.rerun()


def show_failure(settings: Settings, state: AuditState) -> None:
    """Say why there is no report."""
    failure = state.failure
    message, advice = (failure.message, failure.advice) if failure else ("The audit ended.", "Start it again.")
    st.html(
        f'<section class="pl-warning"><p><strong>{escape(message)}</strong></p><p>{escape(advice)} '
        "Nothing in the folder was changed.</p></section>"
    )
    if failure and failure.last_words:
        with st.expander("For technical support: its last words"):
            st.code("\n".join(failure.last_words), language=None)
    with st.container(horizontal=True, gap="small"):
        again(settings, state)
        choose_other()


def show_report(settings: Settings, state: AuditState, audit: Audit) -> None:
    """Draw the report of an audit that is done, worst first."""
    is_current = audits.is_current(settings, state)
    show_findings(audit, is_current)
    show_way_on(settings, state, audit, is_current)
    left, right = st.columns(2, gap="small")
    with left:
        draw("balance", charts_audit.class_balance(audit.class_counts))
    with right:
        draw("sizes", charts_audit.sizes(audit.sizes, audit.n - len(audit.unreadable)))
    show_baseline(audit)
    root = state.dataset.path
    conflicts = set(audit.label_conflicts)
    show_groups("conflicts", "The same picture under both labels", audit.label_conflicts, root)
    show_groups(
        "exact",
        "Pixel-identical radiographs",
        [group for group in audit.exact_duplicate_groups if group not in conflicts],
        root,
    )
    show_groups("near", "Nearly identical radiographs", audit.near_duplicate_groups, root)
    show_unreadable(audit)
    show_patients(audit)


def show_findings(audit: Audit, is_current: bool) -> None:
    """Say in words what was found: what blocks training first, then what one must know."""
    if not is_current:
        st.html(
            '<section class="pl-warning"><h2>The folder has changed since this audit</h2><p>Files were added, '
            "removed or replaced. What stands below describes the folder as it was.</p></section>"
        )
    blocking = "".join(f"<p>{escape(issue.message)}</p>" for issue in audit.issues if issue.blocking)
    if blocking:
        st.html(f'<section class="pl-warning"><h2>Training cannot start on this folder</h2>{blocking}</section>')
    notes = "".join(f"<li>{escape(issue.message)}</li>" for issue in audit.issues if not issue.blocking)
    words = f"{audit.n:,} files were read."
    if notes:
        st.html(
            f'<section class="pl-about"><h2>What to know before training</h2><p>{words} What follows '
            f"stops no training; all of it goes onto the new version’s card.</p><ul>{notes}</ul></section>"
        )
    elif not blocking:
        st.html(
            f'<section class="pl-about"><h2>Nothing speaks against training on this folder</h2><p>{words} No '
            "damaged file, no duplicate and no contradiction was found.</p></section>"
        )


def show_way_on(settings: Settings, state: AuditState, audit: Audit, is_current: bool) -> None:
    """Draw the button that goes on, with the reason beside it when it cannot be pressed."""
    reason = (
        ""
        if is_current and not audit.is_blocked
        else "Not possible: the folder has changed since this audit."
        if not is_current
        else "Not possible: resolve what is named above in the folder, then audit it again."
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("Go on to training", type="primary", disabled=bool(reason), key="audit.go_on"):
            st.query_params["step"] = "train"
            st.query_params.pop("run", None)
            st.rerun()
        if not is_current:
            again(settings, state)
        choose_other()
        if reason:
            st.html(f'<p class="pl-note">{reason}</p>')


def again(settings: Settings, state: AuditState) -> None:
    """Draw the button that audits the folder as it is now."""
    if st.button("Audit it again", key="audit.again"):
        st.query_params["audit"] = audits.start_audit(settings, state.dataset)
        st.rerun()


def choose_other() -> None:
    """Draw the way back."""
    if st.button("Choose other data", key="audit.back"):
        st.query_params["step"] = "data"
        st.query_params.pop("audit", None)
        st.rerun()


def show_baseline(audit: Audit) -> None:
    """Say what the files give away without a look at the lungs."""
    left, right = st.columns(2, gap="small")
    with left, st.container(key="panel_baseline"):
        st.html(
            f'<h2 class="pl-heading">Without looking at lungs</h2><p>{baseline_sentence(audit)}</p>'
            '<p class="pl-note">Measured with file size, width, height, brightness, contrast and sharpness, on '
            "patients that the measure had not seen. 0.50 is chance. A classifier is worth what it adds to "
            "this.</p>"
        )
    with right:
        if any(not math.isnan(area) for area in audit.sees_no_lungs_features.values()):
            draw("baseline", charts_audit.baseline(audit.sees_no_lungs_features, audit.sees_no_lungs_auroc))


def baseline_sentence(audit: Audit) -> str:
    """Return the "sees no lungs" baseline as one plain sentence."""
    area = audit.sees_no_lungs_auroc
    if math.isnan(area):
        return (
            "There are too few patients to measure how far one gets without looking at lungs; it takes at least "
            "ten of each class."
        )
    area_words = f"(AUROC {area:.2f})"
    if area >= 0.75:
        return (
            "Size, brightness and sharpness of the files alone, without any look at a lung, tell the classes apart "
            f"far better than chance {area_words}, so part of any classifier’s success on this data may come from there."
        )
    if area >= 0.6:
        return (
            f"Size, brightness and sharpness of the files alone tell the classes apart somewhat better than chance "
            f"{area_words}; most of what a classifier learns here must come from the picture."
        )
    return f"Size, brightness and sharpness of the files alone hardly tell the classes apart {area_words}."


def show_groups(name: str, title: str, groups: Sequence[Group], root: Path) -> None:
    """Draw files that show the same picture, a few groups at a time."""
    if not groups:
        return
    shown = min(len(groups), st.session_state.get(f"audit.shown.{name}", GROUPS_AT_ONCE))
    st.html(f'<h2 class="pl-heading">{title}</h2><p class="pl-note">{groups_said(shown, len(groups))}</p>')
    for first in range(0, shown, 3):
        for column, group in zip(st.columns(3, gap="small"), groups[first : min(first + 3, shown)], strict=False):
            with column, st.container(key=f"panel_group_{name}_{groups.index(group)}"):
                show_group(group, root)
    if shown < len(groups) and st.button(f"Show {min(GROUPS_AT_ONCE, len(groups) - shown)} more", key=f"audit.{name}"):
        st.session_state[f"audit.shown.{name}"] = shown + GROUPS_AT_ONCE
        st.rerun()


def groups_said(shown: int, n: int) -> str:
    """Say how many groups are shown."""
    return f"{shown} of {n:,} groups" if shown < n else format_count(n, "group")


def show_group(group: Group, root: Path) -> None:
    """Draw one group: small pictures with the files' names, labels and parts."""
    with st.container(horizontal=True, gap="small"):
        for file in group.files[:2]:
            picture = thumbnail(root, file)
            if picture is None:
                st.html('<p class="pl-nofilm">This file can no longer be read.</p>', width=THUMBNAIL_PX)
            else:
                st.image(picture, width=THUMBNAIL_PX, output_format="PNG", alt="Radiograph of this group")
    files = list(zip(group.files, group.labels, group.parts, strict=True))
    rows = "".join(
        f"<tr><th>{escape(label)}, {PART_NAMES.get(part, escape(part))}</th><td>{escape(file)}</td></tr>"
        for file, label, part in files[:FILES_OF_A_GROUP]
    )
    more = len(files) - FILES_OF_A_GROUP
    st.html(f'<table class="pl-facts">{rows}</table>' + (f'<p class="pl-note">and {more} more</p>' if more > 0 else ""))


def thumbnail(root: Path, file: str) -> bytes | None:
    """Return a small picture of a file below the dataset as PNG; None when it cannot be read any more."""
    path = root / file
    if not Path(os.path.normpath(path)).is_relative_to(root):
        return None
    try:
        return _thumbnail(str(path), path.stat().st_mtime_ns)
    except (OSError, RadiographError):
        return None


# Bounded and short-lived: these are patients' pictures, and a folder's owner may take them away.
@st.cache_data(max_entries=128, ttl=300, show_spinner=False)
def _thumbnail(path: str, changed_ns: int) -> bytes:
    small = Image.fromarray(to_uint8(decode_radiograph(Path(path).read_bytes())))
    small.thumbnail((2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX), Image.Resampling.BOX)
    target = io.BytesIO()
    small.save(target, "PNG", compress_level=1)
    release_memory()
    return target.getvalue()


def show_unreadable(audit: Audit) -> None:
    """Draw the files that cannot be read, with the reasons."""
    if not audit.unreadable:
        return
    st.html(
        f'<h2 class="pl-heading">Files that cannot be read</h2><p class="pl-note">Left out of a training: '
        f"{rows_said(audit.unreadable)}</p>"
    )
    shown = audit.unreadable[:ROWS_AT_ONCE]
    st.dataframe(
        {"File below the folder": [path for path, _ in shown], "Why": [reason for _, reason in shown]},
        hide_index=True,
        key="audit.unreadable",
        height=min(35 * len(shown) + 38, 300),
        alt="Files that cannot be read, and why",
    )


def show_patients(audit: Audit) -> None:
    """Draw the patient ids that occur in more than one part."""
    if not audit.patients_in_two_splits:
        return
    shown = audit.patients_in_two_splits[:ROWS_AT_ONCE]
    st.html(
        '<h2 class="pl-heading">Patient ids in more than one part</h2>'
        f'<p class="pl-note">Read from the file names: {rows_said(audit.patients_in_two_splits)}</p>'
    )
    st.dataframe(
        {"Patient id": list(shown)},
        hide_index=True,
        key="audit.patients",
        height=min(35 * len(shown) + 38, 300),
        alt="Patient ids in more than one part",
    )


def rows_said(rows: Sequence[object]) -> str:
    """Say how many of the rows are shown."""
    return f"{len(rows):,}." if len(rows) <= ROWS_AT_ONCE else f"{len(rows):,}, of which the first {ROWS_AT_ONCE}."


def draw(name: str, figure: go.Figure) -> None:
    """Draw a figure in its panel."""
    with st.container(key=f"figure_audit_{name}"):
        st.plotly_chart(figure, theme=None, key=f"audit.figure.{name}", config={"displayModeBar": False})

"""Acquisition styles in the audit: groups of radiographs that were made alike, each with pictures and class balance."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from core.formatting import format_count
from pages.retraining.charts_audit import SPLIT_NAMES
from pages.retraining.thumbnails import show_thumbnail
from training.data.audit import Audit
from training.data.data_request import DataRequest
from training.data.sample import CLASSES
from training.data.style_audit import StyleGroup

STYLES_AT_ONCE = 6
EXAMPLES = 4
PICTURE_PX = 84
_SHOWN = "audit.styles.shown"


def show_styles(audit: Audit, data: DataRequest) -> None:
    """Draw the styles of an audit, those of one class first."""
    if not audit.styles:
        return
    groups = worst_first(audit.styles)
    shown = min(len(groups), st.session_state.get(_SHOWN, STYLES_AT_ONCE))
    st.html(
        f'<h2 class="pl-heading">Acquisition styles</h2><p class="pl-note">{summary(groups)} Radiographs of a style '
        "have similar markers and text, tone, noise, borders and encoding outside the lungs, as those of one X-ray "
        "unit or one export. The class should not follow from the style.</p>"
    )
    for first in range(0, shown, 2):
        columns = st.columns(2, gap="small")
        for column, group in zip(columns, groups[first : min(first + 2, shown)], strict=False):
            with column, st.container(key=f"panel_style_{group.name}"):
                show_style(group, data)
    if shown < len(groups):
        more = min(STYLES_AT_ONCE, len(groups) - shown)
        if st.button(f"Show {more} more of {len(groups)} styles", key="audit.styles.more"):
            st.session_state[_SHOWN] = shown + STYLES_AT_ONCE
            st.rerun()


def summary(groups: Sequence[StyleGroup]) -> str:
    """Return in a sentence how many styles there are, and how many of them have one class."""
    one, nearly = sum(bool(g.one_class) for g in groups), sum(bool(g.nearly_one_class) for g in groups)
    found = [f"{one} with one class only"] * bool(one) + [f"{nearly} nearly so"] * bool(nearly)
    return f"{format_count(len(groups), 'style')}{', ' if found else ''}{', '.join(found)}."


def worst_first(groups: Sequence[StyleGroup]) -> list[StyleGroup]:
    """Return the styles of one class, those nearly so, then the others by how unlikely their balance is by chance."""
    return sorted(groups, key=lambda one: (not one.one_class, not one.nearly_one_class, one.chance))


def show_style(group: StyleGroup, data: DataRequest) -> None:
    """Draw one style: what marks it, its class balance, and the radiographs nearest to its centre."""
    st.html(
        f'<h3 class="pl-heading">Style {escape(group.name)}</h3>'
        f'<p class="pl-note">{escape(capitalized(group.words))}</p>'
        f"{verdict(group)}{balance(group)}"
    )
    with st.container(horizontal=True, gap="small"):
        for file in group.examples[:EXAMPLES]:
            show_thumbnail(data, file, PICTURE_PX)


def verdict(group: StyleGroup) -> str:
    """Return what a classifier may learn from a style, outlined where its films have (nearly) one class."""
    if group.one_class:
        return (
            f'<p class="pl-warning"><strong>Every radiograph is {group.one_class}.</strong> A classifier will learn '
            "the unit. Add radiographs of the other class made in the same way, or leave these out.</p>"
        )
    if group.nearly_one_class:
        return (
            f'<p class="pl-warning"><strong>Nearly every radiograph is {group.nearly_one_class}.</strong> Compare the '
            "figures by style before the version is used.</p>"
        )
    return ""


def balance(group: StyleGroup) -> str:
    """Return the numbers of radiographs by split and class, and of patients in training, as a table."""
    head = "".join(f"<th>{name}</th>" for name in CLASSES)
    rows = "".join(
        f"<tr><th>{SPLIT_NAMES.get(split, escape(split))}</th>"
        + "".join(f"<td>{counts.get(name, 0):,}</td>" for name in CLASSES)
        + "</tr>"
        for split, counts in group.counts.items()
    )
    patients = "".join(f"<td>{group.patients.get(name, 0):,}</td>" for name in CLASSES)
    return (
        f'<table class="pl-table"><tr><th>Radiographs</th>{head}</tr>{rows}'
        f"<tr><th>Patients in training</th>{patients}</tr></table>"
    )


def capitalized(words: str) -> str:
    """Return words with the first letter in upper case and the others unchanged."""
    return words[:1].upper() + words[1:]

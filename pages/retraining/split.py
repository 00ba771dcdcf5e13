"""The split that a training has drawn: its sides, and what they share."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

import streamlit as st

from pages.retraining import file_cache
from training.data.audit_split import SplitAudit, findings
from training.data.sample import CLASSES

_SIDES = {"train": "Training", "validation": "Validation"}


def show_split(run_folder: Path) -> None:
    """Draw the audit of the split of a run; nothing where it is not on record."""
    split = file_cache.split_audit(run_folder)
    if split is None:
        return
    st.html(
        f'<h2 class="pl-heading">Split of this training</h2>{split_table(split)}<p class="pl-note">{shared(split)}</p>'
    )
    said = [sentence for _, _, sentence in findings(split)]
    if said:
        st.html(f'<section class="pl-warning">{"".join(f"<p>{escape(one)}</p>" for one in said)}</section>')


def split_table(split: SplitAudit) -> str:
    """Return radiographs and patients of each side by class, as a table."""
    head = "".join(f"<th>{name}<span>radiographs</span></th><th><span>patients</span></th>" for name in CLASSES)
    rows = "".join(
        f"<tr><th>{_SIDES.get(name, escape(name))}</th>"
        + "".join(f"<td>{side.radiographs.get(c, 0):,}</td><td>{side.patients.get(c, 0):,}</td>" for c in CLASSES)
        + "</tr>"
        for name, side in split.sides.items()
    )
    return f'<table class="pl-table"><tr><th></th>{head}</tr>{rows}</table>'


def shared(split: SplitAudit) -> str:
    """Return in words what both sides share, and how well file properties alone carry over."""
    words = (
        f"On both sides: {len(split.patients_on_both_sides):,} patients and {len(split.groups_on_both_sides):,} groups "
        "of identical radiographs."
    )
    if not math.isnan(split.shortcut_auroc):
        words += (
            " Shortcut baseline (no lung content), fitted on training and measured on validation: AUROC "
            f"{split.shortcut_auroc:.2f}."
        )
    return words

"""Performance by group of an evaluation, and whether the radiographs of each group get a finding."""

from __future__ import annotations

import math
from html import escape

from core.formatting import format_interval, format_rate
from model.card import Evaluation, GroupResult, Measure, ModelCard
from model.measured_groups import (
    AGE,
    AGE_AND_VIEW,
    LEAST_SENSITIVITY,
    LEAST_SPECIFICITY,
    MIN_NORMAL,
    MIN_PNEUMONIA,
    VIEW,
    is_good,
    is_measured,
)

# In the order of the table; styles have numbers for names, which say nothing here.
KIND_NAMES = {
    AGE: "Age",
    AGE_AND_VIEW: "Age and projection",
    VIEW: "Projection",
    "source": "Source",
    "unit": "X-ray unit",
}


def group_table(card: ModelCard, evaluation: Evaluation) -> str | None:
    """Return the results of an evaluation by group as HTML, the worst of each kind first; None without any.

    Whether a finding is given is said for versions that decide by the card's groups, on the evaluation that they use.

    Parameters
    ----------
    card
        The card.
    evaluation
        One of its evaluations.
    """
    groups = [one for kind in KIND_NAMES for one in evaluation.groups if one.kind == kind]
    if not groups:
        return None
    decides = bool(card.anatomy_sha256) and evaluation is card.evaluations.get("validation")
    rows, kind = "", ""
    for one in groups:
        if one.kind != kind:
            kind = one.kind
            rows += f'<tr><th colspan="{5 if decides else 4}">{KIND_NAMES[kind]}</th></tr>'
        rows += (
            f"<tr><th>{escape(one.name)}<span>{one.tp + one.fn} pneumonia, {one.tn + one.fp} normal</span></th>"
            f"{_cell(one.sensitivity)}{_cell(one.specificity)}{_cell(one.auroc)}"
            f"{f'<td>{_finding(one)}</td>' if decides else ''}</tr>"
        )
    last = "<th>Finding given</th>" if decides else ""
    note = (
        f'<p class="pl-note">A group that is measured on at least {MIN_NORMAL} normal radiographs decides whether its '
        f"radiographs get a finding: yes from a specificity of {LEAST_SPECIFICITY:.2f} and, if measured on "
        f"{MIN_PNEUMONIA} with pneumonia, a sensitivity of {LEAST_SENSITIVITY:.2f}, each at the lower end of its "
        "interval. Elsewhere the distance from the training population decides.</p>"
        if decides
        else ""
    )
    return (
        '<div class="pl-wide"><table class="pl-table"><caption>Performance by group, worst first, with 95 % confidence '
        "intervals</caption><tr><th></th><th>Sensitivity</th><th>Specificity</th><th>AUROC</th>"
        f"{last}</tr>{rows}</table></div>{note}"
    )


def _finding(group: GroupResult) -> str:
    if group.kind not in (AGE, VIEW, AGE_AND_VIEW) or group.name == "unknown" or not is_measured(group):
        return "–"
    if not is_good(group):
        return "no"
    # A projection can only rule a radiograph out.
    return "yes" if group.kind != VIEW else "as the age"


def _cell(measure: Measure) -> str:
    if math.isnan(measure.value):
        return "<td>–</td>"
    return f"<td>{format_rate(measure.value)} <span>{format_interval(measure)}</span></td>"

"""Results by group in the comparison: style, source, X-ray unit, age and projection, the candidate's worst first."""

from __future__ import annotations

import math
from html import escape

import streamlit as st

from core.formatting import format_interval, format_rate
from model.card import GroupResult, Measure
from training.evaluation.groups import KINDS, TOO_FEW
from training.runs.candidate_result import CandidateComparison
from training.runs.worst_group import GroupRate, paired_rates

KIND_NAMES = {
    "style": "acquisition style",
    "source": "source",
    "unit": "X-ray unit",
    "age": "age",
    "view": "projection",
    "age and view": "age and projection",
}


def show_groups(result: CandidateComparison) -> None:
    """Draw sensitivity and specificity of both classifiers by group; which kind of group is chosen above the table."""
    own = result.evaluation.groups
    kinds = [kind for kind in KINDS if sum(one.kind == kind for one in own) > 1]
    if not kinds:
        st.html(
            '<section class="pl-about"><h2>Results by group</h2><p>Not available: the radiographs name neither style, '
            "source, X-ray unit, age nor projection, or all are of one group.</p></section>"
        )
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.html('<h2 class="pl-heading">Results by group, worst first</h2>', width="content")
        kind = st.segmented_control(
            "Group by",
            kinds,
            default=kinds[0],
            required=True,
            key="compare.groups",
            format_func=lambda one: KIND_NAMES[one].capitalize().replace("x-ray", "X-ray"),
            label_visibility="collapsed",
        )
    st.html(group_table(result, kind or kinds[0]))


def group_table(result: CandidateComparison, kind: str) -> str:
    """Return the groups of a kind as a table, in the order of the candidate's evaluation: worst first."""
    against = {(one.kind, one.name): one for one in result.evaluation_against.groups}
    rates: dict[str, list[GroupRate]] = {}
    for one in paired_rates(result.evaluation.groups, result.evaluation_against.groups):
        rates.setdefault(one.group, []).append(one)
    groups = [one for one in result.evaluation.groups if one.kind == kind]
    rows = "".join(
        _row(one, against.get((one.kind, one.name)), rates.get(f"{one.kind} {one.name}", [])) for one in groups
    )
    return (
        '<div class="pl-wide"><table class="pl-table"><tr>'
        f"<th>{KIND_NAMES[kind].capitalize().replace('x-ray', 'X-ray')}</th>"
        "<th>Sensitivity<span>candidate</span></th><th><span>in use</span></th>"
        "<th>Specificity<span>candidate</span></th><th><span>in use</span></th><th>Interpretation</th></tr>"
        f"{rows}</table></div>"
        '<p class="pl-note">95 % confidence intervals by patient. A rate is shown from 10 radiographs of its class.</p>'
    )


def _row(own: GroupResult, other: GroupResult | None, rates: list[GroupRate]) -> str:
    numbers = f"{own.tp + own.fn} pneumonia, {own.tn + own.fp} normal"
    cells = "".join(
        _cell(getattr(side, rate) if side is not None else None)
        for rate in ("sensitivity", "specificity")
        for side in (own, other)
    )
    words = escape(interpretation(own, rates))
    return f"<tr><th>{escape(own.name)}<span>{numbers}</span></th>{cells}<td>{words}</td></tr>"


def _cell(value: Measure | None) -> str:
    if value is None or math.isnan(value.value):
        return "<td>–</td>"
    return f"<td>{format_rate(value.value, 3)} <span>{format_interval(value, 3)}</span></td>"


def interpretation(own: GroupResult, rates: list[GroupRate]) -> str:
    """Return how the candidate compares with the classifier in use in a group.

    Parameters
    ----------
    own
        The candidate's result.
    rates
        The rates that both have in this group, as `training.runs.worst_group.paired_rates` returns them.
    """
    if own.too_few or not rates:
        return TOO_FEW
    lower = [one.rate for one in rates if one.difference.high < 0]
    higher = [one.rate for one in rates if one.difference.low > 0]
    found = [f"candidate's {' and '.join(lower)} clearly lower"] * bool(lower)
    found += [f"candidate's {' and '.join(higher)} clearly higher"] * bool(higher)
    return "; ".join(found) or "no clear difference"

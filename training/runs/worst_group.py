"""The promotion gate's look at groups: the candidate must be clearly worse in none, and poor in none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from core.formatting import format_difference, format_estimate
from model.card import GroupResult, Measure
from training.evaluation.compare import GroupDifference

RATES = ("sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class GroupRate:
    """Sensitivity or specificity of both versions in one group; `difference` is candidate − version in use."""

    group: str
    rate: str
    own: Measure
    other: Measure
    difference: Measure


def paired_rates(
    own: Sequence[GroupResult], other: Sequence[GroupResult], differences: Sequence[GroupDifference] = ()
) -> list[GroupRate]:
    """Return the rates that both versions have in the same groups with enough radiographs.

    Parameters
    ----------
    own, other
        Results by group of the candidate and of the version in use, on the same radiographs.

    differences
        Paired differences in the same groups; empty in a comparison of an earlier version, whose intervals are then
        Newcombe's for independent rates: too wide, so that they name no group by chance.

    Returns
    -------
    list of GroupRate
        The candidate's largest loss first.

    References
    ----------
    Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I
    """
    paired = {(one.kind, one.name, one.rate): one.difference for one in differences}
    theirs = {(group.kind, group.name): group for group in other}
    found = []
    for mine in own:
        if (same := theirs.get((mine.kind, mine.name))) is None or same.n != mine.n:
            continue
        for rate in RATES:
            a, b = getattr(mine, rate), getattr(same, rate)
            if not math.isnan(a.value) and not math.isnan(b.value):
                difference = paired.get((mine.kind, mine.name, rate)) or _difference(a, b)
                found.append(GroupRate(f"{mine.kind} {mine.name}", rate, a, b, difference))
    return sorted(found, key=lambda one: (one.difference.high, one.own.high, one.group, one.rate))


def judge_groups(
    own: Sequence[GroupResult],
    other: Sequence[GroupResult],
    least: float,
    differences: Sequence[GroupDifference] = (),
) -> tuple[bool, str]:
    """Judge a candidate by its worst group.

    Parameters
    ----------
    own, other
        As in `paired_rates`.
    least
        Sensitivity and specificity below which, by the upper end of the interval, no group may be; in [0, 1].
    differences
        As in `paired_rates`.

    Returns
    -------
    tuple of (bool, str)
        Whether the rule is met, and the figures in a sentence.
    """
    rates = paired_rates(own, other, differences)
    if not rates:
        return True, "The data name no group with enough radiographs to tell."
    # One of many groups is worse by chance: the interval that decides is widened for the number of rates (Bonferroni).
    wider = NormalDist().inv_cdf(1 - 0.025 / len(rates)) / NormalDist().inv_cdf(0.975)
    lost = min(rates, key=lambda one: one.difference.value + wider * (one.difference.high - one.difference.value))
    if lost.difference.value + wider * (lost.difference.high - lost.difference.value) < 0:
        return False, (
            f"In {lost.group} the {lost.rate} is {format_estimate(lost.own, 3)} against "
            f"{format_estimate(lost.other, 3)}, difference {format_difference(lost.difference)}: clearly lower than "
            "that of the classifier in use, allowing for the number of groups."
        )
    poor = min(rates, key=lambda one: (one.own.high, one.group))
    words = f"Worst group of the candidate: {poor.group}, {poor.rate} {format_estimate(poor.own, 3)}"
    if poor.own.high < least:
        return False, f"{words}; the interval must reach {least:.2f}."
    return True, f"{words}; none of {len(rates)} rates by group is clearly lower than that of the classifier in use."


def _difference(a: Measure, b: Measure) -> Measure:
    value = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Measure(value, max(-1.0, value - below), min(1.0, value + above))

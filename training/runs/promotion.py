"""Promotion rules: the conditions for promoting a version, each with its figures in a sentence. No I/O.

An administrator can override a rule with a reason; reason and overridden rules stay in the history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.formatting import format_difference, format_estimate, format_percentage
from model.card import Measure, ModelCard
from training.data.audit import Audit
from training.data.audit_split import DUPLICATE_ON_BOTH_SIDES, PATIENT_ON_BOTH_SIDES
from training.fitting.population import MIN_FILMS, MIN_HELD_OUT
from training.runs.candidate_result import CandidateComparison
from training.runs.worst_group import judge_groups

# Shortest reason for an override.
REASON_CHARACTERS = 20
LEAKS = frozenset({"DUPLICATE_ACROSS_SPLITS", DUPLICATE_ON_BOTH_SIDES, PATIENT_ON_BOTH_SIDES})


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the rules: the highest calibration error, and the fewest radiographs and patients of each class.

    The interval of the calibration error must reach down to `ece`. `group_rate` is the sensitivity and specificity that
    the interval of every group must reach.
    """

    ece: float = 0.08
    films: int = 30
    patients: int = 30
    group_rate: float = 0.5


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Rule:
    """Result of one rule: its name, whether it is met, and the figures found and required in a sentence."""

    name: str
    passed: bool
    sentence: str


def check(
    candidate: ModelCard,
    in_use: ModelCard,
    comparison: CandidateComparison | None,
    audit: Audit | None,
    limits: Limits = LIMITS,
) -> tuple[Rule, ...]:
    """Check all promotion rules for a candidate, always in the same order.

    Parameters
    ----------
    candidate, in_use
        Model cards of the candidate and of the version in use.
    comparison
        Comparison of the two, None where there is none.
    audit
        Audit of the candidate's data, None where there is none.
    limits
        Limits of the rules.

    Returns
    -------
    tuple of Rule
        One result for each rule; a rule whose comparison or audit is missing is not met.
    """
    current = _current(candidate, in_use, comparison)
    known = comparison if current.passed else None
    rules = [current]
    for name, rule in _ON_THE_COMPARISON.items():
        passed, sentence = (
            (False, "Unknown without a valid comparison.") if known is None else rule(candidate, known, limits)
        )
        rules.append(Rule(name, passed, sentence))
    return (*rules, _population(candidate, in_use), *_data(audit))


def is_blocked(rules: Sequence[Rule]) -> bool:
    """Return whether a version must not be promoted without an override."""
    return not rules or any(not rule.passed for rule in rules)


def broken(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return the names of the rules that are not met."""
    return tuple(rule.name for rule in rules if not rule.passed)


def is_reason(text: str) -> bool:
    """Return whether a text is long enough as the reason for an override; runs of spaces count once."""
    return len(" ".join(text.split())) >= REASON_CHARACTERS


def _current(candidate: ModelCard, in_use: ModelCard, comparison: CandidateComparison | None) -> Rule:
    name = "Compared with the classifier in use"
    if comparison is None:
        return Rule(
            name, False, f"{candidate.version} has not been compared with {in_use.version}; run the comparison first."
        )
    if (comparison.candidate, comparison.against) != (candidate.version, in_use.version):
        return Rule(
            name,
            False,
            f"The comparison is one of {comparison.candidate} with {comparison.against}, but "
            f"{in_use.version} is in use now; compare again.",
        )
    if (comparison.candidate_sha256, comparison.against_sha256) != (candidate.sha256, in_use.sha256):
        return Rule(name, False, "The weights of one version differ from those compared; compare again.")
    return Rule(name, True, f"Both assessed the same {comparison.n} radiographs.")


def _same_films(candidate: ModelCard, c: CandidateComparison, _: Limits) -> tuple[bool, str]:
    own = candidate.evaluations.get(c.split)
    split = "test split" if c.split == "test" else "held-out validation patients"
    if own is None:
        return False, f"The model card of {c.candidate} has no evaluation on the {split}; the radiographs differ."
    cells = (own.tp + own.fn, own.tn + own.fp)
    compared = (c.comparison.n_pneumonia, c.n - c.comparison.n_pneumonia)
    words = f"Compared on {compared[0]} pneumonia and {compared[1]} normal radiographs"
    if cells == compared:
        return True, f"{words} of the {split}, as on the model card of {c.candidate}."
    return False, (
        f"{words}, but the model card of {c.candidate} lists {cells[0]} and {cells[1]} for the {split}; the "
        "radiographs must be the same."
    )


def _unseen(_: ModelCard, c: CandidateComparison, __: Limits) -> tuple[bool, str]:
    if c.learned.films:
        return False, (
            f"{c.learned.films} of the {c.n} radiographs were used to train the candidate or a version it was "
            "initialized from. Compare on radiographs that were not used for training."
        )
    return True, f"None of the {c.n} radiographs is known to have been used to train the candidate."


def _enough(_: ModelCard, c: CandidateComparison, limits: Limits) -> tuple[bool, str]:
    positive, negative = c.comparison.n_pneumonia, c.n - c.comparison.n_pneumonia
    passed = min(positive, negative) >= limits.films and min(c.patients) >= limits.patients
    return passed, (
        f"{positive} radiographs of {c.patients[1]} patients with pneumonia and {negative} of {c.patients[0]} without"
        f"; required: {limits.films} radiographs and {limits.patients} patients of each class."
    )


def _sensitivity(_: ModelCard, c: CandidateComparison, __: Limits) -> tuple[bool, str]:
    return _not_lower("sensitivity", "Sensitivity", (c.comparison.differences["sensitivity"],), c)


def _auroc(_: ModelCard, c: CandidateComparison, __: Limits) -> tuple[bool, str]:
    # The interval from both AUROCs' own and DeLong's symmetric one: either may show a lower AUROC.
    delong = c.comparison.delong
    by_films = () if math.isnan(delong.high) else (Measure(delong.difference, delong.low, delong.high),)
    return _not_lower("auroc", "AUROC", (c.comparison.differences["auroc"], *by_films), c)


def _not_lower(key: str, title: str, differences: Sequence[Measure], c: CandidateComparison) -> tuple[bool, str]:
    if any(math.isnan(one.high) for one in differences):
        return False, f"The difference in {title} is not defined on these radiographs."
    lower = [one for one in differences if one.high < 0]
    own, other = c.comparison.a.figures[key].value, c.comparison.b.figures[key].value
    words = f"{title} {own:.3f} against {other:.3f}, difference {format_difference((lower or differences)[0])}"
    if lower:
        return False, f"{words}: significantly lower than that of the classifier in use."
    return True, f"{words}: not significantly lower."


def _calibration(_: ModelCard, c: CandidateComparison, limits: Limits) -> tuple[bool, str]:
    own, other = c.evaluation.calibration, c.evaluation_against.calibration
    if own is None or other is None:  # compared by an earlier version
        ece = c.comparison.a.figures["ece"].value
        return ece <= limits.ece, f"Expected calibration error {ece:.3f}; at most {limits.ece:.2f} is allowed."
    # The plain error is measured at the prevalence of the radiographs and grows as they become fewer. This one is
    # without that bias, and its interval decides, so that chance does not.
    words = (
        f"Debiased expected calibration error {format_estimate(own.ece, 3)} at a prevalence of "
        f"{format_percentage(own.prevalence)}, that of the classifier in use {format_estimate(other.ece, 3)}"
    )
    if own.ece.low > limits.ece:
        return False, f"{words}: significantly above {limits.ece:.2f}."
    return True, f"{words}; at most {limits.ece:.2f} is allowed, which its interval reaches."


def _worst_group(_: ModelCard, c: CandidateComparison, limits: Limits) -> tuple[bool, str]:
    return judge_groups(
        c.evaluation.groups, c.evaluation_against.groups, limits.group_rate, c.comparison.group_differences
    )


_ON_THE_COMPARISON: dict[str, Callable[[ModelCard, CandidateComparison, Limits], tuple[bool, str]]] = {
    "Same held-out radiographs": _same_films,
    "Radiographs not used for training": _unseen,
    "Sample size": _enough,
    "Sensitivity not lower": _sensitivity,
    "AUROC not lower": _auroc,
    "Calibration": _calibration,
    "Worst group": _worst_group,
}


def _population(candidate: ModelCard, in_use: ModelCard) -> Rule:
    # The gate keeps radiographs of adults, and images other than radiographs, from being assessed.
    name = "Out-of-distribution gate"
    if candidate.population_sha256:
        return Rule(name, True, f"{candidate.version} has an out-of-distribution gate.")
    if not in_use.population_sha256:
        return Rule(name, True, "Neither version has an out-of-distribution gate.")
    return Rule(
        name,
        False,
        f"{candidate.version} has no out-of-distribution gate, unlike {in_use.version}. The gate needs {MIN_FILMS} "
        f"training and {MIN_HELD_OUT} held-out radiographs; with these, a version with a gate is made by: python -m "
        f"training recalibrate --data chest_xray --classifier {candidate.version}",
    )


def _data(audit: Audit | None) -> tuple[Rule, ...]:
    clean, apart = "Data audit", "No duplicates across splits"
    if audit is None:
        return (
            Rule(clean, False, "No data audit on record."),
            Rule(apart, False, "Unknown without a data audit."),
        )
    blocking = [issue for issue in audit.issues if issue.blocking]
    leaks = [issue for issue in audit.issues if issue.code in LEAKS]
    found = " ".join(issue.message for issue in leaks)
    if audit.split is None and not leaks:
        found = "The run's split is not on record."
    return (
        Rule(
            clean,
            not blocking,
            " ".join(issue.message for issue in blocking) or "No blocking findings.",
        ),
        Rule(
            apart,
            not found,
            found or "No radiograph is in more than one split, or both in training and in validation.",
        ),
    )

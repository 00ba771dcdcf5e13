"""The gate before a version goes into service: written rules, each with its figures in a sentence. No I/O.

Every rule can be overruled by an administrator who writes down why; what was overruled stays in the history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.formatting import format_difference
from model.card import Measure, ModelCard
from training.data.audit import Audit
from training.fitting.population import MIN_FILMS, MIN_HELD_OUT
from training.runs.candidate_result import CandidateComparison

# What an administrator must write at least to overrule.
REASON_CHARACTERS = 20
DUPLICATES = "DUPLICATE_ACROSS_SPLITS"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the rules demand: the calibration error allowed, and how many films and patients of each class."""

    ece: float = 0.08
    films: int = 30
    patients: int = 30


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it turned out: what it is called, whether it is met, and what was found and demanded, in words."""

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
    """Hold every rule against a candidate: the same rules in the same order, whatever is known.

    `comparison` is that of the candidate with the version in use, None while there is none; `audit` is that of the
    candidate's data, None when there is none to be read. What is not known does not pass.
    """
    current = _current(candidate, in_use, comparison)
    known = comparison if current.passed else None
    rules = [current]
    for name, rule in _ON_THE_COMPARISON.items():
        passed, sentence = (
            (False, "Not known without a comparison that holds.") if known is None else rule(candidate, known, limits)
        )
        rules.append(Rule(name, passed, sentence))
    return (*rules, _population(candidate, in_use), *_data(audit))


def is_blocked(rules: Sequence[Rule]) -> bool:
    """Whether a version that gave these rules must not go into service unless they are overruled."""
    return not rules or any(not rule.passed for rule in rules)


def broken(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return the names of the rules that are not met."""
    return tuple(rule.name for rule in rules if not rule.passed)


def is_reason(text: str) -> bool:
    """Whether a text is long enough to be the reason for overruling, not counting runs of spaces."""
    return len(" ".join(text.split())) >= REASON_CHARACTERS


def _current(candidate: ModelCard, in_use: ModelCard, comparison: CandidateComparison | None) -> Rule:
    name = "Compared with the classifier in use"
    if comparison is None:
        return Rule(name, False, f"{candidate.version} has not been compared with {in_use.version}; do that first.")
    if (comparison.candidate, comparison.against) != (candidate.version, in_use.version):
        return Rule(
            name,
            False,
            f"The comparison is one of {comparison.candidate} with {comparison.against}, but "
            f"{in_use.version} is in use now; compare again.",
        )
    if (comparison.candidate_sha256, comparison.against_sha256) != (candidate.sha256, in_use.sha256):
        return Rule(name, False, "The weights of one of the two are not those that were compared; compare again.")
    return Rule(name, True, f"Both have read the same {comparison.n} films.")


def _same_films(candidate: ModelCard, c: CandidateComparison, _: Limits) -> tuple[bool, str]:
    own = candidate.evaluations.get(c.split)
    part = "test part of the data" if c.split == "test" else "patients that the training held out"
    if own is None:
        return False, f"The card of {c.candidate} knows of no {part}, so these are other films than its own."
    cells = (own.tp + own.fn, own.tn + own.fp)
    compared = (c.comparison.n_pneumonia, c.n - c.comparison.n_pneumonia)
    said = f"Compared on {compared[0]} films with and {compared[1]} without pneumonia"
    if cells == compared:
        return True, f"{said}: the {part}, as on the card of {c.candidate}."
    return False, (
        f"{said}, but the card of {c.candidate} counts {cells[0]} and {cells[1]} in the {part}; these must "
        "be the same films."
    )


def _unseen(_: ModelCard, c: CandidateComparison, __: Limits) -> tuple[bool, str]:
    if c.learned.films:
        return False, (
            f"{c.learned.films} of the {c.n} films are known to the candidate, from its own training or "
            "that of the version it started from; it must be compared on films that it has not learned "
            "from."
        )
    return True, f"The candidate is not known to have learned from any of the {c.n} films."


def _enough(_: ModelCard, c: CandidateComparison, limits: Limits) -> tuple[bool, str]:
    positive, negative = c.comparison.n_pneumonia, c.n - c.comparison.n_pneumonia
    passed = min(positive, negative) >= limits.films and min(c.patients) >= limits.patients
    return passed, (
        f"{positive} films of {c.patients[1]} patients with pneumonia and {negative} of {c.patients[0]} without"
        + ("; " if passed else ", too few to say anything; ")
        + f"at least {limits.films} films and {limits.patients} patients of either are demanded."
    )


def _sensitivity(_: ModelCard, c: CandidateComparison, __: Limits) -> tuple[bool, str]:
    return _not_lower("sensitivity", "Sensitivity", (c.comparison.differences["sensitivity"],), c)


def _auroc(_: ModelCard, c: CandidateComparison, __: Limits) -> tuple[bool, str]:
    # Patients drawn anew, and DeLong's interval over films: lower by either is lower.
    delong = c.comparison.delong
    by_films = () if math.isnan(delong.high) else (Measure(delong.difference, delong.low, delong.high),)
    return _not_lower("auroc", "AUROC", (c.comparison.differences["auroc"], *by_films), c)


def _not_lower(key: str, title: str, differences: Sequence[Measure], c: CandidateComparison) -> tuple[bool, str]:
    if any(math.isnan(one.high) for one in differences):
        return False, f"The difference in {title} is not defined on these films."
    lower = [one for one in differences if one.high < 0]
    own, other = c.comparison.a.figures[key].value, c.comparison.b.figures[key].value
    said = f"{title} {own:.3f} against {other:.3f}, difference {format_difference((lower or differences)[0])}"
    if lower:
        return False, f"{said}: lower than that of the classifier in use by more than chance explains."
    return True, f"{said}: not lower by more than chance explains."


def _calibration(_: ModelCard, c: CandidateComparison, limits: Limits) -> tuple[bool, str]:
    ece = c.comparison.a.figures["ece"].value
    passed = ece <= limits.ece
    return passed, (
        f"On average the probabilities are off by {ece:.3f} (calibration error); at most {limits.ece:.2f} is allowed."
    )


_ON_THE_COMPARISON: dict[str, Callable[[ModelCard, CandidateComparison, Limits], tuple[bool, str]]] = {
    "The same held-out films": _same_films,
    "Films it has not learned from": _unseen,
    "Enough films and patients": _enough,
    "Sensitivity not lower": _sensitivity,
    "AUROC not lower": _auroc,
    "Probabilities that can be trusted": _calibration,
}


def _population(candidate: ModelCard, in_use: ModelCard) -> Rule:
    # Adults' films, and what is no radiograph, are told from a child's by it; to lose that is to lose a safeguard.
    name = "Knows the films it learned from"
    if candidate.population_sha256:
        return Rule(name, True, f"{candidate.version} can tell films that are unlike those that it learned from.")
    if not in_use.population_sha256:
        return Rule(name, True, "Neither version can tell films that are unlike those that it learned from.")
    return Rule(
        name,
        False,
        f"{candidate.version} cannot tell films that are unlike those that it learned from, as "
        f"{in_use.version} can. To learn that takes {MIN_FILMS} films, and {MIN_HELD_OUT} held out; with so "
        f"many, python -m training recalibrate --classifier {candidate.version} makes a version that can.",
    )


def _data(audit: Audit | None) -> tuple[Rule, ...]:
    clean, apart = "Audit of the data", "No picture on both sides"
    if audit is None:
        return (
            Rule(clean, False, "No audit of the data is on record."),
            Rule(apart, False, "Not known without an audit of the data."),
        )
    blocking = [issue for issue in audit.issues if issue.blocking]
    duplicates = [issue for issue in audit.issues if issue.code == DUPLICATES]
    return (
        Rule(
            clean,
            not blocking,
            " ".join(issue.message for issue in blocking)
            or "The audit of the data found nothing that forbids training on it.",
        ),
        Rule(
            apart,
            not duplicates,
            " ".join(issue.message for issue in duplicates) or "No picture lies in more than one part of the data.",
        ),
    )

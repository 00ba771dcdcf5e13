"""Paired comparison of two classifiers on the same radiographs: DeLong, McNemar, and intervals of the differences.

>>> comparison, used, failures = compare_classifiers(candidate, active, folder.test)
>>> comparison.delong.p
0.43
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from core.formatting import format_difference, format_estimate, format_p_value
from core.printable import printable
from core.progress import Tick
from model.area_intervals import auroc_influence
from model.calibration import probabilities
from model.card import Evaluation, GroupResult, Measure
from model.engine import Classifier
from model.intervals import design_effect, difference_interval, members, proportion, proportion_influence, wilson
from model.metrics import RESAMPLES, evaluate, measures, percentile_interval, resampled
from training.data.sample import Sample
from training.data.split import groups_of
from training.data.style_features import StyleFeatures
from training.evaluation.evaluate import Failures, Seen, plain, score_side_by_side
from training.evaluation.groups import MIN_FILMS, group_results, groups_to_text, memberships, styles_of

Array = npt.NDArray[Any]
COMPARED = ("auroc", "accuracy", "sensitivity", "specificity", "ece")
MAX_DISAGREEING = 12
_Z = 1.959964
# Shares of a class are multiples of half a film; below this, what varies is their rounding.
_NO_VARIANCE = 1e-28


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two AUROCs on the same radiographs; `difference` is a − b with its 95 % interval.

    Scores with the same ranks have difference 0, standard error 0, z 0 and p 1. The AUROCs are nan when a class is
    missing. Error, interval, z and p are nan when they are undefined: fewer than two radiographs of a class, or a
    difference without variance, as between a perfect and a perfectly wrong ranking.
    """

    auroc_a: float
    auroc_b: float
    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """Number of radiographs that both, one or neither of the classifiers call correctly; p is exact and two-sided."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One classifier's probabilities of n radiographs, float64 (n,) in [0, 1], and its operating point."""

    version: str
    probabilities: npt.NDArray[np.float64]
    operating_point: float


@dataclass(frozen=True, slots=True)
class Side:
    """One classifier's measures, with the keys of `COMPARED`, at its own operating point."""

    version: str
    operating_point: float
    figures: Mapping[str, Measure]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One radiograph: its index among those compared, its label, and the two probabilities."""

    index: int
    label: int
    probability_a: float
    probability_b: float


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """Difference a − b of the "sensitivity" or "specificity" in one group, with its paired interval by patient."""

    kind: str
    name: str
    rate: str
    difference: Measure


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two classifiers on the same n radiographs; every difference is a − b.

    `differences` has the keys of `COMPARED`, with paired intervals by patient.
    `disagreeing` holds the radiographs with the largest differences in probability, largest first. `groups_a` and
    `groups_b` are the results by style, source, unit, age and projection; the styles are those of the first card that
    has any. `group_differences` has the rates of the groups with enough radiographs; it is empty in earlier
    comparisons.
    """

    n: int
    n_pneumonia: int
    n_patients: int
    a: Side
    b: Side
    delong: DeLong
    mcnemar: McNemar
    differences: Mapping[str, Measure]
    disagreeing: tuple[Disagreement, ...]
    groups_a: tuple[GroupResult, ...] = ()
    groups_b: tuple[GroupResult, ...] = ()
    group_differences: tuple[GroupDifference, ...] = ()


def delong(labels: Array, scores_a: Array, scores_b: Array, patients: Sequence[str] | None = None) -> DeLong:
    """Test whether two AUROCs on the same radiographs differ.

    Parameters
    ----------
    labels
        (n,) in {0, 1}.
    scores_a, scores_b
        (n,), higher for label 1; equal scores count half.
    patients
        (n,): the patient of each radiograph; None if radiographs count as independent.

    References
    ----------
    DeLong et al. 1988, doi 10.2307/2531595; for patients with several radiographs Obuchowski 1997,
    doi 10.2307/2533958.
    """
    # Imported here: it takes a second, and a page that shows a stored comparison does not need it.
    from scipy.stats import norm

    positive = np.asarray(labels) == 1
    undefined = float("nan")
    if positive.all() or not positive.any():
        return DeLong(*[undefined] * 8)
    member = members(patients, len(positive))
    (area_a, own), (area_b, other) = (auroc_influence(positive, one, member) for one in (scores_a, scores_b))
    difference = area_a - area_b
    if difference == 0 and np.array_equal(own, other):
        return DeLong(area_a, area_b, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    if min(len(np.unique(member[chosen])) for chosen in (positive, ~positive)) < 2:
        return DeLong(area_a, area_b, difference, *[undefined] * 5)
    variance = float((np.bincount(member, own - other) ** 2).sum())
    if variance < _NO_VARIANCE:
        return DeLong(area_a, area_b, difference, *[undefined] * 5)
    error = math.sqrt(variance)
    z = difference / error
    return DeLong(
        area_a,
        area_b,
        difference,
        error,
        difference - _Z * error,
        difference + _Z * error,
        z,
        float(2 * norm.sf(abs(z))),
    )


def mcnemar(correct_a: Array, correct_b: Array) -> McNemar:
    """Test whether two classifiers are correct equally often.

    Parameters
    ----------
    correct_a, correct_b
        bool (n,): whether each classifier calls each radiograph correctly.

    Returns
    -------
    McNemar
        With the p-value of the exact binomial test on the discordant radiographs; 1 when there are none.

    References
    ----------
    McNemar 1947, doi 10.1007/BF02295996.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), p)


def compare_classifiers(
    a: Classifier,
    b: Classifier,
    samples: Sequence[Sample],
    tick: Tick | None = None,
    most: int = MAX_DISAGREEING,
    seen: Seen | None = None,
) -> tuple[Comparison, list[Sample], Failures]:
    """Compare two classifiers on the radiographs of samples that can be read.

    Parameters
    ----------
    a, b
        Each decides at the operating point of its own card.
    samples
        Labelled files.
    tick
        Called with the number of files done since the last call.
    most
        Largest number of `Comparison.disagreeing`.
    seen
        Called with each radiograph that is read.

    Returns
    -------
    tuple
        The comparison, the samples that its indices refer to, and the files that could not be read.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    card = a.card if a.card.styles else b.card
    features: list[StyleFeatures] = []
    used, logits, failures = score_side_by_side((a, b), samples, tick, seen, features if card.styles else None)
    first, second = (
        Scores(one.version, probabilities(row, one.card.calibration), one.card.operating_point.probability)
        for one, row in zip((a, b), logits, strict=True)
    )
    labels, patients = np.array([s.label for s in used]), groups_of(used)
    members = memberships(used, styles_of(card, features))
    groups = [
        group_results(members, labels, one.probabilities, one.operating_point, patients) for one in (first, second)
    ]
    comparison = compare_scores(labels, patients, first, second, most)
    differences = group_differences(members, labels, patients, first, second)
    return (
        replace(comparison, groups_a=groups[0], groups_b=groups[1], group_differences=differences),
        used,
        failures,
    )


def compare_scores(
    labels: Array,
    patients: Sequence[str],
    a: Scores,
    b: Scores,
    most: int = MAX_DISAGREEING,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two classifiers' probabilities of the same radiographs.

    Parameters
    ----------
    labels
        int (n,) in {0, 1}.
    patients
        (n,): the patient of each radiograph.
    a, b
        Probabilities (n,) and operating points.
    most
        Largest number of `Comparison.disagreeing`.
    seed, resamples
        Of the bootstrap over patients, which gives the interval of the difference in ECE. The other differences have
        intervals from those of both classifiers and their correlation (Zou & Donner 2008, doi 10.1002/sim.3095).
    """
    y = np.asarray(labels).astype(int)
    pa, pb = a.probabilities, b.probabilities
    member = members(patients, len(y))
    whole_a, whole_b = (evaluate("", y, one.probabilities, one.operating_point, patients) for one in (a, b))
    sampled = [
        np.subtract(*(measures(y, one.probabilities, one.operating_point, counts)["ece"] for one in (a, b)))
        for counts in resampled(patients, seed, resamples)
    ]
    ece = whole_a.measures["ece"].value - whole_b.measures["ece"].value
    differences = {name: _paired(name, y, (a, b), (whole_a, whole_b), member) for name in COMPARED if name != "ece"}
    differences["ece"] = percentile_interval(ece, np.concatenate(sampled))
    gap = np.abs(pa - pb)
    order = [int(i) for i in np.argsort(-gap, kind="stable")[:most] if gap[i] > 0]
    return Comparison(
        len(y),
        int(y.sum()),
        len(set(patients)),
        _side(a, whole_a),
        _side(b, whole_b),
        delong(y, pa, pb, patients),
        mcnemar((pa >= a.operating_point) == y, (pb >= b.operating_point) == y),
        {name: differences[name] for name in COMPARED},
        tuple(Disagreement(i, int(y[i]), float(pa[i]), float(pb[i])) for i in order),
    )


def group_differences(
    groups: Mapping[str, Sequence[str]], labels: Array, patients: Sequence[str], a: Scores, b: Scores
) -> tuple[GroupDifference, ...]:
    """Return the differences a − b of sensitivity and specificity in every group with enough radiographs.

    Parameters
    ----------
    groups
        From `training.evaluation.groups.memberships`.
    labels
        int (n,) in {0, 1}.
    patients
        (n,): the patient of each radiograph.
    a, b
        Probabilities (n,) and operating points.

    References
    ----------
    Newcombe 1998, method 10, doi 10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C
    """
    y = np.asarray(labels).astype(int)
    member, found = members(patients, len(y)), []
    for kind, each in groups.items():
        names = np.array(each)
        for name in sorted(set(each)):
            for rate, label in (("sensitivity", 1), ("specificity", 0)):
                among = (names == name) & (y == label)
                if among.sum() < MIN_FILMS:
                    continue
                own = [
                    proportion(((s.probabilities >= s.operating_point) == (y == 1))[among], member[among])
                    for s in (a, b)
                ]
                difference = _paired_rate(own[0], own[1], y, (a, b), among, member)
                found.append(GroupDifference(kind, name, rate, difference))
    return tuple(found)


def _side(scores: Scores, evaluation: Evaluation) -> Side:
    return Side(scores.version, scores.operating_point, {name: evaluation.measures[name] for name in COMPARED})


def _paired(
    name: str, y: Array, sides: tuple[Scores, Scores], whole: tuple[Evaluation, Evaluation], member: Array
) -> Measure:
    """Return the difference of one figure with its interval, from both intervals and their correlation."""
    a, b = (one.measures[name] for one in whole)
    if math.isnan(a.value) or math.isnan(b.value):
        return Measure(math.nan, math.nan, math.nan)
    if name == "auroc":
        influences = [auroc_influence(y == 1, one.probabilities, member)[1] for one in sides]
        if a.value == b.value and np.array_equal(influences[0], influences[1]):
            return Measure(0.0, 0.0, 0.0)
        return difference_interval(a, b, *(np.bincount(member, one) for one in influences))
    among = {"accuracy": y >= 0, "sensitivity": y == 1, "specificity": y == 0}[name]
    return _paired_rate(a, b, y, sides, among, member)


def _paired_rate(
    a: Measure, b: Measure, y: Array, sides: tuple[Scores, Scores], among: npt.NDArray[np.bool_], member: Array
) -> Measure:
    """Return the difference of the shares a and b of right calls `among` the radiographs, with its paired interval."""
    right = [((one.probabilities >= one.operating_point) == (y == 1))[among] for one in sides]
    if len({bool(one) for one in right[0] == right[1]}) > 1:
        by_patient = (np.bincount(member[among], proportion_influence(one)) for one in right)
        return difference_interval(a, b, *by_patient)
    # When no radiograph, or each, is discordant, Wilson's interval bounds the share of radiographs of the other kind.
    unseen = wilson(0, among.sum() / design_effect(np.ones(among.sum()), member[among]))[1]
    value = a.value - b.value
    return Measure(value, max(-1.0, value - unseen), min(1.0, value + unseen))


def comparison_to_json(comparison: Comparison, names: Sequence[str], learned: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return `comparison` as JSON; `names`, (n,), are the paths of the files. An undefined measure is null.

    `learned`, the numbers of films that each version has learned from, stand under "training_overlap".
    """
    values = asdict(comparison) | ({"training_overlap": list(learned)} if learned else {})
    for row in values["disagreeing"]:
        row["path"] = names[row["index"]]
    return json.dumps(plain(values), indent=1, ensure_ascii=False)


def comparison_to_text(comparison: Comparison, names: Sequence[str], split: str) -> str:
    """Return `comparison` on a `split` as tables for a terminal; `names`, (n,), are the paths of the files."""
    c, width = comparison, max(21, len(comparison.a.version) + 3, len(comparison.b.version) + 3)
    lines = [
        f"{split}: n = {c.n}, {c.n_pneumonia} with pneumonia, {c.n_patients} patients",
        f"  {'':<16}{'A ' + c.a.version:<{width}}{'B ' + c.b.version:<{width}}A − B",
        f"  {'operating point':<16}{c.a.operating_point:<{width}.3f}{c.b.operating_point:.3f}",
    ]
    lines += [
        f"  {name:<16}{format_estimate(c.a.figures[name], 3):<{width}}{format_estimate(c.b.figures[name], 3):<{width}}"
        f"{format_difference(c.differences[name])}"
        for name in COMPARED
    ]
    d, m = c.delong, c.mcnemar
    test = (
        f"standard error {d.standard_error:.4f}, z = {d.z:.2f}, {format_p_value(d.p)}"
        if math.isfinite(d.p)
        else "test undefined: too few radiographs, or no variance"
    )
    lines += [
        f"  AUROC (DeLong): {format_difference(Measure(d.difference, d.low, d.high), 4)}, {test}",
        f"  agreement (McNemar): both correct {m.both}, only A {m.only_a}, only B {m.only_b}, neither {m.neither}; "
        f"{format_p_value(m.p)}",
    ]
    lines += [f"  {side}\n{groups_to_text(found)}" for side, found in (("A", c.groups_a), ("B", c.groups_b)) if found]
    if c.disagreeing:
        lines.append(f"  {'largest disagreements':<27}{'A':>6}{'B':>7}  label")
    lines += [
        f"  {film.index:>25}  {film.probability_a:>6.3f}{film.probability_b:>7.3f}  "
        f"{'PNEUMONIA' if film.label else 'NORMAL':<9}  {printable(names[film.index])}"
        for film in c.disagreeing
    ]
    return "\n".join(lines)

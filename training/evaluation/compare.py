"""Paired comparison of two classifiers on the same radiographs: DeLong, McNemar, and paired bootstrap intervals.

>>> comparison, used, failures = compare_classifiers(candidate, active, folder.test)
>>> comparison.delong.p
0.43
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.formatting import format_difference, format_estimate, format_p_value
from core.printable import printable
from core.progress import Tick
from model.calibration import probabilities
from model.card import Evaluation, Measure
from model.engine import Classifier
from model.metrics import RESAMPLES, evaluate, measures, percentile_interval, resampled, wilson
from training.data.sample import Sample
from training.evaluation.evaluate import Failures, plain, score_side_by_side

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
class Comparison:
    """Two classifiers on the same n radiographs; every difference is a − b.

    `differences` has the keys of `COMPARED`, with intervals from resampling patients for both classifiers at once.
    `disagreeing` holds the radiographs with the largest differences in probability, largest first.
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


def delong(labels: Array, scores_a: Array, scores_b: Array) -> DeLong:
    """Test whether two AUROCs on the same radiographs differ; radiographs count as independent.

    Parameters
    ----------
    labels
        (n,) in {0, 1}.
    scores_a, scores_b
        (n,), higher for label 1; equal scores count half.

    References
    ----------
    DeLong et al. 1988, doi 10.2307/2531595; through midranks in O(n log n), Sun & Xu 2014,
    doi 10.1109/LSP.2014.2337313.
    """
    # Imported here: it takes a second, and a page that shows a stored comparison does not need it.
    from scipy.stats import norm, rankdata

    positive = np.asarray(labels) == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    undefined = float("nan")
    if not n_positive or not n_negative:
        return DeLong(*[undefined] * 8)
    # Share of the other class ranked correctly against each radiograph: (2, radiographs of the class).
    above = np.empty((2, n_positive))
    below = np.empty((2, n_negative))
    for row, scores in enumerate((np.asarray(scores_a), np.asarray(scores_b))):
        rank = rankdata(scores)
        above[row] = (rank[positive] - rankdata(scores[positive])) / n_negative
        below[row] = 1 - (rank[~positive] - rankdata(scores[~positive])) / n_positive
    area_a, area_b = (float(area) for area in above.mean(1))
    difference = area_a - area_b
    if np.array_equal(above[0], above[1]) and np.array_equal(below[0], below[1]):
        return DeLong(area_a, area_b, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    if min(n_positive, n_negative) < 2:
        return DeLong(area_a, area_b, difference, *[undefined] * 5)
    variance = np.var(above[0] - above[1], ddof=1) / n_positive + np.var(below[0] - below[1], ddof=1) / n_negative
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

    Returns
    -------
    tuple
        The comparison, the samples that its indices refer to, and the files that could not be read.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    used, logits, failures = score_side_by_side((a, b), samples, tick)
    first, second = (
        Scores(one.version, probabilities(row, one.card.calibration), one.card.operating_point.probability)
        for one, row in zip((a, b), logits, strict=True)
    )
    return (
        compare_scores(np.array([s.label for s in used]), [s.patient for s in used], first, second, most),
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
        (n,): intervals resample these.
    a, b
        Probabilities (n,) and operating points.
    most
        Largest number of `Comparison.disagreeing`.
    seed, resamples
        Of the bootstrap.
    """
    y = np.asarray(labels).astype(int)
    pa, pb = a.probabilities, b.probabilities
    whole_a, whole_b = (
        evaluate("", y, one.probabilities, one.operating_point, patients, seed, resamples) for one in (a, b)
    )
    sampled: dict[str, list[Array]] = {name: [] for name in COMPARED}
    for counts in resampled(patients, seed, resamples):
        figures_a, figures_b = (measures(y, one.probabilities, one.operating_point, counts) for one in (a, b))
        for name, differences in sampled.items():
            differences.append(figures_a[name] - figures_b[name])
    gap = np.abs(pa - pb)
    order = [int(i) for i in np.argsort(-gap, kind="stable")[:most] if gap[i] > 0]
    return Comparison(
        len(y),
        int(y.sum()),
        len(set(patients)),
        _side(a, whole_a),
        _side(b, whole_b),
        delong(y, pa, pb),
        mcnemar((pa >= a.operating_point) == y, (pb >= b.operating_point) == y),
        {name: _paired(name, whole_a, whole_b, np.concatenate(sampled[name])) for name in COMPARED},
        tuple(Disagreement(i, int(y[i]), float(pa[i]), float(pb[i])) for i in order),
    )


def _side(scores: Scores, evaluation: Evaluation) -> Side:
    return Side(scores.version, scores.operating_point, {name: evaluation.measures[name] for name in COMPARED})


def _paired(name: str, a: Evaluation, b: Evaluation, sampled: Array) -> Measure:
    """Return the difference of one figure with its interval from paired samples (b,)."""
    difference = percentile_interval(a.measures[name].value - b.measures[name].value, sampled)
    films = {"accuracy": a.n, "sensitivity": a.tp + a.fn, "specificity": a.tn + a.fp}.get(name)
    if films is None or difference.low != difference.high:
        return difference
    # Every resample repeats the difference when no radiograph, or each, is discordant. Wilson's interval then bounds
    # the share of radiographs of the other kind.
    unseen = wilson(0, films)[1]
    return Measure(difference.value, max(-1.0, difference.value - unseen), min(1.0, difference.value + unseen))


def comparison_to_json(comparison: Comparison, names: Sequence[str]) -> str:
    """Return `comparison` as JSON; `names`, (n,), are the paths of the files. An undefined measure is null."""
    values = asdict(comparison)
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
    if c.disagreeing:
        lines.append(f"  {'largest disagreements':<27}{'A':>6}{'B':>7}  label")
    lines += [
        f"  {film.index:>25}  {film.probability_a:>6.3f}{film.probability_b:>7.3f}  "
        f"{'PNEUMONIA' if film.label else 'NORMAL':<9}  {printable(names[film.index])}"
        for film in c.disagreeing
    ]
    return "\n".join(lines)

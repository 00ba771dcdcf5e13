"""Metrics of discrimination and calibration, with 95 % intervals; bootstrap samples of patients for comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.area_intervals import auprc_interval, auroc_interval
from model.calibration_measures import ECE_BINS, calibration_measures, expected_calibration_error
from model.card import Evaluation, Measure, ReliabilityBin
from model.intervals import design_effect, members, proportion, ratio_interval, share_mean

Array = npt.NDArray[Any]
HISTOGRAM_BINS = 40
RESAMPLES = 2000


def auroc(labels: Array, scores: Array) -> float:
    """Return the area under the ROC curve, the Mann–Whitney statistic with ties counted half.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    scores
        (n,), higher for 1.

    Returns
    -------
    float
        In [0, 1]; nan when a class is missing.

    References
    ----------
    Hanley & McNeil 1982, doi 10.1148/radiology.143.1.7063747
    """
    positive, negative = (
        np.asarray(scores)[np.asarray(labels) == 1],
        np.sort(np.asarray(scores)[np.asarray(labels) == 0]),
    )
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def evaluate(
    split: str,
    labels: Array,
    probabilities: Array,
    operating_point: float,
    groups: Sequence[str] | None = None,
    prevalence: float = 0.5,
    cuts: Array | None = None,
) -> Evaluation:
    """Evaluate calibrated probabilities at an operating point.

    AUROC and AUPRC have clustered DeLong and jackknife intervals on the logit scale, proportions Wilson's for the
    effective number of radiographs, the calibration error an interval by inversion of a test; see `model.intervals`.

    Parameters
    ----------
    split
        Name of the set.
    labels
        (n,) in {0, 1}
    probabilities
        (n,) in [0, 1]
    operating_point
        Probability from which a radiograph counts as pneumonia, in [0, 1].
    groups
        (n,): the patient of each radiograph; radiographs of one patient are not independent. None if each counts as
        a patient of its own.
    prevalence
        For which the probabilities are calibrated, in (0, 1); calibration is measured there.
    cuts
        (n,), in [0, 1]: the threshold of each radiograph where they differ, as in cross-fitting; else
        `operating_point`.

    Returns
    -------
    Evaluation
        Counts, measures with intervals, curves and histograms.

    Raises
    ------
    ValueError
        If the arrays are empty or differ in length.
    """
    y, p = np.asarray(labels).astype(int), np.asarray(probabilities, np.float64)
    if not len(y) or len(y) != len(p):
        raise ValueError(f"expected as many labels as probabilities, at least one. Received: {len(y)} and {len(p)}")
    member = members(groups, len(y))
    positive = p >= (operating_point if cuts is None else cuts)
    cells = {
        "tp": int((positive & (y == 1)).sum()),
        "fp": int((positive & (y == 0)).sum()),
        "tn": int((~positive & (y == 0)).sum()),
        "fn": int((~positive & (y == 1)).sum()),
    }

    def share(right: Array, among: Array) -> Measure:
        return proportion(right[among], member[among])

    figures = {
        "accuracy": share(positive == (y == 1), y >= 0),
        "auroc": auroc_interval(y, p, member),
        "auprc": auprc_interval(y, p, member),
        "sensitivity": share(positive, y == 1),
        "specificity": share(~positive, y == 0),
        "ppv": share(y == 1, positive),
        "npv": share(y == 0, ~positive),
        "f1": _f1(share(positive & (y == 1), positive | (y == 1))),
        "brier": share_mean((p - y) ** 2, member),
        "ece": expected_calibration_error(y, p, member),
    }
    effective = [
        float(chosen.sum() / design_effect((positive == (y == 1))[chosen], member[chosen])) if chosen.any() else 0.0
        for chosen in (y == 0, y == 1)
    ]
    bins = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    return Evaluation(
        split,
        len(y),
        cells["tp"],
        cells["fp"],
        cells["tn"],
        cells["fn"],
        operating_point=operating_point,
        measures=figures,
        roc=_thin(_roc(y, p)),
        precision_recall=_thin(_precision_recall(y, p)),
        reliability=_reliability(y, p),
        histogram_normal=tuple(int(c) for c in np.histogram(p[y == 0], bins)[0]),
        histogram_pneumonia=tuple(int(c) for c in np.histogram(p[y == 1], bins)[0]),
        unit="radiograph" if groups is None else "patient",
        calibration=calibration_measures(y, p, prevalence, member),
        effective_normal=effective[0],
        effective_pneumonia=effective[1],
    )


def ppv_npv(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Return the predictive values at a prevalence, by Bayes' theorem.

    Parameters
    ----------
    sensitivity, specificity, prevalence
        In [0, 1].

    Returns
    -------
    tuple of float
        PPV and NPV in [0, 1]; nan where undefined.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ppv = np.float64(sensitivity * prevalence) / (sensitivity * prevalence + (1 - specificity) * (1 - prevalence))
        npv = np.float64(specificity * (1 - prevalence)) / (
            specificity * (1 - prevalence) + (1 - sensitivity) * prevalence
        )
    return float(ppv), float(npv)


def predictive_values(sensitivity: Measure, specificity: Measure, prevalence: float) -> tuple[Measure, Measure]:
    """Return PPV and NPV at a prevalence with their intervals.

    The odds of pneumonia after a finding are its likelihood ratio times the odds before it; the intervals are those of
    the likelihood ratios.

    Parameters
    ----------
    sensitivity, specificity
        With their 95 % intervals, on different radiographs.
    prevalence
        Share of pneumonia, in (0, 1).

    Returns
    -------
    tuple of Measure
        PPV and NPV; nan where undefined.
    """
    ppv, npv = ppv_npv(sensitivity.value, specificity.value, prevalence)
    odds = prevalence / (1 - prevalence)
    miss, alarm = (Measure(1 - one.value, 1 - one.high, 1 - one.low) for one in (sensitivity, specificity))
    return _after(ppv, sensitivity, alarm, odds), _after(npv, specificity, miss, 1 / odds)


def _after(value: float, right: Measure, wrong: Measure, odds: float) -> Measure:
    if any(math.isnan(one) for one in (value, right.low, wrong.low)):
        return Measure(value, math.nan, math.nan)
    ratio = ratio_interval(right, wrong)
    low, high = (1.0 if math.isinf(end) else end * odds / (1 + end * odds) for end in (ratio.low, ratio.high))
    return Measure(value, low, high)


def resampled(groups: Sequence[Any], seed: int, resamples: int = RESAMPLES) -> Iterator[Array]:
    """Draw bootstrap samples of whole groups, in blocks.

    Parameters
    ----------
    groups
        (n,): the patient of each radiograph.
    seed, resamples
        Of the bootstrap. Two classifiers that are measured on the same blocks are compared in pairs.

    Yields
    ------
    ndarray
        (b, n), float64: how often each radiograph is in each sample.
    """
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    n = member.max() + 1
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, 250):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(250, resamples - start))
        yield counts[:, member].astype(np.float64)


def percentile_interval(value: float, sampled: Array) -> Measure:
    """Return a figure with the 2.5th to 97.5th percentile of its bootstrap samples.

    Parameters
    ----------
    value
        The figure.
    sampled
        (b,): its bootstrap samples; nan is left out.

    Returns
    -------
    Measure
        Limits are nan when `value` or all samples are.
    """
    usable = sampled[np.isfinite(sampled)]
    if not np.isfinite(value) or not len(usable):
        return Measure(value, float("nan"), float("nan"))
    low, high = np.percentile(usable, (2.5, 97.5))
    return Measure(value, float(low), float(high))


def measures(y: Array, p: Array, operating_point: float, counts: Array) -> dict[str, Array]:
    """Compute every measure for each bootstrap sample.

    Parameters
    ----------
    y
        (n,) in {0, 1}
    p
        (n,) in [0, 1]
    operating_point
        In [0, 1].
    counts
        (b, n): how often each radiograph is in each sample.

    Returns
    -------
    dict
        (b,) for each measure; nan where a sample does not define it.
    """
    positive, ones = counts * (y == 1), counts * (y == 0)
    above = p >= operating_point
    tp, fn = positive[:, above].sum(1), positive[:, ~above].sum(1)
    fp, tn = ones[:, above].sum(1), ones[:, ~above].sum(1)
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # the last of each group of equal scores
    hits, alarms = np.cumsum(positive[:, order], 1)[:, ends], np.cumsum(ones[:, order], 1)[:, ends]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, false_rate = hits / hits[:, -1:], alarms / alarms[:, -1:]
        precision = np.nan_to_num(hits / (hits + alarms))
        start = np.zeros((len(counts), 1))
        recall_step = np.diff(recall, axis=1, prepend=start)
        total = counts.sum(1)
        bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
        member = np.eye(ECE_BINS)[bins]
        gap = np.abs((counts * p) @ member - (counts * y) @ member).sum(1)
        return {
            "accuracy": (tp + tn) / total,
            "auroc": 1
            - (
                np.diff(recall, axis=1, prepend=start)
                * (false_rate + np.concatenate((start, false_rate[:, :-1]), 1))
                / 2
            ).sum(1),
            "auprc": (recall_step * precision).sum(1),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "ppv": tp / (tp + fp),
            "npv": tn / (tn + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "brier": (counts * (p - y) ** 2).sum(1) / total,
            "ece": gap / total,
        }


def _f1(jaccard: Measure) -> Measure:
    """Return F1 = 2 J / (1 + J), where J = tp / (tp + fp + fn) is a proportion; 0 where nothing was called right."""
    if math.isnan(jaccard.value):
        return jaccard
    return Measure(*(2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high)))


def _roc(y: Array, p: Array) -> Array:
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    tp, fp = np.cumsum(y[order] == 1)[ends], np.cumsum(y[order] == 0)[ends]
    points = np.column_stack((fp / max(1, fp[-1]), tp / max(1, tp[-1])))
    return np.vstack(((0.0, 0.0), points))


def _precision_recall(y: Array, p: Array) -> Array:
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    tp, fp = np.cumsum(y[order] == 1)[ends], np.cumsum(y[order] == 0)[ends]
    points = np.column_stack((tp / max(1, tp[-1]), tp / (tp + fp)))
    return np.vstack(((0.0, points[0, 1]), points))


def _thin(points: Array, most: int = 300) -> tuple[tuple[float, float], ...]:
    """Keep the corners of a curve and, if there are more than `most`, an even selection of them."""
    steps = np.diff(points, axis=0)
    turns = np.abs(steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]) > 1e-12
    kept = points[np.concatenate(([True], turns, [True]))] if len(points) > 2 else points
    if len(kept) > most:
        kept = kept[np.linspace(0, len(kept) - 1, most).round().astype(int)]
    return tuple((round(float(x), 5), round(float(v), 5)) for x, v in kept)


def _reliability(y: Array, p: Array) -> tuple[ReliabilityBin, ...]:
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    return tuple(
        ReliabilityBin(float(p[bins == b].mean()), float(y[bins == b].mean()), int((bins == b).sum()))
        for b in range(ECE_BINS)
        if (bins == b).any()
    )

"""95 % intervals of the areas under the ROC and the precision–recall curve, with exact bounds for a perfect sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model.card import Measure
from model.intervals import NO_VARIANCE, TAIL, logit_interval, spread, squared_spread

Array = npt.NDArray[Any]


def auroc_interval(labels: Array, scores: Array, member: Array) -> Measure:
    """Return the AUROC with the clustered DeLong interval on the logit scale.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    scores
        (n,), higher for 1; equal scores count half.
    member
        (n,): index of the patient, as `members` returns it.

    Returns
    -------
    Measure
        nan when a class is missing. A perfect sample, and a perfectly wrong one, have the bound of `perfect_bound`.

    References
    ----------
    Obuchowski 1997, doi 10.2307/2533958; DeLong et al. 1988, doi 10.2307/2531595; on the logit scale, Pepe 2003
    """
    y = np.asarray(labels) == 1
    if y.all() or not y.any():
        return Measure(math.nan, math.nan, math.nan)
    area, influence = auroc_influence(y, scores, member)
    found = squared_spread(np.bincount(member, influence))
    if 0 < area < 1 and found.variance > NO_VARIANCE:
        return logit_interval(area, found)
    if 0 < area < 1:  # each radiograph ranks alike, as when all scores are equal
        return Measure(area, 0.0, 1.0)
    low = perfect_bound(*_patients_by_class(y, member))
    return Measure(area, low, 1.0) if area == 1 else Measure(area, 0.0, 1 - low)


def auroc_influence(positive: Array, scores: Array, member: Array) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the AUROC and the influence of each radiograph, DeLong's structural components.

    Parameters
    ----------
    positive
        (n,), bool, of both values.
    scores
        (n,)
    member
        (n,): index of the patient.

    Returns
    -------
    tuple
        The AUROC, and float64 (n,): its sums over patients have the sum of squares of Obuchowski's variance.
    """
    s = np.asarray(scores, np.float64)
    up, down = np.sort(s[positive]), np.sort(s[~positive])
    share = np.empty(len(s))
    share[positive] = _midrank(down, s[positive]) / len(down)
    share[~positive] = 1 - _midrank(up, s[~positive]) / len(up)
    area = float(share[positive].mean())
    influence = share - area
    for chosen in (positive, ~positive):
        k = len(np.unique(member[chosen]))
        influence[chosen] *= math.sqrt(k / max(1, k - 1)) / chosen.sum()
    return area, influence


def perfect_bound(positive: int, negative: int) -> float:
    """Return the lower 97.5 % bound of the AUROC of a sample in which every pair is ranked correctly.

    Let U be the share of the normal population that scores below one with pneumonia, with mean A, the AUROC. All of m
    patients with pneumonia score above n without with probability E[min(U)ⁿ] ≤ E[U₁ … U_k] = Aᵏ for k = min(m, n), as
    the product of k shares is at least the k-th power of the smallest; if n > k, the n-th power is smaller still; the
    classes may be exchanged. So Aᵏ ≥ 0.025 for every population that is not rejected. The bound is attained where a
    part of the rarer class is always on the wrong side: it is Clopper and Pearson's for k of k.

    Parameters
    ----------
    positive, negative
        Number of patients with a radiograph of the class, at least 1.

    Returns
    -------
    float
        In (0, 1).
    """
    return float(TAIL ** (1 / min(positive, negative)))


def auprc_interval(labels: Array, scores: Array, member: Array) -> Measure:
    """Return the average precision with its interval on the logit scale.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    scores
        (n,), higher for 1; radiographs with equal scores are called together.
    member
        (n,): index of the patient, as `members` returns it.

    Returns
    -------
    Measure
        nan without pneumonia. For a perfect sample the bound is that of the worse of the two populations in which a
        share of the pneumonia scores below every normal radiograph, or a share of the normal ones above every
        pneumonia, as large as 97.5 % confidence allows.

    References
    ----------
    Boyd, Eng & Page 2013, doi 10.1007/978-3-642-40994-3_29 (logit interval)
    """
    y = np.asarray(labels) == 1
    if not y.any():
        return Measure(math.nan, math.nan, math.nan)
    if y.all():
        return Measure(1.0, math.nan, math.nan)
    area, influence = auprc_influence(y, scores)
    found = spread(influence, member)
    if area < 1 - 1e-12 and found.variance > NO_VARIANCE:
        return logit_interval(area, found)
    if area < 1 - 1e-12:
        return Measure(area, 0.0, 1.0)
    positive, negative = _patients_by_class(y, member)
    low, high = 1 - TAIL ** (1 / positive), 1 - TAIL ** (1 / negative)
    odds = float((~y).sum() / y.sum())
    # Precision at recall t is t / (t + odds · share of false alarms); its mean over the recalls t of the pneumonia.
    missed = (1 - low) + low - odds * math.log((1 + odds) / (1 - low + odds))
    alarms = 1 - high * odds * math.log(1 + 1 / (high * odds))
    return Measure(1.0, min(missed, alarms), 1.0)


def auprc_influence(positive: Array, scores: Array) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the average precision and the influence of each radiograph.

    Parameters
    ----------
    positive
        (n,), bool, of both values.
    scores
        (n,)

    Returns
    -------
    tuple
        The average precision, and float64 (n,): its derivative by the weight of each radiograph.
    """
    s = np.asarray(scores, np.float64)
    m = positive.sum()
    order = np.argsort(-s, kind="stable")
    hit = positive[order].astype(np.float64)
    # The last of each group of equal scores, and the group of each radiograph.
    ends = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    group = np.searchsorted(ends, np.arange(len(s)))
    tp = np.cumsum(hit)[ends]
    called = ends + 1.0
    found = np.diff(tp, prepend=0.0)  # pneumonia in each group
    area = float((found * tp / called).sum() / m)
    # A radiograph of a group changes the precision of its own group and of those after it.
    tail = np.cumsum((found * (called - tp) / called**2)[::-1])[::-1]
    lost = np.cumsum((found * tp / called**2)[::-1])[::-1]
    influence = np.empty(len(s))
    influence[order] = np.where(hit > 0, (tp / called - area + tail)[group], -lost[group]) / m
    return area, influence


def _patients_by_class(positive: Array, member: Array) -> tuple[int, int]:
    return len(np.unique(member[positive])), len(np.unique(member[~positive]))


def _midrank(ordered: Array, scores: Array) -> npt.NDArray[np.float64]:
    """Return how many of ascending values each score exceeds, ties counted half."""
    below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(below / 2, np.float64)

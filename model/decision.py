"""Decision analysis: operating points for a purpose, decision curves, and probabilities at another prevalence.

Everything that is chosen here is chosen on held-out validation patients, never on a test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.card import Measure, PurposePoint
from model.intervals import Z, effective_number, members
from model.quantiles import beta_cdf

Array = npt.NDArray[Any]
SCREENING_SENSITIVITY = 0.98
RULE_IN_SPECIFICITY = 0.95
THRESHOLDS = tuple(round(t / 100, 2) for t in range(1, 100))
# Weighted rates are sums of fractions; rounding error must not miss a target.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Decision curve: net benefit at threshold probabilities, in true positives per radiograph.

    A classifier is useful where its curve is above both `treat_all` and `treat_none`.

    Attributes
    ----------
    prevalence
        Share of pneumonia that the curve holds for, in [0, 1].
    thresholds
        Threshold probabilities, in [0, 1).
    classifier, treat_all, treat_none
        Net benefit of the classifier, of calling every radiograph pneumonia, and of calling none.
    """

    prevalence: float
    thresholds: tuple[float, ...]
    classifier: tuple[float, ...]
    treat_all: tuple[float, ...]
    treat_none: tuple[float, ...]


def at_prevalence(probabilities: Array, known: float, wanted: float) -> npt.NDArray[np.float64]:
    """Convert probabilities to another prevalence, by Bayes' rule on the odds.

    Parameters
    ----------
    probabilities
        In [0, 1], calibrated for the prevalence `known`.
    known, wanted
        Prevalence before and after, in (0, 1).

    Returns
    -------
    ndarray
        float64, of the shape of `probabilities`.

    Raises
    ------
    ValueError
        If a prevalence is not in (0, 1).

    References
    ----------
    Saerens et al. 2002, doi 10.1162/089976602753284446
    """
    if not (0 < known < 1 and 0 < wanted < 1):
        raise ValueError(f"expected shares in (0, 1). Received: {known} and {wanted}")
    p = np.asarray(probabilities, np.float64)
    positive, negative = p * (wanted / known), (1 - p) * ((1 - wanted) / (1 - known))
    return np.asarray(positive / (positive + negative), np.float64)


def prevalence_by_em(probabilities: Array, known: float) -> float:
    """Estimate the prevalence of unlabelled radiographs by expectation maximisation.

    Parameters
    ----------
    probabilities
        (n,) in [0, 1], calibrated for the prevalence `known`; n ≥ 1.
    known
        In (0, 1).

    Returns
    -------
    float
        The share of pneumonia of the largest likelihood, in [0, 1].

    References
    ----------
    Saerens et al. 2002, doi 10.1162/089976602753284446
    """
    share = known
    for _ in range(10_000):
        inside = min(max(share, 1e-12), 1 - 1e-12)
        following = float(at_prevalence(probabilities, known, inside).mean())
        if abs(following - share) < 1e-10:
            break
        share = following
    return share


def prevalence_interval(probabilities: Array, known: float) -> Measure:
    """Estimate the prevalence of unlabelled radiographs, with the interval of its profile likelihood.

    The interval is that of the draw of the radiographs; it takes the calibration for exact, and the radiographs for
    independent.

    Parameters
    ----------
    probabilities
        (n,) in [0, 1], calibrated for the prevalence `known`; n ≥ 1.
    known
        In (0, 1).

    Returns
    -------
    Measure
        The estimate of `prevalence_by_em`; ends where the log-likelihood is lower by 1.92, half the 95 % quantile of
        χ² with one degree of freedom.

    References
    ----------
    Saerens et al. 2002, doi 10.1162/089976602753284446; Wilks 1938, doi 10.1214/aoms/1177732360
    """
    p = np.asarray(probabilities, np.float64)
    best = prevalence_by_em(p, known)
    present, absent = p / known, (1 - p) / (1 - known)

    def log_likelihood(share: float) -> float:
        inside = min(max(share, 1e-12), 1 - 1e-12)
        return float(np.log(np.maximum(inside * present + (1 - inside) * absent, 1e-300)).sum())

    least = log_likelihood(best) - Z**2 / 2

    def end(far: float) -> float:
        # The log-likelihood is concave: it crosses the limit once on each side, or not before the end.
        if log_likelihood(far) >= least:
            return far
        near = best
        for _ in range(60):
            middle = (near + far) / 2
            near, far = (near, middle) if log_likelihood(middle) < least else (middle, far)
        return far

    return Measure(best, end(0.0), end(1.0))


def decision_curve(
    labels: Array,
    probabilities: Array,
    thresholds: Array | tuple[float, ...] = THRESHOLDS,
    prevalence: float | None = None,
) -> DecisionCurve:
    """Return the net benefit of calling pneumonia from each threshold probability on.

    Acting from a threshold of 0.2 on accepts four false alarms for one pneumonia found: a false alarm costs
    threshold / (1 − threshold) of the benefit of a true positive.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    probabilities
        (n,) in [0, 1]
    thresholds
        (t,) in [0, 1)
    prevalence
        Share of pneumonia to which the classes are weighted, in [0, 1]; that of the sample by default. The
        probabilities should be calibrated for it, see `at_prevalence`.

    Returns
    -------
    DecisionCurve
        One point for each threshold.

    Raises
    ------
    ValueError
        If thresholds are outside [0, 1), arrays are empty or differ in length, or the prevalence weights a class
        without radiographs.

    References
    ----------
    Vickers & Elkin 2006, doi 10.1177/0272989X06295361
    """
    y, p = _checked(labels, probabilities)
    t = np.asarray(thresholds, np.float64)
    if not ((t >= 0) & (t < 1)).all():
        raise ValueError(f"expected thresholds in [0, 1). Received: {t.min():g} to {t.max():g}")
    share = float((y == 1).mean()) if prevalence is None else prevalence
    counts = {1: int((y == 1).sum()), 0: int((y == 0).sum())}
    if not 0 <= share <= 1 or (share > 0 and not counts[1]) or (share < 1 and not counts[0]):
        raise ValueError(
            f"expected a prevalence in [0, 1] of classes with radiographs. Received: {share} with "
            f"{counts[1]} radiographs with pneumonia and {counts[0]} without"
        )
    cost = t / (1 - t)

    def called(label: int) -> Array:
        """Return the share of a class at or above each threshold; 0 for a class without weight."""
        scores = np.sort(p[y == label])
        return 1 - np.searchsorted(scores, t, "left") / len(scores) if len(scores) else np.zeros(len(t))

    benefit = share * called(1) - (1 - share) * called(0) * cost
    return DecisionCurve(
        share, _floats(t), _floats(benefit), _floats(share - (1 - share) * cost), _floats(np.zeros(len(t)))
    )


def useful_range(curve: DecisionCurve) -> str:
    """Return the threshold probabilities at which the net benefit of a `curve` exceeds treat-all and treat-none."""
    rows = zip(curve.thresholds, curve.classifier, curve.treat_all, curve.treat_none, strict=True)
    useful = [t for t, own, always, never in rows if own > max(always, never) + 1e-9]
    return f"{useful[0]:.2f} to {useful[-1]:.2f}" if useful else "no probability"


def operating_points_by_purpose(
    labels: Array,
    probabilities: Array,
    weights: Array | None = None,
    sample: str = "",
    patients: Sequence[str] | None = None,
    confidence: float | None = None,
) -> tuple[PurposePoint, ...]:
    """Choose the operating points for screening, balanced reading and ruling in, in this order.

    "screening" is the highest probability with a sensitivity of at least `SCREENING_SENSITIVITY`, "rule_in" the lowest
    with a specificity of at least `RULE_IN_SPECIFICITY`, "balanced" the one with the largest Youden index, the more
    sensitive of equals. Points are midway between neighbouring scores. Where a target cannot be met, or only by calling
    all radiographs the same, `chosen` says so.

    Parameters
    ----------
    labels
        (n,) in {0, 1}: held-out patients.
    probabilities
        (n,) in [0, 1]
    weights
        (n,) ≥ 0: sample weights; 1 by default.
    sample
        Description of the sample for the card.
    patients
        (n,): the patient of each radiograph; None if each counts as a patient of its own.
    confidence
        With which the targets of screening and ruling in are met among new patients, in (0.5, 1): thresholds are tested
        one after the other, from the safest, with Clopper and Pearson's bound for the effective number of radiographs,
        until one fails. None to meet the targets on this sample, which new patients then do about half of the time.

    Returns
    -------
    tuple of PurposePoint
        The three operating points. Where no threshold passes, `chosen` says that the target cannot be promised, and
        the point is the one that is closest to the target without an error on this sample.

    Raises
    ------
    ValueError
        If a class is missing or has no weight, or the arrays do not fit.

    References
    ----------
    Youden 1950, doi 10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3; Angelopoulos et al. 2021, "Learn then
    Test", https://arxiv.org/abs/2110.01052 (fixed-sequence testing)
    """
    y, p = _checked(labels, probabilities)
    weight = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != y.shape or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"expected {len(y)} weights that are not negative. Received: {weight.shape}")
    if not all(weight[y == label].sum() > 0 for label in (0, 1)):
        raise ValueError("expected radiographs of both classes. Received: one class, or one without weight")
    thresholds = _between(np.unique(p))
    sensitivity = 1 - _share_below(p[y == 1], weight[y == 1], thresholds)
    specificity = _share_below(p[y == 0], weight[y == 0], thresholds)

    def point(purpose: str, at: int, how: str) -> PurposePoint:
        chosen = f"{how}, on {sample or f'{len(y)} held-out radiographs'}"
        if specificity[at] == 0:
            chosen += "; every radiograph without pneumonia is called pneumonia there"
        elif sensitivity[at] == 0:
            chosen += "; no pneumonia is found there"
        return PurposePoint(purpose, float(thresholds[at]), float(sensitivity[at]), float(specificity[at]), chosen)

    youden = sensitivity + specificity - 1
    if confidence is not None:
        member = members(patients, len(y))
        ill, well = ((p[y == label], weight[y == label], member[y == label]) for label in (1, 0))
        # From the lowest threshold up every radiograph is called pneumonia, from the highest down none.
        low = _promised(thresholds, lambda cut: ill[0] >= cut, ill, SCREENING_SENSITIVITY, confidence)
        high = _promised(thresholds[::-1], lambda cut: well[0] < cut, well, RULE_IN_SPECIFICITY, confidence)
        words = f"{confidence:.0%} confidence".replace("%", " %")
        promises = (
            (low, "highest", f"sensitivity ≥ {SCREENING_SENSITIVITY:g}", sensitivity, SCREENING_SENSITIVITY, ill[2]),
            (high, "lowest", f"specificity ≥ {RULE_IN_SPECIFICITY:g}", specificity, RULE_IN_SPECIFICITY, well[2]),
        )
        chosen_points = []
        for at, end, target, rates, least, who in promises:
            if at is not None:
                index = at if end == "highest" else len(thresholds) - 1 - at
                how = f"{end} probability of {target} among new patients with {words}"
            else:
                clean = np.flatnonzero(rates >= rates.max() - _ROUNDING)
                index = int(clean[-1] if end == "highest" else clean[0])
                needed = math.ceil(math.log(1 - confidence) / math.log(least))
                how = (
                    f"{target} cannot be promised with {len(np.unique(who))} patients of the class: {words} takes at "
                    f"least {needed} without an error; {end} probability with the fewest errors"
                )
            chosen_points.append((index, how))
        (at_screening, how_screening), (at_rule_in, how_rule_in) = chosen_points
        return (
            point("screening", at_screening, how_screening),
            _balanced(youden, point),
            point("rule_in", at_rule_in, how_rule_in),
        )
    sensitive = np.flatnonzero(sensitivity >= SCREENING_SENSITIVITY - _ROUNDING)
    specific = np.flatnonzero(specificity >= RULE_IN_SPECIFICITY - _ROUNDING)
    if len(specific):
        rule_in = point("rule_in", int(specific[0]), f"lowest probability of specificity ≥ {RULE_IN_SPECIFICITY:g}")
    else:  # more of them than the target allows have probability 1, which no threshold exceeds
        rule_in = point(
            "rule_in",
            int(specificity.argmax()),
            f"highest specificity there is, since {RULE_IN_SPECIFICITY:g} cannot be met",
        )
    return (
        point("screening", int(sensitive[-1]), f"highest probability of sensitivity ≥ {SCREENING_SENSITIVITY:g}"),
        _balanced(youden, point),
        rule_in,
    )


def _balanced(youden: Array, point: Callable[[str, int, str], PurposePoint]) -> PurposePoint:
    best = int(np.flatnonzero(youden >= youden.max() - _ROUNDING)[0])
    return point("balanced", best, "largest sum of sensitivity and specificity (Youden's J)")


def _promised(
    thresholds: Array,
    right: Callable[[float], Array],
    sample: tuple[Array, Array, Array],
    target: float,
    confidence: float,
) -> int | None:
    """Return the index of the last threshold that passes before the first that fails; None where the first fails."""
    _, weight, member = sample
    total = float(weight.sum())
    passed, last = None, math.nan
    for index, cut in enumerate(thresholds):
        hit = right(float(cut))
        share = float((weight * hit).sum() / total)
        if share < target:
            break
        n = effective_number(hit, weight, member)
        if passed is not None and share == last:
            passed = index
            continue
        # Clopper and Pearson's lower bound reaches the target where so many successes are this unlikely at the target.
        if beta_cdf(target, share * n, n - share * n + 1) > 1 - confidence:
            break
        passed, last = index, share
    return passed


def _checked(labels: Array, probabilities: Array) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.float64]]:
    y, p = np.asarray(labels).astype(int), np.asarray(probabilities, np.float64)
    if not len(y) or y.shape != p.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"expected as many labels as probabilities in [0, 1], at least one. Received: {y.shape} and {p.shape}"
        )
    return y, p


def _between(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ascending thresholds, one for each way to separate ascending scores in [0, 1].

    The first is at or below all scores, the last above all of them, unless the highest is 1, which no probability
    exceeds.
    """
    ends = np.concatenate(([0.0], scores, [1.0] if scores[-1] < 1 else []))
    middle = (ends[:-1] + ends[1:]) / 2
    # Between neighbouring floating-point numbers there is no third; the upper one separates them as well.
    return np.asarray(np.where(middle > ends[:-1], middle, ends[1:]), np.float64)


def _share_below(scores: Array, weight: Array, thresholds: Array) -> npt.NDArray[np.float64]:
    order = np.argsort(scores)
    mass = np.concatenate(([0.0], np.cumsum(weight[order])))
    return np.asarray(mass[np.searchsorted(scores[order], thresholds, "left")] / mass[-1], np.float64)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

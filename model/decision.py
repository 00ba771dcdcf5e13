"""What a probability is good for: operating points for a purpose, and the net benefit of acting on it.

Everything that is chosen here is chosen on held-out validation patients, never on a test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.card import PurposePoint

Array = npt.NDArray[Any]
SCREENING_SENSITIVITY = 0.98
RULE_IN_SPECIFICITY = 0.95
THRESHOLDS = tuple(round(t / 100, 2) for t in range(1, 100))
# Weighted rates are sums of fractions; a target must not be missed by what rounding leaves over.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit at threshold probabilities in [0, 1), in true positives per radiograph.

    `treat_all` calls every radiograph pneumonia and `treat_none` none; a classifier is worth using where its curve lies
    above both. All of it is for the share of pneumonia that `prevalence` says.
    """

    prevalence: float
    thresholds: tuple[float, ...]
    classifier: tuple[float, ...]
    treat_all: tuple[float, ...]
    treat_none: tuple[float, ...]


def at_prevalence(probabilities: Array, known: float, wanted: float) -> npt.NDArray[np.float64]:
    """Carry probabilities in [0, 1], calibrated where `known` is the share of pneumonia, to where it is `wanted`.

    Bayes' rule on the odds, for populations that differ in nothing but that share (Saerens et al. 2002, doi
    10.1162/089976602753284446). Raises ValueError unless both shares lie in (0, 1).
    """
    if not (0 < known < 1 and 0 < wanted < 1):
        raise ValueError(f"expected shares in (0, 1). Received: {known} and {wanted}")
    p = np.asarray(probabilities, np.float64)
    positive, negative = p * (wanted / known), (1 - p) * ((1 - wanted) / (1 - known))
    return np.asarray(positive / (positive + negative), np.float64)


def decision_curve(
    labels: Array,
    probabilities: Array,
    thresholds: Array | tuple[float, ...] = THRESHOLDS,
    prevalence: float | None = None,
) -> DecisionCurve:
    """Return the net benefit of calling pneumonia from each threshold probability on.

    labels (n,) in {0, 1}; probabilities (n,) in [0, 1]; thresholds (t,) in [0, 1). Who acts from a threshold of 0.2 on
    accepts four false alarms for one pneumonia found, so a false alarm costs threshold / (1 − threshold) of what a
    found one is worth. With `prevalence`, in [0, 1], the classes are weighted to that share of pneumonia;
    probabilities should then hold there, too (`at_prevalence`).

    Raises ValueError for thresholds outside [0, 1), arrays that are empty or differ in length, and a prevalence that
    gives weight to a class without radiographs. Vickers & Elkin 2006, doi 10.1177/0272989X06295361
    """
    y, p = _checked(labels, probabilities)
    t = np.asarray(thresholds, np.float64)
    if not ((t >= 0) & (t < 1)).all():
        raise ValueError(f"expected thresholds in [0, 1). Received: {t.min():g} to {t.max():g}")
    share = float((y == 1).mean()) if prevalence is None else prevalence
    counts = {1: int((y == 1).sum()), 0: int((y == 0).sum())}
    if not 0 <= share <= 1 or (share > 0 and not counts[1]) or (share < 1 and not counts[0]):
        raise ValueError(
            f"expected a prevalence in [0, 1] of classes that are there. Received: {share} with "
            f"{counts[1]} radiographs with pneumonia and {counts[0]} without"
        )
    cost = t / (1 - t)

    def called(label: int) -> Array:
        """Return the share of a class that lies at or above each threshold; 0 for a class that carries no weight."""
        scores = np.sort(p[y == label])
        return 1 - np.searchsorted(scores, t, "left") / len(scores) if len(scores) else np.zeros(len(t))

    benefit = share * called(1) - (1 - share) * called(0) * cost
    return DecisionCurve(
        share, _floats(t), _floats(benefit), _floats(share - (1 - share) * cost), _floats(np.zeros(len(t)))
    )


def operating_points_by_purpose(
    labels: Array, probabilities: Array, weights: Array | None = None, sample: str = ""
) -> tuple[PurposePoint, ...]:
    """Choose operating points for screening, for both classes alike, and for ruling pneumonia in, in this order.

    labels (n,) in {0, 1} and probabilities (n,) in [0, 1] of held-out patients; `weights` (n,) ≥ 0 count a radiograph
    more or less than once; `sample` says in words what they are. "screening" is the highest probability whose
    sensitivity is at least `SCREENING_SENSITIVITY`, "rule_in" the lowest whose specificity is at least
    `RULE_IN_SPECIFICITY`, "balanced" the one with the largest Youden's J (1950), the more sensitive of equals. Points
    lie midway between neighbouring scores; where a target cannot be met, or only by calling all radiographs the same,
    `chosen` says so.

    Raises ValueError when a class is missing or has no weight, or the arrays do not fit.
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
    sensitive = np.flatnonzero(sensitivity >= SCREENING_SENSITIVITY - _ROUNDING)
    specific = np.flatnonzero(specificity >= RULE_IN_SPECIFICITY - _ROUNDING)
    if len(specific):
        rule_in = point("rule_in", int(specific[0]), f"lowest probability of specificity ≥ {RULE_IN_SPECIFICITY:g}")
    else:  # more of them than the target allows have probability 1, above which no threshold lies
        rule_in = point(
            "rule_in",
            int(specificity.argmax()),
            f"highest specificity there is, since {RULE_IN_SPECIFICITY:g} cannot be met",
        )
    return (
        point("screening", int(sensitive[-1]), f"highest probability of sensitivity ≥ {SCREENING_SENSITIVITY:g}"),
        point(
            "balanced",
            int(np.flatnonzero(youden >= youden.max() - _ROUNDING)[0]),
            "largest sum of sensitivity and specificity (Youden's J)",
        ),
        rule_in,
    )


def _checked(labels: Array, probabilities: Array) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.float64]]:
    y, p = np.asarray(labels).astype(int), np.asarray(probabilities, np.float64)
    if not len(y) or y.shape != p.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"expected as many labels as probabilities in [0, 1], at least one. Received: {y.shape} and {p.shape}"
        )
    return y, p


def _between(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return rising thresholds, one for each way in which ascending scores in [0, 1] can be parted.

    The first lies at or below all scores. The last lies above all of them, unless the highest is 1, which no
    probability exceeds.
    """
    ends = np.concatenate(([0.0], scores, [1.0] if scores[-1] < 1 else []))
    middle = (ends[:-1] + ends[1:]) / 2
    # Between two neighbouring floating-point numbers there is no third; the upper one parts them as well.
    return np.asarray(np.where(middle > ends[:-1], middle, ends[1:]), np.float64)


def _share_below(scores: Array, weight: Array, thresholds: Array) -> npt.NDArray[np.float64]:
    order = np.argsort(scores)
    mass = np.concatenate(([0.0], np.cumsum(weight[order])))
    return np.asarray(mass[np.searchsorted(scores[order], thresholds, "left")] / mass[-1], np.float64)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

"""Operating points by purpose: one probability read for screening, balanced, or to rule pneumonia in.

A purpose moves the threshold and not the probability, so it is applied after the network and without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.errors import ClassifierError
from core.settings import PURPOSES
from model.assessment import Assessment
from model.calibration import predict, sigmoid
from model.card import Evaluation, Measure, ModelCard, OperatingPoint
from model.intervals import wilson

DEFAULT = PURPOSES[0]
NAMES = {"default": "Default", "screening": "Screening", "balanced": "Balanced", "rule_in": "Rule in"}
AIMS = {
    "default": "The version’s own point: few misses and few false alarms, also on radiographs exported differently.",
    "screening": "High sensitivity at the cost of more false alarms. For a first look at many radiographs.",
    "balanced": "A missed pneumonia and a false alarm count the same.",
    "rule_in": "High specificity. For confirming a suspicion; a radiograph below it does not rule pneumonia out.",
}
# At 0 or 1 the logit is infinite, and a band around it undefined.
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Rates:
    """Sensitivity and specificity at one threshold.

    Attributes
    ----------
    sensitivity, specificity
        With 95 % intervals.
    positive, negative
        Number of radiographs with and without pneumonia.
    """

    sensitivity: Measure
    specificity: Measure
    positive: int
    negative: int

    @property
    def n(self) -> int:
        """Number of radiographs."""
        return self.positive + self.negative


def available_purposes(card: ModelCard) -> tuple[str, ...]:
    """Return the purposes that a version has operating points for, its default first."""
    own = {one.purpose for one in card.purposes}
    return tuple(purpose for purpose in PURPOSES if purpose == DEFAULT or purpose in own)


def operating_point(card: ModelCard, purpose: str = DEFAULT) -> OperatingPoint:
    """Return a version's operating point for a purpose, with its borderline band.

    The band has the same width on the logit scale for every purpose. The screening point is never above the other
    points and the rule-in point never below: where a classifier meets both targets over a range of thresholds, the
    points on the card may be in the wrong order, and each still meets its target at the other end of that range.

    Parameters
    ----------
    card
        The card of the version.
    purpose
        One of `core.settings.PURPOSES`.

    Returns
    -------
    OperatingPoint
        Threshold and band.

    Raises
    ------
    ClassifierError
        If the version has no point for the purpose.
    """
    default = card.operating_point
    if purpose == DEFAULT:
        return default
    cuts = {one.purpose: one.probability for one in card.purposes if one.purpose in PURPOSES}
    if purpose not in cuts:
        raise ClassifierError(
            f"expected a purpose of {', '.join(available_purposes(card))}. Received: {purpose}",
            advice=f"Version {card.version} has no operating point for this purpose; choose another purpose.",
        )
    every = (*cuts.values(), default.probability)
    cut = {"screening": min(every), "rule_in": max(every)}.get(purpose, cuts[purpose])
    chosen = next(one.chosen for one in card.purposes if one.purpose == purpose)
    if cut != cuts[purpose]:
        chosen += f"; moved from {cuts[purpose]:.3f} to keep the purposes in order"
    low, high = (_moved(end, default.probability, cut) for end in (default.near_low, default.near_high))
    return OperatingPoint(cut, min(low, cut), max(high, cut), chosen)


def at_purpose(assessment: Assessment, card: ModelCard, purpose: str = DEFAULT) -> Assessment:
    """Return an assessment with its prediction at the operating point of a purpose; a refused one is unchanged.

    Parameters
    ----------
    assessment
        The assessment.
    card
        The card of its version.
    purpose
        A name in `PURPOSES`.

    Raises
    ------
    ClassifierError
        If the version has no operating point for the purpose.
    ValueError
        If the card is that of another version.
    """
    if assessment.classifier_version != card.version:
        raise ValueError(f"expected the card of version {assessment.classifier_version}. Received: {card.version}")
    point = operating_point(card, purpose)
    if assessment.prediction is None:
        return assessment
    prediction = predict(assessment.prediction.logit, card.calibration, point)
    return replace(assessment, prediction=replace(prediction, purpose=purpose))


def rates_at(evaluation: Evaluation, cut: float) -> Rates:
    """Return sensitivity and specificity of an evaluated set at a threshold.

    At the evaluation's own operating point they are the card's. Elsewhere they are counted from the histograms of
    probabilities, interpolated within the bin of the threshold; the Wilson intervals, for the effective number of
    radiographs where the card has it, range from the fewest to the most radiographs that this bin allows.

    Parameters
    ----------
    evaluation
        An evaluation of a card.
    cut
        Threshold, in [0, 1].

    Returns
    -------
    Rates
        nan where a class has no radiographs.
    """
    positive, negative = evaluation.tp + evaluation.fn, evaluation.tn + evaluation.fp
    if cut == evaluation.operating_point:
        return Rates(evaluation.measures["sensitivity"], evaluation.measures["specificity"], positive, negative)
    return Rates(
        _share(evaluation.histogram_pneumonia, cut, True, evaluation.effective_pneumonia),
        _share(evaluation.histogram_normal, cut, False, evaluation.effective_normal),
        positive,
        negative,
    )


def _share(counts: Sequence[int], cut: float, above: bool, effective: float) -> Measure:
    """Return which share of binned probabilities over [0, 1] is at or above the threshold, or below it."""
    n, position = sum(counts), cut * len(counts)
    if n == 0:
        return Measure(math.nan, math.nan, math.nan)
    parted = min(int(position), len(counts) - 1)
    below = sum(counts[:parted])
    fewest, within, most = below, below + round((position - parted) * counts[parted]), below + counts[parted]
    if position == parted:  # the threshold is on the edge of a bin
        most = below
    if above:
        fewest, within, most = n - most, n - within, n - fewest
    scale = effective / n if effective else 1.0
    return Measure(within / n, wilson(fewest * scale, n * scale)[0], wilson(most * scale, n * scale)[1])


def _moved(end: float, cut: float, to: float) -> float:
    """Return the probability that is as far from `to` as `end` is from `cut`, on the logit scale."""
    if end in (0.0, 1.0):  # stays at the end of the range
        return end
    return float(sigmoid(np.array(_logit(end) - _logit(cut) + _logit(to))))


def _logit(probability: float) -> float:
    p = min(max(probability, _SMALLEST), 1 - _SMALLEST)
    return math.log(p / (1 - p))

"""Measures of calibration at a stated prevalence: intercept, slope, and expected calibration error without its bias.

Probabilities are made for one prevalence and a set of radiographs has another; measured at the set's own, a correct
probability looks wrong. Here each class is weighted to the prevalence that the probabilities are made for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import sigmoid
from model.card import CalibrationMeasures, Measure
from model.intervals import TAIL, Z, plain_interval, spread

Array = npt.NDArray[Any]
ECE_BINS = 10
# Probabilities of 0 and 1 have no logit.
_SMALLEST = 1e-9
# Log odds closer together than this are one probability but for rounding: a slope over them is no figure.
_LEAST_SPREAD = 1e-3
# Draws of the noise of the bins, from one seed; the interval is then known to about one part in a hundred.
_DRAWS = 500


def class_weights(labels: Array, prevalence: float | None) -> npt.NDArray[np.float64]:
    """Return weights with sum 1 that give pneumonia a share of `prevalence`.

    Parameters
    ----------
    labels
        (n,) in {0, 1}, of both classes unless `prevalence` is None.
    prevalence
        In (0, 1); None for that of the sample.

    Returns
    -------
    ndarray
        (n,), float64.
    """
    y = np.asarray(labels).astype(int)
    if prevalence is None:
        return np.full(len(y), 1 / len(y))
    return np.asarray(np.array((1 - prevalence, prevalence))[y] / np.bincount(y, minlength=2)[y], np.float64)


def calibration_measures(
    labels: Array, probabilities: Array, prevalence: float, member: Array
) -> CalibrationMeasures | None:
    """Measure the calibration at the prevalence that the probabilities are made for.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    probabilities
        (n,) in [0, 1]
    prevalence
        In (0, 1), for which the probabilities are calibrated.
    member
        (n,): index of the patient, as `model.intervals.members` returns it.

    Returns
    -------
    CalibrationMeasures or None
        None when a class is missing. The slope is nan where the classes are perfectly separated, and where
        the log odds have no spread, so that no slope can be estimated.

    References
    ----------
    Cox 1958, doi 10.1093/biomet/45.3-4.562; Van Calster et al. 2019, doi 10.1186/s12916-019-1466-7
    """
    y, p = np.asarray(labels).astype(int), np.asarray(probabilities, np.float64)
    if len(np.unique(y)) < 2:
        return None
    inside = np.clip(p, _SMALLEST, 1 - _SMALLEST)
    logit = np.log(inside) - np.log1p(-inside)
    weight = class_weights(y, prevalence)
    ones = np.ones((len(y), 1))
    slope = Measure(math.nan, math.nan, math.nan)
    if np.ptp(logit) >= _LEAST_SPREAD and not _separated(logit[y == 1], logit[y == 0]):
        slope = _coefficient(np.column_stack((ones, logit)), np.zeros(len(y)), y, weight, member)
    return CalibrationMeasures(
        prevalence,
        _coefficient(ones, logit, y, weight, member),
        slope,
        expected_calibration_error(y, p, member, prevalence, debiased=True),
    )


def logistic_fit(design: Array, offset: Array, labels: Array, weight: Array) -> npt.NDArray[np.float64]:
    """Fit a logistic regression by maximum likelihood (Newton's method with halved steps).

    Parameters
    ----------
    design
        (n, k)
    offset
        (n,), added to the linear predictor.
    labels
        (n,) in [0, 1]
    weight
        (n,) ≥ 0

    Returns
    -------
    ndarray
        (k,), float64.
    """
    beta = np.zeros(design.shape[1])

    def loss(b: Array) -> float:
        z = design @ b + offset
        return float((weight * (np.logaddexp(0, z) - labels * z)).sum())

    for _ in range(100):
        p = sigmoid(design @ beta + offset)
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-14 * np.eye(len(beta))
        step = np.linalg.solve(hessian, design.T @ (weight * (p - labels)))
        while loss(beta - step) > loss(beta) and np.abs(step).max() > 1e-13:
            step /= 2
        beta = beta - step
        if np.abs(step).max() < 1e-11:
            break
    return beta


def _coefficient(design: Array, offset: Array, y: Array, weight: Array, member: Array) -> Measure:
    """Return the last coefficient of a weighted logistic regression, with the variance of its clustered sandwich."""
    beta = logistic_fit(design, offset, y, weight)
    p = sigmoid(design @ beta + offset)
    bread = np.linalg.inv((design * (weight * p * (1 - p))[:, None]).T @ design)
    by_film = (design * (y - p)[:, None]) @ bread[-1]
    return plain_interval(float(beta[-1]), spread(_centred(by_film, y, weight), member))


def expected_calibration_error(
    labels: Array, probabilities: Array, member: Array, prevalence: float | None = None, debiased: bool = False
) -> Measure:
    """Return the expected calibration error over ten equal bins, with an interval that holds 0 where it may.

    The plain error is never 0 and grows as the sample shrinks. The debiased one is less by what the noise of the
    bins' shares adds to it on average. The interval is found along the line from no error to the measured gaps: its
    ends are the errors for which a plain error as large, or as small, as the measured one has a chance of 2.5 %.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    probabilities
        (n,) in [0, 1]
    member
        (n,): index of the patient.
    prevalence
        To which the classes are weighted, in (0, 1); None for that of the sample.
    debiased
        Whether the figure is the debiased error.

    Returns
    -------
    Measure
        In [0, 1].

    References
    ----------
    Naeini et al. 2015, doi 10.1609/aaai.v29i1.9602; Kumar, Liang & Ma 2019, https://arxiv.org/abs/1909.10155, section 5
    and appendix; Roelofs et al. 2022, https://arxiv.org/abs/2012.08668
    """
    y, p = np.asarray(labels).astype(int), np.asarray(probabilities, np.float64)
    weight = class_weights(y, prevalence)
    strata = y if prevalence is not None else np.zeros(len(y), int)
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    inside = bins == np.unique(bins)[:, None]
    gaps = (inside * (weight * (p - y))).sum(1)
    noise = _noise(inside, y, p, weight, strata, member)
    plain = float(np.abs(gaps).sum())
    drawn = np.abs(gaps + noise).sum(1)
    bias = float(drawn.mean()) - plain
    low, high = (plain * _factor(gaps, noise, plain, share) for share in (1 - TAIL, TAIL))
    # The line knows only the measured direction of the gaps; with large gaps the error is nearly normal.
    high = max(high, plain + Z * float(drawn.std()))
    return Measure(max(0.0, plain - bias) if debiased else plain, low, min(1.0, high))


def _noise(inside: Array, y: Array, p: Array, weight: Array, strata: Array, member: Array) -> npt.NDArray[np.float64]:
    """Return draws (draws, bins) of the noise of the bins' gaps.

    The covariance is that over patients. Where a bin has had no error, its variance is what its probabilities make it.
    """
    k = max(2, len(np.unique(member)))
    by_patient = np.stack(
        [np.bincount(member, _centred(one * (p - y), strata, weight), member.max() + 1) for one in inside]
    )
    covariance = by_patient @ by_patient.T * (k / (k - 1))
    expected = (inside * (weight**2 * p * (1 - p))).sum(1)
    covariance += np.diag(np.maximum(0.0, expected - np.diag(covariance)))
    values, vectors = np.linalg.eigh(covariance)
    normal = np.random.default_rng(0).standard_normal((_DRAWS, len(inside)))
    # Each draw with its mirror image, so that the noise has mean 0.
    drawn = normal * np.sqrt(np.maximum(0.0, values)) @ vectors.T
    return np.concatenate((drawn, -drawn))


def _centred(values: Array, strata: Array, weight: Array) -> npt.NDArray[np.float64]:
    """Return the influence of each radiograph on a mean that is taken within each stratum."""
    influence = np.zeros(len(values))
    for stratum in np.unique(strata):
        chosen = strata == stratum
        influence[chosen] = weight[chosen] * (values[chosen] - values[chosen].mean())
    return influence


def _factor(gaps: Array, noise: Array, plain: float, share: float) -> float:
    """Return how many times the measured gaps, with noise, fall short of the measured error in `share` of draws."""

    def excess(factor: float) -> float:
        return float(np.quantile(np.abs(factor * gaps + noise).sum(1), share)) - plain

    if not plain or excess(0.0) >= 0:
        return 0.0
    low, high = 0.0, 1.0
    while excess(high) < 0 and high < 1e6:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return (low + high) / 2


def _separated(positive: Array, negative: Array) -> bool:
    return bool(positive.min() >= negative.max() or positive.max() <= negative.min())

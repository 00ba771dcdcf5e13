"""Calibration: logits to probabilities of pneumonia, and to predictions at an operating point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model.assessment import Prediction
from model.card import Calibration, OperatingPoint

Array = npt.NDArray[Any]
MAX_TEMPERATURE = 1000.0


def sigmoid(values: Array) -> npt.NDArray[np.float64]:
    """Return the logistic function 1 / (1 + exp(−values)) without overflow.

    Parameters
    ----------
    values
        Array of any shape and number type.

    Returns
    -------
    ndarray
        float64 in [0, 1], of the same shape.
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(values, np.float64))), np.float64)


def probabilities(logits: Array, calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return the calibrated probabilities of pneumonia.

    Parameters
    ----------
    logits
        Array of any shape.
    calibration
        Temperature and bias: sigmoid(logit / temperature + bias).

    Returns
    -------
    ndarray
        float64 in [0, 1], of the same shape.
    """
    return sigmoid(np.asarray(logits, np.float64) / calibration.temperature + calibration.bias)


def predict(logit: float, calibration: Calibration, operating_point: OperatingPoint) -> Prediction:
    """Return the prediction of a logit at an operating point.

    Parameters
    ----------
    logit
        Output of the network, finite.
    calibration
        Maps it to a probability.
    operating_point
        Threshold and borderline band, in [0, 1].

    Raises
    ------
    ValueError
        If the logit is not finite.
    """
    if not math.isfinite(logit):
        raise ValueError(f"expected a finite logit. Received: {logit}")
    probability = float(probabilities(np.array(logit), calibration))
    near = operating_point.near_low <= probability <= operating_point.near_high
    return Prediction(logit, probability, operating_point.probability, near)


def fit_calibration(labels: Array, logits: Array, weights: Array | None = None) -> Calibration:
    """Fit temperature and bias by maximum likelihood.

    Newton's method on two parameters with Platt's targets, (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2) instead of 1 and 0,
    which keep the temperature positive when the classes are perfectly separated. Logits that do not rise with the label
    get `MAX_TEMPERATURE`, so that every probability is near one half.

    Parameters
    ----------
    labels
        (n,) in {0, 1}: held-out patients.
    logits
        (n,)
    weights
        (n,) ≥ 0: sample weights; 1 by default.

    Returns
    -------
    Calibration
        For the prevalence of the sample.

    Raises
    ------
    ValueError
        If a class is missing.

    References
    ----------
    Platt 1999; Guo et al. 2017, https://arxiv.org/abs/1706.04599
    """
    y, x = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    if len(np.unique(y)) < 2:
        raise ValueError("expected both classes among the labels. Received: one")
    weight = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    n_negative, n_positive = int((y == 0).sum()), int((y == 1).sum())
    target = np.where(y == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    design = np.column_stack((x, np.ones(len(x))))
    beta = np.array([1.0, 0.0])

    def loss(b: Array) -> float:
        z = design @ b
        return float((weight * (np.logaddexp(0, z) - target * z)).sum())

    for _ in range(100):
        p = sigmoid(design @ beta)
        gradient = design.T @ (weight * (p - target))
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while loss(beta - step) > loss(beta) and np.abs(step).max() > 1e-12:
            step /= 2
        beta = beta - step
        if np.abs(step).max() < 1e-10:
            break
    if beta[0] < 1 / MAX_TEMPERATURE:
        share = float((weight * target).sum() / weight.sum())
        return Calibration(MAX_TEMPERATURE, math.log(share / (1 - share)))
    return Calibration(float(1 / beta[0]), float(beta[1]))

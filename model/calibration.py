"""Logits → probabilities that mean what they say, and the operating point at which they become a finding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model.assessment import Prediction
from model.card import Calibration, OperatingPoint

Array = npt.NDArray[Any]


def sigmoid(values: Array) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(−values)) in float64, without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(values, np.float64))), np.float64)


def probabilities(logits: Array, calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return calibrated probabilities of pneumonia in [0, 1], of the shape of `logits`."""
    return sigmoid(np.asarray(logits, np.float64) / calibration.temperature + calibration.bias)


def predict(logit: float, calibration: Calibration, operating_point: OperatingPoint) -> Prediction:
    """Return what a logit means for this classifier version; raises ValueError when it is not finite."""
    if not math.isfinite(logit):
        raise ValueError(f"expected a finite logit. Received: {logit}")
    probability = float(probabilities(np.array(logit), calibration))
    near = operating_point.near_low <= probability <= operating_point.near_high
    return Prediction(logit, probability, operating_point.probability, near)


def fit_calibration(labels: Array, logits: Array, weights: Array | None = None) -> Calibration:
    """Fit temperature and bias by maximum likelihood on held-out patients.

    labels (n,) in {0, 1}, logits (n,); weights (n,) count a radiograph more or less than once. Newton's method on two
    parameters; a weak prior (one pseudo-observation of each class at the middle) keeps the temperature finite when the
    classes are perfectly separated.

    Raises ValueError when a class is missing. Platt 1999; Guo et al. 2017, https://arxiv.org/abs/1706.04599
    """
    y, x = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    if len(np.unique(y)) < 2:
        raise ValueError("expected both classes among the labels. Received: one")
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    middle = float((x[y == 0].mean() + x[y == 1].mean()) / 2)
    design = np.column_stack((np.append(x, (middle, middle)), np.ones(len(x) + 2)))
    target, weight = np.append(y, (0.0, 1.0)), np.append(w, (1.0, 1.0))
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
    if beta[0] <= 0:
        raise ValueError("expected logits that rise with the label. Received: logits that do not")
    return Calibration(float(1 / beta[0]), float(beta[1]))

"""Calibration of a fitted network: temperature and bias, operating point, and borderline range.

Everything is chosen on held-out patients, on their radiographs as they are and perturbed as another hospital might
export them: an operating point chosen on one source alone is wrong elsewhere even where the ranking holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import fit_calibration, probabilities, sigmoid
from model.card import Calibration, OperatingPoint
from training.data.augment import augment
from training.data.augment_framed import Donors, augment_framed
from training.data.recipes import Augmentation

Array = npt.NDArray[Any]
MIN_SENSITIVITY = 0.96
NEAR_QUANTILE = 0.9
_FRAMED_AT_ONCE = 64


def perturbed(
    pictures: npt.NDArray[np.uint8],
    recipe: Augmentation,
    copies: int,
    seed: int,
    labels: Array | None = None,
    input_px: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Return augmented copies of squashed pictures.

    Parameters
    ----------
    pictures
        (n, px, px), uint8, or (n, px, px, 3) with the lungs beside each film.
    recipe
        The augmentation.
    copies
        Number of copies of each picture.
    seed
        Of the augmentation.
    labels
        (n,), int: for films with lungs, so that films of the other class lend their look.
    input_px
        Side of copies of films with lungs; None for that of the pictures. Framed at the size of the network's input
        they are resampled once, as in service.

    Returns
    -------
    ndarray
        (copies · n, px, px), uint8, copy by copy; (copies · n, input_px, input_px, 2) of films with lungs, framed by
        them.
    """
    px = pictures.shape[1]
    if pictures.ndim == 4:
        return np.stack([*_framed_copies(pictures, recipe, copies, seed, labels, input_px or px)])
    return np.stack(
        [
            augment(picture, np.random.default_rng((seed, copy, i)), recipe, px)
            for copy in range(copies)
            for i, picture in enumerate(pictures)
        ]
    )


def _framed_copies(
    pictures: npt.NDArray[np.uint8], recipe: Augmentation, copies: int, seed: int, labels: Array | None, px: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the copies of films with lungs, uint8 (px, px, 2), copy by copy."""
    donors = {} if labels is None else {label: Donors(np.flatnonzero(labels != label)) for label in (0, 1)}
    for copy in range(copies):
        for i, picture in enumerate(pictures):
            rng = np.random.default_rng((seed, copy, i))
            donor = None if labels is None else donors[int(labels[i])].draw(rng)
            yield augment_framed(picture, rng, recipe, px, None if donor is None else pictures[donor])


def class_balance(labels: Array) -> npt.NDArray[np.float64]:
    """Return weights that give both classes the same total weight.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.

    Returns
    -------
    ndarray
        (n,), float64 with mean 1.
    """
    share = np.bincount(labels, minlength=2) / len(labels)
    return np.asarray(1 / (2 * share[labels]))


def calibrate(labels: Array, logits: Array, shifted: Array) -> Calibration:
    """Fit temperature and bias on clean and perturbed logits, half the weight each.

    Both classes have the same weight: probabilities hold at a prevalence of 0.5, not at that of the data set.

    Parameters
    ----------
    labels
        int (n,) in {0, 1}.
    logits
        (n,), of the radiographs as they are.
    shifted
        (copies, n), with the recipe `domain_shift`.

    References
    ----------
    Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.
    """
    copies = len(shifted)
    pooled = np.concatenate((logits, shifted.ravel()))
    labels_pooled = np.tile(labels, copies + 1)
    balance = np.tile(class_balance(labels), copies + 1)
    weight = np.concatenate((np.full(len(labels), 0.5), np.full(copies * len(labels), 0.5 / copies))) * balance
    return fit_calibration(labels_pooled, pooled, weight)


def choose_operating_point(
    labels: Array,
    logits: Array,
    shifted: Array,
    jittered: Array,
    calibration: Calibration,
    min_sensitivity: float = MIN_SENSITIVITY,
) -> OperatingPoint:
    """Choose the probability with the best balanced accuracy over clean and perturbed radiographs.

    Among points within half a percentage point of the best the median is taken, since the maximum of a finite sample
    depends on a single radiograph.

    Parameters
    ----------
    labels
        int (n,) in {0, 1}.
    logits
        (n,), of the radiographs as they are.
    shifted
        (copies, n), with the recipe `domain_shift`.
    jittered
        (copies, n), with the recipe `jitter`, which no reader would notice; 90 % of these shifts near the operating
        point stay within the borderline range.
    calibration
        Maps logits to probabilities.
    min_sensitivity
        Smallest sensitivity, the mean over clean and perturbed radiographs, of a point that is considered.
    """
    clean = probabilities(logits, calibration)
    moved = probabilities(shifted, calibration)
    candidates = np.linspace(0.02, 0.98, 481)

    def rates(p: Array, y: Array) -> tuple[Array, Array]:
        above = p[None, :] >= candidates[:, None]
        return above[:, y == 1].mean(1), 1 - above[:, y == 0].mean(1)

    sensitivity, specificity = rates(clean, labels)
    moved_sensitivity, moved_specificity = rates(moved.ravel(), np.tile(labels, len(shifted)))
    score = (sensitivity + specificity + moved_sensitivity + moved_specificity) / 4
    kept = (sensitivity + moved_sensitivity) / 2
    allowed = kept >= min(min_sensitivity, kept.max())
    score = np.where(allowed, score, -1)
    best = candidates[score >= score.max() - 0.005]
    threshold = round(float(np.median(best)), 3)
    cut = (np.log(threshold / (1 - threshold)) - calibration.bias) * calibration.temperature
    change = np.abs(jittered - logits)
    close = np.abs(logits - cut) < 3 * calibration.temperature
    half = float(np.quantile(change[:, close] if close.any() else change, NEAR_QUANTILE))
    low, high = sigmoid(np.array([cut - half, cut + half]) / calibration.temperature + calibration.bias)
    return OperatingPoint(
        threshold,
        round(float(low), 4),
        round(float(high), 4),
        "best balanced accuracy over held-out patients, with pictures as they are and as another hospital might export "
        f"them; sensitivity at least {min_sensitivity:g} over both",
    )


def logits_by_copy(
    predict: Callable[[npt.NDArray[np.uint8]], Array],
    pictures: npt.NDArray[np.uint8],
    recipe: Augmentation,
    copies: int,
    seed: int,
    labels: Array | None = None,
    input_px: int | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits of augmented copies of pictures.

    Parameters
    ----------
    predict
        Maps uint8 (m, px, px), or (m, input_px, input_px, 2), to logits (m,).
    pictures, recipe, copies, seed, labels, input_px
        As in `perturbed`.

    Returns
    -------
    ndarray
        (copies, n), float32.
    """
    if pictures.ndim == 4:
        # A few at a time: at the size of the input, all of them would take several times the memory of the pictures.
        drawn = _framed_copies(pictures, recipe, copies, seed, labels, input_px or pictures.shape[1])
        parts = []
        while some := [*islice(drawn, _FRAMED_AT_ONCE)]:
            parts.append(predict(np.stack(some)))
        logits = np.concatenate(parts)
    else:
        logits = predict(perturbed(pictures, recipe, copies, seed))
    return np.asarray(logits, np.float32).reshape(copies, len(pictures))

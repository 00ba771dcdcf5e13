"""Class-conditional conformal sets: the findings that a radiograph's probability does not exclude.

For each class alone a share of at most `alpha` of new patients' radiographs is expected to have a set without its own
class, whatever the distribution of the probabilities. A set of both classes says that the classifier cannot tell, an
empty one that the probability is unusual for either class.

>>> sets = conformal_sets(labels, probabilities, 0.1, member)
>>> members_of(0.97, sets)
('PNEUMONIA',)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.formatting import format_estimate
from model.card import ConformalSets, Measure
from model.intervals import proportion

Array = npt.NDArray[Any]
ALPHAS = (0.05, 0.1)


def conformal_sets(labels: Array, probabilities: Array, alpha: float, member: Array) -> ConformalSets:
    """Choose the limits of the sets on held-out patients.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    probabilities
        (n,) in [0, 1]
    alpha
        Largest expected share of radiographs of a class whose set lacks the class, in (0, 1).
    member
        (n,): index of the patient, as `model.intervals.members` returns it. Each patient of a class counts once,
        however many radiographs there are.

    Returns
    -------
    ConformalSets
        A class with too few patients for `alpha`, fewer than 1 / alpha − 1, is in every set.

    References
    ----------
    Vovk, Gammerman & Shafer 2005 (Mondrian predictors); Sadinle, Lei & Wasserman 2019,
    doi 10.1080/01621459.2017.1395341; patients with several radiographs: Dunn, Wasserman & Ramdas 2022,
    doi 10.1080/01621459.2022.2060112
    """
    y, p = np.asarray(labels).astype(int), np.asarray(probabilities, np.float64)
    least = _least(p[y == 1], alpha, np.asarray(member)[y == 1])
    most = 1 - _least(1 - p[y == 0], alpha, np.asarray(member)[y == 0])
    return ConformalSets(alpha, most, least)


def in_sets(probabilities: Array, sets: ConformalSets) -> npt.NDArray[np.bool_]:
    """Return which classes are in each radiograph's set.

    Parameters
    ----------
    probabilities
        (n,) in [0, 1]
    sets
        Limits of the sets.

    Returns
    -------
    ndarray
        (n, 2), bool: normal, pneumonia.
    """
    p = np.asarray(probabilities, np.float64)
    return np.column_stack((p <= sets.normal_up_to, p >= sets.pneumonia_from))


@dataclass(frozen=True, slots=True)
class SetResult:
    """Conformal sets on labelled radiographs: share of each class whose set holds it, share of sets by their size."""

    alpha: float
    coverage_normal: Measure
    coverage_pneumonia: Measure
    single: Measure
    both: Measure
    empty: Measure


def measure_sets(
    labels: Array, probabilities: Array, patients: Sequence[str] | Array, sets: ConformalSets
) -> SetResult:
    """Measure conformal sets on labelled radiographs.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    probabilities
        (n,) in [0, 1]
    patients
        (n,): the patient of each radiograph.
    sets
        Limits of the sets.
    """
    y, who, rows = np.asarray(labels), np.asarray(patients), in_sets(probabilities, sets)
    covered = [proportion(rows[y == label, label], who[y == label]) for label in (0, 1)]
    sizes = [proportion(rows.sum(1) == size, who) for size in (1, 2, 0)]
    return SetResult(sets.alpha, *covered, *sizes)


def set_result_to_text(one: SetResult) -> str:
    """Return the result of one alpha as a line for a terminal."""
    return (
        f"  conformal sets, α = {one.alpha:g}: hold NORMAL {format_estimate(one.coverage_normal, 3)}, PNEUMONIA "
        f"{format_estimate(one.coverage_pneumonia, 3)}; one class in {format_estimate(one.single, 3)} of them"
    )


def _least(own: Array, alpha: float, member: Array) -> float:
    """Return the probability of its own class that a radiograph needs to have the class in its set."""
    if not len(own):
        return 0.0
    sizes = np.bincount(member)
    patients = int((sizes > 0).sum())
    # From the highest probability down, so many patients' worth of radiographs are in.
    wanted = math.ceil((patients + 1) * (1 - alpha) - 1e-9)
    if wanted > patients:
        return 0.0
    order = np.argsort(-own, kind="stable")
    mass = np.cumsum(1 / sizes[member[order]])
    return float(own[order][np.searchsorted(mass, wanted - 1e-9)])

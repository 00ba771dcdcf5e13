"""Cross-fitting on held-out patients: what is chosen on some of them is measured on the others.

Calibration, operating points and conformal sets that are measured on the patients they were chosen on look better than
they are. The final ones are chosen on all held-out patients; their figures come from as many choices as there are
folds, each measured on the patients that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import probabilities
from model.card import Calibration, ConformalSets, Evaluation, OperatingPoint, PurposePoint
from model.conformal import ALPHAS, conformal_sets, in_sets
from model.intervals import members, proportion
from model.metrics import evaluate

Array = npt.NDArray[Any]
FOLDS = 5
# Ends the words on how a point was chosen, where its figures come from patients that took no part.
CROSS_FITTED = "; its rates are cross-fitted"


@dataclass(frozen=True, slots=True)
class Scale:
    """What is chosen on held-out patients: calibration, operating points, conformal sets."""

    calibration: Calibration
    operating_point: OperatingPoint
    purposes: tuple[PurposePoint, ...]
    conformal: tuple[ConformalSets, ...]


Choose = Callable[[npt.NDArray[np.bool_]], Scale]


def patient_folds(labels: Array, patients: Sequence[str], folds: int = FOLDS, seed: int = 0) -> npt.NDArray[np.int_]:
    """Divide patients into folds with about equal numbers of patients of each class.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    patients
        (n,): the patient of each radiograph.
    folds
        Number of folds; fewer where a class has fewer patients.
    seed
        Of the draw.

    Returns
    -------
    ndarray
        (n,), int: the fold of each radiograph; all 0 where a class has a single patient.
    """
    y, member = np.asarray(labels), members(patients, len(labels))
    ill = np.zeros(member.max() + 1, bool)
    ill[member[y == 1]] = True
    rng = np.random.default_rng(seed)
    used = max(1, min(folds, int(ill.sum()), int((~ill).sum())))
    fold = np.zeros(len(ill), int)
    for chosen in (np.flatnonzero(ill), np.flatnonzero(~ill)):
        fold[rng.permutation(chosen)] = np.arange(len(chosen)) % used
    return np.asarray(fold[member], np.int_)


def conformal_levels(labels: Array, scores: Array, patients: Sequence[str]) -> tuple[ConformalSets, ...]:
    """Return the conformal sets for each of `ALPHAS`.

    Parameters
    ----------
    labels
        (n,) in {0, 1}
    scores
        (n,), probabilities in [0, 1].
    patients
        (n,): the patient of each radiograph.
    """
    member = members(patients, len(labels))
    return tuple(conformal_sets(labels, scores, alpha, member) for alpha in ALPHAS)


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Figures of a scale on patients that took no part in choosing it.

    `record` is for the model card: folds, patients of each class, rates of the purposes and coverage of the sets, each
    with its 95 % interval. `operating_point` is the final one, whose words say that its rates are cross-fitted;
    `shifted` is the evaluation on perturbed copies, None without any. `scores` and `cuts`, both (n,), float64 in
    [0, 1], are the probability of each radiograph and the point at which it is read, from the fold without its patient.
    """

    evaluation: Evaluation
    operating_point: OperatingPoint
    purposes: tuple[PurposePoint, ...]
    record: dict[str, Any]
    scores: npt.NDArray[np.float64]
    cuts: npt.NDArray[np.float64]
    shifted: Evaluation | None = None


def cross_fit(
    labels: Array,
    logits: Array,
    patients: Sequence[str],
    choose: Choose,
    final: Scale,
    seed: int = 0,
    shifted: Array | None = None,
) -> CrossFitted:
    """Measure a scale by cross-fitting.

    Parameters
    ----------
    labels
        (n,) in {0, 1}: held-out radiographs, of at least two patients of each class.
    logits
        (n,)
    patients
        (n,)
    choose
        Makes the scale from the radiographs that a mask, bool (n,), marks.
    final
        The scale that was made from all of them.
    seed
        Of the division into folds.
    shifted
        (copies, n): logits of perturbed copies of the radiographs, measured with the scale of their patient's fold;
        None for none.
    """
    y, fold = np.asarray(labels), patient_folds(labels, patients, seed=seed)
    count = int(fold.max()) + 1
    score, cut = np.empty(len(y)), np.empty(len(y))
    points = np.empty((len(final.purposes), len(y)))
    sets = np.empty((len(final.conformal), len(y), 2), bool)
    moved = np.empty((0, len(y)) if shifted is None else shifted.shape)
    for one in range(count):
        out = fold == one
        scale = choose(~out) if count > 1 else final
        score[out] = probabilities(logits[out], scale.calibration)
        if shifted is not None:
            moved[:, out] = probabilities(shifted[:, out], scale.calibration)
        cut[out] = scale.operating_point.probability
        for row, point in enumerate(scale.purposes):
            points[row, out] = point.probability
        for row, level in enumerate(scale.conformal):
            sets[row, out] = in_sets(score[out], level)
    who = np.asarray(patients)
    evaluation = evaluate(
        "validation", y, score, final.operating_point.probability, list(patients), final.calibration.prevalence, cut
    )
    copies = len(moved)
    on_copies = None
    if copies:
        on_copies = evaluate(
            "validation, shifted",
            np.tile(y, copies),
            moved.ravel(),
            final.operating_point.probability,
            list(patients) * copies,
            final.calibration.prevalence,
            np.tile(cut, copies),
        )
    words = CROSS_FITTED if count > 1 else ""
    purposes, rates = [], {}
    for own, at in zip(final.purposes, points, strict=True):
        sensitivity, specificity = (
            proportion(((score >= at) == (y == 1))[y == label], who[y == label]) for label in (1, 0)
        )
        purposes.append(
            PurposePoint(own.purpose, own.probability, sensitivity.value, specificity.value, own.chosen + words)
        )
        rates[own.purpose] = {"sensitivity": _values(sensitivity), "specificity": _values(specificity)}
    covered = [
        {
            "alpha": level.alpha,
            **{
                name: _values(proportion(rows[y == label, label], who[y == label]))
                for label, name in enumerate(("coverage_normal", "coverage_pneumonia"))
            },
            "single": _values(proportion(rows.sum(1) == 1, who)),
        }
        for level, rows in zip(final.conformal, sets, strict=True)
    ]
    record = {
        "folds": count,
        "patients": {"normal": len(set(who[y == 0])), "pneumonia": len(set(who[y == 1]))},
        "purposes": rates,
        "conformal": covered,
    }
    default = replace(final.operating_point, chosen=final.operating_point.chosen + words)
    return CrossFitted(evaluation, default, tuple(purposes), record, score, cut, on_copies)


def _values(measure: Any) -> list[float]:
    return [measure.value, measure.low, measure.high]

"""Further figures of `benchmarks.coverage`: those that are not measures of a whole evaluation.

Each comes with the value that it has in the population. What is chosen on the sample itself, such as the threshold of a
purpose, has two: the mean rate of the thresholds that were measured by cross-fitting, of which the interval is one, and
the rate of the final threshold, which is none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from model.calibration import fit_calibration, probabilities, sigmoid
from model.card import Evaluation, Measure, OperatingPoint
from model.decision import operating_points_by_purpose, prevalence_interval
from model.intervals import proportion, share_mean
from model.operating import rates_at
from training.evaluation.groups import group_results
from training.fitting.cross_fit import Scale, conformal_levels, cross_fit, patient_folds
from training.fitting.model_card import CONFIDENCE

Array = npt.NDArray[Any]
Found = dict[str, tuple[Measure, float]]
# Share of the patients that are in the group; threshold to which a reader moves the operating point.
GROUP, MOVED = 0.25, 0.3
UNLABELLED_PREVALENCE = 0.2
# Shares of a map's energy in the lungs and on opacities: centre and spread of their logits. Share of films hit.
LUNGS, OPACITIES, HIT = (0.2, 0.5), (-3.0, 1.2), 0.27
_QUANTILES = norm.ppf((np.arange(20_000) + 0.5) / 20_000)


def further(
    rng: np.random.Generator, y: Array, scores: Array, member: Array, distance: float, evaluation: Evaluation
) -> Found:
    """Return further figures with their intervals and their value in the population.

    Parameters
    ----------
    rng
        Of the group, the shares of evidence and the unlabelled radiographs.
    y, scores, member
        (n,): labels, scores of one classifier and patients, as `benchmarks.coverage.draw` makes them.
    distance
        Of the means of the scores of both classes.
    evaluation
        Of the classifier on these radiographs at an operating point of one half.
    """
    p = sigmoid(distance * scores - distance**2 / 2)
    return {
        **_in_a_group(rng, y, p, member, distance),
        **_at_another_threshold(evaluation, distance),
        **_cross_fitted(y, distance * scores - distance**2 / 2, [str(one) for one in member], distance),
        **_localisation(rng, member),
        **_prevalence(rng, int(member.max()) + 1, distance),
    }


def _rates(cut: float, distance: float) -> tuple[float, float]:
    """Return sensitivity and specificity of the population at a correct probability, in (0, 1)."""
    score = (math.log(cut / (1 - cut)) + distance**2 / 2) / distance
    return float(norm.sf(score - distance)), float(norm.cdf(score))


def _in_a_group(rng: np.random.Generator, y: Array, p: Array, member: Array, distance: float) -> Found:
    inside = (rng.random(int(member.max()) + 1) < GROUP)[member]
    names = ["inside" if one else "outside" for one in inside]
    results = group_results({"style": names}, y, p, 0.5, [str(one) for one in member])
    sensitivity, specificity = _rates(0.5, distance)
    true = {"sensitivity": sensitivity, "specificity": specificity, "auroc": float(norm.cdf(distance / math.sqrt(2)))}
    return {
        f"{name} in a group": (getattr(one, name), value)
        for one in results
        if one.name == "inside"
        for name, value in true.items()
    }


def _at_another_threshold(evaluation: Evaluation, distance: float) -> Found:
    rates = rates_at(evaluation, MOVED)
    names = ("sensitivity", "specificity")
    return {
        f"{name} at a threshold of {MOVED:g}": (getattr(rates, name), true)
        for name, true in zip(names, _rates(MOVED, distance), strict=True)
    }


def _cross_fitted(y: Array, logits: Array, patients: list[str], distance: float) -> Found:
    who = np.array(patients)
    made: list[Scale] = []

    def choose(chosen: npt.NDArray[np.bool_]) -> Scale:
        calibration = fit_calibration(y[chosen], logits[chosen])
        score, own = probabilities(logits[chosen], calibration), list(who[chosen])
        made.append(
            Scale(
                calibration,
                OperatingPoint(0.5, 0.4, 0.6, ""),
                operating_points_by_purpose(y[chosen], score, None, "", own, CONFIDENCE),
                conformal_levels(y[chosen], score, own),
            )
        )
        return made[-1]

    final = choose(np.ones(len(y), bool))
    measured = cross_fit(y, logits, patients, choose, final)
    fold = patient_folds(y, patients)

    def true(cut: Callable[[Scale], float], place: int) -> tuple[float, float]:
        rates = [_rates(_uncalibrated(cut(scale), scale), distance)[place] for scale in made]
        sizes = np.bincount(fold[y == 1 - place], minlength=len(made) - 1)
        return float(np.average(rates[1:], weights=sizes)), rates[0]

    def both(name: str, measure: Measure, cut: Callable[[Scale], float], place: int) -> Found:
        of_folds, of_final = true(cut, place)
        return {f"{name}, cross-fitted": (measure, of_folds), f"{name}, final threshold": (measure, of_final)}

    found: Found = {}
    for place, name in enumerate(("sensitivity", "specificity")):
        found |= both(name, measured.evaluation.measures[name], lambda scale: scale.operating_point.probability, place)
        for row, point in enumerate(final.purposes):
            values = Measure(*measured.record["purposes"][point.purpose][name])
            found |= both(f"{name} of {point.purpose}", values, partial(_purpose_cut, row), place)
    record = measured.record["conformal"][-1]
    ends: tuple[tuple[str, Callable[[Scale], float], int], ...] = (
        ("normal", lambda scale: scale.conformal[-1].normal_up_to, 1),
        ("pneumonia", lambda scale: scale.conformal[-1].pneumonia_from, 0),
    )
    for name, cut, place in ends:
        found |= both(f"conformal coverage, {name}", Measure(*record[f"coverage_{name}"]), cut, place)
    return found


def _purpose_cut(row: int, scale: Scale) -> float:
    return scale.purposes[row].probability


def _uncalibrated(probability: float, scale: Scale) -> float:
    """Return the correct probability, in (0, 1), of a calibrated one."""
    inside = min(max(probability, 1e-9), 1 - 1e-9)
    logit = (math.log(inside / (1 - inside)) - scale.calibration.bias) * scale.calibration.temperature
    return float(np.clip(sigmoid(np.array(logit)), 1e-12, 1 - 1e-12))


def _localisation(rng: np.random.Generator, member: Array) -> Found:
    z = (rng.normal(size=int(member.max()) + 1)[member] + rng.normal(size=len(member))) / math.sqrt(2)
    found: Found = {"maximum on an opacity": (proportion(z < norm.ppf(HIT), member), HIT)}
    for name, (centre, width) in (("evidence in the lungs", LUNGS), ("evidence on opacities", OPACITIES)):
        found[name] = (
            share_mean(sigmoid(centre + width * z), member),
            float(sigmoid(centre + width * _QUANTILES).mean()),
        )
    return found


def _prevalence(rng: np.random.Generator, films: int, distance: float) -> Found:
    ill = rng.random(films) < UNLABELLED_PREVALENCE
    logits = distance * (rng.normal(size=films) + distance * ill) - distance**2 / 2
    return {"prevalence of unlabelled radiographs": (prevalence_interval(sigmoid(logits), 0.5), UNLABELLED_PREVALENCE)}

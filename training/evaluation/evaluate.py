"""Evaluation of a classifier version on labelled radiographs, through the code that serves the page.

>>> evaluation, failures = evaluate_folder(classifier, Path("test_half"))
>>> evaluation.measures["auroc"].value
0.992
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.formatting import format_estimate, format_interval, format_rate
from core.progress import Tick
from imaging.radiograph import Radiograph, decode_radiograph
from model.calibration import probabilities
from model.card import MEASURES, CalibrationMeasures, Evaluation, Measure, ModelCard, PurposePoint
from model.conformal import SetResult, measure_sets, set_result_to_text
from model.decision import DecisionCurve, at_prevalence, decision_curve, useful_range
from model.engine import Classifier
from model.intervals import proportion
from model.metrics import evaluate, predictive_values
from model.operating import available_purposes, operating_point, rates_at
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder, scan
from training.data.sample import CLASSES, Sample
from training.data.split import groups_of
from training.data.style_features import StyleFeatures, style_features
from training.evaluation.groups import group_results, groups_to_text, memberships, rows_of, styles_of
from training.evaluation.looks import Recorder

BATCH = 16
PREVALENCES = (0.05, 0.2, 0.5)
Failures = list[tuple[Path, str]]
# Called with each radiograph that is read.
Seen = Callable[[Radiograph], None]


@dataclass(frozen=True, slots=True)
class Rate:
    """Number of radiographs of one kind that were called correctly, and their share with its interval by patient."""

    right: int
    n: int
    share: Measure


@dataclass(frozen=True, slots=True)
class PurposeResult:
    """Sensitivity and specificity on this set at one of the card's operating points, where it is read in service."""

    point: PurposePoint
    sensitivity: Rate
    specificity: Rate


@dataclass(frozen=True, slots=True)
class AtPrevalence:
    """Predictive values and decision curve at a prevalence in (0, 1).

    `curve` uses the probabilities recalibrated to that prevalence.
    """

    prevalence: float
    ppv: Measure
    npv: Measure
    curve: DecisionCurve


@dataclass(frozen=True, slots=True)
class Detail:
    """Detailed results on one set: `rates` by class, and by pathogen where file names give it ("bacteria", "virus").

    `pathogen_auroc` is that of bacterial above viral pneumonia by the probability; None where a pathogen is missing.
    """

    split: str
    version: str
    n: int
    operating_point: float
    rates: Mapping[str, Rate]
    purposes: tuple[PurposeResult, ...]
    prevalences: tuple[AtPrevalence, ...]
    pathogen_auroc: Measure | None = None
    sets: tuple[SetResult, ...] = ()


def evaluate_folder(
    classifier: Classifier,
    data: Path | DataRequest,
    split: str | None = None,
    tick: Tick | None = None,
    record: Recorder | None = None,
) -> tuple[Evaluation, Failures]:
    """Evaluate on a folder with NORMAL/ and PNEUMONIA/.

    Parameters
    ----------
    classifier
        Decides at the operating point of its card.
    data
        The folder, or the sources.
    split
        Name of the set in the evaluation; the sources' names by default.
    tick
        Called with the number of files done since the last call.
    record
        Records the look at a test set, see `training.evaluation.looks`.

    Returns
    -------
    tuple
        The evaluation, and (path, reason) of each file that could not be read.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    request = DataRequest.of(data)
    return evaluate_samples(classifier, scan(request).train, split or request.title, tick, record)


def evaluate_samples(
    classifier: Classifier,
    samples: Sequence[Sample],
    split: str,
    tick: Tick | None = None,
    record: Recorder | None = None,
) -> tuple[Evaluation, Failures]:
    """Evaluate a classifier on samples at the operating point of its card.

    Parameters
    ----------
    classifier
        The classifier.
    samples
        Radiographs with their labels.
    split
        Name of the evaluation.
    tick
        Called with the number of files done since the last call.
    record
        As in `evaluate_folder`.

    Returns
    -------
    tuple of (Evaluation, Failures)
        The evaluation, and the unreadable files with the reason.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    features: list[StyleFeatures] = []
    used, logits, failures = score_samples(
        classifier, samples, tick, features=features if classifier.card.styles else None
    )
    if record is not None:
        record(used, (classifier.version,), split)
    return evaluate_scores(classifier.card, used, logits, split, styles_of(classifier.card, features)), failures


def evaluate_scores(
    card: ModelCard,
    samples: Sequence[Sample],
    logits: npt.NDArray[np.float32],
    split: str,
    styles: Sequence[str] = (),
) -> Evaluation:
    """Evaluate logits at the operating point of a card.

    Parameters
    ----------
    card
        Calibration and operating point.
    samples
        (n,), samples with labels and patients.
    logits
        (n,), float32, as `score_samples` returns them.
    split
        Name of the evaluation.
    styles
        (n,): the acquisition style of each, from `styles_of`; empty where unknown.
    """
    labels, patients = np.array([s.label for s in samples]), groups_of(samples)
    p, point = probabilities(logits, card.calibration), card.operating_point.probability
    return replace(
        evaluate(split, labels, p, point, patients, card.calibration.prevalence),
        groups=group_results(memberships(samples, styles), labels, p, point, patients),
    )


def score_samples(
    classifier: Classifier,
    samples: Sequence[Sample],
    tick: Tick | None = None,
    seen: Seen | None = None,
    features: list[StyleFeatures] | None = None,
) -> tuple[list[Sample], npt.NDArray[np.float32], Failures]:
    """Classify radiographs.

    Parameters
    ----------
    classifier
        The classifier.
    samples
        The radiographs.
    tick
        Called with the number of files done since the last call.
    seen
        Called with each radiograph that is read, in the order of what is returned.
    features
        Extended by the style features of each of `used`; None measures none.

    Returns
    -------
    used : list of Sample
        The n samples that could be read, with their SHA-256.
    logits : ndarray
        (n,), float32.
    failures : Failures
        The other files with the reason.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    used, logits, failures = score_side_by_side((classifier,), samples, tick, seen, features)
    return used, logits[0], failures


def score_side_by_side(
    classifiers: Sequence[Classifier],
    samples: Sequence[Sample],
    tick: Tick | None = None,
    seen: Seen | None = None,
    features: list[StyleFeatures] | None = None,
) -> tuple[list[Sample], npt.NDArray[np.float32], Failures]:
    """Classify radiographs with several classifiers; each file is decoded once.

    Parameters
    ----------
    classifiers
        The classifiers.
    samples, tick, seen, features
        As in `score_samples`.

    Returns
    -------
    used : list of Sample
        The n samples that could be read, with their SHA-256.
    logits : ndarray
        (classifiers, n), float32.
    failures : Failures
        The other files with the reason.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    used: list[Sample] = []
    failures: Failures = []
    logits = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        pictures: list[list[npt.NDArray[np.uint8]]] = [[] for _ in classifiers]
        for sample, radiograph in decoded(batch, failures):
            used.append(replace(sample, sha256=radiograph.sha256))
            if seen is not None:
                seen(radiograph)
            if features is not None:
                features.append(style_features(radiograph, sample.path.read_bytes()))
            for own, classifier in zip(pictures, classifiers, strict=True):
                own.append(classifier.input_of(radiograph))
        if pictures[0]:
            logits.append(
                [classifier.run(np.stack(own)) for own, classifier in zip(pictures, classifiers, strict=True)]
            )
        if tick is not None:
            tick(len(batch))
    refuse_empty(used)
    return used, np.concatenate(logits, axis=1, dtype=np.float32), failures


def decoded(samples: Sequence[Sample], failures: Failures) -> Iterator[tuple[Sample, Radiograph]]:
    """Yield each of `samples` with its radiograph; unreadable files are added to `failures` and skipped."""
    for sample in samples:
        try:
            yield sample, decode_radiograph(sample.path.read_bytes())
        except (OSError, RadiographError) as error:
            failures.append((sample.path, str(error)))


def refuse_empty(used: Sequence[Sample]) -> None:
    """Raise DatasetError if no radiograph could be read."""
    if not used:
        raise DatasetError(
            "expected readable radiographs. Received: none",
            advice="Check that the files are radiographs: JPEG, PNG, TIFF or DICOM.",
        )


def labelled_test(folder: DatasetFolder) -> tuple[Sample, ...]:
    """Return the folder's test split; empty when it lacks a class."""
    return folder.test if {s.label for s in folder.test} == set(range(len(CLASSES))) else ()


def look_closer(
    card: ModelCard,
    samples: Sequence[Sample],
    logits: npt.NDArray[np.float32],
    split: str,
    prevalences: Sequence[float] = PREVALENCES,
) -> Detail:
    """Return results by class, pathogen, purpose and prevalence.

    Parameters
    ----------
    card
        Calibration and operating points.
    samples, logits
        (n,), as `score_samples` returns them.
    split
        Name of the set.
    prevalences
        Each in (0, 1).

    Raises
    ------
    DatasetError
        Unless there are radiographs of both classes.
    """
    labels = np.array([s.label for s in samples])
    if len(set(labels.tolist())) < len(CLASSES):
        raise DatasetError(
            "expected readable radiographs of both classes. Received: one class",
            advice="Check that the files in NORMAL and PNEUMONIA open in a viewer.",
        )
    p = probabilities(logits, card.calibration)
    threshold = card.operating_point.probability
    patients, pathogens = (np.array([getattr(s, name) for s in samples]) for name in ("patient", "pathogen"))

    def rate(right: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Rate:
        hits = right[among]
        return Rate(int(hits.sum()), len(hits), proportion(hits, patients[among]))

    rates = {name: rate((p >= threshold) == label, labels == label) for label, name in enumerate(CLASSES)}
    rates |= {one: rate(p >= threshold, pathogens == one) for one in ("bacteria", "virus") if (pathogens == one).any()}
    purposes = tuple(
        PurposeResult(one, rate(p >= one.probability, labels == 1), rate(p < one.probability, labels == 0))
        for one in (_as_read(card, point) for point in card.purposes)
    )
    specificity, sensitivity = (rates[name].share for name in CLASSES)

    def at(prevalence: float) -> AtPrevalence:
        carried = at_prevalence(p, card.calibration.prevalence, prevalence)
        curve = decision_curve(labels, carried, prevalence=prevalence)
        return AtPrevalence(prevalence, *predictive_values(sensitivity, specificity, prevalence), curve)

    known = np.isin(pathogens, ("bacteria", "virus"))
    ranked = (
        evaluate(split, pathogens[known] == "bacteria", p[known], threshold, patients[known].tolist()).measures["auroc"]
        if {"bacteria", "virus"} <= rates.keys()
        else None
    )
    sets = tuple(measure_sets(labels, p, patients, one) for one in card.conformal)
    at_each = tuple(map(at, prevalences))
    return Detail(split, card.version, len(samples), threshold, rates, purposes, at_each, ranked, sets)


def _as_read(card: ModelCard, point: PurposePoint) -> PurposePoint:
    """Return a point of a card where radiographs are read at it, which may be elsewhere to keep the purposes in order.

    Its own rates then hold for that threshold too, as far as the card's histograms of the validation patients tell.
    """
    if point.purpose not in available_purposes(card):
        return point
    served = operating_point(card, point.purpose)
    if served.probability == point.probability:
        return point
    moved = replace(point, probability=served.probability, chosen=served.chosen)
    if (validation := card.evaluations.get("validation")) is None:
        return moved
    rates = rates_at(validation, served.probability)
    return replace(moved, sensitivity=rates.sensitivity.value, specificity=rates.specificity.value)


def evaluation_to_json(
    evaluation: Evaluation, version: str, looks: Sequence[str] = (), learned: Mapping[str, Any] | None = None
) -> str:
    """Return `evaluation` of the classifier `version` as one flat JSON object; an undefined measure is null.

    `looks`, sentences about the test sets that it met, stand under "test_sets" where there are any, and `learned`, the
    numbers of films that the version has learned from, under "training_overlap".
    `ece` is that of the set as it is; `calibration_intercept`, `calibration_slope` and `ece_debiased` are measured with
    the classes weighted to `calibration_prevalence`.
    """
    flat: dict[str, Any] = {"n": evaluation.n}
    for name in MEASURES:
        measure = evaluation.measures[name]
        flat[name] = measure.value
        flat[f"{name}_ci"] = [measure.low, measure.high]
    flat |= {
        "tp": evaluation.tp,
        "fp": evaluation.fp,
        "tn": evaluation.tn,
        "fn": evaluation.fn,
        "classifier_version": version,
    } | ({"test_sets": list(looks)} if looks else {})
    if (found := evaluation.calibration) is not None:
        flat["calibration_prevalence"] = found.prevalence
        for name, measure in _calibration_rows(found):
            flat |= {name: measure.value, f"{name}_ci": [measure.low, measure.high]}
    flat |= {} if learned is None else {"training_overlap": learned}
    flat |= {"groups": rows_of(evaluation.groups)} if evaluation.groups else {}
    return json.dumps(plain(flat), indent=1, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Return a value as JSON types: floats rounded to six places, null where a measure is undefined."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def detail_to_json(detail: Detail) -> str:
    """Return the detailed results as JSON; an undefined measure is null."""
    return json.dumps(plain(asdict(detail)), indent=1, ensure_ascii=False)


def evaluation_to_text(evaluation: Evaluation, version: str) -> str:
    """Return `evaluation` of the classifier `version` as a table for a terminal."""
    lines = [
        f"{evaluation.split}: n = {evaluation.n}, classifier {version}, "
        f"operating point {evaluation.operating_point:.3f}",
        f"  {evaluation.tp} true positives, {evaluation.fn} false negatives, "
        f"{evaluation.tn} true negatives, {evaluation.fp} false positives",
    ]
    for name in MEASURES:
        measure = evaluation.measures[name]
        figure = f"{format_rate(measure.value, 3):>6}  {format_interval(measure, 3)}"
        lines.append(f"  {name:<12} {figure}".rstrip())
    if (found := evaluation.calibration) is not None:
        lines.append(f"  calibration with the classes weighted to a prevalence of {found.prevalence:g}")
        lines += [f"    {name:<21} {format_estimate(measure, 3)}" for name, measure in _calibration_rows(found)]
    if evaluation.groups:
        lines.append(groups_to_text(evaluation.groups))
    return "\n".join(lines)


def _calibration_rows(found: CalibrationMeasures) -> tuple[tuple[str, Measure], ...]:
    return (
        ("calibration_intercept", found.intercept),
        ("calibration_slope", found.slope),
        ("ece_debiased", found.ece),
    )


def detail_to_text(detail: Detail) -> str:
    """Return the detailed results as tables for a terminal."""
    lines = [f"  correct at the operating point {detail.operating_point:.3f}"]
    lines += [
        f"    {name:<12} {rate.right:>4} of {rate.n:<4}  {format_estimate(rate.share, 3)}"
        for name, rate in detail.rates.items()
    ]
    if detail.pathogen_auroc is not None:
        lines.append(f"  bacterial above viral pneumonia: AUROC {format_estimate(detail.pathogen_auroc, 3)}")
    if detail.purposes:
        lines.append(f"  {'purpose':<16}{'from':>5}  {'sensitivity':<20}  specificity")
    for result in detail.purposes:
        lines.append(
            f"    {result.point.purpose:<12}  {result.point.probability:.3f}  "
            f"{format_estimate(result.sensitivity.share, 3):<20}  {format_estimate(result.specificity.share, 3)}"
        )
    lines.append(f"  {'prevalence':<16}  {'PPV':<20}  {'NPV':<20}  net benefit above treat-all and treat-none at")
    for at in detail.prevalences:
        lines.append(
            f"    {at.prevalence:<14g}  {format_estimate(at.ppv, 3):<20}  {format_estimate(at.npv, 3):<20}  "
            f"{useful_range(at.curve)}"
        )
    lines += [set_result_to_text(one) for one in detail.sets]
    return "\n".join(lines)

"""Evaluate a classifier version on a folder, through the same code that serves the page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.formatting import format_estimate
from core.progress import Tick
from imaging.radiograph import Radiograph, decode_radiograph
from model.calibration import probabilities
from model.card import MEASURES, Evaluation, Measure, ModelCard, PurposePoint
from model.decision import DecisionCurve, at_prevalence, decision_curve
from model.engine import Classifier
from model.metrics import evaluate, ppv_npv, wilson
from training.data.dataset import CLASSES, DatasetFolder, Sample, scan_folder

BATCH = 16
PREVALENCES = (0.05, 0.2, 0.5)
Failures = list[tuple[Path, str]]


@dataclass(frozen=True, slots=True)
class Rate:
    """How many radiographs of one kind were called right, and their share with Wilson's interval."""

    right: int
    n: int
    share: Measure


@dataclass(frozen=True, slots=True)
class PurposeResult:
    """What an operating point of the card does on this set: PNEUMONIA found, NORMAL left alone."""

    point: PurposePoint
    sensitivity: Rate
    specificity: Rate


@dataclass(frozen=True, slots=True)
class AtPrevalence:
    """What a finding is worth where `prevalence` of the films show pneumonia, and from which probability to act.

    The intervals of PPV and NPV run between the ends of both rates' intervals. `curve` takes the probabilities as they
    are at that prevalence.
    """

    prevalence: float
    ppv: Measure
    npv: Measure
    curve: DecisionCurve


@dataclass(frozen=True, slots=True)
class Detail:
    """A closer look at one set: `rates` by class, and by pathogen where the file names tell ("bacteria", "virus")."""

    split: str
    version: str
    n: int
    operating_point: float
    rates: Mapping[str, Rate]
    purposes: tuple[PurposeResult, ...]
    prevalences: tuple[AtPrevalence, ...]


def evaluate_folder(
    classifier: Classifier,
    root: Path,
    split: str | None = None,
    tick: Tick | None = None,
) -> tuple[Evaluation, Failures]:
    """Evaluate on a folder with NORMAL/ and PNEUMONIA/: (evaluation, files that could not be read with the reason).

    `tick` is called with the number of files done since the last call. Raises DatasetError when nothing is left.
    """
    return evaluate_samples(classifier, scan_folder(root).train, split or root.name, tick)


def evaluate_samples(
    classifier: Classifier,
    samples: Sequence[Sample],
    split: str,
    tick: Tick | None = None,
) -> tuple[Evaluation, Failures]:
    """Evaluate on samples; see `evaluate_folder`."""
    used, logits, failures = score_samples(classifier, samples, tick)
    return evaluate_scores(classifier.card, used, logits, split), failures


def evaluate_scores(
    card: ModelCard, samples: Sequence[Sample], logits: npt.NDArray[np.float32], split: str
) -> Evaluation:
    """Evaluate logits (n,) of samples (n,), as `score_samples` returns them, at the card's operating point."""
    return evaluate(
        split,
        np.array([s.label for s in samples]),
        probabilities(logits, card.calibration),
        card.operating_point.probability,
        [s.patient for s in samples],
    )


def score_samples(
    classifier: Classifier, samples: Sequence[Sample], tick: Tick | None = None
) -> tuple[list[Sample], npt.NDArray[np.float32], Failures]:
    """Return (samples that could be read, their logits float32 (n,), files that could not be read with the reason).

    `tick` is called with the number of files done since the last call. Raises DatasetError when nothing is left.
    """
    used, logits, failures = score_side_by_side((classifier,), samples, tick)
    return used, logits[0], failures


def score_side_by_side(
    classifiers: Sequence[Classifier], samples: Sequence[Sample], tick: Tick | None = None
) -> tuple[list[Sample], npt.NDArray[np.float32], Failures]:
    """Score each radiograph with several classifiers: as `score_samples`, with logits (classifiers, n)."""
    used: list[Sample] = []
    failures: Failures = []
    logits = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        pictures: list[list[npt.NDArray[np.uint8]]] = [[] for _ in classifiers]
        for sample, radiograph in decoded(batch, failures):
            used.append(sample)
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
    """Decode samples one after the other; what cannot be read is added to `failures` and left out."""
    for sample in samples:
        try:
            yield sample, decode_radiograph(sample.path.read_bytes())
        except (OSError, RadiographError) as error:
            failures.append((sample.path, str(error)))


def refuse_empty(used: Sequence[Sample]) -> None:
    """Raise DatasetError when no radiograph could be read."""
    if not used:
        raise DatasetError(
            "expected readable radiographs. Received: none",
            advice="Check that the folder holds JPEG or PNG radiographs.",
        )


def labelled_test(folder: DatasetFolder) -> tuple[Sample, ...]:
    """Return the folder's own test part, empty when it lacks a class."""
    return folder.test if {s.label for s in folder.test} == set(range(len(CLASSES))) else ()


def look_closer(
    card: ModelCard,
    samples: Sequence[Sample],
    logits: npt.NDArray[np.float32],
    split: str,
    prevalences: Sequence[float] = PREVALENCES,
) -> Detail:
    """Look at logits (n,) of samples (n,) by class, pathogen, purpose and prevalence, each of these in (0, 1).

    Raises DatasetError unless there are radiographs of both classes.
    """
    labels = np.array([s.label for s in samples])
    if len(set(labels.tolist())) < len(CLASSES):
        raise DatasetError(
            "expected readable radiographs of both classes. Received: one class",
            advice="Check that the files in NORMAL and PNEUMONIA open in a viewer.",
        )
    p = probabilities(logits, card.calibration)
    threshold = card.operating_point.probability
    rates = {name: _rate((p >= threshold)[labels == label] == label) for label, name in enumerate(CLASSES)}
    pathogens = np.array([s.pathogen for s in samples])
    rates |= {
        one: _rate((p >= threshold)[pathogens == one]) for one in ("bacteria", "virus") if (pathogens == one).any()
    }
    negative, positive = p[labels == 0], p[labels == 1]
    purposes = tuple(
        PurposeResult(one, _rate(positive >= one.probability), _rate(negative < one.probability))
        for one in card.purposes
    )
    specificity, sensitivity = (rates[name].share for name in CLASSES)

    def at(prevalence: float) -> AtPrevalence:
        ends = [
            ppv_npv(getattr(sensitivity, end), getattr(specificity, end), prevalence)
            for end in ("value", "low", "high")
        ]
        carried = at_prevalence(p, card.calibration.prevalence, prevalence)
        return AtPrevalence(
            prevalence,
            Measure(*(ppv for ppv, _ in ends)),
            Measure(*(npv for _, npv in ends)),
            decision_curve(labels, carried, prevalence=prevalence),
        )

    return Detail(split, card.version, len(samples), threshold, rates, purposes, tuple(map(at, prevalences)))


def _rate(right: npt.NDArray[np.bool_]) -> Rate:
    hits, n = int(right.sum()), len(right)
    return Rate(hits, n, Measure(hits / n if n else float("nan"), *wilson(hits, n)))


def evaluation_to_json(evaluation: Evaluation, version: str) -> str:
    """Return the evaluation as one flat JSON object; an undefined figure is null."""
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
    }
    return json.dumps(plain(flat), indent=1)


def plain(value: Any) -> Any:
    """Return a value as what JSON knows: fractions to six places, and null where a figure is not defined."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def detail_to_json(detail: Detail) -> str:
    """Return the closer look as JSON; an undefined figure is null."""
    return json.dumps(plain(asdict(detail)), indent=1, ensure_ascii=False)


def evaluation_to_text(evaluation: Evaluation, version: str) -> str:
    """Return the evaluation as a table for a terminal."""
    lines = [
        f"{evaluation.split}: n = {evaluation.n}, classifier {version}, "
        f"operating point {evaluation.operating_point:.3f}",
        f"  pneumonia: {evaluation.tp} found, {evaluation.fn} missed; "
        f"normal: {evaluation.tn} right, {evaluation.fp} called pneumonia",
    ]
    for name in MEASURES:
        measure = evaluation.measures[name]
        lines.append(f"  {name:<12} {measure.value:6.3f}  ({measure.low:.3f}–{measure.high:.3f})")
    return "\n".join(lines)


def detail_to_text(detail: Detail) -> str:
    """Return the closer look as tables for a terminal."""
    lines = [f"  called right at {detail.operating_point:.3f}"]
    lines += [
        f"    {name:<12} {rate.right:>4} of {rate.n:<4}  {format_estimate(rate.share, 3)}"
        for name, rate in detail.rates.items()
    ]
    if detail.purposes:
        lines.append(f"  {'for the purpose':<16}{'from':>5}  {'sensitivity':<20}  specificity")
    for result in detail.purposes:
        lines.append(
            f"    {result.point.purpose:<12}  {result.point.probability:.3f}  "
            f"{format_estimate(result.sensitivity.share, 3):<20}  {format_estimate(result.specificity.share, 3)}"
        )
    lines.append(f"  {'at prevalence':<16}  {'PPV':<20}  {'NPV':<20}  beats treating all or none at")
    for worth in detail.prevalences:
        lines.append(
            f"    {worth.prevalence:<14g}  {format_estimate(worth.ppv, 3):<20}  {format_estimate(worth.npv, 3):<20}  "
            f"{_useful(worth.curve)}"
        )
    return "\n".join(lines)


def _useful(curve: DecisionCurve) -> str:
    """Say at which threshold probabilities acting on the classifier beats both acting always and never."""
    rows = zip(curve.thresholds, curve.classifier, curve.treat_all, curve.treat_none, strict=True)
    useful = [t for t, own, always, never in rows if own > max(always, never) + 1e-9]
    return f"{useful[0]:.2f} to {useful[-1]:.2f}" if useful else "no probability"

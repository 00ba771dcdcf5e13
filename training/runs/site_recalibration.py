"""Recalibration for a hospital: threshold and intercept of a version refitted on its own labelled radiographs.

The network stays. With few patients only the intercept is refitted, with more the slope too where it is clearly not 1
(the hierarchy of Van Calster et al. 2019, doi 10.1186/s12916-019-1466-7). Unlabelled radiographs give the prevalence
for which probabilities are made (Saerens et al. 2002). The result is a new version; the old one stays.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from core.files import make_folder
from core.formatting import format_interval
from core.progress import Report, counted, ignore
from core.settings import Settings
from model.calibration import probabilities
from model.calibration_measures import calibration_measures
from model.card import Calibration, ConformalSets, Evaluation, Measure, ModelCard, OperatingPoint, PurposePoint
from model.decision import at_prevalence, operating_points_by_purpose, prevalence_interval
from model.engine import Classifier, load_classifier
from model.intervals import members
from model.population import POPULATION
from model.registry import ANATOMY, add_version, next_version, verify, version_folder
from records.activity import command_line_user
from training.data.data_request import DataRequest
from training.data.dataset import scan
from training.data.sample import CLASSES, Sample, digest
from training.data.split import groups_of
from training.data.style_features import StyleFeatures
from training.evaluation.evaluate import evaluate_scores, score_samples
from training.evaluation.groups import styles_of, with_validation_groups
from training.evaluation.looks import recorder
from training.fitting.calibrate import choose_operating_point
from training.fitting.cross_fit import Scale, conformal_levels, cross_fit
from training.fitting.model_card import CONFIDENCE
from training.runs.recalibrations import refuse_few

Array = npt.NDArray[Any]
# Patients of each class.
MIN_FOR_SLOPE = 50
MIN_UNLABELLED = 50


@dataclass(frozen=True, slots=True)
class SiteReport:
    """Figures on the hospital's radiographs, before and after; `after` is cross-fitted."""

    folder: Path
    before: Evaluation
    after: Evaluation
    changed: str


def recalibrate_for_site(
    settings: Settings,
    version: str,
    data: DataRequest,
    out: Path,
    *,
    unlabelled: Path | None = None,
    notes: tuple[str, ...] = (),
    who: str = "",
    report: Report = ignore,
) -> SiteReport:
    """Add a version whose threshold and intercept are those of a hospital's own radiographs.

    Parameters
    ----------
    settings
        The installation with `version`.
    version
        The version whose weights are kept.
    data
        The hospital's labelled radiographs; all of its splits are used.
    out
        Folder of the versions.
    unlabelled
        Folder of radiographs as they come at the hospital, for the prevalence; None to keep that of the version.
    notes
        Added to the card's notes.
    who
        By whom, for the ledger of test sets; "" for the user of the command line.
    report
        Called with the progress.

    Returns
    -------
    SiteReport
        With the folder of the new version.

    Raises
    ------
    DatasetError
        If there are too few patients.
    ClassifierError
        If the version cannot be used.
    """
    folder = version_folder(settings, version)
    card = verify(folder)
    found = scan(data)
    samples = (*found.train, *found.val, *found.test)
    refuse_few(samples)
    classifier = load_classifier(folder, architectures=settings.architectures)
    features: list[StyleFeatures] = []
    tick = counted(report, "assessing the labelled radiographs", len(samples))
    used, logits, _ = score_samples(classifier, samples, tick, features=features if card.styles else None)
    styles = styles_of(card, features)
    numbers = refuse_few(used)
    recorder(settings, "recalibrate", who or command_line_user())(used, (version,), data.title)
    labels, patients = np.array([s.label for s in used]), groups_of(used)

    everyone = np.ones(len(labels), bool)
    with_slope = min(numbers) >= MIN_FOR_SLOPE
    whole = _refit(card, labels, logits, patients, with_slope)
    what = "threshold, intercept and slope" if _slope(card, whole) != 1 else "threshold and intercept"
    changed = (
        f"Recalibrated from {version}: {what} were refitted on {len(used)} radiographs of {numbers[1]} patients with "
        f"pneumonia and {numbers[0]} without; the weights are unchanged. The validation figures are cross-fitted on "
        "these radiographs."
    )
    share, estimate = None, None
    if unlabelled is not None:
        estimate, n = _prevalence(classifier, whole.calibration, unlabelled, report)
        share = min(max(estimate.value, 0.5 / n), 1 - 0.5 / n)
        changed += (
            f" Probabilities are made for a prevalence of {share:.2f}, estimated from {n} unlabelled radiographs "
            f"{format_interval(estimate, 2, '95 % interval, with an exact calibration:')}."
        )

    def choose(chosen: npt.NDArray[np.bool_]) -> Scale:
        who = [one for one, kept in zip(patients, chosen, strict=True) if kept]
        fitted = _refit(card, labels[chosen], logits[chosen], who, with_slope)
        return fitted if share is None else _at(fitted, share)

    scale = choose(everyone)
    measured = cross_fit(labels, logits, patients, choose, scale)
    before = evaluate_scores(card, used, logits, "before recalibration", styles)
    created = datetime.now(UTC)
    site = {
        "digest": digest(used),
        "radiographs": len(used),
        "patients": dict(zip(CLASSES, numbers, strict=True)),
        "changed": what,
        "prevalence": share,
        "prevalence_ci": None if estimate is None else [estimate.low, estimate.high],
    }
    renewed = dataclasses.replace(
        card,
        version=next_version(out, settings, created.date()),
        parent=version,
        sha256="",
        created_at=created.isoformat(timespec="seconds"),
        data={**card.data, "recalibrated_on": site},
        calibration=scale.calibration,
        operating_point=measured.operating_point,
        purposes=measured.purposes,
        conformal=scale.conformal,
        cross_fit=measured.record,
        evaluations={"validation": measured.evaluation, "before_recalibration": before},
        robustness=(),
        notes=(*card.notes, changed, *notes),
    )
    renewed = with_validation_groups(renewed, used, styles, measured.scores, measured.cuts)
    make_folder(out)
    added = add_version(
        out,
        renewed,
        lambda path: shutil.copyfile(folder / card.weights_file, path),
        (lambda path: shutil.copyfile(folder / POPULATION, path)) if card.population_sha256 else None,
        folder / ANATOMY if card.anatomy_sha256 else None,
    )
    return SiteReport(added, before, renewed.evaluations["validation"], changed)


def _refit(card: ModelCard, labels: Array, logits: Array, patients: list[str], with_slope: bool) -> Scale:
    old = card.calibration
    p = probabilities(logits, old)
    found = calibration_measures(labels, p, old.prevalence, members(patients, len(labels)))
    if found is None:
        raise DatasetError(
            "expected radiographs of both classes. Received: one class", advice="Add radiographs of the other class."
        )
    calibration = Calibration(old.temperature, old.bias + found.intercept.value, old.prevalence)
    # A slope that may as well be 1 costs more in noise than it mends.
    if with_slope and found.slope.low > 0 and not found.slope.low <= 1 <= found.slope.high:
        slope = found.slope.value
        stretched = probabilities(logits, Calibration(old.temperature / slope, old.bias * slope, old.prevalence))
        again = calibration_measures(labels, stretched, old.prevalence, members(patients, len(labels)))
        shift = again.intercept.value if again is not None else 0.0
        calibration = Calibration(old.temperature / slope, old.bias * slope + shift, old.prevalence)
    score = probabilities(logits, calibration)
    # The borderline band keeps its width: how far a small change of the picture moves the network's logit.
    half = old.temperature * (_logit(card.operating_point.near_high) - _logit(card.operating_point.near_low)) / 2
    point = choose_operating_point(labels, logits, logits[None], logits[None] + half, calibration)
    point = dataclasses.replace(
        point, chosen=f"best balanced accuracy on {len(labels)} labelled radiographs of the hospital"
    )
    return Scale(
        calibration,
        point,
        operating_points_by_purpose(
            labels,
            score,
            None,
            f"{len(labels)} labelled radiographs of the hospital",
            patients,
            CONFIDENCE,
        ),
        conformal_levels(labels, score, patients),
    )


def _slope(card: ModelCard, scale: Scale) -> float:
    return card.calibration.temperature / scale.calibration.temperature


def _prevalence(classifier: Classifier, calibration: Calibration, folder: Path, report: Report) -> tuple[Measure, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    samples = [Sample(path, 0, str(path), False) for path in files]
    if len(samples) >= MIN_UNLABELLED:
        tick = counted(report, "assessing the unlabelled radiographs", len(samples))
        used, logits, _ = score_samples(classifier, samples, tick)
        if len(used) >= MIN_UNLABELLED:
            return prevalence_interval(probabilities(logits, calibration), calibration.prevalence), len(used)
        samples = used
    raise DatasetError(
        f"expected at least {MIN_UNLABELLED} readable unlabelled radiographs. Received: {len(samples)}",
        advice="Add radiographs to the folder, or leave the option out to keep the prevalence.",
    )


def _at(scale: Scale, prevalence: float) -> Scale:
    """Return the same decisions with probabilities for another prevalence."""
    old = scale.calibration
    shift = _logit(prevalence) - _logit(old.prevalence)

    def moved(p: float) -> float:
        return float(at_prevalence(np.array(p), old.prevalence, prevalence))

    def moved_point(point: OperatingPoint) -> OperatingPoint:
        cut, low, high = (moved(one) for one in (point.probability, point.near_low, point.near_high))
        return OperatingPoint(cut, min(low, cut), max(high, cut), point.chosen)

    def moved_purpose(one: PurposePoint) -> PurposePoint:
        return dataclasses.replace(one, probability=moved(one.probability))

    def moved_sets(one: ConformalSets) -> ConformalSets:
        return ConformalSets(one.alpha, moved(one.normal_up_to), moved(one.pneumonia_from))

    return Scale(
        Calibration(old.temperature, old.bias + shift, prevalence),
        moved_point(scale.operating_point),
        tuple(map(moved_purpose, scale.purposes)),
        tuple(map(moved_sets, scale.conformal)),
    )


def _logit(p: float) -> float:
    inside = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))

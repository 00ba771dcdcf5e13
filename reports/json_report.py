"""Report of an assessment as one printed page (PDF) or JSON, without the file name, which may identify the patient."""

from __future__ import annotations

import json
import math
from datetime import UTC
from typing import Any

from imaging.film import FilmHeader
from imaging.radiograph import Radiograph
from model.assessment import Assessment, Heatmap, Reading
from model.card import Evaluation, GroupResult, Measure, ModelCard
from model.measured_groups import is_good
from model.metrics import ppv_npv
from model.operating import rates_at
from reports.drawing import Drawing
from reports.pdf import draw_page
from reports.wording import NOT_A_DIAGNOSIS, NOT_AN_OUTLINE, evidence_warning, finding_words, has_reading

SCHEMA_VERSION = 2
PREVALENCE = 0.2
AS_FIRST_SHOWN = Drawing()


def report_json(
    assessment: Assessment, card: ModelCard, reading: Reading | None = None, *, prevalence: float = PREVALENCE
) -> str:
    """Return the report as JSON: everything that the page holds, without pixels; undefined and unknown values are null.

    `reports/report_schema.json` (JSON Schema, draft 2020-12) describes every key. A radiograph outside the training
    population has the status "outside" and no finding; its probability stays. The evidence map is always that for the
    finding, whichever the screen shows.

    Parameters
    ----------
    card
        The card of the version that assessed the radiograph.
    prevalence
        In [0, 1], for the predictive values.

    Raises
    ------
    ValueError
        For the card of another version, or a prevalence outside [0, 1].
    """
    _check(assessment, card, prevalence)
    prediction, heatmap = assessment.prediction, assessment.heatmap
    evaluation = card.evaluations.get("validation")
    content: dict[str, Any] = {
        "schema": "pneumolens.report",
        "schema_version": SCHEMA_VERSION,
        "status": "refused" if prediction is None else "outside" if assessment.is_outside else "assessed",
        "words": finding_words(assessment),
        "finding": None if prediction is None or assessment.is_outside else prediction.finding,
        "probability": prediction and prediction.probability,
        "operating_point": prediction and prediction.operating_point,
        "purpose": prediction and prediction.purpose,
        "is_near": prediction and prediction.is_near,
        "logit": prediction and _finite(prediction.logit),
        "stability": _stability(assessment),
        "population": _population(assessment),
        "groups": [_group(one) for one in assessment.groups],
        "lungs": _lungs(assessment),
        "issues": [{"code": i.code, "blocking": i.blocking, "message": i.message} for i in assessment.issues],
        "corrections": list(assessment.corrections),
        "turn": assessment.turn,
        "radiograph": _film(assessment.radiograph),
        "influence_map": heatmap
        and {
            "layer": heatmap.layer,
            "is_empty": heatmap.is_empty,
            "regions": _regions(assessment),
            "frame": _frame(heatmap),
        },
        "reading": _reading(reading),
        "classifier": {
            "version": card.version,
            "sha256": card.sha256,
            "architecture": card.architecture,
            "created_at": card.created_at,
        },
        "validation": _validation(assessment, evaluation, prevalence),
        "assessed_at": assessment.assessed_at.astimezone(UTC).isoformat(),
        "seconds": _finite(assessment.seconds),
        "intended_use": card.intended_use,
        "limitations": list(card.limitations),
        "notices": [NOT_A_DIAGNOSIS, NOT_AN_OUTLINE],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def report_pdf(
    assessment: Assessment,
    card: ModelCard,
    *,
    reading: Reading | None = None,
    drawing: Drawing = AS_FIRST_SHOWN,
    prevalence: float = PREVALENCE,
) -> bytes:
    """Return the report as one A4 page: radiograph, evidence map, finding, validation figures, verdict and remarks.

    The same arguments give the same bytes: the date is that of the assessment. Text without room on the page is cut,
    and the page says that `report_json` holds it.

    Parameters
    ----------
    card
        The card of the version that assessed the radiograph.
    drawing
        How radiograph and evidence map were displayed.
    prevalence
        In [0, 1], for the predictive values.

    Raises
    ------
    ValueError
        For the card of another version, a prevalence outside [0, 1], or a map against the finding without its cells.
    IndexError
        If the radiograph has no such rendering.
    ClassifierError
        If the card has no operating point for the purpose of the prediction.
    """
    _check(assessment, card, prevalence)
    return bytes(draw_page(assessment, card, reading, drawing, prevalence).output())


def _check(assessment: Assessment, card: ModelCard, prevalence: float) -> None:
    if assessment.classifier_version != card.version:
        raise ValueError(f"expected the card of version {assessment.classifier_version}. Received: {card.version}")
    if not 0 <= prevalence <= 1:
        raise ValueError(f"expected a prevalence in [0, 1]. Received: {prevalence}")


def _stability(assessment: Assessment) -> dict[str, Any] | None:
    stability = assessment.stability
    return (
        None
        if stability is None
        else {
            "low": stability.low,
            "high": stability.high,
            "changes": [{"change": change, "probability": probability} for change, probability in stability.changes],
        }
    )


def _population(assessment: Assessment) -> dict[str, Any] | None:
    population = assessment.population
    return (
        None
        if population is None
        else {
            "distance": _finite(population.distance),
            "threshold": _finite(population.threshold),
            "is_outside": population.is_outside,
            "neighbours": [{"label": one.label, "distance": _finite(one.distance)} for one in population.neighbours],
        }
    )


def _group(group: GroupResult) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "name": group.name,
        "n": group.n,
        "n_pneumonia": group.tp + group.fn,
        "n_normal": group.tn + group.fp,
        "sensitivity": _interval(group.sensitivity),
        "specificity": _interval(group.specificity),
        "auroc": _interval(group.auroc),
        "is_good": is_good(group),
    }


def _lungs(assessment: Assessment) -> dict[str, Any] | None:
    anatomy = assessment.anatomy
    return (
        None
        if anatomy is None
        else {
            "found": anatomy.is_found,
            "in_doubt": anatomy.is_doubtful,
            "share_of_image": sum(anatomy.areas),
            "no_chest": anatomy.no_chest,
        }
    )


def _frame(heatmap: Heatmap) -> dict[str, float] | None:
    frame = heatmap.frame
    return (
        None
        if frame is None
        else {
            "x": frame.x,
            "y": frame.y,
            "width": frame.width,
            "height": frame.height,
            "tilt_degrees": math.degrees(frame.tilt),
        }
    )


def _film(film: Radiograph | None) -> dict[str, Any] | None:
    return (
        None
        if film is None
        else {
            "sha256": film.sha256,
            "width": film.width,
            "height": film.height,
            "bits": film.bits,
            "source_format": film.source_format,
            "is_colour": film.is_colour,
            "header": _header(film.header),
        }
    )


def _header(header: FilmHeader | None) -> dict[str, Any] | None:
    return (
        None
        if header is None
        else {
            "modality": header.modality,
            "view_position": header.view_position,
            "body_part": header.body_part,
            "laterality": header.laterality,
            "age_years": _finite(header.age_years),
            "sex": header.sex,
            "photometric": header.photometric,
            "orientation": header.orientation and list(header.orientation),
            "pixel_mm": header.pixel_mm and [_finite(side) for side in header.pixel_mm],
        }
    )


def _regions(assessment: Assessment) -> dict[str, Any] | None:
    regions = assessment.regions
    return (
        None
        if regions is None
        else {
            "outside": _finite(regions.outside),
            "warning": evidence_warning(assessment),
            "shares": [{"zone": zone, "share": _finite(share)} for zone, share in regions.shares],
        }
    )


def _reading(reading: Reading | None) -> dict[str, Any] | None:
    if reading is None or not has_reading(reading):
        return None
    # A lone half of a surrogate pair can be neither written nor sent.
    return {"verdict": reading.verdict, "remarks": reading.remarks.encode("utf-8", "replace").decode("utf-8")}


def _validation(assessment: Assessment, evaluation: Evaluation | None, prevalence: float) -> dict[str, Any] | None:
    """Return the card's figures, and rates and predictive values at this prediction's operating point."""
    if evaluation is None:
        return None
    here = None
    if assessment.prediction and {"sensitivity", "specificity"} <= evaluation.measures.keys():
        rates = rates_at(evaluation, assessment.prediction.operating_point)
        ppv, npv = ppv_npv(rates.sensitivity.value, rates.specificity.value, prevalence)
        here = {
            "operating_point": assessment.prediction.operating_point,
            "sensitivity": _interval(rates.sensitivity),
            "specificity": _interval(rates.specificity),
            "prevalence": prevalence,
            "ppv": _finite(ppv),
            "npv": _finite(npv),
        }
    return {
        "split": evaluation.split,
        "n": evaluation.n,
        "n_pneumonia": evaluation.tp + evaluation.fn,
        "n_normal": evaluation.tn + evaluation.fp,
        "unit": evaluation.unit,
        "operating_point": evaluation.operating_point,
        **{name: _interval(evaluation.measures.get(name)) for name in ("sensitivity", "specificity", "auroc")},
        "at_this_operating_point": here,
    }


def _interval(measure: Measure | None) -> dict[str, float | None] | None:
    if measure is None:
        return None
    return {"value": _finite(measure.value), "low": _finite(measure.low), "high": _finite(measure.high)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

"""Assessment → one printed page (PDF) or JSON. Neither holds the file's name, which may be a patient's."""

from __future__ import annotations

import json
import math
from datetime import UTC
from typing import Any

from model.assessment import Assessment
from model.card import Measure, ModelCard
from model.report_page import NOT_A_DIAGNOSIS, NOT_AN_OUTLINE, Mode, draw_page

SCHEMA_VERSION = 1


def report_json(assessment: Assessment, card: ModelCard) -> str:
    """Return the report as JSON: everything the page says and no pixels. What is undefined or unknown is null.

    - schema, schema_version: "pneumolens.report" and the version of these keys
    - status: "assessed" or "refused"; words: the finding as the page says it
    - finding: "PNEUMONIA", "NO_PNEUMONIA" or null; probability, operating_point, is_near, logit: of this radiograph
    - issues: list of {code, blocking, message}
    - radiograph: {sha256 of the file, width, height, bits, source_format, is_colour}, null if it was unreadable
    - influence_map: {layer, is_empty}
    - classifier: {version, sha256, architecture, created_at}
    - validation: {split, n, n_pneumonia, n_normal, unit, operating_point, sensitivity, specificity, auroc}; the last
      three are {value, low, high}, with their 95 % interval
    - assessed_at: ISO 8601 in UTC; seconds: how long it took
    - intended_use, limitations, notices: as printed

    Raises ValueError if the card is another classifier version's.
    """
    _check_version(assessment, card)
    prediction, film, heatmap = assessment.prediction, assessment.radiograph, assessment.heatmap
    evaluation = card.evaluations.get("validation")
    content: dict[str, Any] = {
        "schema": "pneumolens.report", "schema_version": SCHEMA_VERSION,
        "status": "refused" if assessment.is_refused else "assessed",
        "words": _words(assessment),
        "finding": prediction and prediction.finding,
        "probability": prediction and prediction.probability,
        "operating_point": prediction and prediction.operating_point,
        "is_near": prediction and prediction.is_near,
        "logit": prediction and prediction.logit,
        "issues": [{"code": i.code, "blocking": i.blocking, "message": i.message} for i in assessment.issues],
        "radiograph": film and {
            "sha256": film.sha256, "width": film.width, "height": film.height, "bits": film.bits,
            "source_format": film.source_format, "is_colour": film.is_colour},
        "influence_map": heatmap and {"layer": heatmap.layer, "is_empty": heatmap.is_empty},
        "classifier": {"version": card.version, "sha256": card.sha256, "architecture": card.architecture,
                       "created_at": card.created_at},
        "validation": evaluation and {
            "split": evaluation.split, "n": evaluation.n, "n_pneumonia": evaluation.tp + evaluation.fn,
            "n_normal": evaluation.tn + evaluation.fp, "unit": evaluation.unit,
            "operating_point": evaluation.operating_point,
            **{name: _finite(evaluation.measures.get(name)) for name in ("sensitivity", "specificity", "auroc")}},
        "assessed_at": assessment.assessed_at.astimezone(UTC).isoformat(), "seconds": assessment.seconds,
        "intended_use": card.intended_use, "limitations": list(card.limitations),
        "notices": [NOT_A_DIAGNOSIS, NOT_AN_OUTLINE],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def report_pdf(
    assessment: Assessment, card: ModelCard, *, opacity: float = 0.5, mode: Mode = "overlay"
) -> bytes:
    """Return the report as one A4 page: both pictures, the finding and what it is worth.

    `opacity`, in [0, 1], and `mode` draw the influence map as the reader had it on the screen. The same arguments
    always give the same bytes: the date is that of the assessment. A refused assessment gives a page that says why.

    Raises ValueError for an unknown mode, an opacity outside [0, 1], or another classifier version's card.
    """
    _check_version(assessment, card)
    if mode not in ("overlay", "contour"):
        raise ValueError(f"expected the mode overlay or contour. Received: {mode!r}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1]. Received: {opacity}")
    return bytes(draw_page(assessment, card, opacity, mode).output())


def _check_version(assessment: Assessment, card: ModelCard) -> None:
    if assessment.classifier_version != card.version:
        raise ValueError(f"expected the card of version {assessment.classifier_version}. Received: {card.version}")


def _words(assessment: Assessment) -> str:
    if assessment.prediction is not None:
        return assessment.prediction.words
    return "Not assessed: " + " ".join(issue.message for issue in assessment.issues if issue.blocking)


def _finite(measure: Measure | None) -> dict[str, float | None] | None:
    if measure is None:
        return None
    values = {"value": measure.value, "low": measure.low, "high": measure.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}

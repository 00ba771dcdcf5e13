"""Assessments as lines: one JSON object or one row of a spreadsheet for each film.

A film outside the classifier's population has neither finding, so that no list that is made by finding holds it. A
spreadsheet is sorted by its columns, so there its probability stands in a column of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

from model.assessment import Assessment

# Excel, LibreOffice and Google Sheets take what begins like this for a formula (OWASP, "CSV injection").
_FORMULAE = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
ASIDE = "probability_outside_population"


def line(assessment: Assessment) -> dict[str, Any]:
    """Return one film as a JSON object.

    - status: "assessed", "outside" when the film is unlike the training population by its looks or an adult's by its
      header, or "refused"
    - finding: "PNEUMONIA", "NO_PNEUMONIA", or null when refused or outside the population
    - probability, operating_point, near_operating_point: null when refused; purpose: what the operating point is for
    - population_distance and population_threshold: how unlike the training population the film is and from where on it
      is outside, null where the classifier does not know
    - corrections: what was done to the picture before, in words; turn: by how many degrees clockwise it should be
      turned to stand upright
    - issues: [{code, blocking, message}]
    - classifier_version; assessed_at in UTC; seconds: how long it took; sha256 of the file, null if it was unreadable
    """
    prediction, population = assessment.prediction, assessment.population
    return {
        "status": "refused" if prediction is None else "outside" if assessment.is_outside else "assessed",
        "finding": prediction.finding if prediction and not assessment.is_outside else None,
        "probability": round(prediction.probability, 6) if prediction else None,
        "operating_point": prediction.operating_point if prediction else None,
        "near_operating_point": prediction.is_near if prediction else None,
        "purpose": prediction.purpose if prediction else None,
        "population_distance": round(population.distance, 4) if population else None,
        "population_threshold": round(population.threshold, 4) if population else None,
        "corrections": list(assessment.corrections),
        "turn": assessment.turn,
        "issues": [{"code": i.code, "blocking": i.blocking, "message": i.message} for i in assessment.issues],
        "classifier_version": assessment.classifier_version,
        "assessed_at": assessment.assessed_at.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": round(assessment.seconds, 4),
        "sha256": assessment.radiograph.sha256 if assessment.radiograph else None,
    }


def row(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a line as cells: what is unknown is empty, and the probability of a film outside its population aside.

    Text that a spreadsheet would take for a formula gets an apostrophe in front. Numbers stay numbers.
    """
    is_outside = bool(values.get("status") == "outside")
    cells: dict[str, str] = {}
    for name, value in values.items():
        if name == "issues":
            cells["issues"] = " ".join(issue["code"] for issue in value)
            cells["messages"] = _text(" ".join(issue["message"] for issue in value))
        elif name == "probability":
            cells["probability"] = "" if is_outside else _cell(value)
            cells[ASIDE] = _cell(value) if is_outside else ""
        else:
            cells[name] = _cell(value)
    return cells


def csv_text(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return lines as a CSV file's text with its heading (RFC 4180); all have the same keys. Empty without lines."""
    rows = [row(one) for one in lines]
    if not rows:
        return ""
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    return _text("; ".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else str(value))


def _text(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULAE) else text

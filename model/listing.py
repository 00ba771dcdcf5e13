"""Assessments as lines: one JSON object or one row of a spreadsheet a film.

A film outside the training population has no finding, so it is on no list that is made by finding. A spreadsheet is
sorted by its columns, so there its probability has a column of its own.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

from core.printable import spreadsheet_text
from model.assessment import Assessment
from model.card import GroupResult, Measure
from model.measured_groups import group_name, is_good

ASIDE = "probability_outside_population"


def line(assessment: Assessment) -> dict[str, Any]:
    """Return one film as a JSON object.

    - status: "assessed", "outside" (outside the training population by features, age or group), or "refused"
    - finding: "PNEUMONIA", "NO_PNEUMONIA", or null when refused or outside
    - probability, operating_point, near_operating_point: null when refused; purpose: of the operating point
    - population_distance and population_threshold: distance from the training population and its limit, null for
      versions without one
    - corrections: what was done to the image first, in words; turn: clockwise rotation that would bring it upright
    - issues: [{code, blocking, message}]
    - lungs: {found, in_doubt, share_of_image, no_chest} as the anatomy network outlined them; null for versions that do
      not look for them
    - groups: [{name, specificity, sensitivity, n_normal, n_pneumonia, is_good}], what validation measured on
      radiographs of this age and projection; a rate is {value, low, high}, null where it was not measured
    - classifier_version; assessed_at in UTC; seconds: duration; sha256 of the file, null if it was unreadable
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
        "lungs": _lungs(assessment),
        "groups": [_group(one) for one in assessment.groups],
        "classifier_version": assessment.classifier_version,
        "assessed_at": assessment.assessed_at.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": round(assessment.seconds, 4),
        "sha256": assessment.radiograph.sha256 if assessment.radiograph else None,
    }


def _lungs(assessment: Assessment) -> dict[str, Any] | None:
    if (anatomy := assessment.anatomy) is None:
        return None
    return {
        "found": anatomy.is_found,
        "in_doubt": anatomy.is_doubtful,
        "share_of_image": round(sum(anatomy.areas), 4),
        "no_chest": round(anatomy.no_chest, 4),
    }


def _group(group: GroupResult) -> dict[str, Any]:
    return {
        "name": group_name(group),
        "specificity": _rate(group.specificity),
        "sensitivity": _rate(group.sensitivity),
        "n_normal": group.tn + group.fp,
        "n_pneumonia": group.tp + group.fn,
        "is_good": is_good(group),
    }


def _rate(measure: Measure) -> dict[str, float] | None:
    if math.isnan(measure.value):
        return None
    return {"value": round(measure.value, 4), "low": round(measure.low, 4), "high": round(measure.high, 4)}


def row(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a line as cells; null is empty, and the probability of a film outside the population has its own column.

    Text that a spreadsheet would read as a formula gets an apostrophe in front; control
    characters are escaped. Numbers stay numbers.
    """
    is_outside = bool(values.get("status") == "outside")
    cells: dict[str, str] = {}
    for name, value in values.items():
        if name == "issues":
            cells["issues"] = " ".join(issue["code"] for issue in value)
            cells["messages"] = spreadsheet_text(" ".join(issue["message"] for issue in value))
        elif name == "probability":
            cells["probability"] = "" if is_outside else _cell(value)
            cells[ASIDE] = _cell(value) if is_outside else ""
        elif name == "lungs":
            cells["lungs"] = _lungs_cell(value)
        elif name == "groups":
            cells["groups"] = spreadsheet_text("; ".join(map(_group_cell, value)))
        else:
            cells[name] = _cell(value)
    return cells


def _lungs_cell(lungs: Mapping[str, Any] | None) -> str:
    if lungs is None:
        return ""
    return "not found" if not lungs["found"] else "in doubt" if lungs["in_doubt"] else "found"


def _group_cell(group: Mapping[str, Any]) -> str:
    rates = (f"{name} {group[name]['value']:.2f}" for name in ("specificity", "sensitivity") if group[name])
    return f"{group['name']}: {', '.join(rates)}"


def csv_text(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return lines with the same keys as the text of a CSV file with its heading (RFC 4180). Empty without lines."""
    lines = list(lines)
    return csv_heading(lines[0]) + "".join(csv_row(one) for one in lines) if lines else ""


def csv_heading(values: Mapping[str, Any]) -> str:
    """Return the heading of a CSV file (RFC 4180) of lines with the keys of this one."""
    return _record(row(values).keys())


def csv_row(values: Mapping[str, Any], columns: Sequence[str] = ()) -> str:
    """Return a line as a record of a CSV file (RFC 4180).

    Parameters
    ----------
    values
        As `line` returns them.
    columns
        Of the file, where an earlier version began it; empty for all.
    """
    cells = row(values)
    return _record([cells.get(name, "") for name in columns] if columns else cells.values())


def _record(cells: Iterable[str]) -> str:
    target = io.StringIO()
    csv.writer(target).writerow(cells)
    return target.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return spreadsheet_text("; ".join(value) if is_list else str(value))

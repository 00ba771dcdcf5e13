"""The table of films: its rows, the sentence that counts the findings, and the component that draws it.

Sorted here and not in the browser, so that the keys for the next film follow the order on the screen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from core.formatting import format_age, format_count, format_probability
from imaging.film import FilmHeader
from model.assessment import Assessment
from pages.reading.components import mount_component
from pages.reading.films import Film

TABLE = "read.table"
OUTSIDE = "Outside the training population"
_NOT_ASSESSED = "Not assessed"
_SEXES = {"F": "female", "M": "male", "O": "other sex"}


def film_row(film: Film, assessment: Assessment) -> dict[str, Any]:
    """Return a film's row from its assessment at the reader's operating point.

    An image outside the training population has neither a finding nor a probability that can be compared.
    """
    prediction = None if assessment.is_outside else assessment.prediction
    warnings = " ".join(assessment.reasons or [issue.message for issue in assessment.issues])
    side = "none"
    if prediction is not None:
        side = "near" if prediction.is_near else "above" if prediction.finding == "PNEUMONIA" else "below"
    return {
        "number": film.number,
        "file": film.name,
        "finding": short_finding(assessment),
        "side": side,
        "probability": format_probability(prediction.probability) if prediction else "–",
        "warnings": warnings,
    }


def queued_row(name: str, state: str) -> dict[str, Any]:
    """Return the row of a file that is not assessed yet; `state` is shown in place of the finding."""
    return {"number": None, "file": name, "finding": state, "side": "", "probability": "", "warnings": ""}


def show_table(
    rows: Sequence[dict[str, Any]], order: str, shown: int, on_press: Callable[[], None], on_sort: Callable[[], None]
) -> None:
    """Draw the rows, with the film on the screen marked.

    `on_press` and `on_sort` are called after a row or a heading was pressed; `pressed` and `sorted_by` then return it.
    """
    mount_component(
        "table",
        key=TABLE,
        data={"lines": list(rows), "order": order, "shown": shown},
        on_pressed_change=on_press,
        on_sorted_change=on_sort,
    )


def pressed() -> int | None:
    """Return the number of the film whose row was pressed."""
    number = _component_state("pressed")
    return number if type(number) is int else None


def sorted_by() -> str | None:
    """Return the order whose heading was pressed."""
    order = _component_state("sorted")
    return order if isinstance(order, str) else None


def _component_state(name: str) -> object:
    return (st.session_state.get(TABLE) or {}).get(name)


def short_finding(assessment: Assessment) -> str:
    """Return the finding in the short form of a row."""
    if assessment.prediction is None:
        return _NOT_ASSESSED
    return OUTSIDE if assessment.is_outside else assessment.prediction.words.split(" (")[0]


def summary(assessments: Sequence[Assessment]) -> str:
    """Count the findings, the most urgent first."""
    words = Counter(short_finding(one) for one in assessments)
    order = ("Pneumonia likely", "Borderline", "Pneumonia unlikely", OUTSIDE, _NOT_ASSESSED)
    names = {name: name[0].lower() + name[1:] for name in order}
    counted = [f"{words[name]} {names[name]}" for name in order if words[name]]
    return f"{format_count(len(assessments), 'image')}: {', '.join(counted)}." if counted else "No image assessed yet."


def header_summary(header: FilmHeader | None) -> str:
    """Return what a DICOM header says that identifies nobody: age, sex, view position and body part."""
    if header is None:
        return ""
    parts = [
        format_age(header.age_years) if header.age_years is not None else None,
        _SEXES.get(header.sex or ""),
        header.view_position,
        header.body_part.capitalize() if header.body_part else None,
    ]
    return ", ".join(one for one in parts if one)

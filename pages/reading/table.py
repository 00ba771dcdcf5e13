"""The table of the queue: what stands in a film's line, the sentence that sums them up, and drawing it.

Drawn by the files of `table_component`, and sorted here: a table that the browser sorts by itself would part what the
eye sees from what the keys for the next film walk through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from core.formatting import format_age, format_probability
from imaging.film import FilmHeader
from model.assessment import Assessment
from pages.reading.films import Film

TABLE = "read.table"
OUTSIDE = "Outside the training population"
_NOT_ASSESSED = "Not assessed"
_SEXES = {"F": "female", "M": "male", "O": "other sex"}
_COMPONENT = Path(__file__).parent / "table_component"


def line(film: Film, assessment: Assessment) -> dict[str, Any]:
    """Return a film's line; `assessment` is its assessment at the reader's operating point.

    A film outside the classifier's population has neither finding nor a probability to be compared with others'.
    """
    prediction = None if assessment.is_outside else assessment.prediction
    warnings = " ".join(assessment.reasons or [issue.message for issue in assessment.issues])
    side = "none"
    if prediction is not None:
        side = "near" if prediction.is_near else "above" if prediction.finding == "PNEUMONIA" else "below"
    return {
        "number": film.number,
        "file": film.name,
        "finding": finding(assessment),
        "side": side,
        "probability": format_probability(prediction.probability) if prediction else "–",
        "warnings": warnings,
    }


def waiting_line(name: str, state: str) -> dict[str, Any]:
    """Return the line of a file of which nothing is known yet but that it waits, or is being read."""
    return {"number": None, "file": name, "finding": state, "side": "", "probability": "", "warnings": ""}


def show_table(
    lines: Sequence[dict[str, Any]], order: str, shown: int, on_press: Callable[[], None], on_sort: Callable[[], None]
) -> None:
    """Draw the lines, with the film on the screen marked.

    `on_press` and `on_sort` are called after a line or a heading was pressed; `pressed` and `sorted_by` then say which.
    """
    _component()(
        key=TABLE,
        data={"lines": list(lines), "order": order, "shown": shown},
        on_pressed_change=on_press,
        on_sorted_change=on_sort,
    )


def pressed() -> int | None:
    """Return the number of the film whose line was pressed."""
    number = _component_state("pressed")
    return number if type(number) is int else None


def sorted_by() -> str | None:
    """Return the order whose heading was pressed."""
    order = _component_state("sorted")
    return order if isinstance(order, str) else None


def _component_state(name: str) -> object:
    return (st.session_state.get(TABLE) or {}).get(name)


@cache
def _component() -> Any:
    parts = {kind: (_COMPONENT / f"table.{kind}").read_text("utf-8") for kind in ("html", "css", "js")}
    return st.components.v2.component("pneumolens_table", **parts)


def finding(assessment: Assessment) -> str:
    """Return the finding as short as a line has room for."""
    if assessment.prediction is None:
        return _NOT_ASSESSED
    return OUTSIDE if assessment.is_outside else assessment.prediction.words.split(" (")[0]


def summary(assessment: Sequence[Assessment]) -> str:
    """Count the findings, those to be looked at first in front."""
    words = Counter(finding(one) for one in assessment)
    order = ("Pneumonia likely", "Borderline", "Pneumonia unlikely", OUTSIDE, _NOT_ASSESSED)
    names = {name: name[0].lower() + name[1:] for name in order}
    counted = [f"{words[name]} {names[name]}" for name in order if words[name]]
    films = "film" if len(assessment) == 1 else "films"
    return f"{len(assessment)} {films}: {', '.join(counted)}." if counted else "No film read yet."


def facts(header: FilmHeader | None) -> str:
    """Say what a DICOM file tells of the film and what names nobody: age, sex, view and body part."""
    if header is None:
        return ""
    said = [
        format_age(header.age_years) if header.age_years is not None else None,
        _SEXES.get(header.sex or ""),
        header.view_position,
        header.body_part.capitalize() if header.body_part else None,
    ]
    return ", ".join(one for one in said if one)

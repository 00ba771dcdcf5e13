"""Tables of the Performance page on calibration, purposes and conformal sets, as HTML; "" where a card lacks them.

Older cards lack them, and what stands in a card is data from elsewhere: figures that are none are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from core.formatting import (
    format_count,
    format_interval,
    format_percentage,
    format_rate,
    format_signed,
    format_signed_interval,
)
from model.card import CalibrationMeasures, Measure, ModelCard
from pages.shared.measures import VALIDATION, split_name

_ROWS = {
    "Calibration intercept": ("intercept", "0 is ideal"),
    "Calibration slope": ("slope", "1 is ideal"),
    "Calibration error (ECE), debiased": ("ece", "0 is ideal"),
}
_SHARES = {
    "coverage_normal": "Normal radiographs: set holds NORMAL",
    "coverage_pneumonia": "Pneumonia radiographs: set holds PNEUMONIA",
    "single": "Sets of one class",
}


def calibration_table(card: ModelCard, names: Sequence[str]) -> str:
    """Return the measures of calibration on the evaluation sets `names` that have them, as a table."""
    found = [(name, one) for name in names if (one := card.evaluations[name].calibration) is not None]
    if not found:
        return ""
    head = "".join(
        f"<th>{escape(split_name(name))}<span>n = {card.evaluations[name].n}</span></th>" for name, _ in found
    )
    rows = "".join(
        f"<tr><th>{label}<span>{ideal}</span></th>"
        + "".join(f"<td>{(signed_cell if key == 'intercept' else cell)(_measure(one, key))}</td>" for _, one in found)
        + "</tr>"
        for label, (key, ideal) in _ROWS.items()
    )
    prevalences = " and ".join(sorted({format_percentage(one.prevalence) for _, one in found}))
    return (
        '<div class="pl-wide"><table class="pl-table"><caption>Calibration at the prevalence of the calibration, '
        f"{prevalences}</caption><tr><th></th>{head}</tr>{rows}</table></div>"
    )


def cross_fit_sentence(card: ModelCard) -> str:
    """Return that figures come from patients on whom nothing was chosen, and from how many; "" for other cards."""
    folds, patients = card.cross_fit.get("folds"), card.cross_fit.get("patients")
    if not isinstance(folds, int) or folds < 2:
        return ""
    of = ""
    if isinstance(patients, Mapping) and all(isinstance(patients.get(name), int) for name in ("normal", "pneumonia")):
        of = f" over {patients['pneumonia']} patients with and {patients['normal']} without pneumonia"
    return f"Reported on patients on whom it was not chosen: cross-fitted in {format_count(folds, 'fold')}{of}."


def is_cross_fitted(card: ModelCard, name: str) -> bool:
    """Return whether the evaluation `name` of a card is cross-fitted, by its sentence on the choice of points."""
    first = name == VALIDATION
    return bool(cross_fit_sentence(card)) and (first or (name == f"{VALIDATION}_shifted" and _says_so(card)))


def purposes_sentence(card: ModelCard) -> str:
    """Return on whom the rates of the purposes were measured."""
    said = cross_fit_sentence(card)
    if not said:
        return "Measured on the validation patients."
    return f"{said} Their thresholds were chosen in the same way on fewer patients, and may differ from these."


def purpose_cells(card: ModelCard, purpose: str, sensitivity: float, specificity: float) -> str:
    """Return two table cells: the rates of a purpose, with their intervals where the card has them.

    Parameters
    ----------
    card
        The card.
    purpose
        Name of the purpose.
    sensitivity, specificity
        On the card, in [0, 1].
    """
    rates = card.cross_fit.get("purposes")
    own = rates.get(purpose) if isinstance(rates, Mapping) else None
    cells = ""
    for name, value in (("sensitivity", sensitivity), ("specificity", specificity)):
        measure = interval_of(own.get(name)) if isinstance(own, Mapping) else None
        cells += f"<td>{format_rate(value, 3) if measure is None else cell(measure)}</td>"
    return cells


def conformal_table(card: ModelCard) -> str:
    """Return how often the conformal sets of new patients hold their class, as a table."""
    levels = card.cross_fit.get("conformal")
    if not cross_fit_sentence(card) or not isinstance(levels, Sequence) or isinstance(levels, str):
        return ""
    rows = ""
    for level in levels:
        if not isinstance(level, Mapping) or not isinstance(level.get("alpha"), float):
            continue
        measures = [interval_of(level.get(key)) for key in _SHARES]
        cells = "".join(f"<td>{'–' if one is None else cell(one)}</td>" for one in measures)
        rows += f"<tr><th>{format_percentage(1 - level['alpha'])} or more</th>{cells}</tr>"
    if not rows:
        return ""
    head = "".join(f"<th>{words}</th>" for words in _SHARES.values())
    return (
        '<div class="pl-wide"><table class="pl-table"><caption>Conformal sets</caption>'
        f'<tr><th>Intended share</th>{head}</tr>{rows}</table></div><p class="pl-note">'
        f"{cross_fit_sentence(card)} A conformal set holds the findings that a radiograph’s probability does not "
        "exclude.</p>"
    )


def interval_of(values: Any) -> Measure | None:
    """Return the figure and ends that stand in a card as three numbers; None for anything else.

    Parameters
    ----------
    values
        Of a parsed card.
    """
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    numbers = [math.nan if one is None else one for one in values]
    if not all(isinstance(one, int | float) for one in numbers) or math.isnan(numbers[0]):
        return None
    return Measure(*(float(one) for one in numbers))


def cell(measure: Measure) -> str:
    """Return a measure and its interval as the content of a table cell."""
    return "–" if math.isnan(measure.value) else f"{measure.value:.3f} <span>{format_interval(measure, 3)}</span>"


def signed_cell(measure: Measure) -> str:
    """Return a measure that may be negative and its interval as the content of a table cell."""
    if math.isnan(measure.value):
        return "–"
    return f"{format_signed(measure.value, 3)} <span>{format_signed_interval(measure, 3)}</span>"


def _measure(found: CalibrationMeasures, name: str) -> Measure:
    measure: Measure = getattr(found, name)
    return measure


def _says_so(card: ModelCard) -> bool:
    return "cross-fitted" in card.operating_point.chosen

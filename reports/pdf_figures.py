"""Figures beside a probability: its scale with the validation distributions, and rates with intervals."""

from __future__ import annotations

import math

from fpdf import FPDF

from core.formatting import format_estimate, format_percentage, format_probability
from model.assessment import Prediction
from model.card import Evaluation, Measure
from model.metrics import ppv_npv
from model.operating import rates_at
from reports.pdf_text import GREY, HAIR, INK, Colour, paragraph, stroke, text, width_of
from reports.wording import point_words

# The screen's amber and green, darkened for white paper.
ABOVE, BELOW = (190, 122, 36), (70, 132, 110)
INDENT = 27.0
_COUNTED = 92.0


def draw_scale(pdf: FPDF, x: float, y: float, width: float, prediction: Prediction, evaluation: Evaluation) -> float:
    """Draw probability and operating point among the distributions of the validation radiographs of both classes.

    Parameters
    ----------
    pdf
        The document.
    x, y
        Left and upper edge in mm.
    width
        In mm.
    prediction
        Probability and operating point, in [0, 1].
    evaluation
        Its histograms are drawn on a square-root scale.

    Returns
    -------
    float
        Lower end of the figure in mm.
    """
    left, across, row, top = x + INDENT, width - INDENT - 2, 9.0, y + 7
    axis = top + 2 * row + 2
    rows = (("Pneumonia", evaluation.histogram_pneumonia, ABOVE), ("Normal", evaluation.histogram_normal, BELOW))
    for position, (name, counts, colour) in enumerate(rows):
        floor = top + (position + 1) * row + 2 * position
        text(pdf, x, floor - 4.3, name, 8.5, bold=True)
        text(pdf, x, floor - 0.8, f"n = {sum(counts)}", 7.5, GREY)
        _bars(pdf, left, floor, across, row - 1, counts, colour)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        stroke(pdf, left + tick * across, axis, left + tick * across, axis + 1.2, GREY)
        text(pdf, left + tick * across, axis + 4.4, f"{tick:.2f}", 7.5, GREY, align="C")
    here, point = (left + value * across for value in (prediction.probability, prediction.operating_point))
    pdf.set_dash_pattern(dash=1.2, gap=0.8)
    stroke(pdf, point, top - 0.8, point, axis, INK, 0.35)
    pdf.set_dash_pattern()
    stroke(pdf, here, top - 4.4, here, axis, INK, 0.6)
    pdf.set_fill_color(*INK)
    pdf.circle(here, top - 4.4, 1.1, style="F")
    half = left + across / 2
    this = f"this radiograph {format_probability(prediction.probability)}"
    text(pdf, here + (2 if here < half else -2), top - 3.6, this, 8, bold=True, align="L" if here < half else "R")
    label = f"operating point {prediction.operating_point:.2f}"
    wide = width_of(label, 7.5) + 1.2
    if point + wide <= left + across and not point <= here <= point + wide:
        edge, rightwards = point, True
    elif point - wide >= x and not point - wide <= here <= point:
        edge, rightwards = point, False
    else:  # beyond the other line, which is too close
        rightwards = point + wide <= left + across
        edge = max(point, here) if rightwards else min(point, here)
    text(pdf, edge + (1.2 if rightwards else -1.2), top + 0.6, label, 7.5, GREY, align="L" if rightwards else "R")
    return (
        paragraph(
            pdf,
            left - 1,
            axis + 5.2,
            across,
            "Probability of pneumonia. Bars: validation radiographs by class (square-root scale).",
            7.5,
            GREY,
        )
        + 2
    )


def draw_rates(
    pdf: FPDF, x: float, y: float, prediction: Prediction, evaluation: Evaluation, prevalence: float
) -> float:
    """Print sensitivity, specificity, AUROC and predictive values, each with its interval and number of radiographs.

    At another operating point than the evaluation's own, rates come from its histograms and the page says so.

    Parameters
    ----------
    x, y
        Millimetres from the page's left and upper edge.
    prevalence
        In [0, 1].

    Returns
    -------
    float
        Where the rows end, in mm from the upper edge.
    """
    is_own = prediction.operating_point == evaluation.operating_point
    if not {"sensitivity", "specificity"} <= evaluation.measures.keys():
        return y
    rates = rates_at(evaluation, prediction.operating_point)
    counted = (
        (
            f"{evaluation.tp} of {rates.positive} radiographs with pneumonia",
            f"{evaluation.tn} of {rates.negative} radiographs without",
        )
        if is_own
        else (
            f"from the histogram of {rates.positive} with pneumonia",
            f"from the histogram of {rates.negative} without",
        )
    )
    rows = [
        ("Sensitivity", _with_interval(rates.sensitivity), counted[0]),
        ("Specificity", _with_interval(rates.specificity), counted[1]),
        (
            "AUROC",
            _with_interval(evaluation.measures.get("auroc"), 3),
            f"{evaluation.n} radiographs, independent of the operating point",
        ),
    ]
    values = ppv_npv(rates.sensitivity.value, rates.specificity.value, prevalence)
    if all(math.isfinite(value) for value in values):
        rows.append(
            (
                "PPV and NPV",
                " and ".join(format_probability(value) for value in values),
                f"at a prevalence of {format_percentage(prevalence)}",
            )
        )
    text(pdf, x, y + 3, f"On validation patients at the operating point {point_words(prediction)}", 9, bold=True)
    for name, figure, behind in rows:
        y += 4.6
        text(pdf, x, y + 3, name, 8.5)
        text(pdf, x + INDENT, y + 3, figure, 8.5)
        text(pdf, x + _COUNTED, y + 3, behind, 8.5, GREY)
    return y + 8


def _bars(
    pdf: FPDF, x: float, floor: float, width: float, height: float, counts: tuple[int, ...], colour: Colour
) -> None:
    pdf.set_fill_color(*colour)
    tallest, step = max(max(counts, default=0), 1), width / max(1, len(counts))
    for k, count in enumerate(counts):
        # The square root keeps the few misclassified radiographs visible.
        tall = height * math.sqrt(count / tallest)
        if count:
            pdf.rect(x + k * step + 0.1, floor - tall, step - 0.2, tall, style="F")
    stroke(pdf, x, floor, x + width, floor, HAIR)


def _with_interval(measure: Measure | None, decimals: int = 2) -> str:
    if measure is None or not math.isfinite(measure.value):
        return "not defined"
    return format_estimate(measure, decimals, "95 % interval")

"""Sets the printed report: one A4 page with the core fonts, so that no font file has to be shipped."""

from __future__ import annotations

import io
import math
import unicodedata
from datetime import UTC
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from fpdf import FPDF
from PIL import Image

from model.assessment import Assessment, Prediction
from model.card import Evaluation, Measure, ModelCard
from model.gradcam import colour_table, contour, overlay
from model.metrics import ppv_npv
from model.radiograph import Radiograph, to_uint8

Mode = Literal["overlay", "contour"]
NOT_A_DIAGNOSIS = "Decision support, not a diagnosis."
NOT_AN_OUTLINE = ("The influence map shows which regions raised the probability, scaled to the strongest of them. "
                  "It is not the outline of a lesion.")
PREVALENCE = 0.2

# The page is 210 × 297 mm. Lengths are in mm, type sizes in points; _LEADING is mm of line height for each point.
_LEFT, _RIGHT, _TOP, _BOTTOM, _INDENT, _LEADING = 15.0, 195.0, 13.0, 286.0, 27.0, 0.46
_PICTURE_WIDTH, _PICTURE_HEIGHT, _PRINT_PX = 87.0, 80.0, 1000
_INK, _GREY, _HAIR = (24, 29, 36), (92, 101, 112), (201, 207, 214)
# The screen's amber and green, darkened until they carry on white paper.
_ABOVE, _BELOW = (190, 122, 36), (70, 132, 110)


def draw_page(assessment: Assessment, card: ModelCard, opacity: float, mode: Mode) -> FPDF:
    """Return the finished page; see `model.report.report_pdf`."""
    pdf = FPDF(format="A4")
    pdf.core_fonts_encoding = "cp1252"  # what the core fonts hold; Latin-1 would lack dashes
    pdf.set_auto_page_break(False)
    pdf.set_creation_date(assessment.assessed_at.astimezone(UTC))
    pdf.set_title("PneumoLens report")
    pdf.set_lang("en-GB")
    pdf.add_page()
    y = _head(pdf, assessment, card)
    if assessment.radiograph is not None:
        y = _pictures(pdf, y, assessment.radiograph, assessment, opacity, mode)
    y = _finding(pdf, y, assessment, card)
    evaluation = card.evaluations.get("validation")
    if assessment.prediction is not None and evaluation is not None:
        y = _scale(pdf, y, assessment.prediction, evaluation)
        y = _figures(pdf, y, evaluation)
    _notes(pdf, y, _foot(pdf, assessment, card), assessment, card)
    return pdf


def _head(pdf: FPDF, assessment: Assessment, card: ModelCard) -> float:
    _text(pdf, _LEFT, _TOP + 5, "PneumoLens", 15, bold=True)
    _text(pdf, _LEFT + 35, _TOP + 5, "Chest radiograph report", 11, _GREY)
    _text(pdf, _RIGHT, _TOP + 5, f"{assessment.assessed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC", 9, _GREY, align="R")
    _rule(pdf, _TOP + 8)
    _text(pdf, _LEFT, _TOP + 13.2, NOT_A_DIAGNOSIS, 9, bold=True)
    use = f"Intended use: {card.intended_use}"
    return _paragraph(pdf, _LEFT + 54, _TOP + 10.1, _RIGHT - _LEFT - 54, use, 8.5, _GREY, most=3) + 3


def _pictures(
    pdf: FPDF, y: float, film: Radiograph, assessment: Assessment, opacity: float, mode: Mode
) -> float:
    # Small films grow too: colours and lines are drawn at the print's resolution, not at theirs.
    share = _PRINT_PX / max(film.width, film.height)
    px = (max(1, round(film.width * share)), max(1, round(film.height * share)))
    method = cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR
    grey = cv2.resize(to_uint8(film), px, interpolation=method).astype(np.uint8)
    size = f"{film.width} × {film.height} px, {film.source_format}, {film.bits} bit"
    below = _picture(pdf, _LEFT, y, grey, f"Radiograph, {size}. Not for primary reading from paper.", "Radiograph")
    heatmap = assessment.heatmap
    if heatmap is None:
        return below + 3
    right = _RIGHT - _PICTURE_WIDTH
    if heatmap.is_empty:
        return max(below, _picture(pdf, right, y, grey, "Influence map: empty, since no region raised the probability.",
                                   "Radiograph without any influence")) + 3
    values = np.clip(cv2.resize(heatmap.values, px, interpolation=method), 0, 1).astype(np.float32)
    drawn = contour(grey, values) if mode == "contour" else overlay(grey, values, opacity)
    kind = "lines at 40, 60 and 80 %" if mode == "contour" else f"opacity {100 * opacity:.0f} %"
    end = _picture(pdf, right, y, drawn, f"Influence map, {kind}. Not the outline of a lesion.",
                   "Radiograph with its influence map")
    bar = Image.fromarray(np.repeat(colour_table()[None], 8, axis=0))
    _text(pdf, right, end + 2.8, "low influence", 7.5, _GREY)
    pdf.image(bar, right + 18, end + 0.8, 32, 2.4, alt_text="Colour bar from low to high influence")
    _text(pdf, right + 52, end + 2.8, "high influence", 7.5, _GREY)
    return max(below, end + 4) + 3


def _picture(pdf: FPDF, x: float, y: float, pixels: npt.NDArray[np.uint8], caption: str, alt: str) -> float:
    height, width = pixels.shape[:2]
    scale = min(_PICTURE_WIDTH / width, _PICTURE_HEIGHT / height)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=0)
    pdf.image(file, x, y, width * scale, height * scale, alt_text=alt)
    return _paragraph(pdf, x, y + height * scale + 1.2, _PICTURE_WIDTH, caption, 7.5, _GREY)


def _finding(pdf: FPDF, y: float, assessment: Assessment, card: ModelCard) -> float:
    prediction = assessment.prediction
    colour = _ABOVE if prediction is None or prediction.is_near or prediction.finding == "PNEUMONIA" else _BELOW
    if prediction is None:
        _text(pdf, _LEFT + 4, y + 5.5, "Not assessed", 17, bold=True)
        end = y + 8
        for issue in assessment.issues:
            if issue.blocking:
                end = _paragraph(pdf, _LEFT + 4, end, _RIGHT - _LEFT - 4, issue.message, 10.5, most=4) + 1
    else:
        _text(pdf, _LEFT + 4, y + 5.5, prediction.words, 17, bold=True)
        point = prediction.operating_point
        side = "above" if prediction.probability > point else "at" if prediction.probability == point else "below"
        _text(pdf, _LEFT + 4, y + 11.5, f"Probability of pneumonia {_probability(prediction.probability)}, {side} the "
              f"operating point {point:.2f}", 10.5)
        if prediction.is_near:
            low, high = card.operating_point.near_low, card.operating_point.near_high
            _text(pdf, _LEFT + 4, y + 16, f"Between {low:.2f} and {high:.2f}, small changes to the picture can move "
                  "the finding to the other side.", 8.5, _GREY)
        end = y + (17.5 if prediction.is_near else 13)
    pdf.set_fill_color(*colour)
    pdf.rect(_LEFT, y, 1.3, end - y, style="F")
    return end + 3


def _scale(pdf: FPDF, y: float, prediction: Prediction, evaluation: Evaluation) -> float:
    """Draw the probability between the distributions of the validation radiographs of both classes."""
    left, width, row, top = _LEFT + _INDENT, _RIGHT - _LEFT - _INDENT - 2, 9.0, y + 7
    axis = top + 2 * row + 2
    rows = (("Pneumonia", evaluation.histogram_pneumonia, _ABOVE), ("Normal", evaluation.histogram_normal, _BELOW))
    for position, (name, counts, colour) in enumerate(rows):
        floor = top + (position + 1) * row + 2 * position
        _text(pdf, _LEFT, floor - 4.3, name, 8.5, bold=True)
        _text(pdf, _LEFT, floor - 0.8, f"n = {sum(counts)}", 7.5, _GREY)
        pdf.set_fill_color(*colour)
        tallest, step = max(max(counts, default=0), 1), width / max(1, len(counts))
        for k, count in enumerate(counts):
            # The root keeps the few radiographs on the wrong side in sight; they are what the number is about.
            height = (row - 1) * math.sqrt(count / tallest)
            if count:
                pdf.rect(left + k * step + 0.1, floor - height, step - 0.2, height, style="F")
        _line(pdf, left, floor, left + width, floor, _HAIR)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _line(pdf, left + tick * width, axis, left + tick * width, axis + 1.2, _GREY)
        _text(pdf, left + tick * width, axis + 4.4, f"{tick:.2f}", 7.5, _GREY, align="C")
    here, point = (left + value * width for value in (prediction.probability, prediction.operating_point))
    pdf.set_dash_pattern(dash=1.2, gap=0.8)
    _line(pdf, point, top - 0.8, point, axis, _INK, 0.35)
    pdf.set_dash_pattern()
    _line(pdf, here, top - 4.4, here, axis, _INK, 0.6)
    pdf.set_fill_color(*_INK)
    pdf.circle(here, top - 4.4, 1.1, style="F")
    half = left + width / 2
    _text(pdf, here + (2 if here < half else -2), top - 3.6, f"this radiograph {_probability(prediction.probability)}",
          8, bold=True, align="L" if here < half else "R")
    # On the side away from the other line, unless the scale ends there.
    rightwards = point > here if abs(point - half) < width / 2 - 30 else point < half
    beside = max if rightwards else min
    edge = beside(point, here) if abs(point - here) < 30 else point
    _text(pdf, edge + (1.2 if rightwards else -1.2), top + 0.6, f"operating point {prediction.operating_point:.2f}",
          7.5, _GREY, align="L" if rightwards else "R")
    return _paragraph(pdf, left - 1, axis + 5.2, width, "Probability of pneumonia. Bars: validation radiographs of "
                      "each class, height by the square root of their number.", 7.5, _GREY) + 2


def _figures(pdf: FPDF, y: float, evaluation: Evaluation) -> float:
    """Tell what the operating point is worth, with intervals and how many radiographs stand behind each figure."""
    ill, well = evaluation.tp + evaluation.fn, evaluation.tn + evaluation.fp
    measures = evaluation.measures
    rows = [(name.capitalize(), measures.get(name), counted) for name, counted in (
        ("sensitivity", f"{evaluation.tp} of {ill} radiographs with pneumonia"),
        ("specificity", f"{evaluation.tn} of {well} radiographs without"))]
    rows.append(("AUROC", measures.get("auroc"), f"{evaluation.n} radiographs, at every operating point"))
    _text(pdf, _LEFT, y + 3, "On validation patients at this operating point", 9, bold=True)
    for name, measure, counted in rows:
        y += 4.6
        _text(pdf, _LEFT, y + 3, name, 8.5)
        _text(pdf, _LEFT + _INDENT, y + 3, _with_interval(measure, 3 if name == "AUROC" else 2), 8.5)
        _text(pdf, _LEFT + 92, y + 3, counted, 8.5, _GREY)
    if (sensitivity := measures.get("sensitivity")) and (specificity := measures.get("specificity")):
        values = ppv_npv(sensitivity.value, specificity.value, PREVALENCE)
        if all(math.isfinite(value) for value in values):
            y += 4.6
            _text(pdf, _LEFT, y + 3, "PPV and NPV", 8.5)
            _text(pdf, _LEFT + _INDENT, y + 3, f"{values[0]:.2f} and {values[1]:.2f}", 8.5)
            _text(pdf, _LEFT + 92, y + 3, f"if {PREVALENCE * 100:.0f} % of the children have pneumonia", 8.5, _GREY)
    return y + 8


def _probability(value: float) -> str:
    """Two decimals, but never a certainty that rounding made up."""
    return "below 0.01" if value < 0.005 else "above 0.99" if value >= 0.995 else f"{value:.2f}"


def _with_interval(measure: Measure | None, decimals: int = 2) -> str:
    if measure is None or not math.isfinite(measure.value):
        return "not defined"
    value, low, high = (f"{number:.{decimals}f}" for number in (measure.value, measure.low, measure.high))
    return f"{value} (95 % interval {low}–{high})" if math.isfinite(measure.low + measure.high) else value


def _notes(pdf: FPDF, y: float, bottom: float, assessment: Assessment, card: ModelCard) -> None:
    """Print warnings first, then limits, as many as the page holds, and say how many it does not."""
    warnings = [issue.message for issue in assessment.issues if not issue.blocking]
    limits = [*([NOT_AN_OUTLINE] if assessment.heatmap is not None else []), *card.limitations]
    width = _RIGHT - _LEFT - _INDENT
    for title, items, colour in (("Warnings", warnings, _INK), ("Limits", limits, _GREY)):
        if not items or y + 9 > bottom:
            continue
        _text(pdf, _LEFT, y + 3, title, 9, bold=True)
        for position, item in enumerate(items):
            left = len(items) - position
            needed = len(_wrapped(pdf, width, item, 8.5)) + (left > 1)
            if y + needed * 8.5 * _LEADING + 1 > bottom:
                _text(pdf, _LEFT + _INDENT, y + 3, f"and {left} more, in the JSON report", 8.5, _GREY)
                y += 4
                break
            y = _paragraph(pdf, _LEFT + _INDENT, y, width, item, 8.5, colour) + 0.8
        y += 2.5


def _foot(pdf: FPDF, assessment: Assessment, card: ModelCard) -> float:
    """Print provenance and a line for the reader; return where they begin."""
    film = assessment.radiograph
    file = f"File sha256 {film.sha256[:16]}…" if film else "The file could not be read"
    lines = (f"Classifier {card.version} ({card.architecture}) of {card.created_at[:10]}, sha256 {card.sha256[:16]}…",
             f"{file}; this report holds no name, so enter the patient by hand")
    top = _BOTTOM - 17
    for position, label in enumerate(("Patient", "Read by", "Own finding")):
        x = _LEFT + position * 61
        _text(pdf, x, top + 4, label, 8, _GREY)
        _line(pdf, x + 18, top + 4.6, x + 58, top + 4.6, _GREY)
    _rule(pdf, top + 8.5)
    for position, line in enumerate(lines):
        _text(pdf, _LEFT, top + 12.3 + 3.8 * position, line, 7.5, _GREY)
    return top


def _rule(pdf: FPDF, y: float) -> None:
    _line(pdf, _LEFT, y, _RIGHT, y, _HAIR)


def _line(
    pdf: FPDF, x1: float, y1: float, x2: float, y2: float, colour: tuple[int, int, int], width: float = 0.2
) -> None:
    pdf.set_draw_color(*colour)
    pdf.set_line_width(width)
    pdf.line(x1, y1, x2, y2)


def _printable(text: str) -> str:
    """Return text in the core fonts' characters (Windows-1252); what has no relative there becomes "?"."""
    for symbol, words in (("≥", "at least "), ("≤", "at most "), ("−", "-"), ("\u202f", "\u00a0")):
        text = text.replace(symbol, words)
    return "".join(c if c.encode("cp1252", "ignore") else unicodedata.normalize("NFKD", c)[0] for c in text).encode(
        "cp1252", "replace").decode("cp1252")


def _text(
    pdf: FPDF, x: float, y: float, text: str, size: float, colour: tuple[int, int, int] = _INK, *,
    bold: bool = False, align: Literal["L", "C", "R"] = "L",
) -> None:
    """Print one line with its baseline at y and its left end, middle or right end at x."""
    pdf.set_font("Helvetica", "B" if bold else "", size)
    pdf.set_text_color(*colour)
    words = _printable(text)
    pdf.text(x - {"L": 0.0, "C": 0.5, "R": 1.0}[align] * pdf.get_string_width(words), y, words)


def _wrapped(pdf: FPDF, width: float, text: str, size: float) -> list[str]:
    """Break text into lines of `width`; a word that is longer than a line is left to stick out."""
    pdf.set_font("Helvetica", "", size)
    lines = [""]
    for word in _printable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or pdf.get_string_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _paragraph(
    pdf: FPDF, x: float, y: float, width: float, text: str, size: float, colour: tuple[int, int, int] = _INK,
    most: int = 99,
) -> float:
    """Print text in at most `most` lines of `width` from y downwards; return where it ends."""
    lines = _wrapped(pdf, width, text, size)
    if len(lines) > most:
        lines = [*lines[:most - 1], f"{lines[most - 1]} …"]
    for position, line in enumerate(lines):
        _text(pdf, x, y + (position + 0.75) * size * _LEADING, line, size, colour)
    return y + len(lines) * size * _LEADING

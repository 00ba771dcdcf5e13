"""Text of the printed page in the bundled typefaces, as characters that can be searched and copied."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Literal

from fpdf import FPDF

from reports.typefaces import BOLD, FALLBACKS, LATIN, REGULAR, em_width, printable, runs

Colour = tuple[int, int, int]
INK, GREY, HAIR = (24, 29, 36), (92, 101, 112), (201, 207, 214)
# Millimetres of line height for each point of type.
LEADING = 0.46
_MM = 25.4 / 72
# fpdf2 sets the baseline of a cell of no height this share of the size below its top.
_CELL_BASELINE = 0.3
# The invisible marks of a direction: left to right, right to left.
_MARKS = ("\u200e", "\u200f")
# Words between spaces; where a script writes none, each character may begin a line.
_UNSPACED = r"\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\ufe30-\uffef"
_PIECES = re.compile(rf"[{_UNSPACED}][、。，．；：？！）】」』〉》]*|[^\s{_UNSPACED}]+|\s+")


# A character with the marks on it. The ranges hold every mark of the scripts in `reports.typefaces`.
_CLUSTERS = re.compile(
    r".[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0903\u093a-\u094f"
    r"\u0962\u0963\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1dc0-\u1dff\u200c\u200d]*"
)


def new_page(title: str, created: datetime, draft: FPDF | None = None) -> FPDF:
    """Return a PDF with one empty A4 page.

    Parameters
    ----------
    title
        The document's title.
    created
        Its date, with a time zone.
    draft
        A PDF that will be thrown away, whose fonts are taken over instead of being read again.
    """
    pdf = FPDF(format="A4")
    pdf.set_auto_page_break(False)
    pdf.c_margin = 0
    pdf.set_creation_date(created)
    pdf.set_title(title)
    pdf.set_lang("en-GB")
    if draft is not None:
        pdf.fonts.update(draft.fonts)
    pdf.add_page()
    return pdf


def text(
    pdf: FPDF,
    x: float,
    y: float,
    words: str,
    size: float,
    colour: Colour = INK,
    *,
    bold: bool = False,
    align: Literal["L", "C", "R"] = "L",
) -> None:
    """Print one line.

    Parameters
    ----------
    x, y
        Millimetres from the page's left and upper edge: the baseline, at the line's left end, middle or right end.
    size
        Points.
    """
    line = printable(words)
    if not line:
        return
    left = x - {"L": 0.0, "C": 0.5, "R": 1.0}[align] * width_of(line, size, bold)
    parts = runs(line, bold)
    typefaces = {part.typeface for part in parts}
    first = next((one for one in (BOLD, REGULAR, LATIN) if one in typefaces), parts[0].typeface)
    for typeface in typefaces:
        if typeface.name.lower() not in pdf.fonts:
            pdf.add_font(typeface.name, "", typeface.path)
    if len(typefaces) == 1 and not first.is_shaped:
        pdf.set_text_color(*colour)
        pdf.set_font(first.name, "", size)
        pdf.text(left, y, line)
        return
    with pdf.local_context():  # else fpdf2 leaves the fallback font in force for the lines that follow
        pdf.set_text_color(*colour)
        pdf.set_font(first.name, "", size)
        pdf.set_fallback_fonts([one.name for one in (REGULAR, *FALLBACKS) if one in typefaces], exact_match=False)
        direction = "rtl" if _runs_right_to_left(words) else "ltr"
        pdf.set_text_shaping(any(one.is_shaped for one in typefaces), direction=direction)
        pdf.set_xy(left, y - _CELL_BASELINE * size * _MM)
        pdf.cell(w=0, h=0, text=line)
        pdf.set_text_shaping(False)
        pdf.set_fallback_fonts([])


def paragraph(
    pdf: FPDF, x: float, y: float, width: float, words: str, size: float, colour: Colour = INK, *, most: int = 99
) -> float:
    """Print a paragraph from left to right or right to left, by its first letter.

    Parameters
    ----------
    pdf
        The document.
    x, y
        Left and upper edge in mm.
    width
        Of the column in mm.
    words
        The text; line breaks are kept.
    size
        In points.
    colour
        RGB, 0–255.
    most
        Largest number of lines; the last one ends with "…" where text is cut.

    Returns
    -------
    float
        Lower end of the paragraph in mm.
    """
    lines = wrapped(words, width, size)
    if len(lines) > most:
        lines = shortened(width, lines[:most], size, "…")
    return set_lines(pdf, x, y, width, lines, size, colour)


def set_lines(
    pdf: FPDF, x: float, y: float, width: float, lines: list[str], size: float, colour: Colour = INK
) -> float:
    """Print lines in a column, each in its own direction.

    Parameters
    ----------
    pdf
        The document.
    x, y
        Left and upper edge in mm.
    width
        Of the column in mm; lines from right to left end at its right edge.
    lines
        As `wrapped` returns them.
    size
        In points.
    colour
        RGB, 0–255.

    Returns
    -------
    float
        Lower end of the last line in mm.
    """
    for position, line in enumerate(lines):
        is_rtl = _runs_right_to_left(line)
        baseline = y + (position + 0.75) * size * LEADING
        text(pdf, x + width if is_rtl else x, baseline, line, size, colour, align="R" if is_rtl else "L")
    return y + len(lines) * size * LEADING


def wrapped(words: str, width: float, size: float, most: int = 200) -> list[str]:
    """Break text into lines; line breaks in it are kept, and a word longer than a line is broken.

    Parameters
    ----------
    words
        The text.
    width
        Of a line in mm.
    size
        In points.
    most
        Text after `most` + 1 lines is left out.

    Returns
    -------
    list of str
        At least one line.
    """
    lines: list[str] = []
    for part in printable(words, keep_breaks=True).split("\n"):
        broken = _broken(part.strip(), width / (size * _MM), most + 1 - len(lines))
        lines += [_directed(line, _runs_right_to_left(part)) for line in broken]
        if len(lines) > most:
            break
    while lines and not lines[-1]:
        lines.pop()
    return lines or [""]


def shortened(width: float, lines: list[str], size: float, end: str) -> list[str]:
    """Append an ending to the last line, shortened to make room.

    Parameters
    ----------
    width
        Of a line in mm.
    lines
        At least one.
    size
        In points.
    end
        The ending, such as "…".
    """
    last = lines[-1]
    while last and width_of(f"{last} {end}", size) > width:
        last = last[:-1].rstrip()
    return [*lines[:-1], f"{last} {end}".strip()]


def width_of(line: str, size: float, bold: bool = False) -> float:
    """Return the width in mm of a printable `line` at `size` points, in `bold` or regular type."""
    return em_width(line, bold) * size * _MM


def rule(pdf: FPDF, x: float, y: float, width: float) -> None:
    """Draw a hairline of `width` mm in `pdf` from (`x`, `y`), in mm, to the right."""
    stroke(pdf, x, y, x + width, y, HAIR)


def stroke(pdf: FPDF, x1: float, y1: float, x2: float, y2: float, colour: Colour, width: float = 0.2) -> None:
    """Draw a line.

    Parameters
    ----------
    pdf
        The document.
    x1, y1, x2, y2
        Both ends in mm.
    colour
        RGB, 0–255.
    width
        In mm.
    """
    pdf.set_draw_color(*colour)
    pdf.set_line_width(width)
    pdf.line(x1, y1, x2, y2)


def _broken(words: str, room: float, most: int) -> list[str]:
    """Break one paragraph into lines of `room` sizes of type."""
    lines, used = [""], 0.0
    for piece in _PIECES.findall(words):
        wide = em_width(piece)
        if piece.isspace() or used + wide <= room:
            if lines[-1] or not piece.isspace():
                lines[-1] += piece
                used += wide
            continue
        if lines[-1]:
            lines.append("")
            used = 0.0
        if wide <= room:
            lines[-1], used = piece, wide
        else:
            *full, last = _cut(piece, room, most - len(lines) + 1)
            lines[-1:] = [*full, last]
            used = em_width(last)
        if len(lines) > most:
            break
    return [line.rstrip() for line in lines[: max(most, 1)]]


def _cut(word: str, room: float, most: int) -> list[str]:
    """Cut a word into at most `most` parts of `room` and the rest, never between a letter and its marks."""
    parts, start, used = [], 0, 0.0
    for cluster in _CLUSTERS.finditer(word):
        wide = em_width(cluster[0])
        if used + wide > room and cluster.start() > start:
            parts.append(word[start : cluster.start()])
            start, used = cluster.start(), 0.0
            if len(parts) == most:
                break
        used += wide
    return [*parts, word[start:]]


def _directed(line: str, is_rtl: bool) -> str:
    """Give a line the direction of its paragraph, whichever word it begins with."""
    return line if _runs_right_to_left(line) == is_rtl else f"{_MARKS[is_rtl]}{line}"


def _runs_right_to_left(line: str) -> bool:
    """Whether the first letter with a direction says so (Unicode bidirectional algorithm, rule P2)."""
    directions = (unicodedata.bidirectional(character) for character in line)
    return next((one for one in directions if one in {"L", "R", "AL"}), "L") != "L"

"""Reports of many radiographs in one PDF: a table of all of them, then a page for each.

It contains no file name: a radiograph is listed by its number and the checksum of its file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

from fpdf import FPDF
from pypdf import PdfWriter

from core.formatting import format_count, format_probability
from model.assessment import Assessment
from reports.drawing import Drawing
from reports.pdf_text import GREY, new_page, paragraph, rule, text
from reports.wording import NOT_A_DIAGNOSIS, moved_words

# The page is 210 × 297 mm. Lengths are in mm, type sizes in points.
_LEFT, _RIGHT, _TOP, _BOTTOM = 15.0, 195.0, 13.0, 284.0
_ROW = 6.0
_AS_FIRST_SHOWN = Drawing()
# Where the table's columns begin.
_NUMBER, _PAGE, _FINDING, _PROBABILITY, _WARNINGS, _CHECKSUM = _LEFT, 25.0, 37.0, 108.0, 128.0, 163.0


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One radiograph of a collection: its number, the SHA-256 of its file, and its assessment."""

    number: int
    sha256: str
    assessment: Assessment


@dataclass(slots=True, eq=False)
class Collection:
    """A PDF that grows by a page for each radiograph, made with `collection`."""

    entries: tuple[Entry, ...]
    writer: PdfWriter = field(default_factory=PdfWriter)
    added: int = 0

    def add(self, page: bytes) -> None:
        """Append the report of the next entry, a PDF as `reports.json_report.report_pdf` makes it."""
        entry = self.entries[self.added]
        self.writer.append(io.BytesIO(page), outline_item=f"Radiograph {entry.number}, sha256 {entry.sha256[:16]}")
        self.added += 1

    def content(self) -> bytes:
        """Return the PDF.

        Raises
        ------
        ValueError
            If pages are missing.
        """
        if self.added != len(self.entries):
            raise ValueError(f"expected {len(self.entries)} pages. Received: {self.added}")
        target = io.BytesIO()
        self.writer.write(target)
        return target.getvalue()


def collection(entries: Sequence[Entry], drawing: Drawing = _AS_FIRST_SHOWN) -> Collection:
    """Begin a collection with its table; add the pages in the order of `entries`.

    Radiographs outside the training population and those not assessed have no probability in the table.

    Parameters
    ----------
    entries
        At least one.
    drawing
        How the pages draw their evidence maps; the table says for which side.

    Raises
    ------
    ValueError
        Without entries.
    """
    if not entries:
        raise ValueError("expected at least one radiograph. Received: none")
    begun = Collection(tuple(entries))
    front = _table(begun.entries, drawing)
    begun.writer.append(io.BytesIO(front), outline_item="All radiographs")
    begun.writer.add_metadata({"/Title": "PneumoLens reports", "/Producer": "PneumoLens"})
    return begun


def _table(entries: tuple[Entry, ...], drawing: Drawing) -> bytes:
    """Draw the table; its own number of pages shifts the page numbers that it lists."""
    pages, pdf = 1, None
    while True:
        pdf = _draw(entries, drawing, pages, pdf)
        if pdf.page == pages:
            return bytes(pdf.output())
        pages = pdf.page


def _draw(entries: tuple[Entry, ...], drawing: Drawing, front: int, draft: FPDF | None) -> FPDF:
    pdf = new_page("PneumoLens reports", max(entry.assessment.assessed_at for entry in entries).astimezone(UTC), draft)
    y = _head(pdf, entries, drawing)
    for position, entry in enumerate(entries):
        if y + _ROW > _BOTTOM:
            y = _heading(pdf)
        assessment, prediction = entry.assessment, entry.assessment.prediction
        text(pdf, _NUMBER, y + 4, str(entry.number), 8.5)
        text(pdf, _PAGE, y + 4, str(front + position + 1), 8.5, GREY)
        text(pdf, _FINDING, y + 4, assessment.words, 8.5)
        if prediction is not None and not assessment.is_outside:
            text(pdf, _PROBABILITY, y + 4, format_probability(prediction.probability), 8.5)
        warnings = len(assessment.issues)
        text(pdf, _WARNINGS, y + 4, "none" if not warnings else f"{warnings}, on its page", 8.5, GREY)
        text(pdf, _CHECKSUM, y + 4, entry.sha256[:16], 8.5, GREY)
        rule(pdf, _LEFT, y + _ROW - 0.4, _RIGHT - _LEFT)
        y += _ROW
    return pdf


def _head(pdf: FPDF, entries: tuple[Entry, ...], drawing: Drawing) -> float:
    times = sorted(entry.assessment.assessed_at.astimezone(UTC) for entry in entries)
    versions = sorted({entry.assessment.classifier_version for entry in entries})
    text(pdf, _LEFT, _TOP + 5, "PneumoLens", 15, bold=True)
    text(pdf, _LEFT + 38, _TOP + 5, f"Chest radiograph reports: {format_count(len(entries), 'radiograph')}", 11, GREY)
    text(pdf, _RIGHT, _TOP + 5, f"{times[-1]:%Y-%m-%d %H:%M} UTC", 9, GREY, align="R")
    rule(pdf, _LEFT, _TOP + 8, _RIGHT - _LEFT)
    text(pdf, _LEFT, _TOP + 13.2, NOT_A_DIAGNOSIS, 9, bold=True)
    y = paragraph(
        pdf,
        _LEFT,
        _TOP + 15,
        _RIGHT - _LEFT,
        f"Assessed from {times[0]:%Y-%m-%d %H:%M} UTC by classifier {', '.join(versions)}. One page for each "
        "follows. Radiographs are listed by their number on screen and the first 16 digits of their file’s SHA-256. "
        f"The evidence maps show the regions that {moved_words(drawing)}. A radiograph outside the training population "
        "has no finding; its probability is on its page only.",
        8.5,
        GREY,
    )
    return _titles(pdf, y + 3)


def _heading(pdf: FPDF) -> float:
    pdf.add_page()
    text(pdf, _LEFT, _TOP + 5, "Chest radiograph reports, continued", 11, GREY)
    return _titles(pdf, _TOP + 9)


def _titles(pdf: FPDF, y: float) -> float:
    for x, title in (
        (_NUMBER, "No."),
        (_PAGE, "Page"),
        (_FINDING, "Finding"),
        (_PROBABILITY, "Probability"),
        (_WARNINGS, "Warnings"),
        (_CHECKSUM, "SHA-256"),
    ):
        text(pdf, x, y + 4, title, 8.5, bold=True)
    rule(pdf, _LEFT, y + _ROW - 0.4, _RIGHT - _LEFT)
    return y + _ROW

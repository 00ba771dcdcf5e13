"""Printed report: one A4 page; text without room is cut, and the page states it."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from datetime import UTC

import numpy as np
import numpy.typing as npt
from fpdf import FPDF
from PIL import Image

from imaging.radiograph import Radiograph
from model.assessment import Assessment, Reading
from model.card import ModelCard
from model.overlay import colour_table
from reports.drawing import Drawing, draw_film, draw_map, map_shown
from reports.pdf_figures import ABOVE, BELOW, INDENT, draw_rates, draw_scale
from reports.pdf_text import (
    GREY,
    INK,
    LEADING,
    Colour,
    new_page,
    paragraph,
    rule,
    set_lines,
    shortened,
    stroke,
    text,
    wrapped,
)
from reports.typefaces import REPLACEMENT, count_missing
from reports.wording import (
    LUNGS_OUTLINED,
    NOT_A_DIAGNOSIS,
    NOT_AN_OUTLINE,
    NOT_AN_OUTLINE_AGAINST,
    SAYS_LITTLE,
    VERDICTS,
    corrections_sentence,
    evidence_sentence,
    group_sentences,
    header_words,
    lungs_words,
    map_name,
    map_words,
    moved_words,
    near_sentence,
    neighbours_sentence,
    population_sentence,
    probability_sentence,
    rendering_sentence,
    stability_sentence,
    warnings,
)

# The page is 210 × 297 mm. Lengths are in mm, type sizes in points.
_LEFT, _RIGHT, _TOP, _BOTTOM = 15.0, 195.0, 13.0, 286.0
_WIDTH = _RIGHT - _LEFT
_PICTURE_WIDTH, _PRINT_PX = 87.0, 1000
# Pictures shrink in favour of text, down to a height at which a radiograph can still be recognised.
_HEIGHTS = (80.0, 70.0, 60.0, 52.0)
# However long the reason for a refusal or the remarks are, this many characters are more than the page can hold.
_MOST_CHARACTERS = 12_000
_IN_JSON = "in the JSON report"


@dataclass(frozen=True, slots=True)
class _Note:
    """A titled row below the figures: its items, and the number of lines it gets before the rows below it.

    A single text is cut with a note; of several items, those without room are counted.
    """

    title: str
    items: tuple[str, ...]
    least: int = 2
    size: float = 8.5
    colour: Colour = INK
    is_one_text: bool = False

    @property
    def line(self) -> float:
        """Height of a line."""
        return self.size * LEADING


def draw_page(
    assessment: Assessment, card: ModelCard, reading: Reading | None, drawing: Drawing, prevalence: float
) -> FPDF:
    """Draw the report page; the arguments are those of `reports.json_report.report_pdf`.

    Parameters
    ----------
    assessment, card
        The assessment and the card of its version.
    reading
        The reader's verdict and remarks, None without any.
    drawing
        How radiograph and evidence map are displayed.
    prevalence
        In [0, 1].

    Returns
    -------
    FPDF
        One A4 page.

    Raises
    ------
    ValueError, IndexError, ClassifierError
        As `report_pdf`.
    """
    if assessment.heatmap is not None:
        assessment = replace(assessment, heatmap=map_shown(assessment.heatmap, drawing))
    pictures = _printed_pictures(assessment, drawing)
    notes = _rows(assessment, card, reading, drawing)
    texts = [[wrapped(item, _WIDTH - INDENT, note.size) for item in note.items] for note in notes]
    draft = None
    for height in _HEIGHTS:
        pdf = draft = new_page("PneumoLens report", assessment.assessed_at.astimezone(UTC), draft)
        y = _head(pdf, assessment, card)
        y = _pictures(pdf, y, height, assessment, pictures, drawing)
        y = _finding(pdf, y, assessment, card)
        y = _performance(pdf, y, assessment, card, prevalence)
        bottom = _foot(pdf, assessment, card, reading)
        if _notes(pdf, y, bottom, notes, texts) or not pictures:
            break
    return pdf


def _head(pdf: FPDF, assessment: Assessment, card: ModelCard) -> float:
    text(pdf, _LEFT, _TOP + 5, "PneumoLens", 15, bold=True)
    text(pdf, _LEFT + 38, _TOP + 5, "Chest radiograph report", 11, GREY)
    text(pdf, _RIGHT, _TOP + 5, f"{assessment.assessed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC", 9, GREY, align="R")
    rule(pdf, _LEFT, _TOP + 8, _WIDTH)
    text(pdf, _LEFT, _TOP + 13, NOT_A_DIAGNOSIS, 9, bold=True)
    return paragraph(pdf, _LEFT, _TOP + 15, _WIDTH, f"Intended use: {card.intended_use}", 8, GREY, most=4) + 2.5


@dataclass(frozen=True, slots=True)
class _Printed:
    """A picture as JPEG, with its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def _printed(pixels: npt.NDArray[np.uint8]) -> _Printed:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=0)
    return _Printed(file.getvalue(), pixels.shape[1], pixels.shape[0])


def _printed_pictures(assessment: Assessment, drawing: Drawing) -> tuple[_Printed, ...]:
    """Return the radiograph and, if there is one, the radiograph with its evidence map, at the print's resolution."""
    film, heatmap = assessment.radiograph, assessment.heatmap
    if film is None:
        return ()
    # Small radiographs are enlarged too: colours and lines are drawn at the print's resolution.
    share = _PRINT_PX / max(film.width, film.height)
    grey = draw_film(film, drawing, (max(1, round(film.width * share)), max(1, round(film.height * share))))
    return (
        (_printed(grey),)
        if heatmap is None
        else (_printed(grey), _printed(draw_map(grey, heatmap, drawing, assessment.anatomy)))
    )


def _pictures(
    pdf: FPDF, y: float, height: float, assessment: Assessment, pictures: tuple[_Printed, ...], drawing: Drawing
) -> float:
    film = assessment.radiograph
    if film is None:
        return y
    below = _picture(pdf, _LEFT, y, height, pictures[0], _film_caption(film, drawing), "Radiograph")
    if len(pictures) == 1 or assessment.heatmap is None:
        return below + 3
    right, name = _RIGHT - _PICTURE_WIDTH, map_name(drawing)
    if assessment.heatmap.is_empty:
        return (
            max(
                below,
                _picture(
                    pdf,
                    right,
                    y,
                    height,
                    pictures[1],
                    f"{name}: empty; no region {moved_words(drawing)}.",
                    "Radiograph without evidence",
                ),
            )
            + 3
        )
    outlined = LUNGS_OUTLINED if drawing.lungs and assessment.anatomy is not None else ""
    tells = f" (regions that {moved_words(drawing)})" if drawing.against else ""
    end = _picture(
        pdf,
        right,
        y,
        height,
        pictures[1],
        f"{name}{tells}, {map_words(drawing)}. Not the outline of a lesion.{outlined}",
        f"Radiograph with its {name[0].lower()}{name[1:]}",
    )
    bar = Image.fromarray(np.repeat(colour_table()[None], 8, axis=0))
    text(pdf, right, end + 2.8, "low evidence", 7.5, GREY)
    pdf.image(bar, right + 18, end + 0.8, 32, 2.4, alt_text="Colour bar from low to high evidence")
    text(pdf, right + 52, end + 2.8, "high evidence", 7.5, GREY)
    return max(below, end + 4) + 3


def _film_caption(film: Radiograph, drawing: Drawing) -> str:
    facts = header_words(film.header) if film.header else None
    said = [
        f"Radiograph, {film.width} × {film.height} px, {film.source_format}, {film.bits} bit.",
        rendering_sentence(film, drawing),
        "Not for primary reading.",
        facts and f"DICOM header: {facts}.",
    ]
    return " ".join(part for part in said if part)


def _picture(pdf: FPDF, x: float, y: float, room: float, picture: _Printed, caption: str, alt: str) -> float:
    scale = min(_PICTURE_WIDTH / picture.width, room / picture.height)
    pdf.image(io.BytesIO(picture.jpeg), x, y, picture.width * scale, picture.height * scale, alt_text=alt)
    return paragraph(pdf, x, y + picture.height * scale + 1.2, _PICTURE_WIDTH, caption, 7.5, GREY, most=4)


def _finding(pdf: FPDF, y: float, assessment: Assessment, card: ModelCard) -> float:
    """Print the finding; outside the training population it is not emphasised."""
    prediction, x, width, colour = assessment.prediction, _LEFT + 4, _WIDTH - 4, GREY
    text(pdf, x, y + 5.5, assessment.words, 20 if assessment.is_outside else 17, bold=True)
    end = y + 8
    if prediction is None:
        colour = ABOVE
        reasons = list(assessment.reasons)
        for reason in reasons[:4]:
            end = paragraph(pdf, x, end, width, reason[:_MOST_CHARACTERS], 10.5, most=4) + 1
        if len(reasons) > 4:
            end = paragraph(pdf, x, end, width, f"and {len(reasons) - 4} more, {_IN_JSON}", 8.5, GREY)
    elif assessment.is_outside:
        reason = next(issue.message for issue in assessment.issues if issue.code == "OUTSIDE_POPULATION")
        end = paragraph(pdf, x, end, width, reason, 10.5, most=4) + 1
        end = paragraph(pdf, x, end, width, f"{probability_sentence(prediction)}. {SAYS_LITTLE}", 8.5, GREY)
    else:
        colour = ABOVE if prediction.is_near or prediction.finding == "PNEUMONIA" else BELOW
        end = paragraph(pdf, x, end, width, probability_sentence(prediction), 10.5)
        if prediction.is_near:
            end = paragraph(pdf, x, end, width, near_sentence(prediction, card), 8.5, GREY)
    if moved := stability_sentence(assessment):
        end = paragraph(pdf, x, end, width, moved, 8.5, GREY, most=3)
    pdf.set_fill_color(*colour)
    pdf.rect(_LEFT, y, 1.3, end - y, style="F")
    return end + 3


def _performance(pdf: FPDF, y: float, assessment: Assessment, card: ModelCard, prevalence: float) -> float:
    """Draw scale and rates; they do not apply to radiographs outside the training population."""
    evaluation = card.evaluations.get("validation")
    if assessment.prediction is None or evaluation is None or assessment.is_outside:
        return y
    y = draw_scale(pdf, _LEFT, y, _WIDTH, assessment.prediction, evaluation)
    return draw_rates(pdf, _LEFT, y, assessment.prediction, evaluation, prevalence)


def _rows(assessment: Assessment, card: ModelCard, reading: Reading | None, drawing: Drawing) -> list[_Note]:
    """Collect the rows below the figures, in the order in which they get room on the page."""
    population, remarks = assessment.population, _remarks(reading)
    similar = [] if population is None else [population_sentence(assessment), neighbours_sentence(population)]
    outline = NOT_AN_OUTLINE_AGAINST if drawing.against else NOT_AN_OUTLINE
    limits = [*([outline] if assessment.heatmap is not None else []), *card.limitations]
    notes = [
        _Note("Warnings", warnings(assessment), least=4),
        _Note("Verdict", (VERDICTS[reading.verdict],) if reading and reading.verdict else ()),
        _Note("Remarks", remarks, least=3, is_one_text=True),
        _Note("", _replaced(remarks), colour=GREY),
        _Note("Corrections", (corrections_sentence(assessment.corrections),) if assessment.corrections else ()),
        _Note("Group", group_sentences(assessment)),
        _Note("Lungs", (lungs,) if (lungs := lungs_words(assessment)) else ()),
        _Note("Evidence", (evidence_sentence(assessment.regions, drawing),) if assessment.regions else ()),
        _Note("Training data", tuple(one for one in similar if one)),
        _Note("Limitations", (" ".join(limits),) if limits else (), 3, 7.5, GREY, is_one_text=True),
    ]
    return [note for note in notes if note.items]


def _remarks(reading: Reading | None) -> tuple[str, ...]:
    remarks = reading.remarks.strip() if reading else ""
    return (remarks[:_MOST_CHARACTERS],) if remarks else ()


def _replaced(remarks: tuple[str, ...]) -> tuple[str, ...]:
    missing = sum(count_missing(remark) for remark in remarks)
    if not missing:
        return ()
    return (
        f"Each {REPLACEMENT} above stands for a character that cannot be printed here ({missing} in all); the whole "
        f"text is {_IN_JSON}.",
    )


def _notes(pdf: FPDF, y: float, bottom: float, notes: list[_Note], texts: list[list[list[str]]]) -> bool:
    """Print the rows, `texts` being their items' lines, and return whether all of them found room.

    Where there is too little, each row first gets its least, and what is left goes round line by line.
    """
    needed = [sum(len(lines) for lines in items) for items in texts]
    given, free = [0] * len(notes), bottom - y - 2 - 1.5 * len(notes)
    for is_first in (True, False):
        for level in range(1, max(needed, default=0) + 1):
            for k, note in enumerate(notes):
                if given[k] < level <= (min(note.least, needed[k]) if is_first else needed[k]) and free >= note.line:
                    given[k] += 1
                    free -= note.line
    for note, items, room in zip(notes, texts, given, strict=True):
        if room:
            text(pdf, _LEFT, y + 0.75 * 8.5 * LEADING, note.title, 8.5, bold=True)
            lines = _cut(items, room, note)
            y = set_lines(pdf, _LEFT + INDENT, y, _WIDTH - INDENT, lines, note.size, note.colour) + 1.5
    return given == needed


def _cut(items: list[list[str]], room: int, note: _Note) -> list[str]:
    """Return the lines of the items that fit into `room` lines; the last of them names what is missing."""
    lines = [line for item in items for line in item]
    if len(lines) <= room:
        return lines
    if note.is_one_text or len(items) == 1 or room == 1:
        return shortened(_WIDTH - INDENT, lines[:room], note.size, f"… (the rest is {_IN_JSON})")
    kept: list[str] = []
    for position, item in enumerate(items):
        if len(kept) + len(item) >= room and not kept:
            kept = shortened(_WIDTH - INDENT, item[: room - 1], note.size, "…")
        elif len(kept) + len(item) >= room:
            return [*kept, f"and {len(items) - position} more, {_IN_JSON}"]
        else:
            kept += item
    return kept


def _foot(pdf: FPDF, assessment: Assessment, card: ModelCard, reading: Reading | None) -> float:
    """Print provenance and a line for the reader; return where they begin."""
    film = assessment.radiograph
    file = f"File sha256 {film.sha256}" if film else "The file could not be read"
    lines = (
        f"Classifier {card.version} ({card.architecture}) of {card.created_at[:10]}. This report contains "
        "no patient name; enter it by hand.",
        f"Classifier sha256 {card.sha256}",
        file,
    )
    top = _BOTTOM - 19
    own = "Signature" if reading and reading.verdict else "Own finding"
    for position, label in enumerate(("Patient", "Read by", own)):
        x = _LEFT + position * 61
        text(pdf, x, top + 4, label, 8, GREY)
        stroke(pdf, x + 18, top + 4.6, x + 58, top + 4.6, GREY)
    rule(pdf, _LEFT, top + 7.5, _WIDTH)
    for position, line in enumerate(lines):
        paragraph(pdf, _LEFT, top + 8.4 + 3.6 * position, _WIDTH, line, 7.5, GREY, most=1)
    return top

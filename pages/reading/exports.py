"""Downloads of all images of a visit in one file: CSV, JSON, or a PDF with a page for each.

Images are identified by their number on the page and the checksum of their content. File names can identify patients,
so they are only exported on request, in the CSV alone, and are never part of a download's name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from core.formatting import format_size, with_time_left
from model.assessment import Assessment
from model.card import ModelCard
from model.listing import csv_text, line
from model.operating import DEFAULT, at_purpose, available_purposes
from pages.reading.films import Film
from reports.drawing import Drawing
from reports.json_report import report_json, report_pdf
from reports.pdf_collection import Collection, Entry, collection

SCHEMA_VERSION = 1
_PRINTING, _NAMES = "read.printing", "read.names"
# How long one run of the page prints before it handles input again.
_SLICE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ReportContext:
    """Cards, purpose and prevalence for the reports on a visit's films.

    A value, so that downloads can use it: they are made outside the page, where there is no session.

    Parameters
    ----------
    card_of
        The card of a version, whichever assessed a film: another version may have been promoted since the page was
        drawn. Raises ClassifierError where it is missing or damaged.
    purpose
        The purpose of reading, a name in `model.operating.NAMES`.
    prevalence
        The share of pneumonia in [0, 1]; called when a report is made, since its slider moves without a rerun.
    """

    card_of: Callable[[str], ModelCard]
    purpose: str
    prevalence: Callable[[], float]

    def card(self, film: Film) -> ModelCard:
        """Return the card of the version that assessed the film."""
        return self.card_of(film.kept.classifier_version)

    def assessment(self, assessment: Assessment) -> Assessment:
        """Return the assessment at the chosen operating point, or at the version's default if it lacks that point."""
        card = self.card_of(assessment.classifier_version)
        return at_purpose(assessment, card, self.purpose if self.purpose in available_purposes(card) else DEFAULT)


def films_csv(films: Sequence[Film], context: ReportContext, with_names: bool = False) -> str:
    """Return one row for each image with its number, its checksum and the reader's verdict.

    Parameters
    ----------
    films
        The images, in order.
    context
        Cards, purpose and prevalence.
    with_names
        Whether a column has the file names.
    """
    return csv_text(_row(film, context, with_names) for film in films)


def _row(film: Film, context: ReportContext, with_names: bool) -> dict[str, Any]:
    name = {"file": film.name} if with_names else {}
    # Also for a file that could not be read, so that its row identifies it.
    return {
        "number": film.number,
        **name,
        **line(context.assessment(film.assessment_without_pixels())),
        "sha256": film.sha256,
        "verdict": film.reading.verdict,
        "reader_remarks": film.reading.remarks,
    }


def films_json(films: Sequence[Film], context: ReportContext) -> str:
    """Return `films` as {schema, schema_version, films: [{number, sha256, report}]}, each report as for a single image.

    Card, purpose and prevalence of each are those of `context`.
    """
    entries = []
    for film in films:
        report = report_json(
            context.assessment(film.assessment_without_pixels()),
            context.card(film),
            film.reading,
            prevalence=context.prevalence(),
        )
        entries.append({"number": film.number, "sha256": film.sha256, "report": json.loads(report)})
    return json.dumps(
        {"schema": "pneumolens.reports", "schema_version": SCHEMA_VERSION, "films": entries},
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )


@dataclass(slots=True, eq=False)
class Printing:
    """A PDF of all images while it is made page by page, and its bytes, `content`, when it is complete.

    `seen` is the state that it was made from; see the function of that name. `drawing` applies to all of its maps.
    """

    films: tuple[Film, ...]
    seen: tuple[object, ...]
    collection: Collection
    drawing: Drawing
    done: int = 0
    seconds: float = 0.0
    content: bytes | None = None

    def print_until(self, context: ReportContext, until: float) -> None:
        """Print pages until the time `until` (of `time.monotonic`), at least one."""
        while self.content is None:
            started, film = time.monotonic(), self.films[self.done]
            self.collection.add(
                report_pdf(
                    context.assessment(film.assessment()),
                    context.card(film),
                    reading=film.reading,
                    drawing=self.drawing,
                    prevalence=context.prevalence(),
                )
            )
            self.done += 1
            if self.done == len(self.films):
                self.content = self.collection.content()
            self.seconds += time.monotonic() - started
            if time.monotonic() >= until:
                return

    def seconds_left(self) -> float | None:
        """Estimate the seconds for the remaining pages, None before the first page."""
        return self.seconds / self.done * (len(self.films) - self.done) if self.done else None


def seen(films: Sequence[Film], context: ReportContext) -> tuple[object, ...]:
    """Return what a PDF of `films` depends on, with `context`, so that an outdated PDF is not offered."""
    return (context.purpose, context.prevalence(), *((film.number, film.kept, film.reading) for film in films))


def printing(films: Sequence[Film], context: ReportContext, drawing: Drawing) -> Printing:
    """Begin a PDF of all images, each in its file's first rendering.

    Parameters
    ----------
    films
        The images, in order.
    context
        Cards, purpose and prevalence.
    drawing
        Side and style of all maps; its rendering is not used.
    """
    entries, own = (
        [Entry(film.number, film.sha256, context.assessment(film.assessment_without_pixels())) for film in films],
        _own(drawing),
    )
    return Printing(tuple(films), seen(films, context), collection(entries, own), own)


def _own(drawing: Drawing) -> Drawing:
    return replace(drawing, rendering=0)


def show_exports(films: Sequence[Film], context: ReportContext, drawing: Drawing, is_reading: bool) -> None:
    """Draw the exports of all films, in the order given; `drawing` is how films are displayed now."""
    made: Printing | None = st.session_state.get(_PRINTING)
    if made is not None and made.seen != seen(films, context):
        made = st.session_state[_PRINTING] = None
    with_names = bool(st.session_state.get(_NAMES))
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="exports"):
        # Made when the button is pressed; the names of the downloads identify no patient.
        st.download_button(
            "CSV of all",
            lambda: films_csv(films, context, with_names).encode("utf-8-sig"),  # the mark is for Excel
            file_name=f"pneumolens-{len(films)}-films.csv",
            mime="text/csv",
            on_click="ignore",
            key="read.csv_all",
        )
        st.download_button(
            "JSON of all",
            lambda: films_json(films, context),
            file_name=f"pneumolens-{len(films)}-films.json",
            mime="application/json",
            on_click="ignore",
            key="read.json_all",
        )
        if made is not None and made.content is not None:
            st.download_button(
                f"Save the PDF, {format_size(len(made.content))}",
                made.content,
                file_name=f"pneumolens-{len(films)}-films.pdf",
                mime="application/pdf",
                on_click="ignore",
                key="read.pdf_all",
                type="primary",
            )
        if made is not None and made.content is None:
            st.button("Stop the PDF", key="read.print_stop", on_click=forget_printing)
        elif made is None or made.drawing != _own(drawing):
            st.button(
                "PDF of all" if made is None else "PDF with the maps as shown now",
                key="read.print",
                on_click=_print,
                args=(films, context, drawing),
                disabled=is_reading,
                help="A table of all images and a page for each, with the evidence maps as they are on the screen, "
                "for or against. Available when all images are assessed.",
            )
        st.checkbox(
            "File names in the CSV",
            key=_NAMES,
            persist_state="session",
            help="Only for a file that stays where patients may be named: file names often hold names, dates "
            "of birth or numbers.",
        )
    if made is not None and made.content is None:
        st.progress(
            made.done / len(films),
            with_time_left(f"Printing page {made.done + 1} of {len(films)}", made.seconds_left()),
        )
    if with_names:
        st.html(
            '<p class="pl-warning">The CSV will hold the file names, which can name patients. Keep it where such '
            "data may be kept.</p>"
        )
    else:
        st.html(
            '<p class="pl-note">File names are shown on this screen only. Downloads identify an image by its number '
            "here and by the checksum of its content.</p>"
        )


def print_next_pages(context: ReportContext) -> bool:
    """Print the next pages of a requested PDF; return whether there was one to print."""
    made: Printing | None = st.session_state.get(_PRINTING)
    if made is None or made.content is not None:
        return False
    made.print_until(context, time.monotonic() + _SLICE_SECONDS)
    return True


def forget_printing() -> None:
    """Discard the PDF, finished or not."""
    st.session_state[_PRINTING] = None


def _print(films: Sequence[Film], context: ReportContext, drawing: Drawing) -> None:
    st.session_state[_PRINTING] = printing(films, context, drawing)

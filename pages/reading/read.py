"""The Read page: add radiographs, see finding and evidence map, download the report."""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import UTC, datetime
from functools import cache
from html import escape

import streamlit as st

from core.errors import AppError, RadiographError
from core.formatting import format_count, format_rate, with_time_left
from imaging import worker
from model.assessment import Assessment, InputIssue
from model.card import ModelCard
from model.engine import Classifier
from model.pipeline import assess
from pages.reading.exports import ReportContext, forget_printing, print_next_pages, show_exports
from pages.reading.films import Film, full_size, make_film
from pages.reading.finding import show_finding
from pages.reading.queue import ARRIVAL, MOST_FILMS, PROBABILITY, FilmQueue, Order, Waiting
from pages.reading.source_cache import RELEASED
from pages.reading.table import film_row, header_summary, pressed, queued_row, show_table, sorted_by, summary
from pages.reading.viewer import show_viewer
from pages.shared import classifiers, frame, visitor
from pages.shared.measures import VALIDATION
from pages.shared.predictive_values import prevalence_as_set, requested_purpose
from pages.shared.streamlit_patches import release_memory, take_upload
from reports.drawing import Drawing

frame.require_frame()

log = logging.getLogger(__name__)
FAILED = InputIssue(
    "INTERNAL",
    True,
    "The assessment failed because of a software error. Read this image without PneumoLens; the log holds the cause "
    "for technical support.",
)
# How long one run of the page assesses before it draws the results and handles what was pressed.
SLICE_SECONDS = 0.5
FILMS, KEY = "read.films", "films"
ORDERS: dict[Order, str] = {ARRIVAL: "Upload order", PROBABILITY: "Probability"}


def films() -> FilmQueue:
    """Return this visit's films; after a reload, those from before.

    The queue's key is in the address, which a reload repeats and a new page does not have: whoever opens the app next
    on a shared machine must not find the films of the one before.
    """
    queue: FilmQueue | None = st.session_state.get(FILMS)
    if queue is None or queue.is_untouched:
        queue = visitor.take_up(f"{FILMS} {st.query_params.get(KEY, '')}") or queue or FilmQueue()
        st.session_state[FILMS] = queue
    return queue


def keep_films(queue: FilmQueue) -> None:
    """Keep the films for a reload of this page."""
    if not queue.is_untouched and (queue.films or queue.waiting):
        visitor.keep(f"{FILMS} {queue.key}", queue)
        if st.query_params.get(KEY) != queue.key:
            st.query_params[KEY] = queue.key


def assess_some(queue: FilmQueue, classifier: Classifier) -> None:
    """Assess queued files for a moment, in the order of the queue."""
    until = time.monotonic() + SLICE_SECONDS
    while queue.waiting:
        is_first = queue.done == 0
        assess_next(queue, classifier)
        # The first image is shown at once.
        if is_first or time.monotonic() >= until:
            break
    release_memory()


def assess_next(queue: FilmQueue, classifier: Classifier) -> None:
    """Assess the first file of the queue, if there is one."""
    with queue.next_one() as file:
        if file is not None:
            assess_file(file, queue, classifier)


def assess_file(file: Waiting, queue: FilmQueue, classifier: Classifier) -> None:
    """Add a file to the films, assessed unless the same version has assessed the same bytes before."""
    started = time.monotonic()
    try:
        data = file.read()
    except RadiographError as error:  # an archive, or a file in one, that cannot be unpacked safely
        nothing = Assessment.refused(error, classifier.version, datetime.now(UTC))
        queue.add(make_film(file.name, b"", nothing), time.monotonic() - started)
        return
    known = queue.find(hashlib.sha256(data).hexdigest(), classifier.version)
    if known is not None:
        queue.add(queue.duplicate(known, file.name, data))
        return
    queue.add(assess_bytes(file.name, data, classifier), time.monotonic() - started)


def assess_bytes(name: str, data: bytes, classifier: Classifier, turn: int = 0) -> Film:
    """Assess one file's bytes; a failure becomes a film that was not assessed."""
    try:
        return make_film(name, data, assess(data, classifier, turn=turn), turn)
    except Exception:  # one file must not stop the others: the log gets the details, the page a message
        log.exception("assessing %s… failed", hashlib.sha256(data).hexdigest()[:8])
        nothing = Assessment.refused((FAILED,), classifier.version, datetime.now(UTC))
        return make_film(name, data, nothing, turn)


def reassess_requested(queue: FilmQueue, version: str) -> None:
    """Assess again the films for which the reader requested another rotation, while their files are in memory."""
    with queue.reassess_lock:
        for film in [film for film in queue.films if film.notes.requested_turn is not None]:
            turn, film.notes.requested_turn = film.notes.requested_turn or 0, None
            if film.data is not None:
                queue.replace_film(film, assess_bytes(film.name, film.data, classifiers.classifier_of(version), turn))


def report_context() -> ReportContext:
    """Return the cards, the reader's operating point and the prevalence that reports on this visit's films use."""
    return ReportContext(cache(classifiers.card_of), requested_purpose(), prevalence_as_set())


def show_pressed() -> None:
    """Show the film whose row was pressed."""
    number, queue = pressed(), films()
    if any(film.number == number for film in queue.films):
        queue.show(number or 0)


def set_order() -> None:
    """Apply the order that was chosen."""
    films().order = st.session_state["read.order"]


def set_order_by_heading() -> None:
    """Apply the order whose column heading was pressed."""
    order = next((one for one in ORDERS if one == sorted_by()), None)
    films().order = order or films().order


def start_over() -> None:
    """Remove all files and films of the visit."""
    queue = films()
    queue.clear()
    st.session_state[FILMS] = FilmQueue(drops=queue.drops + 1)
    visitor.hide_files()
    st.query_params.pop(KEY, None)
    forget_printing()


def show_toolbar(queue: FilmQueue, film: Film) -> None:
    """Draw name, position and header of the film on the screen, and the buttons to the others."""
    position, last = queue.position(), len(queue.films) - 1
    header = header_summary(film.header)
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key="toolbar"):
        st.html(f'<p class="pl-name"><span>{position + 1} of {last + 1}</span> {escape(film.name)}</p>')
        if header:
            st.html(f'<p class="pl-note">{escape(header)}</p>', width="content")
        st.button(
            "Previous", on_click=queue.step, args=(-1,), shortcut="P", key="read.previous", disabled=position == 0
        )
        st.button("Next", on_click=queue.step, args=(1,), shortcut="N", key="read.next", disabled=position >= last)
        st.button("Start over", on_click=start_over, key="read.start_over", help="Clears all images on this page.")
    if film.is_released:
        st.html(
            f'<p class="pl-note">{RELEASED} The image is shown at a lower resolution; add the file again to restore '
            "it.</p>"
        )


def show_queue(queue: FilmQueue, context: ReportContext, drawing: Drawing) -> None:
    """Draw the queue, the table and the exports; `drawing` is how the film on the screen is shown."""
    # Copied once: the run before may still add the film under assessment.
    films, waiting = queue.ordered(), tuple(queue.waiting)
    assessments = {film.number: context.assessment(film.kept) for film in films}
    rows = [film_row(film, assessments[film.number]) for film in films]
    rows += [queued_row(file.name, "Queued" if index else "In progress") for index, file in enumerate(waiting)]
    if queue.waiting:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="reading"):
            st.progress(
                queue.done / max(1, queue.total),
                with_time_left(f"Assessing image {queue.done + 1} of {queue.total}", queue.seconds_left()),
            )
            st.button(
                "Stop",
                on_click=queue.stop,
                key="read.stop",
                help="Removes the queued files. Assessed images stay.",
            )
    if len(rows) > 1:
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key="order"):
            st.html(f'<p class="pl-note">{escape(summary(list(assessments.values())))}</p>', width="stretch")
            st.session_state["read.order"] = queue.order
            st.segmented_control(
                "Order",
                tuple(ORDERS),
                format_func=ORDERS.__getitem__,
                key="read.order",
                required=True,
                on_change=set_order,
                label_visibility="collapsed",
                width="content",
            )
        show_table(rows, queue.order, queue.shown, show_pressed, set_order_by_heading)
        if len(films) > 1:
            show_exports(films, context, drawing, bool(queue.waiting))
    for note in queue_notes(queue):
        st.html(f'<p class="pl-note">{note}</p>')


def queue_notes(queue: FilmQueue) -> list[str]:
    """Return notes on files that stand in no row."""
    notes = (
        (queue.not_queued, f"not queued: the queue holds {MOST_FILMS} files and 2 GB. Add them again later."),
        (queue.skipped, "in the archive skipped: no image."),
        (queue.stopped, "not assessed: stopped."),
        (queue.removed, f"removed: the page keeps the last {MOST_FILMS} images."),
    )
    return [f"{format_count(count, 'file')} {note}" for count, note in notes if count]


def show_welcome(card: ModelCard) -> None:
    """Draw what the page does, while there is nothing to show."""
    validated, evaluation = "", card.evaluations.get(VALIDATION)
    if evaluation is not None:
        figures = ", ".join(
            f"{name} {format_rate(evaluation.measures[key].value)}"
            for key, name in (("auroc", "AUROC"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
        )
        validated = f" On {evaluation.n} validation radiographs: {figures}."
    whom = (
        "Patients whose age or projection was not measured, or was read badly, get no finding."
        if card.anatomy_sha256
        else "Not valid for adults."
    )
    st.html(
        '<section class="pl-about"><h2>Results</h2><p>For each image the calibrated probability of pneumonia, the '
        "finding at the operating point and an evidence map.</p>"
        "<h2>Supported files</h2><p>DICOM, JPEG, PNG and TIFF, one or many, and zip archives of them. Images that are "
        "not frontal chest radiographs are refused, with the reason.</p>"
        "<h2>Privacy</h2><p>Files stay in this session’s memory and are never stored. Names and identifiers in DICOM "
        "headers are not shown. Start over removes all files at once, closing the page within two minutes.</p>"
        f"<h2>Limitations</h2><p>Detects pneumonia only. {whom} Lateral views and other images are refused.</p>"
        f"<h2>Classifier in use</h2><p>{escape(card.version)}.{validated}</p></section>"
    )


def show_dropzone(queue: FilmQueue, is_empty: bool) -> None:
    """Draw the uploader, and queue what was dropped."""
    if is_empty:
        st.html('<h1 class="pl-title">Drop radiographs to assess them</h1>')
    files = st.file_uploader(
        f"{'Frontal chest' if is_empty else 'Add'} radiographs as DICOM, JPEG, PNG or TIFF, one or many, or in a zip "
        f"archive; up to {st.get_option('server.maxUploadSize')} MB each",
        accept_multiple_files=True,
        key=f"read.files.{queue.drops}",
    )
    if files:
        # Taken out of the uploader at once, which frees each file's bytes as soon as it is assessed.
        queue.drop([(file.name, take_upload(file)) for file in files])
        st.rerun()


def page() -> None:
    """Draw the page; while files are queued, assess some and draw again, so that the page stays usable."""
    queue = films()
    keep_films(queue)
    version = classifiers.card_in_use().version
    reassess_requested(queue, version)
    context = report_context()
    is_empty, film = not queue.films and not queue.waiting, queue.on_screen
    # A grid of the style sheet: two columns on a wide screen, one on a narrow one.
    with st.container(key="read_grid"):
        pictures, panel = st.container(key="read_pictures"), st.container(key="finding")
        below = st.container(key="read_queue")
    with below:
        table, dropzone = st.container(), st.container(key="dropzone_empty" if is_empty else "dropzone")
    with dropzone:
        show_dropzone(queue, is_empty)
    drawing = Drawing()
    if film is not None:
        with pictures:
            show_toolbar(queue, film)
            state = show_viewer(film, full_size(film))
            drawing = state.drawing
        with panel:
            show_finding(film, classifiers.card_of(film.kept.classifier_version), version, state)
    with table:
        if not is_empty:
            show_queue(queue, context, drawing)
    with panel:
        if is_empty:
            show_welcome(classifiers.card_of(version))
        elif film is None:
            st.html('<p class="pl-note">The finding appears here once the first image is assessed.</p>')
    with dropzone:
        # Loaded before the first file is dropped, so that nobody waits for it then.
        classifier = classifiers.classifier_of(version)
    if queue.waiting:
        assess_some(queue, classifier)
        is_done = False
    else:
        is_done = not print_next_pages(context)
    if not is_done:
        # Any element lets through a press or a change of page that came meanwhile; st.rerun would replace it.
        st.empty()
        st.rerun()


try:
    with worker.on_behalf_of(visitor.source()):
        page()
except AppError as error:
    frame.show_error(error)

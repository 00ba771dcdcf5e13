"""Read: drop radiographs, see the finding and its influence map, take the report."""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import UTC, datetime
from functools import cache
from html import escape

import streamlit as st

from core.errors import AppError, RadiographError
from core.formatting import format_rate, with_time_left
from model.assessment import Assessment, InputIssue
from model.card import ModelCard
from model.engine import Classifier
from model.pipeline import assess
from pages.reading.exports import ReportContext, forget_printing, print_some, show_exports
from pages.reading.films import Film, full_size, make_film
from pages.reading.finding import VALIDATION, show_finding
from pages.reading.queue import ARRIVAL, MOST_FILMS, PROBABILITY, FilmQueue, Order, Waiting
from pages.reading.table import facts, line, pressed, show_table, sorted_by, summary, waiting_line
from pages.reading.viewer import show_pictures
from pages.shared import classifiers, frame
from pages.shared.predictive_values import prevalence_as_set, requested_purpose
from pages.shared.streamlit_patches import release_memory, take_upload
from reports.drawing import Drawing

frame.require_frame()

log = logging.getLogger(__name__)
FAILED = InputIssue(
    "INTERNAL",
    True,
    "PneumoLens failed on this file. Read the film without it; technical support finds the cause in the log.",
)
# How long one run of the page reads before it draws what it has read and looks whether something was pressed.
SLICE_SECONDS = 0.5
ORDERS: dict[Order, str] = {ARRIVAL: "As they came", PROBABILITY: "Most probable first"}


def films() -> FilmQueue:
    """Return this visit's films."""
    queue: FilmQueue = st.session_state.setdefault("read.films", FilmQueue())
    return queue


def read_some(queue: FilmQueue, classifier: Classifier) -> None:
    """Read waiting files for a moment, the one that has waited longest first."""
    until = time.monotonic() + SLICE_SECONDS
    while queue.waiting:
        is_first = queue.done == 0
        read_next(queue, classifier)
        # The first film of a drop is shown at once.
        if is_first or time.monotonic() >= until:
            break
    release_memory()


def read_next(queue: FilmQueue, classifier: Classifier) -> None:
    """Assess one file; the same bytes are never assessed twice by one version."""
    with queue.next_one() as file:
        if file is not None:
            take(file, queue, classifier)


def take(file: Waiting, queue: FilmQueue, classifier: Classifier) -> None:
    """Make a film of a file, by assessing it unless the queue knows its bytes."""
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
    queue.add(read(file.name, data, classifier), time.monotonic() - started)


def read(name: str, data: bytes, classifier: Classifier, turn: int = 0) -> Film:
    """Assess one file's bytes; whatever goes wrong becomes a film that says so."""
    try:
        return make_film(name, data, assess(data, classifier, turn=turn), turn)
    except Exception:  # one film must not stop the others: the log gets everything, the page an apology
        log.exception("assessing %s… failed", hashlib.sha256(data).hexdigest()[:8])
        nothing = Assessment.refused((FAILED,), classifier.version, datetime.now(UTC))
        return make_film(name, data, nothing, turn)


def read_again(queue: FilmQueue, version: str) -> None:
    """Read the films again that the reader has asked to be turned, while their files are in memory."""
    with queue.reassess_lock:
        for film in [film for film in queue.films if film.notes.requested_turn is not None]:
            turn, film.notes.requested_turn = film.notes.requested_turn or 0, None
            if film.data is not None:
                queue.replace_film(film, read(film.name, film.data, classifiers.classifier_of(version), turn))


def report_context() -> ReportContext:
    """Return the cards, the reader's operating point and the prevalence that reports on this visit's films use."""
    return ReportContext(cache(classifiers.card_of), requested_purpose(), prevalence_as_set())


def choose() -> None:
    """Show the film whose line was pressed."""
    number, queue = pressed(), films()
    if any(film.number == number for film in queue.films):
        queue.show(number or 0)


def sort() -> None:
    """List the films in the order that was chosen."""
    films().order = st.session_state["read.order"]


def sort_by_heading() -> None:
    """List the films in the order whose heading was pressed."""
    order = next((one for one in ORDERS if one == sorted_by()), None)
    films().order = order or films().order


def start_over() -> None:
    """Forget every film."""
    queue = films()
    queue.show(0)
    st.session_state["read.films"] = FilmQueue(drops=queue.drops + 1)
    forget_printing()


def show_toolbar(queue: FilmQueue, film: Film) -> None:
    """Draw which film this is and the way to the others, in the order of the table."""
    place, last = queue.position(), len(queue.films) - 1
    said = facts(film.header)
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key="toolbar"):
        st.html(f'<p class="pl-name"><span>{place + 1} of {last + 1}</span> {escape(film.name)}</p>')
        if said:
            st.html(f'<p class="pl-note">{escape(said)}</p>', width="content")
        st.button("Previous", on_click=queue.step, args=(-1,), shortcut="P", key="read.previous", disabled=place == 0)
        st.button("Next", on_click=queue.step, args=(1,), shortcut="N", key="read.next", disabled=place >= last)
        st.button("Start over", on_click=start_over, key="read.start_over", help="Lets go of every film on this page.")
    if film.is_released:
        st.html(
            '<p class="pl-note">To save memory the file was let go, so the film is shown at a lower resolution. '
            "Drop the file again to bring it back.</p>"
        )


def show_queue(queue: FilmQueue, context: ReportContext, drawing: Drawing) -> None:
    """Draw every film that was read and every file that waits; `drawing` is how the film on the screen is shown."""
    # Taken once: the run before may still add the film that it has in hand.
    listed, waiting = queue.ordered(), tuple(queue.waiting)
    answers = {film.number: context.assessment(film.kept) for film in listed}
    lines = [line(film, answers[film.number]) for film in listed]
    lines += [waiting_line(file.name, "Waiting" if place else "Being read") for place, file in enumerate(waiting)]
    if queue.waiting:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="reading"):
            st.progress(
                queue.done / max(1, queue.total),
                with_time_left(f"Reading film {queue.done + 1} of {queue.total}", queue.seconds_left()),
            )
            st.button(
                "Stop reading",
                on_click=queue.stop,
                key="read.stop",
                help="Lets go of the files that wait. The films that were read stay.",
            )
    if len(lines) > 1:
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key="order"):
            st.html(f'<p class="pl-note">{escape(summary(list(answers.values())))}</p>', width="stretch")
            st.session_state["read.order"] = queue.order
            st.segmented_control(
                "Order of the films",
                tuple(ORDERS),
                format_func=ORDERS.__getitem__,
                key="read.order",
                required=True,
                on_change=sort,
                label_visibility="collapsed",
                width="content",
            )
        show_table(lines, queue.order, queue.shown, choose, sort_by_heading)
        if len(listed) > 1:
            show_exports(listed, context, drawing, bool(queue.waiting))
    for note in remarks(queue):
        st.html(f'<p class="pl-note">{note}</p>')


def remarks(queue: FilmQueue) -> list[str]:
    """Say what became of files that stand in no line."""
    reasons = (
        (
            queue.not_queued,
            f"not taken, since the queue holds {MOST_FILMS} files and 2 GB. Drop the rest when these are read.",
        ),
        (queue.skipped, "passed over in the archive, being no picture."),
        (queue.stopped, "not read, since the reading was stopped."),
        (queue.removed, f"let go, since the page keeps the last {MOST_FILMS} films."),
    )
    return [f"{count} file{' was' if count == 1 else 's were'} {reason}" for count, reason in reasons if count]


def show_welcome(card: ModelCard) -> None:
    """Say what will happen, before there is anything to show."""
    known, evaluation = "", card.evaluations.get(VALIDATION)
    if evaluation is not None:
        figures = ", ".join(
            f"{name} {format_rate(evaluation.measures[key].value)}"
            for key, name in (("auroc", "AUROC"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
        )
        known = f" On {evaluation.n} validation radiographs: {figures}."
    st.html(
        '<section class="pl-about"><h2>What you get</h2><p>For each film a calibrated probability of pneumonia, what '
        "it means at the operating point, and a map of the regions that raised it.</p>"
        "<h2>What it takes</h2><p>DICOM as it comes from the detector or the archive, JPEG, PNG and TIFF, alone or "
        "many at once, and zip archives of them. What is not a frontal chest radiograph is refused, with the reason."
        "</p>"
        "<h2>What happens to the files</h2><p>They stay in this session’s memory and are never stored. Names and "
        "identifiers in a DICOM file are not shown. Start over, or closing the page, lets go of everything.</p>"
        "<h2>What it cannot do</h2><p>It knows pneumonia and nothing else. For adults, lateral films and pictures that "
        "are not radiographs its answers mean nothing.</p>"
        f"<h2>Classifier in use</h2><p>{escape(card.version)}.{known}</p></section>"
    )


def show_dropzone(queue: FilmQueue, is_empty: bool) -> None:
    """Draw where files are dropped, and take what was."""
    if is_empty:
        st.html('<h1 class="pl-title">Drop radiographs to read them</h1>')
    files = st.file_uploader(
        f"{'Frontal chest' if is_empty else 'Add'} radiographs as DICOM, JPEG, PNG or TIFF, one or many, or in a zip "
        f"archive; up to {st.get_option('server.maxUploadSize')} MB each",
        accept_multiple_files=True,
        key=f"read.files.{queue.drops}",
    )
    if files:
        # Taken out of the uploader at once, which frees each file's bytes as soon as it is read.
        queue.drop([(file.name, take_upload(file)) for file in files])
        st.rerun()


def page() -> None:
    """Draw the page; while files wait, read some and draw again, so that the page stays usable."""
    queue = films()
    version = classifiers.card_in_use().version
    read_again(queue, version)
    context = report_context()
    is_empty, film = not queue.films and not queue.waiting, queue.on_screen
    # A grid of the style sheet's: two columns on a wide screen, one below the other on a narrow one.
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
            state = show_pictures(film, full_size(film))
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
            st.html('<p class="pl-note">The finding stands here as soon as the first film is read.</p>')
    with dropzone:
        # Loaded before the first film comes, so that nobody waits for it with a film in hand.
        classifier = classifiers.classifier_of(version)
    if queue.waiting:
        read_some(queue, classifier)
        is_done = False
    else:
        is_done = not print_some(context)
    if not is_done:
        # Any element lets a press or a change of page through that came meanwhile; st.rerun would replace it.
        st.empty()
        st.rerun()


try:
    page()
except AppError as error:
    frame.show_error(error)

"""Read: drop radiographs, see the finding and its influence map, take the report."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html import escape

import streamlit as st

from model.assessment import Assessment, InputIssue
from model.card import ModelCard
from model.engine import Classifier
from model.errors import AppError
from model.pipeline import assess
from pages.shared import session
from pages.shared.films import MOST_FILMS, Film, Films, Waiting, keep
from pages.shared.finding import VALIDATION, show_finding
from pages.shared.measures import rate
from pages.shared.viewer import show_pictures

session.require_frame()

log = logging.getLogger(__name__)
FAILED = InputIssue(
    "INTERNAL", True, "PneumoLens failed on this file. Read the film without it; technical support finds the cause in "
    "the log.")
WIDTHS = {"File": 215, "Finding": 170, "Probability": 90, "Remarks": 230, "Status": 80}


def films() -> Films:
    """Return this visit's films."""
    queue: Films = st.session_state.setdefault("read.films", Films())
    return queue


def read_next(queue: Films, classifier: Classifier) -> None:
    """Assess the file that has waited longest; the same bytes are never assessed twice by one version."""
    file = queue.waiting.popleft()
    digest = hashlib.sha256(file.data).hexdigest()
    known = queue.find(digest, classifier.version)
    if known is not None:
        queue.add(known if known.name == file.name else replace(known, name=file.name))
        return
    try:
        film = keep(file.name, file.data, assess(file.data, classifier))
    except Exception:  # one film must not stop the others: the log gets everything, the page an apology
        log.exception("assessing %s… failed", digest[:8])
        nothing = Assessment(None, (FAILED,), None, None, classifier.version, datetime.now(UTC), 0.0)
        film = keep(file.name, file.data, nothing)
    queue.add(film)
    del file
    session.give_memory_back()


def line(film: Film) -> dict[str, object]:
    """Return a film's line in the queue."""
    prediction = film.kept.prediction
    remarks = " ".join(issue.message for issue in film.kept.issues if issue.blocking or not film.kept.is_refused)
    if prediction is None:
        return waiting_line(film.name, "Refused") | {"Finding": "Not assessed", "Remarks": remarks}
    # Sorts as a number and, like the panel, never shows 0.00 or 1.00.
    shown = min(max(prediction.probability, 0.0051), 0.9949)
    return {"File": film.name, "Finding": prediction.words.split(":")[0], "Probability": shown, "Remarks": remarks,
            "Status": "Read"}


def summary(queue: Films) -> str:
    """Count the findings of the queue, those to be looked at first in front."""
    words = Counter("not assessed" if film.kept.prediction is None else
                    film.kept.prediction.words.split(":")[0].lower() for film in queue.films)
    order = ("pneumonia likely", "near the operating point", "pneumonia unlikely", "not assessed")
    counted = [f"{words[name]} {name}" for name in order if words[name]]
    return f"{len(queue.films)} films: {', '.join(counted)}." if counted else "No film read yet."


def waiting_line(name: str, status: str) -> dict[str, object]:
    """Return the line of a file of which nothing is known yet."""
    return {"File": name, "Finding": "", "Probability": None, "Remarks": "", "Status": status}


def choose() -> None:
    """Show the film whose line was pressed."""
    selection, queue = st.session_state["read.queue"]["selection"], films()
    # A press into a line selects the cell, one on its circle the row; the line that is shown stays selected as a row.
    rows = [row for row, _ in selection["cells"]] or selection["rows"]
    if rows and rows[0] < len(queue.films):
        queue.shown = rows[0]


def start_over() -> None:
    """Forget every film."""
    st.session_state["read.films"] = Films(drops=films().drops + 1)


def show_toolbar(queue: Films) -> None:
    """Draw which film this is and the way to the others."""
    film, last = queue.films[queue.shown], len(queue.films) - 1
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key="toolbar"):
        st.html(f'<p class="pl-name"><span>{queue.shown + 1} of {last + 1}</span> {escape(film.name)}</p>')
        st.button("Previous", on_click=queue.step, args=(-1,), shortcut="P", key="read.previous",
                  disabled=queue.shown == 0)
        st.button("Next", on_click=queue.step, args=(1,), shortcut="N", key="read.next", disabled=queue.shown >= last)
        st.button("Start over", on_click=start_over, key="read.start_over", help="Lets go of every film on this page.")


def show_queue(queue: Films) -> None:
    """Draw every film that was read and every file that waits, in the order in which they came."""
    lines = [line(film) for film in queue.films]
    lines += [waiting_line(file.name, "Waiting" if place else "Reading") for place, file in enumerate(queue.waiting)]
    if queue.waiting:
        done = len(queue.films)
        st.progress(done / len(lines), f"Reading film {done + 1} of {len(lines)}. The films that are done can be "
                    "looked at meanwhile.")
    if len(lines) > 1:
        st.html(f'<p class="pl-note">{escape(summary(queue))}</p>')
        st.session_state["read.queue"] = {"selection": {"rows": [queue.shown], "columns": [], "cells": []}}
        columns = {name: st.column_config.TextColumn(width=width) for name, width in WIDTHS.items()}
        columns["Probability"] = st.column_config.NumberColumn(format="%.2f", width=WIDTHS["Probability"])
        st.dataframe(
            {name: [one[name] for one in lines] for name in WIDTHS}, key="read.queue", hide_index=True,
            on_select=choose, selection_mode=("single-row-required", "single-cell"), row_height=32, placeholder="–",
            height=min(32 * len(lines) + 38, 300), column_config=columns,
            alt="Films of this visit: file, finding, probability, remarks, status")
    if queue.turned_away:
        st.html(f'<p class="pl-warning">{queue.turned_away} files were not taken, since the queue holds {MOST_FILMS}. '
                "Drop them again when these are read.</p>")
    if queue.let_go:
        st.html(f'<p class="pl-note">The queue keeps the last {MOST_FILMS} films; {queue.let_go} earlier ones were let '
                "go.</p>")


def show_welcome(card: ModelCard) -> None:
    """Say what will happen, before there is anything to show."""
    known, evaluation = "", card.evaluations.get(VALIDATION)
    if evaluation is not None:
        figures = ", ".join(f"{name} {rate(evaluation.measures[key].value)}" for key, name in (
            ("auroc", "AUROC"), ("sensitivity", "sensitivity"), ("specificity", "specificity")))
        known = f" On {evaluation.n} validation radiographs: {figures}."
    st.html(
        '<section class="pl-about"><h2>What you get</h2><p>For each film a calibrated probability of pneumonia, what '
        "it means at the operating point, and a map of the regions that raised it.</p>"
        "<h2>What happens to the files</h2><p>They stay in this session’s memory and are never stored. Start over, or "
        "closing the page, lets go of them.</p>"
        "<h2>What it cannot do</h2><p>It knows pneumonia and nothing else. For adults, lateral films and pictures that "
        "are not radiographs its answers mean nothing.</p>"
        f"<h2>Classifier in use</h2><p>{escape(card.version)}.{known}</p></section>")


def page() -> None:
    """Draw the page; while files wait, read one and draw again, so that the page stays usable."""
    queue = films()
    version = session.card_in_use().version
    is_empty = not queue.films and not queue.waiting
    # A grid of the style sheet's: two columns on a wide screen, one below the other on a narrow one.
    with st.container(key="read_grid"):
        pictures, panel = st.container(key="read_pictures"), st.container(key="finding")
        below = st.container(key="read_queue")
    with below:
        table, dropzone = st.container(), st.container(key="dropzone_empty" if is_empty else "dropzone")
    with dropzone:
        if is_empty:
            st.html('<h1 class="pl-title">Drop radiographs to read them</h1>')
        files = st.file_uploader(
            f"{'Frontal chest' if is_empty else 'Add'} radiographs as JPEG or PNG, one or several, up to 200 MB each",
            accept_multiple_files=True, key=f"read.files.{queue.drops}")
    if files:
        # Taken out of the uploader at once, which frees each file's bytes as soon as it is read.
        queue.drop([Waiting(file.name, session.take(file)) for file in files])
        st.rerun()
    with pictures:
        if queue.films:
            show_toolbar(queue)
            film = queue.films[queue.shown]
            mode, opacity = show_pictures(film)
            with panel:
                show_finding(film, session.card_of(film.kept.classifier_version), version, mode, opacity)
    with table:
        if not is_empty:
            show_queue(queue)
    with panel:
        if is_empty:
            show_welcome(session.card_of(version))
        elif not queue.films:
            st.html('<p class="pl-note">The finding stands here as soon as the first film is read.</p>')
    with dropzone:
        # Loaded before the first film comes, so that nobody waits for it with a film in hand.
        classifier = session.classifier_of(version)
    if queue.waiting:
        read_next(queue, classifier)
        # Any element lets a press or a change of page through that came meanwhile; st.rerun would replace it.
        st.empty()
        st.rerun()


try:
    page()
except AppError as error:
    session.show_error(error)

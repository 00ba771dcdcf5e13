"""What the reader makes of the film, verdict and remarks, and what can be taken away of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from core.errors import AppError
from model.assessment import Assessment, Reading, Verdict
from model.card import ModelCard
from model.operating import at_purpose
from pages.reading.films import Film, annotate, assessment_at_full_size
from pages.shared.predictive_values import chosen_purpose, prevalence_as_set
from reports.json_report import report_json, report_pdf

if TYPE_CHECKING:
    from pages.reading.viewer import ViewerState

log = logging.getLogger(__name__)
# A belongs to the viewer, for the map for or against.
VERDICTS: tuple[tuple[Verdict, str, str], ...] = (
    ("agree", "Agree", "Y"),
    ("disagree", "Disagree", "D"),
    ("unsure", "Unsure", "U"),
)
MOST_LETTERS = 600
_BEFORE = "read.reading_before"


def show_verdict(film: Film) -> None:
    """Let the reader agree or disagree and write remarks; both stay with the film for the visit and go into reports."""
    reading = film.reading
    st.html('<h3 class="pl-heading">Your verdict</h3>')
    with st.container(horizontal=True, gap="small", key="verdict"):
        for verdict, label, key in VERDICTS:
            st.button(
                label,
                key=f"read.{verdict}",
                shortcut=key,
                on_click=_judge,
                args=(film, verdict),
                type="primary" if reading.verdict == verdict else "secondary",
                width="stretch",
            )
    # Not as the field's own value: when that changes Streamlit makes another field, which has not got the focus.
    st.session_state.setdefault(_remarks_key(film), reading.remarks)
    st.text_area(
        "Remarks",
        key=_remarks_key(film),
        on_change=_remark,
        args=(film,),
        height=68,
        max_chars=MOST_LETTERS,
        placeholder="Remarks, for the report",
        label_visibility="collapsed",
    )
    before = st.session_state.get(_BEFORE)
    if before is not None and before[0] == film.number:
        st.button("Undo the last change", key="read.undo", on_click=_undo, args=(film,), type="tertiary")


def _remarks_key(film: Film) -> str:
    return f"read.remarks.{film.number}"


def _judge(film: Film, verdict: Verdict) -> None:
    """Take a verdict; the one that stands, pressed again, is taken back."""
    stands = film.reading.verdict == verdict
    _keep(film, Reading(None if stands else verdict, film.reading.remarks))


def _remark(film: Film) -> None:
    _keep(film, Reading(film.reading.verdict, st.session_state[_remarks_key(film)].strip()))


def _keep(film: Film, reading: Reading) -> None:
    st.session_state[_BEFORE] = (film.number, film.reading)
    annotate(film, reading=reading)


def _undo(film: Film) -> None:
    number, reading = st.session_state.pop(_BEFORE)
    if number == film.number:
        annotate(film, reading=reading)
        st.session_state[_remarks_key(film)] = reading.remarks


def show_downloads(film: Film, card: ModelCard, view: ViewerState) -> None:
    """Draw what can be taken away: the report as PDF and JSON and, of a DICOM file, as DICOM objects of its study."""
    # Named after the file's content: the file's name can hold a patient's. Made when the button is pressed and in
    # another thread, which has no session: what the reader has chosen is asked for here.
    name, purpose, prevalence = f"pneumolens-{film.sha256[:8]}", chosen_purpose(card), prevalence_as_set()
    is_dicom, data = film.header is not None, film.data
    no_dicom = (
        None
        if is_dicom and data is not None
        else (
            "Of DICOM files only: the objects belong to the study that the film came from."
            if not is_dicom
            else "The file was let go to save memory; drop it again."
        )
    )

    def assessment() -> Assessment:
        return at_purpose(film.assessment(), card, purpose)

    def drawn() -> Assessment:
        return at_purpose(assessment_at_full_size(film), card, purpose)

    def structured() -> bytes:
        from reports.dicom.objects import report_sr  # highdicom is slow to import; only who asks for it pays

        return report_sr(data or b"", assessment(), card, film.reading)

    def captured() -> bytes:
        from reports.dicom.objects import report_sc

        return report_sc(data or b"", drawn(), card, drawing=view.drawing)

    downloads: tuple[tuple[str, str, str, str, Callable[[], bytes | str]], ...] = (
        (
            "PDF",
            "pdf",
            ".pdf",
            "application/pdf",
            lambda: report_pdf(drawn(), card, reading=film.reading, drawing=view.drawing, prevalence=prevalence()),
        ),
        (
            "JSON",
            "json",
            ".json",
            "application/json",
            lambda: report_json(assessment(), card, film.reading, prevalence=prevalence()),
        ),
        ("DICOM SR", "sr", "-sr.dcm", "application/dicom", structured),
        ("DICOM SC", "sc", "-sc.dcm", "application/dicom", captured),
    )
    helps = {
        "pdf": "One page, with film and influence map as they are shown here.",
        "json": "The same for programs, without pictures.",
        "sr": no_dicom or "A structured report with the probability as a measurement, for the archive.",
        "sc": no_dicom or "Film and influence map as they are shown here, as a secondary capture for the archive.",
    }
    st.html('<h3 class="pl-heading">Report</h3>')
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="downloads"):
        for label, key, ending, mime, make in downloads:
            st.download_button(
                label,
                _logged(make),
                file_name=name + ending,
                mime=mime,
                on_click="ignore",
                key=f"read.{key}",
                help=helps[key],
                disabled=key in ("sr", "sc") and no_dicom is not None,
            )
    if not is_dicom:
        st.html('<p class="pl-note">DICOM objects only of DICOM files: they belong to the film’s own study.</p>')
    elif data is None:
        st.html('<p class="pl-note">For DICOM objects drop the file again; it was let go to save memory.</p>')


def _logged(make: Callable[[], bytes | str]) -> Callable[[], bytes | str]:
    """Return the same, with what fails in the log: a download runs outside the page, which could say nothing."""

    def made() -> bytes | str:
        try:
            return make()
        except (AppError, ValueError):
            log.exception("making a download failed")
            raise

    return made

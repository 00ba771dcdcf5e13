"""The reader's verdict and remarks on a film, and the downloads of its report."""

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
from pages.reading.source_cache import RELEASED
from pages.shared.predictive_values import chosen_purpose, prevalence_as_set
from reports.json_report import report_json, report_pdf

if TYPE_CHECKING:
    from pages.reading.viewer import ViewerState

log = logging.getLogger(__name__)
# The key A is the viewer's, for the map for or against.
VERDICTS: tuple[tuple[Verdict, str, str], ...] = (
    ("agree", "Agree", "Y"),
    ("disagree", "Disagree", "D"),
    ("unsure", "Unsure", "U"),
)
MAX_CHARACTERS = 600
_PREVIOUS = "read.reading_before"


def show_verdict(film: Film) -> None:
    """Draw the reader's verdict and remarks, which are kept with the film for the visit and go into reports."""
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
    # Not as the field's value: when that changes Streamlit makes another field, which does not have the focus.
    st.session_state.setdefault(_remarks_key(film), reading.remarks)
    st.text_area(
        "Remarks",
        key=_remarks_key(film),
        on_change=_remark,
        args=(film,),
        height=68,
        max_chars=MAX_CHARACTERS,
        placeholder="Remarks for the report",
        label_visibility="collapsed",
    )
    before = st.session_state.get(_PREVIOUS)
    if before is not None and before[0] == film.number:
        st.button("Undo last change", key="read.undo", on_click=_undo, args=(film,), type="tertiary")


def _remarks_key(film: Film) -> str:
    return f"read.remarks.{film.number}"


def _judge(film: Film, verdict: Verdict) -> None:
    """Set the verdict; pressing the present one again clears it."""
    stands = film.reading.verdict == verdict
    _keep(film, Reading(None if stands else verdict, film.reading.remarks))


def _remark(film: Film) -> None:
    _keep(film, Reading(film.reading.verdict, st.session_state[_remarks_key(film)].strip()))


def _keep(film: Film, reading: Reading) -> None:
    st.session_state[_PREVIOUS] = (film.number, film.reading)
    annotate(film, reading=reading)


def _undo(film: Film) -> None:
    number, reading = st.session_state.pop(_PREVIOUS)
    if number == film.number:
        annotate(film, reading=reading)
        st.session_state[_remarks_key(film)] = reading.remarks


def show_downloads(film: Film, card: ModelCard, view: ViewerState) -> None:
    """Draw the downloads: the report as PDF and JSON and, for a DICOM file, as DICOM objects of its study."""
    # Named after the file's content: the file's name can hold a patient's. Made when the button is pressed and in
    # another thread, which has no session: what the reader has chosen is asked for here.
    name, purpose, prevalence = f"pneumolens-{film.sha256[:8]}", chosen_purpose(card), prevalence_as_set()
    is_dicom, data = film.header is not None, film.data
    no_dicom = (
        None
        if is_dicom and data is not None
        else (
            "DICOM files only: the object becomes part of the study of the file."
            if not is_dicom
            else f"{RELEASED} Add the file again."
        )
    )

    def assessment() -> Assessment:
        return at_purpose(film.assessment(), card, purpose)

    def assessment_as_shown() -> Assessment:
        return at_purpose(assessment_at_full_size(film), card, purpose)

    def structured_report() -> bytes:
        from reports.dicom.objects import report_sr  # highdicom is slow to import; only who asks for it pays

        return report_sr(data or b"", assessment(), card, film.reading)

    def secondary_capture() -> bytes:
        from reports.dicom.objects import report_sc

        return report_sc(data or b"", assessment_as_shown(), card, drawing=view.drawing)

    downloads: tuple[tuple[str, str, str, str, Callable[[], bytes | str]], ...] = (
        (
            "PDF",
            "pdf",
            ".pdf",
            "application/pdf",
            lambda: report_pdf(
                assessment_as_shown(), card, reading=film.reading, drawing=view.drawing, prevalence=prevalence()
            ),
        ),
        (
            "JSON",
            "json",
            ".json",
            "application/json",
            lambda: report_json(assessment(), card, film.reading, prevalence=prevalence()),
        ),
        ("DICOM SR", "sr", "-sr.dcm", "application/dicom", structured_report),
        ("DICOM SC", "sc", "-sc.dcm", "application/dicom", secondary_capture),
    )
    helps = {
        "pdf": "One page with the radiograph and the evidence map as shown.",
        "json": "The same data for software, without images.",
        "sr": no_dicom or "Structured report with the probability as a measurement, for the archive.",
        "sc": no_dicom or "Radiograph and evidence map as shown, as a secondary capture for the archive.",
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
        st.html('<p class="pl-note">DICOM SR and SC are available for DICOM files only.</p>')
    elif data is None:
        st.html(f'<p class="pl-note">{RELEASED} Add the file again for DICOM SR and SC.</p>')


def _logged(make: Callable[[], bytes | str]) -> Callable[[], bytes | str]:
    """Return the same function with its failures logged: a download runs outside the page, which cannot show them."""

    def made() -> bytes | str:
        try:
            return make()
        except (AppError, ValueError):
            log.exception("making a download failed")
            raise

    return made

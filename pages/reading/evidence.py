"""The evidence behind a finding: stability under perturbations, lung zones, and the nearest training cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.formatting import format_probability
from imaging.film import Radiograph
from model.assessment import EvidenceRegions, Population, Prediction
from model.engine import Classifier
from model.lung_zones import is_mirrored, locate_evidence, region_words
from model.stability import largest_change, measure_stability, stability_words
from pages.reading.films import Film, annotate
from reports.wording import decides_words, lungs_sentence

# A reader who steps quickly through the films does not wait for figures that are not read.
IDLE_SECONDS = 0.7


def evidence_regions(film: Film) -> EvidenceRegions | None:
    """Return the distribution of the evidence over lung zones, estimated when the film is first on the screen.

    None without evidence, and for an image that appears rotated: zones are defined on an upright image.
    """
    if film.regions is None and film.evidence is not None and not film.evidence_is_empty and not film.kept.turn:
        regions = locate_evidence(
            film.kept.anatomy, film.evidence.astype(np.float32), is_mirrored=is_mirrored(film.header)
        )
        if regions is not None:
            annotate(film, regions=regions)
    return film.regions


def show_evidence(film: Film, prediction: Prediction, classifier: Callable[[], Classifier]) -> None:
    """Draw stability, lung zones and nearest training cases as three rows.

    Parameters
    ----------
    film
        The film on the screen.
    prediction
        Its prediction at the reader's operating point.
    classifier
        Returns the version that assessed the film; called only when the stability is measured.
    """
    if not film.kept.is_outside:
        if film.stability is None and film.kept.radiograph is not None:
            _measure_when_idle(film, film.kept.radiograph, prediction, classifier)
        else:
            _show_stability(film, prediction)
    regions, population, anatomy = evidence_regions(film), film.kept.population, film.kept.anatomy
    rows = []
    if anatomy is not None:
        rows.append(("Lungs", lungs_sentence(anatomy, film.frame)))
    if regions is not None:
        note = " Sides are the patient’s; zones are estimated." if regions.is_found else ""
        rows.append(("Evidence for pneumonia", f"{region_words(regions)}.{note}"))
    elif film.evidence is not None and film.kept.turn:
        rows.append(("Evidence for pneumonia", "Zones are given once the image is upright."))
    elif film.evidence is not None:
        rows.append(("Evidence for pneumonia", "None: no region raised the probability."))
    if population is not None:
        rows.append(("Nearest training cases", _neighbours(population) + decides_words(film.kept)))
    if rows:
        st.html(paragraphs(rows))


def paragraphs(rows: list[tuple[str, str]]) -> str:
    """Return (name, sentence) rows as short paragraphs of HTML."""
    return "".join(f'<p class="pl-fact"><span>{escape(name)}</span> {escape(words)}</p>' for name, words in rows)


def measure(film: Film, radiograph: Radiograph, prediction: Prediction, classifier: Classifier) -> None:
    """Measure a film's stability and add it to the film.

    Measured on the radiograph at display size, which is resampled once more than for the assessment: the range is
    widened to include the probability that the panel shows.
    """
    found = measure_stability(radiograph, classifier)
    annotate(
        film,
        stability=replace(
            found, low=min(found.low, prediction.probability), high=max(found.high, prediction.probability)
        ),
    )


@st.fragment(run_every=IDLE_SECONDS)
def _measure_when_idle(
    film: Film, radiograph: Radiograph, prediction: Prediction, classifier: Callable[[], Classifier]
) -> None:
    """Measure the stability once the page has been idle for a moment, and say so until then."""
    if film.stability is None and _runs_by_itself():
        measure(film, radiograph, prediction, classifier())
        st.rerun()  # without this fragment, which would go on running
    st.html(paragraphs([("Stability", "Perturbation test running, about two seconds …")]))


def _runs_by_itself() -> bool:
    """Whether the timer has started this run of a fragment, and not a run of the page around it."""
    context = get_script_run_ctx()
    return context is not None and bool(context.fragment_ids_this_run)


def _show_stability(film: Film, prediction: Prediction) -> None:
    if film.stability is None:
        return
    words, (name, moved) = stability_words(film.stability, prediction), largest_change(film.stability, prediction)
    if format_probability(film.stability.low) != format_probability(film.stability.high):
        words += f"; largest change when {name}, to {format_probability(moved)}"
    st.html(paragraphs([("Stability", f"{words}.")]))


def _neighbours(population: Population) -> str:
    own = f"Distribution distance {population.distance:.2f} (limit {population.threshold:.2f})."
    if not population.neighbours:
        return own
    labels = {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}
    near = ", ".join(f"{labels.get(one.label, one.label.lower())} {one.distance:.2f}" for one in population.neighbours)
    return f"{near[0].upper()}{near[1:]}. {own}"

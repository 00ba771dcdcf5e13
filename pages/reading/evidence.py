"""What bears on the finding beside the probability: stability, where the influence lies, and what the film is like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.formatting import format_probability
from imaging.film import Radiograph
from model.assessment import EvidenceRegions, Population, Prediction
from model.engine import Classifier
from model.lung_zones import is_mirrored, locate_evidence, region_words
from model.stability import measure_stability, most_moving, stability_words
from pages.reading.films import Film, annotate

# Whoever steps quickly through the films is not held up by figures that he would not read.
PATIENCE_SECONDS = 0.7


def evidence_regions(film: Film) -> EvidenceRegions | None:
    """Return where the film's influence lies, estimated when the film is first on the screen.

    None without a map or influence, and of a film that lies on its side: zones are those of a child who stands upright.
    """
    pixels = film.pixels
    if (
        film.regions is None
        and pixels is not None
        and film.evidence is not None
        and not film.evidence_is_empty
        and not film.kept.turn
    ):
        regions = locate_evidence(pixels, film.evidence, is_mirrored=is_mirrored(film.header))
        if regions is not None:
            annotate(film, regions=regions)
    return film.regions


def show_bearing(film: Film, prediction: Prediction, classifier: Callable[[], Classifier]) -> None:
    """Draw stability, influence and neighbours as three short rows; `classifier` is asked for when it is needed."""
    if not film.kept.is_outside:
        if film.stability is None and film.kept.radiograph is not None:
            _measure_when_idle(film, film.kept.radiograph, prediction, classifier)
        else:
            _show_stability(film, prediction)
    regions, population = evidence_regions(film), film.kept.population
    rows = []
    if regions is not None:
        how = " Patient’s sides, zones estimated." if regions.is_found else ""
        rows.append(("Influence for pneumonia", f"{region_words(regions)}.{how}"))
    elif film.evidence is not None and film.kept.turn:
        rows.append(("Influence for pneumonia", "Its zones can be named once the film stands upright."))
    elif film.evidence is not None:
        rows.append(("Influence for pneumonia", "None: no region raised the probability."))
    if population is not None:
        rows.append(("Most similar in training, by distance", _neighbours(population)))
    if rows:
        st.html(said(rows))


def said(rows: list[tuple[str, str]]) -> str:
    """Return names and sentences as short paragraphs."""
    return "".join(f'<p class="pl-said"><span>{escape(name)}</span> {escape(words)}</p>' for name, words in rows)


def measure(film: Film, radiograph: Radiograph, prediction: Prediction, classifier: Classifier) -> None:
    """Measure a film's stability and keep it with the film.

    The film at display size is twice as fine as what the network sees, but resampled once more: the range includes
    the probability that the panel shows.
    """
    found = measure_stability(radiograph, classifier)
    annotate(
        film,
        stability=replace(
            found, low=min(found.low, prediction.probability), high=max(found.high, prediction.probability)
        ),
    )


@st.fragment(run_every=PATIENCE_SECONDS)
def _measure_when_idle(
    film: Film, radiograph: Radiograph, prediction: Prediction, classifier: Callable[[], Classifier]
) -> None:
    """Say that the stability is being measured, and measure it once the page has been left alone for a moment."""
    if film.stability is None and _runs_by_itself():
        measure(film, radiograph, prediction, classifier())
        st.rerun()  # without this fragment, which would go on running
    st.html(said([("Stability", "Being measured under eight small changes, about two seconds …")]))


def _runs_by_itself() -> bool:
    """Whether the timer has started this run of a fragment, and not a run of the page around it."""
    context = get_script_run_ctx()
    return context is not None and bool(context.fragment_ids_this_run)


def _show_stability(film: Film, prediction: Prediction) -> None:
    if film.stability is None:
        return
    words, (name, moved) = stability_words(film.stability, prediction), most_moving(film.stability, prediction)
    if format_probability(film.stability.low) != format_probability(film.stability.high):
        words += f"; moved most when {name}, to {format_probability(moved)}"
    st.html(said([("Stability", f"{words}.")]))


def _neighbours(population: Population) -> str:
    own = f"Distance from all of them {population.distance:.2f}; outside from {population.threshold:.2f}."
    if not population.neighbours:
        return own
    labels = {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}
    near = ", ".join(f"{labels.get(one.label, one.label.lower())} {one.distance:.2f}" for one in population.neighbours)
    return f"{near[0].upper()}{near[1:]}. {own}"

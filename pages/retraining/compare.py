"""The Compare step: a run's version and the classifier in use on the same held-out radiographs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

from core.errors import AppError
from core.formatting import (
    format_duration,
    format_interval,
    format_p_value,
    format_probability,
    format_rate,
    format_signed,
    format_signed_interval,
    with_time_left,
)
from core.settings import Settings
from model.card import Evaluation, Measure
from model.registry import active_version, load_card
from pages.retraining import charts_compare
from pages.retraining.groups import show_groups
from pages.shared import frame, visitor
from pages.shared.administrator import still_administrator
from pages.shared.measures import MEASURE_NAMES, perturbation_name
from training.evaluation import looks
from training.evaluation.groups import MIN_FILMS, TOO_FEW
from training.runs import candidate, estimate
from training.runs.candidate import ComparisonState
from training.runs.candidate_result import CandidateComparison, DifferingFilm
from training.runs.held_out import made_version
from training.runs.promotion import LIMITS

SPLITS = {"test": "the test split", "validation": "the held-out validation patients"}
ROWS = ("auroc", "sensitivity", "specificity", "accuracy", "ece")
WITH_MAPS, WITHOUT = "With evidence maps", "Without maps"


def show(settings: Settings, run_id: str) -> None:
    """Draw the comparison of the run's version with the classifier in use, or the button that starts it."""
    try:
        _show(settings, run_id)
    except AppError as error:
        frame.show_error(error)


def _show(settings: Settings, run_id: str) -> None:
    folder = candidate.run_of(settings, run_id)
    if folder is None:
        st.html(
            '<h2 class="pl-title">Compare</h2><p class="pl-note">No training is selected. Select one under Train.</p>'
        )
        _step_button("Select a training", "train", run=None)
        return
    version = made_version(folder)
    if version is None:
        st.html(
            '<h2 class="pl-title">Compare</h2><p class="pl-note">This training has not produced a version yet. '
            "Compare it when it has finished.</p>"
        )
        _step_button("Show training", "train")
        return
    in_use = active_version(settings)
    state = candidate.read_comparison(folder)
    other = state.result.against if state.result else in_use
    st.html(f'<h2 class="pl-title">{escape(version)} vs. {escape(other)}</h2>')
    if state.state == "running":
        _show_progress(folder)
    elif state.state == "failed":
        show_failure(state)
        _start_button(settings, folder, in_use, "Restart comparison")
    elif state.result is not None:
        _show_validity(settings, folder, state.result, in_use)
        show_overlap(state.result)
        show_result(state.result, folder / candidate.FOLDER, looks.sets_of(settings, (version, other)))
        _step_button("Continue to decision", "decide", primary=True)
    elif version == in_use:
        st.html(f'<p class="pl-note">{escape(version)} is the classifier in use. There is nothing to compare.</p>')
        _step_button("Show history", "decide")
    else:
        _show_invitation(settings, folder, version, in_use)


def _show_invitation(settings: Settings, folder: Path, version: str, in_use: str) -> None:
    card, card_in_use = load_card(settings, version), load_card(settings, in_use)
    split, n = candidate.films_to_compare(card)
    seconds = estimate.comparison_seconds(settings, card, card_in_use)
    st.html(
        f'<p class="pl-note">Both classifiers assess the same {n} radiographs of {SPLITS[split]}, each at its '
        "own operating point. The comparison covers discrimination, calibration and robustness to perturbations, and "
        "shows the radiographs with the largest disagreement with both evidence maps. Estimated time: "
        f"{format_duration(seconds)} on this machine. It continues if you leave this page; clinical use does not "
        "change.</p>"
    )
    _start_button(settings, folder, in_use, f"Compare {version} with {in_use}")


def _start_button(settings: Settings, folder: Path, in_use: str, label: str) -> None:
    if st.button(label, type="primary", key="compare.start"):
        with visitor.noted(settings, "compare", folder.name):
            candidate.start_comparison(settings, folder, in_use)
        st.rerun()


@st.fragment(run_every=1)
def _show_progress(folder: Path) -> None:
    """Draw the progress of the comparison, and the whole page again once it has ended."""
    still_administrator()
    state = candidate.read_comparison(folder)
    if state.state != "running":
        st.rerun()
    share = state.done / state.total if state.total else 0.0
    st.progress(min(1.0, share), text=progress_words(state))


def progress_words(state: ComparisonState) -> str:
    """Return the phase, progress and time left of a running comparison as words."""
    words = state.phase[:1].upper() + state.phase[1:]
    if state.total:
        words += f", {100 * state.done // state.total} %"
    return with_time_left(words, state.seconds_left)


def show_failure(state: ComparisonState) -> None:
    """Draw why the comparison failed."""
    if state.failure is not None:
        st.html(
            f'<section class="pl-warning"><p><strong>The comparison failed.</strong> '
            f"{escape(state.failure.message)}</p><p>{escape(state.failure.advice)} The training and both versions "
            "are unchanged.</p></section>"
        )


def _show_validity(settings: Settings, folder: Path, result: CandidateComparison, in_use: str) -> None:
    """Draw whether the comparison still concerns the classifier in use."""
    if result.candidate == in_use:
        st.html(
            f'<p class="pl-note">{escape(result.candidate)} is in use. Comparison with '
            f"{escape(result.against)} on {_day(result.made_at)}.</p>"
        )
    elif not candidate.is_current(settings, result):
        st.html(
            f'<p class="pl-warning">The classifier in use has changed since this comparison: it is now '
            f"{escape(in_use)}. Compare again before you decide.</p>"
        )
        _start_button(settings, folder, in_use, f"Compare with {in_use}")


def show_overlap(result: CandidateComparison) -> None:
    """Draw how many of the radiographs a version has learned from, where there are any."""
    found = [
        f"{version} or a version it was initialized from was trained on {learned.films} of these {result.n} "
        "radiographs. Its figures are optimistic."
        for version, learned in ((result.candidate, result.learned), (result.against, result.learned_against))
        if learned.films
    ]
    if found:
        st.html(f'<section class="pl-warning">{"".join(f"<p>{escape(one)}</p>" for one in found)}</section>')


def show_result(result: CandidateComparison, folder: Path, seen: Sequence[str] = ()) -> None:
    """Draw the result of a comparison; its images are in `folder`, `seen` says how often sets were looked at."""
    show_table(result)
    if seen:
        st.html("".join(f'<p class="pl-note">{escape(one[:1].upper() + one[1:])}.</p>' for one in seen))
    show_groups(result)
    show_statistics(result)
    names = (result.candidate, result.against)
    sample = f"{SPLITS[result.split].capitalize()}, n = {result.n}"
    left, right = st.columns(2, gap="small")
    with left:
        errors = tuple(
            format_rate(one.measures["ece"].value, 3) for one in (result.evaluation, result.evaluation_against)
        )
        _draw(
            "calibration",
            charts_compare.reliability_pair(
                result.evaluation.reliability,
                result.evaluation_against.reliability,
                names,
                (errors[0], errors[1]),
                sample,
            ),
        )
    with right:
        _draw(
            "robustness",
            charts_compare.robustness_pair(
                [
                    (perturbation_name(a.name), a.accuracy, b.accuracy)
                    for a, b in zip(result.robustness, result.robustness_against, strict=True)
                ],
                names,
                f"{result.robustness[0].n} of {result.n} radiographs",
            ),
        )
    show_remarks(result)
    show_films(result, folder)


def _draw(key: str, figure: go.Figure) -> None:
    with st.container(key=f"figure_compare_{key}"):
        st.plotly_chart(figure, theme=None, key=f"compare.{key}", config={"displayModeBar": False})


def show_table(result: CandidateComparison) -> None:
    """Draw the measures of both classifiers, each with the difference, its interval and an interpretation."""
    c = result.comparison
    counts = {
        "sensitivity": [f"{one.tp} of {one.tp + one.fn} true positives" for one in _both(result)],
        "specificity": [f"{one.tn} of {one.tn + one.fp} true negatives" for one in _both(result)],
        "accuracy": [f"{one.tp + one.tn} of {one.n} correct" for one in _both(result)],
    }
    rows = (
        f"<tr><th>Operating point</th><td>{c.a.operating_point:.2f}</td><td>{c.b.operating_point:.2f}</td>"
        "<td></td><td></td></tr>"
    )
    for key in ROWS:
        detail = counts.get(key, ["", ""])
        cells = "".join(
            f"<td>{format_rate(side.figures[key].value, 3)} <span>{format_interval(side.figures[key], 3)}"
            f"{'<br>' if words else ''}{words}</span></td>"
            for side, words in zip((c.a, c.b), detail, strict=True)
        )
        difference = c.differences[key]
        rows += (
            f"<tr><th>{MEASURE_NAMES[key]}</th>{cells}<td>{format_signed(difference.value)} "
            f"<span>{format_signed_interval(difference)}</span></td>"
            f"<td>{meaning(key, difference, patients_of(key, result))}</td></tr>"
        )
    st.html(
        '<div class="pl-wide"><table class="pl-table"><caption>Same radiographs, 95 % confidence intervals by patient'
        f"</caption><tr><th></th><th>Candidate<span>{escape(result.candidate)}</span></th>"
        f"<th>In use<span>{escape(result.against)}</span></th><th>Difference</th><th>Interpretation</th></tr>{rows}"
        f'</table></div><p class="pl-note">{SPLITS[result.split].capitalize()}: n = {result.n}, '
        f"{c.n_pneumonia} pneumonia and {c.n - c.n_pneumonia} normal, {c.n_patients} patients. Each at its own "
        "operating point. Difference: candidate − in use.</p>"
    )


def _both(result: CandidateComparison) -> tuple[Evaluation, Evaluation]:
    return result.evaluation, result.evaluation_against


def patients_of(key: str, result: CandidateComparison) -> int:
    """Return the number of patients on which a measure rests, of the smaller class where it needs both."""
    normal, pneumonia = result.patients
    return {"sensitivity": pneumonia, "specificity": normal}.get(key, min(result.patients))


def meaning(key: str, difference: Measure, patients: int) -> str:
    """Return the interpretation of a difference; for the calibration error lower is better.

    Parameters
    ----------
    key
        Name of the measure.
    difference
        Candidate − in use.
    patients
        Number of patients on which it rests. Below 10 nothing can be told; below the number that a promotion requires,
        an interval around 0 does not mean that there is no difference.
    """
    if patients < MIN_FILMS:
        return TOO_FEW
    if math.isnan(difference.low) or math.isnan(difference.high):
        return "not defined on these radiographs"
    if difference.low <= 0 <= difference.high:
        return TOO_FEW if patients < LIMITS.patients else "no significant difference"
    higher = difference.low > 0
    if key == "ece":
        return "candidate worse calibrated" if higher else "candidate better calibrated"
    return "candidate higher" if higher else "candidate lower"


def show_statistics(result: CandidateComparison) -> None:
    """Draw the results of the two significance tests."""
    d, m = result.comparison.delong, result.comparison.mcnemar
    by_radiographs = format_signed_interval(Measure(d.difference, d.low, d.high), 4)
    discrimination = "Not testable: too few radiographs, or no variation in the probabilities."
    if math.isfinite(d.p):
        discrimination = (
            f"AUROC difference {format_signed(d.difference, 4)} {by_radiographs}, {escape(format_p_value(d.p))}."
        )
    agreement = (
        f"Both correct: {m.both}, only the candidate: {m.only_a}, only the classifier in use: {m.only_b}, neither: "
        f"{m.neither}; {escape(format_p_value(m.p))}."
    )
    few = (
        f"<p>{TOO_FEW.capitalize()}: with {min(result.patients)} patients of a class, a p value that is not small says "
        "nothing.</p>"
        if min(result.patients) < LIMITS.patients
        else ""
    )
    st.html(
        f'<section class="pl-about"><h2>Discrimination (DeLong)</h2><p>{discrimination}</p><h2>Agreement (McNemar)</h2>'
        f"<p>{agreement}</p>{few}</section>"
    )


def show_remarks(result: CandidateComparison) -> None:
    """Draw the remarks on the comparison."""
    rows = "".join(f"<li>{escape(one)}</li>" for one in result.remarks)
    st.html(f'<section class="pl-about"><h2>Remarks</h2><ul>{rows}</ul></section>')


def show_films(result: CandidateComparison, folder: Path) -> None:
    """Draw the radiographs with the largest disagreement, two to a row, with or without both evidence maps."""
    if not result.films:
        st.html('<p class="pl-note">Both classifiers give the same probability for every radiograph.</p>')
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.html(
            f'<h2 class="pl-heading">{len(result.films)} radiographs with the largest disagreement</h2>',
            width="content",
        )
        pictures = st.segmented_control(
            "Evidence maps",
            (WITH_MAPS, WITHOUT),
            default=WITH_MAPS,
            required=True,
            key="compare.pictures",
            label_visibility="collapsed",
        )
    st.html(
        '<p class="pl-note">The evidence map shows the regions that raised the probability, in % of the maximum of the '
        "map. It does not outline a lesion. Check for evidence outside the lungs.</p>"
    )
    for first in range(0, len(result.films), 2):
        columns = st.columns(2, gap="small")
        for place, (column, film) in enumerate(zip(columns, result.films[first : first + 2], strict=False), first + 1):
            with column, st.container(key=f"figure_compare_film_{place}"):
                _show_film(place, film, folder, pictures != WITHOUT)


def _show_film(place: int, film: DifferingFilm, folder: Path, with_maps: bool) -> None:
    label = "pneumonia" if film.label else "normal"
    st.html(f'<p class="pl-caption">Radiograph {place}, label: {label}</p>')
    sides = (
        ("Candidate", film.probability, film.map, film.map_is_empty),
        ("In use", film.probability_against, film.map_against, film.map_against_is_empty),
    )
    for column, (name, value, picture, is_empty) in zip(st.columns(2, gap="small"), sides, strict=True):
        with column:
            st.html(f'<p class="pl-name"><span>{name}</span>{escape(format_probability(value))}</p>')
            _picture(folder, picture if with_maps else film.film, f"Radiograph {place}, {name.lower()}")
            if with_maps and is_empty:
                st.html('<p class="pl-caption">No region raised the probability.</p>')


def _picture(folder: Path, name: str, alt: str) -> None:
    try:
        data = (folder / Path(name).name).read_bytes()
    except OSError:
        st.html('<div class="pl-nofilm">Image not available. Repeat the comparison.</div>')
        return
    st.image(data, width="stretch", output_format="PNG", alt=alt)


def _step_button(label: str, step: str, primary: bool = False, run: str | None = "") -> None:
    """Draw a button to another step; with `run` None, no run is selected there."""
    if st.button(label, key=f"compare.{step}", type="primary" if primary else "secondary"):
        if run is None:
            st.query_params.pop("run", None)
        st.query_params["step"] = step
        st.rerun()


def _day(at: str) -> str:
    return escape(at[:10])

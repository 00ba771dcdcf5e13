"""Compare: a run's version beside the classifier in use, on the same films that the run held out."""

from __future__ import annotations

import math
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
from pages.shared import frame
from pages.shared.administrator import still_administrator
from pages.shared.measures import MEASURE_NAMES
from training.runs import candidate
from training.runs.candidate import CandidateComparison, ComparisonState, DifferingFilm

SPLITS = {"test": "the test part of the data", "validation": "the patients that the training held out"}
ROWS = ("auroc", "sensitivity", "specificity", "accuracy", "ece")
WITH_MAPS, WITHOUT = "With influence maps", "Films as they are"


def show(settings: Settings, who: str, run_id: str) -> None:
    """Draw the comparison of the run's version with the classifier in use, or the way to it; `who` may start one."""
    try:
        _show(settings, run_id)
    except AppError as error:
        frame.show_error(error)


def _show(settings: Settings, run_id: str) -> None:
    folder = candidate.run_of(settings, run_id)
    if folder is None:
        st.html(
            '<h2 class="pl-title">Compare</h2><p class="pl-note">No training is chosen, so there is nothing to '
            "compare. Choose one under Train.</p>"
        )
        _leads_to("Choose a training", "train", run=None)
        return
    version = candidate.made_version(folder)
    if version is None:
        st.html(
            '<h2 class="pl-title">Compare</h2><p class="pl-note">This training has not made a version yet. It can '
            "be compared as soon as it has.</p>"
        )
        _leads_to("Watch the training", "train")
        return
    in_use = active_version(settings)
    state = candidate.read_comparison(settings, folder)
    other = state.result.against if state.result else in_use
    st.html(f'<h2 class="pl-title">{escape(version)} beside {escape(other)}</h2>')
    if state.state == "running":
        _show_progress(settings, folder)
    elif state.state == "failed":
        show_failure(state)
        _start_button(settings, folder, in_use, "Start the comparison again")
    elif state.result is not None:
        _show_standing(settings, folder, state.result, in_use)
        show_result(state.result, folder / candidate.FOLDER)
        _leads_to("Go on to the decision", "decide", primary=True)
    elif version == in_use:
        st.html(
            f'<p class="pl-note">{escape(version)} is the classifier in use, so there is nothing to compare it '
            "with.</p>"
        )
        _leads_to("Show the history", "decide")
    else:
        _show_invitation(settings, folder, version, in_use)


def _show_invitation(settings: Settings, folder: Path, version: str, in_use: str) -> None:
    card, card_in_use = load_card(settings, version), load_card(settings, in_use)
    split, n = candidate.films_to_compare(card)
    seconds = candidate.expected_seconds(settings, card, card_in_use)
    st.html(
        f'<p class="pl-note">Both classifiers read the same {n} films of {SPLITS[split]}. What they say is '
        "compared film by film, each at its own operating point; then both are tried on films that were made "
        "brighter, darker, blurred or turned, and the films on which they differ most are shown with both "
        f"influence maps. This takes {format_duration(seconds)} on this machine. You can leave the page "
        "meanwhile, and nothing changes for the clinicians.</p>"
    )
    _start_button(settings, folder, in_use, f"Compare {version} with {in_use}")


def _start_button(settings: Settings, folder: Path, in_use: str, label: str) -> None:
    if st.button(label, type="primary", key="compare.start"):
        candidate.start_comparison(settings, folder, in_use)
        st.rerun()


@st.fragment(run_every=1)
def _show_progress(settings: Settings, folder: Path) -> None:
    """Draw how far the comparison is, and the whole page again once it has ended."""
    still_administrator()
    state = candidate.read_comparison(settings, folder)
    if state.state != "running":
        st.rerun()
    share = state.done / state.total if state.total else 0.0
    st.progress(min(1.0, share), text=progress_words(state))


def progress_words(state: ComparisonState) -> str:
    """Say what a comparison that is going on does, how far it is and how long the rest will take."""
    words = state.phase[:1].upper() + state.phase[1:]
    if state.total:
        words += f", {100 * state.done // state.total} %"
    return with_time_left(words, state.seconds_left)


def show_failure(state: ComparisonState) -> None:
    """Say why the comparison failed and what that means."""
    if state.failure is not None:
        st.html(
            f'<section class="pl-warning"><p><strong>The comparison failed.</strong> '
            f"{escape(state.failure.message)}</p><p>{escape(state.failure.advice)} The training and both versions "
            "are as they were.</p></section>"
        )


def _show_standing(settings: Settings, folder: Path, result: CandidateComparison, in_use: str) -> None:
    """Say whether the comparison still holds."""
    if result.candidate == in_use:
        st.html(
            f'<p class="pl-note">{escape(result.candidate)} is in use. This is how it compared with '
            f"{escape(result.against)}, on {_day(result.made_at)}.</p>"
        )
    elif not candidate.is_current(settings, result):
        st.html(
            f'<p class="pl-warning">The classifier in use has changed since this was compared: now it is '
            f"{escape(in_use)}. The figures below do not speak of it. Compare again before you decide.</p>"
        )
        _start_button(settings, folder, in_use, f"Compare with {in_use}")


def show_result(result: CandidateComparison, folder: Path) -> None:
    """Draw all that was found; the pictures lie in `folder`."""
    show_table(result)
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
                    ("as they are" if a.name == "clean" else a.name, a.accuracy, b.accuracy)
                    for a, b in zip(result.robustness, result.robustness_against, strict=True)
                ],
                names,
                f"{result.robustness[0].n} of the {result.n} films",
            ),
        )
    show_remarks(result)
    show_films(result, folder)


def _draw(key: str, figure: go.Figure) -> None:
    with st.container(key=f"figure_compare_{key}"):
        st.plotly_chart(figure, theme=None, key=f"compare.{key}", config={"displayModeBar": False})


def show_table(result: CandidateComparison) -> None:
    """Draw both columns, each row with its difference, its interval and what that means."""
    c = result.comparison
    counts = {
        "sensitivity": [f"{one.tp} of {one.tp + one.fn} found" for one in _both(result)],
        "specificity": [f"{one.tn} of {one.tn + one.fp} left alone" for one in _both(result)],
        "accuracy": [f"{one.tp + one.tn} of {one.n} right" for one in _both(result)],
    }
    rows = (
        f"<tr><th>Operating point</th><td>{c.a.operating_point:.2f}</td><td>{c.b.operating_point:.2f}</td>"
        "<td></td><td></td></tr>"
    )
    for key in ROWS:
        said = counts.get(key, ["", ""])
        cells = "".join(
            f"<td>{format_rate(side.figures[key].value, 3)} <span>{format_interval(side.figures[key], 3)}"
            f"{'<br>' if words else ''}{words}</span></td>"
            for side, words in zip((c.a, c.b), said, strict=True)
        )
        difference = c.differences[key]
        rows += (
            f"<tr><th>{MEASURE_NAMES[key]}</th>{cells}<td>{format_signed(difference.value)} "
            f"<span>{format_signed_interval(difference)}</span></td><td>{meaning(key, difference)}</td></tr>"
        )
    st.html(
        '<div class="pl-wide"><table class="pl-table"><caption>On the same films, with 95 % intervals over patients'
        f"</caption><tr><th></th><th>Candidate<span>{escape(result.candidate)}</span></th>"
        f"<th>In use<span>{escape(result.against)}</span></th><th>Difference</th><th>In words</th></tr>{rows}"
        f'</table></div><p class="pl-note">{SPLITS[result.split].capitalize()}: n = {result.n}, '
        f"{c.n_pneumonia} with pneumonia and {c.n - c.n_pneumonia} without, {c.n_patients} patients. Each at its "
        "own operating point. A difference is candidate minus in use.</p>"
    )


def _both(result: CandidateComparison) -> tuple[Evaluation, Evaluation]:
    return result.evaluation, result.evaluation_against


def meaning(key: str, difference: Measure) -> str:
    """Say what a difference means; of the calibration error less is better."""
    if math.isnan(difference.low) or math.isnan(difference.high):
        return "not defined on these films"
    if difference.low <= 0 <= difference.high:
        return "no difference beyond chance"
    higher = difference.low > 0
    if key == "ece":
        return "candidate is worse calibrated" if higher else "candidate is better calibrated"
    return "candidate is higher" if higher else "candidate is lower"


def show_statistics(result: CandidateComparison) -> None:
    """Say in words what the two tests found."""
    d, m = result.comparison.delong, result.comparison.mcnemar
    by_films = format_signed_interval(Measure(d.difference, d.low, d.high), 4)
    ranking = "AUROC cannot be tested: there are too few films, or they do not vary."
    if math.isfinite(d.p):
        ranking = f"AUROC differs by {format_signed(d.difference, 4)} {by_films}, {p_words(d.p)} (DeLong)."
    findings = (
        f"Both are right on {m.both} films, the candidate alone on {m.only_a}, the one in use alone on "
        f"{m.only_b}, neither on {m.neither}; {p_words(m.p)} (McNemar)."
    )
    st.html(
        f'<section class="pl-about"><h2>How they rank the films</h2><p>{ranking}</p><h2>What they find</h2>'
        f"<p>{findings}</p></section>"
    )


def p_words(p: float) -> str:
    """Write a p-value and what it means to whoever does not know."""
    often = (
        "fewer than 1 in 1,000"
        if p < 0.001
        else f"{round(1000 * p)} in 1,000"
        if p < 0.01
        else f"{round(100 * p)} in 100"
    )
    return (
        f"{escape(format_p_value(p))}: if both were equally good, chance alone would give so large a difference "
        f"in {often} comparisons"
    )


def show_remarks(result: CandidateComparison) -> None:
    """Draw what the figures rest on and what speaks against them."""
    rows = "".join(f"<li>{escape(one)}</li>" for one in result.remarks)
    st.html(f'<section class="pl-about"><h2>What these figures rest on</h2><ul>{rows}</ul></section>')


def show_films(result: CandidateComparison, folder: Path) -> None:
    """Draw the films on which the two differ most, two to a row, with both influence maps or without."""
    if not result.films:
        st.html('<p class="pl-note">Both give every film the same probability.</p>')
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.html(f'<h2 class="pl-heading">The {len(result.films)} films on which they differ most</h2>', width="content")
        pictures = st.segmented_control(
            "Pictures",
            (WITH_MAPS, WITHOUT),
            default=WITH_MAPS,
            required=True,
            key="compare.pictures",
            label_visibility="collapsed",
        )
    st.html(
        '<p class="pl-note">The influence map shows which regions raised the probability, measured against the '
        "strongest region of the same film by the same classifier. It is not the outline of a lesion. Look for "
        "influence outside the lungs.</p>"
    )
    for first in range(0, len(result.films), 2):
        columns = st.columns(2, gap="small")
        for place, (column, film) in enumerate(zip(columns, result.films[first : first + 2], strict=False), first + 1):
            with column, st.container(key=f"figure_compare_film_{place}"):
                _show_film(place, film, folder, pictures != WITHOUT)


def _show_film(place: int, film: DifferingFilm, folder: Path, with_maps: bool) -> None:
    label = "with pneumonia" if film.label else "without pneumonia"
    st.html(f'<p class="pl-caption">Film {place}, labelled {label}</p>')
    sides = (
        ("Candidate", film.probability, film.map, film.map_is_empty),
        ("In use", film.probability_against, film.map_against, film.map_against_is_empty),
    )
    for column, (name, value, picture, is_empty) in zip(st.columns(2, gap="small"), sides, strict=True):
        with column:
            st.html(f'<p class="pl-name"><span>{name}</span>{escape(format_probability(value))}</p>')
            _picture(folder, picture if with_maps else film.film, f"Film {place}, {name.lower()}")
            if with_maps and is_empty:
                st.html('<p class="pl-caption">No region raised the probability.</p>')


def _picture(folder: Path, name: str, alt: str) -> None:
    try:
        data = (folder / Path(name).name).read_bytes()
    except OSError:
        st.html('<div class="pl-nofilm">This picture is gone. Compare again to draw it.</div>')
        return
    st.image(data, width="stretch", output_format="PNG", alt=alt)


def _leads_to(label: str, step: str, primary: bool = False, run: str | None = "") -> None:
    """Draw a button to another step of the page; with `run` None, none is chosen there."""
    if st.button(label, key=f"compare.{step}", type="primary" if primary else "secondary"):
        if run is None:
            st.query_params.pop("run", None)
        st.query_params["step"] = step
        st.rerun()


def _day(at: str) -> str:
    return escape(at[:10])

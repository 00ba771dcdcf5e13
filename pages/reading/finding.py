"""The finding panel: what the classifier says of one film, how far to trust it, and what can be taken away."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from core.formatting import format_probability
from model.assessment import Assessment, Prediction
from model.card import Evaluation, ModelCard
from model.lung_zones import outside_warning
from model.operating import NAMES, at_purpose, offered, operating_point, rates_at
from pages.reading.evidence import evidence_regions, show_bearing
from pages.reading.films import Film, reassess
from pages.reading.probability_scale import probability_scale
from pages.reading.verdict import show_downloads, show_verdict
from pages.shared import classifiers
from pages.shared.measures import VALIDATION as VALIDATION
from pages.shared.predictive_values import chosen_purpose, show_predictive_values, show_purpose, show_rates

if TYPE_CHECKING:
    from pages.reading.viewer import ViewerState

UPRIGHT = {90: "a quarter turn clockwise", 180: "a half turn", 270: "a quarter turn counterclockwise"}


def show_finding(film: Film, card: ModelCard, version_in_use: str, view: ViewerState) -> None:
    """Draw the panel for a film that `card`'s version read; `view` is the viewer's state, for the report."""
    assessment = at_purpose(film.kept, card, chosen_purpose(card))
    prediction, evaluation = assessment.prediction, card.evaluations.get(VALIDATION)
    answer, worth = st.container(key="finding_answer"), st.container(key="finding_worth")
    with answer:
        if prediction is None:
            _refusal(film)
        elif assessment.is_outside:
            _outside(assessment, prediction, film)
        else:
            _answer(prediction, film)
        _warnings(film, assessment)
        _turned(film)
        if prediction is not None and evaluation is not None:
            _scale(prediction, card, evaluation, is_grey=assessment.is_outside)
        if prediction is not None and not assessment.is_outside:
            show_purpose(card)
    with worth:
        if prediction is not None:
            if evaluation is not None and not assessment.is_outside:
                show_rates(evaluation, prediction.operating_point)
                show_predictive_values(rates_at(evaluation, prediction.operating_point))
            show_bearing(film, prediction, lambda: classifiers.classifier_of(card.version))
            show_verdict(film)
            show_downloads(film, card, view)
        version = film.kept.classifier_version
        changed = "" if version == version_in_use else f" Version {escape(version_in_use)} has come into use since."
        st.html(
            f'<p class="pl-note">Classifier {escape(version)}, {film.kept.assessed_at:%Y-%m-%d %H:%M} UTC.{changed}</p>'
        )


def _answer(prediction: Prediction, film: Film) -> None:
    side = "near" if prediction.is_near else "above" if prediction.finding == "PNEUMONIA" else "below"
    relation = "At or above" if prediction.finding == "PNEUMONIA" else "Below"
    purpose = "" if prediction.purpose == "default" else f" ({NAMES[prediction.purpose].lower()})"
    st.html(
        f'<section class="pl-finding pl-{side}"><h2>{escape(prediction.words)}</h2>'
        f"<p>Probability <strong>{escape(format_probability(prediction.probability))}</strong></p>"
        f"<p><span>{relation} the operating point, {prediction.operating_point:.2f}{purpose}</span></p>"
        f"{_verdict(film)}</section>"
    )


def _outside(assessment: Assessment, prediction: Prediction, film: Film) -> None:
    """Say first, and largest, that the probability means little here; no colour, and no finding."""
    st.html(
        f'<section class="pl-finding pl-outside"><h2>{escape(assessment.words)}</h2>'
        f"<p>Read this film without the classifier. Probability "
        f"{escape(format_probability(prediction.probability))}; the "
        f"figures from validation do not hold for it.</p>{_verdict(film)}</section>"
    )


def _verdict(film: Film) -> str:
    """Return the reader's verdict as a line: given by key, it would stand out of sight, further down."""
    verdict = film.reading.verdict
    return "" if verdict is None else f"<p><span>Your verdict: {verdict}</span></p>"


def _refusal(film: Film) -> None:
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in film.kept.reasons)
    st.html(f'<section class="pl-warning"><h2>Not assessed</h2>{reasons}</section>')
    st.html(
        '<p class="pl-note">Nothing is said about this film. The other films are not affected, and the original in '
        "your archive was not touched.</p>"
    )


def _warnings(film: Film, assessment: Assessment) -> None:
    """Draw every warning in one box, and under it the correction that one of them offers."""
    said = [issue.message for issue in assessment.issues if not issue.blocking and not assessment.is_refused]
    prediction, regions = assessment.prediction, evidence_regions(film)
    if prediction is not None and regions is not None and not assessment.is_outside:
        warning = outside_warning(regions, prediction.finding == "PNEUMONIA" or prediction.is_near)
        said += [] if warning is None else [warning]
    if said:
        st.html(f'<section class="pl-warning">{"".join(f"<p>{escape(one)}</p>" for one in said)}</section>')
    if assessment.turn and not assessment.is_refused:
        st.button(
            f"Turn it by {assessment.turn}° clockwise and read it again",
            key="read.turn",
            on_click=reassess,
            args=(film, (film.turn + assessment.turn) % 360),
            disabled=film.data is None,
            help="The file was let go to save memory; drop it again."
            if film.data is None
            else f"The film is shown and read after {UPRIGHT.get(assessment.turn, 'a turn')}; the file stays as it is.",
        )


def _turned(film: Film) -> None:
    """Say that the film was turned, and offer to take it back."""
    if not film.turn:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="turned"):
        st.html(f'<p class="pl-note">Shown and read after {UPRIGHT.get(film.turn, "a turn")}.</p>', width="stretch")
        st.button(
            "As the file has it",
            key="read.turn_back",
            on_click=reassess,
            args=(film, 0),
            type="tertiary",
            disabled=film.data is None,
        )


def _scale(prediction: Prediction, card: ModelCard, evaluation: Evaluation, is_grey: bool) -> None:
    point = operating_point(card, prediction.purpose)
    others = {
        NAMES[purpose]: operating_point(card, purpose).probability
        for purpose in offered(card)
        if purpose != prediction.purpose
    }
    figure = probability_scale(
        prediction.probability,
        prediction.operating_point,
        (point.near_low, point.near_high),
        evaluation.histogram_normal,
        evaluation.histogram_pneumonia,
        others=others,
        is_grey=is_grey,
    )
    st.plotly_chart(
        figure,
        theme=None,
        key="read.scale",
        config={"displayModeBar": False},
        alt="Probability on a scale from 0 to 1 with the operating point and the validation radiographs",
    )
    ill, well = evaluation.tp + evaluation.fn, evaluation.tn + evaluation.fp
    grey = " pl-grey" if is_grey else ""
    st.html(
        f'<p class="pl-legend{grey}"><span><i class="pl-up"></i>pneumonia, up (n = {ill})</span>'
        f'<span><i class="pl-down"></i>normal, down (n = {well})</span><br>'
        '<span>validation radiographs</span><span><i class="pl-band"></i>near the operating point</span></p>'
    )

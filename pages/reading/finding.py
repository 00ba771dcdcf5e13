"""The finding panel: finding, warnings, evidence, the reader's verdict and the downloads of one film."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from core.formatting import format_probability
from model.assessment import Assessment, Prediction
from model.card import Evaluation, ModelCard
from model.lung_zones import outside_warning
from model.measured_groups import group_rates, group_words
from model.operating import DEFAULT, NAMES, at_purpose, available_purposes, operating_point, rates_at
from pages.reading.evidence import evidence_regions, paragraphs, show_evidence
from pages.reading.films import Film, reassess
from pages.reading.probability_scale import probability_scale
from pages.reading.source_cache import RELEASED
from pages.reading.verdict import show_downloads, show_verdict
from pages.shared import classifiers
from pages.shared.measures import VALIDATION
from pages.shared.predictive_values import chosen_purpose, show_predictive_values, show_purpose, show_rates

if TYPE_CHECKING:
    from pages.reading.viewer import ViewerState

ROTATIONS = {90: "90° clockwise", 180: "180°", 270: "90° counterclockwise"}


def show_finding(film: Film, card: ModelCard, version_in_use: str, view: ViewerState) -> None:
    """Draw the finding panel.

    Parameters
    ----------
    film
        The film on the screen.
    card
        The card of the version that assessed it.
    version_in_use
        Named on the panel where it is another one.
    view
        The viewer's state, for the report.
    """
    assessment = at_purpose(film.kept, card, chosen_purpose(card))
    prediction, evaluation = assessment.prediction, card.evaluations.get(VALIDATION)
    answer, details = st.container(key="finding_answer"), st.container(key="finding_details")
    with answer:
        if prediction is None:
            _show_refusal(film)
        elif assessment.is_outside:
            _show_outside(assessment, prediction, film)
        else:
            _show_probability(prediction, film)
        _show_groups(assessment)
        _show_warnings(film, assessment)
        _show_rotation(film)
        if prediction is not None and evaluation is not None:
            _show_scale(prediction, card, evaluation, is_grey=assessment.is_outside)
        if prediction is not None and not assessment.is_outside:
            show_purpose(card)
    with details:
        if prediction is not None:
            if evaluation is not None and not assessment.is_outside:
                show_rates(evaluation, prediction.operating_point)
                _show_predictive_values(assessment, prediction, evaluation)
            show_evidence(film, prediction, lambda: classifiers.classifier_of(card.version))
            show_verdict(film)
            show_downloads(film, card, view)
        version = film.kept.classifier_version
        changed = "" if version == version_in_use else f" Version {escape(version_in_use)} is now in use."
        st.html(
            f'<p class="pl-note">Classifier {escape(version)}, {film.kept.assessed_at:%Y-%m-%d %H:%M} UTC.{changed}</p>'
        )


def _show_probability(prediction: Prediction, film: Film) -> None:
    side = "near" if prediction.is_near else "above" if prediction.finding == "PNEUMONIA" else "below"
    relation = "At or above" if prediction.finding == "PNEUMONIA" else "Below"
    purpose = "" if prediction.purpose == "default" else f" ({NAMES[prediction.purpose].lower()})"
    st.html(
        f'<section class="pl-finding pl-{side}"><h2>{escape(prediction.words)}</h2>'
        f"<p>Probability <strong>{escape(format_probability(prediction.probability))}</strong></p>"
        f"<p><span>{relation} the operating point, {prediction.operating_point:.2f}{purpose}</span></p>"
        f"{_verdict(film)}</section>"
    )


def _show_outside(assessment: Assessment, prediction: Prediction, film: Film) -> None:
    """Draw first, and largest, that the probability is not valid here; no colour, and no finding."""
    st.html(
        f'<section class="pl-finding pl-outside"><h2>{escape(assessment.words)}</h2>'
        f"<p>Do not use the classifier for this image. Probability "
        f"{escape(format_probability(prediction.probability))}; its "
        f"validation results do not apply.</p>{_verdict(film)}</section>"
    )


def _show_groups(assessment: Assessment) -> None:
    """Draw what validation measured on radiographs of this one's age and projection, where it gets a finding."""
    if assessment.groups and assessment.prediction is not None and not assessment.is_outside:
        rows = [("This group on validation", f"{group_words(one)}.") for one in assessment.groups]
        st.html(paragraphs(rows))


def _show_predictive_values(assessment: Assessment, prediction: Prediction, evaluation: Evaluation) -> None:
    """Draw PPV and NPV: those of the film's group where both rates were measured for it, and say which they are."""
    own = group_rates(assessment.groups) if prediction.purpose == DEFAULT else None
    show_predictive_values(own or rates_at(evaluation, prediction.operating_point))
    if assessment.groups:
        of = "this group" if own else "all validation radiographs, not of this group alone"
        st.html(f'<p class="pl-note">PPV and NPV are computed from the rates of {of}.</p>')


def _verdict(film: Film) -> str:
    """Return the reader's verdict as a line: its buttons may be out of sight, further down."""
    verdict = film.reading.verdict
    return "" if verdict is None else f"<p><span>Your verdict: {verdict}</span></p>"


def _show_refusal(film: Film) -> None:
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in film.kept.reasons)
    st.html(f'<section class="pl-warning"><h2>Not assessed</h2>{reasons}</section>')
    st.html(
        '<p class="pl-note">No finding is given for this image. Other images and the original in your archive are not '
        "affected.</p>"
    )


def _show_warnings(film: Film, assessment: Assessment) -> None:
    """Draw all warnings in one box, and below it the rotation that one of them offers."""
    warnings = [issue.message for issue in assessment.issues if not issue.blocking and not assessment.is_refused]
    prediction, regions = assessment.prediction, evidence_regions(film)
    if prediction is not None and regions is not None and not assessment.is_outside:
        warning = outside_warning(regions, prediction.finding == "PNEUMONIA" or prediction.is_near)
        warnings += [] if warning is None else [warning]
    if warnings:
        st.html(f'<section class="pl-warning">{"".join(f"<p>{escape(one)}</p>" for one in warnings)}</section>')
    if assessment.turn and not assessment.is_refused:
        st.button(
            f"Rotate {ROTATIONS[assessment.turn]} and re-assess",
            key="read.turn",
            on_click=reassess,
            args=(film, (film.turn + assessment.turn) % 360),
            disabled=film.data is None,
            help=f"{RELEASED} Add the file again."
            if film.data is None
            else "Applies to display and assessment; the file is not changed.",
        )


def _show_rotation(film: Film) -> None:
    """Draw that the image was rotated, and the button that resets it."""
    if not film.turn:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="turned"):
        st.html(f'<p class="pl-note">Rotated {ROTATIONS[film.turn]} for display and assessment.</p>', width="stretch")
        st.button(
            "Reset rotation",
            key="read.turn_back",
            on_click=reassess,
            args=(film, 0),
            type="tertiary",
            disabled=film.data is None,
        )


def _show_scale(prediction: Prediction, card: ModelCard, evaluation: Evaluation, is_grey: bool) -> None:
    point = operating_point(card, prediction.purpose)
    others = {
        NAMES[purpose]: operating_point(card, purpose).probability
        for purpose in available_purposes(card)
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
        alt="Probability scale from 0 to 1 with the operating point and the validation radiographs",
    )
    positives, negatives = evaluation.tp + evaluation.fn, evaluation.tn + evaluation.fp
    grey = " pl-grey" if is_grey else ""
    st.html(
        f'<p class="pl-legend{grey}"><span><i class="pl-up"></i>pneumonia, up (n = {positives})</span>'
        f'<span><i class="pl-down"></i>normal, down (n = {negatives})</span><br>'
        '<span>validation radiographs</span><span><i class="pl-band"></i>borderline</span></p>'
    )

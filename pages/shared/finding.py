"""The finding panel: what the classifier says of one film, how far to trust it, and what can be taken away."""

from __future__ import annotations

from html import escape

import streamlit as st

from model.assessment import Prediction
from model.card import Evaluation, ModelCard
from model.report import report_json, report_pdf
from pages.shared import charts
from pages.shared.films import Film
from pages.shared.measures import interval, predictive_values, probability, rate
from pages.shared.viewer import Mode

VALIDATION = "validation"
PREVALENCE = 20


def show_finding(film: Film, card: ModelCard, version_in_use: str, mode: Mode, opacity: float) -> None:
    """Draw the panel for a film that `card`'s version read; `mode` and `opacity` are the viewer's, for the report."""
    prediction, evaluation = film.kept.prediction, card.evaluations.get(VALIDATION)
    answer, worth = st.container(key="finding_answer"), st.container(key="finding_worth")
    with answer:
        if prediction is None:
            _refusal(film)
        else:
            _answer(prediction)
            for issue in film.kept.issues:
                st.html(f'<p class="pl-warning">{escape(issue.message)}</p>')
            if evaluation is not None:
                _scale(prediction, card, evaluation)
    with worth:
        if prediction is not None:
            if evaluation is not None:
                _rates(evaluation)
                show_predictive_values(evaluation)
            _downloads(film, card, mode, opacity)
        version = film.kept.classifier_version
        changed = "" if version == version_in_use else f" Version {escape(version_in_use)} has come into use since."
        st.html(f'<p class="pl-note">Classifier {escape(version)}, {film.kept.assessed_at:%Y-%m-%d %H:%M} UTC.{changed}'
                "</p>")


@st.fragment
def show_predictive_values(evaluation: Evaluation, sample: str | None = None) -> None:
    """Let the reader set how common pneumonia is, and say what a finding is worth there.

    With `sample`, the words for the radiographs behind it, the values are drawn over all prevalences, too.
    """
    if sample is not None:
        measures, chosen = evaluation.measures, st.session_state.get("prevalence", PREVALENCE) / 100
        figure = charts.predictive_values(measures["sensitivity"].value, measures["specificity"].value, chosen, sample)
        st.plotly_chart(figure, theme=None, key="performance.predictive", config={"displayModeBar": False})
    prevalence = st.slider("Prevalence of pneumonia among your patients", 1, 90, PREVALENCE, format="%d %%",
                           key="prevalence", persist_state="session",
                           help="What a finding is worth depends on how common pneumonia is where you work.")
    values = predictive_values(evaluation, prevalence / 100)
    st.html('<table class="pl-rows">'
            f"<tr><th>PPV <em>of films called likely</em></th><td>{rate(values.ppv.value)} "
            f"<span>{interval(values.ppv)}</span></td></tr>"
            f"<tr><th>NPV <em>of films called unlikely</em></th><td>{rate(values.npv.value)} "
            f"<span>{interval(values.npv)}</span></td></tr></table>")


def _answer(prediction: Prediction) -> None:
    side = "near" if prediction.is_near else "above" if prediction.finding == "PNEUMONIA" else "below"
    relation = "At or above" if prediction.finding == "PNEUMONIA" else "Below"
    st.html(f'<section class="pl-finding pl-{side}"><h2>{escape(prediction.words)}</h2>'
            f"<p>Probability <strong>{escape(probability(prediction.probability))}</strong></p>"
            f"<p><span>{relation} the operating point, {prediction.operating_point:.2f}</span></p></section>")


def _refusal(film: Film) -> None:
    reasons = " ".join(issue.message for issue in film.kept.issues if issue.blocking)
    st.html(f'<section class="pl-warning"><h2>Not assessed: </h2><p>{escape(reasons)}</p></section>')
    st.html('<p class="pl-note">Nothing is said about this film. The other films are not affected, and the original in '
            "your archive was not touched.</p>")


def _scale(prediction: Prediction, card: ModelCard, evaluation: Evaluation) -> None:
    near = (card.operating_point.near_low, card.operating_point.near_high)
    figure = charts.probability_scale(prediction.probability, prediction.operating_point, near,
                                      evaluation.histogram_normal, evaluation.histogram_pneumonia)
    st.plotly_chart(figure, theme=None, key="read.scale", config={"displayModeBar": False},
                    alt="Probability on a scale from 0 to 1 with the operating point and the validation radiographs")
    ill, well = evaluation.tp + evaluation.fn, evaluation.tn + evaluation.fp
    st.html(f'<p class="pl-legend"><span><i class="pl-up"></i>pneumonia, up (n = {ill})</span>'
            f'<span><i class="pl-down"></i>normal, down (n = {well})</span><br>'
            '<span>validation radiographs</span><span><i class="pl-band"></i>near the operating point</span></p>')


def _rates(evaluation: Evaluation) -> None:
    rows = "".join(
        f"<tr><th>{name}</th><td>{rate(measure.value)} <span>{interval(measure)}</span></td></tr>"
        for name, measure in (("Sensitivity", evaluation.measures["sensitivity"]),
                              ("Specificity", evaluation.measures["specificity"])))
    st.html(f'<table class="pl-rows"><caption>At this operating point, on n = {evaluation.n} validation radiographs '
            f"(95 % interval)</caption>{rows}</table>")


def _downloads(film: Film, card: ModelCard, mode: Mode, opacity: float) -> None:
    # Made when the button is pressed, and named after the file's content: the file's name can hold a patient's.
    name = f"pneumolens-{film.sha256[:8]}"
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="downloads"):
        st.download_button(
            "Report as PDF", lambda: report_pdf(film.assessment(), card, opacity=opacity, mode=mode),
            file_name=f"{name}.pdf", mime="application/pdf", on_click="ignore", key="read.pdf")
        st.download_button(
            "Data as JSON", lambda: report_json(film.assessment(), card),
            file_name=f"{name}.json", mime="application/json", on_click="ignore", key="read.json")

"""The Performance page: intended use, limitations and measured performance of the classifier in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.errors import AppError
from core.formatting import format_estimate, format_interval, format_percentage, format_rate, format_signed
from model.card import Evaluation, ModelCard
from model.card_sections import NOT_STATED, data_rows
from model.operating import NAMES, operating_point, rates_at
from pages.performance import charts_performance
from pages.performance.calibration_tables import (
    calibration_table,
    conformal_table,
    cross_fit_sentence,
    is_cross_fitted,
    purpose_cells,
    purposes_sentence,
)
from pages.performance.group_table import group_table
from pages.shared import charts, classifiers, frame, installation
from pages.shared.measures import MEASURE_NAMES, is_outside, perturbation_name, sample, split_name
from pages.shared.predictive_values import show_predictive_values
from records.test_sets import seen

frame.require_frame()

PURPOSE_NAMES = {
    "screening": "Screening (high sensitivity)",
    "balanced": "Balanced",
    "rule_in": "Rule-in (high specificity)",
}
HEADLINE = ("auroc", "sensitivity", "specificity", "accuracy", "ece")


def page() -> None:
    """Draw the page for the classifier in use."""
    card = classifiers.card_in_use()
    st.html(f'<h1 class="pl-title">Classifier {escape(card.version)}</h1>')
    about, figures = st.columns([1, 2.6], gap="medium")
    with about, st.container(key="about"):
        show_about(card)
    with figures, st.container(key="performance"):
        if not card.evaluations:
            st.html('<p class="pl-warning">This version has not been evaluated. Do not rely on it.</p>')
            return
        name = choose_evaluation(card)
        show_headline(card, card.evaluations[name], name)
        show_figures(card, card.evaluations[name], name)
        show_table(card)
        show_groups(card, card.evaluations[name])
        show_calibration(card)
        show_purposes(card)
        show_conformal_sets(card)
        show_robustness(card)


def evaluation_names(card: ModelCard) -> list[str]:
    """Return the names of the card's evaluations: validation first, those outside the intended population last."""
    return sorted(card.evaluations, key=lambda name: (is_outside(name), name != "validation"))


def choose_evaluation(card: ModelCard) -> str:
    """Let the reader select an evaluation set; return its name."""
    choices = evaluation_names(card)
    if len(choices) == 1:
        return choices[0]
    chosen = st.segmented_control(
        "Evaluation set",
        choices,
        format_func=split_name,
        default=choices[0],
        required=True,
        key="performance.evaluation",
    )
    return chosen or choices[0]


def show_headline(card: ModelCard, evaluation: Evaluation, name: str) -> None:
    """Draw the main measures as tiles."""
    if is_outside(name):
        st.html(
            '<p class="pl-warning">Outside the intended population. The classifier must not be used on such '
            "radiographs.</p>"
        )
    tiles = "".join(
        f"<div><span>{MEASURE_NAMES[key].removesuffix(' (ECE)')}</span><strong>{format_rate(measure.value, 3)}</strong>"
        f"<span>{format_interval(measure, 3)}</span></div>"
        for key, measure in ((key, evaluation.measures[key]) for key in HEADLINE if key in evaluation.measures)
    )
    st.html(
        f'<div class="pl-tiles">{tiles}</div><p class="pl-note">{escape(sample(evaluation, name))}. Operating '
        f"point {evaluation.operating_point:.2f}; 95 % confidence intervals by {escape(evaluation.unit)}."
        f"{' ' + cross_fit_sentence(card) if is_cross_fitted(card, name) else ''}</p>"
    )


def show_figures(card: ModelCard, evaluation: Evaluation, name: str) -> None:
    """Draw the figures of one evaluation in two columns."""
    text, measures, point = sample(evaluation, name), evaluation.measures, evaluation.operating_point
    sensitivity, specificity = measures["sensitivity"].value, measures["specificity"].value
    prevalence = (evaluation.tp + evaluation.fn) / max(1, evaluation.n)
    auroc, auprc, ece = (format_estimate(measures[key], 3) for key in ("auroc", "auprc", "ece"))
    left, right = st.columns(2, gap="small")
    with left:
        draw("roc", charts_performance.roc(evaluation.roc, (1 - specificity, sensitivity), auroc, text))
        draw("reliability", charts.reliability(evaluation.reliability, ece, text))
        draw(
            "confusion",
            charts_performance.confusion_matrix(
                evaluation.tp, evaluation.fp, evaluation.tn, evaluation.fn, point, text
            ),
        )
    with right:
        draw(
            "precision_recall",
            charts_performance.precision_recall(
                evaluation.precision_recall, (sensitivity, measures["ppv"].value), auprc, text, prevalence
            ),
        )
        draw(
            "scores",
            charts_performance.score_distributions(
                evaluation.histogram_normal, evaluation.histogram_pneumonia, point, text
            ),
        )
        with st.container(key="figure_predictive"):
            show_predictive_values(rates_at(evaluation, point), text)
    if card.history:
        left, right = st.columns(2, gap="small")
        with left:
            draw("learning", charts_performance.learning_curves(card.history))
        with right:
            draw("loss", charts_performance.loss_curves(card.history))


def draw(key: str, figure: go.Figure) -> None:
    """Draw a figure in its panel."""
    with st.container(key=f"figure_{key}"):
        st.plotly_chart(figure, theme=None, key=f"performance.{key}", config={"displayModeBar": False})


def show_table(card: ModelCard) -> None:
    """Draw the table of all measures on all evaluation sets."""
    sets = evaluation_names(card)
    head = "".join(f"<th>{escape(split_name(name))}<span>n = {card.evaluations[name].n}</span></th>" for name in sets)
    rows = "".join(
        f"<tr><th>{label}</th>" + "".join(f"<td>{cell(card.evaluations[name], key)}</td>" for name in sets) + "</tr>"
        for key, label in MEASURE_NAMES.items()
    )
    st.html(
        f'<div class="pl-wide"><table class="pl-table"><caption>All measures with 95 % confidence intervals</caption>'
        f"<tr><th></th>{head}</tr>{rows}</table></div>"
    )


def cell(evaluation: Evaluation, key: str) -> str:
    """Return one table cell: a measure and its interval."""
    measure = evaluation.measures.get(key)
    if measure is None:
        return "–"
    return f"{measure.value:.3f} <span>{format_interval(measure, 3)}</span>" if measure.value == measure.value else "–"


def show_groups(card: ModelCard, evaluation: Evaluation) -> None:
    """Draw the results by group, where the evaluation has them."""
    if found := group_table(card, evaluation):
        st.html(found)


def show_calibration(card: ModelCard) -> None:
    """Draw the table of calibration measures, where the card has them."""
    if found := calibration_table(card, evaluation_names(card)):
        st.html(found)


def show_conformal_sets(card: ModelCard) -> None:
    """Draw the table of conformal sets, where the card has them."""
    if found := conformal_table(card):
        st.html(found)


def show_purposes(card: ModelCard) -> None:
    """Draw the alternative operating points."""
    if not card.purposes:
        return
    rows = "".join(
        f"<tr><th>{PURPOSE_NAMES.get(one.purpose, words(one.purpose))}</th>"
        f"<td>{one.probability:.3f}</td>{purpose_cells(card, one.purpose, one.sensitivity, one.specificity)}</tr>"
        for one in card.purposes
    )
    adjusted = [
        f"{NAMES[one.purpose].lower()} {point.probability:.3f}"
        for one in card.purposes
        if one.purpose in NAMES and (point := operating_point(card, one.purpose)).probability != one.probability
    ]
    order = f" Applied thresholds, adjusted to keep the purposes in order: {', '.join(adjusted)}." if adjusted else ""
    st.html(
        '<table class="pl-table"><caption>Alternative operating points</caption>'
        f"<tr><th>Purpose</th><th>Threshold</th><th>Sensitivity</th><th>Specificity</th></tr>{rows}</table>"
        f'<p class="pl-note">{purposes_sentence(card)} '
        "Default operating point: "
        f"{card.operating_point.probability:.2f}.{order}</p>"
    )


def show_robustness(card: ModelCard) -> None:
    """Draw the measures on perturbed radiographs."""
    if not card.robustness:
        return
    rows = "".join(
        f"<tr><th>{escape(perturbation_name(str(row['name'])))}{'' if row['mild'] else '<span>strong</span>'}</th>"
        + "".join(
            f"<td>{'–' if row[key]['value'] is None else format_rate(float(row[key]['value']), 3)}</td>"
            for key in ("auroc", "accuracy", "sensitivity", "specificity")
        )
        + f"<td>{percentage_points(row['accuracy_change']['value'])}</td></tr>"
        for row in card.robustness
    )
    st.html(
        '<div class="pl-wide"><table class="pl-table"><caption>Robustness to perturbations</caption>'
        "<tr><th>Perturbation</th><th>AUROC</th><th>Accuracy</th><th>Sensitivity</th><th>Specificity</th>"
        f"<th>Δ accuracy (pp)</th></tr>{rows}</table></div>"
        f'<p class="pl-note">{escape(split_name(str(card.robustness[0]["split"])))}, n = '
        f"{card.robustness[0]['n']}. Operating point unchanged. Δ accuracy: percentage points relative to the "
        "unperturbed radiographs.</p>"
    )


def percentage_points(change: float | None) -> str:
    """Return a change of a rate in percentage points, signed."""
    return "–" if change is None else format_signed(100 * change, 1)


def show_about(card: ModelCard) -> None:
    """Draw the model card: intended use, limitations, training data and version; technical details folded below."""
    limitations = "".join(f"<li>{escape(limitation)}</li>" for limitation in card.limitations)
    # Sentences, too long for a table cell.
    audit = "".join(f"<li>{escape(finding)}</li>" for finding in card.data.get("audit", ()))
    point = card.operating_point
    facts = {
        "Version": card.version,
        "Created": card.created_at[:10],
        "Parent version": card.parent or "none",
        "Architecture": f"{card.architecture}, {card.parameters / 1e6:.1f} million parameters",
        "Operating point": f"{point.probability:.2f} (borderline: {point.near_low:.2f}–{point.near_high:.2f})",
        "Calibrated for": f"prevalence {format_percentage(card.calibration.prevalence)}",
        "SHA-256": f"{card.sha256[:16]}…",
    }
    st.html(
        f'<section class="pl-about"><h2>Intended use</h2><p>{escape(card.intended_use)}</p>'
        f"<h2>Limitations</h2><ul>{limitations}</ul>"
        f"<h2>Training data</h2>{rows_table(with_gaps_last(data_rows(card)))}"
        + (f"<h2>Data audit</h2><ul>{audit}</ul>" if audit else "")
        + f"<h2>Test sets</h2>{looks_table(card)}"
        + f"<h2>Version</h2>{facts_table(facts)}</section>"
    )
    with st.expander("Technical details"):
        criteria = {"Default": point.chosen}
        criteria |= {PURPOSE_NAMES.get(one.purpose, words(one.purpose)): one.chosen for one in card.purposes}
        notes = "".join(f"<li>{escape(note)}</li>" for note in card.notes)
        st.html(
            f'<section class="pl-about"><h2>Choice of operating points</h2>{facts_table(criteria)}'
            f"<h2>Library versions</h2>{facts_table(card.libraries)}"
            + (f"<h2>Notes</h2><ul>{notes}</ul>" if notes else "")
            + "</section>"
        )


def with_gaps_last(rows: Sequence[tuple[str, str | None]]) -> list[tuple[str, str]]:
    """Return the rows with a value, and one row that names all that have none."""
    missing = ", ".join(name if name[1:2] == "-" else name.lower() for name, value in rows if value is None)
    stated = [(name, value) for name, value in rows if value is not None]
    return [*stated, *([(NOT_STATED.capitalize(), missing)] if missing else [])]


def rows_table(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of the card as a table."""
    return (
        '<table class="pl-facts">'
        + "".join(f"<tr><th>{escape(name)}</th><td>{escape(one_line(value))}</td></tr>" for name, value in rows)
        + "</table>"
    )


def looks_table(card: ModelCard) -> str:
    """Return how often each test set of the installation was looked at, with this version among the looks or not."""
    rows = [
        (f"{one.test_set.name}, n = {one.test_set.n:,}", one.words + ("" if measured else "; not with this version"))
        for one in seen(installation.settings())
        for measured in [card.version in one.versions]
    ]
    return rows_table(rows) if rows else "<p>None is named on this installation.</p>"


def facts_table(values: Mapping[str, Any]) -> str:
    """Return names and values as table rows, nested values on one line."""
    return (
        '<table class="pl-facts">'
        + "".join(
            f"<tr><th>{escape(words(name))}</th><td>{escape(one_line(value))}</td></tr>"
            for name, value in values.items()
        )
        + "</table>"
    )


def words(name: str) -> str:
    """Return a key of the card as words: "audit_digest" becomes "Audit digest"."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def one_line(value: Any) -> str:
    """Return a value of the card on one line; a SHA-256 digest is shortened."""
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(key)).lower()} {one_line(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(one_line(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value[:16]}…" if isinstance(value, str) and len(value) == 64 else str(value)


try:
    page()
except AppError as error:
    frame.show_error(error)

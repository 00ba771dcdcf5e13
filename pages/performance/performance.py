"""Performance: what the classifier in use is for, how well it does, on whom, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.errors import AppError
from core.formatting import format_estimate, format_interval, format_percentage, format_rate, format_signed
from model.card import Evaluation, ModelCard
from model.operating import NAMES, operating_point, rates_at
from pages.shared import charts, classifiers, frame
from pages.shared.measures import MEASURE_NAMES, is_outside, sample, split_name
from pages.shared.predictive_values import show_predictive_values

frame.require_frame()

PURPOSE_NAMES = {
    "screening": "Screening: miss as few as possible",
    "balanced": "Balanced",
    "rule_in": "Rule in: few false alarms",
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
            st.html('<p class="pl-warning">This version has never been evaluated. Do not rely on it.</p>')
            return
        name = choose_evaluation(card)
        show_headline(card.evaluations[name], name)
        show_figures(card, card.evaluations[name], name)
        show_table(card)
        show_purposes(card)
        show_robustness(card)


def names(card: ModelCard) -> list[str]:
    """Return the card's evaluations, validation first and those outside the intended population last."""
    return sorted(card.evaluations, key=lambda name: (is_outside(name), name != "validation"))


def choose_evaluation(card: ModelCard) -> str:
    """Let the reader choose a set of radiographs."""
    choices = names(card)
    if len(choices) == 1:
        return choices[0]
    chosen = st.segmented_control(
        "Evaluated on", choices, format_func=split_name, default=choices[0], required=True, key="performance.evaluation"
    )
    return chosen or choices[0]


def show_headline(evaluation: Evaluation, name: str) -> None:
    """Draw the few figures that are asked for first."""
    if is_outside(name):
        st.html(
            '<p class="pl-warning">Outside the intended population. These figures show where the classifier must '
            "not be used.</p>"
        )
    tiles = "".join(
        f"<div><span>{MEASURE_NAMES[key].removesuffix(' (ECE)')}</span><strong>{format_rate(measure.value, 3)}</strong>"
        f"<span>{format_interval(measure, 3)}</span></div>"
        for key, measure in ((key, evaluation.measures[key]) for key in HEADLINE if key in evaluation.measures)
    )
    st.html(
        f'<div class="pl-tiles">{tiles}</div><p class="pl-note">{escape(sample(evaluation, name))}. At operating '
        f"point {evaluation.operating_point:.2f}; 95 % intervals over {escape(evaluation.unit)}s.</p>"
    )


def show_figures(card: ModelCard, evaluation: Evaluation, name: str) -> None:
    """Draw the figures two by two."""
    text, measures, point = sample(evaluation, name), evaluation.measures, evaluation.operating_point
    sensitivity, specificity = measures["sensitivity"].value, measures["specificity"].value
    share_ill = (evaluation.tp + evaluation.fn) / max(1, evaluation.n)
    auroc, auprc, ece = (format_estimate(measures[key], 3) for key in ("auroc", "auprc", "ece"))
    left, right = st.columns(2, gap="small")
    with left:
        draw("roc", charts.roc(evaluation.roc, (1 - specificity, sensitivity), auroc, text))
        draw("reliability", charts.reliability(evaluation.reliability, ece, text))
        draw(
            "confusion",
            charts.confusion_matrix(evaluation.tp, evaluation.fp, evaluation.tn, evaluation.fn, point, text),
        )
    with right:
        draw(
            "precision_recall",
            charts.precision_recall(
                evaluation.precision_recall, (sensitivity, measures["ppv"].value), auprc, text, share_ill
            ),
        )
        draw(
            "scores",
            charts.score_distributions(evaluation.histogram_normal, evaluation.histogram_pneumonia, point, text),
        )
        with st.container(key="figure_predictive"):
            show_predictive_values(rates_at(evaluation, point), text)
    if card.history:
        left, right = st.columns(2, gap="small")
        with left:
            draw("learning", charts.learning_curves(card.history))
        with right:
            draw("loss", charts.loss_curves(card.history))


def draw(key: str, figure: go.Figure) -> None:
    """Draw a figure in its panel; Streamlit's own button opens it at full size."""
    with st.container(key=f"figure_{key}"):
        st.plotly_chart(figure, theme=None, key=f"performance.{key}", config={"displayModeBar": False})


def show_table(card: ModelCard) -> None:
    """Draw every measure on every set, with intervals."""
    sets = names(card)
    head = "".join(f"<th>{escape(split_name(name))}<span>n = {card.evaluations[name].n}</span></th>" for name in sets)
    rows = "".join(
        f"<tr><th>{label}</th>" + "".join(f"<td>{cell(card.evaluations[name], key)}</td>" for name in sets) + "</tr>"
        for key, label in MEASURE_NAMES.items()
    )
    st.html(
        f'<div class="pl-wide"><table class="pl-table"><caption>All measures with 95 % intervals</caption>'
        f"<tr><th></th>{head}</tr>{rows}</table></div>"
    )


def cell(evaluation: Evaluation, key: str) -> str:
    """Return one figure of the table and its interval."""
    measure = evaluation.measures.get(key)
    if measure is None:
        return "–"
    return f"{measure.value:.3f} <span>{format_interval(measure, 3)}</span>" if measure.value == measure.value else "–"


def show_purposes(card: ModelCard) -> None:
    """Draw the operating points for other purposes, which were chosen on held-out patients too."""
    if not card.purposes:
        return
    rows = "".join(
        f"<tr><th>{PURPOSE_NAMES.get(one.purpose, words(one.purpose))}<span>{escape(one.chosen)}</span></th>"
        f"<td>{one.probability:.3f}</td><td>{format_rate(one.sensitivity, 3)}</td>"
        f"<td>{format_rate(one.specificity, 3)}</td></tr>"
        for one in card.purposes
    )
    moved = [
        f"{NAMES[one.purpose].lower()} from {point.probability:.3f}"
        for one in card.purposes
        if one.purpose in NAMES and (point := operating_point(card, one.purpose)).probability != one.probability
    ]
    order = f" To keep the purposes in order, films are read for {' and for '.join(moved)} on." if moved else ""
    st.html(
        '<table class="pl-table"><caption>Operating points for other purposes</caption>'
        f"<tr><th>Purpose</th><th>From probability</th><th>Sensitivity</th><th>Specificity</th></tr>{rows}</table>"
        '<p class="pl-note">On the validation patients that chose them. Unless a reader or the site chooses one of '
        f"them, the finding uses operating point {card.operating_point.probability:.2f}.{order}</p>"
    )


def show_robustness(card: ModelCard) -> None:
    """Draw what is left of the accuracy when the films look different."""
    if not card.robustness:
        return
    rows = "".join(
        f"<tr><th>{escape(str(row['name']))}{'' if row['mild'] else '<span>strong</span>'}</th>"
        + "".join(
            f"<td>{'–' if row[key]['value'] is None else format_rate(float(row[key]['value']), 3)}</td>"
            for key in ("auroc", "accuracy", "sensitivity", "specificity")
        )
        + f"<td>{points(row['accuracy_change']['value'])}</td></tr>"
        for row in card.robustness
    )
    st.html(
        '<div class="pl-wide"><table class="pl-table"><caption>The same films, changed</caption>'
        "<tr><th>Change</th><th>AUROC</th><th>Accuracy</th><th>Sensitivity</th><th>Specificity</th>"
        f"<th>Accuracy, points</th></tr>{rows}</table></div>"
        f'<p class="pl-note">{escape(split_name(str(card.robustness[0]["split"])))}, n = '
        f"{card.robustness[0]['n']}, at the operating point as it is; the last column is "
        "the difference from the films as they are.</p>"
    )


def points(change: float | None) -> str:
    """Return a change of a rate in percentage points, signed."""
    return "–" if change is None else format_signed(100 * change, 1)


def show_about(card: ModelCard) -> None:
    """Draw what the classifier is for and not for, and where it comes from."""
    limits = "".join(f"<li>{escape(limit)}</li>" for limit in card.limitations)
    notes = "".join(f"<li>{escape(note)}</li>" for note in card.notes)
    # The audit speaks in sentences, which a cell of a table would cram.
    audit = "".join(f"<li>{escape(one)}</li>" for one in card.data.get("audit", ()))
    data = {name: value for name, value in card.data.items() if name not in ("audit", "sees_no_lungs_auroc")}
    point = card.operating_point
    facts = {
        "Version": card.version,
        "Made": card.created_at[:10],
        "Follows": card.parent or "no earlier version",
        "Network": f"{card.architecture}, {card.parameters / 1e6:.1f} million parameters",
        "Operating point": f"{point.probability:.2f} (near: {point.near_low:.2f}–{point.near_high:.2f})",
        "Chosen": point.chosen,
        "Calibrated for": f"a prevalence of {format_percentage(card.calibration.prevalence)}",
        "Checksum": f"{card.sha256[:16]}…",
    }
    st.html(
        f'<section class="pl-about"><h2>For</h2><p>{escape(card.intended_use)}</p>'
        f"<h2>Limits</h2><ul>{limits}</ul>"
        f"<h2>Learned from</h2>{table(data)}"
        + (f"<h2>What the audit of the data found</h2><ul>{audit}</ul>" if audit else "")
        + f"<h2>Version</h2>{table(facts)}"
        + (f"<h2>Notes</h2><ul>{notes}</ul>" if notes else "")
        + f"<h2>Made with</h2>{table(card.libraries)}</section>"
    )


def table(values: Mapping[str, Any]) -> str:
    """Return names and values as rows; nested values in one line."""
    return (
        '<table class="pl-facts">'
        + "".join(
            f"<tr><th>{escape(words(name))}</th><td>{escape(one_line(value))}</td></tr>"
            for name, value in values.items()
        )
        + "</table>"
    )


def words(name: str) -> str:
    """Return a key of the card as words."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def one_line(value: Any) -> str:
    """Return a value of the card in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(key)).lower()} {one_line(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(one_line(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value[:16]}…" if isinstance(value, str) and len(value) == 64 else str(value)


try:
    page()
except AppError as error:
    frame.show_error(error)

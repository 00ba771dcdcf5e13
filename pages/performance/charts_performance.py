"""Figures of the Performance page, from plain values. Imports no streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from core.formatting import format_count, format_percentage
from pages.shared.charts import (
    ABOVE,
    ACCENT,
    BACKGROUND,
    BELOW,
    CHANCE,
    LINE,
    QUIET,
    TALL,
    TEXT,
    Point,
    anchor_at,
    bin_centres,
    finish,
    place_legend,
)
from pages.shared.measures import stage_name


def roc(points: Sequence[Point], at: Point, auroc: str, sample: str) -> go.Figure:
    """Draw the ROC curve with the operating point.

    Parameters
    ----------
    points
        (1 − specificity, sensitivity), both in [0, 1], by falling threshold.
    at
        The operating point, on the same axes.
    auroc
        AUROC with its interval, formatted.
    sample
        The evaluation set and its size, the subtitle.
    """
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="chance", hoverinfo="skip", line=CHANCE)
    _curve(figure, points, f"AUROC {auroc}", "1 − specificity %{x:.3f}<br>sensitivity %{y:.3f}<extra></extra>")
    _mark(figure, at, f"operating point: sensitivity {at[1]:.2f}, specificity {1 - at[0]:.2f}")
    finish(figure, "ROC curve", sample, "1 − specificity", "Sensitivity", unit_square=True)
    return place_legend(figure, 1, 0.03)


def precision_recall(points: Sequence[Point], at: Point, auprc: str, sample: str, prevalence: float) -> go.Figure:
    """Draw the precision-recall curve with the operating point.

    Parameters
    ----------
    points
        (recall, precision), both in [0, 1].
    at
        The operating point, on the same axes.
    auprc
        AUPRC with its interval, formatted.
    sample
        The evaluation set and its size, the subtitle.
    prevalence
        Share of radiographs with pneumonia in the evaluation set: the chance level.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[prevalence, prevalence],
        mode="lines",
        name=f"chance {prevalence:.2f}",
        hoverinfo="skip",
        line=CHANCE,
    )
    _curve(figure, points, f"AUPRC {auprc}", "recall %{x:.3f}<br>precision %{y:.3f}<extra></extra>")
    _mark(figure, at, f"operating point: precision {at[1]:.2f}, recall {at[0]:.2f}")
    finish(
        figure,
        "Precision-recall curve",
        sample,
        "Recall (sensitivity)",
        "Precision (PPV in this set)",
        unit_square=True,
    )
    return place_legend(figure, 0, 0.03)


def score_distributions(
    histogram_normal: Sequence[int], histogram_pneumonia: Sequence[int], operating_point: float, sample: str
) -> go.Figure:
    """Draw the histograms of the calibrated probability of both classes, on a square-root scale.

    Parameters
    ----------
    histogram_normal, histogram_pneumonia
        Number of radiographs in equal bins of [0, 1].
    operating_point
        Threshold of the probability.
    sample
        The evaluation set and its size, the subtitle.
    """
    figure = go.Figure()
    top = math.sqrt(max((*histogram_normal, *histogram_pneumonia, 1)))
    for counts, sign, colour, name in (
        (histogram_pneumonia, 1, ABOVE, "with pneumonia (up)"),
        (histogram_normal, -1, BELOW, "without pneumonia (down)"),
    ):
        figure.add_bar(
            x=bin_centres(len(counts)),
            y=[sign * math.sqrt(count) for count in counts],
            name=name,
            width=0.9 / max(1, len(counts)),
            marker={"color": colour, "line": {"width": 0}},
            customdata=list(counts),
            hovertemplate="probability %{x:.2f}: %{customdata} radiographs<extra></extra>",
        )
    figure.add_shape(
        type="line",
        x0=operating_point,
        x1=operating_point,
        y0=-top,
        y1=top,
        name="operating point",
        line={"color": TEXT, "width": 1, "dash": "dot"},
    )
    figure.add_annotation(
        x=operating_point,
        y=1.04 * top,
        text=f"operating point {operating_point:.2f}",
        showarrow=False,
        font={"size": 12, "color": QUIET},
        xanchor=anchor_at(operating_point),
        yanchor="bottom",
    )
    figure.update_layout(barmode="overlay", bargap=0)
    finish(
        figure, "Score distributions", sample, "Calibrated probability of pneumonia", "Radiographs (square-root scale)"
    )
    ticks = _root_ticks(int(top * top))
    figure.update_yaxes(
        tickvals=[-math.sqrt(t) for t in reversed(ticks)] + [0] + [math.sqrt(t) for t in ticks],
        ticktext=[str(t) for t in reversed(ticks)] + ["0"] + [str(t) for t in ticks],
        range=[-1.08 * top, 1.3 * top],
    )
    figure.update_xaxes(range=[-0.01, 1.01])
    return place_legend(figure, 1, 0.03)


def confusion_matrix(tp: int, fp: int, tn: int, fn: int, operating_point: float, sample: str) -> go.Figure:
    """Draw the confusion matrix, shaded by the share of each row, the reference label.

    Parameters
    ----------
    tp, fp, tn, fn
        Number of radiographs at the operating point.
    operating_point
        Threshold of the probability.
    sample
        The evaluation set and its size, the subtitle.
    """
    counts = [[tn, fp], [fn, tp]]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    words = [["true negatives", "false positives"], ["false negatives", "true positives"]]
    truths, findings = ("Without<br>pneumonia", "With<br>pneumonia"), ("Pneumonia unlikely", "Pneumonia likely")
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=findings,
            y=truths,
            colorscale=[[0, "#1b222c"], [1, "#2f5f86"]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=3,
            ygap=3,
            customdata=counts,
            hovertemplate="%{y}, %{x}: %{customdata}<extra></extra>",
        )
    )
    for row, truth in enumerate(truths):
        for column, finding in enumerate(findings):
            figure.add_annotation(
                x=finding,
                y=truth,
                showarrow=False,
                font={"color": TEXT, "size": 13},
                text=f"<b>{counts[row][column]}</b><br>{words[row][column]}<br>"
                f"{format_percentage(shares[row][column])} of row",
            )
    finish(figure, "Confusion matrix", sample, f"Finding at operating point {operating_point:.2f}", "Reference label")
    figure.update_layout(showlegend=False, margin={"l": 96}, height=TALL)
    figure.update_xaxes(showgrid=False, tickangle=0)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return figure


def learning_curves(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw the AUROC of training and validation patients against epochs, with the training stages marked.

    `history` has one row for each epoch, as on the model card; values of None are left out.
    """
    figure = go.Figure()
    _epochs(figure, history, "train_auroc", "val_auroc")
    finish(figure, "Learning curves: AUROC", _schedule(history), "Epoch", "AUROC")
    return _stages(figure, history)


def loss_curves(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw the loss against epochs; training uses augmented radiographs, so its loss may exceed the validation loss."""
    figure = go.Figure()
    _epochs(figure, history, "loss", "val_loss")
    finish(figure, "Learning curves: loss", _schedule(history), "Epoch", "Cross-entropy")
    return _stages(figure, history)


def _root_ticks(most: int) -> list[int]:
    """Return a few round counts that spread out over a square-root axis."""
    kept: list[int] = []
    for number in (step * 10**power for power in range(5, -1, -1) for step in (5, 2, 1)):
        if number <= most and (not kept or math.sqrt(kept[-1]) - math.sqrt(number) > 0.2 * math.sqrt(most)):
            kept.append(number)
    return kept[::-1]


def _curve(figure: go.Figure, points: Sequence[Point], name: str, hover: str) -> None:
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines",
        name=name,
        hovertemplate=hover,
        line={"color": ACCENT, "width": 2},
    )


def _mark(figure: go.Figure, at: Point, name: str) -> None:
    figure.add_scatter(
        x=[at[0]],
        y=[at[1]],
        mode="markers",
        name=name,
        cliponaxis=False,
        hovertemplate=name + "<extra></extra>",
        marker={"size": 11, "color": TEXT, "symbol": "diamond", "line": {"color": BACKGROUND, "width": 1}},
    )


def _epochs(figure: go.Figure, history: Sequence[Mapping[str, Any]], training: str, validation: str) -> None:
    for key, name, colour, dash in (
        (training, "training (augmented)", QUIET, "dot"),
        (validation, "validation", ACCENT, "solid"),
    ):
        rows = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
        if rows:
            figure.add_scatter(
                x=[epoch for epoch, _ in rows],
                y=[value for _, value in rows],
                name=name,
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 5},
                hovertemplate="epoch %{x}: %{y:.4f}<extra>" + name + "</extra>",
            )


def _schedule(history: Sequence[Mapping[str, Any]]) -> str:
    sizes = sorted({str(row["input_px"]) for row in history if row.get("input_px")})
    return format_count(len(history), "epoch") + (f" at {' and '.join(sizes)} px" if sizes else "")


def _stages(figure: go.Figure, history: Sequence[Mapping[str, Any]]) -> go.Figure:
    # Below the plot: curves of few epochs cross every corner, and the stage names are above.
    figure.update_layout(
        margin={"t": 84, "b": 72},
        legend={
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "yref": "container",
            "y": 0.01,
            "yanchor": "bottom",
            "font": {"size": 12, "color": TEXT},
        },
    )
    figure.update_xaxes(tickformat="d", dtick=max(1, round(len(history) / 10)))
    for previous, row in pairwise(history):
        if row.get("stage") != previous.get("stage"):
            start = row["epoch"] - 0.5
            figure.add_shape(
                type="line",
                x0=start,
                x1=start,
                yref="paper",
                y0=0,
                y1=1,
                name="stage",
                line={"color": LINE, "width": 1},
            )
            figure.add_annotation(
                x=start,
                yref="paper",
                y=1,
                text=f" {stage_name(str(row.get('stage', '')))}",
                showarrow=False,
                xanchor="left",
                yanchor="bottom",
                font={"size": 12, "color": QUIET},
            )
    return figure

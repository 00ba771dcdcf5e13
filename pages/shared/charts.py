"""Plotly figures from plain values. Imports no streamlit, so that figures can be tested and printed by themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from core.formatting import format_percentage
from model.card import ReliabilityBin
from model.metrics import ppv_npv

Point = tuple[float, float]

BACKGROUND, PANEL, LINE = "#0e1116", "#151a21", "#2a313b"
TEXT, QUIET, ACCENT = "#d7dde5", "#8b96a5", "#5aa9e6"
ABOVE, BELOW = "#e0a458", "#7fb7a3"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
HEIGHT = 340
TALL = 469
_CHANCE = {"color": QUIET, "width": 1, "dash": "dash"}


def probability_scale(
    probability: float,
    operating_point: float,
    near: Point,
    histogram_normal: Sequence[int],
    histogram_pneumonia: Sequence[int],
    *,
    others: Mapping[str, float] | None = None,
    is_grey: bool = False,
) -> go.Figure:
    """Draw one probability on [0, 1] with the operating point and the validation radiographs of both classes.

    `others` are operating points for other purposes by their names: short ticks that say what they are under the
    mouse. `is_grey` draws both classes without their colours, for a film of which the colours would say too much.

    Pneumonia stands above the scale and no pneumonia hangs below it, so that colour is not needed to tell them apart.
    Each class is drawn as the square root of its own shares: most radiographs lie at the ends, and the few in the
    middle, which matter most here, would otherwise vanish.
    """
    figure = go.Figure()
    above, below = (QUIET, QUIET) if is_grey else (ABOVE, BELOW)
    for counts, sign, colour, name in (
        (histogram_pneumonia, 1, above, "with pneumonia"),
        (histogram_normal, -1, below, "without pneumonia"),
    ):
        figure.add_bar(
            x=_centres(len(counts)),
            y=[sign * height for height in _root_shares(counts)],
            name=name,
            width=0.86 / max(1, len(counts)),
            marker={"color": colour, "opacity": 0.45 if is_grey else 0.8, "line": {"width": 0}},
            customdata=list(counts),
            hovertemplate="probability %{x:.2f}: %{customdata} validation radiographs " + name + "<extra></extra>",
        )
    figure.add_shape(
        type="rect",
        x0=near[0],
        x1=near[1],
        y0=-1.05,
        y1=1.05,
        name="near",
        layer="below",
        fillcolor=QUIET,
        opacity=0.22,
        line={"width": 0},
    )
    figure.add_shape(type="line", x0=0, x1=1, y0=0, y1=0, line={"color": QUIET, "width": 1})
    figure.add_shape(
        type="line",
        x0=operating_point,
        x1=operating_point,
        y0=-1.05,
        y1=1.12,
        name="operating point",
        line={"color": TEXT, "width": 1, "dash": "dot"},
    )
    figure.add_annotation(
        x=operating_point,
        y=1.36,
        text=f"operating point {operating_point:.2f}",
        showarrow=False,
        font={"size": 12, "color": QUIET},
        xanchor=_anchor(operating_point),
    )
    if others:
        figure.add_scatter(
            x=list(others.values()),
            y=[-1.05] * len(others),
            mode="markers",
            name="other purposes",
            cliponaxis=False,
            text=list(others),
            marker={"symbol": "line-ns", "size": 9, "line": {"color": QUIET, "width": 1}},
            hovertemplate="%{text}: operating point %{x:.2f}<extra></extra>",
        )
    figure.add_shape(
        type="line",
        x0=probability,
        x1=probability,
        y0=-1.05,
        y1=1.05,
        name="this radiograph",
        line={"color": TEXT, "width": 2},
    )
    figure.add_scatter(
        x=[probability],
        y=[0],
        mode="markers",
        name="this radiograph",
        cliponaxis=False,
        marker={"size": 13, "color": TEXT, "symbol": "circle", "line": {"color": BACKGROUND, "width": 2}},
        hovertemplate="this radiograph: %{x:.2f}<extra></extra>",
    )
    lay_out(figure, 138)
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 2, "b": 24}, bargap=0, barmode="overlay", showlegend=False, hovermode="closest"
    )
    figure.update_xaxes(
        range=[-0.025, 1.025],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        showgrid=False,
        ticktext=["0", "0.25", "0.50", "0.75", "1"],
        title=None,
        ticks="",
        linewidth=0,
    )
    figure.update_yaxes(range=[-1.12, 1.6], visible=False)
    return figure


def roc(points: Sequence[Point], at: Point, auroc: str, sample: str) -> go.Figure:
    """Draw the ROC curve with the operating point marked; `at` is (1 − specificity, sensitivity) there."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="chance", hoverinfo="skip", line=_CHANCE)
    _curve(figure, points, f"AUROC {auroc}", "1 − specificity %{x:.3f}<br>sensitivity %{y:.3f}<extra></extra>")
    _mark(figure, at, f"operating point: sensitivity {at[1]:.2f}, specificity {1 - at[0]:.2f}")
    titled(figure, "ROC", sample, "1 − specificity", "Sensitivity", unit_square=True)
    return _legend(figure, 1, 0.03)


def precision_recall(points: Sequence[Point], at: Point, auprc: str, sample: str, share_ill: float) -> go.Figure:
    """Draw precision over recall with the operating point marked; `share_ill` is what chance would reach."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[share_ill, share_ill], mode="lines", name=f"chance {share_ill:.2f}", hoverinfo="skip", line=_CHANCE
    )
    _curve(figure, points, f"AUPRC {auprc}", "recall %{x:.3f}<br>precision %{y:.3f}<extra></extra>")
    _mark(figure, at, f"operating point: precision {at[1]:.2f}, recall {at[0]:.2f}")
    titled(
        figure, "Precision and recall", sample, "Recall (sensitivity)", "Precision (PPV in this set)", unit_square=True
    )
    return _legend(figure, 0, 0.03)


def reliability(bins: Sequence[ReliabilityBin], ece: str, sample: str) -> go.Figure:
    """Draw how often pneumonia was present among radiographs of similar probability."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="perfect calibration", hoverinfo="skip", line=_CHANCE)
    most = max((one.n for one in bins), default=1)
    figure.add_scatter(
        x=[one.probability for one in bins],
        y=[one.observed for one in bins],
        mode="lines+markers",
        name=f"ECE {ece}",
        customdata=[one.n for one in bins],
        line={"color": ACCENT, "width": 1},
        cliponaxis=False,
        marker={"color": ACCENT, "size": [6 + 12 * math.sqrt(one.n / most) for one in bins], "opacity": 0.9},
        hovertemplate="mean probability %{x:.2f}<br>observed share %{y:.2f}<br>n = %{customdata}<extra></extra>",
    )
    titled(
        figure,
        "Reliability",
        sample,
        "Mean probability (dot size: radiographs in the bin)",
        "Share with pneumonia",
        unit_square=True,
    )
    return _legend(figure, 1, 0.03)


def score_distributions(
    histogram_normal: Sequence[int], histogram_pneumonia: Sequence[int], operating_point: float, sample: str
) -> go.Figure:
    """Draw how many radiographs of each class received which probability, on a square-root scale."""
    figure = go.Figure()
    top = math.sqrt(max((*histogram_normal, *histogram_pneumonia, 1)))
    for counts, sign, colour, name in (
        (histogram_pneumonia, 1, ABOVE, "with pneumonia (up)"),
        (histogram_normal, -1, BELOW, "without pneumonia (down)"),
    ):
        figure.add_bar(
            x=_centres(len(counts)),
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
        xanchor=_anchor(operating_point),
        yanchor="bottom",
    )
    figure.update_layout(barmode="overlay", bargap=0)
    titled(figure, "Score distributions", sample, "Calibrated probability of pneumonia", "Radiographs (square root)")
    ticks = _root_ticks(int(top * top))
    figure.update_yaxes(
        tickvals=[-math.sqrt(t) for t in reversed(ticks)] + [0] + [math.sqrt(t) for t in ticks],
        ticktext=[str(t) for t in reversed(ticks)] + ["0"] + [str(t) for t in ticks],
        range=[-1.08 * top, 1.3 * top],
    )
    figure.update_xaxes(range=[-0.01, 1.01])
    return _legend(figure, 1, 0.03)


def confusion_matrix(tp: int, fp: int, tn: int, fn: int, operating_point: float, sample: str) -> go.Figure:
    """Draw the four counts at the operating point; shading is the share of each row, the true class."""
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
    titled(figure, "Confusion matrix", sample, f"Finding at operating point {operating_point:.2f}", "Truth")
    figure.update_layout(showlegend=False, margin={"l": 96}, height=TALL)
    figure.update_xaxes(showgrid=False, tickangle=0)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return figure


def learning_curves(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw AUROC over epochs on training and validation patients, with a line where a training stage begins."""
    figure = go.Figure()
    _epochs(figure, history, "train_auroc", "val_auroc")
    titled(figure, "Learning curves: AUROC", _epochs_said(history), "Epoch", "AUROC")
    return _stages(figure, history)


def loss_curves(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw the loss over epochs; training runs on augmented pictures, so its loss may lie above validation's."""
    figure = go.Figure()
    _epochs(figure, history, "loss", "val_loss")
    titled(figure, "Learning curves: loss", _epochs_said(history), "Epoch", "Cross-entropy")
    return _stages(figure, history)


def predictive_values(sensitivity: float, specificity: float, prevalence: float, sample: str) -> go.Figure:
    """Draw PPV and NPV over prevalence and mark the chosen one, in (0, 1)."""
    figure = go.Figure()
    steps = [step / 100 for step in range(1, 100)]
    here = ppv_npv(sensitivity, specificity, prevalence)
    for index, (name, colour, dash) in enumerate((("PPV", ABOVE, "solid"), ("NPV", BELOW, "dash"))):
        figure.add_scatter(
            x=[100 * p for p in steps],
            y=[ppv_npv(sensitivity, specificity, p)[index] for p in steps],
            mode="lines",
            name=name,
            line={"color": colour, "width": 2, "dash": dash},
            hovertemplate="prevalence %{x:.0f} %: %{y:.2f}<extra>" + name + "</extra>",
        )
        figure.add_scatter(
            x=[100 * prevalence],
            y=[here[index]],
            mode="markers",
            showlegend=False,
            cliponaxis=False,
            name=f"{name} here",
            hovertemplate=name + " %{y:.2f} at %{x:.0f} %<extra></extra>",
            marker={"size": 10, "color": colour, "line": {"color": TEXT, "width": 1}},
        )
    titled(figure, "What a finding is worth", sample, "Prevalence of pneumonia (%)", "Predictive value")
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 1.03])
    return _legend(figure, 0.5, 0.03)


def _centres(bins: int) -> list[float]:
    return [(index + 0.5) / bins for index in range(bins)]


def _root_shares(counts: Sequence[int]) -> list[float]:
    most = max(counts, default=0)
    return [math.sqrt(count / most) if most else 0.0 for count in counts]


def _root_ticks(most: int) -> list[int]:
    """Return a few round counts that spread out over a square-root axis."""
    kept: list[int] = []
    for number in (step * 10**power for power in range(5, -1, -1) for step in (5, 2, 1)):
        if number <= most and (not kept or math.sqrt(kept[-1]) - math.sqrt(number) > 0.2 * math.sqrt(most)):
            kept.append(number)
    return kept[::-1]


def _anchor(x: float) -> str:
    return "left" if x < 0.25 else "right" if x > 0.75 else "center"


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


def _epochs_said(history: Sequence[Mapping[str, Any]]) -> str:
    sizes = sorted({str(row["input_px"]) for row in history if row.get("input_px")})
    return f"{len(history)} epochs" + (f" at {' and '.join(sizes)} px" if sizes else "")


def _stages(figure: go.Figure, history: Sequence[Mapping[str, Any]]) -> go.Figure:
    # Below, since curves of few epochs run through every corner and the stages stand above.
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
    for previous, row in zip(history, history[1:], strict=False):
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
                text=f" {row.get('stage', '')}",
                showarrow=False,
                xanchor="left",
                yanchor="bottom",
                font={"size": 12, "color": QUIET},
            )
    return figure


def _legend(figure: go.Figure, x: float, y: float) -> go.Figure:
    """Put the legend inside, into the corner that this kind of figure leaves empty."""
    figure.update_layout(
        legend={
            "x": x,
            "y": y,
            "xanchor": "left" if x == 0 else "right" if x == 1 else "center",
            "yanchor": "bottom" if y < 0.5 else "top",
            "bgcolor": "rgba(21,26,33,0.8)",
            "font": {"size": 12, "color": TEXT},
        }
    )
    return figure


def titled(figure: go.Figure, title: str, subtitle: str, x: str, y: str, unit_square: bool = False) -> None:
    """Give a figure its title, what it was measured on below it, and the titles of its axes."""
    lay_out(figure, HEIGHT)
    figure.update_layout(
        title={
            "text": title,
            "font": {"size": 14, "color": TEXT, "weight": 600},
            "pad": {"l": 6},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 0.97,
            "yanchor": "top",
            "subtitle": {"text": subtitle, "font": {"size": 12, "color": QUIET}},
        }
    )
    figure.update_xaxes(title={"text": x, "standoff": 8})
    figure.update_yaxes(title={"text": y, "standoff": 8})
    if unit_square:
        figure.update_xaxes(range=[-0.02, 1.02])
        figure.update_yaxes(range=[-0.02, 1.02])


def lay_out(figure: go.Figure, height: int) -> None:
    """Give a figure the colours, lines and margins of all figures, and its height in pixels."""
    axis = {
        "gridcolor": "#1f2630",
        "zeroline": False,
        "linecolor": LINE,
        "tickfont": {"size": 12, "color": QUIET},
        "title": {"font": {"size": 12, "color": QUIET}},
        "fixedrange": True,
    }
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor=PANEL,
        plot_bgcolor=PANEL,
        xaxis=axis,
        yaxis=axis,
        font={"family": FONT, "size": 12, "color": TEXT},
        margin={"l": 56, "r": 14, "t": 66, "b": 48},
        hoverlabel={"bgcolor": BACKGROUND, "bordercolor": LINE, "font": {"color": TEXT}},
    )

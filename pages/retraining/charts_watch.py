"""Learning curves of a running training: loss and AUROC against epochs. Imports no streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pages.shared.charts import ACCENT, AXIS, BACKGROUND, FONT, LINE, PANEL, QUIET, TEXT
from pages.shared.measures import stage_name

HEIGHT = 476
Rows = Sequence[Mapping[str, Any]]


def training_curves(history: Rows, points: Rows, epochs: int) -> go.Figure:
    """Draw loss and AUROC against epochs; the axes are fixed while the curves grow.

    Parameters
    ----------
    history
        One row for each finished epoch.
    points
        Rows within epochs: running means since the beginning of the epoch. A gap separates epochs.
    epochs
        Number of epochs planned.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.46, 0.54])
    _within_epochs(figure, points, "loss", 1)
    _within_epochs(figure, points, "train_auroc", 2)
    _at_epochs(figure, history, "loss", "training (augmented)", QUIET, "dot", 1, in_legend=False)
    _at_epochs(figure, history, "val_loss", "validation loss", ACCENT, "dash", 1, in_legend=False)
    _at_epochs(figure, history, "train_auroc", "training (augmented)", QUIET, "dot", 2)
    _at_epochs(figure, history, "val_auroc", "validation (held-out patients)", ACCENT, "solid", 2)
    _lay_out(figure, max(1, epochs, len(history)))
    _mark_stages(figure, history, points, max(1, epochs, len(history)))
    return figure


def _within_epochs(figure: go.Figure, points: Rows, key: str, row: int) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    epoch = None
    for point in points:
        if epoch is not None and point["epoch"] != epoch:
            x.append(None)
            y.append(None)
        epoch = point["epoch"]
        x.append(epoch_position(point))
        y.append(_number(point.get(key)))
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name="training (running mean)",
        line={"color": QUIET, "width": 1},
        connectgaps=False,
        opacity=0.8,
        showlegend=row == 1,
        legendgroup="running mean",
        row=row,
        col=1,
        hovertemplate="epoch %{x:.2f}: %{y:.4f}<extra>training, running mean</extra>",
    )


def epoch_position(point: Mapping[str, Any]) -> float:
    """Return the position of a row within an epoch on the epoch axis: 2.5 is half way through the third epoch."""
    return float(point["epoch"]) - 1 + float(point["step"]) / max(1, int(point["steps"]))


def _at_epochs(
    figure: go.Figure, history: Rows, key: str, name: str, colour: str, dash: str, row: int, in_legend: bool = True
) -> None:
    rows = [(line["epoch"], value) for line in history if (value := _number(line.get(key))) is not None]
    figure.add_scatter(
        x=[epoch for epoch, _ in rows],
        y=[value for _, value in rows],
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 6, "color": colour},
        showlegend=in_legend,
        cliponaxis=False,
        hovertemplate="epoch %{x}: %{y:.4f}<extra>" + name + "</extra>",
        row=row,
        col=1,
    )


def _mark_stages(figure: go.Figure, history: Rows, points: Rows, epochs: int) -> None:
    begins: dict[str, int] = {}
    for row in (*history, *points):
        stage = str(row.get("stage", ""))
        begins[stage] = min(int(row["epoch"]) - 1, begins.get(stage, epochs))
    for stage, start in begins.items():
        end = min((other for other in begins.values() if other > start), default=epochs)
        figure.add_shape(
            type="line",
            x0=start,
            x1=start,
            yref="paper",
            y0=0,
            y1=1,
            name="stage",
            line={"color": LINE, "width": 1},
            layer="below",
        )
        if end - start >= 0.15 * epochs:  # else the name would overlap the next one
            figure.add_annotation(
                x=start,
                yref="paper",
                y=1,
                text=" " + stage_name(stage),
                showarrow=False,
                xanchor="left",
                yanchor="bottom",
                font={"size": 12, "color": QUIET},
            )


def _lay_out(figure: go.Figure, epochs: int) -> None:
    axis = AXIS | {"title": {"font": {"size": 12, "color": QUIET}, "standoff": 8}}
    figure.update_xaxes(**axis, range=[0, 1.02 * epochs], tickformat="d", dtick=max(1, round(epochs / 12)))
    figure.update_yaxes(**axis)
    figure.update_xaxes(title_text="Epoch", row=2, col=1)
    figure.update_yaxes(title_text="Loss (cross-entropy)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="AUROC", row=2, col=1)
    figure.update_layout(
        template="none",
        height=HEIGHT,
        paper_bgcolor=PANEL,
        plot_bgcolor=PANEL,
        uirevision="watch",
        font={"family": FONT, "size": 12, "color": TEXT},
        margin={"l": 60, "r": 14, "t": 82, "b": 48},
        hoverlabel={"bgcolor": BACKGROUND, "bordercolor": LINE, "font": {"color": TEXT}},
        # At the top of the figure: at the top of the plot, two lines would cover the stage names.
        legend={
            "orientation": "h",
            "x": 0,
            "yref": "container",
            "y": 0.99,
            "xanchor": "left",
            "yanchor": "top",
            "font": {"size": 12, "color": TEXT},
            "bgcolor": "rgba(0,0,0,0)",
        },
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

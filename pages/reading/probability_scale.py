"""The scale of the finding: one probability among the validation radiographs. Imports no streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pages.shared.charts import ABOVE, BACKGROUND, BELOW, QUIET, TEXT, Point, anchor_at, bin_centres, lay_out


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
    """Draw one probability on [0, 1] with the operating point and the validation histograms of both classes.

    Pneumonia is drawn above the scale and no pneumonia below it, so that colour is not needed to tell them apart. Bar
    heights are square roots of the shares of each class: most radiographs are at the ends, and the few in the middle
    would otherwise not be visible.

    Parameters
    ----------
    probability, operating_point
        Calibrated probability of this radiograph and the threshold, in [0, 1].
    near
        Lower and upper limit of the borderline range.
    histogram_normal, histogram_pneumonia
        Validation radiographs in equal bins of [0, 1].
    others
        Alternative operating points by name, drawn as ticks with hover text.
    is_grey
        Draw both classes in grey, for a radiograph outside the training population.
    """
    figure = go.Figure()
    above, below = (QUIET, QUIET) if is_grey else (ABOVE, BELOW)
    for counts, sign, colour, name in (
        (histogram_pneumonia, 1, above, "with pneumonia"),
        (histogram_normal, -1, below, "without pneumonia"),
    ):
        figure.add_bar(
            x=bin_centres(len(counts)),
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
        xanchor=anchor_at(operating_point),
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


def _root_shares(counts: Sequence[int]) -> list[float]:
    most = max(counts, default=0)
    return [math.sqrt(count / most) if most else 0.0 for count in counts]

"""Two classifiers in one figure: calibration, and what changes to the films cost. From plain values, without streamlit.

The candidate is drawn in the accent colour and solid, the classifier in use in grey with a dashed line or hatched, so
that colour is not needed to tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from model.card import Measure, ReliabilityBin
from pages.shared import charts
from pages.shared.charts import ACCENT, BACKGROUND, FONT, LINE, PANEL, QUIET, TEXT

# Figures of one change to the films: (name, accuracy of the candidate, accuracy of the one in use).
Change = tuple[str, Measure, Measure]
_ROW_PX = 46


def reliability_pair(
    bins: Sequence[ReliabilityBin],
    bins_in_use: Sequence[ReliabilityBin],
    names: tuple[str, str],
    errors: tuple[str, str],
    sample: str,
) -> go.Figure:
    """Draw the reliability of both on one axis; `names` and `errors` (ECE in words) are candidate first."""
    figure = charts.reliability(bins, errors[0], sample)
    own = figure.data[-1]
    own.name = f"candidate {names[0]}, ECE {errors[0]}"
    most = max((one.n for one in bins_in_use), default=1)
    figure.add_scatter(
        x=[one.probability for one in bins_in_use],
        y=[one.observed for one in bins_in_use],
        mode="lines+markers",
        name=f"in use {names[1]}, ECE {errors[1]}",
        customdata=[one.n for one in bins_in_use],
        cliponaxis=False,
        line={"color": QUIET, "width": 1, "dash": "dot"},
        marker={
            "color": PANEL,
            "symbol": "diamond",
            "line": {"color": TEXT, "width": 1.5},
            "size": [6 + 12 * math.sqrt(one.n / most) for one in bins_in_use],
        },
        hovertemplate="mean probability %{x:.2f}<br>observed share %{y:.2f}<br>n = %{customdata}<extra></extra>",
    )
    # Both names are long: below the axes they cover nothing.
    figure.update_layout(
        height=charts.TALL,
        margin={"b": 118},
        legend={"x": 0, "y": -0.2, "xanchor": "left", "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
    )
    figure.update_layout(title={"text": "Calibration of both"})
    return figure


def robustness_pair(changes: Sequence[Change], names: tuple[str, str], sample: str) -> go.Figure:
    """Draw the accuracy of both on the same films, as they are and after each change, with 95 % intervals."""
    figure = go.Figure()
    labels = [name for name, _, _ in changes]
    for side, (title, colour, pattern) in enumerate(
        ((f"candidate {names[0]}", ACCENT, ""), (f"in use {names[1]}", QUIET, "/"))
    ):
        measures = [change[1 + side] for change in changes]
        figure.add_bar(
            y=labels,
            x=[_or_none(one.value) for one in measures],
            orientation="h",
            name=title,
            marker={
                "color": colour,
                "line": {"width": 0},
                # Over the colour: by itself a pattern replaces it, and dark lines on a dark panel are no bar.
                "pattern": {"shape": pattern, "fgcolor": BACKGROUND, "fillmode": "overlay"},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "color": TEXT,
                "thickness": 1,
                "width": 2,
                "array": [_reach(one.high - one.value) for one in measures],
                "arrayminus": [_reach(one.value - one.low) for one in measures],
            },
            hovertemplate="%{y}: accuracy %{x:.3f}<extra>" + title + "</extra>",
        )
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
        height=150 + _ROW_PX * len(changes),
        paper_bgcolor=PANEL,
        plot_bgcolor=PANEL,
        barmode="group",
        bargap=0.35,
        xaxis=axis,
        yaxis=axis,
        font={"family": FONT, "size": 12, "color": TEXT},
        margin={"l": 130, "r": 14, "t": 66, "b": 84},
        hoverlabel={"bgcolor": BACKGROUND, "bordercolor": LINE, "font": {"color": TEXT}},
        legend={
            "x": 0,
            "y": -44 / (_ROW_PX * max(1, len(changes))),
            "xanchor": "left",
            "yanchor": "top",
            "orientation": "h",
            "font": {"size": 12, "color": TEXT},
        },
        title={
            "text": "The same films, changed",
            "font": {"size": 14, "color": TEXT, "weight": 600},
            "pad": {"l": 6},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 0.97,
            "yanchor": "top",
            "subtitle": {"text": sample, "font": {"size": 12, "color": QUIET}},
        },
    )
    figure.update_xaxes(range=[0, 1.02], title={"text": "Accuracy at each one's own operating point", "standoff": 8})
    figure.update_yaxes(autorange="reversed", showgrid=False, gridcolor=PANEL)
    return figure


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _reach(length: float) -> float:
    return 0.0 if math.isnan(length) else max(0.0, length)

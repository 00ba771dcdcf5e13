"""Figures of the comparison: calibration and robustness of both classifiers. Imports no streamlit.

The candidate is drawn solid in the accent colour, the classifier in use dashed or hatched in grey, so that colour is
not needed to tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from model.card import Measure, ReliabilityBin
from pages.shared import charts
from pages.shared.charts import ACCENT, BACKGROUND, PANEL, QUIET, TEXT

# One perturbation: (name, accuracy of the candidate, accuracy of the classifier in use).
Robustness = tuple[str, Measure, Measure]
_ROW_PX = 46


def reliability_pair(
    bins: Sequence[ReliabilityBin],
    bins_in_use: Sequence[ReliabilityBin],
    names: tuple[str, str],
    errors: tuple[str, str],
    sample: str,
) -> go.Figure:
    """Draw both reliability diagrams on the same axes.

    Parameters
    ----------
    bins, bins_in_use
        Bins of predicted probability of the candidate and of the classifier in use.
    names, errors
        Version and formatted ECE of each, candidate first.
    sample
        The evaluation set and its size, the subtitle.
    """
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
        hovertemplate="mean predicted probability %{x:.2f}<br>"
        "observed frequency %{y:.2f}<br>n = %{customdata}<extra></extra>",
    )
    # Below the axes: both names are long.
    figure.update_layout(
        height=charts.TALL,
        margin={"b": 118},
        legend={"x": 0, "y": -0.2, "xanchor": "left", "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
    )
    figure.update_layout(title={"text": "Reliability diagram"})
    return figure


def robustness_pair(rows: Sequence[Robustness], names: tuple[str, str], sample: str) -> go.Figure:
    """Draw the accuracy of both on unperturbed and perturbed radiographs, with 95 % confidence intervals.

    `names` are the versions, candidate first; `sample` is the subtitle.
    """
    figure = go.Figure()
    labels = [name for name, _, _ in rows]
    for side, (title, colour, pattern) in enumerate(
        ((f"candidate {names[0]}", ACCENT, ""), (f"in use {names[1]}", QUIET, "/"))
    ):
        measures = [(own, in_use)[side] for _, own, in_use in rows]
        figure.add_bar(
            y=labels,
            x=[_or_none(one.value) for one in measures],
            orientation="h",
            name=title,
            marker={
                "color": colour,
                "line": {"width": 0},
                # Over the colour, which a pattern by itself would replace: dark lines on a dark panel are not visible.
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
    charts.lay_out(figure, 150 + _ROW_PX * len(rows))
    charts.add_title(figure, "Robustness to perturbations", sample)
    figure.update_layout(
        barmode="group",
        bargap=0.35,
        margin={"l": 130, "b": 84},
        legend={
            "x": 0,
            "y": -44 / (_ROW_PX * max(1, len(rows))),
            "xanchor": "left",
            "yanchor": "top",
            "orientation": "h",
            "font": {"size": 12, "color": TEXT},
        },
    )
    figure.update_xaxes(range=[0, 1.02], title={"text": "Accuracy (own operating point)", "standoff": 8})
    figure.update_yaxes(autorange="reversed", showgrid=False, gridcolor=PANEL)
    return figure


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _reach(length: float) -> float:
    return 0.0 if math.isnan(length) else max(0.0, length)

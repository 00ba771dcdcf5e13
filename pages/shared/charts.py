"""Plotly figures that several pages draw, and the layout that all figures share; without Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from model.card import ReliabilityBin
from model.metrics import ppv_npv

Point = tuple[float, float]

BACKGROUND, PANEL, LINE = "#0e1116", "#151a21", "#2a313b"
TEXT, QUIET, ACCENT = "#d7dde5", "#8b96a5", "#5aa9e6"
ABOVE, BELOW = "#e0a458", "#7fb7a3"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
HEIGHT = 340
TALL = 469
AXIS = {
    "gridcolor": "#1f2630",
    "zeroline": False,
    "linecolor": LINE,
    "tickfont": {"size": 12, "color": QUIET},
    "title": {"font": {"size": 12, "color": QUIET}},
    "fixedrange": True,
}
CHANCE = {"color": QUIET, "width": 1, "dash": "dash"}


def reliability(bins: Sequence[ReliabilityBin], ece: str, sample: str) -> go.Figure:
    """Draw the reliability diagram: observed frequency of pneumonia against mean predicted probability.

    Parameters
    ----------
    bins
        Bins of predicted probability; the marker's area grows with the number of radiographs.
    ece
        Expected calibration error, formatted.
    sample
        The evaluation set and its size, the subtitle.
    """
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="perfect calibration", hoverinfo="skip", line=CHANCE)
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
        hovertemplate="mean predicted probability %{x:.2f}<br>"
        "observed frequency %{y:.2f}<br>n = %{customdata}<extra></extra>",
    )
    finish(
        figure,
        "Reliability diagram",
        sample,
        "Mean predicted probability (marker size: n in bin)",
        "Observed frequency of pneumonia",
        unit_square=True,
    )
    return place_legend(figure, 1, 0.03)


def predictive_values(sensitivity: float, specificity: float, prevalence: float, sample: str) -> go.Figure:
    """Draw PPV and NPV against prevalence.

    Parameters
    ----------
    sensitivity, specificity
        In [0, 1].
    prevalence
        In (0, 1); marked on both curves.
    sample
        The evaluation set and its size, the subtitle.
    """
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
    finish(figure, "Predictive values", sample, "Prevalence of pneumonia (%)", "Predictive value")
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 1.03])
    return place_legend(figure, 0.5, 0.03)


def bin_centres(bins: int) -> list[float]:
    """Return the centres of `bins` equal bins of [0, 1]."""
    return [(index + 0.5) / bins for index in range(bins)]


def anchor_at(x: float) -> str:
    """Return the anchor that keeps a label at `x`, in [0, 1], inside the plot."""
    return "left" if x < 0.25 else "right" if x > 0.75 else "center"


def place_legend(figure: go.Figure, x: float, y: float) -> go.Figure:
    """Place the legend of `figure` inside the plot at `x`, `y` in [0, 1], in a corner that the data leave empty."""
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


def lay_out(figure: go.Figure, height: int) -> None:
    """Apply the common colours, lines and margins and the `height` in pixels to `figure`."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor=PANEL,
        plot_bgcolor=PANEL,
        xaxis=AXIS,
        yaxis=AXIS,
        font={"family": FONT, "size": 12, "color": TEXT},
        margin={"l": 56, "r": 14, "t": 66, "b": 48},
        hoverlabel={"bgcolor": BACKGROUND, "bordercolor": LINE, "font": {"color": TEXT}},
    )


def add_title(figure: go.Figure, title: str, subtitle: str) -> None:
    """Set the `title` of `figure` and, as `subtitle`, the sample on which it was measured."""
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


def finish(figure: go.Figure, title: str, subtitle: str, x: str, y: str, unit_square: bool = False) -> None:
    """Apply the common layout to a figure.

    Parameters
    ----------
    figure
        The figure, changed in place.
    title, subtitle
        The title, and the sample on which the figure was measured.
    x, y
        Titles of the axes.
    unit_square
        Whether both axes are fixed to [0, 1].
    """
    lay_out(figure, HEIGHT)
    add_title(figure, title, subtitle)
    figure.update_xaxes(title={"text": x, "standoff": 8})
    figure.update_yaxes(title={"text": y, "standoff": 8})
    if unit_square:
        figure.update_xaxes(range=[-0.02, 1.02])
        figure.update_yaxes(range=[-0.02, 1.02])

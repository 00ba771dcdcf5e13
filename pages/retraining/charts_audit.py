"""Figures of the dataset audit, from plain values. Imports no streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pages.shared.charts import ABOVE, ACCENT, AXIS, BELOW, HEIGHT, QUIET, TEXT, add_title, finish, lay_out

SPLIT_NAMES = {"train": "Training", "val": "Validation", "test": "Test"}
CLASSES = {"NORMAL": ("NORMAL", BELOW, "circle"), "PNEUMONIA": ("PNEUMONIA", ABOVE, "diamond")}
FEATURE_NAMES = {
    "bytes": "File size",
    "width": "Width",
    "height": "Height",
    "aspect": "Aspect ratio",
    "mean": "Mean intensity",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
}
# Features drawn: the title of the axis, and the divisor of the value.
_AXES = {
    "width": ("Width (px)", 1),
    "height": ("Height (px)", 1),
    "aspect": ("Aspect ratio", 1),
    "bytes": ("File size (kB)", 1000),
}
_ABOVE = {
    "orientation": "h",
    "x": 1,
    "xanchor": "right",
    "y": 1.06,
    "yanchor": "bottom",
    "font": {"size": 12, "color": TEXT},
}


def class_balance(counts: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """Draw the number of radiographs by split and class; `counts` is split → class → number."""
    figure = go.Figure()
    splits = [SPLIT_NAMES.get(split, split) for split in counts]
    for label, (name, colour, _) in CLASSES.items():
        numbers = [one.get(label, 0) for one in counts.values()]
        figure.add_bar(
            x=splits,
            y=numbers,
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            text=[f"{number:,}" for number in numbers],
            textposition="outside",
            cliponaxis=False,
            textfont={"color": TEXT, "size": 12},
            hovertemplate="%{x}, " + name + ": %{y} radiographs<extra></extra>",
        )
    total = {label: sum(one.get(label, 0) for one in counts.values()) for label in CLASSES}
    finish(
        figure,
        "Class balance",
        ", ".join(f"{n:,} {label}" for label, n in total.items()),
        "Split",
        "Radiographs",
    )
    most = max((n for one in counts.values() for n in one.values()), default=1)
    figure.update_yaxes(range=[0, 1.18 * max(1, most)])
    figure.update_layout(bargap=0.35, bargroupgap=0.08, legend=_ABOVE, margin={"t": 84})
    return figure


def sizes(percentiles: Mapping[str, Mapping[str, Sequence[float]]], n: int) -> go.Figure:
    """Draw width, height, aspect ratio and file size by class: the median and the 5th to 95th percentile.

    `percentiles` is class → feature → (5th, 50th, 95th); `n` is the number of files.
    """
    figure = make_subplots(rows=2, cols=2, horizontal_spacing=0.08, vertical_spacing=0.3)
    for place, (feature, (title, unit)) in enumerate(_AXES.items()):
        row, column = place // 2 + 1, place % 2 + 1
        for label, (name, colour, symbol) in CLASSES.items():
            values = percentiles.get(label, {}).get(feature)
            if values is None:
                continue
            low, middle, high = (value / unit for value in values)
            figure.add_scatter(
                x=[low, middle, high],
                y=[name] * 3,
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=place == 0,
                line={"color": colour, "width": 3},
                marker={"color": colour, "symbol": symbol, "size": [1, 11, 1], "opacity": 1},
                hovertemplate=f"{name}: median {middle:,.4g}, 5th to 95th percentile {low:,.4g} to {high:,.4g}"
                "<extra></extra>",
                row=row,
                col=column,
            )
        figure.update_xaxes(title={"text": title, "standoff": 6}, row=row, col=column)
    lay_out(figure, HEIGHT)
    for axis in ("xaxis2", "xaxis3", "xaxis4", "yaxis2", "yaxis3", "yaxis4"):
        figure.layout[axis].update({name: value for name, value in AXIS.items() if name != "title"})
    for place, (title, _) in enumerate(_AXES.values()):
        figure.layout[f"xaxis{place + 1 if place else ''}"].update(
            title={"text": title, "standoff": 6, "font": {"size": 12, "color": QUIET}}, nticks=6
        )
    figure.update_yaxes(
        showticklabels=False,
        showgrid=False,
        range=[-0.7, 1.7],
        type="category",
        categoryorder="array",
        categoryarray=list(CLASSES),
    )
    add_title(figure, "Image and file size", f"n = {n:,}; median, 5th–95th percentile")
    figure.update_layout(
        margin={"l": 16, "r": 16, "t": 84},
        legend=_ABOVE,
    )
    return figure


def baseline(features: Mapping[str, float], auroc: float) -> go.Figure:
    """Draw the AUROC of each file property alone, and of all combined as a line.

    `features` is name → AUROC in [0.5, 1]; `auroc` is the AUROC of all combined, nan where not estimated.
    """
    known = sorted(((area, name) for name, area in features.items() if not math.isnan(area)))
    figure = go.Figure()
    figure.add_bar(
        x=[area for area, _ in known],
        y=[FEATURE_NAMES.get(name, name) for _, name in known],
        orientation="h",
        marker={"color": ACCENT, "line": {"width": 0}},
        text=[f"{area:.2f}" for area, _ in known],
        textposition="outside",
        cliponaxis=False,
        textfont={"color": TEXT, "size": 12},
        name="single property",
        hovertemplate="%{y}: AUROC %{x:.3f}<extra></extra>",
    )
    if not math.isnan(auroc):
        figure.add_shape(
            type="line",
            x0=auroc,
            x1=auroc,
            yref="paper",
            y0=0,
            y1=1,
            name="combined",
            line={"color": TEXT, "width": 1, "dash": "dot"},
        )
        figure.add_annotation(
            x=auroc,
            yref="paper",
            y=1,
            text=f"combined {auroc:.2f}",
            showarrow=False,
            yanchor="bottom",
            xanchor="right" if auroc > 0.8 else "left",
            font={"size": 12, "color": QUIET},
        )
    finish(
        figure,
        "Shortcut baseline (no lung content)",
        "Training split; 0.50 is chance",
        "AUROC",
        "File property",
    )
    figure.update_layout(showlegend=False, margin={"l": 150, "t": 84}, bargap=0.35)
    figure.update_xaxes(range=[0.5, 1.06], tickvals=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0], tickformat=".1f")
    figure.update_yaxes(showgrid=False)
    return figure

"""The figures that several pages share hold the values that they are given."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import plotly.graph_objects as go
import pytest

from model.card import ReliabilityBin
from pages.shared import charts
from tests import ROOT

BINS = (ReliabilityBin(0.1, 0.2, 9), ReliabilityBin(0.9, 0.8, 36))


def trace(figure: go.Figure, name: str) -> go.Scatter:
    return next(one for one in figure.data if one.name is not None and name in one.name)


@cache
def every_figure() -> list[go.Figure]:
    return [
        charts.reliability(BINS, "0.100", "Test, n = 56"),
        charts.predictive_values(0.9, 0.8, 0.2, "Test, n = 56"),
    ]


def test_reliability_holds_its_bins() -> None:
    dots = trace(every_figure()[0], "ECE")
    assert (list(dots.x), list(dots.y), list(dots.customdata)) == ([0.1, 0.9], [0.2, 0.8], [9, 36])
    assert dots.marker.size[0] < dots.marker.size[1]


def test_predictive_values_are_marked_at_the_prevalence() -> None:
    figure = every_figure()[1]
    ppv, npv = trace(figure, "PPV here"), trace(figure, "NPV here")
    assert (ppv.x[0], npv.x[0]) == (20, 20)
    assert ppv.y[0] == pytest.approx(0.18 / (0.18 + 0.16))
    assert npv.y[0] == pytest.approx(0.64 / (0.64 + 0.02))


def test_every_figure_says_what_it_shows_and_on_whom() -> None:
    for figure in every_figure():
        assert figure.layout.title.text and figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert figure.layout.title.subtitle.text == "Test, n = 56"


def test_predictive_values_differ_without_colour() -> None:
    values = every_figure()[1]
    assert trace(values, "PPV").line.dash != trace(values, "NPV").line.dash


def test_charts_need_no_streamlit() -> None:
    code = "import sys, pages.shared.charts; sys.exit('streamlit' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

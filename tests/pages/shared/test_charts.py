from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import plotly.graph_objects as go
import pytest

from model.card import ReliabilityBin
from pages.shared import charts
from tests import ROOT

NORMAL, ILL = (16, 4, 0, 1), (0, 1, 9, 25)
CURVE = ((0.0, 0.0), (0.1, 0.8), (1.0, 1.0))
COLUMNS = ("epoch", "stage", "input_px", "loss", "train_auroc", "val_auroc", "val_loss")
ROWS = (
    (1, "head", 192, 0.6, 0.7, 0.8, 0.5),
    (2, "fine", 299, 0.4, 0.8, 0.9, 0.3),
    (3, "fine", 299, 0.3, 0.9, None, None),
)
HISTORY = tuple(dict(zip(COLUMNS, row, strict=True)) for row in ROWS)


def trace(figure: go.Figure, name: str) -> go.Scatter:
    return next(one for one in figure.data if one.name is not None and name in one.name)


def shape(figure: go.Figure, name: str) -> go.layout.Shape:
    return next(one for one in figure.layout.shapes if one.name == name)


def every_figure() -> list[go.Figure]:
    return [
        charts.roc(CURVE, (0.1, 0.8), "0.900", "Test, n = 56"),
        charts.precision_recall(CURVE, (0.8, 0.9), "0.950", "Test, n = 56", 0.6),
        charts.reliability((ReliabilityBin(0.1, 0.2, 9), ReliabilityBin(0.9, 0.8, 36)), "0.100", "Test, n = 56"),
        charts.score_distributions(NORMAL, ILL, 0.4, "Test, n = 56"),
        charts.confusion_matrix(34, 2, 19, 1, 0.4, "Test, n = 56"),
        charts.predictive_values(0.9, 0.8, 0.2, "Test, n = 56"),
        charts.learning_curves(HISTORY),
        charts.loss_curves(HISTORY),
    ]


def test_the_scale_shows_the_probability_among_both_classes() -> None:
    figure = charts.probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, ILL)
    up, down = trace(figure, "with pneumonia"), trace(figure, "without pneumonia")
    assert list(up.x) == [0.125, 0.375, 0.625, 0.875] == list(down.x)
    assert list(up.y) == [math.sqrt(count / 25) for count in ILL]
    assert list(down.y) == [-math.sqrt(count / 16) for count in NORMAL]
    assert list(up.customdata) == list(ILL) and list(down.customdata) == list(NORMAL)
    assert list(trace(figure, "this radiograph").x) == [0.87]
    point, near = shape(figure, "operating point"), shape(figure, "near")
    assert point.x0 == point.x1 == 0.41 and (near.x0, near.x1) == (0.3, 0.5)
    assert [one.text for one in figure.layout.annotations] == ["operating point 0.41"]


def test_the_scale_shows_where_other_purposes_cut() -> None:
    figure = charts.probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, ILL, others={"Screening": 0.2, "Rule in": 0.9})
    ticks = trace(figure, "other purposes")
    assert list(ticks.x) == [0.2, 0.9] and list(ticks.text) == ["Screening", "Rule in"]
    plain = charts.probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, ILL)
    assert not [one for one in plain.data if one.name == "other purposes"]


def test_the_scale_of_a_film_from_outside_has_no_colour() -> None:
    colours = {
        one.marker.color
        for one in charts.probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, ILL, is_grey=True).data
        if one.type == "bar"
    }
    assert colours == {charts.QUIET}


@pytest.mark.parametrize("counts", [(), (0, 0, 0)])
def test_the_scale_survives_a_class_without_radiographs(counts: tuple[int, ...]) -> None:
    figure = charts.probability_scale(0.0, 1.0, (0.9, 1.0), counts, ILL)
    assert not any(trace(figure, "without pneumonia").y)


def test_curves_hold_their_points_and_the_operating_point() -> None:
    for figure in every_figure()[:2]:
        curve = trace(figure, "AU")
        assert list(zip(curve.x, curve.y, strict=True)) == list(CURVE)
    roc, precision_recall = every_figure()[:2]
    assert (trace(roc, "operating").x[0], trace(roc, "operating").y[0]) == (0.1, 0.8)
    assert "sensitivity 0.80, specificity 0.90" in trace(roc, "operating").name
    assert (trace(precision_recall, "operating").x[0], trace(precision_recall, "operating").y[0]) == (0.8, 0.9)
    assert list(trace(precision_recall, "chance").y) == [0.6, 0.6]


def test_reliability_holds_its_bins() -> None:
    dots = trace(every_figure()[2], "ECE")
    assert (list(dots.x), list(dots.y), list(dots.customdata)) == ([0.1, 0.9], [0.2, 0.8], [9, 36])
    assert dots.marker.size[0] < dots.marker.size[1]


def test_score_distributions_count_radiographs() -> None:
    figure = every_figure()[3]
    assert np.square(trace(figure, "with pneumonia").y) == pytest.approx(ILL)
    assert np.square(trace(figure, "without pneumonia").y) == pytest.approx(NORMAL)
    assert min(trace(figure, "without pneumonia").y) == -4
    for value, label in zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True):
        assert value * value == pytest.approx(int(label))


def test_the_confusion_matrix_has_truth_in_rows() -> None:
    figure = every_figure()[4]
    cells = {(one.y.replace("<br>", " "), one.x): one.text for one in figure.layout.annotations}
    assert "<b>19</b>" in cells["Without pneumonia", "Pneumonia unlikely"]
    assert "<b>2</b>" in cells["Without pneumonia", "Pneumonia likely"]
    assert "<b>1</b>" in cells["With pneumonia", "Pneumonia unlikely"]
    assert "<b>34</b>" in cells["With pneumonia", "Pneumonia likely"]
    assert "97 %" in cells["With pneumonia", "Pneumonia likely"]
    assert figure.layout.yaxis.autorange == "reversed"


def test_predictive_values_are_marked_at_the_prevalence() -> None:
    figure = every_figure()[5]
    ppv, npv = trace(figure, "PPV here"), trace(figure, "NPV here")
    assert (ppv.x[0], npv.x[0]) == (20, 20)
    assert ppv.y[0] == pytest.approx(0.18 / (0.18 + 0.16))
    assert npv.y[0] == pytest.approx(0.64 / (0.64 + 0.02))


def test_learning_curves_hold_each_epoch_and_where_a_stage_begins() -> None:
    area, loss = every_figure()[6:]
    assert list(trace(area, "training").y) == [0.7, 0.8, 0.9]
    assert list(trace(area, "validation").x) == [1, 2] and list(trace(area, "validation").y) == [0.8, 0.9]
    assert list(trace(loss, "training").y) == [0.6, 0.4, 0.3] and list(trace(loss, "validation").y) == [0.5, 0.3]
    assert [one.x0 for one in area.layout.shapes] == [1.5] and "fine" in area.layout.annotations[0].text
    assert area.layout.title.subtitle.text == "3 epochs at 192 and 299 px"
    for figure in (area, loss):
        legend = figure.layout.legend
        assert legend.yref == "container" and legend.y < 0.05 and figure.layout.margin.b >= 72, "below, on no curve"


def test_a_history_without_validation_is_drawn() -> None:
    figure = charts.learning_curves(({"epoch": 1, "train_auroc": 0.6},))
    assert [one.name for one in figure.data] == ["training (augmented)"]


def test_every_figure_says_what_it_shows_and_on_whom() -> None:
    for figure in every_figure():
        assert figure.layout.title.text and figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
    for figure in every_figure()[:6]:
        assert figure.layout.title.subtitle.text == "Test, n = 56"


def test_no_colour_carries_a_meaning_alone() -> None:
    """The two classes differ in direction, the two predictive values in their dashes."""
    scale = charts.probability_scale(0.5, 0.4, (0.3, 0.5), NORMAL, ILL)
    assert min(trace(scale, "with pneumonia").y) >= 0 >= max(trace(scale, "without pneumonia").y)
    values = every_figure()[5]
    assert trace(values, "PPV").line.dash != trace(values, "NPV").line.dash


def test_charts_need_no_streamlit() -> None:
    code = "import sys, pages.shared.charts; sys.exit('streamlit' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

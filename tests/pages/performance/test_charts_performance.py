"""The figures of the Performance page hold the values that they are given."""

from __future__ import annotations

from functools import cache

import numpy as np
import plotly.graph_objects as go
import pytest

from pages.performance import charts_performance
from tests.pages.shared.test_charts import trace

NORMAL, PNEUMONIA = (16, 4, 0, 1), (0, 1, 9, 25)
CURVE = ((0.0, 0.0), (0.1, 0.8), (1.0, 1.0))
COLUMNS = ("epoch", "stage", "input_px", "loss", "train_auroc", "val_auroc", "val_loss")
ROWS = (
    (1, "head", 192, 0.6, 0.7, 0.8, 0.5),
    (2, "full", 299, 0.4, 0.8, 0.9, 0.3),
    (3, "full", 299, 0.3, 0.9, None, None),
)
HISTORY = tuple(dict(zip(COLUMNS, row, strict=True)) for row in ROWS)


@cache
def every_figure() -> list[go.Figure]:
    return [
        charts_performance.roc(CURVE, (0.1, 0.8), "0.900", "Test, n = 56"),
        charts_performance.precision_recall(CURVE, (0.8, 0.9), "0.950", "Test, n = 56", 0.6),
        charts_performance.score_distributions(NORMAL, PNEUMONIA, 0.4, "Test, n = 56"),
        charts_performance.confusion_matrix(34, 2, 19, 1, 0.4, "Test, n = 56"),
        charts_performance.learning_curves(HISTORY),
        charts_performance.loss_curves(HISTORY),
    ]


def test_curves_hold_their_points_and_the_operating_point() -> None:
    for figure in every_figure()[:2]:
        curve = trace(figure, "AU")
        assert list(zip(curve.x, curve.y, strict=True)) == list(CURVE)
    roc, precision_recall = every_figure()[:2]
    assert (trace(roc, "operating").x[0], trace(roc, "operating").y[0]) == (0.1, 0.8)
    assert "sensitivity 0.80, specificity 0.90" in trace(roc, "operating").name
    assert (trace(precision_recall, "operating").x[0], trace(precision_recall, "operating").y[0]) == (0.8, 0.9)
    assert list(trace(precision_recall, "chance").y) == [0.6, 0.6]


def test_score_distributions_count_radiographs() -> None:
    figure = every_figure()[2]
    assert np.square(trace(figure, "with pneumonia").y) == pytest.approx(PNEUMONIA)
    assert np.square(trace(figure, "without pneumonia").y) == pytest.approx(NORMAL)
    assert min(trace(figure, "without pneumonia").y) == -4
    for value, label in zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True):
        assert value * value == pytest.approx(int(label))


def test_the_confusion_matrix_has_truth_in_rows() -> None:
    figure = every_figure()[3]
    cells = {(one.y.replace("<br>", " "), one.x): one.text for one in figure.layout.annotations}
    assert "<b>19</b>" in cells["Without pneumonia", "Pneumonia unlikely"]
    assert "<b>2</b>" in cells["Without pneumonia", "Pneumonia likely"]
    assert "<b>1</b>" in cells["With pneumonia", "Pneumonia unlikely"]
    assert "<b>34</b>" in cells["With pneumonia", "Pneumonia likely"]
    assert "97 %" in cells["With pneumonia", "Pneumonia likely"]
    assert figure.layout.yaxis.autorange == "reversed"


def test_learning_curves_hold_each_epoch_and_where_a_stage_begins() -> None:
    area, loss = every_figure()[4:]
    assert list(trace(area, "training").y) == [0.7, 0.8, 0.9]
    assert list(trace(area, "validation").x) == [1, 2] and list(trace(area, "validation").y) == [0.8, 0.9]
    assert list(trace(loss, "training").y) == [0.6, 0.4, 0.3] and list(trace(loss, "validation").y) == [0.5, 0.3]
    assert [one.x0 for one in area.layout.shapes] == [1.5] and "full resolution" in area.layout.annotations[0].text
    assert area.layout.title.subtitle.text == "3 epochs at 192 and 299 px"
    for figure in (area, loss):
        legend = figure.layout.legend
        assert legend.yref == "container" and legend.y < 0.05 and figure.layout.margin.b >= 72, "below, on no curve"


def test_a_history_without_validation_is_drawn() -> None:
    figure = charts_performance.learning_curves(({"epoch": 1, "train_auroc": 0.6},))
    assert [one.name for one in figure.data] == ["training (augmented)"]


def test_every_figure_says_what_it_shows_and_on_whom() -> None:
    for figure in every_figure():
        assert figure.layout.title.text and figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
    for figure in every_figure()[:4]:
        assert figure.layout.title.subtitle.text == "Test, n = 56"

"""The probability scale shows one radiograph among the validation radiographs of both classes."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import pytest

from pages.reading.probability_scale import probability_scale
from pages.shared.charts import QUIET
from tests.pages.shared.test_charts import trace

NORMAL, PNEUMONIA = (16, 4, 0, 1), (0, 1, 9, 25)


def shape(figure: go.Figure, name: str) -> go.layout.Shape:
    return next(one for one in figure.layout.shapes if one.name == name)


def test_the_scale_shows_the_probability_among_both_classes() -> None:
    figure = probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, PNEUMONIA)
    up, down = trace(figure, "with pneumonia"), trace(figure, "without pneumonia")
    assert list(up.x) == [0.125, 0.375, 0.625, 0.875] == list(down.x)
    assert list(up.y) == [math.sqrt(count / 25) for count in PNEUMONIA]
    assert list(down.y) == [-math.sqrt(count / 16) for count in NORMAL]
    assert list(up.customdata) == list(PNEUMONIA) and list(down.customdata) == list(NORMAL)
    assert list(trace(figure, "this radiograph").x) == [0.87]
    point, near = shape(figure, "operating point"), shape(figure, "near")
    assert point.x0 == point.x1 == 0.41 and (near.x0, near.x1) == (0.3, 0.5)
    assert [one.text for one in figure.layout.annotations] == ["operating point 0.41"]


def test_the_scale_shows_where_other_purposes_cut() -> None:
    figure = probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, PNEUMONIA, others={"Screening": 0.2, "Rule in": 0.9})
    ticks = trace(figure, "other purposes")
    assert list(ticks.x) == [0.2, 0.9] and list(ticks.text) == ["Screening", "Rule in"]
    plain = probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, PNEUMONIA)
    assert not [one for one in plain.data if one.name == "other purposes"]


def test_the_scale_of_a_film_from_outside_has_no_colour() -> None:
    colours = {
        one.marker.color
        for one in probability_scale(0.87, 0.41, (0.3, 0.5), NORMAL, PNEUMONIA, is_grey=True).data
        if one.type == "bar"
    }
    assert colours == {QUIET}


@pytest.mark.parametrize("counts", [(), (0, 0, 0)])
def test_the_scale_survives_a_class_without_radiographs(counts: tuple[int, ...]) -> None:
    figure = probability_scale(0.0, 1.0, (0.9, 1.0), counts, PNEUMONIA)
    assert not any(trace(figure, "without pneumonia").y)


def test_the_classes_differ_in_direction_not_only_in_colour() -> None:
    scale = probability_scale(0.5, 0.4, (0.3, 0.5), NORMAL, PNEUMONIA)
    assert min(trace(scale, "with pneumonia").y) >= 0 >= max(trace(scale, "without pneumonia").y)

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from training.fitting.curves import _nice, curves_svg


def a_history(epochs: int) -> list[dict[str, float]]:
    return [
        {"loss": 0.7 / n, "val_loss": 0.8 / n, "train_auroc": 1 - 0.3 / n, "val_auroc": 1 - 0.2 / n}
        for n in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 23])
def test_every_epoch_is_a_point_of_four_curves_inside_the_picture(epochs: int) -> None:
    root = ElementTree.fromstring(curves_svg(a_history(epochs)))
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names.count("polyline") == 4 and names.count("circle") == 4 * epochs
    for circle in (e for e in root.iter() if e.tag.endswith("circle")):
        assert 0 <= float(circle.get("cx", -1)) <= 860 and 44 <= float(circle.get("cy", -1)) <= 276


def test_better_lies_higher_and_a_figure_that_is_not_there_is_left_out() -> None:
    rows = a_history(3)
    rows[1]["val_auroc"] = math.nan
    root = ElementTree.fromstring(curves_svg(rows))
    lines = [e.get("points", "").split() for e in root.iter() if e.tag.endswith("polyline")]
    assert [len(line) for line in lines] == [3, 3, 3, 2]
    falling, rising = ([float(point.split(",")[1]) for point in lines[i]] for i in (0, 3))
    assert falling == sorted(falling) and rising == sorted(rising, reverse=True)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.9931, 0.9969), (0.5, 0.5), (3.0, 250.0)])
def test_ticks_enclose_the_values_in_round_steps(low: float, high: float) -> None:
    start, end, step = _nice(low, high)
    assert start <= low + 1e-9 and end >= high - 1e-9 and 1 <= round((end - start) / step) <= 8
    assert f"{step:.0e}"[0] in "125"

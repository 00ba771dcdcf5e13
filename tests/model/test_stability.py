from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from imaging.film import Radiograph
from model.assessment import Prediction, Stability
from model.stability import CHANGES, crossing, largest_change, measure_stability, stability_words
from tests.fake_classifier import PX, ROWS, fake_card, fake_classifier
from tests.phantoms import chest


def a_radiograph(pixels: np.ndarray | None = None) -> Radiograph:
    return Radiograph(chest(1, (240, 288)) if pixels is None else pixels, "0" * 64, "PNG")


def test_a_flat_picture_moves_with_its_brightness_alone() -> None:
    flat = a_radiograph(np.full((60, 70), 128, np.uint8))
    found = measure_stability(flat, fake_classifier(slope=0.1, cut=128.0))
    changed = dict(found.changes)
    assert list(changed) == list(CHANGES) and len(changed) == 8
    for name in ("mirrored", "cropped", "rotated left", "rotated right", "lower in contrast", "higher in contrast"):
        assert changed[name] == pytest.approx(0.5)
    assert changed["brighter"] == pytest.approx(1 / (1 + np.exp(-0.8)), abs=1e-6)  # eight grey levels of 0.1 each
    assert changed["darker"] == pytest.approx(1 - changed["brighter"], abs=1e-6)
    assert (found.low, found.high) == (changed["darker"], changed["brighter"])


def test_mirroring_moves_what_lies_on_one_side() -> None:
    left = np.zeros((ROWS, ROWS))
    left[:, : ROWS // 2] = 1
    pixels = np.full((PX, PX), 100, np.uint8)
    pixels[:, : PX // 2] = 160
    found = dict(measure_stability(a_radiograph(pixels), fake_classifier(where=left, cut=130.0)).changes)
    assert found["mirrored"] == pytest.approx(1 / (1 + np.exp(3.0)), abs=1e-3)
    assert found["cropped"] == pytest.approx(1 / (1 + np.exp(-3.0)), abs=0.02)


def test_one_batch_holds_the_radiograph_and_its_changes() -> None:
    asked: list[tuple[int, ...]] = []
    classifier = fake_classifier()
    explain: Callable[..., object] = classifier.explain

    def counted(pictures: np.ndarray) -> object:
        asked.append(pictures.shape)
        assert pictures.dtype == np.uint8
        return explain(pictures)

    object.__setattr__(classifier, "explain", counted)
    measure_stability(a_radiograph(), classifier)
    assert asked == [(9, PX, PX)]


@pytest.mark.parametrize("name", list(CHANGES))
def test_every_change_is_one_that_no_reader_would_notice(name: str) -> None:
    picture = a_radiograph().pixels
    square = np.asarray(picture[:224, :224], np.uint8)
    changed = CHANGES[name](square)
    assert changed.shape == square.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, square), "a change must change something"
    # Against the best match of the two orientations, since mirroring moves every pixel.
    difference = min(float(np.abs(changed.astype(float) - one).mean()) for one in (square, square[:, ::-1]))
    assert difference < 12, "grey levels, on average"


def test_turning_goes_the_way_it_says() -> None:
    """A bright spot above the middle moves to the left when the picture turns left, counterclockwise."""
    picture = np.zeros((101, 101), np.uint8)
    picture[8:13, 48:53] = 255
    columns = {
        name: float((CHANGES[name](picture).sum(0) * np.arange(101)).sum() / CHANGES[name](picture).sum())
        for name in ("rotated left", "rotated right")
    }
    assert columns["rotated left"] < 49.5 and columns["rotated right"] > 50.5


def test_large_films_are_turned_at_twice_the_networks_detail() -> None:
    """Both ways give the same finding; the finer one loses less sharpness, so it lies closer to the film itself."""
    card = fake_card(input_px=PX)
    small, large = (
        measure_stability(a_radiograph(chest(2, size)), fake_classifier(card)) for size in ((PX, PX), (600, 720))
    )
    assert np.allclose([p for _, p in small.changes], [p for _, p in large.changes], atol=0.05)


def a_prediction(probability: float, point: float = 0.4) -> Prediction:
    return Prediction(0.0, probability, point, False)


def test_words_for_a_finding_that_holds() -> None:
    stability = Stability(0.91, 0.96, (("mirrored", 0.91), ("cropped", 0.96), ("brighter", 0.95)))
    assert stability_words(stability, a_prediction(0.94)) == "Stable: 0.91–0.96 under three small perturbations"
    assert crossing(stability, a_prediction(0.94)) == ()
    assert largest_change(stability, a_prediction(0.94)) == ("mirrored", 0.91)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((("mirrored", 0.5), ("cropped", 0.3)), "Unstable: 0.30–0.50; crosses the operating point, 0.40, when cropped"),
        (
            (("mirrored", 0.39), ("cropped", 0.3)),
            "Unstable: 0.30–0.50; crosses the operating point, 0.40, under two of two small perturbations",
        ),
    ],
)
def test_words_for_a_finding_that_does_not(changes: tuple[tuple[str, float], ...], words: str) -> None:
    assert stability_words(Stability(0.3, 0.5, changes), a_prediction(0.45)) == words


def test_another_operating_point_can_be_crossed_where_the_default_is_not() -> None:
    stability = Stability(0.45, 0.6, (("cropped", 0.45), ("mirrored", 0.6)))
    assert not crossing(stability, a_prediction(0.55, 0.4))
    assert crossing(stability, a_prediction(0.55, 0.5)) == ("cropped",)


def test_a_range_never_looks_certain() -> None:
    stability = Stability(0.996, 1.0, (("cropped", 0.999),))
    assert stability_words(stability, a_prediction(0.999)) == "Stable: > 0.99 under one small perturbation"
    wide = Stability(0.001, 0.3, (("cropped", 0.3), ("mirrored", 0.1)))
    assert stability_words(wide, a_prediction(0.001)) == "Stable: < 0.01 to 0.30 under two small perturbations"

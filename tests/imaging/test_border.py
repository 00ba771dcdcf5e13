"""Black around a film is no anatomy, so the film's margin continues over it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from imaging.border import fill_border
from imaging.radiograph import Radiograph, network_input
from tests.phantoms import chest


def film(seed: int = 0, px: int = 224) -> np.ndarray:
    """A film without any black of its own."""
    return np.clip(chest(seed, (px, px)), 20, 255).astype(np.uint8)


def turned(picture: np.ndarray, degrees: float, border: int) -> np.ndarray:
    side = picture.shape[0]
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(picture, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)


def test_a_film_without_black_stays_as_it_is() -> None:
    picture = film()
    assert fill_border(picture) is picture


@pytest.mark.parametrize("degrees", [-10.0, 4.0, 10.0])
def test_a_turned_film_looks_as_if_its_margin_went_on(degrees: float) -> None:
    picture = film()
    black, continued = (turned(picture, degrees, mode) for mode in (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE))
    filled = fill_border(black)
    assert filled.shape == picture.shape and filled.dtype == np.uint8
    assert not (filled <= 3).any()
    inside = turned(np.full_like(picture, 255), degrees, cv2.BORDER_CONSTANT) == 255
    inside = cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    np.testing.assert_array_equal(filled[inside], black[inside])
    away = np.abs(filled.astype(int) - continued).mean()
    assert away < 0.1 * np.abs(black.astype(int) - continued).mean()


def test_straight_margins_go_on_row_by_row() -> None:
    picture = np.zeros((40, 40), np.uint8)
    picture[:, 10:30] = np.arange(40, dtype=np.uint8)[:, None] + 50
    filled = fill_border(picture)
    np.testing.assert_array_equal(filled, np.repeat(np.arange(40, dtype=np.uint8)[:, None] + 50, 40, 1))


def test_black_inside_the_film_is_anatomy() -> None:
    picture = film()
    picture[90:120, 60:90] = 0
    assert fill_border(picture) is picture
    picture[:, :8] = 0
    np.testing.assert_array_equal(fill_border(picture)[90:120, 60:90], 0)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((32, 32), np.uint8),
        np.full((32, 32), 255, np.uint8),
        np.pad(np.full((10, 10), 99, np.uint8), 20),
        np.pad(np.full((1, 1), 99, np.uint8), 16),
    ],
)
def test_pictures_with_hardly_anything_else_are_left_alone(picture: np.ndarray) -> None:
    assert fill_border(picture) is picture


def test_compressed_black_counts_too() -> None:
    black = turned(film(), 10, cv2.BORDER_CONSTANT)
    _, encoded = cv2.imencode(".jpg", black, [cv2.IMWRITE_JPEG_QUALITY, 60])
    again = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    assert (fill_border(again)[:4, :4] > 10).all()


def test_only_who_asks_for_it_sees_it() -> None:
    picture = film()
    picture[:, :30] = 0
    radiograph = Radiograph(picture, "0" * 64, "PNG")
    assert (network_input(radiograph, 224)[:, :30] == 0).all()
    np.testing.assert_array_equal(network_input(radiograph, 224, fills_border=True), fill_border(picture))

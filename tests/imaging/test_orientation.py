"""Films set right: every way a film can be shown turns and inverts with it."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.film import FilmHeader, Radiograph, Rendering
from imaging.orientation import invert_grayscale, rotate

GREYS = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)


def deep_film() -> Radiograph:
    """Values of 3 bits, shown by a window; its first row is the patient's right to left."""
    deep = np.array([[0, 1, 2], [3, 4, 7]], np.uint16)
    curve = np.linspace(0, 65535, 8).astype(np.uint16)
    header = FilmHeader(orientation=("L", "F"), pixel_mm=(0.2, 0.1), photometric="MONOCHROME2")
    return Radiograph(
        curve[deep],
        "0" * 64,
        "DICOM",
        16,
        header=header,
        deep=deep,
        renderings=(Rendering("window", curve, (3.0, 5.0)),),
    )


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (0, [[0, 1, 2], [3, 4, 5]]),
        (90, [[3, 0], [4, 1], [5, 2]]),
        (180, [[5, 4, 3], [2, 1, 0]]),
        (270, [[2, 5], [1, 4], [0, 3]]),
    ],
)
def test_a_film_turns_clockwise(degrees: int, expected: list[list[int]]) -> None:
    film = rotate(Radiograph(GREYS, "0" * 64, "PNG"), degrees)
    assert film.pixels.tolist() == expected and film.pixels.dtype == np.uint8
    assert film.sha256 == "0" * 64 and GREYS[0, 0] == 0


def test_deep_values_directions_and_pixel_size_turn_with_it() -> None:
    film = rotate(deep_film(), 90)
    assert film.deep is not None and film.deep.tolist() == [[3, 0], [4, 1], [7, 2]]
    # Down a column ran towards the feet: along a row of the turned film it now runs towards the head.
    assert film.header is not None and film.header.orientation == ("H", "L")
    assert film.header.pixel_mm == (0.1, 0.2)
    around = rotate(rotate(film, 180), 90)
    assert around.header == deep_film().header and np.array_equal(around.pixels, deep_film().pixels)


def test_oblique_directions_turn_letter_by_letter() -> None:
    film = Radiograph(GREYS, "0" * 64, "DICOM", header=FilmHeader(orientation=("LF", "AH")))
    header = rotate(film, 180).header
    assert header is not None and header.orientation == ("RH", "PF")


def test_greys_are_exchanged_at_the_film_s_own_depth() -> None:
    film = Radiograph(np.array([[0, 1000, 4095]], np.uint16), "0" * 64, "PNG", 12)
    assert invert_grayscale(film).pixels.tolist() == [[4095, 3095, 0]]
    assert invert_grayscale(invert_grayscale(film)).pixels.tolist() == film.pixels.tolist()
    assert not invert_grayscale(film).pixels.flags.writeable


def test_every_rendering_of_an_inverted_film_shows_it_inverted() -> None:
    film, other = deep_film(), invert_grayscale(deep_film())
    assert other.deep is not None and film.deep is not None
    shown = other.renderings[0].curve[other.deep].astype(int)
    assert (shown == 65535 - film.renderings[0].curve[film.deep].astype(int)).all()
    assert (shown == other.pixels).all()
    assert other.renderings[0].window == (4.0, 5.0)


def test_another_angle_is_refused() -> None:
    with pytest.raises(ValueError, match="Received: 45"):
        rotate(Radiograph(GREYS, "0" * 64, "PNG"), 45)

"""What colours a picture has: a photograph, a film scanned in colour, a mark on a film."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imaging.jpeg import grey_jpeg
from imaging.pictures import decode_picture
from tests.phantoms import as_jpeg, as_png, chest

FILM = chest(1, (300, 360))
GREY = np.repeat(FILM[..., None], 3, axis=2)


def tinted(red: float, green: float, blue: float) -> np.ndarray:
    return np.clip(GREY * np.array([red, green, blue]), 0, 255).astype(np.uint8)


def marked(share: float) -> np.ndarray:
    """The film with a red box over part of it."""
    picture = GREY.copy()
    picture[: int(share * 300), :, :] = 200, 30, 30
    return picture


def photograph() -> np.ndarray:
    rows, columns = np.mgrid[0:300, 0:360]
    return np.stack([rows * 255 // 300, columns * 255 // 360, 255 - rows * 255 // 300], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "is_tinted"),
    [
        (tinted(1, 0.9, 0.6), True),
        (tinted(0.7, 0.85, 1), True),
        (tinted(1, 0.97, 0.85), True),
        (GREY, False),
        (marked(0.05), False),
        (marked(0.3), False),
        (photograph(), False),
    ],
)
@pytest.mark.parametrize("encode", [as_png, as_jpeg])
def test_a_tint_is_one_hue_over_all_of_the_picture(picture, is_tinted, encode):
    assert decode_picture(encode(picture)).is_tinted == is_tinted


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_share_in_colour_is_counted(share):
    film = decode_picture(as_png(marked(share)))
    assert film.colour_share == pytest.approx(share)
    assert film.is_colour == (share > 0)


def test_a_grey_picture_has_no_colour_in_any_mode():
    for data in (as_png(FILM), as_png(GREY), as_jpeg(GREY), as_png(FILM.astype(np.uint16) * 200)):
        film = decode_picture(data)
        assert film.colour_share == 0 and not film.is_tinted


def test_a_black_picture_has_no_hue():
    assert not decode_picture(as_png(np.zeros((40, 40, 3), np.uint8))).is_tinted


def test_a_bare_jpeg_is_not_turned_and_must_be_grey():
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    Image.fromarray(FILM).save(target, "JPEG", quality=95, exif=exif.tobytes())
    assert grey_jpeg(target.getvalue()).shape == FILM.shape
    with pytest.raises(ValueError, match="one component"):
        grey_jpeg(as_jpeg(GREY))

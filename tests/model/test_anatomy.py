"""Two lungs as they should be, and what is no frontal chest film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.radiograph import decode_square
from model.anatomy import Anatomy, from_output, lungs_apart
from model.anatomy_files import anatomy_finder, shipped_finder
from model.closer_look import chest_box, cut_out, surer
from model.networks.architectures import ANATOMY_PX, POSES
from tests.fake_classifier import usual_anatomy, usual_lungs

USUAL = usual_anatomy(np.zeros((1, ANATOMY_PX, ANATOMY_PX), np.uint8))[0]


def lungs(*ellipses: tuple[float, float, float, float], probability: int = 250) -> np.ndarray:
    """Draw each lung as an ellipse (column, row, half width, half height), in shares of the side."""
    drawn = np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.uint8)
    for lung, ellipse in zip(drawn, ellipses, strict=True):
        column, row, wide, tall = (round(value * ANATOMY_PX) for value in ellipse)
        cv2.ellipse(lung, (column, row), (wide, tall), 0, 0, 360, probability, -1)
    return drawn


def test_usual_lungs_are_found_without_doubt() -> None:
    assert USUAL.is_found and not USUAL.is_doubtful and USUAL.doubts == ()


@pytest.mark.parametrize("pose", range(len(POSES)))
def test_lungs_of_a_turned_picture_are_judged_as_if_it_were_upright(pose: int) -> None:
    turned = replace(USUAL, lungs=usual_lungs(pose), pose=np.eye(len(POSES), dtype=np.float32)[pose])
    assert turned.is_found and not turned.is_doubtful


@pytest.mark.parametrize(
    "changed",
    [
        replace(USUAL, no_chest=0.7),
        replace(USUAL, lungs=lungs((0.3, 0.45, 0.14, 0.3), (0.7, 0.45, 0.04, 0.05))),
        replace(USUAL, lungs=lungs((0.48, 0.45, 0.14, 0.3), (0.52, 0.45, 0.14, 0.3))),
        replace(USUAL, lungs=lungs((0.3, 0.2, 0.14, 0.18), (0.7, 0.8, 0.14, 0.18))),
        replace(USUAL, lungs=USUAL.lungs[::-1]),
        replace(USUAL, lungs=usual_lungs(probability=160)),
    ],
    ids=["no chest", "one lung", "one upon the other", "one above the other", "sides exchanged", "guessed"],
)
def test_what_is_no_frontal_chest_film_is_not_found(changed: Anatomy) -> None:
    assert not changed.is_found and changed.is_doubtful


@pytest.mark.parametrize(
    "changed",
    [
        replace(USUAL, no_chest=0.3),
        replace(USUAL, lungs=lungs((0.3, 0.45, 0.14, 0.3), (0.7, 0.45, 0.08, 0.2))),
        replace(USUAL, lungs=usual_lungs(probability=215)),
    ],
    ids=["perhaps no chest", "unlike", "unsure"],
)
def test_unusual_lungs_are_found_with_doubt(changed: Anatomy) -> None:
    assert changed.is_found and changed.is_doubtful


def test_of_each_lung_the_surest_part_stays() -> None:
    output = np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.float32)
    output[0, 20:60, 20:40], output[0, 90:125, 10:50] = 0.95, 0.55  # a lung, and a larger guess in the abdomen
    output[1, 20:60, 80:100] = 0.95
    found = from_output(output, np.eye(len(POSES) + 1, dtype=np.float32)[0])
    assert found.lungs[0, 40, 30] == 242 and not found.lungs[0, 100, 30]


def test_a_pixel_of_both_lungs_belongs_to_the_surer_one() -> None:
    drawn = np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.uint8)
    drawn[0, :, :70], drawn[1, :, 60:] = 200, 250
    left, right = lungs_apart(replace(USUAL, lungs=drawn), ANATOMY_PX, ANATOMY_PX)
    assert left[5, 59] and right[5, 60] and not (left & right).any()


SMALL = replace(USUAL, lungs=lungs((0.37, 0.4, 0.1, 0.17), (0.63, 0.4, 0.1, 0.17), probability=190))


def test_a_closer_look_shows_the_chest_and_its_outlines_are_put_back() -> None:
    box = chest_box(SMALL)
    assert box[0] < 0.27 and box[1] < 0.23 and box[2] > 0.73 and box[3] > 0.57, "both lungs with room around them"
    film = np.full((224, 224), 200, np.uint8)
    left, top, right, bottom = (round(224 * edge) for edge in box)
    film[top:bottom, left:right] = 50
    assert (cut_out(film, box) == 50).all()
    # In the cut-out the lungs are where they are usual; in the picture they are small again.
    found = surer(SMALL, USUAL, box)
    assert found.is_found and not found.is_doubtful
    wide, tall = box[2] - box[0], box[3] - box[1]
    assert sum(found.areas) == pytest.approx(sum(USUAL.areas) * wide * tall, rel=0.1)
    rows, columns = np.nonzero(found.outline(100, 100))
    usual_rows, usual_columns = np.nonzero(USUAL.outline(100, 100))
    assert columns.mean() / 100 == pytest.approx(box[0] + wide * usual_columns.mean() / 100, abs=0.01)
    assert rows.mean() / 100 == pytest.approx(box[1] + tall * usual_rows.mean() / 100, abs=0.01)


@pytest.mark.parametrize(
    "closer",
    [
        replace(USUAL, no_chest=0.9),
        replace(USUAL, lungs=usual_lungs(probability=200)),
        replace(USUAL, lungs=usual_lungs(2), pose=np.eye(len(POSES), dtype=np.float32)[2]),
    ],
    ids=["no chest", "no surer", "turned otherwise"],
)
def test_a_closer_look_that_is_no_surer_changes_nothing(closer: Anatomy) -> None:
    assert surer(SMALL, closer, chest_box(SMALL)) is SMALL


def test_only_doubtful_films_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that doubts films with a bright corner, and is sure of what it is shown again."""
    looks: list[int] = []

    def run(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        looks.append(len(squares))
        doubts = squares[:, 0, 0] > 200
        some = [(SMALL if doubt else USUAL).lungs for doubt in doubts]
        pose = np.tile(np.eye(len(POSES) + 1, dtype=np.float32)[0], (len(squares), 1))
        return np.stack(some).astype(np.float32) / 255, pose

    monkeypatch.setattr("model.networks.anatomy.anatomy_function", lambda _network: run)
    squares = np.full((5, 200, 200), 100, np.uint8)
    squares[1:3, :20, :20] = 255
    found = anatomy_finder(None)(squares)
    assert looks == [5, 2]
    assert not any(one.is_doubtful for one in found)
    assert [sum(one.areas) < 0.15 for one in found] == [False, True, True, False, False]


def test_the_shipped_network_finds_drawn_lungs_in_real_films(test_data: Path) -> None:
    masks = test_data / "kermany_lung_masks" / "val"
    if not masks.is_dir():
        pytest.skip("no masks of lungs")
    find, agree = shipped_finder(), []
    for film in sorted((test_data / "kermany" / "val").glob("*/*")):
        mask = masks / film.parent.name / f"{film.stem}.png"
        if not mask.is_file():
            continue
        found = find(decode_square(film.read_bytes())[0][None])[0]
        assert found.is_found and found.orientation == (0, False), film.name
        drawn = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) == 255
        outline = found.outline(*drawn.shape)
        agree.append(2 * (outline & drawn).sum() / (outline.sum() + drawn.sum()))
    assert len(agree) >= 8 and np.mean(agree) > 0.92

"""Changed films with their lungs: sides follow the upright picture, whatever was done to it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from model.networks.architectures import ANATOMY_PX, POSES
from training.data.anatomy_augment import NO_CHEST, augmented
from training.data.anatomy_batches import anatomy_batches
from training.data.lung_masks import LEFT, PX, RIGHT, LungFilms

LABELS = np.zeros((PX, PX), np.uint8)
cv2.ellipse(LABELS, (72, 112), (26, 70), 0, 0, 360, LEFT, -1)
cv2.ellipse(LABELS, (152, 112), (26, 70), 0, 0, 360, RIGHT, -1)
FILM = np.where(LABELS > 0, 60, 190).astype(np.uint8)


def middle(lung: np.ndarray) -> tuple[float, float]:  # type: ignore[type-arg]
    rows, columns = np.nonzero(lung > 127)
    return float(columns.mean()), float(rows.mean())


def test_from_the_left_lung_to_the_right_one_it_goes_as_the_picture_is_turned() -> None:
    seen = set()
    for seed in range(80):
        _, lungs, pose = augmented(FILM, LABELS, np.random.default_rng(seed))
        if min((lungs[..., side] > 127).mean() for side in (0, 1)) < 0.02:
            continue
        (x0, y0), (x1, y1) = middle(lungs[..., 0]), middle(lungs[..., 1])
        quarters, _ = POSES[pose]
        off = math.degrees(math.atan2(y1 - y0, x1 - x0)) - 90 * quarters
        assert abs((off + 180) % 360 - 180) < 50, seed
        seen.add(quarters)
    assert seen == {0, 1, 2, 3}


def test_the_film_under_the_outline_is_the_lung() -> None:
    agree = []
    for seed in range(60):
        film, lungs, pose = augmented(FILM, LABELS, np.random.default_rng(seed))
        drawn = lungs[..., :2].max(-1) > 127
        around = (cv2.dilate(drawn.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~drawn
        if drawn.mean() > 0.02 and around.any():
            is_dark = np.median(film[drawn]) < np.median(film[around])
            agree.append(is_dark != POSES[pose][1])
    # Some lungs were painted white with disease.
    assert np.mean(agree) > 0.8


def test_the_same_numbers_give_the_same_picture() -> None:
    one, other = (augmented(FILM, LABELS, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


@pytest.fixture
def films() -> LungFilms:
    return LungFilms(
        np.stack([FILM] * 3), np.stack([LABELS] * 3), ("a", "b", "c"), ("a", "b", "c"), True, ("",) * 3, ("",) * 3
    )


def test_a_batch_mixes_films_and_pictures_of_other_things(films: LungFilms) -> None:
    others = np.full((2, PX, PX), 90, np.uint8)
    order = np.array([0, -1, 2, -2, 1])
    drawn = list(anatomy_batches(films, others, order, 2, seed=4))
    assert [len(poses) for _, _, poses in drawn] == [2, 2, 1]
    squares, lungs, poses = (np.concatenate([batch[i] for batch in drawn]) for i in range(3))
    assert squares.shape == (5, ANATOMY_PX, ANATOMY_PX, 1)
    assert [int(pose) == NO_CHEST for pose in poses] == [False, True, False, True, False]
    assert not lungs[[1, 3]].any()
    assert lungs[[0, 2, 4], ..., :2].any((1, 2)).all()
    again = [batch[0] for batch in anatomy_batches(films, others, order, 2, seed=4)]
    assert np.array_equal(np.concatenate(again), squares)

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from imaging.radiograph import enlarge
from training.data import input_pipeline
from training.data.augment import augment
from training.data.input_pipeline import Batch, batches
from training.data.recipes import PLAIN, STRONG, Augmentation

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)
LABELS, ORDER = np.array([0, 1, 0, 1, 1]), np.array([4, 0, 2, 1, 3])


def epoch(seed: int = 1, recipe: Augmentation = STRONG, order: np.ndarray = ORDER) -> Iterator[Batch]:
    return batches(PICTURES, LABELS, order, recipe, 40, 2, seed)


def drawing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("draw")]


def test_batches_follow_the_order_and_are_the_same_again_with_the_same_seed() -> None:
    first, again, other = list(epoch(1)), list(epoch(1)), list(epoch(2))
    assert [x.shape for x, _ in first] == [(2, 40, 40, 1), (2, 40, 40, 1), (1, 40, 40, 1)]
    assert all(x.dtype == y.dtype == np.float32 for x, y in first)
    assert np.concatenate([y for _, y in first])[:, 0].tolist() == LABELS[ORDER].tolist()
    assert all((a == b).all() for (a, _), (b, _) in zip(first, again, strict=True))
    assert any((a != b).any() for (a, _), (b, _) in zip(first, other, strict=True))


def test_each_picture_depends_on_the_seed_and_its_place_alone() -> None:
    """So a resumed run draws what the interrupted one would have drawn, with whatever number of threads."""
    drawn = np.concatenate([x for x, _ in epoch(7)])[..., 0]
    for place, picture in enumerate(PICTURES[ORDER]):
        assert (drawn[place] == augment(picture, np.random.default_rng((7, place)), STRONG, 40)).all()


def test_plain_is_the_picture_itself_at_the_asked_size() -> None:
    drawn = np.concatenate([x for x, _ in epoch(recipe=PLAIN)])[..., 0]
    assert (drawn == np.stack([enlarge(picture, 40) for picture in PICTURES[ORDER]])).all()


def test_labels_of_several_columns_and_an_empty_epoch() -> None:
    two = np.column_stack((LABELS, -np.ones(5)))
    drawn = np.concatenate([y for _, y in batches(PICTURES, two, ORDER, PLAIN, 40, 2, 1)])
    assert (drawn == two[ORDER]).all()
    assert list(epoch(order=ORDER[:0])) == []


def test_what_is_no_longer_wanted_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on time breaks an epoch off: no thread stays behind, and the rest of the epoch costs nothing."""
    asked = []

    def counted(*args: object) -> np.ndarray:
        asked.append(args)
        return np.zeros((40, 40), np.uint8)

    monkeypatch.setattr(input_pipeline, "augment", counted)
    coming = epoch(order=np.zeros(2000, int))
    next(coming)
    coming.close()  # type: ignore[attr-defined]
    assert not drawing()
    assert len(asked) < 2000 / 4
    before = len(asked)
    time.sleep(0.05)
    assert len(asked) == before


def test_an_error_of_drawing_reaches_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> np.ndarray:
        raise MemoryError("no room for a picture")

    monkeypatch.setattr(input_pipeline, "augment", broken)
    with pytest.raises(MemoryError, match="no room"):
        next(epoch())
    assert not drawing()


def test_opencv_has_its_threads_back_afterwards() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        coming = epoch()
        next(coming)
        assert cv2.getNumThreads() == 1
        list(coming)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_drawing_gives_way_and_its_reader_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def looking(*_: object) -> np.ndarray:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return np.zeros((40, 40), np.uint8)

    monkeypatch.setattr(input_pipeline, "augment", looking)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    list(epoch())
    assert set(seen) == {min(19, own + input_pipeline.NICENESS)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own

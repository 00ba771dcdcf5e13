"""Batches for the anatomy network: changed films with their lungs, and pictures that are no frontal chest film.

They are drawn by threads while the network trains; OpenCV releases the interpreter lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from model.networks.architectures import ANATOMY_PX
from training.data.anatomy_augment import NO_CHEST, augmented
from training.data.lung_masks import LungFilms

Float = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
# Squares, float32 (b, px, px, 1) in [0, 255]; lungs and what is unknown, float32 (b, px, px, 3) in [0, 1]; places in
# POSES or NO_CHEST, int32 (b,).
Batch = tuple[Float, Float, npt.NDArray[np.int32]]
_AHEAD = 2


def anatomy_batches(
    films: LungFilms, others: Pictures, order: npt.NDArray[np.int_], size: int, seed: int
) -> Iterator[Batch]:
    """Yield the batches of one epoch.

    Parameters
    ----------
    films
        Films with drawn lungs.
    others
        (m, h, h), uint8: pictures that are no frontal chest radiograph.
    order
        Places in `films`; −1 − i is the place i in `others`.
    size
        Pictures in a batch; the last one may be smaller.
    seed
        With the position in the epoch it seeds each picture's random numbers, so that a resumed run draws the same.

    Yields
    ------
    tuple
        A `Batch`.
    """

    def draw(start: int) -> Batch:
        places = order[start : start + size]
        squares = np.zeros((len(places), ANATOMY_PX, ANATOMY_PX, 1), np.float32)
        lungs = np.zeros((len(places), ANATOMY_PX, ANATOMY_PX, 3), np.float32)
        poses = np.full(len(places), NO_CHEST, np.int32)
        for i, place in enumerate(places):
            rng = np.random.default_rng((seed, start + i))
            if place < 0:
                squares[i, ..., 0] = _turned(others[-1 - place], rng)
            else:
                square, outlines, poses[i] = augmented(films.films[place], films.labels[place], rng)
                squares[i, ..., 0], lungs[i] = square, outlines / np.float32(255)
        return squares, lungs, poses

    workers = os.cpu_count() or 1
    threads, cv_threads = ThreadPoolExecutor(workers, "draw"), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        starts = iter(range(0, len(order), size))
        coming: deque[Future[Batch]] = deque()
        for start in starts:
            coming.append(threads.submit(draw, start))
            if len(coming) >= workers + _AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
        cv2.setNumThreads(cv_threads)


def _turned(picture: Pictures, rng: np.random.Generator) -> Pictures:
    """Return a picture at the network's size, turned, mirrored or inverted as films are."""
    small = cv2.resize(picture, (ANATOMY_PX, ANATOMY_PX), interpolation=cv2.INTER_AREA)
    turned = np.rot90(small, int(rng.integers(4))) if rng.random() < 0.25 else small
    turned = turned[:, ::-1] if rng.random() < 0.5 else turned
    return np.asarray(255 - turned if rng.random() < 0.15 else turned, np.uint8)

"""The input pipeline: augmented batches, drawn by threads of low priority while the network trains.

With few cores a training step uses all of them, and a pipeline of equal priority delays each of its operations. Python
threads suffice because OpenCV releases the interpreter lock; calling Python from a tf.data pipeline cost a small
network 15 % of its speed.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from training.data.augment import augment
from training.data.augment_framed import Donors, augment_framed
from training.data.recipes import Augmentation

# A tenth of the processor time at equal priority. Lower priorities make a small network wait for its pictures on a busy
# machine.
NICENESS = 10
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def batches(
    pictures: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int_],
    order: npt.NDArray[np.int_],
    recipe: Augmentation,
    input_px: int,
    batch_size: int,
    seed: int,
    looks: npt.NDArray[np.int_] | None = None,
) -> Iterator[Batch]:
    """Yield the augmented batches of one epoch.

    Parameters
    ----------
    pictures
        uint8 (n, px, px), or (n, px, px, 3) with the lungs beside each film, as `model.framing.pair_of` returns them.
    labels
        int (n,) or (n, k).
    order
        int (m,): indices of the pictures of the epoch.
    recipe
        Augmentation.
    input_px
        Side of the augmented pictures.
    batch_size
        Pictures in a batch; the last one may be smaller.
    seed
        With the position in the epoch it seeds each picture's random numbers, so that a resumed run draws the same.
    looks
        (n,), int: the acquisition style of each picture. A film of the other class lends its look with the same
        probability for every style, however rare; None where styles are not known.

    Yields
    ------
    tuple
        Pictures float32 (b, input_px, input_px, 1), or 2 with the lungs, in [0, 255], and labels float32 (b, 1) or
        (b, k).
    """
    targets = labels[order].astype(np.float32)
    if targets.ndim == 1:
        targets = targets[:, None]

    is_framed = pictures.ndim == 4
    donors = [Donors(order[targets[:, 0] != label], looks) for label in (0, 1)] if is_framed else []

    def draw(start: int) -> Batch:
        positions = range(start, min(start + batch_size, len(order)))
        drawn = np.empty((len(positions), input_px, input_px, 2 if is_framed else 1), np.float32)
        for i, position in enumerate(positions):
            rng = np.random.default_rng((seed, position))
            picture = pictures[order[position]]
            if is_framed:
                donor = donors[int(targets[position, 0] > 0)].draw(rng)
                other = None if donor is None else pictures[donor]
                drawn[i] = augment_framed(picture, rng, recipe, input_px, other)
            else:
                drawn[i, ..., 0] = augment(picture, rng, recipe, input_px)
        return drawn, targets[start : start + batch_size]

    workers = max(1, (os.cpu_count() or 1) // 2)
    with _opencv_alone(), _pool(workers) as pool:
        starts = iter(range(0, len(order), batch_size))
        coming = deque(pool.submit(draw, start) for start in islice(starts, workers + 2))
        while coming:
            batch = coming.popleft().result()
            coming.extend(pool.submit(draw, start) for start in islice(starts, 1))
            yield batch


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Provide threads of low priority; batches not yet begun at the end are cancelled."""
    pool = ThreadPoolExecutor(workers, "draw", initializer=_give_way)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _give_way() -> None:
    """Lower the calling thread's priority on Linux; other systems have no priority per thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS))


@contextmanager
def _opencv_alone() -> Iterator[None]:
    """Limit OpenCV to one thread: more of them double the work for pictures of this size."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)

"""Augmented batches, drawn beside the step that uses them and out of its way.

On two processors the step of a small network keeps both busy, and whatever draws the next batch takes from it: each of
TensorFlow's operations waits for the half that was held up. So the pictures are drawn by threads of low priority, which
live on the moments in which a step leaves a processor idle. Threads of Python are enough for that, since OpenCV lets go
of the interpreter while it works; a call of Python from a tf.data pipeline cost a small network 15 % of its speed.
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

from training.data.augment import Augmentation, augment

# A tenth of the processor that an equal would get. Beside programs that keep every processor busy even this makes the
# smallest network wait for its pictures (1.3 times as long a step), and less would make it wait longer.
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
) -> Iterator[Batch]:
    """Yield one epoch of augmented batches: float32 (b, input_px, input_px, 1) in [0, 255], float32 (b, k).

    labels is (n,) for k = 1, or (n, k). Each picture's random numbers come from (seed, position in the epoch), so a
    resumed run draws what the interrupted one would have drawn. What is left undrawn is given up when the iterator is
    closed.
    """
    targets = labels[order].astype(np.float32)
    if targets.ndim == 1:
        targets = targets[:, None]

    def draw(start: int) -> Batch:
        positions = range(start, min(start + batch_size, len(order)))
        drawn = np.empty((len(positions), input_px, input_px, 1), np.float32)
        for i, position in enumerate(positions):
            rng = np.random.default_rng((seed, position))
            drawn[i, ..., 0] = augment(pictures[order[position]], rng, recipe, input_px)
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
    """Hold threads of low priority; what they have not begun in the end is not begun any more."""
    pool = ThreadPoolExecutor(workers, "draw", initializer=_give_way)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _give_way() -> None:
    """Lower the calling thread's priority. Only Linux has one for each thread; elsewhere nothing changes."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS))


@contextmanager
def _opencv_alone() -> Iterator[None]:
    """Keep OpenCV from threads of its own: for pictures of this size they double the work."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)

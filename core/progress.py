"""Progress of long-running work: one value and one callback for every room.

>>> tick = counted(print, "reading radiographs", 2)
>>> tick(1)
Progress(phase='reading radiographs', done=1, total=2, detail=None)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one phase: `done` of `total` units; a `total` of 0 means that the number is not known.

    `detail` is a value of the reporting code, such as `training.fitting.progress.FittingStep`.
    """

    phase: str
    done: int = 0
    total: int = 0
    detail: object = None


Report = Callable[[Progress], object]
# Called with the number of units finished since the last call.
Tick = Callable[[int], object]


def ignore(_: Progress) -> None:
    """Discard a report."""


def counted(report: Report, phase: str, total: int) -> Tick:
    """Return a function that adds up finished units and reports the sum.

    Parameters
    ----------
    report
        Called after each addition, by the thread that made it; never by two at once.
    phase
        Name of the phase, such as "reading radiographs".
    total
        Number of units of the whole phase.

    Returns
    -------
    Tick
        Takes the number of units finished since the last call; safe to be called from several threads.
    """
    done = 0
    lock = threading.Lock()

    def tick(n: int) -> None:
        nonlocal done
        with lock:
            done += n
            report(Progress(phase, done, total))

    return tick

"""How often something may be done: so many times at once, and so many a second from then on."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """How often something may be done.

    Parameters
    ----------
    at_once
        How many times without a pause.
    a_second
        How many more each second brings.
    """

    def __init__(self, at_once: int, a_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._a_second, self._clock = at_once, a_second, clock
        self._left, self._at = float(at_once), clock()

    def take(self, count: int = 1) -> bool:
        """Count something done so many times; False, without effect, if that is too often."""
        self._refill()
        if count > self._left:
            return False
        self._left -= count
        return True

    def wait(self, count: int = 1) -> float:
        """Count something done so many times, and return how many seconds later it may be done."""
        self._refill()
        self._left -= count
        return max(0.0, -self._left / self._a_second)

    def _refill(self) -> None:
        now = self._clock()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._a_second), now

"""The files behind the films: their bytes, in memory alone and within one budget for all visits. Knows no streamlit.

They are kept for the viewer's full resolution and for DICOM objects, which refer to the file that they came from. What
was longest out of use is let go first; the film on a screen never is.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from dataclasses import dataclass

from imaging.film import Radiograph

# Twenty films of a large detector; a JPEG is a hundredth of one. Together for everybody who reads at the same time.
BUDGET_BYTES = 600_000_000


@dataclass(slots=True, weakref_slot=True, eq=False)
class Original:
    """The bytes of one file, None once they were let go, and the picture decoded from them while it is on a screen."""

    data: bytes | None
    used: int = 0
    is_shown: bool = False
    decoded: Radiograph | None = None


_lock = threading.Lock()
_clock = itertools.count(1)
# Weakly held, so that a visit that ends takes its files with it.
_held: weakref.WeakSet[Original] = weakref.WeakSet()


def hold(data: bytes, decoded: Radiograph | None = None, budget: int = BUDGET_BYTES) -> Original:
    """Keep a file's bytes, and let go of others where there are more than `budget` bytes together."""
    original = Original(data, next(_clock), decoded=decoded)
    with _lock:
        _held.add(original)
        _let_go(budget)
    return original


def show(original: Original) -> None:
    """Say that a film has come onto a screen: its file is not let go until it is put away."""
    original.used, original.is_shown = next(_clock), True


def put_away(original: Original, budget: int = BUDGET_BYTES) -> None:
    """Say that a film has left the screen; what was decoded of it is let go at once."""
    original.is_shown, original.decoded = False, None
    with _lock:
        _let_go(budget)


def restore(original: Original, data: bytes, budget: int = BUDGET_BYTES) -> None:
    """Give a file that was let go its bytes back, which came in once more."""
    original.data, original.used = data, next(_clock)
    with _lock:
        _held.add(original)
        _let_go(budget)


def held_bytes() -> int:
    """Return how much is held for all visits together."""
    return sum(len(original.data or b"") for original in list(_held))


def _let_go(budget: int) -> None:
    spent = held_bytes()
    for original in sorted(_held, key=lambda one: one.used):
        if spent <= budget:
            return
        if not original.is_shown and original.data is not None:
            spent -= len(original.data)
            original.data = original.decoded = None

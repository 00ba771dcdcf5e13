"""The cache of source files: their bytes, in memory alone and within one budget for all visits. Does not use Streamlit.

The viewer needs a file for its full resolution, and DICOM objects refer to it. The least recently used files are
released first; the file of a film on a screen is never released.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from dataclasses import dataclass

from imaging.film import Radiograph

# Twenty radiographs of a large detector; a JPEG is a hundredth of one. Shared by everybody who reads at the same time.
BUDGET_BYTES = 600_000_000
RELEASED = "Original released to save memory."


@dataclass(slots=True, weakref_slot=True, eq=False)
class Source:
    """A source file: its bytes, None once released, and the radiograph decoded from them while it is on a screen."""

    data: bytes | None
    last_used: int = 0
    is_pinned: bool = False
    decoded: Radiograph | None = None


_lock = threading.Lock()
_clock = itertools.count(1)
# Weakly held, so that a visit that ends takes its files with it.
_sources: weakref.WeakSet[Source] = weakref.WeakSet()


def store(data: bytes, decoded: Radiograph | None = None, budget: int = BUDGET_BYTES) -> Source:
    """Keep a file's bytes, and release others where all together exceed `budget` bytes."""
    source = Source(data, next(_clock), decoded=decoded)
    with _lock:
        _sources.add(source)
        _release(budget)
    return source


def pin(source: Source) -> None:
    """Keep a file whose film is on a screen until it is unpinned."""
    source.last_used, source.is_pinned = next(_clock), True


def unpin(source: Source, budget: int = BUDGET_BYTES) -> None:
    """Allow a file to be released after its film has left the screen, and release the decoded radiograph at once."""
    source.is_pinned, source.decoded = False, None
    with _lock:
        _release(budget)


def discard(source: Source) -> None:
    """Release a file at once."""
    source.is_pinned, source.data, source.decoded = False, None, None


def restore(source: Source, data: bytes, budget: int = BUDGET_BYTES) -> None:
    """Give a released file its bytes back, after the same file was added once more."""
    source.data, source.last_used = data, next(_clock)
    with _lock:
        _sources.add(source)
        _release(budget)


def stored_bytes() -> int:
    """Return how many bytes are kept for all visits together."""
    return sum(len(source.data or b"") for source in list(_sources))


def _release(budget: int) -> None:
    spent = stored_bytes()
    for source in sorted(_sources, key=lambda one: one.last_used):
        if spent <= budget:
            return
        if not source.is_pinned and source.data is not None:
            spent -= len(source.data)
            source.data = source.decoded = None

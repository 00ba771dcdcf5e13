"""The queue of one visit: the files that wait, the films that were read, and their order. Knows no streamlit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from core.errors import RadiographError
from imaging.archives import is_archive, list_archive, shown_name
from pages.reading import source_cache
from pages.reading.films import Film, Notes

MOST_FILMS = 200
# All that waits lies in memory; more than a morning's films of a large detector is turned away.
MOST_WAITING_BYTES = 2_000_000_000
Order = Literal["arrival", "probability"]
ARRIVAL: Order = "arrival"
PROBABILITY: Order = "probability"


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A file that was dropped and not read yet. `read` returns its bytes or raises RadiographError."""

    name: str
    read: Callable[[], bytes]


@dataclass(slots=True, eq=False)
class Films:
    """Everything of one visit.

    Holds `MOST_FILMS` films; the oldest make room for new ones, and `let_go` counts them. `drops` counts how often
    files were dropped. Of the last drop, `turned_away` files were more than the queue holds, `passed_over` files of
    its archives are no films, and `stopped` were let go unread when the reader stopped the reading. `shown` is the
    number of the film on the screen, `done` and `total` count the films of the reading that is under way.
    """

    waiting: deque[Waiting] = field(default_factory=deque)
    films: list[Film] = field(default_factory=list)
    order: Order = ARRIVAL
    shown: int = 0
    drops: int = 0
    let_go: int = 0
    turned_away: int = 0
    passed_over: int = 0
    stopped: int = 0
    done: int = 0
    total: int = 0
    waiting_bytes: int = 0
    _count: int = 0
    # Held while films are read again: a press starts a new run of the page, which then draws what comes of it.
    again: threading.Lock = field(default_factory=threading.Lock)
    _is_reading: bool = False
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _shows_next: bool = False
    _paces: deque[float] = field(default_factory=lambda: deque(maxlen=10))

    def drop(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Put files at the end of the queue, (name, bytes) each; an archive stands for the films in it."""
        if not self.waiting:
            self.done = self.total = self.waiting_bytes = 0
        self.turned_away = self.passed_over = self.stopped = 0
        for name, data in files:
            coming = self._unpacked(shown_name(name), data)
            room = MOST_FILMS - len(self.waiting)
            if self.waiting_bytes + len(data) > MOST_WAITING_BYTES:
                room = 0
            self.turned_away += max(0, len(coming) - room)
            self.waiting.extend(coming[:room])
            self.waiting_bytes += len(data) if room else 0
            self.total += len(coming[:room])
        self.drops += 1
        self._shows_next = True

    def _unpacked(self, name: str, data: bytes) -> list[Waiting]:
        if not is_archive(data):
            return [Waiting(name, lambda: data)]
        try:
            contents = list_archive(data)
        except RadiographError as error:
            return [_refused(name, error)]
        self.passed_over += contents.passed_over
        if not contents.members:
            return [
                _refused(
                    name,
                    RadiographError(
                        "expected an archive with pictures. Received: one without",
                        code="UNREADABLE",
                        advice="There is no film in this archive that could be read; drop the radiographs themselves.",
                    ),
                )
            ]
        return [Waiting(member.name, member.read) for member in contents.members]

    @contextmanager
    def next_one(self) -> Iterator[Waiting | None]:
        """Yield the file that has waited longest, None if there is none; it leaves the queue when it was read.

        A press starts a new run of the page while the run before still has a film in hand: the lock lets one read at a
        time, and until then the film is one that waits, so that no run takes the reading for done.
        """
        with self._reading:
            file = self.waiting[0] if self.waiting else None
            self._is_reading = file is not None
            try:
                yield file
            finally:
                self._is_reading = False
                if file is not None:
                    self.waiting.popleft()

    def stop(self) -> None:
        """Let go of every file that waits; the films that were read stay, and the one that is being read comes."""
        kept = 1 if self._is_reading else 0
        self.stopped = 0
        while len(self.waiting) > kept:
            self.waiting.pop()
            self.stopped += 1

    def find(self, sha256: str, version: str) -> Film | None:
        """Return a film of the same bytes that the same classifier version read."""
        return next(
            (film for film in self.films if film.sha256 == sha256 and film.kept.classifier_version == version), None
        )

    def add(self, film: Film, seconds: float | None = None) -> None:
        """Put a film that was read into the list; the first of each drop is shown. `seconds` is how long it took."""
        self.done += 1
        if seconds is not None:
            self._paces.append(seconds)
        same = next(
            (
                one
                for one in self.films
                if one.name == film.name and one.sha256 == film.sha256 and one.kept is film.kept
            ),
            None,
        )
        if same is None:
            self._count += 1
            film = replace(film, number=self._count)
            self.films.append(film)
            if len(self.films) > MOST_FILMS:
                oldest = self.films.pop(0)
                self.let_go += 1
                if oldest.number == self.shown:
                    self.show(self.films[0].number)
        if self._shows_next:
            self.show((same or film).number)
            self._shows_next = False
        elif same is None and film.number != self.shown:
            film.original.decoded = None

    def as_another(self, known: Film, name: str, data: bytes) -> Film:
        """Return a known film under the name that its bytes came with this time; brings back bytes let go before."""
        if known.data is None:
            source_cache.restore(known.original, data)
        return known if known.name == name else replace(known, name=name, notes=Notes(), number=0)

    def exchange(self, old: Film, new: Film) -> None:
        """Put a film that was read again into the place of the reading before, with what the reader made of it."""
        new.notes.reading = old.reading
        self.films[self.films.index(old)] = replace(new, number=old.number, name=old.name)
        if old.number == self.shown:
            self.show(old.number)

    def show(self, number: int) -> None:
        """Put a film on the screen, and the one before away."""
        for film in self.films:
            if film.number == self.shown and film.number != number:
                source_cache.put_away(film.original)
        self.shown = number
        film = self.on_screen
        if film is not None:
            source_cache.show(film.original)

    @property
    def on_screen(self) -> Film | None:
        """The film on the screen."""
        return next((film for film in self.films if film.number == self.shown), None)

    def listed(self) -> list[Film]:
        """Return the films in the order in which they are shown.

        By probability, films outside the classifier's population and those not assessed come last: neither has a
        probability that could be compared.
        """
        if self.order == ARRIVAL:
            return list(self.films)
        return sorted(
            self.films,
            key=lambda film: (
                film.kept.is_refused,
                film.kept.is_outside,
                -(film.kept.prediction.probability if film.kept.prediction else 0),
            ),
        )

    def place(self) -> int:
        """Return where the film on the screen stands in the shown order, counted from 0."""
        return next((index for index, film in enumerate(self.listed()) if film.number == self.shown), 0)

    def step(self, by: int) -> None:
        """Show the film `by` places on in the shown order, stopping at either end."""
        listed = self.listed()
        if listed:
            self.show(listed[min(max(0, self.place() + by), len(listed) - 1)].number)

    def seconds_left(self) -> float | None:
        """Return how long the files that wait will take at the pace of the last ones; None before there is one."""
        return len(self.waiting) * sum(self._paces) / len(self._paces) if self._paces else None


def _refused(name: str, error: RadiographError) -> Waiting:
    def read() -> bytes:
        raise error

    return Waiting(name, read)

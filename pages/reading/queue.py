"""The queue of one visit: files waiting for assessment, films assessed, and their order. Does not use Streamlit."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from core.errors import RadiographError
from imaging.archives import is_archive
from imaging.intake import list_archive, shown_name
from pages.reading import source_cache
from pages.reading.films import Film, Notes

MOST_FILMS = 200
# Queued files are held in memory; this is more than a morning's images of a large detector.
MOST_WAITING_BYTES = 2_000_000_000
# Of all visits together.
MOST_WAITING_BYTES_IN_ALL = 8_000_000_000
Order = Literal["arrival", "probability"]
ARRIVAL: Order = "arrival"
PROBABILITY: Order = "probability"


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A queued file.

    Attributes
    ----------
    name
        As shown on the page.
    read
        Returns the file's bytes; raises RadiographError for an archive member that cannot be unpacked safely.
    source
        The uploaded file or archive that holds it in memory.
    """

    name: str
    read: Callable[[], bytes]
    source: bytes = b""


@dataclass(slots=True, weakref_slot=True, eq=False)
class FilmQueue:
    """The queue and the films of one visit.

    Attributes
    ----------
    waiting
        The queued files. The first one may be under assessment.
    films
        The films assessed, `MOST_FILMS` at most: the oldest make room for new ones, which `removed` counts.
    shown
        The number of the film on the screen, 0 for none.
    drops
        How often files were added.
    not_queued, skipped, stopped
        Of the files added last: those beyond the limits of the queue, members of archives that are no images, and
        those left unread when the reader stopped.
    done, total
        Files of the current run of reading.
    key
        Tells the queues of a visit apart.
    reassess_lock
        Held while films are assessed again, since a press starts a new run of the page beside the one before.
    """

    waiting: deque[Waiting] = field(default_factory=deque)
    films: list[Film] = field(default_factory=list)
    order: Order = ARRIVAL
    shown: int = 0
    drops: int = 0
    removed: int = 0
    not_queued: int = 0
    skipped: int = 0
    stopped: int = 0
    done: int = 0
    total: int = 0
    key: str = field(default_factory=partial(secrets.token_hex, 8))
    reassess_lock: threading.Lock = field(default_factory=threading.Lock)
    _count: int = 0
    _is_reading: bool = False
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _shows_next: bool = False
    _durations: deque[float] = field(default_factory=lambda: deque(maxlen=10))

    def __post_init__(self) -> None:
        """Count this queue among all."""
        with _all_lock:
            _all_queues.add(self)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of memory that the queued files hold; an archive counts once, until its last member is read."""
        sources = {id(file.source): len(file.source) for file in tuple(self.waiting)}
        return sum(sources.values())

    def drop(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Add files to the end of the queue; an archive is replaced by the images in it.

        Parameters
        ----------
        files
            (name, bytes) of each uploaded file.
        """
        if not self.waiting:
            self.done = self.total = 0
        self.not_queued = self.skipped = self.stopped = 0
        for name, data in files:
            members = self._unpacked(shown_name(name), data)
            has_memory = (
                self.waiting_bytes + len(data) <= MOST_WAITING_BYTES
                and waiting_bytes_in_all() + len(data) <= MOST_WAITING_BYTES_IN_ALL
            )
            room = MOST_FILMS - len(self.waiting) if has_memory else 0
            self.not_queued += max(0, len(members) - room)
            self.waiting.extend(members[:room])
            self.total += len(members[:room])
        self.drops += 1
        self._shows_next = True

    def _unpacked(self, name: str, data: bytes) -> list[Waiting]:
        if not is_archive(data):
            return [Waiting(name, lambda: data, data)]
        try:
            contents = list_archive(data)
        except RadiographError as error:
            return [_refused(name, error)]
        self.skipped += contents.skipped
        if not contents.members:
            return [
                _refused(
                    name,
                    RadiographError(
                        "expected an archive with images. Received: one without",
                        code="UNREADABLE",
                        advice="The archive holds no image that can be read. Add the radiographs themselves.",
                    ),
                )
            ]
        return [Waiting(member.name, member.read, data) for member in contents.members]

    @contextmanager
    def next_one(self) -> Iterator[Waiting | None]:
        """Yield the first file of the queue, None if it is empty; the file leaves the queue afterwards.

        A press starts a new run of the page while the run before still assesses a file. The lock lets one run read at a
        time, and the file stays in the queue meanwhile, so that no run takes the reading for finished.
        """
        with self._reading:
            file = self.waiting[0] if self.waiting else None
            self._is_reading = file is not None
            try:
                yield file
            finally:
                self._is_reading = False
                if file is not None and self.waiting and self.waiting[0] is file:
                    self.waiting.popleft()

    def stop(self) -> None:
        """Remove every queued file but the one under assessment; the films stay."""
        kept = 1 if self._is_reading else 0
        self.stopped = 0
        while len(self.waiting) > kept:
            self.waiting.pop()
            self.stopped += 1

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was ever added."""
        return not self.drops and not self.films and not self.waiting

    def clear(self) -> None:
        """Remove every film and file; a file under assessment goes when its assessment ends."""
        self.show(0)
        self.waiting.clear()
        for film in self.films:
            source_cache.discard(film.source)
        self.films.clear()

    def find(self, sha256: str, version: str) -> Film | None:
        """Return a film with the same bytes that was assessed by the same classifier version."""
        return next(
            (film for film in self.films if film.sha256 == sha256 and film.kept.classifier_version == version), None
        )

    def add(self, film: Film, seconds: float | None = None) -> None:
        """Add an assessed film, and show the first one after each drop. `seconds` is how long the assessment took."""
        self.done += 1
        if seconds is not None:
            self._durations.append(seconds)
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
                self.removed += 1
                if oldest.number == self.shown:
                    self.show(self.films[0].number)
        if self._shows_next:
            self.show((same or film).number)
            self._shows_next = False
        elif same is None and film.number != self.shown:
            film.source.decoded = None

    def duplicate(self, known: Film, name: str, data: bytes) -> Film:
        """Return a film for bytes that are known under `name`; restores them where they were released."""
        if known.data is None:
            source_cache.restore(known.source, data)
        return known if known.name == name else replace(known, name=name, notes=Notes(), number=0)

    def replace_film(self, old: Film, new: Film) -> None:
        """Put a film that was assessed again in the place of the old one, with the reader's verdict and remarks."""
        new.notes.reading = old.reading
        self.films[self.films.index(old)] = replace(new, number=old.number, name=old.name)
        if old.number == self.shown:
            self.show(old.number)

    def show(self, number: int) -> None:
        """Show the film of this number in place of the one before; 0 shows none."""
        for film in self.films:
            if film.number == self.shown and film.number != number:
                source_cache.unpin(film.source)
        self.shown = number
        if self.on_screen is not None:
            source_cache.pin(self.on_screen.source)

    @property
    def on_screen(self) -> Film | None:
        """The film on the screen."""
        return next((film for film in self.films if film.number == self.shown), None)

    def ordered(self) -> list[Film]:
        """Return the films in the chosen order.

        By probability, films outside the training population and those not assessed come last: neither has a
        probability that can be compared.
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

    def position(self) -> int:
        """Return the position of the film on the screen in the chosen order, from 0."""
        return next((index for index, film in enumerate(self.ordered()) if film.number == self.shown), 0)

    def step(self, by: int) -> None:
        """Show the film `by` positions further in the chosen order, stopping at either end."""
        films = self.ordered()
        if films:
            self.show(films[min(max(0, self.position() + by), len(films) - 1)].number)

    def seconds_left(self) -> float | None:
        """Estimate the time for the queued files from the last assessments, None before the first."""
        return len(self.waiting) * sum(self._durations) / len(self._durations) if self._durations else None


_all_lock = threading.Lock()
# Weakly held, so that a visit that ends takes its queue with it.
_all_queues: weakref.WeakSet[FilmQueue] = weakref.WeakSet()


def waiting_bytes_in_all() -> int:
    """Return the bytes of memory that the queued files of all visits hold."""
    with _all_lock:
        queues = list(_all_queues)
    return sum(queue.waiting_bytes for queue in queues)


def _refused(name: str, error: RadiographError) -> Waiting:
    def read() -> bytes:
        raise error

    return Waiting(name, read)

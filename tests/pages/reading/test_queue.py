from __future__ import annotations

import threading
import time

import pytest

from core.errors import RadiographError
from imaging.film import FilmHeader
from model.assessment import Assessment, InputIssue, Reading
from pages.reading import source_cache
from pages.reading.films import Film, annotate, full_size, make_film
from pages.reading.queue import ARRIVAL, MOST_FILMS, PROBABILITY, FilmQueue, Waiting, waiting_bytes_in_all
from pages.reading.table import OUTSIDE, film_row, header_summary, queued_row, short_finding, summary
from tests.imaging.test_archives import FILM, zipped
from tests.pages.reading.test_films import WHEN, a_film, assessed

LIKE_NONE = InputIssue("OUTSIDE_POPULATION", False, "Unlike.")


def film(name: str, probability: float | None = 0.8, *issues: InputIssue, seed: int = 0) -> Film:
    if probability is None:
        refused = Assessment.refused((InputIssue("UNREADABLE", True, "Damaged."),), "v-1", WHEN)
        return make_film(name, name.encode(), refused)
    data = a_film(seed, (60, 70))
    return make_film(name, data, assessed(data, probability, *issues))


def filled(*films: Film) -> FilmQueue:
    queue = FilmQueue()
    queue.drop([(one.name, b"") for one in films])
    for one in films:
        queue.waiting.popleft()
        queue.add(one)
    return queue


def test_an_archive_stands_for_its_films_and_is_unpacked_one_by_one() -> None:
    queue = FilmQueue()
    queue.drop(
        [
            ("a.png", FILM),
            ("ward.zip", zipped(("x/1.png", FILM), ("notes.txt", b""), ("x/2.png", b"no"))),
            ("b.png", b"bytes"),
        ]
    )
    assert [one.name for one in queue.waiting] == ["a.png", "x/1.png", "x/2.png", "b.png"]
    assert [one.read() for one in queue.waiting] == [FILM, FILM, b"no", b"bytes"]
    assert queue.skipped == 1 and queue.total == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\3\4 and no more", "damaged"),
        (zipped(("notes.txt", b"x")), "no image"),
        (zipped(*[(f"{k}.png", b"\0" * 15_000_000) for k in range(3)]), "far more"),
    ],
)
def test_a_bad_archive_is_one_line_with_the_reason(data: bytes, words: str) -> None:
    queue = FilmQueue()
    queue.drop([("ward.zip", data), ("a.png", FILM)])
    bad, good = queue.waiting
    with pytest.raises(RadiographError) as caught:
        bad.read()
    assert bad.name == "ward.zip" and words in caught.value.advice and good.read() == FILM


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = FilmQueue()
    queue.drop([(f"{index}", b"x") for index in range(MOST_FILMS + 7)])
    assert len(queue.waiting) == MOST_FILMS and queue.not_queued == 7
    queue.stop()
    for index in range(MOST_FILMS + 5):
        queue.add(film(f"{index}", None))
    assert len(queue.films) == MOST_FILMS and queue.removed == 5
    assert queue.films[0].name == "5" and queue.position() == 0
    queue.step(1000)
    assert queue.position() == MOST_FILMS - 1
    queue.step(-1000)
    assert queue.position() == 0
    monkeypatch.setattr("pages.reading.queue.MOST_WAITING_BYTES", 25)
    queue.drop([("a", bytes(10)), ("b", bytes(20)), ("c", bytes(10))])
    assert [one.name for one in queue.waiting] == ["a", "c"] and queue.not_queued == 1


def test_a_file_that_was_read_makes_room_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(("x/1.png", FILM), ("x/2.png", FILM))
    monkeypatch.setattr("pages.reading.queue.MOST_WAITING_BYTES", len(archive) + 10)
    queue = FilmQueue()
    queue.drop([("a", bytes(10)), ("ward.zip", archive)])
    assert len(queue.waiting) == 3 and queue.waiting_bytes == len(archive) + 10
    with queue.next_one():
        pass
    queue.drop([("b", bytes(10))])
    assert queue.not_queued == 0 and [one.name for one in queue.waiting] == ["x/1.png", "x/2.png", "b"]
    with queue.next_one():
        pass
    queue.drop([("c", bytes(10))])
    assert queue.not_queued == 1, "the archive is held until its last member is read"
    with queue.next_one():
        pass
    assert queue.waiting_bytes == 10


def test_the_first_film_of_each_drop_is_shown() -> None:
    queue = filled(film("a", seed=1), film("b", seed=2))
    assert queue.on_screen is not None and queue.on_screen.name == "a"
    queue.drop([("c", b""), ("d", b"")])
    queue.add(film("c", seed=3))
    queue.add(film("d", seed=4))
    assert queue.on_screen.name == "c"
    assert [one.source.is_pinned for one in queue.films] == [False, False, True, False]
    assert [one.source.decoded is None for one in queue.films] == [True, True, False, True]


def test_by_probability_what_cannot_be_compared_comes_last() -> None:
    queue = filled(
        film("low", 0.1, seed=1),
        film("bad", None),
        film("adult", 0.99, LIKE_NONE, seed=2),
        film("high", 0.9, seed=3),
        film("mid", 0.5, seed=4),
    )
    assert [one.name for one in queue.ordered()] == ["low", "bad", "adult", "high", "mid"]
    queue.order = PROBABILITY
    assert [one.name for one in queue.ordered()] == ["high", "mid", "low", "adult", "bad"]
    assert [one.number for one in queue.ordered()] == [4, 5, 1, 3, 2], "numbers stay"
    assert queue.on_screen is not None and queue.on_screen.name == "low" and queue.position() == 2
    queue.step(1)
    assert queue.on_screen.name == "adult"
    queue.order = ARRIVAL
    queue.step(1)
    assert queue.on_screen.name == "high"


def test_stopping_lets_go_of_what_waits() -> None:
    queue = FilmQueue()
    queue.drop([("a", b""), ("b", b""), ("c", b"")])
    queue.waiting.popleft()
    queue.add(film("a"))
    queue.stop()
    assert queue.stopped == 2 and not queue.waiting and len(queue.films) == 1
    queue.drop([("d", b"")])
    assert queue.stopped == 0 and queue.total == 1 and queue.done == 0


def test_a_film_in_hand_waits_until_it_is_read_even_when_the_rest_is_stopped() -> None:
    queue = FilmQueue()
    queue.drop([("a", b""), ("b", b""), ("c", b"")])
    with queue.next_one() as file:
        assert file is not None and file.name == "a"
        # The press that stops the reading runs beside the run that has the film in hand.
        queue.stop()
        assert queue.stopped == 2 and [one.name for one in queue.waiting] == ["a"]
        queue.add(film("a"))
    assert not queue.waiting and len(queue.films) + queue.stopped == 3
    with queue.next_one() as file:
        assert file is None


def test_two_runs_read_one_film_at_a_time() -> None:
    queue, seen = FilmQueue(), []
    queue.drop([(f"{number}", b"") for number in range(20)])

    def read() -> None:
        while queue.waiting:
            with queue.next_one() as file:
                if file is not None:
                    time.sleep(0.001)
                    seen.append(file.name)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [f"{number}" for number in range(20)]


def test_a_film_that_fails_leaves_the_queue() -> None:
    queue = FilmQueue()
    queue.drop([("a", b""), ("b", b"")])
    with pytest.raises(MemoryError), queue.next_one():
        raise MemoryError
    assert [one.name for one in queue.waiting] == ["b"]


def test_the_same_file_under_the_same_name_is_one_line_and_under_another_two() -> None:
    queue = filled(film("a"))
    known = queue.find(queue.films[0].sha256, "v-1")
    assert known is not None and queue.find(known.sha256, "v-2") is None
    annotate(known, reading=Reading("agree"))
    queue.add(queue.duplicate(known, "a", b""))
    assert len(queue.films) == 1
    queue.add(queue.duplicate(known, "copy", b""))
    assert [(one.name, one.number) for one in queue.films] == [("a", 1), ("copy", 2)]
    assert queue.films[1].reading == Reading(), "a verdict belongs to its line"


def test_dropping_a_film_again_brings_its_file_back() -> None:
    queue = filled(film("a"))
    source_cache.store(b"x", budget=1)
    source_cache.unpin(queue.films[0].source, budget=0)
    assert queue.films[0].is_released
    queue.add(queue.duplicate(queue.films[0], "a", a_film(0, (60, 70))))
    assert not queue.films[0].is_released and full_size(queue.films[0]) is not None


def test_a_film_that_is_read_again_keeps_its_place_number_and_verdict() -> None:
    queue = filled(film("a", 0.2, seed=1), film("b", 0.3, seed=2))
    old = queue.films[0]
    annotate(old, reading=Reading("disagree", "upside down"))
    queue.replace_film(old, film("", 0.9, seed=1))
    new = queue.films[0]
    assert (new.name, new.number, new.reading) == ("a", 1, Reading("disagree", "upside down"))
    assert new.kept.prediction is not None and new.kept.prediction.probability == 0.9
    assert queue.on_screen is new and new.source.is_pinned and len(queue.films) == 2


def test_time_left_follows_the_pace_of_the_last_films() -> None:
    queue = FilmQueue()
    queue.drop([(f"{k}", b"") for k in range(30)])
    assert queue.seconds_left() is None
    for k in range(12):
        queue.waiting.popleft()
        queue.add(film(f"{k}", seed=k), 9.0 if k < 2 else 2.0)
    assert queue.seconds_left() == pytest.approx(36)


def test_lines_and_their_sum() -> None:
    films = [
        film("a", 0.9),
        film("b", 0.1, InputIssue("LOW_CONTRAST", False, "Flat.")),
        film("c", 0.9, LIKE_NONE),
        film("d", None),
        film("e", 0.001),
    ]
    lines = [film_row(one, one.kept) for one in films]
    assert [one["finding"] for one in lines] == [
        "Pneumonia likely",
        "Pneumonia unlikely",
        OUTSIDE,
        "Not assessed",
        "Pneumonia unlikely",
    ]
    assert [one["probability"] for one in lines] == ["0.90", "0.10", "–", "–", "< 0.01"]
    assert [one["side"] for one in lines] == ["above", "below", "none", "none", "below"]
    assert [one["warnings"] for one in lines] == ["", "Flat.", "Unlike.", "Damaged.", ""]
    assert set(lines[0]) == set(lines[3]) == set(queued_row("x", "Queued"))
    assert summary([one.kept for one in films]) == (
        "5 images: 1 pneumonia likely, 2 pneumonia unlikely, 1 outside the training population, 1 not assessed."
    )
    assert summary([]) == "No image assessed yet." and short_finding(films[3].kept) == "Not assessed"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, ""),
        (FilmHeader(), ""),
        (FilmHeader(age_years=4.2, sex="F", view_position="AP", body_part="CHEST"), "4 years, female, AP, Chest"),
        (FilmHeader(age_years=0.5, sex="O"), "6 months, other sex"),
        (FilmHeader(age_years=1 / 12), "1 month"),
    ],
)
def test_a_headers_facts_name_nobody(header: FilmHeader | None, words: str) -> None:
    assert header_summary(header) == words


def test_a_waiting_file_is_read_when_its_turn_comes() -> None:
    asked: list[int] = []
    waiting = Waiting("x", lambda: asked.append(1) or b"")  # type: ignore[func-returns-value]
    assert not asked and waiting.read() == b"" and asked == [1]


def test_the_queues_of_all_visits_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    before = waiting_bytes_in_all()
    monkeypatch.setattr("pages.reading.queue.MOST_WAITING_BYTES_IN_ALL", before + 100)
    mine, other = FilmQueue(), FilmQueue()
    mine.drop([("a", b"x" * 60)])
    other.drop([("b", b"y" * 60), ("c", b"z" * 40)])
    assert [one.name for one in other.waiting] == ["c"] and other.not_queued == 1
    mine.clear()
    other.drop([("b", b"y" * 60)])
    assert len(other.waiting) == 2

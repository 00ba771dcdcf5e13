from __future__ import annotations

import gc
import hashlib
import math
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest

from imaging.film import FilmHeader, Radiograph, Rendering
from imaging.orientation import invert_grayscale, rotate
from imaging.radiograph import decode_radiograph
from model.assessment import Assessment, Heatmap, InputIssue, Prediction, Reading, Stability
from model.explanation import evidence_map
from pages.reading import source_cache
from pages.reading.films import (
    DISPLAY_PX,
    EVIDENCE_PX,
    annotate,
    assessment_at_full_size,
    full_size,
    make_film,
    reassess,
)
from tests.dicoms import phantom_dicom
from tests.phantoms import as_png, chest

WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def assessed(data: bytes, probability: float = 0.8, *issues: InputIssue, **changes: object) -> Assessment:
    """An assessment of an image, with an evidence map, without a network."""
    radiograph = decode_radiograph(data)
    cells = np.array([[1, -1, 0], [0, 0.5, 0.2]], np.float32)
    heatmap = Heatmap(evidence_map(cells, (radiograph.height, radiograph.width)), "mixed10", False, cells)
    prediction = Prediction(math.log(probability / (1 - probability)), probability, 0.4, False)
    return Assessment(radiograph, issues, prediction, heatmap, "v-1", WHEN, 0.1, **changes)  # type: ignore[arg-type]


@cache
def a_film(seed: int = 0, size: tuple[int, int] = (240, 288)) -> bytes:
    return as_png(chest(seed, size))


@pytest.fixture(autouse=True)
def nothing_held() -> None:
    gc.collect()
    source_cache._sources.clear()


def test_a_kept_film_is_small_and_its_report_whole() -> None:
    data = as_png(chest(3, (1500, 2000)).astype(np.uint16) * 16)
    answer = assessed(data)
    film = make_film("large.png", data, answer)
    assert film.pixels is not None and film.evidence is not None and answer.heatmap and answer.radiograph
    assert film.pixels.shape == (750, DISPLAY_PX) and film.pixels.dtype == np.uint8
    assert max(film.evidence.shape) == EVIDENCE_PX
    assert film.evidence.min() == 0 and film.evidence.max() >= 250
    whole = film.assessment()
    assert whole.radiograph is not None and whole.heatmap is not None
    assert whole.radiograph.pixels.shape == (1500, 2000) and whole.radiograph.bits == answer.radiograph.bits
    assert np.array_equal(whole.heatmap.values, answer.heatmap.values), "the map is drawn anew, exactly"
    assert whole.prediction == answer.prediction and whole.radiograph.sha256 == film.sha256


def test_a_map_without_its_cells_is_kept_as_it_is() -> None:
    data = a_film(4, (600, 500))
    answer = assessed(data)
    assert answer.heatmap is not None
    film = make_film("x.png", data, replace(answer, heatmap=replace(answer.heatmap, cells=None)))
    whole = film.assessment().heatmap
    assert film.cells is None and whole is not None and whole.values.shape == (600, 500)
    assert float(np.abs(whole.values - answer.heatmap.values).max()) < 0.03


def test_small_films_are_kept_as_they_are() -> None:
    assert np.array_equal(make_film("small.png", a_film(), assessed(a_film())).pixels, chest(0, (240, 288)))


def test_figures_have_the_films_sizes_and_take_no_memory() -> None:
    data = a_film(1, (1200, 1000))
    figures = make_film("x.png", data, assessed(data)).assessment_without_pixels()
    assert figures.radiograph is not None and figures.heatmap is not None
    assert (figures.radiograph.height, figures.radiograph.width) == figures.heatmap.values.shape == (1200, 1000)
    assert figures.radiograph.pixels.strides == figures.heatmap.values.strides == (0, 0)
    assert not figures.heatmap.is_empty


def test_what_a_header_says_stays_and_its_full_size_values_go() -> None:
    answer = assessed(a_film())
    assert answer.radiograph is not None
    pixels = answer.radiograph.pixels
    deep = Radiograph(
        pixels,
        "0" * 64,
        "DICOM",
        header=FilmHeader("CR", "PA", age_years=4),
        deep=pixels.astype(np.uint16),
        renderings=(Rendering("x", np.zeros(256, np.uint16)),),
    )
    film = make_film("x.dcm", b"x", Assessment(deep, (), answer.prediction, None, "v-1", WHEN, 0.1))
    assert film.header == FilmHeader("CR", "PA", age_years=4)
    assert film.kept.radiograph is not None and film.kept.radiograph.deep is None
    assert not film.kept.radiograph.renderings


def test_the_full_film_is_the_one_that_was_assessed() -> None:
    picture = chest(2, (300, 400))
    data = as_png(picture)
    film = make_film("x.png", data, assessed(data, corrections=("inverted", "turned by 90°")), turn=90)
    film.source.decoded = None  # as after another film was on the screen
    radiograph = full_size(film)
    assert radiograph is not None and np.array_equal(radiograph.pixels, 255 - np.rot90(picture, -1))
    assert full_size(film) is radiograph, "decoded once while it is on the screen"


def test_a_film_that_was_just_read_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    film = make_film("x.png", a_film(), assessed(a_film()))
    monkeypatch.setattr("pages.reading.films.decode_radiograph", None)
    radiograph = full_size(film)
    assert radiograph is not None and radiograph.pixels.shape == (240, 288)


def test_a_file_that_could_not_be_read_has_no_picture() -> None:
    refused = Assessment.refused((InputIssue("UNREADABLE", True, "Damaged."),), "v-1", WHEN)
    film = make_film("x.png", b"no picture", refused)
    assert full_size(film) is None and film.pixels is None and film.size is None and not film.is_released
    assert film.sha256 == hashlib.sha256(b"no picture").hexdigest()
    assert film.assessment_without_pixels().radiograph is None and film.assessment().is_refused


def test_the_oldest_files_are_let_go_first_and_the_one_on_the_screen_never() -> None:
    held = [source_cache.store(bytes(100), budget=350) for _ in range(3)]
    source_cache.pin(held[0])
    held.append(source_cache.store(bytes(100), budget=350))
    assert [one.data is None for one in held] == [False, True, False, False]
    assert source_cache.stored_bytes() == 300
    source_cache.unpin(held[0], budget=350)
    held.append(source_cache.store(bytes(150), budget=350))
    assert [one.data is None for one in held] == [False, True, True, False, False]


def test_a_visit_that_ends_takes_its_files_with_it() -> None:
    film = make_film("x.png", a_film(), assessed(a_film()))
    assert source_cache.stored_bytes() == len(a_film())
    del film
    gc.collect()
    assert source_cache.stored_bytes() == 0


def test_a_film_that_was_let_go_says_so_and_comes_back() -> None:
    film = make_film("x.png", a_film(), assessed(a_film()))
    source_cache.store(b"x", budget=10)
    assert film.is_released and film.data is None and full_size(film) is None and film.pixels is not None
    source_cache.restore(film.source, a_film())
    assert not film.is_released and full_size(film) is not None


def test_what_leaves_the_screen_is_no_longer_decoded() -> None:
    film = make_film("x.png", a_film(), assessed(a_film()))
    source_cache.pin(film.source)
    assert full_size(film) is not None
    source_cache.unpin(film.source)
    assert film.source.decoded is None and film.data is not None


def test_notes_come_into_the_assessment_and_none_overwrites() -> None:
    film = make_film("x.png", a_film(), assessed(a_film()))
    annotate(film, reading=Reading("agree", "as I said"))
    annotate(film, stability=Stability(0.7, 0.9, ()))
    assert film.reading == Reading("agree", "as I said") and film.regions is None
    assert film.assessment().stability == film.assessment_without_pixels().stability == Stability(0.7, 0.9, ())


def test_only_right_angles_can_be_asked_for() -> None:
    film = make_film("x.png", a_film(), assessed(a_film()))
    reassess(film, 270)
    assert film.notes.requested_turn == 270
    with pytest.raises(ValueError, match="Received: 45"):
        reassess(film, 45)


def test_what_is_taken_away_of_a_film_has_its_own_resolution_and_renderings() -> None:
    data = phantom_dicom(2, size=(1300, 1200), WindowCenter=[2048, 900], WindowWidth=[4096, 600])
    film = make_film("x.dcm", data, assessed(data))
    shown, small = assessment_at_full_size(film).radiograph, film.assessment().radiograph
    assert shown is not None and small is not None
    assert len(shown.renderings) > 1 and small.renderings == ()
    np.testing.assert_array_equal(shown.pixels, decode_radiograph(data).pixels)
    assert (
        assessment_at_full_size(film).prediction == film.kept.prediction
        and assessment_at_full_size(film).heatmap is not None
    )
    source_cache.unpin(film.source)
    assert assessment_at_full_size(film).radiograph is not None and film.source.decoded is None, (
        "nothing is held off the screen"
    )
    film.source.data = None
    left = assessment_at_full_size(film).radiograph
    assert left is not None and left.renderings == () and left.pixels.shape == (1300, 1200)


def test_what_is_taken_away_of_a_film_is_set_right_as_it_was_assessed() -> None:
    data = phantom_dicom(2, size=(400, 300))
    right = invert_grayscale(rotate(decode_radiograph(data), 90))
    answer = replace(assessed(data), corrections=("turned by 90°", "inverted"))
    film = make_film("x.dcm", data, replace(answer, radiograph=right), 90)
    source_cache.unpin(film.source)
    shown = assessment_at_full_size(film).radiograph
    assert shown is not None
    np.testing.assert_array_equal(shown.pixels, right.pixels)

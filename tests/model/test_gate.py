"""What header and grey values say against reading a film, each at and beside its limit."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from core.formatting import format_age
from imaging.film import FilmHeader, Radiograph
from imaging.radiograph import decode_radiograph
from model.assessment import Population
from model.gate import (
    GUANGZHOU,
    TrainingAges,
    check,
    check_population,
    inverted_issue,
    merge_issues,
    rotated_issue,
    training_ages,
)
from model.gate_measures import measure_greys, subsample
from model.population import Judgement, Limits
from tests.dicoms import phantom_dicom
from tests.fake_classifier import fake_card
from tests.phantoms import chest


def film(pixels: npt.NDArray[np.generic], **changes: object) -> Radiograph:
    return Radiograph(pixels, "0" * 64, "PNG", **changes)  # type: ignore[arg-type]


def codes(radiograph: Radiograph) -> list[tuple[str, bool]]:
    return [(issue.code, issue.blocking) for issue in check(radiograph)]


def shown(grey: npt.NDArray[np.uint8], factor: float = 1.0, offset: float = 0.0) -> npt.NDArray[np.uint8]:
    return np.clip(np.round(grey.astype(float) * factor + offset), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_film_has_nothing_against_it(seed: int) -> None:
    assert codes(film(chest(seed, (500, 420)))) == []
    assert codes(film(chest(seed, (300, 900)).astype(np.uint16) * 16, bits=12)) == []


@pytest.mark.parametrize(("side", "expected"), [(199, [("TOO_SMALL", True)]), (200, [])])
def test_the_short_side_decides_what_is_too_small(side: int, expected: list[tuple[str, bool]]) -> None:
    assert codes(film(chest(1, (600, side)))) == expected
    assert codes(film(chest(1, (side, 600)))) == expected


def test_a_picture_of_one_grey_is_refused_whatever_is_written_on_it() -> None:
    blank = np.full((300, 300), 90, np.uint8)
    blank[10:18, 10:40] = 255
    assert codes(film(blank)) == [("NEARLY_UNIFORM", True)]
    assert codes(film(np.zeros((300, 300), np.uint16), bits=16)) == [("NEARLY_UNIFORM", True)]


def test_more_than_a_third_clipped_is_refused_either_way() -> None:
    grey = chest(2, (400, 400))
    for offset, where in ((150, "white"), (-175, "black")):
        clipped = shown(grey, offset=offset)
        share = max(np.mean(clipped == 0), np.mean(clipped == 255))
        assert share > 0.4
        (issue,) = check(film(clipped))
        assert (issue.code, issue.blocking) == ("CLIPPED", True) and where in issue.message


def test_just_less_than_a_third_is_read() -> None:
    picture = np.tile(np.linspace(20, 235, 300), (300, 1))
    for columns, refused in ((96, False), (104, True)):
        clipped = picture.copy()
        clipped[:, 100 : 100 + columns] = 255
        assert ("CLIPPED" in [code for code, _ in codes(film(clipped.astype(np.uint8)))]) is refused


@pytest.mark.parametrize("tilt", [0, 12])
def test_black_beside_the_collimated_field_does_not_count(tilt: int) -> None:
    import cv2

    canvas = np.zeros((600, 600), np.uint8)
    canvas[100:500, 130:470] = np.maximum(chest(3, (400, 340)), 3)
    turn = cv2.getRotationMatrix2D((300, 300), tilt, 1.0)
    picture = cv2.warpAffine(canvas, turn, (600, 600)).astype(np.uint8)
    picture[20:40, 20:50] = 255  # a marker in the dark is no field
    greys = measure_greys(subsample(film(picture)))
    assert greys.field == pytest.approx(400 * 340 / 600**2, rel=0.06) and greys.clipped < 0.1
    assert codes(film(picture)) == []


def test_a_picture_that_is_nearly_all_black_is_refused() -> None:
    picture = np.zeros((600, 600), np.uint8)
    picture[200:400, 200:400] = chest(3, (200, 200))
    assert codes(film(picture)) == [("CLIPPED", True)]


def test_little_contrast_is_said_and_half_the_usual_is_little() -> None:
    grey = chest(4, (400, 400))
    assert codes(film(shown(grey, 0.3, 90))) == [("LOW_CONTRAST", False)]
    assert codes(film(grey)) == []


def test_measures_are_those_of_the_whole_film_and_not_of_its_size() -> None:
    small, large = chest(5, (400, 400)), np.kron(chest(5, (400, 400)), np.ones((8, 8), np.uint8))
    sample = subsample(film(large))
    assert sample.shape[0] < 600
    one, other = measure_greys(subsample(film(small))), measure_greys(sample)
    assert one.spread == pytest.approx(other.spread, abs=2) and one.black == pytest.approx(other.black, abs=0.01)
    strip = subsample(film(np.tile(chest(5, (256, 256)), (1, 40))))
    assert strip.size < 4 * 384 * 384 + 384 * 400


@pytest.mark.parametrize(
    ("share", "tinted", "expected"),
    [
        (0.0, False, []),
        (0.0019, False, []),
        (0.004, False, [("ANNOTATED", False)]),
        (0.3, False, [("ANNOTATED", False)]),
        (0.4, False, [("NOT_A_CHEST_RADIOGRAPH", True)]),
        (0.9, True, []),
    ],
)
def test_colour_is_a_mark_on_a_film_or_says_that_it_is_none(
    share: float, tinted: bool, expected: list[tuple[str, bool]]
) -> None:
    assert codes(film(chest(6, (300, 300)), colour_share=share, is_tinted=tinted)) == expected


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (None, None),
        (0.5, "6 months"),
        (0.99, "11 months"),
        (1.0, None),
        (5.9, None),
        (6.0, "6 years"),
        (17.9, "17 years"),
    ],
)
def test_age_by_header(age: float | None, said: str | None) -> None:
    issues = check(film(chest(7, (300, 300)), header=FilmHeader(age_years=age)))
    assert [issue.code for issue in issues] == (["AGE_OUTSIDE"] if said else [])
    assert said is None or said in issues[0].message


@pytest.mark.parametrize(
    ("age", "words", "is_outside"),
    [
        ("051W", "11 months", True),
        ("052W", "12 months", False),
        ("012M", "12 months", False),
        ("365D", "12 months", False),
        ("013W", "3 months", True),
        ("005Y", "5 years", False),
        ("071M", "5 years", False),
        ("072M", "6 years", True),
        ("2190D", "5 years", False),
    ],
)
def test_an_age_and_what_is_said_of_it_agree_in_every_unit(age: str, words: str, is_outside: bool) -> None:
    data = phantom_dicom(size=(40, 48), PatientAge=age, PatientBirthDate=None)
    read = decode_radiograph(data).header
    assert read is not None and read.age_years is not None and format_age(read.age_years) == words
    issues = check(film(chest(7, (300, 300)), header=read))
    assert [issue.code for issue in issues] == (["AGE_OUTSIDE"] if is_outside else [])
    assert not is_outside or f"is {words} old" in issues[0].message


@pytest.mark.parametrize("age", [18.0, 41.0, 103.0])
def test_an_adult_by_the_header_is_outside_whatever_the_film_looks_like(age: float) -> None:
    header = FilmHeader(age_years=age)
    outside, old = check(film(chest(7, (300, 300)), header=header))
    assert (outside.code, outside.blocking, old.code) == ("OUTSIDE_POPULATION", False, "AGE_OUTSIDE")
    assert "an adult according to the age in the header" in outside.message and f"{age:.0f} years" in old.message
    small = check(film(chest(7, (150, 150)), header=header))
    assert [issue.code for issue in small] == ["TOO_SMALL", "OUTSIDE_POPULATION", "AGE_OUTSIDE"]


def test_of_an_adult_s_film_the_header_is_the_one_reason_given() -> None:
    adult = check(film(chest(7, (300, 300)), header=FilmHeader(age_years=60.0)))
    looks = check_population(judged(distance=1.0, cropped=0.9))
    found = merge_issues(adult, looks)
    assert [issue.code for issue in found] == ["OUTSIDE_POPULATION", "CROPPED", "AGE_OUTSIDE"]
    assert found[0] == adult[0]
    child = check(film(chest(7, (300, 300)), header=FilmHeader(age_years=12.0)))
    assert [issue.code for issue in merge_issues(child, looks)] == ["OUTSIDE_POPULATION", "CROPPED", "AGE_OUTSIDE"]
    assert merge_issues(child, looks)[0] == looks[0]
    other = check_population(judged(distance=1.5, ood=2.0))
    assert [issue.code for issue in merge_issues(adult, other)] == [
        "NOT_A_CHEST_RADIOGRAPH",
        "OUTSIDE_POPULATION",
        "AGE_OUTSIDE",
    ]


def judged(distance: float = 0.5, ood: float = -5.0, cropped: float = 0.0) -> Judgement:
    return Judgement(Population(distance, 1.0), Limits(1.0, 2.0, 0.5, 0.5, 0.7), np.eye(8)[0], ood, cropped)


def test_the_population_warns_and_what_is_no_chest_film_is_refused() -> None:
    assert check_population(judged()) == ()
    assert [issue.code for issue in check_population(judged(distance=1.0))] == ["OUTSIDE_POPULATION"]
    assert [issue.code for issue in check_population(judged(cropped=0.7))] == ["CROPPED"]
    (issue,) = check_population(judged(distance=1.5, ood=2.0, cropped=1.0))
    assert (issue.code, issue.blocking) == ("NOT_A_CHEST_RADIOGRAPH", True)
    assert check_population(judged(distance=0.9, ood=9.0)) == (), "it is inside the training population"


def test_what_cannot_be_known_is_not_said() -> None:
    endless = Limits(*(math.inf for _ in Limits.__slots__))
    found = Judgement(Population(9.0, math.inf), endless, np.eye(8)[5], 9.0, 1.0)
    assert not (found.is_inverted or found.is_turned or found.is_not_chest or found.is_cropped)
    assert check_population(found) == ()


def test_messages_say_what_was_seen_and_what_to_do() -> None:
    wrong = inverted_issue(film(chest(1, (300, 300)), header=FilmHeader(photometric="MONOCHROME1")))
    assert "MONOCHROME1" in wrong.message and "probably wrong" in wrong.message and not wrong.blocking
    assert "header" not in inverted_issue(film(chest(1, (300, 300)))).message
    assert "Rotate 90° clockwise" in rotated_issue(90).message
    assert "upside down" in rotated_issue(180).message and not rotated_issue(180).blocking


@pytest.mark.parametrize(
    ("described", "age", "codes"),
    [
        (None, 40.0, ["OUTSIDE_POPULATION", "AGE_OUTSIDE"]),
        ({"intended_ages": [1.0, 5.0], "intended_population": "children aged 1–5 years"}, 5.9, []),
        ({"intended_ages": [20.0, 80.0], "intended_population": "adults aged 20–80 years"}, 40.0, []),
        ({"intended_ages": [20.0, 80.0], "intended_population": "adults aged 20–80 years"}, 4.0, ["AGE_OUTSIDE"]),
        (
            {"intended_ages": [0.2, 15.0], "intended_population": "children"},
            30.0,
            ["OUTSIDE_POPULATION", "AGE_OUTSIDE"],
        ),
        ({"intended_ages": None}, 40.0, []),
    ],
)
def test_ages_are_those_of_the_versions_own_data(described: object, age: float, codes: list[str]) -> None:
    ages = training_ages(fake_card(data={} if described is None else {"description": described}))
    found = check(film(chest(7, (300, 300)), header=FilmHeader(age_years=age)), ages)
    assert [issue.code for issue in found] == codes
    assert "20–80" not in " ".join(issue.message for issue in found) or age == 4.0


def test_the_population_is_named_as_the_card_describes_it() -> None:
    outside = judged(distance=1.0)
    assert "children aged 1–5 years at one hospital" in check_population(outside)[0].message
    adults = TrainingAges(20, 80, "adults aged 20–80 years")
    assert "training population, adults aged 20–80 years." in check_population(outside, adults)[0].message
    assert "1–5" not in check_population(outside, None)[0].message
    recognised = {"intended_ages": [1.0, 5.0], "intended_population": "children aged 1–5 years"}
    assert training_ages(fake_card(data={"description": recognised})) == GUANGZHOU

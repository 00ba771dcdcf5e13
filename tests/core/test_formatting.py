"""How figures are written, the same on every page, in every report and command."""

from __future__ import annotations

import doctest
import math

import pytest

from core import formatting
from core.formatting import (
    format_age,
    format_count,
    format_difference,
    format_duration,
    format_estimate,
    format_interval,
    format_p_value,
    format_percentage,
    format_probability,
    format_probability_range,
    format_rate,
    format_short_duration,
    format_signed,
    format_signed_interval,
    format_size,
    format_wait,
    with_time_left,
)
from model.card import Measure

NAN = math.nan


def test_the_examples_hold() -> None:
    failed, tried = doctest.testmod(formatting)
    assert failed == 0 and tried > 10


@pytest.mark.parametrize(
    ("years", "words"),
    [
        (0.0, "less than 1 month"),
        (0.999 / 12, "less than 1 month"),
        (1 / 12, "1 month"),
        (0.5, "6 months"),
        (0.99, "11 months"),
        (1.0, "12 months"),
        (23 / 12, "23 months"),
        (1.999, "23 months"),
        (2.0, "2 years"),
        (5.9, "5 years"),
        (5.9999, "5 years"),
        (6.0, "6 years"),
        (103.4, "103 years"),
    ],
)
def test_an_age_is_never_rounded_up(years: float, words: str) -> None:
    assert format_age(years) == words


@pytest.mark.parametrize("months", range(1, 24))
def test_whole_months_survive_the_division_by_twelve(months: int) -> None:
    assert format_age(months / 12) == format_count(months, "month")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "< 0.01"),
        (0.0049, "< 0.01"),
        (0.005, "0.01"),
        (0.994, "0.99"),
        (0.995, "> 0.99"),
        (1.0, "> 0.99"),
    ],
)
def test_probabilities_never_look_certain(value: float, words: str) -> None:
    assert format_probability(value) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.311, 0.314, "0.31"),
        (0.996, 1.0, "> 0.99"),
        (0.3, 0.42, "0.30–0.42"),
        (0.001, 0.3, "< 0.01 to 0.30"),
        (0.3, 0.999, "0.30 to > 0.99"),
    ],
)
def test_ranges_of_probabilities(low: float, high: float, words: str) -> None:
    assert format_probability_range(low, high) == words


def test_measures_and_their_intervals() -> None:
    measure = Measure(0.91234, 0.88888, 0.93)
    assert format_estimate(measure) == "0.91 (0.89–0.93)"
    assert format_estimate(measure, 3, "95 % interval") == "0.912 (95 % interval 0.889–0.930)"
    assert format_interval(measure, 4) == "(0.8889–0.9300)"
    assert format_rate(0.91234) == "0.91"


def test_what_is_not_defined_is_a_dash_or_nothing() -> None:
    assert format_rate(NAN) == format_signed(NAN) == "–"
    assert format_estimate(Measure(NAN, 0.1, 0.2)) == format_difference(Measure(NAN, 0.1, 0.2)) == "–"
    assert format_estimate(Measure(0.5, NAN, NAN)) == "0.50" and format_interval(Measure(0.5, NAN, 0.6)) == ""
    assert format_difference(Measure(0.5, NAN, NAN)) == "+0.500"
    assert format_signed_interval(Measure(0.5, NAN, NAN)) == ""


def test_differences_have_a_sign_and_a_minus_of_their_own() -> None:
    assert (format_signed(-0.00004), format_signed(0.0123), format_signed(-0.5)) == ("+0.000", "+0.012", "−0.500")
    assert format_signed(-2.34, 1) == "−2.3"
    assert format_signed_interval(Measure(0, -0.1, 0.2)) == "(−0.100 to +0.200)"
    assert format_difference(Measure(-0.0301, -0.1, 0.2), 4) == "−0.0301 (−0.1000 to +0.2000)"


@pytest.mark.parametrize(
    ("p", "words"), [(0.00099, "p < 0.001"), (0.001, "p = 0.001"), (0.0123, "p = 0.012"), (0.17, "p = 0.17")]
)
def test_p_values(p: float, words: str) -> None:
    assert format_p_value(p) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a few seconds"),
        (5, "a few seconds"),
        (5.1, "about 10 seconds"),
        (31, "about 35 seconds"),
        (55, "about 55 seconds"),
        (55.1, "about 1 minute"),
        (89, "about 1 minute"),
        (150, "about 2 minutes"),
        (250, "about 4 minutes"),
        (1500, "about 25 minutes"),
        (7200, "about 2 hours"),
        (9100, "about 2.5 hours"),
        (80_000, "about 22 hours"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_the_time_left_follows_the_progress_where_it_is_known() -> None:
    assert with_time_left("Reading, 25 %", 300) == "Reading, 25 %, about 5 minutes left"
    assert with_time_left("Reading, 25 %", None) == "Reading, 25 %"


def test_durations_in_the_lines_of_commands() -> None:
    assert [format_short_duration(seconds) for seconds in (0, 89, 90, 3600)] == ["0 s", "89 s", "2 min", "60 min"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (29.1, "30 seconds"), (90, "90 seconds"), (91, "2 minutes"), (121, "3 minutes")],
)
def test_a_wait_is_never_shorter_than_it_must_be(seconds: float, words: str) -> None:
    assert format_wait(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_940, "999.9 kB"),
        (999_999, "1 MB"),
        (12_340_000, "12.3 MB"),
        (200e6, "200 MB"),
        (2e9, "2 GB"),
        (3_456_000_000, "3.5 GB"),
    ],
)
def test_sizes(size: float, words: str) -> None:
    assert format_size(size) == words


def test_counts_and_percentages() -> None:
    assert [format_count(n, "radiograph") for n in (0, 1, 5232)] == [
        "0 radiographs",
        "1 radiograph",
        "5,232 radiographs",
    ]
    assert format_count(2, "copy", "copies") == "2 copies"
    assert [format_percentage(share) for share in (0, 0.253, 1)] == ["0 %", "25 %", "100 %"]

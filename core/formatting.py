"""The written form of ages, probabilities, measures with intervals, durations, sizes and counts.

Pages, printed reports, DICOM objects and commands write a figure with the same function, so that one figure never reads
differently in two places.

>>> format_age(5.9), format_probability(0.9991), format_signed(-0.0312)
('5 years', '> 0.99', '−0.031')
"""

from __future__ import annotations

import math
from typing import Protocol

UNDEFINED = "–"


class Estimate(Protocol):
    """A figure with the ends of its interval, each nan where the sample does not define it."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """The lower end of the interval."""

    @property
    def high(self) -> float:
        """The upper end of the interval."""


def format_age(years: float) -> str:
    """Write an age in completed years, in completed months below two years.

    An age is never rounded up, as in PatientAge (PS3.5 section 6.2, AS): a child of 5.9 years is five years old.

    Parameters
    ----------
    years
        The age in years, at least 0.

    Examples
    --------
    >>> format_age(5.9), format_age(1.0), format_age(0.05)
    ('5 years', '12 months', 'less than 1 month')
    """
    # An age in months is a multiple of 1/12, which a float holds only nearly.
    completed_months = int(years * 12 + 1e-6)
    if completed_months >= 24:
        return f"{completed_months // 12} years"
    return format_count(completed_months, "month") if completed_months else "less than 1 month"


def format_probability(probability: float) -> str:
    """Write a calibrated probability with two decimals; what would round to 0.00 or 1.00 reads "< 0.01" or "> 0.99".

    Parameters
    ----------
    probability
        In [0, 1].

    Examples
    --------
    >>> format_probability(0.314), format_probability(1.0)
    ('0.31', '> 0.99')
    """
    if probability >= 0.995:
        return "> 0.99"
    return "< 0.01" if probability < 0.005 else f"{probability:.2f}"


def format_probability_range(low: float, high: float) -> str:
    """Write the range from probability `low` to `high`, a single one where both read the same.

    Examples
    --------
    >>> format_probability_range(0.1, 0.3), format_probability_range(0.001, 0.3), format_probability_range(0.3, 0.3)
    ('0.10–0.30', '< 0.01 to 0.30', '0.30')
    """
    first, last = format_probability(low), format_probability(high)
    if first == last:
        return first
    return f"{first} to {last}" if " " in first + last else f"{first}–{last}"


def format_rate(value: float, decimals: int = 2) -> str:
    """Write a `value` such as a sensitivity or an AUROC with so many `decimals`, a dash where it is nan."""
    return UNDEFINED if math.isnan(value) else f"{value:.{decimals}f}"


def format_interval(estimate: Estimate, decimals: int = 2, name: str = "") -> str:
    """Write an interval in brackets, nothing where it is not defined.

    A lower end below 1 is never rounded up to 1, nor an upper end above 0 down to 0: no sample proves either.

    Parameters
    ----------
    estimate
        The interval; nan where it is not defined.
    decimals
        Number of decimals.
    name
        Name of the interval, such as "95 % interval", written before it.

    Examples
    --------
    >>> from model.card import Measure
    >>> format_interval(Measure(0.9, 0.85, 0.94)), format_interval(Measure(1.0, 0.9996, 1.0), 3)
    ('(0.85–0.94)', '(0.999–1.000)')
    """
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return ""
    last = 10.0**-decimals
    low = min(estimate.low, 1 - last) if 1 - last / 2 <= estimate.low < 1 else estimate.low
    high = max(estimate.high, last) if 0 < estimate.high <= last / 2 else estimate.high
    return f"({f'{name} ' if name else ''}{low:.{decimals}f}–{high:.{decimals}f})"


def format_estimate(estimate: Estimate, decimals: int = 2, name: str = "") -> str:
    """Write a measure and its interval; the parameters are those of `format_interval`.

    Parameters
    ----------
    estimate
        The measure; a dash is written where it is nan.
    decimals
        Number of decimals.
    name
        Name of the interval.
    """
    if math.isnan(estimate.value):
        return UNDEFINED
    return f"{estimate.value:.{decimals}f} {format_interval(estimate, decimals, name)}".rstrip()


def format_signed(value: float, decimals: int = 3) -> str:
    """Write a difference with its sign, U+2212 for minus.

    Parameters
    ----------
    value
        The difference; a dash is written where it is nan.
    decimals
        Number of decimals.

    Examples
    --------
    >>> format_signed(0.0123), format_signed(-0.00004)
    ('+0.012', '+0.000')
    """
    if math.isnan(value):
        return UNDEFINED
    # Rounded first, so that a hair below zero does not read as −0.000.
    return f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")


def format_signed_interval(difference: Estimate, decimals: int = 3) -> str:
    """Write the interval of a `difference` in brackets with so many `decimals`, nothing where it is not defined."""
    if math.isnan(difference.low) or math.isnan(difference.high):
        return ""
    return f"({format_signed(difference.low, decimals)} to {format_signed(difference.high, decimals)})"


def format_difference(difference: Estimate, decimals: int = 3) -> str:
    """Write a difference and its interval.

    Parameters
    ----------
    difference
        The difference; a dash is written where it is nan.
    decimals
        Number of decimals.

    Examples
    --------
    >>> from model.card import Measure
    >>> format_difference(Measure(-0.02, -0.05, 0.01))
    '−0.020 (−0.050 to +0.010)'
    """
    if math.isnan(difference.value):
        return UNDEFINED
    return f"{format_signed(difference.value, decimals)} {format_signed_interval(difference, decimals)}".rstrip()


def format_p_value(p: float) -> str:
    """Write a p-value: three decimals below 0.1, two above, "p < 0.001" below that."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_duration(seconds: float) -> str:
    """Write an approximate duration in words, the coarser the longer, so that a figure on a page does not flicker.

    Parameters
    ----------
    seconds
        At least 0.

    Examples
    --------
    >>> format_duration(31), format_duration(1500), format_duration(9100)
    ('about 35 seconds', 'about 25 minutes', 'about 2.5 hours')
    """
    if seconds <= 5:
        return "a few seconds"
    if seconds <= 55:
        return _about(5 * math.ceil(seconds / 5), "second")
    minutes = seconds / 60
    if minutes < 20:
        return _about(max(1, round(minutes)), "minute")
    if minutes < 90:
        return _about(5 * round(minutes / 5), "minute")
    hours = minutes / 60
    return f"about {round(hours * 2) / 2:g} hours" if hours < 10 else f"about {round(hours)} hours"


def with_time_left(progress: str, seconds_left: float | None) -> str:
    """Add the `seconds_left` of a job to its `progress` in words, nothing while the time is unknown (None).

    Examples
    --------
    >>> with_time_left("Reading film 2 of 7", 31)
    'Reading film 2 of 7, about 35 seconds left'
    """
    return progress if seconds_left is None else f"{progress}, {format_duration(seconds_left)} left"


def format_short_duration(seconds: float) -> str:
    """Write a duration for a line of a command: "40 s", "12 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def format_wait(seconds: float) -> str:
    """Write how long to wait before an attempt, rounded up, so that an attempt after that time is allowed."""
    if seconds <= 90:
        return format_count(max(1, math.ceil(seconds)), "second")
    return format_count(math.ceil(seconds / 60), "minute")


def format_size(size: float) -> str:
    """Write a number of bytes in decimal units, with one decimal unless it is 0.

    Examples
    --------
    >>> format_size(200e6), format_size(2_340_000_000), format_size(900)
    ('200 MB', '2.3 GB', '900 bytes')
    """
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.99995 * one:
            return f"{size / one:.1f}".removesuffix(".0") + f" {unit}"
    return format_count(round(size), "byte")


def format_count(n: int, noun: str, plural: str = "") -> str:
    """Write a number of things, with commas between thousands.

    Parameters
    ----------
    n
        The number.
    noun
        The thing, singular.
    plural
        Its plural, `noun` with an s by default.

    Examples
    --------
    >>> format_count(1, "radiograph"), format_count(5232, "radiograph"), format_count(2, "copy", "copies")
    ('1 radiograph', '5,232 radiographs', '2 copies')
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def format_percentage(share: float) -> str:
    """Write a share in [0, 1] as a whole percentage."""
    return f"{100 * share:.0f} %"


def _about(n: int, noun: str) -> str:
    return f"about {format_count(n, noun)}"

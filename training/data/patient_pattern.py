"""The patient in a file name, by a regular expression that the user gives.

Python's engine takes exponential time on patterns such as "(a+)+b". What can be matched in several ways is therefore
counted in the pattern before it is used, and may not be repeated.

>>> PatientPattern(r"P(\\d+)_\\d+").patient("P0012_1")
'0012'
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from core.errors import DatasetError

LONGEST_PATTERN = 200
# The time is at most a polynomial of degree MOST_CHOICES in the length of the name.
LONGEST_NAME = 100
MOST_CHOICES = 5
_REPEATED = 1000
_ADVICE = r"Write a pattern that matches the whole name without its ending, with the patient in parentheses: P(\d+)_\d+"


@dataclass(frozen=True, slots=True)
class PatientPattern:
    """A regular expression that must match the whole name, with the patient as its first group.

    Raises
    ------
    DatasetError
        If the text is no regular expression, has no group, or could take very long.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if len(self.text) > LONGEST_PATTERN:
            raise _refused(f"at most {LONGEST_PATTERN} characters", f"{len(self.text)}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # for ambiguous sets, such as "[[]"
                compiled = re.compile(self.text)
                choices = _choices(re._parser.parse(self.text))  # type: ignore[attr-defined]
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise _refused("a regular expression", f"{self.text} ({error})") from error
        if not compiled.groups:
            raise _refused("the patient in parentheses", self.text)
        if choices >= _REPEATED:
            raise _refused("no repeat or alternative inside a repeat, such as (a+)+,", self.text)
        if choices > MOST_CHOICES:
            raise _refused(f"at most {MOST_CHOICES} repeats and alternatives", f"{choices}")

    def patient(self, stem: str) -> str | None:
        """Return the patient in a file name without its ending; None where the pattern does not match it."""
        match = re.fullmatch(self.text, stem) if len(stem) <= LONGEST_NAME else None
        return (match[1] or None) if match else None


def _choices(parsed: Any) -> int:
    """Count what a parsed pattern can match in several ways; `_REPEATED` or more where that is repeated itself."""
    total = 0
    for kind, value in parsed:
        if str(kind) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            within = _choices(inner)
            total += int(low != high) + (within if int(high) <= 1 else _REPEATED * bool(within))
        elif str(kind) == "BRANCH":
            total += 1 + sum(_choices(one) for one in value[1])
        elif str(kind) == "SUBPATTERN":
            total += _choices(value[-1])
        elif str(kind) in ("ASSERT", "ASSERT_NOT"):
            total += _choices(value[1])
        elif str(kind) == "ATOMIC_GROUP":
            total += _choices(value)
        elif str(kind) == "GROUPREF_EXISTS":
            total += 1 + sum(_choices(one) for one in value[1:] if one)
    return total


def _refused(expected: str, received: str) -> DatasetError:
    return DatasetError(f"expected {expected} in the patient pattern. Received: {received}", advice=_ADVICE)

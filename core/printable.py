"""Text from elsewhere, such as a file's name, in a terminal and in a spreadsheet.

A terminal obeys control characters (colours, a title, what it says next), bidirectional controls turn text around, and
a spreadsheet reads text that begins like a formula as one. Control characters are written as their JSON escapes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

# C0, DEL and C1 (Cc); direction marks, embeddings, overrides and isolates; line separators; halves of surrogate pairs,
# which stand for bytes of a name that are not UTF-8; the byte order mark.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"  # the characters themselves
)
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
# Excel, LibreOffice and Google Sheets read text that begins like this as a formula (OWASP, "CSV injection").
_FORMULAE = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def printable(text: str) -> str:
    """Return text on one line that no terminal obeys.

    Examples
    --------
    >>> print(printable("film\\x1b[31m\\n.png"))
    film\\u001b[31m\\u000a.png
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable_lines(text: str) -> str:
    """Return text whose lines and tabs stay, and of which a terminal obeys nothing else."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


def spreadsheet_text(text: str) -> str:
    """Return text for a cell of a CSV file: printable, and after an apostrophe where it would be read as a formula.

    Examples
    --------
    >>> spreadsheet_text("=1+1"), spreadsheet_text("film.png")
    ("'=1+1", 'film.png')
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip(" ").startswith((*_FORMULAE, "'")) else shown


def from_spreadsheet_text(cell: str) -> str:
    """Return the text that `spreadsheet_text` has written into a cell."""
    if cell.startswith("'") and cell[1:].lstrip(" ").startswith((*_FORMULAE, "'")):
        cell = cell[1:]
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), cell)


class _Printable:
    """A text stream that passes on lines which a terminal obeys nothing of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable_lines(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printable_stdout() -> Iterator[None]:
    """Write whatever a command prints so that a terminal obeys nothing of it."""
    with redirect_stdout(cast(TextIO, _Printable(sys.stdout))):
        yield

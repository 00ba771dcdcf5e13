"""Bundled typefaces: which of them has a character, and the width of text in them.

Latin, Greek and Cyrillic text is set in Noto Sans. Other scripts have typefaces of their own, tried in the order of
`FALLBACKS`. Arabic, Hebrew, Thai and Devanagari need shaping: letters join, marks are placed, text runs from right to
left. A character without a glyph is printed as `REPLACEMENT`.

>>> [(part.typeface.name, part.text) for part in runs("Wang 王")]
[('NotoSans-Latin', 'Wang '), ('DroidSansFallback-Common', '王')]
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import uharfbuzz
from fontTools.ttLib import TTFont

REPLACEMENT = "\ufffd"
# Zero-width joiner and non-joiner, which change the shape of the letters beside them.
_JOINERS = {"\u200c", "\u200d"}
_FOLDER = Path(__file__).parent / "fonts"


@dataclass(frozen=True, slots=True)
class Typeface:
    """A font file; `is_shaped` where its script needs shaping."""

    name: str
    is_shaped: bool = False

    @property
    def path(self) -> Path:
        """The font file."""
        return _FOLDER / f"{self.name}.ttf"


REGULAR, BOLD = Typeface("NotoSans-Regular"), Typeface("NotoSans-Bold")
# A part of `REGULAR` that loads in a tenth of the time and is enough for most lines.
LATIN = Typeface("NotoSans-Latin")
FALLBACKS = (
    Typeface("NotoSansMath-Regular"),
    Typeface("NotoSansArabic-Regular", is_shaped=True),
    Typeface("NotoSansHebrew-Regular", is_shaped=True),
    Typeface("NotoSansThai-Regular", is_shaped=True),
    Typeface("NotoSansDevanagari-Regular", is_shaped=True),
    Typeface("DroidSansFallback-Common"),
    Typeface("DroidSansFallback-Hangul"),
    Typeface("DroidSansFallback-Rare"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive characters that one typeface sets."""

    typeface: Typeface
    text: str


def runs(text: str, bold: bool = False) -> list[Run]:
    """Split text by typeface.

    Parameters
    ----------
    text
        Printable text; characters without a glyph are left out, see `printable`.
    bold
        Whether the bold typeface is preferred.

    Returns
    -------
    list of Run
        Consecutive characters of one typeface, in the order of the text.
    """
    first = BOLD if bold else LATIN
    codes, ours = set(map(ord, text)), _advances(first).keys()
    if codes <= ours:
        return [Run(first, text)] if text else []
    if not bold and (codes - ours) & _advances(REGULAR).keys():
        first, ours = REGULAR, _advances(REGULAR).keys()
    parts = groupby(text, lambda character: first if ord(character) in ours else _typeface_of(character))
    return [Run(typeface, "".join(characters)) for typeface, characters in parts if typeface is not None]


def em_width(text: str, bold: bool = False) -> float:
    """Return the width of printable `text` in em, in `bold` or regular type."""
    advances = _advances(BOLD if bold else REGULAR)
    try:
        return sum([advances[ord(character)] for character in text])
    except KeyError:
        return sum(_run_width(run) for run in runs(text, bold))


def printable(text: str, *, keep_breaks: bool = False) -> str:
    """Return text in characters that have a glyph, composed (Unicode NFC).

    Control characters and direction marks are removed. A character without a glyph becomes `REPLACEMENT`.

    Parameters
    ----------
    text
        Any text; white space becomes single spaces.
    keep_breaks
        Whether line breaks are kept.
    """
    composed = unicodedata.normalize("NFC", text)
    if _advances(REGULAR).keys() >= set(map(ord, composed)):
        return re.sub(" +", " ", composed).strip(" ")
    lines = composed.splitlines() if keep_breaks else [composed]
    return "\n".join("".join(_printed(line)) for line in lines).strip()


def count_missing(text: str) -> int:
    """Count the characters of a text that `printable` replaces."""
    return printable(text).count(REPLACEMENT) - text.count(REPLACEMENT)


def _printed(line: str) -> list[str]:
    printed: list[str] = []
    for character in line:
        before = printed[-1] if printed else " "
        if character in _JOINERS:
            typeface = _typeface_of(before)
            if typeface is not None and typeface.is_shaped:
                printed.append(character)
        elif character.isspace():
            kept = "\u00a0" if character in "\u00a0\u202f\u2009" else " "
            if before != " " or kept != " ":
                printed.append(kept)
        elif unicodedata.category(character) not in {"Cc", "Cf"}:
            printed.append(character if _typeface_of(character) else REPLACEMENT)
    return printed


@cache
def _advances(typeface: Typeface) -> Mapping[int, float]:
    """Return code point → advance in sizes of type."""
    with TTFont(typeface.path, lazy=True) as font:
        widths, scale = font["hmtx"].metrics, 1 / font["head"].unitsPerEm
        return MappingProxyType({code: widths[name][0] * scale for code, name in font.getBestCmap().items()})


@lru_cache(8192)
def _typeface_of(character: str) -> Typeface | None:
    code = ord(character)
    return next((one for one in (REGULAR, *FALLBACKS) if code in _advances(one)), None)


def _run_width(run: Run) -> float:
    if run.typeface.is_shaped:
        return _shaped_width(run)
    advances = _advances(run.typeface)
    return sum(advances[ord(character)] for character in run.text)


def _shaped_width(run: Run) -> float:
    buffer = uharfbuzz.Buffer()
    buffer.add_str(run.text)
    buffer.guess_segment_properties()
    font = _shaper(run.typeface)
    uharfbuzz.shape(font, buffer)
    return float(sum(position.x_advance for position in buffer.glyph_positions) / font.face.upem)


@cache
def _shaper(typeface: Typeface) -> uharfbuzz.Font:
    return uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob.from_file_path(str(typeface.path))))

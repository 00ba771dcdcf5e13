"""Sets type on the printed page, in any script that can be set without a font file of our own.

The PDF standard's core fonts need no file but hold Windows-1252 only. A paragraph with other characters is drawn with
the fonts that OpenCV 5 carries (Rubik, WenQuanYi Micro Hei): Latin, Greek, Cyrillic, Chinese, Japanese and Korean. Such
lines are pictures at 400 dots an inch whose alternative text is the line. Scripts that run from right to left or join
their letters, and symbols that neither font holds, become "?"; `unprintable` counts them so that the page can say so.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from fpdf import FPDF
from PIL import Image

Colour = tuple[int, int, int]
INK, GREY, HAIR = (24, 29, 36), (92, 101, 112), (201, 207, 214)
# Millimetres of line height for each point of type.
LEADING = 0.46
# Where `line_picture` sets its line, in sizes of type from the top.
BASELINE = 1.02
_MM = 25.4 / 72
_PX = 400 / 72
# Rubik is larger than Helvetica at the same size.
_SCALE = 0.95
_MISSING = "?"
# Words between spaces; where a script writes none, each character may begin a line.
_UNSPACED = r"\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\ufe30-\uffef"
_PIECES = re.compile(rf"[{_UNSPACED}][、。，．；：？！）】」』〉》]*|[^\s{_UNSPACED}]+|\s+")
_REPLACED = str.maketrans({"≥": "at least ", "≤": "at most ", "−": "-", "\u202f": "\u00a0", "\u2009": "\u00a0"})
# Marks that join letters of these classes and categories are beyond a font that sets one character after another.
_UNSET_CLASSES, _UNSET_CATEGORIES = {"R", "AL", "AN"}, {"Mn", "Mc", "Me", "Cc", "Cf", "Cn", "Co", "Cs"}


def text(
    pdf: FPDF,
    x: float,
    y: float,
    words: str,
    size: float,
    colour: Colour = INK,
    *,
    bold: bool = False,
    align: Literal["L", "C", "R"] = "L",
) -> None:
    """Print one line with its baseline at y and its left end, middle or right end at x."""
    line = printable(words)
    left = x - {"L": 0.0, "C": 0.5, "R": 1.0}[align] * width_of(pdf, line, size, bold)
    if not line:
        return
    if _is_plain(line):
        pdf.set_font("Helvetica", "B" if bold else "", size)
        pdf.set_text_color(*colour)
        pdf.text(left, y, line)
        return
    px, scale = round(_SCALE * size * _PX), _MM / _PX
    share, tone = line_picture(line, px, bold) / 255, sum(colour) / 3
    picture = Image.fromarray(np.round(255 + share * (tone - 255)).astype(np.uint8))
    pdf.image(
        picture, left, y - round(BASELINE * px) * scale, picture.width * scale, picture.height * scale, alt_text=line
    )


def paragraph(
    pdf: FPDF, x: float, y: float, width: float, words: str, size: float, colour: Colour = INK, *, most: int = 99
) -> float:
    """Print text in at most `most` lines of `width` from y downwards; return where it ends."""
    lines = wrapped(words, width, size)
    if len(lines) > most:
        lines = shortened(pdf, width, lines[:most], size, "…")
    return set_lines(pdf, x, y, lines, size, colour)


def set_lines(pdf: FPDF, x: float, y: float, lines: list[str], size: float, colour: Colour = INK) -> float:
    """Print lines from y downwards; return where they end."""
    for position, line in enumerate(lines):
        text(pdf, x, y + (position + 0.75) * size * LEADING, line, size, colour)
    return y + len(lines) * size * LEADING


def wrapped(words: str, width: float, size: float, most: int = 200) -> list[str]:
    """Break text into lines of `width`, at most `most` and one more; what is longer than a line is broken, too.

    Line breaks in the text are kept.
    """
    lines: list[str] = []
    whole = printable(words, keep_breaks=True)
    for part in whole.split("\n"):
        lines += _broken(part.strip(), width, size, most + 1 - len(lines), _is_plain(whole))
        if len(lines) > most:
            break
    while lines and not lines[-1]:
        lines.pop()
    return lines or [""]


def shortened(pdf: FPDF, width: float, lines: list[str], size: float, end: str) -> list[str]:
    """Return the lines with `end` after the last one, which loses as much as `end` needs."""
    last = lines[-1]
    while last and width_of(pdf, f"{last} {end}", size) > width:
        last = last[:-1].rstrip()
    return [*lines[:-1], f"{last} {end}".strip()]


def width_of(pdf: FPDF, line: str, size: float, bold: bool = False) -> float:
    """Return how wide a printable line is, in mm."""
    if not line:
        return 0.0
    if _is_plain(line):
        pdf.set_font("Helvetica", "B" if bold else "", size)
        return float(pdf.get_string_width(line))
    return _pixel_width(line, round(_SCALE * size * _PX), 700 if bold else 400) * _MM / _PX


def printable(words: str, *, keep_breaks: bool = False) -> str:
    """Return text in characters that can be set: others become "?", and spaces of all kinds one space."""
    composed = unicodedata.normalize("NFC", words.replace("\r\n", "\n").replace("\r", "\n")).translate(_REPLACED)
    if keep_breaks:
        composed = re.sub(r"[\v\f\x1c-\x1e\x85\u2028\u2029]", "\n", composed)
        composed = re.sub(r"[^\S\n\u00a0]+", " ", composed)
    else:
        composed = re.sub(r"[^\S\u00a0]+", " ", composed)
    return "".join(c if c == "\n" or _is_set(c) else _MISSING for c in composed if not _is_invisible(c)).strip()


def unprintable(words: str) -> int:
    """Count the characters that `printable` gives up."""
    composed = unicodedata.normalize("NFC", words).translate(_REPLACED)
    return sum(not c.isspace() and not _is_invisible(c) and not _is_set(c) for c in composed)


def rule(pdf: FPDF, x: float, y: float, width: float) -> None:
    """Draw a hairline across the page."""
    stroke(pdf, x, y, x + width, y, HAIR)


def stroke(pdf: FPDF, x1: float, y1: float, x2: float, y2: float, colour: Colour, width: float = 0.2) -> None:
    """Draw a line of `width` mm."""
    pdf.set_draw_color(*colour)
    pdf.set_line_width(width)
    pdf.line(x1, y1, x2, y2)


def line_picture(words: str, size_px: int, bold: bool = False) -> npt.NDArray[np.uint8]:
    """Draw one line of text: how much ink covers each pixel, uint8 (H, W), 0–255, for type of `size_px`.

    W is what the words need, and the baseline lies `BASELINE` times `size_px` below the top.
    """
    line = printable(words) or " "
    weight = 700 if bold else 400
    ink = np.zeros((round(1.35 * size_px), _pixel_width(line, size_px, weight) + 2), np.uint8)
    cv2.putText(ink, line, (1, round(BASELINE * size_px)), (255,), cv2.FontFace("sans"), size_px, weight)
    return ink


def _broken(words: str, width: float, size: float, most: int, is_plain: bool) -> list[str]:
    room, lines, used = width / size, [""], 0.0
    for piece in _PIECES.findall(words):
        widths = [_advance(character, is_plain) for character in piece]
        if piece.isspace() or used + sum(widths) <= room:
            if lines[-1] or not piece.isspace():
                lines[-1] += piece
                used += sum(widths)
            continue
        if lines[-1]:
            lines.append("")
            used = 0.0
        for character, wide in zip(piece, widths, strict=True):
            if lines[-1] and used + wide > room:
                if len(lines) > most:
                    break
                lines.append("")
                used = 0.0
            lines[-1] += character
            used += wide
        if len(lines) > most:
            break
    return [line.rstrip() for line in lines[: max(most, 1)]]


@lru_cache(8192)
def _advance(character: str, is_plain: bool) -> float:
    """Return a character's width in mm for each point of size; in text of both fonts, the wider one's."""
    core = 0.0
    if character.encode("cp1252", "ignore"):
        pdf = FPDF()
        pdf.core_fonts_encoding = "cp1252"
        pdf.set_font("Helvetica", "", 100)
        core = float(pdf.get_string_width(character)) / 100
    return core if is_plain else max(core, _SCALE * _pixel_width(character, 250, 400) / 250 * _MM)


def _is_plain(line: str) -> bool:
    return all(c.encode("cp1252", "ignore") for c in line)


@lru_cache(4096)
def _is_set(character: str) -> bool:
    """Whether a font holds the character."""
    if character.encode("cp1252", "ignore"):
        return unicodedata.category(character) not in {"Cc", "Cf"}
    if unicodedata.bidirectional(character) in _UNSET_CLASSES or unicodedata.category(character) in _UNSET_CATEGORIES:
        return False
    drawn, missing = (_coverage(c) for c in (character, _MISSING))
    return bool(drawn.any()) and not np.array_equal(drawn, missing)


def _is_invisible(character: str) -> bool:
    """Whether nothing is lost with the character: joiners, direction marks, byte order marks."""
    return unicodedata.category(character) == "Cf" or (unicodedata.category(character) == "Cc" and character != "\n")


def _coverage(character: str) -> npt.NDArray[np.uint8]:
    picture = np.zeros((48, 64), np.uint8)
    cv2.putText(picture, character, (8, 34), (255,), cv2.FontFace("sans"), 28, 400)
    return picture


def _pixel_width(line: str, size_px: int, weight: int) -> int:
    return int(cv2.getTextSize((0, 0), line, (0, 0), cv2.FontFace("sans"), size_px, weight)[2])

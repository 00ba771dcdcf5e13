"""Picture of the Secondary Capture: the radiograph with its evidence map, and a band with its description below."""

from __future__ import annotations

import math
from datetime import UTC
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from model.assessment import Assessment
from model.card import ModelCard
from model.overlay import colour_table
from reports.drawing import Drawing, draw_film, draw_map, map_shown
from reports.typefaces import Typeface, printable, runs
from reports.wording import LUNGS_OUTLINED, finding_words, map_name, moved_words, probability_sentence

# Enough for any screen at full view; small radiographs are enlarged so that the text below is legible.
MOST_PX, LEAST_PX = 2048, 1024
_BAND = 22
_WHITE, _GREY = 235, 175
# Height of a line and place of its baseline below the line's top, in sizes of type.
_LINE, _BASELINE = 1.35, 1.02
Picture = npt.NDArray[np.uint8]


def captured(assessment: Assessment, card: ModelCard, drawing: Drawing) -> tuple[Picture, tuple[int, int]]:
    """Draw the picture of the Secondary Capture.

    Parameters
    ----------
    assessment
        An assessment with radiograph and evidence map.
    card
        The card of its version.
    drawing
        How radiograph and evidence map are displayed.

    Returns
    -------
    picture : ndarray
        (H, W, 3), uint8, RGB.
    size : tuple of int
        Width and height in pixels of the radiograph, at the upper left of the picture.

    Raises
    ------
    ValueError
        Without radiograph or evidence map, or for a map against the finding without its cells.
    IndexError
        If the radiograph has no such rendering.
    """
    film = assessment.radiograph
    if film is None or assessment.heatmap is None:
        raise ValueError("expected an assessment with an evidence map. Received: one without")
    heatmap, longest = map_shown(assessment.heatmap, drawing), max(film.width, film.height)
    share = min(max(longest, LEAST_PX), MOST_PX) / longest
    px = (max(1, round(film.width * share)), max(1, round(film.height * share)))
    drawn = draw_map(draw_film(film, drawing, px), heatmap, drawing, assessment.anatomy)
    width = max(px[0], LEAST_PX // 2)
    drawn = np.pad(drawn, ((0, 0), (0, width - px[0]), (0, 0)))
    return np.concatenate([drawn, _band(assessment, card, width, drawing, heatmap.is_empty)]), px


def _band(assessment: Assessment, card: ModelCard, width: int, drawing: Drawing, is_empty: bool) -> Picture:
    """Draw the words and the colour bar on black: RGB uint8 (h, width, 3)."""
    size = max(_BAND, round(width / 64))
    margin = size // 2
    probability = "" if assessment.prediction is None else f"{probability_sentence(assessment.prediction)}."
    if assessment.is_outside:
        probability = f"{probability[:-1]} (unreliable outside the training population)."
    name, moved = map_name(drawing), moved_words(drawing)
    shown = (
        f"The {name[0].lower()}{name[1:]} is empty: no region {moved}."
        if is_empty
        else f"{name}: regions that {moved}. Not the outline of a lesion."
    )
    shown += LUNGS_OUTLINED if drawing.lungs and assessment.anatomy is not None else ""
    when = f"{assessment.assessed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    rows = [np.zeros((margin, width), np.uint8)]
    for words, tone in (
        (finding_words(assessment), _WHITE),
        (probability, _GREY if assessment.is_outside else _WHITE),
        (shown, _WHITE),
        ("Derived image, not for primary reading. Decision support, not a diagnosis.", _WHITE),
        (f"PneumoLens, classifier {card.version}, assessed {when}", _GREY),
    ):
        rows += [_line(row, tone, size, width, margin) for row in _rows(words, size, width - 2 * margin)]
    band = np.repeat(np.concatenate([*rows, rows[0]])[..., None], 3, axis=2)
    return band if is_empty else np.concatenate([_colour_bar(width, size, margin), band])


def _rows(words: str, size: int, room: int) -> list[str]:
    """Break words into rows of at most `room` pixels; a single word that is longer is cut when it is drawn."""
    rows = [""]
    for word in words.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and line_picture(longer, size).shape[1] > room:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


def _line(words: str, tone: int, size: int, width: int, margin: int) -> Picture:
    ink = line_picture(words, size)[:, : width - margin]
    row = np.zeros((ink.shape[0], width), np.uint8)
    row[:, margin : margin + ink.shape[1]] = np.round(ink * (tone / 255)).astype(np.uint8)
    return row


def _colour_bar(width: int, size: int, margin: int) -> Picture:
    """Draw the map's colours between the words for their ends."""
    low, high = (line_picture(words, size) for words in ("low evidence", "high evidence"))
    row = np.zeros((low.shape[0] + margin, width, 3), np.uint8)
    bar = np.repeat(colour_table()[None], size // 2, axis=0)
    bar = np.asarray(cv2.resize(bar, (8 * size, size // 2), interpolation=cv2.INTER_LINEAR), np.uint8)
    top = margin + (low.shape[0] - bar.shape[0]) // 2
    x = margin
    for part, begins in ((low, margin), (bar, top), (high, margin)):
        if x + part.shape[1] > width - margin:
            break
        tinted = part if part.ndim == 3 else np.round(part[..., None] * (_GREY / 255)).astype(np.uint8)
        row[begins : begins + part.shape[0], x : x + part.shape[1]] = tinted
        x += part.shape[1] + size
    return row


def line_picture(words: str, size_px: int) -> npt.NDArray[np.uint8]:
    """Draw one line of text, the words in visual order from left to right.

    Parameters
    ----------
    words
        The text.
    size_px
        Size of the type in pixels.

    Returns
    -------
    ndarray
        (H, W), uint8: coverage of each pixel, 0–255; as wide as the words.
    """
    parts = runs(printable(words)) or runs(" ")
    fonts = [_font(part.typeface, size_px) for part in parts]
    # Whole pixels for each letter, so the line is wider than by its advances.
    widths = [font.getlength(part.text) for font, part in zip(fonts, parts, strict=True)]
    ink = Image.new("L", (math.ceil(sum(widths)) + 2, round(_LINE * size_px)))
    draw, x = ImageDraw.Draw(ink), 1.0
    for part, font, wide in zip(parts, fonts, widths, strict=True):
        draw.text((x, round(_BASELINE * size_px)), part.text, 255, font, anchor="ls")
        x += wide
    return np.asarray(ink)


@cache
def _font(typeface: Typeface, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(typeface.path, size_px, layout_engine=ImageFont.Layout.BASIC)

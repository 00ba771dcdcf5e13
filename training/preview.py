"""A contact sheet of radiographs before and after augmentation, so that a person can see what a network learns from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from model.errors import AppError, DatasetError
from model.files import write_atomically
from model.radiograph import DETAIL_PX, enlarge
from model.settings import Settings
from training.augment import MAX_STRENGTH, RECIPES, Augmentation, augment, resolve
from training.dataset import CLASSES, Sample, read_samples, scan_folder

Grey = npt.NDArray[np.uint8]
EXAMPLES = """examples:
  python -m training preview-augmentation --data chest_xray
  python -m training preview-augmentation --data chest_xray --recipe strong settle seed --films 2 --out recipes.png
  python -m training preview-augmentation --data chest_xray --recipe strong --strength 0.5 --copies 8

The sheet shows radiographs: keep it where they may be kept. It names rows by number and class, never by file.
"""
TILE_PX = 224
MOST_FILMS, MOST_COPIES = 20, 12
_PAPER, _INK, _FAINT = 250, 25, 95
_EDGE, _GAP, _MARGIN = 24, 8, 118
_TITLE, _TEXT, _LINE = 26, 16, 23


def contact_sheet(
    pictures: npt.NDArray[np.uint8], names: Sequence[str], recipes: Sequence[Augmentation], copies: int, seed: int,
    px: int,
) -> Grey:
    """Lay out radiographs and changed copies of them, in one block for each recipe: uint8 (H, W).

    pictures is uint8 (n, detail_px, detail_px), squashed; names are the captions of their rows. A row shows the picture
    as the network gets it, enlarged to (px, px), and then `copies` changed ones. The copies depend on seed, row and
    column alone, so two recipes change a picture by the same random numbers. The captions fit from 200 px on.

    Raises ValueError unless there is a picture, a recipe, a copy, and a name for every picture.
    """
    if not (len(pictures) == len(names) > 0) or not recipes or copies < 1:
        raise ValueError(
            f"expected as many names as pictures, a recipe and a copy. Received: {len(pictures)} pictures, "
            f"{len(names)} names, {len(recipes)} recipes, {copies} copies")
    width = 2 * _EDGE + _MARGIN + (copies + 1) * (px + _GAP) - _GAP
    blocks = [_block(pictures, names, recipe, copies, seed, px, width) for recipe in recipes]
    return np.concatenate([*blocks, np.full((_EDGE, width), _PAPER, np.uint8)])


def in_words(recipe: Augmentation) -> str:
    """Say what a recipe does, in one line."""
    def percent(p: float) -> str:
        return f"{100 * p:.0f} %"

    def times(pair: tuple[float, float]) -> str:
        return f"×{pair[0]:.2f}–{pair[1]:.2f}"

    phrases = [
        (recipe.area != (1, 1), f"crop of {100 * recipe.area[0]:.0f}–{percent(recipe.area[1])} of the area"),
        (recipe.aspect != (1, 1), f"aspect {times(recipe.aspect)}"),
        (recipe.zoom != (1, 1), f"crop's sides {times(recipe.zoom)}"),
        (recipe.shift, f"shift ±{percent(recipe.shift)}"), (recipe.degrees, f"rotation ±{recipe.degrees:.0f}°"),
        (recipe.contrast != (1, 1), f"contrast {times(recipe.contrast)}"),
        (recipe.brightness, f"brightness ±{recipe.brightness:.0f} of 255"),
        (recipe.gamma != (1, 1), f"gamma {recipe.gamma[0]:.2f}–{recipe.gamma[1]:.2f}"),
        (recipe.p_flip, f"{percent(recipe.p_flip)} mirrored"),
        (recipe.p_equalise, f"{percent(recipe.p_equalise)} locally equalised"),
        (recipe.p_blur, f"{percent(recipe.p_blur)} blurred"),
        (recipe.p_sharpen, f"{percent(recipe.p_sharpen)} sharpened"),
        (recipe.p_noise, f"{percent(recipe.p_noise)} noisy"),
        (recipe.p_jpeg, f"{percent(recipe.p_jpeg)} JPEG of quality {recipe.jpeg_quality[0]}–{recipe.jpeg_quality[1]}"),
        (recipe.p_erase, f"{percent(recipe.p_erase)} with a rectangle painted over")]
    said = ", ".join(phrase for applies, phrase in phrases if applies) or "nothing is changed"
    return said + (", margins continued over black" if recipe.fills_border else "")


def _block(
    pictures: npt.NDArray[np.uint8], names: Sequence[str], recipe: Augmentation, copies: int, seed: int, px: int,
    width: int,
) -> Grey:
    """Draw one recipe's rows under its header, uint8 (H, width)."""
    lines = _wrapped(in_words(recipe), width - 2 * _EDGE)
    top = _EDGE + _TITLE + 10 + len(lines) * _LINE + 36
    sheet = np.full((top + len(pictures) * (px + _GAP), width), _PAPER, np.uint8)
    _write(sheet, recipe.name, _EDGE, _EDGE + _TITLE, _TITLE, _INK, 700)
    for i, line in enumerate(lines):
        _write(sheet, line, _EDGE, _EDGE + _TITLE + 6 + (i + 1) * _LINE, _TEXT, _FAINT)
    _write(sheet, "as the network gets it", _EDGE + _MARGIN, top - 10, _TEXT, _INK, 600)
    _write(sheet, "changed at random", _EDGE + _MARGIN + px + _GAP, top - 10, _TEXT, _INK, 600)
    for row, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        y = top + row * (px + _GAP)
        for i, line in enumerate(name.split("\n")):
            _write(sheet, line, _EDGE, y + _TEXT + i * _LINE, _TEXT, _INK if i == 0 else _FAINT)
        tiles = [enlarge(picture, px)]
        tiles += [augment(picture, np.random.default_rng((seed, row, copy)), recipe, px) for copy in range(copies)]
        for column, tile in enumerate(tiles):
            x = _EDGE + _MARGIN + column * (px + _GAP)
            sheet[y:y + px, x:x + px] = tile
    return sheet


def _write(sheet: Grey, text: str, x: int, y: int, size: int, grey: int, weight: int = 400) -> None:
    # OpenCV 5 brings a typeface of its own; its older strokes know neither × nor °.
    cv2.putText(sheet, text, (x, y), (grey,), cv2.FontFace("sans"), size, weight)


def _wrapped(text: str, width: int) -> list[str]:
    """Break at commas so that no line is wider than `width` pixels, unless one phrase alone is."""
    font = cv2.FontFace("sans")
    lines = [""]
    for phrase in text.replace(", ", ",\n").split("\n"):
        longer = f"{lines[-1]} {phrase}".lstrip()
        if lines[-1] and cv2.getTextSize((0, 0), longer, (0, 0), font, _TEXT, 400)[2] > width:
            lines.append(phrase)
        else:
            lines[-1] = longer
    return lines


def pick_films(
    samples: Sequence[Sample], n: int, seed: int, fills_border: bool = False
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Draw `n` readable radiographs, the classes in turn: (uint8 (n, DETAIL_PX, DETAIL_PX), captions without names).

    With `fills_border` their margins continue over black around them. Raises DatasetError when fewer can be read.
    """
    rng = np.random.default_rng(seed)
    pictures: list[Grey] = []
    names: list[str] = []
    left = [[samples[i] for i in rng.permutation(len(samples)) if samples[i].label == label]
            for label in range(len(CLASSES))]
    while len(pictures) < n and any(left):
        label = len(pictures) % 2 if left[len(pictures) % 2] else 1 - len(pictures) % 2
        _, read, _ = read_samples([left[label].pop()], DETAIL_PX, fills_border=fills_border)
        pictures += list(read)
        names += [f"Film {len(pictures)}\n{CLASSES[label]}" for _ in read]
    if len(pictures) < n:
        raise DatasetError(f"expected {n} radiographs that can be read. Received: {len(pictures)}",
                           advice="Ask for fewer with --films, or name a folder that holds more.")
    return np.stack(pictures), names


def add_commands(acts: Any) -> None:
    """Register `preview-augmentation` with argparse's sub-parsers."""
    parser = acts.add_parser(
        "preview-augmentation", help="draw a sheet of radiographs before and after augmentation", epilog=EXAMPLES,
        description="Draw a sheet of radiographs before and after augmentation, to look at before training.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="folder with NORMAL/ and PNEUMONIA/, or with train/ above them")
    parser.add_argument("--recipe", nargs="+", default=["strong"], choices=sorted(RECIPES), metavar="NAME",
                        help=f"one or more of {', '.join(sorted(RECIPES))} (strong)")
    parser.add_argument("--strength", type=_between(float, 0, MAX_STRENGTH), default=1.0, metavar="S",
                        help="0 changes nothing, 1 is the recipe itself, 2 goes twice as far (%(default)s)")
    parser.add_argument("--films", type=_between(int, 1, MOST_FILMS), default=4, metavar="N",
                        help="radiographs, both classes in turn (%(default)s)")
    parser.add_argument("--copies", type=_between(int, 1, MOST_COPIES), default=5, metavar="N",
                        help="changed copies of each (%(default)s)")
    parser.add_argument("--fills-border", action=argparse.BooleanOptionalAction, default=True,
                        help="let films' margins continue over black around them, as training does (yes)")
    parser.add_argument("--out", type=_png, default=Path("augmentation.png"), metavar="FILE.png", help="(%(default)s)")
    parser.add_argument("--seed", type=_between(int, 0, 2**63), default=0, metavar="N",
                        help="decides which films and which changes (%(default)s)")
    parser.set_defaults(act=_preview)


def _between(kind: type[int] | type[float], low: float, high: float) -> Any:
    """Return an argparse type that takes numbers from `low` to `high`."""
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(low) - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected a {'whole ' if kind is int else ''}number from {low:g} to {high:g}. Received: {text}")
        return value

    return parse


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a file name that ends in .png. Received: {text}")
    return Path(text)


def _preview(options: argparse.Namespace, settings: Settings) -> int:
    if not options.out.parent.is_dir():
        raise AppError(f"expected a folder to write into. Received: {options.out.parent}",
                       advice="Name a file in a folder that exists: --out FILE.png.")
    recipes = [replace(resolve(name, options.strength), fills_border=options.fills_border) for name in options.recipe]
    films = scan_folder(options.data).train
    pictures, names = pick_films(films, options.films, options.seed, options.fills_border)
    sheet = contact_sheet(pictures, names, recipes, options.copies, options.seed, TILE_PX)
    _, encoded = cv2.imencode(".png", sheet)
    write_atomically(options.out, encoded.tobytes())
    shown, copies = ("1 radiograph" if len(pictures) == 1 else f"{len(pictures)} radiographs",
                     "1 changed copy" if options.copies == 1 else f"{options.copies} changed copies")
    print(f"{options.out}: {shown}, {copies} of each with {', '.join(recipe.name for recipe in recipes)}")
    return 0

"""A contact sheet of radiographs before and after augmentation, to inspect a recipe before training."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from core.formatting import format_percentage
from imaging.radiograph import DETAIL_PX, enlarge
from model.framing import framed
from training.data.augment import augment
from training.data.augment_framed import Donors, augment_framed
from training.data.loading import read_samples
from training.data.recipes import Augmentation
from training.data.sample import CLASSES, Sample

Grey = npt.NDArray[np.uint8]
TILE_PX = 224
MAX_FILMS, MAX_COPIES = 20, 12
_PAPER, _INK, _FAINT = 250, 25, 95
_EDGE, _GAP, _MARGIN = 24, 8, 118
_TITLE, _TEXT, _LINE = 26, 16, 23


def contact_sheet(
    pictures: npt.NDArray[np.uint8],
    names: Sequence[str],
    recipes: Sequence[Augmentation],
    copies: int,
    seed: int,
    px: int,
    pairs: npt.NDArray[np.uint8] | None = None,
    labels: npt.NDArray[np.int_] | None = None,
) -> Grey:
    """Lay out radiographs and augmented copies of them, one block for each recipe.

    Parameters
    ----------
    pictures
        uint8 (n, detail_px, detail_px), squashed.
    names
        Captions of the rows, one for each picture.
    recipes
        One block each, changed by the same random numbers.
    copies
        Augmented copies in a row, after the network input itself.
    seed
        With row and column it determines the random numbers.
    px
        Side of a tile; the captions need 200 px.
    pairs
        uint8 (n, detail_px, detail_px, 3): the radiographs with their lungs, as `model.framing.pair_of` returns them.
        Recipes for the lungs are then shown as training applies them: on films framed by their lungs, which take over
        the look of those of the other class.
    labels
        (n,), int: the classes, for `pairs`.

    Returns
    -------
    npt.NDArray[np.uint8]
        (H, W).

    Raises
    ------
    ValueError
        Without pictures, recipes or copies, or with another number of names than pictures.
    """
    if not (len(pictures) == len(names) > 0) or not recipes or copies < 1:
        raise ValueError(
            f"expected as many names as pictures, a recipe and a copy. Received: {len(pictures)} pictures, "
            f"{len(names)} names, {len(recipes)} recipes, {copies} copies"
        )
    width = 2 * _EDGE + _MARGIN + (copies + 1) * (px + _GAP) - _GAP
    blocks = []
    for recipe in recipes:
        is_framed = pairs is not None and recipe.is_for_lungs
        tiles = (
            _framed_tiles(pairs, labels, recipe, copies, seed, px)
            if pairs is not None and is_framed
            else _tiles(pictures, recipe, copies, seed, px)
        )
        said = in_words(recipe) + (", on films framed by their lungs" if is_framed else "")
        blocks.append(_block(tiles, names, recipe.name, said, px, width))
    return np.concatenate([*blocks, np.full((_EDGE, width), _PAPER, np.uint8)])


def in_words(recipe: Augmentation) -> str:
    """Return the description of a recipe in one line."""

    def percent(p: float) -> str:
        return format_percentage(p)

    def times(pair: tuple[float, float]) -> str:
        return f"×{pair[0]:.2f}–{pair[1]:.2f}"

    phrases = [
        (recipe.area != (1, 1), f"crop of {100 * recipe.area[0]:.0f}–{percent(recipe.area[1])} of the area"),
        (recipe.aspect != (1, 1), f"aspect {times(recipe.aspect)}"),
        (recipe.zoom != (1, 1), f"crop's sides {times(recipe.zoom)}"),
        (recipe.shift, f"shift ±{percent(recipe.shift)}"),
        (recipe.degrees, f"rotation ±{recipe.degrees:.0f}°"),
        (recipe.contrast != (1, 1), f"contrast {times(recipe.contrast)}"),
        (recipe.brightness, f"brightness ±{recipe.brightness:.0f} of 255"),
        (recipe.gamma != (1, 1), f"gamma {recipe.gamma[0]:.2f}–{recipe.gamma[1]:.2f}"),
        (recipe.p_flip, f"{percent(recipe.p_flip)} mirrored"),
        (recipe.p_equalise, f"{percent(recipe.p_equalise)} locally equalised"),
        (recipe.p_blur, f"{percent(recipe.p_blur)} blurred"),
        (recipe.p_sharpen, f"{percent(recipe.p_sharpen)} sharpened"),
        (recipe.p_noise, f"{percent(recipe.p_noise)} noisy"),
        (recipe.p_jpeg, f"{percent(recipe.p_jpeg)} JPEG of quality {recipe.jpeg_quality[0]}–{recipe.jpeg_quality[1]}"),
        (recipe.p_erase, f"{percent(recipe.p_erase)} with a rectangle painted over"),
        (recipe.p_amplitude, f"{percent(recipe.p_amplitude)} with low-frequency amplitudes of the other class"),
        (recipe.p_histogram, f"{percent(recipe.p_histogram)} with grey values of the other class"),
        (recipe.p_curve, f"{percent(recipe.p_curve)} with a random tone curve"),
        (recipe.p_veil, f"{percent(recipe.p_veil)} with a veil"),
        (recipe.p_marker, f"{percent(recipe.p_marker)} with pasted letters or edges"),
        (recipe.p_outline, f"{percent(recipe.p_outline)} with another outline of the lungs"),
    ]
    said = ", ".join(phrase for applies, phrase in phrases if applies) or "no changes"
    return said + (", margins continued over black borders" if recipe.fills_border else "")


def _tiles(pictures: npt.NDArray[np.uint8], recipe: Augmentation, copies: int, seed: int, px: int) -> list[list[Grey]]:
    """Return each radiograph as the network gets it, and augmented copies of it."""
    return [
        [enlarge(picture, px)]
        + [augment(picture, np.random.default_rng((seed, row, copy)), recipe, px) for copy in range(copies)]
        for row, picture in enumerate(pictures)
    ]


def _framed_tiles(
    pairs: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int_] | None,
    recipe: Augmentation,
    copies: int,
    seed: int,
    px: int,
) -> list[list[Grey]]:
    """Return the same of films framed by their lungs, without the outline."""
    rows = []
    for row, pair in enumerate(pairs):
        donors = Donors(np.zeros(0, np.int_) if labels is None else np.flatnonzero(labels != labels[row]))
        tiles = [framed(pair, px)[..., 0]]
        for copy in range(copies):
            rng = np.random.default_rng((seed, row, copy))
            donor = donors.draw(rng)
            tiles.append(augment_framed(pair, rng, recipe, px, None if donor is None else pairs[donor])[..., 0])
        rows.append(tiles)
    return rows


def _block(tiles: Sequence[Sequence[Grey]], names: Sequence[str], title: str, said: str, px: int, width: int) -> Grey:
    """Return one recipe's rows below its header, uint8 (H, width)."""
    lines = _wrapped(said, width - 2 * _EDGE)
    top = _EDGE + _TITLE + 10 + len(lines) * _LINE + 36
    sheet = np.full((top + len(tiles) * (px + _GAP), width), _PAPER, np.uint8)
    _write(sheet, title, _EDGE, _EDGE + _TITLE, _TITLE, _INK, 700)
    for i, line in enumerate(lines):
        _write(sheet, line, _EDGE, _EDGE + _TITLE + 6 + (i + 1) * _LINE, _TEXT, _FAINT)
    _write(sheet, "network input", _EDGE + _MARGIN, top - 10, _TEXT, _INK, 600)
    _write(sheet, "augmented", _EDGE + _MARGIN + px + _GAP, top - 10, _TEXT, _INK, 600)
    for row, (own, name) in enumerate(zip(tiles, names, strict=True)):
        y = top + row * (px + _GAP)
        for i, line in enumerate(name.split("\n")):
            _write(sheet, line, _EDGE, y + _TEXT + i * _LINE, _TEXT, _INK if i == 0 else _FAINT)
        for column, tile in enumerate(own):
            x = _EDGE + _MARGIN + column * (px + _GAP)
            sheet[y : y + px, x : x + px] = tile
    return sheet


def _write(sheet: Grey, text: str, x: int, y: int, size: int, grey: int, weight: int = 400) -> None:
    # OpenCV's own typeface; its stroke fonts lack × and °.
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
) -> tuple[npt.NDArray[np.uint8], list[str], npt.NDArray[np.int_]]:
    """Draw `n` readable radiographs, the classes in turn.

    Parameters
    ----------
    samples
        Drawn from at random.
    n
        Number of radiographs.
    seed
        Of the draw.
    fills_border
        Whether margins continue over black borders.

    Returns
    -------
    tuple
        Pictures uint8 (n, DETAIL_PX, DETAIL_PX), captions without file names, and classes, int (n,).

    Raises
    ------
    DatasetError
        If fewer can be read.
    """
    rng = np.random.default_rng(seed)
    pictures: list[Grey] = []
    names: list[str] = []
    labels: list[int] = []
    left = [
        [samples[i] for i in rng.permutation(len(samples)) if samples[i].label == label]
        for label in range(len(CLASSES))
    ]
    while len(pictures) < n and any(left):
        label = len(pictures) % 2 if left[len(pictures) % 2] else 1 - len(pictures) % 2
        _, read, _ = read_samples([left[label].pop()], DETAIL_PX, fills_border=fills_border)
        pictures += list(read)
        names += [f"Film {len(pictures)}\n{CLASSES[label]}" for _ in read]
        labels += [label for _ in read]
    if len(pictures) < n:
        raise DatasetError(
            f"expected {n} readable radiographs. Received: {len(pictures)}",
            advice="Request fewer with --films, or name a folder with more radiographs.",
        )
    return np.stack(pictures), names, np.array(labels)

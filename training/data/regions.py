"""Radiographs with marked regions: lungs or opacities that people outlined, as masks or as boxes.

>>> marked = read_boxes(Path("nih_adult"), Path("boxes_640px.csv"))
>>> len(marked.films), marked.marks
(75, 'boxes')
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from imaging.radiograph import decode_radiograph, to_uint8
from training.data.dataset import SUFFIXES
from training.data.patients import patient_of_name

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]
Marks = Literal["lungs", "opacities", "boxes"]
TABLE = "masks.csv"
# Below this correlation a mask and a film of the table are not known to belong together.
LEAST_MATCH = 0.80
OPACITY, LUNG_BESIDE_OPACITY, DEVICE = 255, 128, 127
_FILMS = SUFFIXES | {".dcm", ".dicom"}
# Findings of a table of boxes that are opacities of the lung; a box around an enlarged heart is none.
_IS_OPACITY = re.compile(r"opacit|pneumoni|consolidat|infiltrat", re.IGNORECASE)
# Number of masks that are looked at to tell what they mark.
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class MarkedFilm:
    """A radiograph with its mask, or with the boxes around its opacities: (x, y, width, height) in its own pixels."""

    path: Path
    patient: str
    patient_known: bool
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkedFilms:
    """Radiographs with marked regions.

    Attributes
    ----------
    films
        The radiographs, by path.
    marks
        "lungs": masks of lungs, 255 lung, 127 device or marking. "opacities": masks with 255 opacity and 128 lung.
        "boxes": boxes around opacities.
    left_out
        Number of films, masks or boxes that are not used, by the reason in words.
    """

    films: tuple[MarkedFilm, ...]
    marks: Marks
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The marked regions of one radiograph on its own grid: bool (H, W) each, None where they are not marked."""

    lungs: Mask | None
    opacity: Mask | None


def read_masks(data: Path, masks: Path, marks: Marks | None = None) -> MarkedFilms:
    """Find the radiographs of a folder that have a mask in another.

    A mask belongs to the film of the same path without its suffix, or of the same name where one film alone has it. A
    table `masks.csv` in the masks' folder or above it takes precedence: `file` or `image` names the film, `mask` the
    mask (else the film's path with .png), `match_corr` the correlation of both, `patient` the patient.

    Parameters
    ----------
    data
        Folder of radiographs, in any layout.
    masks
        Folder of masks (PNG) over the whole film, at any size.
    marks
        What the masks mark; None finds out: masks that hold the value 128 mark opacities.

    Raises
    ------
    DatasetError
        If a folder is missing or no film has a mask.
    """
    _refuse_missing(data)
    _refuse_missing(masks)
    table = next((folder / TABLE for folder in (masks, masks.parent) if (folder / TABLE).is_file()), None)
    pairs, left_out = (_paired_by_name if table is None else _paired_by_table)(data, masks, table or masks)
    films = tuple(
        MarkedFilm(path, *_patient(path, patients), mask=mask)
        for path, (mask, patients) in sorted(pairs.items(), key=lambda pair: pair[0])
    )
    if not films:
        raise DatasetError(
            f"expected masks of the radiographs. Received: none that belongs to a film below {data}",
            advice=f"Give the masks the paths of the films, with the suffix .png, or name both in {TABLE}.",
        )
    return MarkedFilms(films, marks or _what_is_marked(films), left_out)


def read_boxes(data: Path, table: Path) -> MarkedFilms:
    """Read boxes around opacities from a CSV file.

    Parameters
    ----------
    data
        Folder of radiographs.
    table
        Columns `file` (path below `data`), `x`, `y`, `w` and `h` in pixels of the film from its upper left corner, a
        row a box; optionally `finding`, of which only opacities are used, and `patient`.

    Raises
    ------
    DatasetError
        If the folder or the table is missing or damaged, or no film of the table is in the folder.
    """
    _refuse_missing(data)
    found: dict[Path, list[Box]] = defaultdict(list)
    patients: dict[Path, str] = {}
    left_out: dict[str, int] = defaultdict(int)
    for row in _rows(table, ("file", "x", "y", "w", "h")):
        path = data / row["file"]
        if row.get("finding") and not _IS_OPACITY.search(row["finding"]):
            left_out["boxes of a finding that is no opacity"] += 1
        elif not _is_below(path, data) or not path.is_file():
            left_out["boxes without their film"] += 1
        else:
            found[path].append(_box(row, table))
            patients[path] = row.get("patient") or ""
    films = tuple(
        MarkedFilm(path, *_patient(path, patients[path]), boxes=tuple(boxes)) for path, boxes in sorted(found.items())
    )
    if not films:
        raise DatasetError(
            f"expected boxes on radiographs below {data}. Received: none",
            advice="The column file holds paths below the folder of --data, such as PNEUMONIA/film.jpg.",
        )
    return MarkedFilms(films, "boxes", dict(left_out))


def regions_of(film: MarkedFilm, marks: Marks, shape: tuple[int, int]) -> Regions:
    """Return the marked regions of a radiograph on its own grid.

    Parameters
    ----------
    film
        The radiograph.
    marks
        What its mask marks, as `MarkedFilms.marks`.
    shape
        (H, W) of the radiograph.

    Raises
    ------
    DatasetError
        If a box is not on the radiograph.
    RadiographError
        If the mask cannot be read.
    """
    if film.mask is None:
        return Regions(None, _boxed(film.boxes, shape))
    values = read_mask(film.mask)
    if values.shape != shape:
        values = np.asarray(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    if marks == "lungs":
        # A device or a marking is no lung: evidence on it counts as outside.
        return Regions(np.asarray(values > LUNG_BESIDE_OPACITY, np.bool_), None)
    return Regions(
        np.asarray(values >= LUNG_BESIDE_OPACITY, np.bool_), np.asarray(values > LUNG_BESIDE_OPACITY, np.bool_)
    )


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask, which may come from an upload and is decoded as radiographs are.

    Parameters
    ----------
    path
        A PNG, or any other picture.

    Returns
    -------
    ndarray
        (H, W), uint8.

    Raises
    ------
    RadiographError
        If it cannot be read.
    """
    return to_uint8(decode_radiograph(path.read_bytes()))


def _paired_by_name(data: Path, masks: Path, _table: Path) -> tuple[dict[Path, tuple[Path, str]], dict[str, int]]:
    films = _films(data, masks)
    by_path = {path.relative_to(data).with_suffix(""): path for path in films}
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in films:
        by_name[path.stem].append(path)
    pairs: dict[Path, tuple[Path, str]] = {}
    alone = 0
    for mask in sorted(masks.rglob("*.png")):
        same = by_name.get(mask.stem, [])
        film = by_path.get(mask.relative_to(masks).with_suffix("")) or (same[0] if len(same) == 1 else None)
        if film is None or film == mask:
            alone += 1
        else:
            pairs[film] = (mask, "")
    return pairs, _counted({"masks without their film": alone, "films without a mask": len(films) - len(pairs)})


def _paired_by_table(data: Path, masks: Path, table: Path) -> tuple[dict[Path, tuple[Path, str]], dict[str, int]]:
    """Pair films and masks by a table; films outside `data` count where the table names them beside its own folder."""
    pairs: dict[Path, tuple[Path, str]] = {}
    alone = doubtful = missing = 0
    for row in _rows(table, ()):
        name = row.get("file") or row.get("image") or ""
        try:
            correlation = float(row.get("match_corr") or 1)
        except ValueError:
            correlation = 0.0
        film = _film_of(data, name, table.parent)
        own = row.get("mask") or str(Path(name).with_suffix(".png"))
        places = [place for folder in (masks, table.parent, table.parent / "masks") for place in _places(folder, own)]
        mask = next((place for place in places if place.is_file()), None)
        if correlation < LEAST_MATCH:
            doubtful += 1
        elif film is None:
            alone += 1
        elif mask is None:
            missing += 1
        else:
            pairs[film] = (mask, row.get("patient") or "")
    return pairs, _counted(
        {
            f"masks whose match with the film is below {LEAST_MATCH:.2f}": doubtful,
            "masks without their film": alone,
            "rows without a mask": missing,
        }
    )


def _film_of(data: Path, name: str, beside: Path) -> Path | None:
    """Return the film that a table names: below `data`, else beside a table that is below `data` itself."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        return None
    beside_it = [beside, beside.parent] if _is_below(beside, data) or beside.resolve() == data.resolve() else []
    return next(
        (one for one in [*_places(data, name), *(folder / name for folder in beside_it)] if one.is_file()), None
    )


def _places(folder: Path, name: str) -> list[Path]:
    """Return where a file that a table names may be: below a folder, or below one that the path's own head leads to."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        return []
    above = folder.resolve().parts
    heads = [n for n in range(1, len(parts)) if above[-n:] == parts[:n]]
    return [folder / name, *(folder.joinpath(*parts[n:]) for n in heads)]


def _films(data: Path, masks: Path) -> list[Path]:
    return sorted(
        path
        for path in data.rglob("*")
        if path.suffix.lower() in _FILMS
        and not path.name.startswith(".")
        and (masks == data or masks not in path.parents)
    )


def _what_is_marked(films: Sequence[MarkedFilm]) -> Marks:
    """Return what masks mark: the value 128, lung beside an opacity, is in masks of opacities alone."""
    for film in films[:_LOOKED_AT]:
        if film.mask is not None and (read_mask(film.mask) == LUNG_BESIDE_OPACITY).any():
            return "opacities"
    return "lungs"


def _boxed(boxes: Iterable[Box], shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centres are in a box, bool (H, W)."""
    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    inside = np.zeros(shape, np.bool_)
    for x, y, width, height in boxes:
        if x < -1 or y < -1 or x + width > shape[1] + 1 or y + height > shape[0] + 1:
            raise DatasetError(
                f"expected boxes on a film of {shape[1]} × {shape[0]} pixels. Received: one to "
                f"{x + width:g}, {y + height:g}",
                advice="Name the films at the size on which the boxes were drawn.",
            )
        inside |= ((rows >= y) & (rows < y + height))[:, None] & ((columns >= x) & (columns < x + width))
    return inside


def _rows(table: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"no column {', '.join(missing)}")
            return [{str(name): value or "" for name, value in row.items()} for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"expected a CSV table in {table.name}. Received: {error}",
            advice="Write the table with a heading, as UTF-8, separated by commas.",
        ) from error


def _box(row: Mapping[str, str], table: Path) -> Box:
    try:
        x, y, width, height = (float(row[name]) for name in ("x", "y", "w", "h"))
        if not (np.isfinite((x, y, width, height)).all() and width > 0 and height > 0):
            raise ValueError("a box without an area")
    except ValueError as error:
        raise DatasetError(
            f"expected x, y, w and h of a box in {table.name}. Received: {error}",
            advice="Correct the row; w and h are positive numbers of pixels.",
        ) from error
    return x, y, width, height


def _patient(path: Path, given: str) -> tuple[str, bool]:
    return (given, True) if given else patient_of_name(path.as_posix())


def _counted(reasons: Mapping[str, int]) -> dict[str, int]:
    return {reason: n for reason, n in reasons.items() if n}


def _is_below(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _refuse_missing(folder: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(
            f"expected a folder. Received: {folder}", advice="Name a folder that exists on this machine."
        )

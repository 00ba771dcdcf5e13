"""Layouts of dataset folders: which folders are classes and splits, and what in them is no radiograph.

Understood are NORMAL/ and PNEUMONIA/ in any case, with images/ and masks/ inside or not; Viral Pneumonia/, Bacterial
Pneumonia/ and BACTERIA/, VIRUS/ as kinds of pneumonia; train/, val/ (valid/, validation/) and test/ above them; and any
single folder around all of these. Only names are read, so that uploads are understood before they are unpacked.

>>> class_of("Viral Pneumonia")
(1, 'virus')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from core.errors import DatasetError
from imaging.intake import may_be_radiograph
from training.data.sample import CLASSES, Pathogen

Split = Literal["train", "val", "test"]
Parts = tuple[str, ...]
# Names of the sub-folders of a folder, which is given by its parts below the dataset's.
Children = Callable[[Parts], Sequence[str]]

SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_CLASSES: dict[str, tuple[int, Pathogen]] = {
    "normal": (0, ""),
    "pneumonia": (1, ""),
    "viral pneumonia": (1, "virus"),
    "pneumonia viral": (1, "virus"),
    "pneumonia virus": (1, "virus"),
    "viral": (1, "virus"),
    "virus": (1, "virus"),
    "bacterial pneumonia": (1, "bacteria"),
    "pneumonia bacterial": (1, "bacteria"),
    "pneumonia bacteria": (1, "bacteria"),
    "bacterial": (1, "bacteria"),
    "bacteria": (1, "bacteria"),
}
_MASKS = frozenset(
    {"mask", "masks", "lung mask", "lung masks", "segmentation", "segmentations", "annotation", "annotations"}
)
_DEEPEST = 4
_MOST_NAMED = 10
_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"})
_LATERAL = re.compile(r"(?:^|[\W_])(?:lateral|lat)(?:$|[\W_])", re.IGNORECASE)
_PATHOGEN_IN_NAME = re.compile(r"(?:^|[_-])(bacteria|virus)[_-]", re.IGNORECASE)

# Kinds of files that are skipped, as they are said.
HIDDEN, MASKS, LATERALS, ARCHIVES = "hidden files", "masks", "lateral views", "archives"
OTHERS = "files that are no pictures"


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A folder of one class: its parts below the dataset's folder, split, label, and pathogen where its name has it."""

    parts: Parts
    split: Split
    label: int
    pathogen: Pathogen = ""


def class_of(name: str) -> tuple[int, Pathogen] | None:
    """Return label and pathogen of a folder or a label in a table; None for other names."""
    return _CLASSES.get(_plain(name))


def split_of(name: str) -> Split | None:
    """Return the split that a folder's name stands for, None for other names."""
    return SPLITS.get(_plain(name))


def class_folders(children: Children, nested: bool = True) -> tuple[ClassFolder, ...]:
    """Find the class folders of a dataset.

    Parameters
    ----------
    children
        Lists sub-folders.
    nested
        Whether the dataset may be in a folder of the folder.

    Returns
    -------
    tuple of ClassFolder
        In the order of splits and names; empty where there is none.

    Raises
    ------
    DatasetError
        If several sub-folders are datasets.
    """
    return _inside(children, (), "train", _DEEPEST if nested else 0, may_split=True)


def _inside(children: Children, at: Parts, split: Split, depth: int, may_split: bool) -> tuple[ClassFolder, ...]:
    names = children(at)
    if may_split and any(split_of(name) == "train" for name in names):
        splits: list[ClassFolder] = []
        for wanted in ("train", "val", "test"):
            for name in names:
                if (own := split_of(name)) == wanted:
                    splits += _inside(children, (*at, name), own, min(depth, 1), may_split=False)
        return tuple(splits)
    classes = [(name, known) for name in names if (known := class_of(name)) is not None]
    # By label first, which is the order that the split of earlier versions depends on.
    ordered = sorted(classes, key=lambda one: (one[1][0], one[0]))
    if ordered:
        return tuple(ClassFolder((*at, name), split, label, pathogen) for name, (label, pathogen) in ordered)
    if depth == 0:
        return ()
    below = {
        name: found
        for name in names
        if split_of(name) is None and (found := _inside(children, (*at, name), split, depth - 1, may_split))
    }
    if len(below) > 1:
        if not any({one.label for one in found} == {0, 1} for found in below.values()):
            return ()
        place = "/".join(at) or "the folder"
        raise DatasetError(
            f"expected one dataset. Received: {', '.join(list(below)[:_MOST_NAMED])} in {place}",
            advice="Name each of them as a source of its own, or the one that is meant.",
        )
    return next(iter(below.values()), ())


def pathogen_of(parts: Sequence[str], pathogen: Pathogen = "") -> Pathogen:
    """Return the pathogen of a file of pneumonia by its folders below the class folder and its name.

    Parameters
    ----------
    parts
        Folders below the class folder, and the file's name.
    pathogen
        By the class folder's name.
    """
    for name in parts[:-1]:
        pathogen = (class_of(name) or (1, ""))[1] or pathogen
    if pathogen or not (match := _PATHOGEN_IN_NAME.search(parts[-1])):
        return pathogen
    return "bacteria" if match[1].lower() == "bacteria" else "virus"


def kind_of_skipped(parts: Sequence[str], head: Callable[[], bytes]) -> str:
    """Return the kind of a file that is no radiograph of a dataset, "" for one that may be.

    Parameters
    ----------
    parts
        Folders below the class folder, and the file's name.
    head
        Returns the file's first bytes; called where the name does not decide.
    """
    *folders, name = parts
    suffix = PurePath(name).suffix.lower()
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return HIDDEN
    if any(_plain(part) in _MASKS for part in folders) or _plain(PurePath(name).stem).endswith((" mask", " masks")):
        return MASKS
    if suffix in _ARCHIVES:
        return ARCHIVES
    if any(_plain(part) in ("lateral", "laterals") for part in folders) or _LATERAL.search(PurePath(name).stem):
        return LATERALS
    return "" if may_be_radiograph(name, head) else OTHERS


def describe(names: Sequence[str]) -> str:
    """Return the names of folders that were found, for a message; the first ones of many."""
    shown = ", ".join(sorted(names)[:_MOST_NAMED])
    return (shown + (" …" if len(names) > _MOST_NAMED else "")) or "none"


def missing_classes(names: Sequence[str], columns: Sequence[str] = ()) -> DatasetError:
    """Return the refusal of a folder without class folders.

    Parameters
    ----------
    names
        The sub-folders that it has.
    columns
        Tables that it has, each with its columns.
    """
    beside = f"; tables {'; '.join(columns)}" if columns else ""
    return DatasetError(
        f"expected folders {' and '.join(CLASSES)}. Received: folders {describe(names)}{beside}",
        advice="Put the radiographs into two sub-folders called NORMAL and PNEUMONIA, or name a table with the columns "
        "path and label.",
    )


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.casefold())).strip()

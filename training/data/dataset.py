"""A dataset: the labelled radiographs of its sources by split, with their patients.

>>> folder = scan(Path("chest_xray"))
>>> folder.train[0].patient
'IM-115'
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from core.errors import DatasetError
from imaging.dicom.acquisition import Acquisition, read_acquisition
from imaging.dicom.elements import is_dicom
from imaging.intake import HEAD_BYTES
from imaging.intake import SUFFIXES as SUFFIXES
from training.data.data_request import AS_BEFORE, TABLES, DataRequest, root_of
from training.data.layout import (
    ClassFolder,
    Split,
    class_folders,
    kind_of_skipped,
    missing_classes,
    pathogen_of,
    split_of,
)
from training.data.patients import (
    key_of_this_process,
    read_patient_key,
    with_patient,
)
from training.data.sample import CLASSES, Sample
from training.data.tables import Listed, columns_of, is_table_of_radiographs, read_table

Part = Literal["train", "val", "test"]
# What versions before 0.2.0 read.
_BEFORE_0_2 = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
_PICTURES = SUFFIXES - {".dcm", ".dicom"}
MAX_ENTRIES = 2_000
_MOST_COUNTED = 100_000
# DICOM headers are mostly shorter; only where one is not, the whole file is read.
_HEADER_BYTES = 1 << 16
# Kinds of what is passed over, as they are said.
_LINKED_FOLDERS = "links to folders, which are not followed"
_UNREADABLE_FOLDERS = "folders that cannot be read"
_NO_FILES = "links to nothing, pipes and devices"
_REFUSED = {
    "NOT_FRONTAL": "lateral and oblique views, by DICOM header",
    "NOT_A_CHEST_RADIOGRAPH": "other modalities and parts of the body, by DICOM header",
}


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """The samples of a dataset by split.

    Attributes
    ----------
    request
        Its sources.
    train, val, test
        The samples.
    skipped
        Number of files that are no radiographs of the dataset, by kind, such as {"masks": 3}.
    patient_rules
        Number of files whose patient was found by each rule of `training.data.patients`.
    """

    request: DataRequest
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    patient_rules: Mapping[str, int] = field(default_factory=dict)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folder above the radiographs of each source."""
        return self.request.roots

    def name_of(self, sample: Sample) -> str:
        """Return the sample's path below its source, after the source's name where there are several."""
        return self.request.name_of(sample.path)


def scan(data: Path | DataRequest) -> DatasetFolder:
    """List the radiographs of a dataset and find their patients; of DICOM files the headers are read.

    Parameters
    ----------
    data
        One folder or table, or the sources of a dataset.

    Raises
    ------
    DatasetError
        If a source is missing or has no layout that is understood, or there is no radiograph of a class.
    """
    request = DataRequest.of(data)
    several = len(request.sources) > 1
    parts: dict[Split, list[Sample]] = {"train": [], "val": [], "test": []}
    skipped: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    for source, name in zip(request.sources, request.names, strict=True):
        listed, root = list_source(source), root_of(source)
        skipped += listed.skipped
        for split, sample in listed.samples:
            if request.patient_rule == AS_BEFORE and not _was_read_before(root, sample):
                continue
            known = _acquisition(sample.path, request.key_file)
            if known.refused in _REFUSED:
                skipped[_REFUSED[known.refused]] += 1
                continue
            below = sample.path.relative_to(root).parts
            found, rule = with_patient(sample, below, request, known.patient, name if several else "")
            rules[rule] += 1
            origin = name if several or request.given_names else ""
            parts[split].append(
                replace(
                    found,
                    source=found.source or origin,
                    unit=found.unit or known.unit,
                    age_years=known.age_years if found.age_years is None else found.age_years,
                    sex=found.sex or known.sex,
                    view=found.view or known.view,
                )
            )
    counts = {name: sum(s.label == label for s in parts["train"]) for label, name in enumerate(CLASSES)}
    if not all(counts.values()):
        others = f"; skipped: {', '.join(f'{kind} ({n})' for kind, n in skipped.most_common(10))}" if skipped else ""
        raise DatasetError(
            f"expected radiographs in {' and '.join(CLASSES)}. Received: {counts} in {_places(request)}{others}",
            advice="Put the radiographs into two sub-folders called NORMAL and PNEUMONIA.",
        )
    return DatasetFolder(
        request,
        tuple(parts["train"]),
        tuple(parts["val"]),
        tuple(parts["test"]),
        dict(skipped),
        dict(rules),
    )


def scan_folder(root: Path) -> DatasetFolder:
    """List the radiographs of a dataset of one source, as `scan` does.

    Parameters
    ----------
    root
        Its folder or table.

    Raises
    ------
    DatasetError
        As `scan` does.
    """
    return scan(DataRequest.of(root))


def list_source(source: Path, nested: bool = True, confined: bool = False) -> Listed:
    """List the radiographs of one folder or table by their names.

    Parameters
    ----------
    source
        A table; or a folder in one of the layouts of `training.data.layout`, or with one table in it.
    nested
        Whether the dataset may be in a folder of the folder.
    confined
        As in `training.data.tables.read_table`.

    Returns
    -------
    Listed
        The radiographs, without patients but those of a table, and what was skipped.

    Raises
    ------
    DatasetError
        If the source is missing, or its layout is not understood; the message names what was found.
    """
    if source.suffix.lower() in TABLES and not source.is_dir():
        return read_table(source, confined)
    if not source.is_dir():
        raise DatasetError(
            f"expected a folder. Received: {source}", advice="Name a folder that exists on this machine."
        )
    found = find_class_folders(source, nested)
    if found:
        return _list_folder(source, found)
    tables = tables_in(source)
    fit = [path for path in tables if is_table_of_radiographs(path)]
    if len(fit) == 1:
        return read_table(fit[0], confined)
    if len(fit) > 1:
        raise DatasetError(
            f"expected one table in {source}. Received: {', '.join(path.name for path in fit)}",
            advice="Name the table that is meant, or each of them.",
        )
    raise missing_classes(
        sub_folders(source), [f"{path.name} with the columns {', '.join(columns_of(path)[:12])}" for path in tables[:3]]
    )


def find_class_folders(source: Path, nested: bool = True) -> tuple[ClassFolder, ...]:
    """Return the class folders of a dataset folder, as `training.data.layout.class_folders` does.

    Parameters
    ----------
    source
        The folder.
    nested
        Whether the dataset may be in a folder of the folder.
    """
    return class_folders(lambda parts: sub_folders(source.joinpath(*parts)), nested)


def tables_in(folder: Path) -> list[Path]:
    """Return the tables in a folder by name, among its first entries."""
    return [path for path in _entries(folder, is_folder=False) if path.suffix.lower() in TABLES]


def sub_folders(folder: Path) -> list[str]:
    """Return the names of the sub-folders of a folder by name, among its first entries, hidden ones left out."""
    return [path.name for path in _entries(folder, is_folder=True)]


def _entries(folder: Path, is_folder: bool) -> list[Path]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
                if not entry.name.startswith(".") and entry.name != "__MACOSX" and entry.is_dir() is is_folder:
                    found.append(Path(entry.path))
    except OSError:  # not readable
        return []
    return sorted(found)


def _list_folder(source: Path, found: tuple[ClassFolder, ...]) -> Listed:
    samples: list[tuple[Split, Sample]] = []
    skipped: Counter[str] = Counter()
    for one in found:
        folder = source.joinpath(*one.parts)
        paths, passed_over = _files(folder)
        skipped += passed_over
        for path in paths:
            below = path.relative_to(folder).parts
            if kind := kind_of_skipped(below, partial(_head, path)):
                skipped[kind] += 1
                continue
            pathogen = pathogen_of(below, one.pathogen) if one.label else ""
            samples.append((one.split, Sample(path, one.label, "", False, pathogen)))
    skipped += _outside(source, found)
    return Listed(tuple(samples), skipped)


def _files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the files below a folder by name, and what cannot be one of them by kind: a pipe would wait for ever."""
    found: list[Path] = []
    passed_over: Counter[str] = Counter()

    def unreadable(_: OSError) -> None:
        passed_over[_UNREADABLE_FOLDERS] += 1

    for place, folders, names in os.walk(folder, onerror=unreadable):
        passed_over[_LINKED_FOLDERS] += sum(Path(place, name).is_symlink() for name in folders)
        for name in names:
            if Path(place, name).is_file():
                found.append(Path(place, name))
            else:
                passed_over[_NO_FILES] += 1
    return sorted(found), +passed_over


def _outside(source: Path, found: tuple[ClassFolder, ...]) -> Counter[str]:
    """Count the files beside the class folders: by folder, or by kind in the folders above the classes."""
    above = {one.parts[:k] for one in found for k in range(len(one.parts))}
    used = {one.parts for one in found} | above
    counted: Counter[str] = Counter()
    budget = iter(range(_MOST_COUNTED))
    for parts in sorted(above):
        folder = source.joinpath(*parts)
        for name in sub_folders(folder):
            if (*parts, name) not in used:
                files = (name for _, _, names in os.walk(folder / name) for name in names)
                if n := sum(1 for _ in zip(files, budget, strict=False)):
                    counted[f"files in {'/'.join((*parts, name))}/"] += n
        for path in _entries(folder, is_folder=False):
            counted[kind_of_skipped((path.name,), partial(_head, path)) or "pictures outside the class folders"] += 1
    return counted


def _was_read_before(root: Path, sample: Sample) -> bool:
    """Whether versions before 0.2.0 read a file: by its ending, and the exact names of its folders."""
    below = sample.path.relative_to(root).parts
    classes = below[1:] if split_of(below[0]) is not None else below
    return (
        sample.path.suffix.lower() in _BEFORE_0_2
        and classes[0] == CLASSES[sample.label]
        and below[0] in ("train", "val", "test", *CLASSES)
    )


def _places(request: DataRequest) -> str:
    return ", ".join(str(path) for path in request.sources)


def _head(path: Path, size: int = HEAD_BYTES) -> bytes:
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:  # a file that cannot be read is listed, and reported when it is decoded
        return b"\xff\xd8\xff"


def _key(path: Path | None) -> bytes:
    return key_of_this_process() if path is None else read_patient_key(path)


def _acquisition(path: Path, key_file: Path | None) -> Acquisition:
    """Return what a DICOM header says; nothing for other files."""
    if path.suffix.lower() in _PICTURES:
        return Acquisition()
    try:
        state = path.stat()
        return _read_acquisition(path, state.st_size, state.st_mtime_ns, key_file)
    except OSError:
        return Acquisition()


@lru_cache(maxsize=100_000)
def _read_acquisition(path: Path, _size: int, _changed_ns: int, key_file: Path | None) -> Acquisition:
    """Read a header once for each state of the file: a run lists its dataset several times."""
    head = _head(path, _HEADER_BYTES)
    if not is_dicom(head):
        return Acquisition()
    known = read_acquisition(head, partial(_key, key_file))
    return known or read_acquisition(path.read_bytes(), partial(_key, key_file)) or Acquisition()

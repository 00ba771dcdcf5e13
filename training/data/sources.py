"""The datasets that may be used for training: folders below the configured data roots, and uploads.

Pages identify a dataset by its id and never by a path, so that no URL can make the app read another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import DatasetError
from core.settings import Settings
from training.data.dataset import find_class_folders, list_source, sub_folders, tables_in
from training.data.layout import ClassFolder
from training.data.sample import CLASSES
from training.data.tables import is_table_of_radiographs

MAX_DEPTH = 3
# Bounds, so that a data root above a hospital's archive is listed at once.
MAX_DATASETS = 200
MAX_FOLDERS = 2_000
MAX_TABLES = 20
_NOT_THERE = "Select the data again. Folders must be below the data roots of this installation."


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder that can be used for training; `id` is a short hash of the resolved path.

    `n` is the number of radiographs by split and class, {"train": {"NORMAL": 12, "PNEUMONIA": 30}}, or None before
    `with_counts`.
    """

    id: str
    name: str
    path: Path
    n: Mapping[str, Mapping[str, int]] | None = None
    is_upload: bool = False


def data_roots(settings: Settings) -> tuple[Path, ...]:
    """Return the folders below which datasets are searched, resolved; the last one holds the uploads."""
    return tuple(dict.fromkeys(root.resolve() for root in (*settings.data_roots, settings.datasets_dir)))


def list_datasets(settings: Settings) -> tuple[Dataset, ...]:
    """Return the folders below the data roots that look like a dataset, without counting radiographs.

    The search is bounded in depth and number, so a very large tree is listed in part.
    """
    roots = data_roots(settings)
    found: dict[Path, Dataset] = {}
    seen = 0
    waiting = [(root, 0) for root in reversed(roots)]
    while waiting and len(found) < MAX_DATASETS and seen < MAX_FOLDERS:
        folder, depth = waiting.pop()
        seen += 1
        if not _lies_below(folder, roots):
            continue
        if is_dataset(folder):
            found.setdefault(folder.resolve(), _describe(settings, folder))
        if depth == MAX_DEPTH or any(len(one.parts) == 1 for one in _class_folders(folder)):
            continue
        # Sub-folders of a dataset with splits are searched as well: its train/ is a dataset of its own.
        waiting += [(child, depth + 1) for child in reversed(_folders(folder))]
    return tuple(found.values())


def find_dataset(settings: Settings, dataset_id: str) -> Dataset:
    """Return the dataset with the id `dataset_id` below the data roots of `settings`.

    Raises
    ------
    DatasetError
        If there is none.
    """
    for dataset in list_datasets(settings):
        if dataset.id == dataset_id:
            return dataset
    raise DatasetError("expected the id of a dataset below the data roots. Received: an unknown id", advice=_NOT_THERE)


def dataset_at(settings: Settings, path: Path) -> Dataset:
    """Return the dataset at `path` below the data roots of `settings`.

    Raises
    ------
    DatasetError
        If the folder is not a dataset, or outside the data roots.
    """
    if not _lies_below(path, data_roots(settings)):
        raise DatasetError("expected a folder below the data roots. Received: a folder outside", advice=_NOT_THERE)
    if not is_dataset(path):
        raise DatasetError(
            f"expected a folder with {' and '.join(CLASSES)}, or a table. Received: a folder without, or a deleted one",
            advice="Check that the folder still exists, or select the data again.",
        )
    return _describe(settings, path)


def with_counts(dataset: Dataset) -> Dataset:
    """Return the dataset with its radiographs counted, by part and class."""
    counts: dict[str, dict[str, int]] = {}
    for part, label, _ in pictures(dataset.path):
        counts.setdefault(part, dict.fromkeys(CLASSES, 0))[label] += 1
    return replace(dataset, n=counts)


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like a dataset: both classes, train/ above them, or one table of radiographs."""
    labels = {one.label for one in _class_folders(folder) if one.split == "train"}
    return labels == {0, 1} or (not labels and table_of(folder) is not None)


def table_of(folder: Path) -> Path | None:
    """Return the table of a dataset folder without class folders; None where there is none, or several."""
    if _class_folders(folder):
        return None
    fit = [path for path in tables_in(folder)[:MAX_TABLES] if is_table_of_radiographs(path)]
    return fit[0] if len(fit) == 1 else None


def class_places(folder: Path) -> list[Path]:
    """Return the class folders of a dataset folder."""
    return [folder.joinpath(*one.parts) for one in _class_folders(folder)]


def _class_folders(folder: Path) -> tuple[ClassFolder, ...]:
    return find_class_folders(folder, nested=False)


def pictures(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (split, class, path) of every file that training would read, judged by its name.

    Raises
    ------
    DatasetError
        If the dataset's table cannot be used.
    """
    for split, sample in list_source(folder, nested=False, confined=True).samples:
        yield split, CLASSES[sample.label], sample.path


def delete_dataset(settings: Settings, dataset_id: str, in_use: Collection[Path]) -> None:
    """Delete an uploaded dataset permanently.

    Parameters
    ----------
    settings
        Data roots and uploads.
    dataset_id
        Of an upload.
    in_use
        Folders that running or queued trainings and audits read.

    Raises
    ------
    DatasetError
        If it is not an upload, or in use.
    """
    dataset = find_dataset(settings, dataset_id)
    if not dataset.is_upload:
        raise DatasetError(
            "expected an upload. Received: a folder of the server",
            advice="Only uploads can be deleted here. Delete other folders on the server.",
        )
    if any(one.resolve().is_relative_to(dataset.path) for one in in_use):
        raise DatasetError(
            "expected an unused upload. Received: one that an audit or a training uses",
            advice="Wait until the audit or the training has finished, or cancel it. Then delete the upload.",
        )
    # Renamed first, so that it leaves every list at once and an interrupted deletion leaves no partial dataset.
    grave = Path(tempfile.mkdtemp(prefix=".deleted-", dir=dataset.path.parent))
    dataset.path.rename(grave / "dataset")
    shutil.rmtree(grave)


def _describe(settings: Settings, folder: Path) -> Dataset:
    resolved, uploads = folder.resolve(), settings.datasets_dir.resolve()
    if resolved.is_relative_to(uploads):
        name = resolved.relative_to(uploads).as_posix()
    else:
        root = next(root for root in data_roots(settings) if resolved.is_relative_to(root))
        name = (root.name / resolved.relative_to(root)).as_posix()
    return Dataset(
        hashlib.sha256(os.fsencode(resolved)).hexdigest()[:12], name, resolved, is_upload=resolved.parent == uploads
    )


def _lies_below(folder: Path, roots: Collection[Path]) -> bool:
    """Whether a folder and its class folders are below a root after symbolic links are resolved."""
    reached = [folder.resolve(), *(one.resolve() for one in class_places(folder))]
    return all(any(one.is_relative_to(root) for root in roots) for one in reached)


def _folders(folder: Path) -> list[Path]:
    return [folder / name for name in sub_folders(folder)]

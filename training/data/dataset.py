"""A dataset folder: labelled samples, split by patient, and the order of an epoch.

>>> folder = scan_folder(Path("chest_xray"))
>>> folder.train[0].patient
'IM-115'
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.files import private_opener
from core.printable import spreadsheet_text
from core.progress import Tick
from imaging.border import fill_border
from imaging.radiograph import decode_square

CLASSES = ("NORMAL", "PNEUMONIA")
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
Part = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled file; `label` is 1 for pneumonia, `patient` is derived from the file name."""

    path: Path
    label: int
    patient: str
    patient_known: bool
    pathogen: Literal["bacteria", "virus", ""] = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """The samples of a dataset folder by split."""

    root: Path
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]


def patient_of(name: str) -> tuple[str, bool]:
    """Return the patient of a file name.

    "person12_bacteria_47" is patient person12. "IM-0115-0001" and "NORMAL2-IM-0115-0001" count as one patient: whether
    they are is unknown, and holding both out together is harmless.

    Returns
    -------
    tuple of (str, bool)
        The patient, and whether the name has a known form; an unknown name is its own patient.
    """
    if match := re.match(r"person(\d+)_", name):
        return f"person{int(match[1])}", True
    if match := re.search(r"IM-(\d+)", name):
        return f"IM-{int(match[1])}", True
    return Path(name).stem, False


def scan_folder(root: Path) -> DatasetFolder:
    """List the radiographs of a dataset folder.

    Parameters
    ----------
    root
        Holds NORMAL/ and PNEUMONIA/, or train/ and optionally val/ and test/ with these in each.

    Raises
    ------
    DatasetError
        If the folder or a class is missing.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder. Received: {root}", advice="Name a folder that exists on this machine.")
    if (root / "train").is_dir():
        found = {part: _scan_part(root / part) for part in ("train", "val", "test") if (root / part).is_dir()}
    else:
        found = {"train": _scan_part(root)}
    counts = {name: sum(s.label == label for s in found["train"]) for label, name in enumerate(CLASSES)}
    if not all(counts.values()):
        raise DatasetError(
            f"expected radiographs in {' and '.join(CLASSES)}. Received: {counts} in {root}",
            advice="Put the radiographs into two sub-folders called NORMAL and PNEUMONIA.",
        )
    return DatasetFolder(root, found["train"], found.get("val", ()), found.get("test", ()))


def _scan_part(folder: Path) -> tuple[Sample, ...]:
    samples = []
    for label, name in enumerate(CLASSES):
        if not (folder / name).is_dir():
            continue
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                patient, known = patient_of(path.name)
                pathogen: Literal["bacteria", "virus", ""] = (
                    "bacteria" if "_bacteria_" in path.name else "virus" if "_virus_" in path.name else ""
                )
                samples.append(Sample(path, label, patient, known, pathogen))
    return tuple(samples)


def read_samples(
    samples: Sequence[Sample],
    detail_px: int,
    tick: Tick | None = None,
    workers: int = 4,
    fills_border: bool = False,
) -> tuple[list[Sample], npt.NDArray[np.uint8], list[tuple[Path, str]]]:
    """Decode every sample once.

    Parameters
    ----------
    samples
        Files to read.
    detail_px
        Side to which each radiograph is squashed.
    tick
        Called with 1 after each file.
    workers
        Threads that read. More than there are processors, since each waits for its decoder (`imaging.worker`).
    fills_border
        Whether the radiograph's margin continues over a black border.

    Returns
    -------
    tuple
        Readable samples with their sha256, pictures uint8 (n, detail_px, detail_px), and (path, reason) of each
        failure.
    """

    def one(sample: Sample) -> tuple[str, npt.NDArray[np.uint8]] | str:
        try:
            square, digest = decode_square(sample.path.read_bytes(), detail_px)
            return digest, fill_border(square) if fills_border else square
        except (OSError, RadiographError) as error:
            return str(error)
        finally:
            if tick is not None:
                tick(1)

    kept, pictures, failures = [], [], []
    with ThreadPoolExecutor(workers) as pool:
        for sample, result in zip(samples, pool.map(one, samples), strict=True):
            if isinstance(result, str):
                failures.append((sample.path, result))
            else:
                kept.append(replace(sample, sha256=result[0]))
                pictures.append(result[1])
    stacked = np.stack(pictures) if pictures else np.zeros((0, detail_px, detail_px), np.uint8)
    return kept, stacked, failures


def split_by_patient(samples: Sequence[Sample], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Hold out a share of the patients of each class.

    No patient is in both parts, and neither are byte-identical files of two patients.

    Parameters
    ----------
    samples
        (n,); their order does not matter.
    fraction
        Share of the patients, in (0, 1).
    seed
        Of the draw.

    Returns
    -------
    npt.NDArray[np.bool_]
        (n,), True for held-out samples.

    Raises
    ------
    ValueError
        Unless 0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction between 0 and 1. Received: {fraction}")
    group = _joined_groups(samples)
    held_out: set[str] = set()
    positive = {group[s.patient] for s in samples if s.label}
    for members in (positive, set(group.values()) - positive):
        ordered = sorted(members)
        np.random.default_rng(seed).shuffle(ordered)
        held_out.update(ordered[: max(1, round(fraction * len(ordered)))] if len(ordered) > 1 else [])
    return np.array([group[s.patient] in held_out for s in samples], dtype=bool)


def _joined_groups(samples: Sequence[Sample]) -> dict[str, str]:
    """Map each patient to the first name of its group; patients that share a file's bytes share a group."""
    parent = {s.patient: s.patient for s in samples}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    seen: dict[str, str] = {}
    for sample in samples:
        if sample.sha256:
            first = seen.setdefault(sample.sha256, sample.patient)
            low, high = sorted((root(first), root(sample.patient)))
            parent[high] = low
    return {name: root(name) for name in parent}


def hold_out(train: Sequence[Sample], val: Sequence[Sample], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Mark the radiographs of validation.

    They are those of patients held out from `train`, all of `val`, which may be 16 radiographs, and those in `train` of
    patients in `val`.

    Parameters
    ----------
    train, val
        Samples of both splits.
    fraction, seed
        As in `split_by_patient`.

    Returns
    -------
    ndarray
        (len(train) + len(val),), bool, in the order [*train, *val].
    """
    everything = [*train, *val]
    group = _joined_groups(everything)
    chosen = {group[s.patient] for s, out in zip(train, split_by_patient(train, fraction, seed), strict=True) if out}
    chosen |= {group[s.patient] for s in val}
    return np.array([group[s.patient] in chosen for s in everything], dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFolder:
    """A dataset folder in memory: squashed pictures, uint8 (n, detail_px, detail_px), and `held_out`, bool (n,)."""

    folder: DatasetFolder
    samples: list[Sample]
    pictures: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.bool_]
    unreadable: int

    @property
    def labels(self) -> npt.NDArray[np.int_]:
        """1 for pneumonia, int (n,)."""
        return np.array([sample.label for sample in self.samples])

    @property
    def virus(self) -> npt.NDArray[np.int_]:
        """1 for viral, 0 for bacterial pneumonia, −1 where the file name gives no pathogen; int (n,)."""
        return np.array([{"virus": 1, "bacteria": 0}.get(sample.pathogen, -1) for sample in self.samples])

    def side(self, held_out: bool) -> list[Sample]:
        """Return the samples of one side of the split."""
        return [s for s, out in zip(self.samples, self.held_out, strict=True) if out == held_out]


def load_folder(
    root: Path,
    detail_px: int,
    validation_fraction: float,
    seed: int,
    tick: Tick | None = None,
    fills_border: bool = False,
) -> LoadedFolder:
    """Read the train and val splits of a dataset and hold patients out.

    Parameters
    ----------
    root
        The dataset.
    detail_px
        Side of the squashed pictures in pixels.
    validation_fraction, seed
        As in `hold_out`.
    tick
        Called with 1 after each file.
    fills_border
        Whether black margins are filled by continuing the border.

    Returns
    -------
    LoadedFolder
        Radiographs that could be read.

    Raises
    ------
    DatasetError
        If a class has no readable radiograph, or there are too few patients to hold any out.
    """
    folder = scan_folder(root)
    train, train_pictures, train_failed = read_samples(folder.train, detail_px, tick, fills_border=fills_border)
    val, val_pictures, val_failed = read_samples(folder.val, detail_px, tick, fills_border=fills_border)
    if {s.label for s in train} != {0, 1}:
        raise DatasetError(
            "expected readable radiographs of both classes. Received: one class or none",
            advice="Check that the files in NORMAL and PNEUMONIA open in a viewer.",
        )
    held_out = hold_out(train, val, validation_fraction, seed)
    samples = [*train, *val]
    sides = [{s.label for s, out in zip(samples, held_out, strict=True) if out == side} for side in (False, True)]
    if sides != [{0, 1}, {0, 1}]:
        raise DatasetError(
            f"expected at least two patients of each class. Received: {len({s.patient for s in samples})} patients",
            advice="Add radiographs of more patients; validation needs patients that training has not seen.",
        )
    return LoadedFolder(
        folder, samples, np.concatenate((train_pictures, val_pictures)), held_out, len(train_failed) + len(val_failed)
    )


def digest(samples: Iterable[Sample]) -> str:
    """Return the digest of a set of samples: sha256 over the sorted (file digest, label) pairs."""
    lines = sorted(f"{s.sha256} {s.label}" for s in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_manifest(path: Path, samples: Sequence[Sample], held_out: npt.NDArray[np.bool_], root: Path) -> None:
    """Write split.csv: path below the dataset folder, label, patient, SHA-256, part.

    Parameters
    ----------
    path
        The file.
    samples
        (n,), samples below `root`.
    held_out
        (n,), bool.
    root
        The dataset folder.
    """
    with open(path, "w", newline="", encoding="utf-8", opener=private_opener) as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "patient", "patient_known", "sha256", "part"))
        for sample, out in zip(samples, held_out, strict=True):
            writer.writerow(
                (
                    spreadsheet_text(sample.path.relative_to(root).as_posix()),
                    CLASSES[sample.label],
                    spreadsheet_text(sample.patient),
                    int(sample.patient_known),
                    sample.sha256,
                    "validation" if out else "train",
                )
            )


def epoch_order(labels: npt.NDArray[np.int_], max_ratio: float, rng: np.random.Generator) -> npt.NDArray[np.int_]:
    """Draw one epoch: all samples of the smaller class, and a random part of the larger one.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.
    max_ratio
        Largest ratio of the larger to the smaller class, at least 1.
    rng
        Generator of the draw, which changes from epoch to epoch.

    Returns
    -------
    npt.NDArray[np.int_]
        (m,), indices in random order.
    """
    by_class = [np.flatnonzero(labels == label) for label in (0, 1)]
    smaller = min(len(members) for members in by_class)
    limit = max(1, int(smaller * max_ratio))
    drawn = [rng.permutation(members)[:limit] for members in by_class]
    return rng.permutation(np.concatenate(drawn))

"""The split of a dataset by patient, its record, and the order of an epoch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.files import private_opener
from core.printable import spreadsheet_text
from training.data.sample import CLASSES, Sample


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

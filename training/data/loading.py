"""A dataset in memory: each radiograph decoded once and squashed to a square, with the split by patient."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.progress import Tick
from imaging.border import fill_border
from imaging.radiograph import decode_square
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder, scan
from training.data.duplicates import Fingerprint, same_radiographs, square_fingerprint
from training.data.sample import CLASSES, Sample
from training.data.split import groups_of, hold_out


def read_samples(
    samples: Sequence[Sample],
    detail_px: int,
    tick: Tick | None = None,
    workers: int = 4,
    fills_border: bool = False,
    fingerprints: list[Fingerprint] | None = None,
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
    fingerprints
        Extended by that of each readable radiograph, before its border is filled.

    Returns
    -------
    tuple
        Readable samples with their sha256, pictures uint8 (n, detail_px, detail_px), and (path, reason) of each
        failure.
    """

    def one(sample: Sample) -> tuple[str, npt.NDArray[np.uint8], Fingerprint] | str:
        try:
            square, digest = decode_square(sample.path.read_bytes(), detail_px)
            return digest, fill_border(square) if fills_border else square, square_fingerprint(square)
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
                if fingerprints is not None:
                    fingerprints.append(result[2])
    stacked = np.stack(pictures) if pictures else np.zeros((0, detail_px, detail_px), np.uint8)
    return kept, stacked, failures


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFolder:
    """A dataset folder in memory.

    Attributes
    ----------
    folder
        The dataset.
    samples
        (n,), the readable radiographs of its train and val splits, in that order.
    pictures
        (n, detail_px, detail_px), uint8: squashed to squares.
    held_out
        (n,), bool: validation.
    unreadable
        Number of files that could not be read.
    fingerprints
        (n,), one of each radiograph; empty where they were not taken.
    groups
        (n,), the name of the group that each radiograph belongs to and that the split keeps together: patients, and
        patients with the same picture. Empty where the split knows patients and files alone.
    """

    folder: DatasetFolder
    samples: list[Sample]
    pictures: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.bool_]
    unreadable: int
    fingerprints: list[Fingerprint] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    @property
    def labels(self) -> npt.NDArray[np.int_]:
        """1 for pneumonia, int (n,)."""
        return np.array([sample.label for sample in self.samples])

    @property
    def virus(self) -> npt.NDArray[np.int_]:
        """1 for viral, 0 for bacterial pneumonia, −1 where the file name gives no pathogen; int (n,)."""
        return np.array([{"virus": 1, "bacteria": 0}.get(sample.pathogen, -1) for sample in self.samples])

    @property
    def sources(self) -> npt.NDArray[np.int_]:
        """Source of each sample by number, int (n,)."""
        return np.unique([sample.source for sample in self.samples], return_inverse=True)[1].astype(np.int_)

    def groups_of_side(self, held_out: bool) -> list[str]:
        """Return the group of each sample of one side: patients, joined where they share a picture."""
        names = self.groups or groups_of(self.samples)
        return [name for name, out in zip(names, self.held_out, strict=True) if out == held_out]

    def side(self, held_out: bool) -> list[Sample]:
        """Return the samples of one side of the split."""
        return [s for s, out in zip(self.samples, self.held_out, strict=True) if out == held_out]


def load_folder(
    data: Path | DataRequest,
    detail_px: int,
    validation_fraction: float,
    seed: int,
    tick: Tick | None = None,
    fills_border: bool = False,
    keeps_duplicates: bool = True,
) -> LoadedFolder:
    """Read the train and val splits of a dataset and hold patients out.

    Radiographs that are the same after decoding, or nearly, are on one side of the split, whatever their patients are
    called (`training.data.duplicates.same_radiographs`).

    Parameters
    ----------
    data
        The dataset.
    detail_px
        Side of the squashed pictures in pixels.
    validation_fraction, seed
        As in `hold_out`.
    tick
        Called with 1 after each file.
    fills_border
        Whether black margins are filled by continuing the border.
    keeps_duplicates
        Whether the same pictures stay together; False repeats a split that was drawn before this was so.

    Returns
    -------
    LoadedFolder
        Radiographs that could be read.

    Raises
    ------
    DatasetError
        If a class has no readable radiograph, or there are too few patients to hold any out.
    """
    folder = scan(data)
    fingerprints: list[Fingerprint] = []
    (train, train_pictures, train_failed), (val, val_pictures, val_failed) = (
        read_samples(part, detail_px, tick, fills_border=fills_border, fingerprints=fingerprints)
        for part in (folder.train, folder.val)
    )
    if {s.label for s in train} != {0, 1}:
        raise DatasetError(
            "expected readable radiographs of both classes. Received: one class or none",
            advice="Check that the files in NORMAL and PNEUMONIA open in a viewer.",
        )
    same = same_radiographs(fingerprints) if keeps_duplicates else ()
    held_out = hold_out(train, val, validation_fraction, seed, same)
    samples = [*train, *val]
    sides = [{s.label for s, out in zip(samples, held_out, strict=True) if out == side} for side in (False, True)]
    if sides != [{0, 1}, {0, 1}]:
        raise DatasetError(
            f"expected at least two patients of each class. Received: {_patients_by_class(samples, same)}",
            advice="Add radiographs of more patients; validation needs patients that training has not seen. "
            "Copies of a radiograph count once.",
        )
    return LoadedFolder(
        folder,
        samples,
        np.concatenate((train_pictures, val_pictures)),
        held_out,
        len(train_failed) + len(val_failed),
        fingerprints,
        groups_of(samples, same) if keeps_duplicates else [],
    )


def _patients_by_class(samples: Sequence[Sample], same: Sequence[Sequence[int]]) -> str:
    groups = groups_of(samples, same)
    return ", ".join(
        f"{len({g for g, s in zip(groups, samples, strict=True) if s.label == label})} {name}"
        for label, name in enumerate(CLASSES)
    )

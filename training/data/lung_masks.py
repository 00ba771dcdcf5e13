"""Films with drawn lungs: which pixels belong to which lung, for training and measuring the anatomy network.

>>> drawn = read_lung_films(Path("chest_xray/train"), Path("lung_masks"))
>>> drawn.films.shape, int(drawn.labels.max())
((4808, 224, 224), 3)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.progress import Tick
from imaging.radiograph import decode_square
from training.data.layout import class_of, split_of
from training.data.regions import DEVICE, LUNG_BESIDE_OPACITY, MarkedFilm, read_mask, read_masks
from training.data.sample import CLASSES

Pictures = npt.NDArray[np.uint8]
PX = 224
# Values of a map of labels. Nothing is learned or measured where a device or a marking hides the outline.
BESIDE, LEFT, RIGHT, UNKNOWN = 0, 1, 2, 3
# A part of a mask that is smaller than this share of it is an island of a lung and no lung of its own.
_LUNG_SHARE = 0.12
# A mask in one piece that is narrower than this share of the film is one lung; both have been drawn as one otherwise.
_ONE_LUNG = 0.5
# Lungs that cover less of a film than this cannot be meant.
_LEAST_LUNG = 0.02
_OTHER = ""


@dataclass(frozen=True, slots=True, eq=False)
class LungFilms:
    """Films, squashed to a square, with their drawn lungs.

    Attributes
    ----------
    films
        (n, PX, PX), uint8.
    labels
        (n, PX, PX), uint8: `LEFT` and `RIGHT` are the lungs on the left and right of the picture, `UNKNOWN` is hidden
        by a device or a marking, and the rest is `BESIDE` them.
    names
        Path of each film below the folder of films.
    patients
        The patient of each, by the rules of `training.data.patients`.
    patients_known
        Whether every patient is known; else a film counts as a patient.
    classes
        "NORMAL" or "PNEUMONIA" by the film's folder, "" where it does not say.
    sha256
        Of each file.
    left_out
        Number of films and masks that are not used, by the reason in words.
    """

    films: Pictures
    labels: Pictures
    names: tuple[str, ...]
    patients: tuple[str, ...]
    patients_known: bool
    classes: tuple[str, ...]
    sha256: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def at(self, places: Sequence[int] | npt.NDArray[np.int_]) -> LungFilms:
        """Return the films at `places`, in their order."""
        kept = [int(place) for place in places]
        return LungFilms(
            self.films[kept],
            self.labels[kept],
            tuple(self.names[i] for i in kept),
            tuple(self.patients[i] for i in kept),
            self.patients_known,
            tuple(self.classes[i] for i in kept),
            tuple(self.sha256[i] for i in kept),
            self.left_out,
        )


def read_lung_films(data: Path, masks: Path, tick: Tick | None = None) -> LungFilms:
    """Read the films of a folder whose lungs are drawn.

    Parameters
    ----------
    data
        Folder of films, in any layout. Folders that are named as a test set are left out.
    masks
        Folder of masks, paired with the films as `training.data.regions.read_masks` does: 255 is lung, 127 a device or
        a marking; or 255 an opacity and 128 lung, which both count as lung. A table `masks.csv` may name them; films
        that match their mask less than 0.80 are left out.
    tick
        Called with the number of films that were read.

    Returns
    -------
    LungFilms
        Those that could be read.

    Raises
    ------
    DatasetError
        If a folder is missing or no film has a mask that can be read.
    """
    marked = read_masks(data, masks)
    least = LUNG_BESIDE_OPACITY if marked.marks == "opacities" else LUNG_BESIDE_OPACITY + 1
    wanted = [film for film in marked.films if not _is_test(film.path, data)]
    left_out = dict(marked.left_out)
    if tests := len(marked.films) - len(wanted):
        left_out["films of a test set"] = tests
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        read = []
        for one in pool.map(partial(_read, least), wanted):
            read.append(one)
            if tick is not None:
                tick(1)
    kept = [(film, one) for film, one in zip(wanted, read, strict=True) if one is not None]
    if failed := len(read) - len(kept):
        left_out["films or masks that cannot be read, or masks without lungs"] = failed
    if not kept:
        raise DatasetError(
            "expected films with drawn lungs. Received: none that can be read",
            advice="Masks are PNG files over the whole film, in which the lungs have the value 255.",
        )
    return LungFilms(
        np.stack([one[0] for _, one in kept]),
        np.stack([one[1] for _, one in kept]),
        tuple(_below(film.path, data).as_posix() for film, _ in kept),
        tuple(film.patient for film, _ in kept),
        all(film.patient_known for film, _ in kept),
        tuple(_class(film.path, data) for film, _ in kept),
        tuple(one[2] for _, one in kept),
        left_out,
    )


def label_lungs(mask: Pictures) -> Pictures:
    """Return which pixels of a drawn mask belong to which lung.

    Parameters
    ----------
    mask
        (H, W), uint8: 255 lung, 127 device or marking. Grey values at a resampled edge count as lung from 128 on.

    Returns
    -------
    ndarray
        (H, W), uint8, as `LungFilms.labels`. Where both lungs were drawn in one piece it is cut where it is least high;
        a piece narrower than half the film is one lung.
    """
    lung = (mask > LUNG_BESIDE_OPACITY).astype(np.uint8)
    labels = np.where(mask == DEVICE, UNKNOWN, BESIDE).astype(np.uint8)
    count, parts, boxes, middles = cv2.connectedComponentsWithStats(lung)
    areas = boxes[:, cv2.CC_STAT_AREA]
    large = sorted(
        (part for part in range(1, count) if areas[part] >= _LUNG_SHARE * lung.sum()), key=lambda part: -areas[part]
    )
    if len(large) >= 2:
        left, right = sorted(middles[part][0] for part in large[:2])
        for part in range(1, count):
            is_right = abs(middles[part][0] - right) < abs(middles[part][0] - left)
            labels[parts == part] = RIGHT if is_right else LEFT
    elif large:
        columns = np.arange(mask.shape[1])[None]
        labels[lung > 0] = np.where(columns >= _cut(lung), RIGHT, LEFT).repeat(mask.shape[0], 0)[lung > 0]
    return labels


def _cut(lung: Pictures) -> float:
    """Return the column from which on a mask in one piece belongs to the right of the picture."""
    heights = lung.sum(0)
    columns = np.flatnonzero(heights)
    first, width = int(columns[0]), int(columns[-1] - columns[0] + 1)
    if width < _ONE_LUNG * lung.shape[1]:
        return 0.0 if first + width / 2 >= lung.shape[1] / 2 else float(lung.shape[1])
    inner = slice(first + width // 3, first + max(2 * width // 3, width // 3 + 1))
    return float(inner.start + int(np.argmin(heights[inner])))


def _read(least: int, film: MarkedFilm) -> tuple[Pictures, Pictures, str] | None:
    """Return square, labels and SHA-256 of a film, None where it or its mask cannot be read."""
    if film.mask is None:
        return None
    try:
        square, sha256 = decode_square(film.path.read_bytes(), PX)
        mask = read_mask(film.mask)
    except (OSError, RadiographError):
        return None
    if mask.shape != (PX, PX):
        mask = np.asarray(cv2.resize(mask, (PX, PX), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    labels = label_lungs(np.where(mask >= least, 255, mask).astype(np.uint8))
    lung = (labels == LEFT) | (labels == RIGHT)
    return (square, labels, sha256) if lung.mean() >= _LEAST_LUNG else None


def _below(path: Path, data: Path) -> Path:
    """Return a film's path below the folder of films; a table may also name films beside it."""
    return path.relative_to(data) if path.is_relative_to(data) else Path(path.name)


def _is_test(path: Path, data: Path) -> bool:
    return any(split_of(name) == "test" for name in _below(path, data).parts[:-1])


def _class(path: Path, data: Path) -> str:
    """Return the class of the folder that a film is in, or in which the films are."""
    names = (*data.resolve().parts[-1:], *_below(path, data).parts[:-1])
    found = [known for name in names if (known := class_of(name)) is not None]
    return CLASSES[found[-1][0]] if found else _OTHER

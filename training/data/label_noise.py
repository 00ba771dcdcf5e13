"""Films whose label may be wrong, ranked by confident learning.

A quick model, logistic regression on histograms of gradients, predicts each film from the films of other patients. It
has not seen the labels that it judges, and it knows nothing of the classifier in use, which may have learned them by
heart.

References
----------
Northcutt, Jiang, Chuang 2021, "Confident learning: estimating uncertainty in dataset labels", JAIR 70, 1373–1411;
Dalal & Triggs 2005, "Histograms of oriented gradients for human detection".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.progress import Tick
from model.metrics import auroc
from training.data.dataset import DatasetFolder
from training.data.duplicates import Fingerprint, same_radiographs
from training.data.loading import read_samples
from training.data.sample import CLASSES
from training.data.split import groups_of

FOLDS = 5
# Fewest groups of a class of which every fold has some.
LEAST_GROUPS = 2 * FOLDS
DETAIL_PX, CELLS, ORIENTATIONS, COMPONENTS = 112, 14, 9, 150
MOST_LISTED = 50


@dataclass(frozen=True, slots=True)
class SuspiciousFilm:
    """A film whose label may be wrong: its name, its label, and the probability of that label, in [0, 1]."""

    file: str
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Films whose label may be wrong.

    Attributes
    ----------
    n
        Number of films that were judged.
    auroc
        Of the quick model's out-of-fold probabilities against the labels: with a value near 0.5 the ranking says
        nothing.
    suspected
        Number of films of each class that confident learning assigns to the other one.
    films
        The most suspicious of them, the least probable label first, at most `MOST_LISTED`.
    """

    n: int
    auroc: float
    suspected: dict[str, int]
    films: tuple[SuspiciousFilm, ...]


def rank_labels(folder: DatasetFolder, tick: Tick | None = None) -> LabelNoise | None:
    """Read the train and val splits of a dataset and rank the labels that may be wrong.

    Parameters
    ----------
    folder
        The dataset; its test split is not read.
    tick
        Called with 1 after each file.

    Returns
    -------
    LabelNoise or None
        None with fewer than `LEAST_GROUPS` patients of a class.
    """
    fingerprints: list[Fingerprint] = []
    samples, pictures, _ = read_samples([*folder.train, *folder.val], DETAIL_PX, tick, fingerprints=fingerprints)
    labels = np.array([s.label for s in samples], int)
    groups = groups_of(samples, same_radiographs(fingerprints))
    if min(len({g for g, y in zip(groups, labels, strict=True) if y == label}) for label in (0, 1)) < LEAST_GROUPS:
        return None
    probabilities = out_of_fold(np.stack([gradient_histograms(one) for one in pictures]), labels, groups)
    order = suspicious(labels, probabilities)
    given = np.where(labels == 1, probabilities, 1 - probabilities)
    return LabelNoise(
        len(samples),
        auroc(labels, probabilities),
        {name: int((labels[order] == label).sum()) for label, name in enumerate(CLASSES)},
        tuple(
            SuspiciousFilm(folder.name_of(samples[i]), CLASSES[labels[i]], float(given[i])) for i in order[:MOST_LISTED]
        ),
    )


def suspicious(labels: npt.NDArray[np.int_], probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int_]:
    """Return the films that confident learning assigns to the other class, the least probable label first.

    A film counts as one of a class if its probability of that class reaches the mean of that probability over the films
    with that label; where it reaches both, the larger one decides.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.
    probabilities
        (n,), float64 in [0, 1]: of pneumonia, from a model that has not seen the film.

    Returns
    -------
    ndarray
        (m,), int: places of the films.
    """
    by_class = np.stack((1 - probabilities, probabilities), axis=1)
    threshold = np.array([by_class[labels == label, label].mean() for label in (0, 1)])
    reached = np.where(by_class >= threshold, by_class, -1.0)
    assigned = np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), labels)
    places = np.flatnonzero(assigned != labels)
    return places[np.argsort(by_class[places, labels[places]], kind="stable")]


def gradient_histograms(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the histograms of gradients of a squashed picture.

    Parameters
    ----------
    picture
        (DETAIL_PX, DETAIL_PX), uint8.

    Returns
    -------
    ndarray
        (CELLS ** 2 * ORIENTATIONS,), float32: share of each direction of the gradient in each cell.
    """
    grey = picture.astype(np.float32)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    direction = np.minimum((np.arctan2(dy, dx) % np.pi) * ORIENTATIONS / np.pi, ORIENTATIONS - 1).astype(int)
    cells = np.stack(
        [
            cv2.resize(strength * (direction == k), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
            for k in range(ORIENTATIONS)
        ],
        axis=-1,
    )
    norm = np.linalg.norm(cells, axis=-1, keepdims=True) + cells.mean() + 1e-6
    return np.asarray((cells / norm).ravel(), np.float32)


def out_of_fold(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int_], groups: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return the probability of pneumonia of each film from a model that was fitted to films of other groups.

    Parameters
    ----------
    features
        (n, d), float32.
    labels
        (n,), int in {0, 1}.
    groups
        (n,), no group is in two folds.

    Returns
    -------
    ndarray
        (n,), float64 in [0, 1].
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline

    found = np.zeros(len(labels))
    for fitted, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, labels, groups):
        components = min(COMPONENTS, len(fitted) // 2)
        quick = make_pipeline(
            PCA(components, svd_solver="randomized", random_state=0, whiten=True),
            LogisticRegression(C=0.03, max_iter=300, class_weight="balanced"),
        )
        found[held_out] = quick.fit(features[fitted], labels[fitted]).predict_proba(features[held_out])[:, 1]
    return found


def to_json(noise: LabelNoise) -> dict[str, Any]:
    """Return the ranking `noise` as JSON values."""
    return {
        "n": noise.n,
        "auroc": round(noise.auroc, 4) if math.isfinite(noise.auroc) else None,
        "suspected": noise.suspected,
        "films": [
            {"file": one.file, "label": one.label, "probability_of_label": round(one.probability, 6)}
            for one in noise.films
        ],
    }


def to_text(noise: LabelNoise, most: int = 10) -> list[str]:
    """Return the ranking `noise` as lines for a terminal, with its first `most` films."""
    suspected = " and ".join(f"{n} {name}" for name, n in noise.suspected.items())
    lines = [
        f"label noise: {suspected} of {noise.n} films look like the other class to a quick model that has not seen "
        f"them (AUROC {noise.auroc:.3f}). Look at them; a film in this list is not wrong for that reason alone."
    ]
    return lines + [f"  {one.probability:.4f} {one.label} {one.file}" for one in noise.films[:most]]

"""Training population: the distance of a picture from a version's training radiographs, in the network's own features.

Early layers represent the kind of image, the last ones little but the finding, so the distance is taken in early
features: standardised, projected on the principal axes of the training radiographs and whitened, it is the distance to
the nearest of them (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors",
https://arxiv.org/abs/2204.06507). Nearest neighbours rather than the mean, because a rare kind of radiograph is not an
outlier. Linear heads on the same features predict orientation, inverted grayscale, cropping, and whether the image is a
chest radiograph. `training.fitting.population` fits them; this module reads and applies them. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.files import write_atomically
from model.assessment import Neighbour, Population
from model.calibration import sigmoid
from model.networks.architectures import GRID, POSES

Float = npt.NDArray[np.float32]
POPULATION = "population.npz"
PARTS = GRID**2
NEIGHBOURS = 3
# Number of nearest neighbours in the mean distance: a single one may be an outlier of the training set.
NEAREST = 5
LABELS = ("NORMAL", "PNEUMONIA")
HEADS = (*(f"pose{i}" for i in range(len(POSES))), "outlier", "cropped")
# A linear head is unbounded along any axis; features are clipped this far outside the training radiographs.
BOUND = 8.0
_REFERENCE_STEP = 1 / 24
# What once more the limit of the population adds to the outlier's logit.
_PER_DISTANCE = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of the gate, each chosen on held-out patients by `training.fitting.population`.

    Attributes
    ----------
    outside
        Distance from which a radiograph is outside the training population.
    ood_score
        Score, see the function of this name, from which an image is not a chest radiograph.
    inverted, turned, cropped
        Probabilities, in [0, 1].
    """

    outside: float
    ood_score: float
    inverted: float
    turned: float
    cropped: float


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Judgement of one picture by its features, see `TrainingPopulation.judge`.

    Attributes
    ----------
    population
        Distance from the training population and nearest training cases.
    limits
        Thresholds of the version.
    pose
        (8,), float64: probability of each of `POSES`, adding up to 1.
    ood_score
        Out-of-distribution score; high for images that are not frontal chest radiographs.
    cropped
        Probability that much of the radiograph is missing, in [0, 1].
    """

    population: Population
    limits: Limits
    pose: npt.NDArray[np.float64]
    ood_score: float
    cropped: float

    @property
    def orientation(self) -> tuple[int, bool]:
        """The most probable of `POSES`: (clockwise quarter turns, whether grayscale is inverted)."""
        return POSES[int(np.argmax(self.pose))]

    @property
    def is_inverted(self) -> bool:
        """Whether the grayscale is inverted, with high confidence."""
        return float(self.pose[4:].sum()) >= self.limits.inverted

    @property
    def is_turned(self) -> bool:
        """Whether the picture is rotated, with high confidence."""
        return float(1 - self.pose[0] - self.pose[4]) >= self.limits.turned

    @property
    def is_not_chest(self) -> bool:
        """Whether this is not a frontal chest radiograph. Inside the training population it always is one."""
        return self.population.is_outside and self.ood_score >= self.limits.ood_score

    @property
    def is_cropped(self) -> bool:
        """Whether so much is missing that a lung may be cut off."""
        return self.cropped >= self.limits.cropped


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPopulation:
    """The training population of a classifier version, in the features of its own network.

    Attributes
    ----------
    layers
        Names of the gate layers. The first is averaged over `PARTS` parts, each of them over the whole picture.
    part, whole, last
        Affine maps, each a mean, float32 (d,), and axes, float32 (d, k): of one part of the first gate layer, of all
        gate layers over the whole picture, and of the feature map that explains the logit.
    heads
        Linear map to the scores of `HEADS`: weights, float32 (k, 10), and bias, float32 (10,).
    limits
        Thresholds of the gate.
    references
        (n, k), float32: training radiographs in appearance and finding; those with `labels` first, then some with
        changed exposure and framing.
    labels
        (m,), int: 0 normal, 1 pneumonia.
    """

    layers: tuple[str, ...]
    part: tuple[Float, Float]
    whole: tuple[Float, Float]
    last: tuple[Float, Float]
    heads: tuple[Float, Float]
    limits: Limits
    references: Float
    labels: npt.NDArray[np.int_]

    def judge(self, gate_features: Float, last: Float) -> Judgement:
        """Judge one picture by its features.

        Parameters
        ----------
        gate_features
            (d,), float32: from `model.networks.graphs.forward_function`.
        last
            (channels,), float32: the mean of its feature map over all cells.

        Returns
        -------
        Judgement
            Distance from the training population, orientation and out-of-distribution score.

        Raises
        ------
        ValueError
            If the features are another network's.
        """
        features = self.features(gate_features[None])
        distances, scores = self.distances(features), self.scores(features)
        return Judgement(
            Population(float(distances[0]), self.limits.outside, self._neighbours(features, last)),
            self.limits,
            softmax(scores[:, : len(POSES)])[0],
            float(ood_score(scores, distances, self.limits.outside)[0]),
            float(sigmoid(scores[0, -1])),
        )

    def features(self, gate_features: Float) -> Float:
        """Return float32 (n, k): the picture as a whole, whitened, then each part of it.

        Raises
        ------
        ValueError
            If the features are another network's.
        """
        channels = len(self.part[0])
        if gate_features.ndim != 2 or gate_features.shape[1] != PARTS * channels + len(self.whole[0]) - channels:
            raise ValueError(f"expected the features of {' and '.join(self.layers)}. Received: {gate_features.shape}")
        parts = gate_features[:, : PARTS * channels].reshape(len(gate_features), PARTS, channels)
        whole = np.concatenate((parts.mean(1), gate_features[:, PARTS * channels :]), 1)
        local = ((parts - self.part[0]) @ self.part[1]).reshape(len(gate_features), PARTS * self.part[1].shape[1])
        return np.concatenate(((whole - self.whole[0]) @ self.whole[1], local), 1)

    def distances(self, features: Float) -> npt.NDArray[np.float64]:
        """Return the distance to the nearest training radiographs, float64 (n,)."""
        looks = self.whole[1].shape[1]
        squares = [
            np.partition(((self.references[:, :looks] - one) ** 2).mean(1), NEAREST - 1)[:NEAREST].mean()
            for one in features[:, :looks]
        ]
        return np.sqrt(np.array(squares, np.float64))

    def scores(self, features: Float) -> npt.NDArray[np.float64]:
        """Return the scores of the heads, float64 (n, 10), in the order of `HEADS`."""
        return np.asarray(np.clip(features, -BOUND, BOUND).astype(np.float64) @ self.heads[0] + self.heads[1])

    def neighbour_features(self, features: Float, last: Float) -> Float:
        """Return the features that find nearest training cases, float32 (n, k): appearance and finding."""
        return np.concatenate((features[:, : self.whole[1].shape[1]], (last - self.last[0]) @ self.last[1]), 1)

    def _neighbours(self, features: Float, last: Float) -> tuple[Neighbour, ...]:
        """Return the nearest training cases; appearance and finding have equal weight."""
        own = self.neighbour_features(features, last[: len(self.last[0])][None])
        squares = (self.references[: len(self.labels)] - own) ** 2
        looks = self.whole[1].shape[1]
        distances = np.sqrt((squares[:, :looks].mean(1) + squares[:, looks:].mean(1)) / 2)
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        return tuple(Neighbour(LABELS[int(self.labels[i])], float(distances[i])) for i in nearest)


def ood_score(
    scores: npt.NDArray[np.float64], distances: npt.NDArray[np.float64], outside: float
) -> npt.NDArray[np.float64]:
    """Return the out-of-distribution score of pictures.

    The head that was trained on synthetic outliers is certain of those that resemble them and blind to others; the
    distance needs no examples but places an adult radiograph half way to a photograph. Their sum errs less than either.

    Parameters
    ----------
    scores
        (n, 10): of the heads.
    distances
        (n,): from the training population.
    outside
        Distance from which a picture is outside.

    Returns
    -------
    ndarray
        (n,), float64; higher for images that are not chest radiographs.
    """
    return np.asarray(scores[:, -2] + _PER_DISTANCE * (distances / outside - 1))


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the softmax of each row.

    Parameters
    ----------
    scores
        (n, classes), float64.

    Returns
    -------
    ndarray
        (n, classes), float64 in [0, 1]; each row has the sum 1.
    """
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def to_arrays(population: TrainingPopulation) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the population file.

    Returns
    -------
    dict of str to ndarray
        Axes in half precision, or in float32 where they exceed it; references in steps of 1/24 as int8.
    """
    arrays: dict[str, npt.NDArray[Any]] = {"layers": np.array(population.layers)}
    for name in ("part", "whole", "last"):
        mean, axes = getattr(population, name)
        arrays |= {f"{name}_mean": mean.astype(np.float32), f"{name}_axes": _compact(axes)}
    steps = np.clip(np.round(population.references / _REFERENCE_STEP), -127, 127)
    limits = population.limits
    return arrays | {
        "heads_weights": population.heads[0].astype(np.float32),
        "heads_bias": population.heads[1].astype(np.float32),
        "limits": np.array([getattr(limits, name) for name in Limits.__slots__], np.float32),
        "references": steps.astype(np.int8),
        "labels": population.labels.astype(np.uint8),
    }


def _compact(axes: Float) -> npt.NDArray[Any]:
    """Halve the precision of axes, unless they exceed its range: those of a channel that hardly varies can."""
    fits = np.abs(axes).max(initial=0) <= np.finfo(np.float16).max
    return axes.astype(np.float16 if fits else np.float32)


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> TrainingPopulation:
    """Return the population of the arrays that `to_arrays` wrote.

    Parameters
    ----------
    arrays
        By name.

    Raises
    ------
    KeyError, ValueError
        If an array is missing, or their shapes or values are inconsistent.
    """

    def single(name: str) -> Float:
        return np.asarray(arrays[name], np.float32)

    part, whole, last = ((single(f"{name}_mean"), single(f"{name}_axes")) for name in ("part", "whole", "last"))
    heads = single("heads_weights"), single("heads_bias")
    references = single("references") * np.float32(_REFERENCE_STEP)
    labels, limits = np.asarray(arrays["labels"], np.int_), np.asarray(arrays["limits"], np.float64)
    width = whole[1].shape[1] + PARTS * part[1].shape[1]
    fits = (
        all(mean.shape == axes.shape[:1] for mean, axes in (part, whole, last))
        and heads[0].shape == (width, len(HEADS))
        and heads[1].shape == (len(HEADS),)
        and references.ndim == 2
        and references.shape[1] == whole[1].shape[1] + last[1].shape[1]
        and limits.shape == (len(Limits.__slots__),)
        and NEAREST <= len(labels) <= len(references)
        and set(labels.tolist()) <= {0, 1}
    )
    if not fits:
        raise ValueError(f"arrays of shapes that do not fit: { ({name: a.shape for name, a in arrays.items()}) }")
    return TrainingPopulation(
        tuple(str(name) for name in arrays["layers"]),
        part,
        whole,
        last,
        heads,
        Limits(*(float(value) for value in limits)),
        references,
        labels,
    )


def save_population(population: TrainingPopulation, path: Path) -> None:
    """Write `population` to `path`, a compressed NumPy archive without pickled objects."""
    arrays: dict[str, Any] = to_arrays(population)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read_population(path: Path) -> TrainingPopulation:
    """Read a population file.

    Raises
    ------
    OSError, KeyError, ValueError
        If the file is not one.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return from_arrays({name: arrays[name] for name in arrays.files})

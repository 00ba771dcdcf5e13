"""How a picture looks beside the radiographs that a classifier version has learned from, in the network's own features.

The first layers of a network see what kind of picture it is, the last ones little but the finding, so the distance is
taken in early features, standardised, projected on the principal axes of the training radiographs and whitened: how far
the nearest training radiographs lie (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors",
https://arxiv.org/abs/2204.06507). Their nearness says more than how far the middle of all lies, because a rare kind of
film is not a strange one. Linear heads on the same features tell how a film lies, whether its greys are exchanged,
whether much of it is missing, and whether it is a radiograph of a chest at all. `training.fitting.population` fits
all of it; here it is read and applied. NumPy only.
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

Float = npt.NDArray[np.float32]
POPULATION = "population.npz"
# The first gate layer is averaged over GRID × GRID equal parts of the picture, which the orientation of a chest needs.
GRID = 3
PARTS = GRID**2
NEIGHBOURS = 3
# The distance is the mean of so many nearest: one alone may be a film that should not have been learned from.
NEAREST = 5
LABELS = ("NORMAL", "PNEUMONIA")
# How a film may lie: quarter turns clockwise, and whether black and white are exchanged. The first is upright.
POSES = tuple((quarters, inverted) for inverted in (False, True) for quarters in range(4))
HEADS = (*(f"pose{i}" for i in range(len(POSES))), "outlier", "cropped")
# A linear head rises without end along any axis; so far outside the training films it has nothing more to say.
BOUND = 8.0
_REFERENCE_STEP = 1 / 24
# What once more the limit of the population adds to the outlier's logit.
_PER_DISTANCE = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is said. Each was chosen on held-out patients by `training.fitting.population`.

    `outside` is a distance, `ood_score` a score as the function of that name returns it; `inverted`, `turned` and
    `cropped` are probabilities.
    """

    outside: float
    ood_score: float
    inverted: float
    turned: float
    cropped: float


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the features of one picture say of it: see `TrainingPopulation.judge`.

    `pose` holds the probability of each of `POSES`, float64 (8,), which add up to 1; `ood_score` tells how little the
    picture has of a frontal chest radiograph, and `cropped` is the probability that much of the film is missing.
    """

    population: Population
    limits: Limits
    pose: npt.NDArray[np.float64]
    ood_score: float
    cropped: float

    @property
    def orientation(self) -> tuple[int, bool]:
        """The most probable of `POSES`."""
        return POSES[int(np.argmax(self.pose))]

    @property
    def is_inverted(self) -> bool:
        """Whether black and white are exchanged beyond doubt."""
        return float(self.pose[4:].sum()) >= self.limits.inverted

    @property
    def is_turned(self) -> bool:
        """Whether the picture does not stand upright, beyond doubt."""
        return float(1 - self.pose[0] - self.pose[4]) >= self.limits.turned

    @property
    def is_not_chest(self) -> bool:
        """Whether this is not a frontal radiograph of a chest; a film like the training ones always is."""
        return self.population.is_outside and self.ood_score >= self.limits.ood_score

    @property
    def is_cropped(self) -> bool:
        """Whether so much of the film is missing that a lung may be cut off."""
        return self.cropped >= self.limits.cropped


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPopulation:
    """What a classifier version knows of the radiographs that it has learned from.

    `layers` names the gate layers: the first is seen in `PARTS` parts, all of them as a whole. The other arrays are
    affine maps, each a mean, float32 (d,), and axes, float32 (d, k): `part` of one part of the first layer, `whole` of
    the whole picture in all of them, `last` of the map that explains the logit. `heads` maps what these give to the
    scores of `HEADS`: weights float32 (k, 10) and bias float32 (10,). `references` float32 (n, k) are training
    radiographs by looks and finding, those whose `labels` int (m,) are known first, then some exposed and framed as
    other hospitals do.
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
            probabilities(scores[:, : len(POSES)])[0],
            float(ood_score(scores, distances, self.limits.outside)[0]),
            float(sigmoid(scores[0, -1])),
        )

    def features(self, gate_features: Float) -> Float:
        """Return float32 (n, k): the picture as a whole, whitened, then each part of it."""
        channels = len(self.part[0])
        if gate_features.ndim != 2 or gate_features.shape[1] != PARTS * channels + len(self.whole[0]) - channels:
            raise ValueError(f"expected what {' and '.join(self.layers)} say. Received: {gate_features.shape}")
        parts = gate_features[:, : PARTS * channels].reshape(len(gate_features), PARTS, channels)
        whole = np.concatenate((parts.mean(1), gate_features[:, PARTS * channels :]), 1)
        local = ((parts - self.part[0]) @ self.part[1]).reshape(len(gate_features), PARTS * self.part[1].shape[1])
        return np.concatenate(((whole - self.whole[0]) @ self.whole[1], local), 1)

    def distances(self, features: Float) -> npt.NDArray[np.float64]:
        """Return how far pictures lie from the nearest training films, float64 (n,): the root mean square over axes."""
        looks = self.whole[1].shape[1]
        squares = [
            np.partition(((self.references[:, :looks] - one) ** 2).mean(1), NEAREST - 1)[:NEAREST].mean()
            for one in features[:, :looks]
        ]
        return np.sqrt(np.array(squares, np.float64))

    def scores(self, features: Float) -> npt.NDArray[np.float64]:
        """Return the heads' scores, float64 (n, 10), in the order of `HEADS`."""
        return np.asarray(np.clip(features, -BOUND, BOUND).astype(np.float64) @ self.heads[0] + self.heads[1])

    def alike(self, features: Float, last: Float) -> Float:
        """Return float32 (n, k) by which pictures are compared: their looks, and what the finding is made of."""
        return np.concatenate((features[:, : self.whole[1].shape[1]], (last - self.last[0]) @ self.last[1]), 1)

    def _neighbours(self, features: Float, last: Float) -> tuple[Neighbour, ...]:
        """Return the nearest training films, looks and finding counting the same."""
        squares = (self.references[: len(self.labels)] - self.alike(features, last[: len(self.last[0])][None])) ** 2
        looks = self.whole[1].shape[1]
        distances = np.sqrt((squares[:, :looks].mean(1) + squares[:, looks:].mean(1)) / 2)
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        return tuple(Neighbour(LABELS[int(self.labels[i])], float(distances[i])) for i in nearest)


def ood_score(
    scores: npt.NDArray[np.float64], distances: npt.NDArray[np.float64], outside: float
) -> npt.NDArray[np.float64]:
    """Return how little pictures have of a chest radiograph, float64 (n,), from the heads' scores and the distances.

    The head that tells films from drawn outliers is sure of what is like them and blind to what nobody drew; the
    distance knows no example and takes an adult's film for half way to a photograph. Their sum errs less than either.
    """
    return np.asarray(scores[:, -2] + _PER_DISTANCE * (distances / outside - 1))


def probabilities(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the softmax of scores (n, classes): each row adds up to 1."""
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def to_arrays(population: TrainingPopulation) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a population's file; matrices are kept at half precision, references in steps of 1/24."""
    arrays: dict[str, npt.NDArray[Any]] = {"layers": np.array(population.layers)}
    for name in ("part", "whole", "last"):
        mean, axes = getattr(population, name)
        arrays |= {f"{name}_mean": mean.astype(np.float32), f"{name}_axes": axes.astype(np.float16)}
    steps = np.clip(np.round(population.references / _REFERENCE_STEP), -127, 127)
    limits = population.limits
    return arrays | {
        "heads_weights": population.heads[0].astype(np.float32),
        "heads_bias": population.heads[1].astype(np.float32),
        "limits": np.array([getattr(limits, name) for name in Limits.__slots__], np.float32),
        "references": steps.astype(np.int8),
        "labels": population.labels.astype(np.uint8),
    }


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> TrainingPopulation:
    """Read what `to_arrays` gave; raises KeyError or ValueError when the arrays do not fit one another."""

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
    """Write a population as a compressed NumPy archive; nothing in it is pickled."""
    arrays: dict[str, Any] = to_arrays(population)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read_population(path: Path) -> TrainingPopulation:
    """Read a population's file; raises OSError, KeyError or ValueError when it is not one."""
    with np.load(path, allow_pickle=False) as arrays:
        return from_arrays({name: arrays[name] for name in arrays.files})

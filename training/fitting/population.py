"""The fit of the training population for the gate: axes, linear heads, and limits.

Axes and heads are fitted on training patients' radiographs, on perturbed, rotated, inverted and cropped copies, and on
synthetic outliers (`training.fitting.synthetic_outliers`). The limits are chosen on held-out patients, treated the same
way. `model.population` uses the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.progress import Tick
from imaging.border import fill_border
from model.anatomy import AnatomyFinder
from model.calibration import sigmoid
from model.framing import network_pictures
from model.networks.architectures import POSES
from model.population import (
    BOUND,
    HEADS,
    PARTS,
    Limits,
    TrainingPopulation,
    from_arrays,
    ood_score,
    softmax,
    to_arrays,
)
from training.data.augment import augment
from training.data.loading import LoadedFolder
from training.data.recipes import DOMAIN_SHIFT, Augmentation
from training.fitting.calibrate import class_balance
from training.fitting.synthetic_outliers import draw_synthetic_outliers

Float = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Pictures = npt.NDArray[np.uint8]
Extract = Callable[[Pictures], tuple[Float, Float]]

# Smallest numbers of training and of held-out radiographs that define a population and its limits.
MIN_FILMS, MIN_HELD_OUT = 200, 60
# Largest numbers of pictures of each kind, of training and of held-out patients.
FILMS, HELD_OUT = 3000, 600
VARIED, POSED, CROPPED, OUTLIERS = 600, 420, 240, 480
HELD_OUT_VARIED = 200
# Axes kept of the picture as a whole, of one part of it, and of the last map.
WHOLE_AXES, PART_AXES, LAST_AXES = 64, 32, 32
# Exposure, framing and export of another hospital, with the whole chest in view. Sharpness and noise at 224 px depend
# on how the file was reduced, not on the child.
VARIED_RECIPE = replace(
    DOMAIN_SHIFT,
    name="varied",
    area=(0.75, 1.0),
    degrees=8.0,
    zoom=(0.85, 1.2),
    shift=0.04,
    p_blur=0.2,
    p_sharpen=0.45,
    p_noise=0.4,
    noise=(1.0, 8.0),
)
# The same radiographs in another file.
RECODED_RECIPE = Augmentation(
    "recoded", p_blur=0.1, blur_sigma=(0.3, 1.2), p_sharpen=0.5, p_jpeg=0.3, p_noise=0.5, noise=(2.0, 6.0)
)
# Shares of held-out radiographs that may be called outside the population, as they are and re-encoded, and that may be
# called rotated, inverted or cropped. An adult's radiograph that passes does more harm than a child's called outside.
OUTSIDE_SHARE, RECODED_SHARE, WRONG_SHARE = 0.01, 0.1, 0.003
# Inverse regularisation of the heads (scikit-learn's C).
_FREEDOM = 0.01
_MOST_PARTS = 12_000
_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class GateFeatures:
    """Features of n pictures: `gate_features` float32 (n, d), and the mean of the last map, float32 (n, channels)."""

    gate_features: Float
    last: Float


@dataclass(frozen=True, slots=True, eq=False)
class PooledFeatures:
    """Mean of the last map, float32 (n, channels), of the radiographs whose places in the dataset `index`, (n,), holds.

    Where the head is linear on it, these are the features that the head reads.
    """

    index: npt.NDArray[np.int_]
    features: Float


Keep = Callable[[PooledFeatures], object]


def learn_population(
    network: Any,
    architecture: str,
    input_px: int,
    loaded: LoadedFolder,
    seed: int,
    tick: Tick | None = None,
    fills_border: bool = False,
    keep: Keep | None = None,
    find_anatomy: AnatomyFinder | None = None,
) -> TrainingPopulation | None:
    """Fit the training population of a network.

    Parameters
    ----------
    network
        Keras network as it will serve.
    architecture
        Name that determines the layers of the gate.
    input_px
        Side of the network input.
    loaded
        Radiographs and split.
    seed
        Of the perturbed copies and outliers.
    tick
        Called with the number of pictures done since the last call, `population_pictures` in all.
    fills_border
        Whether margins continue over black borders, as in service.
    keep
        Called with the features of at most `FILMS` training and `HELD_OUT` held-out radiographs as they are, where the
        head is linear on them.
    find_anatomy
        The anatomy network, where the network sees films framed by their lungs.

    Returns
    -------
    TrainingPopulation or None
        None for too few radiographs.
    """
    from model.networks.graphs import forward_function
    from model.networks.layers import evidence_layer, gate_layers

    layers = gate_layers(network, architecture)
    forward = forward_function(network, layers)

    def extract(pictures: Pictures) -> tuple[Float, Float]:
        parts = []
        for start in range(0, len(pictures), _BATCH):
            batch = pictures[start : start + _BATCH]
            filled = np.stack([fill_border(one) if fills_border else one for one in batch])
            _, features, _, gate_features = forward(network_pictures(filled, input_px, find_anatomy))
            parts.append((gate_features, features.mean((1, 2))))
            if tick is not None:
                tick(len(batch))
        return np.concatenate([one for one, _ in parts]), np.concatenate([other for _, other in parts])

    channels = int(network.get_layer(layers[0]).output.shape[-1])
    kept = keep if evidence_layer(network)[1] else None
    return fit_population(extract, layers, channels, loaded.pictures, loaded.labels, loaded.held_out, seed, kept)


def fit_population(
    extract: Extract,
    layers: Sequence[str],
    channels: int,
    pictures: Pictures,
    labels: npt.NDArray[np.int_],
    held_out: npt.NDArray[np.bool_],
    seed: int,
    keep: Keep | None = None,
) -> TrainingPopulation | None:
    """Fit the training population of squashed pictures.

    Parameters
    ----------
    extract
        Maps squashed pictures to the gate features of `layers`, as `model.networks.graphs.forward_function` does, and
        to the mean of the last map.
    layers
        Names of the layers of the gate features.
    channels
        Channels of the first of them.
    pictures
        (n, px, px), uint8.
    labels
        (n,), int in {0, 1}.
    held_out
        (n,), bool: True for validation.
    seed
        Of perturbations and draws.
    keep
        Called with the means of the last map of the sets "films" and "held_out"; None keeps none.

    Returns
    -------
    TrainingPopulation or None
        None for too few pictures.
    """
    own, others = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not _is_enough(len(own), len(others)):
        return None
    rng = np.random.default_rng(seed)
    own, others = rng.permutation(own), rng.permutation(others)
    counts = _plan(len(own), len(others))
    films, unseen = pictures[own], pictures[others]
    poses = rng.permutation(np.arange(counts["posed"]) % (len(POSES) - 1) + 1)
    last = films[::-1]
    varied = [_varied(film, (seed, 1, i)) for i, film in enumerate(last[: counts["varied"]])]
    posed = [_posed(_varied(films[i % len(films)], (seed, 2, i)), int(pose)) for i, pose in enumerate(poses)]
    cropped = [_cropped(film, (seed, 3, i)) for i, film in enumerate(_cycled(films, counts["cropped"]))]
    changed = [_varied(film, (seed, 4, i)) for i, film in enumerate(_cycled(unseen, counts["held_out_varied"]))]
    recoded = [
        augment(film, np.random.default_rng((seed, 5, i)), RECODED_RECIPE, film.shape[0])
        for i, film in enumerate(unseen[: counts["held_out_recoded"]])
    ]
    sets = {
        "films": films[: counts["films"]],
        "varied": np.stack(varied),
        "posed": np.stack(posed),
        "cropped": np.stack(cropped),
        "outliers": draw_synthetic_outliers(counts["outliers"], films, seed),
        "held_out": unseen[: counts["held_out"]],
        "held_out_varied": np.stack(changed),
        "held_out_recoded": np.stack(recoded),
    }
    seen = {name: GateFeatures(*extract(one)) for name, one in sets.items()}
    if keep is not None:
        index = np.concatenate((own[: counts["films"]], others[: counts["held_out"]]))
        keep(PooledFeatures(index, np.concatenate((seen["films"].last, seen["held_out"].last))))
    return fit_gate_features(
        seen, poses, labels[own[: counts["films"]]], labels[others[: counts["held_out"]]], layers, channels
    )


def fit_gate_features(
    seen: Mapping[str, GateFeatures],
    poses: npt.NDArray[np.int_],
    labels: npt.NDArray[np.int_],
    held_out_labels: npt.NDArray[np.int_],
    layers: Sequence[str],
    channels: int,
) -> TrainingPopulation:
    """Fit axes, heads and limits to gate features.

    Parameters
    ----------
    seen
        The sets that `fit_population` makes, by name.
    poses
        (m,), int: index in `POSES` of each picture in `seen["posed"]`.
    labels
        (n,), int in {0, 1}, of `seen["films"]`.
    held_out_labels
        (k,), int in {0, 1}, of `seen["held_out"]`, whose radiographs `seen["held_out_recoded"]` shows re-encoded.
    layers, channels
        As in `fit_population`.
    """
    films, size, rng = seen["films"], PARTS * channels, np.random.default_rng(0)
    # With perturbed copies among them, exposure and framing weigh less than anatomy.
    wide = np.concatenate((films.gate_features, seen["varied"].gate_features))
    parts = np.concatenate(
        [
            one.gate_features[:, :size].reshape(-1, channels)
            for name, one in seen.items()
            if not name.startswith("held_out")
        ]
    )
    whole = np.concatenate((wide[:, :size].reshape(-1, PARTS, channels).mean(1), wide[:, size:]), 1)
    axes = (
        _axes(parts[rng.permutation(len(parts))[:_MOST_PARTS]], PART_AXES),
        _axes(whole, WHOLE_AXES),
        _axes(films.last, LAST_AXES),
    )
    width = axes[1][1].shape[1] + PARTS * axes[0][1].shape[1]
    none = Limits(*(math.inf for _ in Limits.__slots__))
    plain = TrainingPopulation(
        tuple(layers),
        *axes,
        (np.zeros((width, len(HEADS)), np.float32), np.zeros(len(HEADS), np.float32)),
        none,
        np.zeros((len(labels), axes[1][1].shape[1] + axes[2][1].shape[1]), np.float32),
        labels,
    )
    # Rounded as stored, so that the limits below are chosen with the stored values.
    plain = from_arrays(to_arrays(plain))
    features = {name: plain.features(one.gate_features) for name, one in seen.items()}
    references = [plain.neighbour_features(features[name], seen[name].last) for name in ("films", "varied")]
    population = from_arrays(
        to_arrays(replace(plain, heads=_fit_heads(features, poses), references=np.concatenate(references)))
    )
    limits = choose_limits(population, features, held_out_labels)
    return from_arrays(to_arrays(replace(population, limits=limits)))


def _plan(films: int, held_out: int) -> dict[str, int]:
    """Return the number of pictures of each kind; few radiographs are not repeated many times."""
    return {
        "films": min(FILMS, films),
        "varied": min(VARIED, films),
        "posed": min(POSED, 2 * films),
        "cropped": min(CROPPED, films),
        "outliers": min(OUTLIERS, 2 * films),
        "held_out": min(HELD_OUT, held_out),
        "held_out_varied": min(HELD_OUT_VARIED, 2 * held_out),
        "held_out_recoded": min(HELD_OUT, held_out),
    }


def _is_enough(films: int, held_out: int) -> bool:
    return films >= MIN_FILMS and held_out >= MIN_HELD_OUT


def population_pictures(films: int, held_out: int) -> int:
    """Return the number of pictures that `learn_population` passes through the network, for a progress bar.

    `films` and `held_out` are the numbers of radiographs of training and validation.
    """
    return sum(_plan(films, held_out).values()) if _is_enough(films, held_out) else 0


def _cycled(films: Pictures, count: int) -> Iterator[Picture]:
    return (films[i % len(films)] for i in range(count))


def _varied(film: Picture, key: tuple[int, ...]) -> Picture:
    return augment(film, np.random.default_rng(key), VARIED_RECIPE, film.shape[0])


def _posed(film: Picture, pose: int) -> Picture:
    quarters, is_inverted = POSES[pose]
    lying = np.ascontiguousarray(np.rot90(film, -quarters))
    return 255 - lying if is_inverted else lying


def _cropped(film: Picture, key: tuple[int, ...]) -> Picture:
    """Remove about half of a radiograph from one side, or all but a window of a quarter of its area."""
    rng, px = np.random.default_rng(key), film.shape[0]
    top, bottom, left, right = 0, px, 0, px
    kind, kept = int(rng.integers(6)), int(px * rng.uniform(0.4, 0.6))
    if kind == 0:
        left = px - kept
    elif kind == 1:
        right = kept
    elif kind == 2:
        top = px - kept
    elif kind == 3:
        bottom = kept
    else:
        top, left = (int(v) for v in rng.integers(0, px - kept, 2))
        bottom, right = top + kept, left + kept
    return cv2.resize(film[top:bottom, left:right], (px, px), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _axes(values: Float, count: int) -> tuple[Float, Float]:
    """Return (mean float32 (d,), axes float32 (d, k)) that whiten `values` (n, d): standardised, then rotated."""
    mean = values.mean(0)
    spread = values.std(0)
    # A nearly constant channel would dominate; its deviation is bounded from below.
    spread = np.maximum(spread, 1e-3 * spread.max() + 1e-6)
    standard = (values - mean) / spread
    _, singular, axes = np.linalg.svd(standard, full_matrices=False)
    deviations = singular / math.sqrt(len(values) - 1)
    kept = min(count, len(values) // 4, int((deviations > 1e-3 * deviations[0]).sum()))
    return mean, np.asarray((axes[:kept] / deviations[:kept, None]).T / spread[:, None], np.float32)


def _fit_heads(features: Mapping[str, Float], poses: npt.NDArray[np.int_]) -> tuple[Float, Float]:
    """Fit the heads in the order of `HEADS`: weights float32 (k, 10), bias float32 (10,)."""
    seen = {name: np.clip(one, -BOUND, BOUND) for name, one in features.items()}
    upright = np.concatenate((seen["films"], seen["varied"]))
    posed = np.concatenate((np.zeros(len(upright), int), poses))
    tasks = (
        (np.concatenate((upright, seen["posed"])), posed),
        (np.concatenate((upright, seen["outliers"])), _marked(len(upright), len(seen["outliers"]))),
        (np.concatenate((upright, seen["cropped"])), _marked(len(upright), len(seen["cropped"]))),
    )
    fitted = [_fit_head(*task) for task in tasks]
    return np.concatenate([w for w, _ in fitted], 1), np.concatenate([b for _, b in fitted])


def _marked(without: int, with_: int) -> npt.NDArray[np.int_]:
    return np.repeat([0, 1], [without, with_])


def _fit_head(features: Float, target: npt.NDArray[np.int_]) -> tuple[Float, Float]:
    """Fit a logistic regression, each class counting the same: (weights (k, classes or 1), bias (classes or 1,))."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(0), features.std(0) + 1e-6
    fitted = LogisticRegression(C=_FREEDOM, class_weight="balanced", max_iter=1000).fit(
        (features - mean) / spread, target
    )
    weights = fitted.coef_.T / spread[:, None]
    return weights.astype(np.float32), (fitted.intercept_ - mean @ weights).astype(np.float32)


def choose_limits(
    population: TrainingPopulation, features: Mapping[str, Float], labels: npt.NDArray[np.int_]
) -> Limits:
    """Choose the limits of the gate on held-out radiographs, as they are, perturbed and re-encoded.

    Both classes have the same weight, since the prevalence of a dataset is not that of a ward.

    Parameters
    ----------
    population
        Axes, heads and references; its limits are not used.
    features
        Gate features of the held-out sets, by name.
    labels
        (n,), int in {0, 1}, of `features["held_out"]` and of the same radiographs re-encoded.
    """
    weights = class_balance(labels)
    outside = max(
        _upper(population.distances(features[name]), weights, share)
        for name, share in (("held_out", OUTSIDE_SHARE), ("held_out_recoded", RECODED_SHARE))
    )

    def strangeness(name: str) -> npt.NDArray[np.float64]:
        return ood_score(population.scores(features[name]), population.distances(features[name]), outside)

    changed = np.concatenate((features["held_out"], features["held_out_varied"]))
    scores = population.scores(changed)
    pose = softmax(scores[:, : len(POSES)])
    # Radiographs of other hospitals fall between perturbed radiographs and outliers. The limit is at two thirds of this
    # range: an accepted outlier is still called outside the population, a refused radiograph is not assessed.
    films, outliers = np.quantile(strangeness("held_out_varied"), 0.99), np.quantile(strangeness("outliers"), 0.02)
    return Limits(
        outside,
        float(films + (outliers - films) * 2 / 3),
        _above(pose[:, 4:].sum(1)),
        _above(1 - pose[:, 0] - pose[:, 4]),
        _above(sigmoid(scores[:, -1])),
    )


def _upper(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], share: float) -> float:
    """Return the value that at most `share` of the weight of `values` (n,) reaches or exceeds."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(below, 1 - share)), len(order) - 1)
    return float(np.nextafter(np.float32(values[order[place]]), np.float32(np.inf)))


def _above(values: npt.NDArray[np.float64]) -> float:
    """Return a probability of at least 0.5 that at most `WRONG_SHARE` of `values` exceed."""
    return max(0.5, float(np.quantile(values, 1 - WRONG_SHARE)))

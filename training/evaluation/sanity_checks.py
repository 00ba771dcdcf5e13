"""Sanity checks of the evidence map: cascading randomisation of the network's weights, from the logit down.

A map that does not change when weights are randomised depends on the radiograph and not on the classifier (Adebayo et
al. 2018, "Sanity Checks for Saliency Maps", https://arxiv.org/abs/1810.03292).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from core.progress import Tick
from model.card import ModelCard
from model.engine import Classifier, wrap_network
from training.evaluation.faithfulness import Map, Picture, Similarity, cells, evidence_maps, mean_over_films

# Shares of the layers, counted from the logit down, whose weights are randomised; the first stage is the head alone.
STAGES = (0.0, 0.1, 0.25, 0.5, 1.0)
STATISTICS_FILMS = 16


def randomised_stages(
    network: Any, card: ModelCard, pictures: Picture, seed: int = 0
) -> Iterator[tuple[str, Classifier]]:
    """Yield (name, classifier) for each stage of randomisation.

    Parameters
    ----------
    network
        Keras network with the weights of the card's version. It is changed in place: a classifier is valid until the
        next one is requested.
    card
        Calibration and operating point.
    pictures
        Readings, uint8 (n, px, px) or (n, px, px, 3), for `recompute_batch_statistics`.
    seed
        Of the random weights.
    """
    classifier = wrap_network(network, card)
    inputs = classifier.inputs_of(pictures[:STATISTICS_FILMS])
    total = len(_with_kernels(network))
    for layers in sorted({max(1, round(share * total)) for share in STAGES}):
        randomise_layers(network, layers, seed)
        recompute_batch_statistics(network, layers, inputs)
        yield f"last {layers} of {total} layers" if layers < total else f"all {total} layers", classifier


def randomise_layers(network: Any, layers_from_top: int, seed: int) -> None:
    """Randomise the kernels of the last layers in place; layers without kernels do not count.

    Parameters
    ----------
    network
        A Keras network.
    layers_from_top
        Number of layers with kernels, counted from the output.
    seed
        Gives a layer the same values for any number of layers.

    References
    ----------
    He et al. 2015, https://arxiv.org/abs/1502.01852: normal with variance 2 / fan-in, which keeps the scale of
    activations from layer to layer. Adebayo et al. 2018, https://arxiv.org/abs/1810.03292: sanity checks.
    """
    for place, layer in enumerate(_with_kernels(network)[:layers_from_top]):
        rng = np.random.default_rng((seed, place))
        for variable in layer.weights:
            if len(shape := tuple(variable.shape)) > 1:
                variable.assign(rng.normal(0, math.sqrt(2 / math.prod(shape[:-1])), shape).astype(np.float32))


def recompute_batch_statistics(network: Any, layers_from_top: int, pictures: Picture) -> None:
    """Recompute BatchNormalization statistics in place above the randomised layers.

    With the trained network's statistics most random activations would fall below zero, and maps would be empty for
    that reason alone.

    Parameters
    ----------
    network
        A Keras network.
    layers_from_top
        As in `randomise_layers`.
    pictures
        (n, px, px) or (n, px, px, 2), uint8: network input.
    """
    layers = _flat(network)
    first = layers.index(_with_kernels(network)[:layers_from_top][-1])
    statistics = [(place, layer) for place, layer in enumerate(layers) if hasattr(layer, "moving_mean")]
    for place, layer in statistics:
        # A layer that is not trainable keeps its statistics in a training pass; momentum 0 discards the former ones.
        layer.trainable, layer.momentum = place > first, 0.0
    if any(layer.trainable for _, layer in statistics):
        network((pictures if pictures.ndim == 4 else pictures[..., None]).astype(np.float32), training=True)


def _flat(network: Any) -> list[Any]:
    """List the innermost layers, the one nearest the input first."""
    return [
        inner for layer in network.layers for inner in (_flat(layer) if getattr(layer, "layers", None) else [layer])
    ]


def _with_kernels(network: Any) -> list[Any]:
    """List the innermost layers that have kernels, the one nearest the output first."""
    return [layer for layer in _flat(network)[::-1] if any(len(variable.shape) > 1 for variable in layer.weights)]


def compare_with_randomised(
    classifier: Classifier,
    pictures: Picture,
    stages: Iterable[tuple[str, Classifier]],
    tick: Tick | None = None,
) -> tuple[Similarity | None, tuple[Similarity, ...]]:
    """Compare evidence maps with those of randomised networks.

    Parameters
    ----------
    classifier
        The trained one.
    pictures
        Readings, uint8 (n, px, px) or (n, px, px, 3).
    stages
        (name, classifier) pairs, as `randomised_stages` yields them.
    tick
        Called with 1 after each stage.

    Returns
    -------
    tuple
        Similarity between maps of different radiographs, None for a single one; and one row per stage.
    """
    trained = evidence_maps(classifier, pictures)
    rows = []
    for name, randomised in stages:
        rows.append(_similarity(name, trained, evidence_maps(randomised, pictures)))
        if tick is not None:
            tick(1)
    if len(pictures) < 2:
        return None, tuple(rows)
    return _similarity("map of another radiograph", trained, np.roll(trained, 1, axis=0)), tuple(rows)


def alike(a: Map, b: Map) -> tuple[float, float]:
    """Return two similarities of evidence maps.

    Parameters
    ----------
    a, b
        (MAP_PX, MAP_PX), in [0, 1].

    Returns
    -------
    tuple of float
        Spearman's rank correlation of cells, in [−1, 1], and structural similarity, at most 1. A constant map has no
        ranks: its correlation is 0, or 1 with another constant map.
    """
    x, y = cells(np.stack((a, b)))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float(np.ptp(x) == np.ptp(y)), ssim(a, b)
    return float(spearmanr(x, y).statistic), ssim(a, b)


def ssim(a: Map, b: Map) -> float:
    """Return the mean structural similarity of two pictures, 1 for equal ones.

    Parameters
    ----------
    a, b
        (H, W), in [0, 1].

    References
    ----------
    Wang et al. 2004, doi 10.1109/TIP.2003.819861, with its Gaussian window of 11 px and its constants.
    """

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), np.float64)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = mean(x), mean(y)
    variances, covariance = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    return float((luminance * (2 * covariance + 9e-4) / (variances + 9e-4)).mean())


def _similarity(name: str, a: Map, b: Map) -> Similarity:
    pairs = [alike(one, other) for one, other in zip(a, b, strict=True) if one.any() and other.any()]
    correlation, structure = np.array(pairs, np.float64).reshape(-1, 2).T
    return Similarity(name, mean_over_films(correlation), mean_over_films(structure), len(a) - len(pairs))

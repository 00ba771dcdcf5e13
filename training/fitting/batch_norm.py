"""Batch normalisation statistics of averaged weights.

Running statistics belong to the weights that were trained. Averaged weights need their own, recomputed from some
training pictures (Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2); otherwise AUROC can fall to
0.5. Frozen layers, such as those of the default classifier, keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def trainable_batch_norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the BatchNormalization layers whose statistics are updated in training."""
    return [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def recompute_batch_norms(network: keras.Model, batches: Iterable[tuple[tf.Tensor, Any]]) -> None:
    """Recompute the statistics of the trainable BatchNormalization layers for the present weights, in place.

    Parameters
    ----------
    network
        Layers are found at any depth.
    batches
        (pictures float32 (b, rows, columns, 1), anything); means and variances are averaged over them. Not read where
        no layer needs it.
    """
    layers = trainable_batch_norms(network)
    if not layers:
        return
    statistics = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    sums, count = [np.zeros(variable.shape, np.float64) for variable in statistics], 0
    with _each_batch_alone(layers):
        look = tf.function(lambda pictures: network(pictures, training=True), reduce_retracing=True)
        for pictures, _ in batches:
            look(pictures)
            for total, variable in zip(sums, statistics, strict=True):
                total += variable.numpy()
            count += 1
    if count:
        for total, variable in zip(sums, statistics, strict=True):
            variable.assign((total / count).astype(np.float32))


@contextmanager
def _each_batch_alone(layers: list[keras.layers.BatchNormalization]) -> Iterator[None]:
    """Set momentum to 0, so that each batch leaves its own statistics."""
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

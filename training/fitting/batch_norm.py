"""The statistics of batch normalisations under averaged weights.

A normalisation that learns keeps running statistics of the weights that were trained. Averaged weights were never
trained with: under them the running statistics are those of another network, and a good one can rank like a coin. So
the statistics are taken again, from some training pictures (Izmailov et al. 2018, https://arxiv.org/abs/1803.05407,
section 3.2). Frozen normalisations, as those of the default classifier, keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def trainable_batch_norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the batch normalisations whose statistics follow the training."""
    return [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def recompute_batch_norms(network: keras.Model, feed: Iterable[tuple[tf.Tensor, Any]]) -> None:
    """Give the network's learning normalisations the statistics of its weights as they are now.

    `feed` holds batches of (pictures float32 (b, rows, columns, 1), anything); means and variances are averaged over
    them. Without learning normalisations `feed` is not read.
    """
    norms = trainable_batch_norms(network)
    if not norms:
        return
    statistics = [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
    sums, count = [np.zeros(variable.shape, np.float64) for variable in statistics], 0
    with _each_batch_alone(norms):
        look = tf.function(lambda pictures: network(pictures, training=True), reduce_retracing=True)
        for pictures, _ in feed:
            look(pictures)
            for total, variable in zip(sums, statistics, strict=True):
                total += variable.numpy()
            count += 1
    if count:
        for total, variable in zip(sums, statistics, strict=True):
            variable.assign((total / count).astype(np.float32))


@contextmanager
def _each_batch_alone(norms: list[keras.layers.BatchNormalization]) -> Iterator[None]:
    """Let each batch leave its own statistics instead of moving the running ones by a hundredth."""
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

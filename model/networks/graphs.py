"""TensorFlow graphs of a network: pictures in, logits, feature maps and gate features out.

Example: ``logit_function(network)(network_input(radiograph, 299, 224)[None])`` is one logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.networks.architectures import GRID
from model.networks.layers import evidence_layer

Float = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


def logit_function(network: keras.Model) -> Callable[[Pictures], Float]:
    """Return a function from pictures, uint8 (n, px, px) or (n, px, px, 2), to logits, float32 (n,)."""
    graph = tf.function(lambda x: network(x, training=False), input_signature=_signature(network))
    return lambda pictures: np.asarray(graph(_tensor(pictures)).numpy()[:, 0], np.float32)


def forward_function(
    network: keras.Model, gate_layers: Sequence[str] = ()
) -> Callable[[Pictures], tuple[Float, Float, Float, Float]]:
    """Return a function that gives logit, evidence and gate features in one pass of the network.

    Where the head is linear on the pooled feature map, the weights of its channels are the dense layer's own and need
    no backward pass. Elsewhere they are the mean over each map of the gradient of the logit, up to a factor.

    Parameters
    ----------
    network
        A network with one logit.
    gate_layers
        Layers that the gate reads.

    Returns
    -------
    Callable
        From pictures, uint8 (n, px, px) or (n, px, px, 2), to four arrays, float32: logits (n,); feature maps
        (n, rows, columns, channels); weights of their channels (n, channels); gate features (n, d), which are the
        first gate layer averaged over each of `GRID` × `GRID` equal parts of the picture, row by row, then the others
        averaged over all of it.

    Raises
    ------
    ValueError
        If the network has no such layer.

    References
    ----------
    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391
    """
    name, is_linear = evidence_layer(network)
    outputs = [
        network.outputs[0],
        network.get_layer(name).output,
        *(_pooled_by_part(network.get_layer(layer).output) for layer in gate_layers[:1]),
        *(keras.layers.GlobalAveragePooling2D()(network.get_layer(layer).output) for layer in gate_layers[1:]),
    ]
    combined = keras.Model(network.inputs, outputs)

    def by_gradient(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits, features, *parts = combined(x, training=False)
            total = tf.reduce_sum(logits)
        return logits, features, tf.reduce_mean(tape.gradient(total, features), (1, 2)), joined(x, parts)

    def by_head(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits, features, *parts = combined(x, training=False)
        weights = tf.repeat(network.layers[-1].kernel.value[None, :, 0], tf.shape(x)[0], axis=0)
        return logits, features, weights, joined(x, parts)

    def joined(x: tf.Tensor, parts: list[tf.Tensor]) -> tf.Tensor:
        return tf.concat([tf.cast(part, tf.float32) for part in parts], 1) if parts else tf.zeros((tf.shape(x)[0], 0))

    graph = tf.function(by_head if is_linear else by_gradient, input_signature=_signature(network))

    def forward(pictures: Pictures) -> tuple[Float, Float, Float, Float]:
        outputs = graph(_tensor(pictures))
        logits, features, weights, parts = (tf.cast(one, tf.float32).numpy() for one in outputs)
        return logits[:, 0], features, weights, parts

    return forward


def _pooled_by_part(feature_map: Any) -> Any:
    """Average a feature map (N, rows, columns, channels) over equal parts: (N, GRID · GRID · channels).

    A cell on the border of two parts counts in each by the share of it in that part, so that the parts do not depend
    on the number of cells.
    """
    down, across = (_shares(int(size)) for size in feature_map.shape[1:3])
    values = keras.ops.cast(feature_map, "float32")
    values = keras.ops.einsum("ri,nijc->nrjc", down, values)
    values = keras.ops.einsum("sj,nrjc->nrsc", across, values)
    return keras.layers.Flatten()(values)


def _shares(size: int) -> Float:
    """Return the weight of each of `size` cells in each part: float32 (GRID, size), each row summing to 1."""
    edges, cell = np.linspace(0, size, GRID + 1), np.arange(size)
    share = np.clip(np.minimum(edges[1:, None], cell + 1) - np.maximum(edges[:-1, None], cell), 0, None)
    return np.asarray(share / share.sum(1, keepdims=True), np.float32)


def _tensor(pictures: Pictures) -> tf.Tensor:
    return tf.constant(pictures if pictures.ndim == 4 else pictures[..., None], tf.float32)


def _signature(network: keras.Model) -> list[tf.TensorSpec]:
    # Fixed, so that a smaller last batch does not trace another graph, which takes seconds.
    return [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]

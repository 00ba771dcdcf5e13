"""The InceptionV3 classifier as a Keras network.

Needs tensorflow, and within `model` only this module and the TensorFlow runtime in `engine` do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.files import write_atomically

Float = npt.NDArray[np.float32]
FEATURE_LAYER = "mixed10"
POOL_LAYER = "pooled_features"
INPUT_PX = 299


def build_inception_v3(
    backbone_weights: str | Path | None = "imagenet",
    *,
    input_px: int | None = INPUT_PX,
    dropout: float = 0.2,
) -> keras.Model:
    """Build a one-logit InceptionV3 whose head is linear on the pooled features.

    Input: one grey channel (N, input_px, input_px, 1) in [0, 255], the result of
    `model.radiograph.network_input`. Output: float32 logits (N, 1). Rescaling to [-1, 1] is a layer, so that
    training and serving cannot disagree about it. `input_px=None` leaves the size free (at least 75 px), which
    training uses for its low-resolution epochs.

    `backbone_weights` is "imagenet" (Keras downloads its own file), a local file in Keras's layout, or None for
    random initial weights.

    The backbone is built flat, through `input_tensor`: nested, its layers could not be reached for the influence
    map. One global average followed by one dense layer makes Grad-CAM a weighted sum of the last feature map.

    Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
    """
    inputs = keras.Input((input_px, input_px, 1), name="radiograph")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(inputs)
    x = keras.layers.Concatenate(name="grey_to_rgb")([x, x, x])
    weights = str(backbone_weights) if backbone_weights is not None else None
    backbone = keras.applications.InceptionV3(include_top=False, weights=weights, input_tensor=x)
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(backbone.get_layer(FEATURE_LAYER).output)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    # float32 whatever the policy: a bfloat16 logit has steps of 0.03 near 4, which calibration would see.
    logit = keras.layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(inputs, logit, name="inception_v3")


def train_after(network: keras.Model, layer_name: str) -> int:
    """Make the layers after `layer_name` trainable and freeze the rest; return the trainable parameters.

    `train_after(network, POOL_LAYER)` leaves only the head. BatchNormalization stays frozen everywhere: its
    statistics drift when they are estimated again on small batches.

    Raises ValueError if the network has no such layer.
    """
    names = [layer.name for layer in network.layers]
    if layer_name not in names:
        raise ValueError(f"expected the name of a layer of {network.name}. Received: {layer_name!r}")
    first = names.index(layer_name) + 1
    for position, layer in enumerate(network.layers):
        layer.trainable = position >= first and not isinstance(layer, keras.layers.BatchNormalization)
    return sum(int(w.value.shape.num_elements()) for w in network.trainable_weights)


def serving_function(network: keras.Model) -> Callable[[npt.NDArray[np.uint8]], tuple[Float, Float]]:
    """Return a function from uint8 (n, px, px) to (logits float32 (n,), last feature maps float32 (n, r, c, ch)).

    The logit and the map come out of the same forward pass.
    """
    both = keras.Model(network.inputs, [network.outputs[0], network.get_layer(FEATURE_LAYER).output])
    graph = tf.function(lambda x: both(x, training=False), reduce_retracing=True)

    def forward(pictures: npt.NDArray[np.uint8]) -> tuple[Float, Float]:
        logits, features = graph(tf.constant(pictures[..., None], tf.float32))
        return logits.numpy()[:, 0], tf.cast(features, tf.float32).numpy()

    return forward


def head_weights(network: keras.Model) -> Float:
    """Return the dense layer's weights, float32 (channels,)."""
    return np.asarray(network.get_layer("logit").kernel.numpy()[:, 0], np.float32)


def round_to_half(network: keras.Model) -> None:
    """Round the kernels to what a half-precision file keeps, so that what is evaluated is what is stored."""
    for variable in network.weights:
        variable.assign(_stored(variable.numpy()).astype(np.float32))


def save_network(network: keras.Model, path: Path) -> None:
    """Write the weights as a compressed NumPy archive; kernels in float16, vectors in float32.

    Nothing in the file is pickled. Rounding the kernels moves probabilities by less than 1e-3.
    """
    arrays: dict[str, Any] = {_key(i, v): _stored(v.numpy()) for i, v in enumerate(network.weights)}
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def _stored(values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    # BatchNorm's vectors are small in size and large in effect; they keep full precision.
    return values.astype(np.float16) if values.ndim > 1 else values


def load_network(path: Path, architecture: str, input_px: int) -> keras.Model:
    """Build the named network and read its weights.

    Raises KeyError or ValueError when the file does not fit the network.
    """
    if architecture != "inception_v3":
        raise ValueError(f"architecture {architecture!r}")
    network = build_inception_v3(None, input_px=input_px)
    with np.load(path, allow_pickle=False) as arrays:
        if len(arrays.files) != len(network.weights):
            raise ValueError(f"{len(arrays.files)} arrays instead of {len(network.weights)}")
        for i, variable in enumerate(network.weights):
            variable.assign(arrays[_key(i, variable)].astype(np.float32))
    return network


def _key(position: int, variable: keras.Variable) -> str:
    # Keras numbers its layers anew in every process ("conv2d_94"), so a variable's path is no name to store.
    return f"{position:03d}.{variable.name}"

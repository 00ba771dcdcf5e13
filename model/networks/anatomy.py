"""The anatomy network: a small U-Net that outlines both lungs and tells how a picture is turned.

Example: ``anatomy_function(load_anatomy(path))(squares)`` are the lungs and the poses of squared radiographs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.networks.architectures import ANATOMY_PX, POSES
from model.networks.weights import read_weights

Float = npt.NDArray[np.float32]
# Channels from the full grid to an eighth of an eighth: under half a million parameters.
WIDTHS = (16, 24, 40, 64, 96)


def build_anatomy() -> keras.Model:
    """Build the anatomy network with random weights.

    Returns
    -------
    keras.Model
        From (N, `ANATOMY_PX`, `ANATOMY_PX`, 1) in [0, 255] to two logits of every pixel, (N, `ANATOMY_PX`,
        `ANATOMY_PX`, 2): the lung on the left and on the right of the upright picture; and to nine logits (N, 9): each
        of `POSES`, and no chest radiograph.

    References
    ----------
    Ronneberger et al. 2015, "U-Net", https://arxiv.org/abs/1505.04597
    """
    inputs = keras.Input((ANATOMY_PX, ANATOMY_PX, 1), name="square")
    x = keras.layers.Rescaling(1 / 127.5, -1, name="rescaling")(inputs)
    skipped = []
    for level, width in enumerate(WIDTHS):
        x = _block(x, width, f"down{level}")
        if level < len(WIDTHS) - 1:
            skipped.append(x)
            x = keras.layers.MaxPooling2D(name=f"down{level}_pool")(x)
    seen = keras.layers.Concatenate(name="seen")(
        [
            keras.layers.GlobalAveragePooling2D(name="seen_mean")(x),
            keras.layers.GlobalMaxPooling2D(name="seen_most")(x),
        ]
    )
    hidden = keras.layers.Dense(64, activation="relu", name="pose_hidden")(seen)
    pose = keras.layers.Dense(len(POSES) + 1, name="pose")(keras.layers.Dropout(0.2, name="pose_dropout")(hidden))
    # Where the picture is up is known from all of it; without this, an inverted film's air is taken for lung.
    context = keras.layers.Dense(WIDTHS[-1], activation="relu", name="context")(seen)
    x = keras.layers.Add(name="in_context")([x, keras.layers.Reshape((1, 1, WIDTHS[-1]), name="context_map")(context)])
    for level in reversed(range(len(WIDTHS) - 1)):
        x = keras.layers.UpSampling2D(interpolation="bilinear", name=f"up{level}_larger")(x)
        x = keras.layers.Concatenate(name=f"up{level}_joined")([x, skipped[level]])
        x = _block(x, WIDTHS[level], f"up{level}")
    lungs = keras.layers.Conv2D(2, 1, name="lungs")(x)
    return keras.Model(inputs, [lungs, pose], name="anatomy")


def _block(x: Any, width: int, name: str) -> Any:
    for i in range(2):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_{i}")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_{i}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_{i}_relu")(x)
    return x


def load_anatomy(path: Path) -> keras.Model:
    """Read an anatomy network that `model.networks.weights.save_network` wrote; its checksum was verified before.

    Raises
    ------
    KeyError, ValueError
        If the file does not fit the network.
    """
    network = build_anatomy()
    read_weights(network, path)
    return network


def anatomy_function(network: keras.Model) -> Callable[[npt.NDArray[np.uint8]], tuple[Float, Float]]:
    """Return a function that runs an anatomy network.

    Returns
    -------
    Callable
        From squares, uint8 (n, `ANATOMY_PX`, `ANATOMY_PX`), to probabilities of the lungs, float32
        (n, 2, `ANATOMY_PX`, `ANATOMY_PX`), and of the poses and of no chest radiograph, float32 (n, 9).
    """

    def run(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lungs, pose = network(x, training=False)
        return tf.sigmoid(tf.transpose(tf.cast(lungs, tf.float32), (0, 3, 1, 2))), tf.nn.softmax(
            tf.cast(pose, tf.float32)
        )

    graph = tf.function(run, input_signature=[tf.TensorSpec((None, ANATOMY_PX, ANATOMY_PX, 1), tf.float32)])

    def find(squares: npt.NDArray[np.uint8]) -> tuple[Float, Float]:
        lungs, pose = graph(tf.constant(squares[..., None], tf.float32))
        return np.asarray(lungs.numpy(), np.float32), np.asarray(pose.numpy(), np.float32)

    return find

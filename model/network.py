"""The InceptionV3 classifier as a Keras network.

Needs tensorflow, and within `model` only this module and the TensorFlow runtime in `engine` do.
"""

from __future__ import annotations

from pathlib import Path

import keras

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

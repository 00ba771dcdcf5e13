"""Networks by name: backbones of keras.applications, small networks, and functions of one's own.

Example: ``build_network("inception_v3", 299)`` has random weights; ``load_network`` reads those of a version.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from core.errors import ClassifierError
from model.networks.architectures import find_architecture, is_own
from model.networks.layers import POOL_LAYER
from model.networks.lung_pooling import FilmChannel, OnFinerGrid, OverLungs
from model.networks.small import BUILDERS

# ImageNet preprocessing as one layer on three equal channels: (backbone, scale, offset, its last feature map).
_BACKBONES: dict[str, tuple[Callable[..., keras.Model], Any, Any, str]] = {
    "inception_v3": (keras.applications.InceptionV3, 1 / 127.5, -1.0, "mixed10"),
    "vgg16": (keras.applications.VGG16, 1.0, [-103.939, -116.779, -123.68], "block5_pool"),
    "resnet50": (keras.applications.ResNet50, 1.0, [-103.939, -116.779, -123.68], "conv5_block3_out"),
    "densenet121": (
        keras.applications.DenseNet121,
        [1 / (255 * s) for s in (0.229, 0.224, 0.225)],
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
        "relu",
    ),
}


def build_network(
    architecture: str, input_px: int | None, *, backbone_weights: str | Path | None = None, dropout: float = 0.2
) -> keras.Model:
    """Build the named network with one logit at its end.

    Rescaling is a layer of the network, so training and serving share it.

    Parameters
    ----------
    architecture
        A name of `model.networks.architectures`, or package.module:function. Such a function is imported and called
        with `input_px`: pass only names from the person at the keyboard or from the settings.
    input_px
        Side of the square picture. None leaves it free, for networks that allow it.
    backbone_weights
        "imagenet" (Keras downloads its own file), a local file in Keras's layout, or None for random initial weights.
    dropout
        Dropout rate of the head, in [0, 1).

    Returns
    -------
    keras.Model
        From (N, input_px, input_px, 1) in [0, 255], the result of `imaging.radiograph.network_input`, to float32
        logits (N, 1). Networks that see films framed by their lungs have a second channel, the lungs.

    Raises
    ------
    ClassifierError
        If the name is unknown, or the function or its network does not fit.
    """
    find_architecture(architecture)
    if is_own(architecture):
        return _build_own(architecture, input_px)
    if find_architecture(architecture).is_framed:
        return build_on_lungs(backbone_weights, input_px=input_px, dropout=dropout)
    if architecture in BUILDERS:
        if input_px is None:
            raise ValueError(f"expected a picture size for {architecture}. Received: None")
        return BUILDERS[architecture](input_px, dropout)
    return build_on_backbone(
        architecture.removesuffix("_scratch"), backbone_weights, input_px=input_px, dropout=dropout
    )


def build_on_backbone(
    name: str = "inception_v3", weights: str | Path | None = None, *, input_px: int | None = 299, dropout: float = 0.2
) -> keras.Model:
    """Build a network of keras.applications with a head that is linear on the pooled features.

    The backbone is built flat, through `input_tensor`: in a nested one the layers of the evidence map could not be
    reached. With global average pooling and one dense layer, Grad-CAM is a weighted sum of the last feature map.

    Parameters
    ----------
    name
        "inception_v3", "vgg16", "resnet50" or "densenet121".
    weights, input_px, dropout
        As in `build_network`.

    Returns
    -------
    keras.Model
        As `build_network` returns it.

    References
    ----------
    Zhou et al. 2016, https://arxiv.org/abs/1512.04150
    """
    make, scale, offset, last = _BACKBONES[name]
    inputs = keras.Input((input_px, input_px, 1), name="radiograph")
    x = keras.layers.Concatenate(name="grey_to_rgb")([inputs, inputs, inputs])
    x = keras.layers.Rescaling(scale, offset=offset, name="rescaling")(x)
    backbone = make(include_top=False, weights=str(weights) if weights is not None else None, input_tensor=x)
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(backbone.get_layer(last).output)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    # float32 under any policy: bfloat16 has steps of 0.03 near 4, which would show in the calibration.
    logit = keras.layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(inputs, logit, name=name)


def build_on_lungs(
    weights: str | Path | None = None, *, input_px: int | None = 299, dropout: float = 0.2
) -> keras.Model:
    """Build InceptionV3 with a head that is linear on features pooled over the lungs alone.

    The features are those of `mixed7`, 17 × 17 cells at 299 px, beside those of `mixed10` brought to the same grid.
    Each cell is multiplied by its share of the lungs, over the mean share of all cells: the average of the result is
    the average over the lungs, the logit comes from nowhere else, and the map stays exact.

    Parameters
    ----------
    weights, input_px, dropout
        As in `build_network`.

    Returns
    -------
    keras.Model
        From (N, input_px, input_px, 2) in [0, 255], the film and its lungs as `model.framing.framed` returns them, to
        float32 logits (N, 1).
    """
    inputs = keras.Input((input_px, input_px, 2), name="film_and_lungs")
    film, lungs = FilmChannel(0, name="film")(inputs), FilmChannel(1, name="lungs")(inputs)
    x = keras.layers.Concatenate(name="grey_to_rgb")([film, film, film])
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(x)
    backbone = keras.applications.InceptionV3(
        include_top=False, weights=str(weights) if weights is not None else None, input_tensor=x
    )
    fine, coarse = (backbone.get_layer(name).output for name in ("mixed7", "mixed10"))
    features = keras.layers.Concatenate(name="mixed7_and_mixed10")(
        [fine, OnFinerGrid(name="mixed10_finer")([coarse, fine])]
    )
    # A cell of `mixed7` is centred on pixel 21 + 16 i, as the unpadded convolutions before it leave it.
    lungs = keras.layers.Cropping2D(((13, 14), (13, 14)), name="lungs_cropped")(lungs)
    share = keras.layers.AveragePooling2D(16, name="lungs_by_cell", dtype="float32")(lungs)
    evidence = OverLungs(name="evidence", dtype="float32")([features, share])
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER, dtype="float32")(evidence)
    x = keras.layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    logit = keras.layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(inputs, logit, name="inception_v3_lungs")


def _build_own(name: str, input_px: int | None) -> keras.Model:
    module, _, function = name.partition(":")
    try:
        network = getattr(importlib.import_module(module), function)(input_px)
    except Exception as error:  # foreign code may raise anything
        raise ClassifierError(
            f"expected a network from {name}({input_px}). Received: {type(error).__name__}: {error}",
            advice="Check the function's name and that it takes the side of the picture in pixels.",
        ) from error
    if (
        not isinstance(network, keras.Model)
        or network.input_shape[-1] not in (1, 2)
        or network.output_shape != (None, 1)
    ):
        shapes = (network.input_shape, network.output_shape) if isinstance(network, keras.Model) else type(network)
        raise ClassifierError(
            f"expected a keras.Model from (N, {input_px}, {input_px}, 1) to one logit (N, 1). Received: {shapes}",
            advice="Give the network one grey input channel with values from 0 to 255, or a second one for the lungs, "
            "and one output.",
        )
    activation = getattr(network.layers[-1], "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise ClassifierError(
            f"expected a logit. Received: the output of {activation.__name__}",
            advice="Remove the last layer's activation; calibration maps the logit to a probability.",
        )
    # As in the other networks: a mixed-precision policy must not reach the logit.
    network.layers[-1].dtype_policy = keras.DTypePolicy("float32")
    return network

"""A classifier as a Keras network: build it by name, freeze it, store it, run it.

Needs tensorflow; within `model` only this module and `small_networks` do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.errors import ClassifierError
from core.files import write_atomically
from model.architectures import ARCHITECTURES, find_architecture, is_own, refuse_untrusted
from model.small_networks import BUILDERS

Float = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
POOL_LAYER = "pooled_features"
# A coarser map than this says little about where; InceptionV3 has 8 × 8 at 299 px.
MIN_CELLS = 7
# Parts along each side in which the gate sees a picture: enough to tell which way up a chest is.
GRID = 3

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

    Input: one grey channel (N, input_px, input_px, 1) in [0, 255], the result of `imaging.radiograph.network_input`.
    Output: float32 logits (N, 1). Rescaling is a layer, so that training and serving cannot disagree about it.
    `input_px=None` leaves the size free, for networks that allow it. `backbone_weights` is "imagenet" (Keras downloads
    its own file), a local file in Keras's layout, or None for random initial weights.

    A name of the form package.module:function is imported and called with `input_px`: only do that with a name that
    came from the person at the keyboard or from the settings. Raises ClassifierError when such a function or its
    network does not fit.
    """
    find_architecture(architecture)
    if is_own(architecture):
        return _build_own(architecture, input_px)
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

    The backbone is built flat, through `input_tensor`: nested, its layers could not be reached for the influence
    map. One global average followed by one dense layer makes Grad-CAM a weighted sum of the last feature map.
    """
    make, scale, offset, last = _BACKBONES[name]
    inputs = keras.Input((input_px, input_px, 1), name="radiograph")
    x = keras.layers.Concatenate(name="grey_to_rgb")([inputs, inputs, inputs])
    x = keras.layers.Rescaling(scale, offset=offset, name="rescaling")(x)
    backbone = make(include_top=False, weights=str(weights) if weights is not None else None, input_tensor=x)
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(backbone.get_layer(last).output)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    # float32 whatever the policy: a bfloat16 logit has steps of 0.03 near 4, which calibration would see.
    logit = keras.layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(inputs, logit, name=name)


def _build_own(name: str, input_px: int | None) -> keras.Model:
    module, _, function = name.partition(":")
    try:
        network = getattr(importlib.import_module(module), function)(input_px)
    except Exception as error:  # a stranger's code may raise anything
        raise ClassifierError(
            f"expected a network from {name}({input_px}). Received: {type(error).__name__}: {error}",
            advice="Check the function's name and that it takes the picture's side in pixels.",
        ) from error
    if not isinstance(network, keras.Model) or network.input_shape[-1] != 1 or network.output_shape != (None, 1):
        shapes = (network.input_shape, network.output_shape) if isinstance(network, keras.Model) else type(network)
        raise ClassifierError(
            f"expected a keras.Model from (N, {input_px}, {input_px}, 1) to one logit (N, 1). Received: {shapes}",
            advice="Give the network one grey input channel with values from 0 to 255 and one output.",
        )
    activation = getattr(network.layers[-1], "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise ClassifierError(
            f"expected a logit. Received: the output of {activation.__name__}",
            advice="Leave out the last layer's activation; calibration makes the probability.",
        )
    return network


def train_after(network: keras.Model, layer_name: str) -> int:
    """Make the layers after `layer_name` trainable and freeze the rest; return the trainable parameters.

    `train_after(network, POOL_LAYER)` leaves only the head. BatchNormalization then stays frozen everywhere: its
    statistics drift when they are estimated again on small batches. An empty name trains everything, BatchNormalization
    too, which is for networks that start from random weights.

    Raises ValueError if the network has no such layer.
    """
    names = [layer.name for layer in network.layers]
    if layer_name and layer_name not in names:
        raise ValueError(f"expected the name of a layer of {network.name}. Received: {layer_name!r}")
    first = names.index(layer_name) + 1 if layer_name else 0
    for position, layer in enumerate(network.layers):
        layer.trainable = not layer_name or (
            position >= first and not isinstance(layer, keras.layers.BatchNormalization)
        )
    return sum(int(w.value.shape.num_elements()) for w in network.trainable_weights)


def evidence_layer(network: keras.Model) -> tuple[str, bool]:
    """Return (the layer whose feature map explains the logit, whether the head is linear on that map's average).

    Where global average pooling and one dense layer end the network, that is the map they average. Elsewhere it is the
    deepest one of at least `MIN_CELLS` × `MIN_CELLS` cells, or the largest.

    Raises ClassifierError for a network without feature maps.
    """
    layer = network.layers[-1]
    if isinstance(layer, keras.layers.Dense):
        layer = _producer(layer)
        while isinstance(layer, keras.layers.Dropout | keras.layers.Activation) and _is_identity(layer):
            layer = _producer(layer)
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            return str(_producer(layer).name), True
    maps = _maps(network)
    if not maps:
        raise ClassifierError(
            "expected a network with feature maps. Received: none with four dimensions",
            advice="The influence map needs a convolutional network.",
        )
    fine = [name for name, cells in maps if cells >= MIN_CELLS]
    return (fine[-1] if fine else max(maps, key=lambda one: one[1])[0]), False


def _maps(network: keras.Model) -> list[tuple[str, int]]:
    """Return (name, cells on the shorter side) of every layer that gives a feature map, in the network's order."""
    return [
        (layer.name, min(int(side) for side in layer.output.shape[1:3]))
        for layer in network.layers
        if not isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling)
        and not isinstance(layer.output, list)
        and len(layer.output.shape) == 4
        and layer.output.shape[-1] > 3
    ]


def _producer(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer.input._keras_history.operation


def _is_identity(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Dropout) or layer.activation is keras.activations.linear


def logit_function(network: keras.Model) -> Callable[[Pictures], Float]:
    """Return a function from uint8 (n, px, px) to logits, float32 (n,)."""
    graph = tf.function(lambda x: network(x, training=False), input_signature=_signature(network))
    return lambda pictures: np.asarray(graph(tf.constant(pictures[..., None], tf.float32)).numpy()[:, 0], np.float32)


def explaining_function(network: keras.Model) -> Callable[[Pictures], tuple[Float, Float, Float]]:
    """Return a function from uint8 (n, px, px) to what Grad-CAM needs.

    That is (logits float32 (n,), feature maps float32 (n, rows, columns, channels), weights float32 (n, channels)),
    the weights being the mean over each map of the logit's gradient (Selvaraju et al. 2017), up to a factor. Where the
    head is linear they are the dense layer's own, and logit and map come out of one forward pass.
    """
    forward = forward_function(network)
    return lambda pictures: forward(pictures)[:3]


def forward_function(
    network: keras.Model, gate_layers: Sequence[str] = ()
) -> Callable[[Pictures], tuple[Float, Float, Float, Float]]:
    """Return a function from uint8 (n, px, px) to what Grad-CAM and the gate need, out of one forward pass.

    What `explaining_function` returns, and last the gate features, float32 (n, ·): of `gate_layers` the first
    one's map averaged over each of `GRID` × `GRID` equal parts of the picture, row by row, then the others' averaged
    over all of it.

    Raises ValueError if the network has no such layer.
    """
    name, is_linear = evidence_layer(network)
    outputs = [
        network.outputs[0],
        network.get_layer(name).output,
        *(_in_parts(network.get_layer(layer).output) for layer in gate_layers[:1]),
        *(keras.layers.GlobalAveragePooling2D()(network.get_layer(layer).output) for layer in gate_layers[1:]),
    ]
    all_of_it = keras.Model(network.inputs, outputs)

    def by_gradient(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits, features, *parts = all_of_it(x, training=False)
            total = tf.reduce_sum(logits)
        return logits, features, tf.reduce_mean(tape.gradient(total, features), (1, 2)), joined(x, parts)

    def by_head(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits, features, *parts = all_of_it(x, training=False)
        weights = tf.repeat(network.layers[-1].kernel.value[None, :, 0], tf.shape(x)[0], axis=0)
        return logits, features, weights, joined(x, parts)

    def joined(x: tf.Tensor, parts: list[tf.Tensor]) -> tf.Tensor:
        return tf.concat([tf.cast(part, tf.float32) for part in parts], 1) if parts else tf.zeros((tf.shape(x)[0], 0))

    graph = tf.function(by_head if is_linear else by_gradient, input_signature=_signature(network))

    def forward(pictures: Pictures) -> tuple[Float, Float, Float, Float]:
        logits, *others = graph(tf.constant(pictures[..., None], tf.float32))
        features, weights, parts = (tf.cast(one, tf.float32).numpy() for one in others)
        return logits.numpy()[:, 0], features, weights, parts

    return forward


def _in_parts(feature_map: Any) -> Any:
    """Average a feature map (N, rows, columns, channels) over equal parts of the picture: (N, GRID · GRID · channels).

    A cell on the border of two parts counts in each by the share that lies there, so that a network with another
    number of cells tells of the same parts.
    """
    down, across = (_parts(int(size)) for size in feature_map.shape[1:3])
    values = keras.ops.cast(feature_map, "float32")
    values = keras.ops.einsum("ri,nijc->nrjc", down, values)
    values = keras.ops.einsum("sj,nrjc->nrsc", across, values)
    return keras.layers.Flatten()(values)


def _parts(size: int) -> Float:
    """Return how much each of `size` cells counts in each part: float32 (GRID, size), each row summing to 1."""
    edges, cell = np.linspace(0, size, GRID + 1), np.arange(size)
    share = np.clip(np.minimum(edges[1:, None], cell + 1) - np.maximum(edges[:-1, None], cell), 0, None)
    return np.asarray(share / share.sum(1, keepdims=True), np.float32)


def gate_layers(network: keras.Model, architecture: str) -> tuple[str, ...]:
    """Return the layers by which the gate tells a picture's kind, the earlier one first.

    Those that `model.architectures` names, else those a third and two thirds of the way to the map that explains the
    logit: the first layers see what kind of picture it is, the last ones only what they were trained to tell apart.
    """
    there = {layer.name for layer in network.layers}
    if (named := find_architecture(architecture).gate_layers) and set(named) <= there:
        return named
    names = [name for name, _ in _maps(network)]
    last = names.index(evidence_layer(network)[0])
    return names[last // 3], names[2 * last // 3]


def _signature(network: keras.Model) -> list[tf.TensorSpec]:
    # Said beforehand, so that a last, smaller batch does not cost the seconds of another graph.
    return [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]


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


def load_network(path: Path, architecture: str, input_px: int, trusted: Collection[str] = ()) -> keras.Model:
    """Build the named network and read its weights; `trusted` names the functions of one's own that may be called.

    Raises KeyError or ValueError when the file does not fit the network, ClassifierError for a name that is unknown or
    not trusted.
    """
    refuse_untrusted(architecture, trusted)
    network = build_network(architecture, input_px)
    read_weights(network, path)
    return network


def read_weights(network: keras.Model, path: Path) -> None:
    """Read the weights that `save_network` wrote into `network`; raises KeyError or ValueError when they do not fit."""
    with np.load(path, allow_pickle=False) as arrays:
        if len(arrays.files) != len(network.weights):
            raise ValueError(f"{len(arrays.files)} arrays instead of {len(network.weights)}")
        for i, variable in enumerate(network.weights):
            variable.assign(arrays[_key(i, variable)].astype(np.float32))


def count_parameters(architecture: str) -> int:
    """Return how many parameters are trained when all layers are; builds the network."""
    network = build_network(architecture, ARCHITECTURES[architecture].input_px)
    return train_after(network, "")


def _key(position: int, variable: keras.Variable) -> str:
    # Keras numbers its layers anew in every process ("conv2d_94"), so a variable's path is no name to store.
    return f"{position:03d}.{variable.name}"

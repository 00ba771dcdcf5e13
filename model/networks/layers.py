"""Roles of a network's layers: trainable or frozen, the source of the evidence map, the input of the gate."""

from __future__ import annotations

import keras

from core.errors import ClassifierError
from model.networks.architectures import find_architecture

POOL_LAYER = "pooled_features"
# A coarser map localises little; InceptionV3 has 8 × 8 cells at 299 px.
MIN_CELLS = 7


def sees_lungs(network: keras.Model) -> bool:
    """Whether a network takes films framed by their lungs, with the lungs as a second channel (`model.framing`)."""
    return bool(network.input_shape[-1] == 2)


def train_after(network: keras.Model, layer_name: str) -> int:
    """Make the layers after one trainable and freeze the rest.

    BatchNormalization then stays frozen everywhere: its statistics drift when they are re-estimated on small batches.

    Parameters
    ----------
    network
        The network; the flags are set in place.
    layer_name
        The last frozen layer; `POOL_LAYER` trains the head only. An empty name trains every layer, BatchNormalization
        included, for networks that start from random weights.

    Returns
    -------
    int
        Number of trainable parameters.

    Raises
    ------
    ValueError
        If the network has no such layer.
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
    """Find the layer whose feature map explains the logit.

    Where global average pooling and one dense layer end the network, it is the map that they average. Elsewhere it is
    the deepest map of at least `MIN_CELLS` × `MIN_CELLS` cells, or the largest.

    Returns
    -------
    tuple of str and bool
        The layer's name, and whether the head is linear on the average of its map.

    Raises
    ------
    ClassifierError
        If the network has no feature maps.
    """
    layer = network.layers[-1]
    if isinstance(layer, keras.layers.Dense):
        layer = _producer(layer)
        while isinstance(layer, keras.layers.Dropout | keras.layers.Activation) and _is_identity(layer):
            layer = _producer(layer)
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            return str(_producer(layer).name), True
    maps = _feature_maps(network)
    if not maps:
        raise ClassifierError(
            "expected a network with feature maps. Received: none with four dimensions",
            advice="The evidence map needs a convolutional network.",
        )
    fine = [name for name, cells in maps if cells >= MIN_CELLS]
    return (fine[-1] if fine else max(maps, key=lambda one: one[1])[0]), False


def gate_layers(network: keras.Model, architecture: str) -> tuple[str, ...]:
    """Return the layers whose activations are the gate features.

    They are those of `model.networks.architectures`, else those at one and two thirds of the way to the layer of the
    evidence map: early layers represent the kind of image, the last ones only the classes.

    Parameters
    ----------
    network
        A network of the architecture.
    architecture
        Name of the architecture.

    Returns
    -------
    tuple of str
        Names of the layers, the earlier one first.
    """
    present = {layer.name for layer in network.layers}
    if (named := find_architecture(architecture).gate_layers) and set(named) <= present:
        return named
    names = [name for name, _ in _feature_maps(network)]
    last = names.index(evidence_layer(network)[0])
    return names[last // 3], names[2 * last // 3]


def _feature_maps(network: keras.Model) -> list[tuple[str, int]]:
    """Return (name, cells on the shorter side) of every layer with a feature map, in the network's order."""
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

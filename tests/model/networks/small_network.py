"""A small network with the head of the large ones, and a training population that fits it."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from model.card import ModelCard
from model.networks.layers import POOL_LAYER
from model.networks.lung_pooling import FilmChannel, OverLungs
from model.population import HEADS, PARTS, Limits, TrainingPopulation
from tests.pages.performance.test_performance import a_card

PX = 64
GATE_LAYERS = ("early", "middle")


def small_network(input_px: int = PX) -> keras.Model:
    """Three convolutions down to 8 × 8 cells, global average pooling and one dense layer."""
    inputs = keras.Input((input_px, input_px, 1), name="radiograph")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(inputs)
    for name, channels in (("early", 6), ("middle", 8), ("last", 12)):
        x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", name=name)(x)
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(1, dtype="float32", name="logit")(x))


def lung_network(input_px: int = PX) -> keras.Model:
    """The same for films framed by their lungs, whose channel weights the last map; (N, px, px, 2) to one logit."""
    inputs = keras.Input((input_px, input_px, 2), name="film_and_lungs")
    film, lungs = FilmChannel(0, name="film")(inputs), FilmChannel(1, name="lungs")(inputs)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(film)
    for name, channels in (("early", 6), ("middle", 8), ("last", 12)):
        x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", name=name)(x)
    share = keras.layers.AveragePooling2D(8, padding="same", name="lungs_by_cell")(lungs)
    x = OverLungs(name="evidence")([x, share])
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    return keras.Model(inputs, keras.layers.Dense(1, dtype="float32", name="logit")(x))


def card_for(architecture: str, px: int, **preprocessing: object) -> ModelCard:
    return replace(
        a_card(), architecture=architecture, preprocessing={"input_px": px, "detail_px": 224, **preprocessing}
    )


def population_for(network: keras.Model, layers: tuple[str, ...], last: str) -> TrainingPopulation:
    """A population with random axes that this network's gate features can be compared with."""
    rng = np.random.default_rng(1)
    first, second, final = (network.get_layer(name).output.shape[-1] for name in (*layers, last))

    def axes(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(n, np.float32), rng.normal(0, 1, (n, k)).astype(np.float32)

    heads = axes(4 + PARTS * 2, len(HEADS))[::-1]
    return TrainingPopulation(
        layers,
        axes(first, 2),
        axes(first + second, 4),
        axes(final, 3),
        (heads[0], np.zeros(len(HEADS), np.float32)),
        Limits(1, 2, 0.5, 0.5, 0.5),
        rng.normal(0, 1, (5, 7)).astype(np.float32),
        np.array([0, 1, 0, 1, 1]),
    )

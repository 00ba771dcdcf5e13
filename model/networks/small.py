"""Small convolutional networks that published notebooks on this data set train from random weights.

Each takes one grey channel (N, px, px, 1) in [0, 255], rescales it to [-1, 1] and ends in one logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers


def _start(px: int) -> tuple[Any, Any]:
    inputs = keras.Input((px, px, 1), name="radiograph")
    return inputs, layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(inputs)


def _convolve(
    x: Any, widths: Sequence[int], *, batch_norm: bool = False, dropout: Sequence[float] = (), spatial: bool = False
) -> Any:
    """Apply 3 × 3 convolutions, each followed by 2 × 2 pooling; where dropout is given, one rate for each."""
    for i, width in enumerate(widths, 1):
        x = layers.Conv2D(width, 3, padding="same", use_bias=not batch_norm, name=f"conv{i}")(x)
        if batch_norm:
            x = layers.BatchNormalization(name=f"norm{i}")(x)
        x = layers.Activation("relu", name=f"relu{i}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
        if dropout and dropout[i - 1]:
            kind = layers.SpatialDropout2D if spatial else layers.Dropout
            x = kind(dropout[i - 1], name=f"dropout{i}")(x)
    return x


def _finish(inputs: Any, x: Any, dense: Sequence[int], dropout: float, name: str) -> keras.Model:
    x = layers.Flatten(name="flat")(x)
    for i, width in enumerate(dense, 1):
        x = layers.Dense(width, activation="relu", name=f"dense{i}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dense_dropout{i}")(x)
    return keras.Model(inputs, layers.Dense(1, dtype="float32", name="logit")(x), name=name)


def simple_cnn(px: int, dropout: float) -> keras.Model:
    """Build four convolutions with dropout and a dense layer of 128, a common network of notebooks.

    Input (n, `px`, `px`, 1) with grey values 0–255, output one logit; `dropout` is the rate before the last layer, half
    of it between convolutions.
    """
    inputs, x = _start(px)
    x = _convolve(x, (16, 32, 64, 128), dropout=(0, dropout / 2, dropout / 2, dropout / 2))
    return _finish(inputs, x, (128,), dropout, "simple_cnn")


def cnn_2_1(px: int, _dropout: float) -> keras.Model:
    """Build two convolutions and one dense layer; `px` as in `simple_cnn`, `_dropout` is not used."""
    inputs, x = _start(px)
    return _finish(inputs, _convolve(x, (32, 64)), (), 0.0, "cnn_2_1")


def cnn_4_2(px: int, dropout: float) -> keras.Model:
    """Build four convolutions and two dense layers with BatchNorm; `px` and `dropout` as in `simple_cnn`."""
    inputs, x = _start(px)
    x = _convolve(x, (32, 32, 64, 64), batch_norm=True, dropout=(dropout / 2,) * 4)
    return _finish(inputs, x, (64,), dropout, "cnn_4_2")


def cnn_3_1(px: int, dropout: float) -> keras.Model:
    """Build three convolutions and one dense layer; `px` and `dropout` as in `simple_cnn`."""
    inputs, x = _start(px)
    x = _convolve(x, (32, 64, 64), dropout=(0, 0, dropout))
    return _finish(inputs, x, (), 0.0, "cnn_3_1")


def cnn_77k(px: int, dropout: float) -> keras.Model:
    """Build seven convolutions with spatial dropout, then three dense layers; `px` and `dropout` as in `simple_cnn`.

    77,633 trainable parameters where 128 ≤ px < 256, which seven poolings reduce to one cell.
    """
    inputs, x = _start(px)
    x = _convolve(x, (16, 16, 16, 32, 32, 64, 64), dropout=(dropout / 2,) * 7, spatial=True)
    return _finish(inputs, x, (48, 8), dropout, "cnn_77k")


BUILDERS: dict[str, Callable[[int, float], keras.Model]] = {
    "simple_cnn": simple_cnn,
    "cnn_2_1": cnn_2_1,
    "cnn_4_2": cnn_4_2,
    "cnn_3_1": cnn_3_1,
    "cnn_77k": cnn_77k,
}

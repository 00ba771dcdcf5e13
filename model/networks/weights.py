"""Weights of a network as a NumPy archive: kernels in half precision, vectors in float32, nothing pickled."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from core.files import write_atomically
from model.networks.architectures import refuse_untrusted
from model.networks.build import build_network


def round_to_half(network: keras.Model) -> None:
    """Round the kernels to half precision in place, so that the network that is evaluated is the one that is stored."""
    for variable in network.weights:
        variable.assign(_stored(variable.numpy()).astype(np.float32))


def save_network(network: keras.Model, path: Path) -> None:
    """Write the weights of `network` to `path`, a compressed NumPy archive; kernels in half precision.

    Rounding the kernels moves probabilities by less than 1e-3.
    """
    arrays: dict[str, Any] = {_key(i, v): _stored(v.numpy()) for i, v in enumerate(network.weights)}
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def load_network(path: Path, architecture: str, input_px: int, trusted: Collection[str] = ()) -> keras.Model:
    """Build the named network and read its weights.

    Parameters
    ----------
    path
        File that `save_network` wrote.
    architecture
        Name of the network, see `model.networks.architectures`.
    input_px
        Side of the square that it takes.
    trusted
        Functions of one's own, package.module:function, that may be called.

    Returns
    -------
    keras.Model
        The network in inference precision.

    Raises
    ------
    KeyError, ValueError
        If the file does not fit the network.
    ClassifierError
        If the name is unknown or not trusted.
    """
    refuse_untrusted(architecture, trusted)
    network = build_network(architecture, input_px)
    read_weights(network, path)
    return network


def read_weights(network: keras.Model, path: Path) -> None:
    """Read the weights in `path`, written by `save_network`, into `network`.

    Raises
    ------
    KeyError, ValueError
        If the file does not fit the network.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if len(arrays.files) != len(network.weights):
            raise ValueError(f"{len(arrays.files)} arrays instead of {len(network.weights)}")
        for i, variable in enumerate(network.weights):
            variable.assign(arrays[_key(i, variable)].astype(np.float32))


def _stored(values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    # BatchNormalization's vectors are small in size and large in effect; they keep full precision.
    return values.astype(np.float16) if values.ndim > 1 else values


def _key(position: int, variable: keras.Variable) -> str:
    # Keras numbers layers anew in every process ("conv2d_94"), so a variable's path is not stable.
    return f"{position:03d}.{variable.name}"

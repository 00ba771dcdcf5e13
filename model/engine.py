"""Runs a classifier version on a batch; callers need not know which runtime does it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.card import ModelCard
from model.errors import ClassifierError
from model.registry import verify

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A loaded classifier version.

    `run` maps network input, uint8 (n, input_px, input_px), to (logits float32 (n,), feature maps float32
    (n, rows, columns, channels)); `head` is the dense layer's weights, float32 (channels,). Safe to share between
    threads.
    """

    card: ModelCard
    head: Float
    layer: str
    run: Callable[[npt.NDArray[np.uint8]], tuple[Float, Float]]

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.card.version

    @property
    def input_px(self) -> int:
        """Side of the square that the network takes."""
        return int(self.card.preprocessing["input_px"])

    @property
    def detail_px(self) -> int:
        """Resolution to which every radiograph is reduced first."""
        return int(self.card.preprocessing["detail_px"])


def load_classifier(folder: Path) -> Classifier:
    """Load the version in `folder` after checking its checksum, and run it once so that the first film is not slow.

    Raises ClassifierError when it is missing, damaged or made for another network.
    """
    card = verify(folder)
    from model import network as networks  # seconds and hundreds of MB: only who assesses pays for it

    try:
        input_px = int(card.preprocessing["input_px"])
        network = networks.load_network(folder / card.weights_file, card.architecture, input_px)
    except (KeyError, ValueError) as error:
        raise ClassifierError(f"expected the weights of {card.architecture} in {card.version}. Received: {error}",
                              advice=f"Version {card.version} does not fit this software; choose another.") from error
    return wrap_network(network, card)


def wrap_network(network: Any, card: ModelCard) -> Classifier:
    """Serve a Keras network that is already in memory; training evaluates through the same code as the page."""
    from model import network as networks

    forward = networks.serving_function(network)
    lock = threading.Lock()

    def run(pictures: npt.NDArray[np.uint8]) -> tuple[Float, Float]:
        # One at a time: two passes side by side take as long as one after the other and twice the memory.
        with lock:
            return forward(pictures)

    input_px = int(card.preprocessing["input_px"])
    run(np.zeros((1, input_px, input_px), np.uint8))
    return Classifier(card, networks.head_weights(network), networks.FEATURE_LAYER, run)

"""Runs a classifier version on a batch; callers need not know which runtime does it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.card import ModelCard
from model.errors import ClassifierError
from model.registry import verify

Float = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A loaded classifier version. Safe to share between threads.

    `run` maps network input, uint8 (n, input_px, input_px), to logits float32 (n,). `explain` maps it to (logits,
    feature maps float32 (n, rows, columns, channels), weights float32 (n, channels)), of which `model.gradcam` makes
    the influence map; `layer` names where the feature maps come from.
    """

    card: ModelCard
    layer: str
    run: Callable[[Pictures], Float]
    explain: Callable[[Pictures], tuple[Float, Float, Float]]

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


def load_classifier(folder: Path, architectures: Collection[str] = ()) -> Classifier:
    """Load the version in `folder` after checking its checksum, and run it once so that the first film is not slow.

    `architectures` names the functions of one's own that a version may call for (`Settings.architectures`).

    Raises ClassifierError when it is missing, damaged or made for another network.
    """
    card = verify(folder)
    from model import network as networks  # seconds and hundreds of MB: only who assesses pays for it

    try:
        input_px = int(card.preprocessing["input_px"])
        network = networks.load_network(folder / card.weights_file, card.architecture, input_px, architectures)
    except (KeyError, ValueError) as error:
        raise ClassifierError(f"expected the weights of {card.architecture} in {card.version}. Received: {error}",
                              advice=f"Version {card.version} does not fit this software; choose another.") from error
    classifier = wrap_network(network, card)
    classifier.explain(np.zeros((1, input_px, input_px), np.uint8))
    return classifier


def wrap_network(network: Any, card: ModelCard) -> Classifier:
    """Serve a Keras network that is already in memory; training evaluates through the same code as the page.

    With `card.preprocessing["mirror"]` each radiograph is seen as it is and mirrored, and the two logits are averaged;
    so are the two influence maps.
    """
    from model import network as networks

    logits, explaining = networks.logit_function(network), networks.explaining_function(network)
    mirror = bool(card.preprocessing.get("mirror", False))
    lock = threading.Lock()

    # One at a time: two passes side by side take as long as one after the other and twice the memory.
    def run(pictures: Pictures) -> Float:
        with lock:
            return mirrored_mean(logits, pictures) if mirror else logits(pictures)

    def explain(pictures: Pictures) -> tuple[Float, Float, Float]:
        with lock:
            if not mirror:
                return explaining(pictures)
            (logit, features, weights), (logit_m, features_m, weights_m) = (
                explaining(side) for side in (pictures, pictures[:, :, ::-1]))
            # Channels of both passes side by side: their weighted sum is the mean of the two maps.
            half = np.float32(0.5)
            return (half * (logit + logit_m), np.concatenate((features, features_m[:, :, ::-1]), -1),
                    half * np.concatenate((weights, weights_m), -1))

    return Classifier(card, networks.influence_layer(network)[0], run, explain)


def mirrored_mean(logits: Callable[[Pictures], Float], pictures: Pictures) -> Float:
    """Average the logits, float32 (n,), of the pictures and of their mirror images."""
    return np.asarray((logits(pictures) + logits(np.ascontiguousarray(pictures[:, :, ::-1]))) / 2, np.float32)

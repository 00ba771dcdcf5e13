"""Engine: runs a classifier version on a batch of network inputs, independent of the runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import ClassifierError
from imaging.border import fill_border
from imaging.radiograph import Radiograph, squash
from model.anatomy import AnatomyFinder
from model.anatomy_files import load_anatomy_finder, shipped_finder
from model.card import ModelCard
from model.framing import network_pictures
from model.networks.architectures import is_own
from model.population import POPULATION, TrainingPopulation, read_population
from model.registry import ANATOMY, verify

Float = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ForwardPass:
    """Output of one pass of the network for n pictures.

    Attributes
    ----------
    logits
        (n,), float32
    features
        (n, rows, columns, channels), float32: the feature maps of the evidence.
    weights
        (n, channels), float32: the weights of their channels.
    gate_features
        (n, d), float32: pooled activations of the gate layers, of the picture without its mirror image.
    last
        (n, channels), float32: mean of the feature maps, of the picture without its mirror image.
    """

    logits: Float
    features: Float
    weights: Float
    gate_features: Float
    last: Float


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A loaded classifier version. Safe to share between threads.

    Attributes
    ----------
    card
        The card of the version.
    layer
        Name of the layer of the feature maps.
    run
        From network input, uint8 (n, input_px, input_px) or (n, input_px, input_px, 2), to logits, float32 (n,).
    explain
        From network input to logits, feature maps, float32 (n, rows, columns, channels), and the weights of their
        channels, float32 (n, channels); `model.explanation` makes the evidence map of them.
    forward
        From network input to all that `explain` and the gate need, in one pass; None without a population.
    population
        The training population; None for versions without one.
    find_anatomy
        Finds the lungs by which films are framed; None for versions that see the whole film.
    find_lungs
        Finds the lungs for the zones of the evidence, in versions that see the whole film; None without.
    """

    card: ModelCard
    layer: str
    run: Callable[[Pictures], Float]
    explain: Callable[[Pictures], tuple[Float, Float, Float]]
    forward: Callable[[Pictures], ForwardPass] | None = None
    population: TrainingPopulation | None = None
    find_anatomy: AnatomyFinder | None = None
    find_lungs: AnatomyFinder | None = None

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.card.version

    @property
    def input_px(self) -> int:
        """Side of the network's square input."""
        return int(self.card.preprocessing["input_px"])

    @property
    def detail_px(self) -> int:
        """Resolution to which every radiograph is reduced first."""
        return int(self.card.preprocessing["detail_px"])

    @property
    def fills_border(self) -> bool:
        """Whether black borders are filled from the margin of the radiograph; older versions do not."""
        return bool(self.card.preprocessing.get("fills_border", False))

    def square_of(self, radiograph: Radiograph) -> Pictures:
        """Return a radiograph squashed to a square, its borders filled: uint8 (detail_px, detail_px)."""
        square = squash(radiograph, self.detail_px)
        return fill_border(square) if self.fills_border else square

    def input_of(self, radiograph: Radiograph) -> Pictures:
        """Return the network input of a radiograph: uint8 (input_px, input_px), with 2 channels if it is framed."""
        return np.asarray(self.inputs_of(self.square_of(radiograph)[None])[0])

    def input_of_square(self, square: Pictures) -> Pictures:
        """Return the network input of a radiograph that was reduced to uint8 (detail_px, detail_px)."""
        return np.asarray(self.inputs_of((fill_border(square) if self.fills_border else square)[None])[0])

    def inputs_of(self, squares: Pictures) -> Pictures:
        """Return the network input of squares whose borders are filled.

        Parameters
        ----------
        squares
            (n, detail_px, detail_px), uint8.

        Returns
        -------
        ndarray
            uint8 (n, input_px, input_px), or (n, input_px, input_px, 2) if framed.
        """
        return network_pictures(squares, self.input_px, self.find_anatomy)


def load_classifier(folder: Path, architectures: Collection[str] = ()) -> Classifier:
    """Load the version in a folder after verifying its checksums.

    It is run once, so that the first radiograph is not slow.

    Parameters
    ----------
    folder
        Folder of the version.
    architectures
        Functions of one's own that a version may call, see `Settings.architectures`.

    Returns
    -------
    Classifier
        Ready to assess.

    Raises
    ------
    ClassifierError
        If the version is missing, damaged or made for another network, or the shipped anatomy network is.
    """
    card = verify(folder)
    from model.networks.weights import load_network  # lazy: tensorflow takes seconds and hundreds of MB

    try:
        input_px = int(card.preprocessing["input_px"])
        network = load_network(folder / card.weights_file, card.architecture, input_px, architectures)
    except (KeyError, ValueError, TypeError) as error:
        raise ClassifierError(
            f"expected the weights of {card.architecture} in {card.version}. Received: {error}",
            advice=f"Version {card.version} does not fit this software; choose another.",
        ) from error
    find = load_anatomy_finder(folder / ANATOMY, card.anatomy_sha256) if card.anatomy_sha256 else None
    classifier = wrap_network(network, card, _population(folder, card), find)
    blank = classifier.inputs_of(np.zeros((1, classifier.detail_px, classifier.detail_px), np.uint8))
    (classifier.forward or classifier.explain)(blank)
    return classifier if find else replace(classifier, find_lungs=shipped_finder())


def _population(folder: Path, card: ModelCard) -> TrainingPopulation | None:
    """Read the training population of a version; its checksum was verified with that of the weights."""
    if not card.population_sha256:
        return None
    try:
        return read_population(folder / POPULATION)
    except (OSError, KeyError, ValueError) as error:
        raise ClassifierError(
            f"expected the training population of {card.version}. Received: {error}",
            advice=f"Version {card.version} does not fit this software; choose another.",
        ) from error


def wrap_network(
    network: Any,
    card: ModelCard,
    population: TrainingPopulation | None = None,
    find_anatomy: AnatomyFinder | None = None,
) -> Classifier:
    """Serve a Keras network that is in memory; training evaluates through the same code as the page.

    With ``card.preprocessing["mirror"]`` the logits of each radiograph and its mirror image are averaged, and so are
    the two evidence maps.

    Parameters
    ----------
    network
        A Keras network with one logit, see `model.networks.build`.
    card
        The card of the version.
    population
        The training population of the version, if it has one.
    find_anatomy
        Finds the lungs, for a network that sees films framed by them.

    Returns
    -------
    Classifier
        Safe to share between threads.

    Raises
    ------
    ClassifierError
        If the population is another network's.
    """
    from model.networks.graphs import forward_function, logit_function
    from model.networks.layers import evidence_layer, gate_layers

    logits = logit_function(network)
    layers = population.layers if population else ()
    if layers and is_own(card.architecture):
        # Keras numbers layers without a name anew in every process, so the stored names may be another layer's.
        layers = gate_layers(network, card.architecture)
    try:
        passing = forward_function(network, layers)
    except ValueError as error:
        raise ClassifierError(
            f"expected a population of {card.architecture} in {card.version}. Received: {error}",
            advice=f"Version {card.version} does not fit this software; choose another.",
        ) from error
    mirror = bool(card.preprocessing.get("mirror", False))
    lock = threading.Lock()

    # One at a time: two concurrent passes take as long as two in sequence, and twice the memory.
    def run(pictures: Pictures) -> Float:
        with lock:
            return mirrored_mean(logits, pictures) if mirror else logits(pictures)

    def forward(pictures: Pictures) -> ForwardPass:
        with lock:
            logit, features, weights, gate_features = passing(pictures)
            last = features.mean((1, 2))
            if mirror:
                logit_m, features_m, weights_m, _ = passing(pictures[:, :, ::-1])
                # Channels of both passes side by side: their weighted sum is the mean of the two maps.
                half = np.float32(0.5)
                logit = half * (logit + logit_m)
                features = np.concatenate((features, features_m[:, :, ::-1]), -1)
                weights = half * np.concatenate((weights, weights_m), -1)
            return ForwardPass(logit, features, weights, gate_features, last)

    def explain(pictures: Pictures) -> tuple[Float, Float, Float]:
        seen = forward(pictures)
        return seen.logits, seen.features, seen.weights

    return Classifier(
        card, evidence_layer(network)[0], run, explain, forward if population else None, population, find_anatomy
    )


def mirrored_mean(logits: Callable[[Pictures], Float], pictures: Pictures) -> Float:
    """Average the logits of pictures and of their mirror images.

    Parameters
    ----------
    logits
        Maps pictures to logits, float32 (n,).
    pictures
        (n, px, px) or (n, px, px, 2), uint8.

    Returns
    -------
    ndarray
        (n,), float32.
    """
    return np.asarray((logits(pictures) + logits(np.ascontiguousarray(pictures[:, :, ::-1]))) / 2, np.float32)

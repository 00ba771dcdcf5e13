"""Initial weights of a training: ImageNet, random, or a classifier version.

Only `build_initial_network` imports tensorflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ClassifierError
from model.networks.architectures import find_architecture
from model.registry import CARD, read_card, verify
from training.data.recipes import RECIPES
from training.fitting.config import TrainingConfig

if TYPE_CHECKING:
    import keras


def is_version(weights: str) -> bool:
    """Whether `weights` is the weights file of a classifier version, which has a card beside it."""
    return (Path(weights).with_name(CARD)).is_file()


def initial_weights_name(weights: str) -> str:
    """Return the name for a card: "version NAME", a file name without its folder, "imagenet" or "random"."""
    return f"version {Path(weights).parent.name}" if is_version(weights) else Path(weights).name


def choose_initial_weights(asked: str | Path | None, usual: str, architecture: str) -> str:
    """Return the initial weights of a training: "imagenet", "random" or the absolute path of a file.

    Parameters
    ----------
    asked
        What somebody asked for; None for nothing.
    usual
        What the installation takes where nobody asks: the weights of networks that have a pretrained backbone.
    architecture
        Name of the architecture; one without a pretrained backbone starts at random, or from a version of it.

    Raises
    ------
    ClassifierError
        If other weights were asked for than an architecture without a pretrained backbone can start from.
    """
    if not find_architecture(architecture).is_transfer:
        if asked in (None, "random"):
            return "random"
        if not is_version(str(asked)):
            raise ClassifierError(
                f'expected "random" or the weights file of a version of {architecture}, which has no pretrained '
                f"backbone. Received: {asked}",
                advice="Name no initial weights for this network.",
            )
    weights = str(asked or usual)
    return str(Path(weights).resolve()) if Path(weights).is_file() else weights


def check_initial_weights(weights: str, config: TrainingConfig) -> None:
    """Check `weights`, as `build_initial_network` takes them for `config`, without building the network.

    Raises
    ------
    ClassifierError
        If the file is missing, or the weights are of another architecture.
    """
    if weights in ("imagenet", "random"):
        return
    if not Path(weights).is_file():
        raise ClassifierError(
            f"expected a file with initial weights. Received: {weights}",
            advice='Name a file that exists, or "imagenet" to let Keras download its own.',
        )
    if is_version(weights) and (card := read_card(Path(weights).parent)).architecture != config.architecture:
        raise ClassifierError(
            f"expected initial weights of {config.architecture}. Received: {card.version}, {card.architecture}",
            advice="Choose the same architecture as the version's, or start from ImageNet.",
        )


def build_initial_network(weights: str, config: TrainingConfig) -> keras.Model:
    """Build the configuration's network.

    Parameters
    ----------
    weights
        "imagenet", "random", a file with a backbone's weights in Keras's layout, or the weights file of a classifier
        version of the same architecture. Of a version the head is kept as well; its checksum is verified first.
    config
        Architecture, input size and dropout.

    Raises
    ------
    ClassifierError
        If the weights are missing or do not fit the architecture, or the configuration's augmentation is for films
        framed by their lungs and the network sees whole films.
    """
    network = _built(weights, config)
    refuse_recipes_for_lungs(network, config)
    return network


def refuse_recipes_for_lungs(network: keras.Model, config: TrainingConfig) -> None:
    """Refuse a recipe for the lungs for a network that sees whole films: most of it would silently have no effect.

    Parameters
    ----------
    network
        A network with one input.
    config
        Its recipes.

    Raises
    ------
    ClassifierError
        If a recipe does not fit.
    """
    from model.networks.layers import sees_lungs

    used = {config.augmentation, *(stage.augmentation for stage in config.stages if stage.augmentation)}
    if not sees_lungs(network) and (unfit := sorted(name for name in used if RECIPES[name].is_for_lungs)):
        whole = ", ".join(name for name, recipe in RECIPES.items() if not recipe.is_for_lungs)
        raise ClassifierError(
            f"expected an augmentation for whole films, one of {whole}, with {config.architecture}. Received: "
            f"{', '.join(unfit)}",
            advice="Choose one of these with --augmentation, or a network that sees the lungs: inception_v3_lungs.",
        )


def _built(weights: str, config: TrainingConfig) -> keras.Model:
    from model.networks.build import build_network
    from model.networks.weights import read_weights

    architecture = find_architecture(config.architecture)
    size = None if architecture.any_size else config.input_px
    if is_version(weights):
        check_initial_weights(weights, config)
        verify(Path(weights).parent)
        network = build_network(config.architecture, size, dropout=config.dropout)
        try:
            read_weights(network, Path(weights))
        except (KeyError, ValueError) as error:
            raise ClassifierError(
                f"expected weights of {config.architecture}. Received: {error}",
                advice="Start from ImageNet, or from another version.",
            ) from error
        return network
    backbone = None if weights == "random" or not architecture.is_transfer else weights
    try:
        return build_network(config.architecture, size, backbone_weights=backbone, dropout=config.dropout)
    except ClassifierError:
        raise
    except Exception as error:  # Keras raises a bare Exception for a failed download, OSError or ValueError for a file
        raise ClassifierError(
            f"expected the backbone's weights. Received: {type(error).__name__} for {weights!r}: {error}",
            advice="Name a local weights file with --backbone-weights, start from random weights with "
            "--backbone-weights random, or check that this machine may download them.",
        ) from error

"""Architectures by name: what each network is and how it is trained. No tensorflow."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from core.errors import ClassifierError

# The first gate layer is averaged over GRID × GRID equal parts of the picture, which the orientation of a chest needs.
GRID = 3
# Side of the square picture in which the anatomy network outlines the lungs.
ANATOMY_PX = 128
# Orientations: quarter turns clockwise, and whether the grayscale is inverted. The first is upright.
POSES = tuple((quarters, inverted) for inverted in (False, True) for quarters in range(4))
# A function of one's own is named as package.module:function.
_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network that can be trained and served.

    Attributes
    ----------
    name
        Name of the architecture.
    summary
        Description in a few words.
    claim
        Accuracy that its authors or publications on this data set report, in percent.
    source
        Publication.
    input_px
        Side of its square input.
    train_after
        With ImageNet weights, the layer after which it is fine-tuned; empty for networks trained from random weights.
    any_size
        Whether the input size may change during training.
    learning_rate
        Learning rate, if it is trained as a whole.
    augmentation
        Data augmentation recipe of the published training, where there is one.
    gate_layers
        The layers that the gate reads: an early one, and one about half way.
    min_px
        Smallest side for which it can be built.
    parameters
        Number of parameters when all layers are trained at `input_px`; 0 where it is not known before it is built.
    is_framed
        Whether it sees films framed by their lungs, with the lungs as a second channel (`model.framing`).
    """

    name: str
    summary: str
    claim: str
    source: str
    input_px: int
    train_after: str = ""
    any_size: bool = False
    learning_rate: float = 1e-3
    augmentation: str = "strong"
    gate_layers: tuple[str, ...] = ()
    min_px: int = 32
    parameters: int = 0
    is_framed: bool = False

    @property
    def is_transfer(self) -> bool:
        """Whether it starts from ImageNet weights."""
        return bool(self.train_after)


_KERAS = "keras.applications"
ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture(
            "inception_v3",
            "InceptionV3, fine-tuned from ImageNet, linear head; the default",
            "97 % train, 95 % test; Kermany 2018 (Cell): 92.8 % test",
            "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567",
            299,
            "mixed3",
            True,
            2e-4,
            gate_layers=("mixed3", "mixed6"),
            min_px=75,
            parameters=21_770_401,
        ),
        Architecture(
            "inception_v3_lungs",
            "InceptionV3 that sees the film framed by its lungs and pools its features over the lungs alone",
            "–",
            "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567",
            299,
            "mixed3",
            True,
            2e-4,
            "lungs",
            ("mixed3", "mixed6"),
            min_px=171,
            parameters=21_771_169,
            is_framed=True,
        ),
        Architecture(
            "inception_v3_scratch",
            "the same without ImageNet",
            "86.9 % at best",
            "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567",
            150,
            any_size=True,
            gate_layers=("mixed3", "mixed6"),
            min_px=75,
            parameters=21_770_401,
        ),
        Architecture(
            "simple_cnn",
            "4 convolutions with dropout, 2 dense; augmentation",
            "88 % train; per class 80 % NORMAL, 96 % PNEUMONIA (another write-up of it: 92 %)",
            "write-ups of this data set",
            150,
            augmentation="keras_notebook",
            gate_layers=("pool2", "pool4"),
            parameters=1_424_513,
        ),
        Architecture(
            "cnn_2_1",
            "2 convolutions, 1 dense; no BatchNorm, no dropout",
            "99 % train, 93 % test",
            "write-ups of this data set",
            150,
            augmentation="plain",
            gate_layers=("pool1", "pool2"),
            parameters=106_433,
        ),
        Architecture(
            "cnn_4_2",
            "4 convolutions, 2 dense, with BatchNorm and dropout",
            "99 % train, 91 % test",
            "write-ups of this data set",
            150,
            augmentation="keras_notebook",
            gate_layers=("pool2", "pool4"),
            parameters=397_089,
        ),
        Architecture(
            "cnn_3_1",
            "3 convolutions, 1 dense",
            "96 % train, 93 % test",
            "write-ups of this data set",
            150,
            augmentation="keras_notebook",
            gate_layers=("pool2", "pool3"),
            parameters=76_481,
        ),
        Architecture(
            "cnn_77k",
            "7 convolutions with pooling and spatial dropout, 3 dense with dropout",
            "96 % train, 93 % test",
            "write-ups of this data set",
            150,
            augmentation="keras_notebook",
            gate_layers=("pool3", "pool5"),
            min_px=128,
            parameters=77_633,
        ),
        Architecture(
            "vgg16",
            "VGG16, linear head",
            "–",
            f"{_KERAS}; https://arxiv.org/abs/1409.1556",
            224,
            "block3_pool",
            True,
            1e-4,
            gate_layers=("block3_pool", "block4_pool"),
            parameters=14_715_201,
        ),
        Architecture(
            "resnet50",
            "ResNet50, linear head",
            "–",
            f"{_KERAS}; https://arxiv.org/abs/1512.03385",
            224,
            "conv3_block4_out",
            True,
            2e-4,
            gate_layers=("conv3_block4_out", "conv4_block6_out"),
            parameters=23_536_641,
        ),
        Architecture(
            "densenet121",
            "DenseNet121, linear head",
            "–",
            f"{_KERAS}; https://arxiv.org/abs/1608.06993",
            224,
            "pool3_pool",
            True,
            2e-4,
            gate_layers=("pool3_pool", "pool4_pool"),
            parameters=6_954_881,
        ),
    )
}
# Side of the picture without ImageNet weights, for training on two cores.
SCRATCH_PX = 150


def is_own(name: str) -> bool:
    """Whether `name` has the form package.module:function."""
    return _OWN.fullmatch(name) is not None


def find_architecture(name: str) -> Architecture:
    """Return the named network. A function of one's own gets the defaults of networks trained from random weights.

    Raises
    ------
    ClassifierError
        If the name is neither known nor a function.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if is_own(name):
        return Architecture(name, "a function of this installation", "–", name, SCRATCH_PX)
    raise ClassifierError(
        f"expected an architecture of {', '.join(ARCHITECTURES)}, or package.module:function. Received: {name!r}",
        advice="See the list with: python -m training architectures",
    )


def refuse_untrusted(name: str, trusted: Collection[str]) -> None:
    """Refuse a function of one's own that this installation does not trust.

    A card is data: without this check, anyone who can add a version to the data folder could have any function called.

    Raises
    ------
    ClassifierError
        If `name` is a function and not among `trusted`.
    """
    if is_own(name) and name not in trusted:
        raise ClassifierError(
            f"expected an architecture that this installation trusts. Received: {name}",
            advice=f"If {name} is yours, add it to the setting PNEUMOLENS_ARCHITECTURES.",
        )

"""The configuration of a training: stages, optimiser, augmentation, calibration; stored as JSON beside the result.

>>> config = default_config("inception_v3", "standard", seed=1)
>>> TrainingConfig.from_json(config.to_json()) == config
True
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from core.json_text import parse_json
from model.networks.architectures import SCRATCH_PX, Architecture, find_architecture
from training.data.recipes import RECIPES, Augmentation, current_name

# (epochs of the head, on small pictures, at full size; epochs of a network that starts from random weights). Where only
# the head is trained, its features are computed once for each of CACHED_COPIES copies.
PRESETS = {"quick": (20, 0, 0, 6), "standard": (1, 10, 3, 20), "thorough": (1, 24, 8, 60)}
CACHED_COPIES = 2
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")


@dataclass(frozen=True, slots=True)
class Stage:
    """Epochs at one picture size with one part of the network trainable.

    Consecutive stages with the same `train_after` share one optimiser and one average of the weights; those with the
    same learning rate as well share one warm-up and cosine.

    Parameters
    ----------
    name
        Shown while training.
    epochs
        At least 1.
    input_px
        Side of the pictures.
    train_after
        Last frozen layer; empty trains everything, BatchNormalization included.
    learning_rate
        Peak.
    augmentation
        Recipe of this stage; empty for the configuration's.
    """

    name: str
    epochs: int
    input_px: int
    train_after: str
    learning_rate: float
    augmentation: str = ""

    @property
    def schedule(self) -> tuple[str, float]:
        """Key of the stages that share one warm-up and cosine."""
        return self.train_after, self.learning_rate


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that determines the result of a training, apart from the data.

    Parameters
    ----------
    architecture
        Name of an architecture, or ``package.module:function``.
    seed
        Of split, order, augmentation and random weights.
    validation_fraction
        Share of the patients held out, in [0.01, 0.9].
    batch_size
        Radiographs in one step.
    max_class_ratio
        Largest number of radiographs of the larger class in an epoch for each of the smaller one.
    detail_px
        Side to which every radiograph is reduced first.
    input_px
        Side of the network input in service.
    augmentation, augmentation_strength
        Recipe and strength, see `training.data.augment`.
    optimizer, label_smoothing, dropout, weight_decay, ema_momentum, warmup_steps
        As usual; a momentum of 0 averages no weights.
    pathogen_weight
        Weight in the loss of a second output, virus or bacteria, where file names give it; removed after training.
    mirror
        Whether a radiograph is averaged with its mirror image in service.
    budget_minutes
        Time limit of fitting, without validation; 0 for none. Epochs are shortened so that the schedule completes.
    copies
        Numbers of `domain_shift` and `jitter` copies of the held-out radiographs for calibration.
    cached_copies
        Above 0 trains the classification head only, on features computed once: of the radiographs as they are, and of
        each further augmented copy.
    fills_border
        Whether margins continue over black borders, in training and in service; early runs lack it.
    learns_population
        Whether the version learns the training population for the gate.
    precision
        "auto", "float32" or "mixed_bfloat16".
    stages
        At least one.
    """

    architecture: str = "inception_v3"
    seed: int = 2026
    validation_fraction: float = 0.12
    batch_size: int = 32
    max_class_ratio: float = 1.5
    detail_px: int = 224
    input_px: int = 299
    augmentation: str = "strong"
    augmentation_strength: float = 1.0
    optimizer: str = "adamw"
    label_smoothing: float = 0.03
    dropout: float = 0.25
    weight_decay: float = 1e-4
    ema_momentum: float = 0.99
    warmup_steps: int = 60
    pathogen_weight: float = 0.0
    mirror: bool = False
    budget_minutes: float = 0.0
    copies: tuple[int, int] = (3, 2)
    cached_copies: int = 0
    fills_border: bool = False
    learns_population: bool = True
    precision: str = "auto"
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for a configuration that cannot run."""
        for recipe in (self.augmentation, *(s.augmentation for s in self.stages if s.augmentation)):
            if recipe not in RECIPES:
                raise ValueError(f"expected an augmentation of {', '.join(sorted(RECIPES))}. Received: {recipe}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}. Received: {self.precision}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"expected an optimizer of {', '.join(OPTIMIZERS)}. Received: {self.optimizer}")
        for name, low, high in (
            ("dropout", 0, 0.9),
            ("label_smoothing", 0, 0.5),
            ("weight_decay", 0, 1),
            ("ema_momentum", 0, 0.99999),
            ("pathogen_weight", 0, 1),
            ("batch_size", 1, 1024),
            ("validation_fraction", 0.01, 0.9),
            ("budget_minutes", 0, 1e6),
            ("augmentation_strength", 0, 2),
            ("max_class_ratio", 1, 1e6),
            ("input_px", 32, 1024),
            ("detail_px", 16, 1024),
            ("cached_copies", 0, 20),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"expected {name} from {low:g} to {high:g}. Received: {getattr(self, name)}")
        if min(self.copies) < 1:
            raise ValueError(f"expected at least one copy of each kind. Received: {self.copies}")
        if not self.stages or any(stage.epochs < 1 for stage in self.stages):
            raise ValueError(
                "expected at least one stage, each of at least one epoch. "
                f"Received: {[stage.epochs for stage in self.stages]}"
            )
        for stage in self.stages:
            if not 0 < stage.learning_rate < math.inf:
                raise ValueError(f"expected a learning rate above 0. Received: {stage.learning_rate:g}")
        if self.cached_copies and (
            len(self.stages) > 1 or self.pathogen_weight or self.stages[0].train_after != "pooled_features"
        ):
            raise ValueError(
                "expected one stage that trains the head alone, without pathogens, for cached "
                f"features. Received: {[stage.train_after for stage in self.stages]}, {self.pathogen_weight}"
            )

    @property
    def epochs(self) -> tuple[Stage, ...]:
        """The stage of each epoch, in order."""
        return tuple(stage for stage in self.stages for _ in range(stage.epochs))

    def to_json(self) -> str:
        """Return the configuration as JSON."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """Read the output of `to_json`, or a part of it; raises ValueError or TypeError for anything else."""
        return config_from(parse_json(text))


def as_served(recipe: Augmentation, config: TrainingConfig) -> Augmentation:
    """Return `recipe` with borders filled as in service, by `config`."""
    return replace(recipe, fills_border=config.fills_border)


def config_from(values: Mapping[str, Any]) -> TrainingConfig:
    """Build a configuration from parsed JSON; missing fields keep their defaults, former recipe names are understood.

    Raises
    ------
    ValueError
        For unknown fields, and for values that cannot run.
    """
    known = {field.name for field in fields(TrainingConfig)}
    if not isinstance(values, Mapping) or (unknown := set(values) - known):
        raise ValueError(
            f"expected settings of {', '.join(sorted(known))}. "
            f"Received: {', '.join(sorted(unknown)) if isinstance(values, Mapping) else type(values).__name__}"
        )
    given = dict(values)
    if "augmentation" in given:
        given["augmentation"] = current_name(given["augmentation"])
    if "stages" in given:
        stages = (Stage(**stage) for stage in given["stages"])
        given["stages"] = tuple(replace(stage, augmentation=current_name(stage.augmentation)) for stage in stages)
    if "copies" in given:
        given["copies"] = tuple(given["copies"])
    return TrainingConfig(**given)


def fine_tuning_stages(
    head_epochs: int,
    small_epochs: int,
    full_epochs: int,
    *,
    small_px: int = 192,
    full_px: int = 299,
    train_after: str = "mixed3",
    learning_rate: float = 2e-4,
) -> tuple[Stage, ...]:
    """Return the stages of fine-tuning: the head, then small pictures, then full size.

    An epoch at 192 px costs less than half of one at 299 px, and the last epochs adapt to the full size.

    Parameters
    ----------
    head_epochs, small_epochs, full_epochs
        Epochs of each stage; a stage of zero epochs is left out.
    small_px, full_px
        Side of the pictures in pixels.
    train_after
        The last frozen layer after the head's stage.
    learning_rate
        Peak of the second stage; half of it in the last one.

    Returns
    -------
    tuple of Stage
        In order.

    References
    ----------
    Touvron et al. 2019, "Fixing the train-test resolution discrepancy", https://arxiv.org/abs/1906.06423.
    """
    stages = (
        Stage("head", head_epochs, small_px, "pooled_features", 1e-3),
        Stage("small", small_epochs, small_px, train_after, learning_rate),
        # With a warm-up of its own: at the end of the small pictures' cosine the rate is too low for the new size.
        Stage("full", full_epochs, full_px, train_after, learning_rate / 2),
    )
    return tuple(stage for stage in stages if stage.epochs)


def scratch_stages(architecture: Architecture, epochs: int, input_px: int, learning_rate: float) -> tuple[Stage, ...]:
    """Return the stages of a network that starts from random weights; all layers are trained.

    Parameters
    ----------
    architecture
        Where it takes any size, most epochs have pictures of three quarters of the side.
    epochs
        In total.
    input_px
        Side of the pictures in service.
    learning_rate
        Peak.

    Returns
    -------
    tuple of Stage
        In order.
    """
    if not architecture.any_size or epochs < 4:
        return (Stage("fit", epochs, input_px, "", learning_rate),) if epochs else ()
    full = max(1, round(epochs / 4))
    return (
        Stage("small", epochs - full, max(75, input_px * 3 // 4), "", learning_rate),
        Stage("full", full, input_px, "", learning_rate),
    )


def default_config(
    architecture: str,
    preset: str = "standard",
    *,
    has_weights: bool = True,
    head_epochs: int | None = None,
    small_epochs: int | None = None,
    full_epochs: int | None = None,
    epochs: int | None = None,
    small_px: int | None = None,
    input_px: int | None = None,
    train_after: str | None = None,
    learning_rate: float | None = None,
    **others: Any,
) -> TrainingConfig:
    """Return the default configuration of an architecture.

    Parameters
    ----------
    architecture
        Name, or ``package.module:function``.
    preset
        "quick" trains the classification head only, "standard" and "thorough" fine-tune.
    has_weights
        Whether ImageNet weights are available. Without them a transfer network is trained as a whole on smaller
        pictures, unless epochs of single stages are given.
    head_epochs, small_epochs, full_epochs, epochs, small_px, input_px, train_after, learning_rate
        None for the value of the preset or architecture.
    others
        Further fields of `TrainingConfig`.

    Raises
    ------
    ClassifierError
        For an unknown architecture.
    ValueError
        For values that cannot run.
    """
    network, (head, small, full, scratch) = find_architecture(architecture), PRESETS[preset]
    for px in (small_px, input_px):
        if px is not None and not network.min_px <= px <= 1024:
            raise ValueError(f"expected images of {network.min_px} to 1024 px for {architecture}. Received: {px} px")
    by_stage = any(given is not None for given in (head_epochs, small_epochs, full_epochs, train_after))
    if network.is_transfer and (has_weights or by_stage):
        px = input_px or network.input_px
        if not small + full and not by_stage:
            alone = Stage("head", head if epochs is None else epochs, px, "pooled_features", learning_rate or 1e-3)
            return TrainingConfig(
                **{
                    "architecture": architecture,
                    "input_px": px,
                    "stages": (alone,),
                    "augmentation": network.augmentation,
                    "cached_copies": CACHED_COPIES,
                    "copies": (1, 1),
                    "fills_border": True,
                    **others,
                }
            )
        stages = fine_tuning_stages(
            *(
                preset_n if n is None else n
                for n, preset_n in ((head_epochs, head), (small_epochs, small), (full_epochs, full))
            ),
            small_px=small_px or min(192, px),
            full_px=px,
            train_after=train_after or network.train_after,
            learning_rate=learning_rate or network.learning_rate,
        )
    else:
        px = input_px or (SCRATCH_PX if network.is_transfer else network.input_px)
        rate = learning_rate or (network.learning_rate if not network.is_transfer else 3e-4)
        # An epoch of a large network costs as much as several of a small one.
        usual = max(1, scratch // 5) if network.any_size else scratch
        stages = scratch_stages(network, usual if epochs is None else epochs, px, rate)
    return TrainingConfig(
        **{
            "architecture": architecture,
            "input_px": px,
            "stages": stages,
            "augmentation": network.augmentation,
            "fills_border": True,
            **others,
        }
    )


def refuse_unfit_sizes(config: TrainingConfig) -> None:
    """Refuse a configuration whose network cannot take the pictures of a stage.

    Raises
    ------
    ValueError
        If `config` has a side that is too small for the network, or that changes where the network keeps one size.
    """
    network = find_architecture(config.architecture)
    for px in (config.input_px, *(stage.input_px for stage in config.stages)):
        if not network.min_px <= px <= 1024:
            raise ValueError(f"expected images of {network.min_px} to 1024 px for {network.name}. Received: {px} px")
        if not network.any_size and px != config.input_px:
            raise ValueError(f"expected images of {config.input_px} px in every stage. Received: {px} px")


def rescaled(stages: tuple[Stage, ...], epochs: int) -> tuple[Stage, ...]:
    """Return `stages` with `epochs` epochs in total, divided in proportion.

    Returns
    -------
    tuple of Stage
        At least one epoch each.
    """
    total, given, result = sum(stage.epochs for stage in stages), 0, []
    for position, stage in enumerate(stages, 1):
        upto = epochs * sum(s.epochs for s in stages[:position]) / total
        n = max(1, round(upto) - given)
        given += n
        result.append(replace(stage, epochs=n))
    return tuple(result)

"""What a training run is asked to do, as a value that is stored beside its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from model.architectures import SCRATCH_PX, Architecture, find_architecture
from training.data.augment import RECIPES, Augmentation, current_name

# (epochs of the head, on small pictures, at full size; epochs of a network that starts from random weights). With the
# head alone, its features are computed once for each of CACHED_COPIES copies.
PRESETS = {"quick": (20, 0, 0, 6), "standard": (1, 10, 3, 20), "thorough": (1, 24, 8, 60)}
CACHED_COPIES = 2
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")


@dataclass(frozen=True, slots=True)
class Stage:
    """Some epochs at one picture size with one part of the network trainable.

    `train_after` names the last frozen layer; empty: everything is trained, BatchNormalization too. `learning_rate` is
    the peak. Consecutive stages with the same `train_after` share one optimiser and one average of the weights; those
    with the same peak as well share one warm-up and cosine. `augmentation` names a recipe for this stage alone; empty:
    the configuration's.
    """

    name: str
    epochs: int
    input_px: int
    train_after: str
    learning_rate: float
    augmentation: str = ""

    @property
    def schedule(self) -> tuple[str, float]:
        """What stages have in common that share one warm-up and cosine."""
        return self.train_after, self.learning_rate


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that decides the result of a run, apart from the data. Fractions lie in (0, 1).

    `max_class_ratio` bounds how many of the larger class an epoch draws for each of the smaller one. `detail_px` is the
    resolution to which every picture is reduced before anything else. `augmentation_strength` scales the recipe's
    ranges. `pathogen_weight` is the share of the loss that goes to telling bacterial from viral films where file names
    say which; that second output is thrown away afterwards. `mirror` averages each film with its mirror image in
    service. `budget_minutes` bounds the time of fitting, validation not counted; 0 means no bound: epochs are then cut
    short so that the whole schedule fits. `copies` are how many shifted and slightly changed copies of the held-out
    radiographs calibration looks at. `cached_copies` above 0 trains the head alone, on features computed once: for the
    radiographs as they are, and for each further copy changed by the recipe. `fills_border` lets the network see films
    whose margin continues over black around them, in training and in service; earlier runs lack it.
    `learns_population` is whether the version learns how its training radiographs look, which takes longer than the
    calibration; without it the gate can judge films by their pixels alone.
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
        """Refuse a configuration that cannot run."""
        for recipe in (self.augmentation, *(s.augmentation for s in self.stages if s.augmentation)):
            if recipe not in RECIPES:
                raise ValueError(f"expected an augmentation of {sorted(RECIPES)}. Received: {recipe!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"expected a precision of {PRECISIONS}. Received: {self.precision!r}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"expected an optimiser of {OPTIMIZERS}. Received: {self.optimizer!r}")
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
        if self.cached_copies and (
            len(self.stages) > 1 or self.pathogen_weight or self.stages[0].train_after != "pooled_features"
        ):
            raise ValueError(
                "expected one stage of the head alone, without pathogens, where features are computed "
                f"once. Received: {[stage.train_after for stage in self.stages]}, {self.pathogen_weight}"
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
        """Read what `to_json` wrote, or a part of it; raises ValueError or TypeError when it was not."""
        return config_from(json.loads(text))


def as_served(recipe: Augmentation, config: TrainingConfig) -> Augmentation:
    """Return the recipe with borders as the network will see them in service."""
    return replace(recipe, fills_border=config.fills_border)


def config_from(values: Mapping[str, Any]) -> TrainingConfig:
    """Build a configuration from parsed JSON; what is not named keeps its default, former recipe names are understood.

    Raises ValueError for a name that no configuration has, and for values that cannot run.
    """
    known = {field.name for field in fields(TrainingConfig)}
    if not isinstance(values, Mapping) or (unknown := set(values) - known):
        raise ValueError(
            f"expected settings of {sorted(known)}. "
            f"Received: {sorted(unknown) if isinstance(values, Mapping) else type(values).__name__}"
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
    """Return the head, then fine-tuning on small pictures, then at full size; stages of zero epochs are left out.

    Most of what is to be learned does not need the full size, and an epoch at 192 px costs less than half of one at
    299 px. The last epochs put the scale right (Touvron et al. 2019, https://arxiv.org/abs/1906.06423).
    """
    stages = (
        Stage("head", head_epochs, small_px, "pooled_features", 1e-3),
        Stage("small", small_epochs, small_px, train_after, learning_rate),
        # Warmed up anew: at the tail of the small pictures' cosine it could not follow the change of scale.
        Stage("full", full_epochs, full_px, train_after, learning_rate / 2),
    )
    return tuple(stage for stage in stages if stage.epochs)


def scratch_stages(architecture: Architecture, epochs: int, input_px: int, learning_rate: float) -> tuple[Stage, ...]:
    """Return one stage in which everything is trained, for a network that starts from random weights.

    A network of any size sees most epochs at three quarters of its side.
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
    """Return how an architecture is trained by default; None stands for the preset's or the architecture's own.

    `has_weights` says whether ImageNet weights are at hand; a transfer network without them is trained as a whole from
    random ones, on smaller pictures, unless its stages are asked for by name. `others` are fields of `TrainingConfig`.

    Raises ClassifierError for an unknown architecture, ValueError for what cannot run.
    """
    network, (head, small, full, scratch) = find_architecture(architecture), PRESETS[preset]
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


def rescaled(stages: tuple[Stage, ...], epochs: int) -> tuple[Stage, ...]:
    """Return the stages with `epochs` epochs in total, shared out in proportion, none left without one."""
    total, given, result = sum(stage.epochs for stage in stages), 0, []
    for position, stage in enumerate(stages, 1):
        upto = epochs * sum(s.epochs for s in stages[:position]) / total
        n = max(1, round(upto) - given)
        given += n
        result.append(replace(stage, epochs=n))
    return tuple(result)

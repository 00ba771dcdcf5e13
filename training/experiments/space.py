"""The search space of a tuning study: dimensions, fixed values, and the configuration of a trial."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from model.networks.architectures import find_architecture, is_own
from training.data.recipes import current_name
from training.fitting.config import OPTIMIZERS, Stage, TrainingConfig, default_config, rescaled

# Adam changes each weight by about its learning rate; SGD with the same rate changes it far less.
SGD_FACTOR = 30.0
# Layers after which fine-tuning may begin, from near the input to near the head.
TRAIN_AFTER: dict[str, tuple[str, ...]] = {
    "inception_v3": tuple(f"mixed{i}" for i in range(1, 8)),
    "inception_v3_lungs": tuple(f"mixed{i}" for i in range(1, 8)),
    "vgg16": tuple(f"block{i}_pool" for i in range(1, 5)),
    "resnet50": ("conv2_block3_out", "conv3_block4_out", "conv4_block3_out", "conv4_block6_out"),
    "densenet121": ("pool1", "pool2_pool", "pool3_pool", "pool4_pool"),
}
_WITHOUT_DROPOUT = frozenset({"cnn_2_1"})
# Fields that can be fixed although they are not searched.
FIXABLE = ("max_class_ratio", "pathogen_weight", "warmup_steps", "mirror", "precision", "detail_px")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of the search: numbers from `low` to `high`, log-uniform if `log`, or one of `choices`.

    `default` is the value of an untuned training; it is within the range or among the choices.
    """

    name: str
    help: str
    default: float | str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[float | str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for a default outside the range or choices."""
        if not (self.default in self.choices if self.choices else self.low <= float(self.default) <= self.high):
            raise ValueError(f"expected a default of {self.name} in {self.range}. Received: {self.default}")

    @property
    def range(self) -> str:
        """The range or choices in words."""
        if self.choices:
            return ", ".join(f"{choice}" for choice in self.choices)
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


def space_for(architecture: str, has_weights: bool = True) -> tuple[Dimension, ...]:
    """Return the search space of an architecture.

    Parameters
    ----------
    architecture
        Name of the architecture.
    has_weights
        Whether it starts from trained weights, as in `training.fitting.config.default_config`.

    Returns
    -------
    tuple of Dimension
        With the architecture's defaults and ranges.

    Raises
    ------
    ClassifierError
        For an unknown architecture.
    """
    usual = default_config(architecture, has_weights=has_weights)
    rate = next(stage.learning_rate for stage in usual.stages if stage.name != "head")
    network = find_architecture(architecture)
    fine_tunes = network.is_transfer and has_weights
    dimensions = [
        Dimension(
            "learning_rate",
            "peak, as AdamW, Adam and RMSprop take it; SGD takes 30 times as much",
            rate,
            rate / 20,
            rate * 10,
            log=True,
        ),
        Dimension("head_learning_rate", "the same while only the head is trained", 1e-3, 1e-4, 1e-2, log=True),
        Dimension(
            "train_after",
            "the last frozen layer while fine-tuning",
            network.train_after,
            choices=_with(network.train_after, TRAIN_AFTER.get(architecture, ())),
        ),
        Dimension(
            "batch_size", "radiographs in one step", usual.batch_size, choices=_with(usual.batch_size, (8, 16, 32, 64))
        ),
        Dimension("optimizer", "update rule", usual.optimizer, choices=OPTIMIZERS),
        Dimension("dropout", "share of the features dropped in a step", usual.dropout, 0.0, 0.6),
        Dimension(
            "weight_decay",
            "decoupled, times the learning rate",
            usual.weight_decay,
            1e-6,
            1e-1,
            log=True,
        ),
        # Without "domain_shift" and "another_unit": the objective's held-out copies are drawn from them. Strength 0 is
        # "plain".
        Dimension(
            "augmentation",
            "data augmentation recipe",
            usual.augmentation,
            choices=("lungs", "lungs_finetune", "strong", "finetune", "jitter")
            if network.is_framed
            else _with(usual.augmentation, ("strong", "finetune", "jitter", "keras_notebook")),
        ),
        Dimension(
            "augmentation_strength", "0 for none, 1 for the recipe itself", usual.augmentation_strength, 0.0, 1.5
        ),
        Dimension("label_smoothing", "shift of labels towards one half", usual.label_smoothing, 0.0, 0.15),
        Dimension(
            "ema_momentum",
            "momentum of the averaged weights; 0 for no average",
            usual.ema_momentum,
            choices=_with(usual.ema_momentum, (0.0, 0.9, 0.98, 0.99, 0.995, 0.998)),
        ),
    ]
    left_out = set() if fine_tunes else {"head_learning_rate", "train_after"}
    if architecture in _WITHOUT_DROPOUT or is_own(architecture):
        left_out.add("dropout")
    return tuple(d for d in dimensions if d.name not in left_out)


def _with(default: float | str, choices: tuple[float | str, ...]) -> tuple[float | str, ...]:
    """Return the choices with the default among them."""
    return choices if default in choices else (*choices, default)


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a study: each trial is a training of `architecture` over `epochs` epochs.

    `dimensions` are searched, `fixed` (name, value) are not, and everything else is as in `default_config`.
    `budget_minutes` is the time limit of one trial's fitting, 0 for none. `seed` determines split, order, augmentation
    and the values tried.
    """

    architecture: str
    backbone_weights: str
    dimensions: tuple[Dimension, ...]
    fixed: tuple[tuple[str, Any], ...] = ()
    epochs: int = 6
    seed: int = 2026
    small_px: int | None = None
    input_px: int | None = None
    validation_fraction: float = 0.12
    budget_minutes: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for a plan whose first trial could not run."""
        if self.epochs < 1:
            raise ValueError(f"expected at least one epoch. Received: {self.epochs}")
        recipe(self, self.defaults)

    @property
    def defaults(self) -> dict[str, Any]:
        """The untuned value of each dimension."""
        return {d.name: d.default for d in self.dimensions}


def narrowed(
    space: Sequence[Dimension], search: Iterable[str] = (), fix: Mapping[str, str] | None = None
) -> tuple[tuple[Dimension, ...], tuple[tuple[str, Any], ...]]:
    """Narrow a search space.

    Parameters
    ----------
    space
        The dimensions.
    search
        Names of the dimensions to search; all of them by default.
    fix
        Fixed values as text, by name.

    Returns
    -------
    space : tuple of Dimension
        The dimensions to search, without the fixed ones.
    fixed : tuple of (str, Any)
        Names and values, sorted by name.

    Raises
    ------
    ValueError
        For unknown names, invalid values, a name both searched and fixed, and when nothing is left to search.
    """
    known, wanted, fix = {d.name: d for d in space}, set(search), fix or {}
    if unknown := wanted - set(known):
        raise ValueError(f"expected to search {', '.join(known)}. Received: {', '.join(sorted(unknown))}")
    if unknown := set(fix) - {*known, *FIXABLE}:
        raise ValueError(f"expected to fix {', '.join((*known, *FIXABLE))}. Received: {', '.join(sorted(unknown))}")
    if both := wanted & set(fix):
        raise ValueError(f"expected each name searched or fixed. Received both: {', '.join(sorted(both))}")
    left = tuple(d for d in space if d.name not in fix and (not wanted or d.name in wanted))
    if not left:
        raise ValueError("expected something to search. Received: every dimension fixed")
    return left, tuple(sorted((name, _value(name, text)) for name, text in fix.items()))


def _value(name: str, text: str) -> float | str | bool:
    """Read a fixed value: of the type that the configuration's default has."""
    usual: Any = {field.name: field.default for field in fields(TrainingConfig)}.get(
        name, "" if name == "train_after" else 0.0
    )
    if isinstance(usual, str):
        return text
    try:
        if isinstance(usual, bool):
            return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
        return int(text) if isinstance(usual, int) else float(text)
    except (KeyError, ValueError) as error:
        kind = {bool: "yes or no", int: "a whole number"}.get(type(usual), "a number")
        raise ValueError(f"expected {name} as {kind}. Received: {text!r}") from error


def recipe(plan: Plan, values: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration of a trial.

    Parameters
    ----------
    plan
        The plan of the study.
    values
        A value for each of its dimensions, by name.

    Raises
    ------
    ValueError
        For values that cannot be trained with.
    """
    chosen = {**values, **dict(plan.fixed)}
    if "augmentation" in chosen:
        chosen["augmentation"] = current_name(chosen["augmentation"])
    factor = SGD_FACTOR if chosen.get("optimizer") == "sgd" else 1.0
    rate, head_rate = (chosen.pop(name, None) for name in ("learning_rate", "head_learning_rate"))
    if any(r is not None and not 0 < r < 10 for r in (rate, head_rate)):
        raise ValueError(f"expected learning rates above 0 and below 10. Received: {rate}, {head_rate}")
    has_weights = plan.backbone_weights != "random"
    network = find_architecture(plan.architecture)
    shape: dict[str, Any] = {
        "small_px": plan.small_px,
        "input_px": plan.input_px,
        "train_after": chosen.pop("train_after", None),
    }
    if not (network.is_transfer and has_weights):
        shape["epochs"] = plan.epochs
    config = default_config(
        plan.architecture,
        has_weights=has_weights,
        learning_rate=rate,
        seed=plan.seed,
        validation_fraction=plan.validation_fraction,
        budget_minutes=plan.budget_minutes,
        **shape,
        **chosen,
    )
    # With too few epochs for every stage the last stages are kept, at the size of service.
    stages = (
        rescaled(config.stages, plan.epochs)
        if plan.epochs > len(config.stages)
        else tuple(replace(stage, epochs=1) for stage in config.stages[-plan.epochs :])
    )
    return replace(
        config, stages=tuple(replace(stage, learning_rate=_peak(stage, head_rate) * factor) for stage in stages)
    )


def _peak(stage: Stage, head_rate: float | None) -> float:
    return head_rate if stage.name == "head" and head_rate is not None else stage.learning_rate


def file_stem(architecture: str) -> str:
    """Return an architecture's name as a file may be called; one's own function is named with a colon."""
    return re.sub(r"[^\w.-]", "_", architecture)

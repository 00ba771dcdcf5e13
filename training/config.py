"""What a training run is asked to do, as a value that is stored beside its result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from training.augment import RECIPES

PRECISIONS = ("auto", "float32", "mixed_bfloat16")


@dataclass(frozen=True, slots=True)
class Stage:
    """Some epochs at one picture size with one part of the network trainable.

    `train_after` names the last frozen layer. `learning_rate` is the peak. Consecutive stages with the same
    `train_after` share one optimiser and one average of the weights; those with the same peak as well share one warm-up
    and cosine.
    """

    name: str
    epochs: int
    input_px: int
    train_after: str
    learning_rate: float

    @property
    def schedule(self) -> tuple[str, float]:
        """What stages have in common that share one warm-up and cosine."""
        return self.train_after, self.learning_rate


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that decides the result of a run, apart from the data. Fractions lie in (0, 1).

    `max_class_ratio` bounds how many of the larger class an epoch draws for each of the smaller one. `detail_px` is the
    resolution to which every picture is reduced before anything else.
    """

    architecture: str = "inception_v3"
    seed: int = 2026
    validation_fraction: float = 0.12
    batch_size: int = 32
    max_class_ratio: float = 1.5
    detail_px: int = 224
    input_px: int = 299
    augmentation: str = "strong"
    label_smoothing: float = 0.03
    dropout: float = 0.25
    weight_decay: float = 1e-4
    ema_momentum: float = 0.99
    warmup_steps: int = 60
    precision: str = "auto"
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a configuration that cannot run."""
        if self.augmentation not in RECIPES:
            raise ValueError(f"expected an augmentation of {sorted(RECIPES)}. Received: {self.augmentation!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"expected a precision of {PRECISIONS}. Received: {self.precision!r}")
        if not self.stages or any(stage.epochs < 1 for stage in self.stages):
            raise ValueError("expected at least one stage, each of at least one epoch. "
                             f"Received: {[stage.epochs for stage in self.stages]}")

    @property
    def epochs(self) -> tuple[Stage, ...]:
        """The stage of each epoch, in order."""
        return tuple(stage for stage in self.stages for _ in range(stage.epochs))

    def to_json(self) -> str:
        """Return the configuration as JSON."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """Read what `to_json` wrote; raises ValueError or TypeError when it was not."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "stages": tuple(Stage(**stage) for stage in values["stages"])})


def fine_tuning_stages(
    head_epochs: int, small_epochs: int, full_epochs: int, *, small_px: int = 192, full_px: int = 299,
    train_after: str = "mixed3", learning_rate: float = 2e-4,
) -> tuple[Stage, ...]:
    """Return the head, then fine-tuning on small pictures, then at full size; stages of zero epochs are left out.

    Most of what is to be learned does not need the full size, and an epoch at 192 px costs less than half of one at
    299 px. The last epochs put the scale right (Touvron et al. 2019, https://arxiv.org/abs/1906.06423).
    """
    stages = (Stage("head", head_epochs, small_px, "pooled_features", 1e-3),
              Stage("small", small_epochs, small_px, train_after, learning_rate),
              # Warmed up anew: at the tail of the small pictures' cosine it could not follow the change of scale.
              Stage("full", full_epochs, full_px, train_after, learning_rate / 2))
    return tuple(stage for stage in stages if stage.epochs)

"""Configuration of a training of the anatomy network. No tensorflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AnatomyConfig:
    """How the anatomy network is trained.

    Attributes
    ----------
    epochs
        Number of epochs.
    films_per_epoch
        Films drawn for an epoch without repetition; at most all.
    others_per_epoch
        Pictures in an epoch that are no frontal chest radiograph.
    batch_size
        Pictures in an optimiser step.
    learning_rate
        Its maximum, after a linear rise over `warmup_steps` steps; a cosine follows.
    warmup_steps
        Steps of the rise.
    weight_decay
        Decoupled (AdamW).
    pose_weight
        Weight of the loss of the pose beside that of the outlines.
    held_out
        Share of the patients of each class who are held out.
    seed
        Of the split, the initial weights and the augmentation.
    """

    epochs: int = 10
    films_per_epoch: int = 4100
    others_per_epoch: int = 500
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    pose_weight: float = 0.1
    held_out: float = 0.15
    seed: int = 0

    def to_values(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        return dataclasses.asdict(self)


def config_from_values(values: Mapping[str, Any]) -> AnatomyConfig:
    """Return the configuration whose fields `AnatomyConfig.to_values` gave.

    Raises
    ------
    TypeError
        If a name of `values` is no field.
    """
    return AnatomyConfig(**values)

"""Values that a fit reports as `core.progress.Progress.detail`; no tensorflow here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.progress import Progress

FITTING = "fitting"


@dataclass(frozen=True, slots=True)
class FittingStep:
    """State of a fit after an optimiser step. `loss` and `train_auroc` cover the epoch so far; times are in seconds."""

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    train_auroc: float
    val_auroc: float | None
    images_per_second: float
    seconds_left: float

    def progress(self) -> Progress:
        """Return the step with its place among all steps of the fit."""
        return Progress(FITTING, (self.epoch - 1) * self.steps + self.step, self.epochs * self.steps, self)


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An epoch is finished and saved; `row` is its row of the history. What the report raises ends the fit."""

    row: Mapping[str, Any]

    def progress(self, steps: int, epochs: int) -> Progress:
        """Return the end of the epoch with its place among all steps of the fit."""
        return Progress(FITTING, int(self.row["epoch"]) * steps, epochs * steps, self)

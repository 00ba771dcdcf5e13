"""The values of a tuning study: a trial's outcome, its row in the table, and where the study stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.progress import Report
from training.fitting.config import TrainingConfig


class TrialFailed(Exception):
    """A trial cannot be trained with its settings: the loss diverged, or memory is exhausted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a trial on held-out patients, on radiographs as they are and on copies with `domain_shift`.

    `value` is minimised: the mean of `loss` and `loss_shifted`, log losses in nats of calibrated probabilities with
    equal weight of both classes; chance is ln 2 = 0.693.
    """

    value: float
    loss: float
    loss_shifted: float
    auroc: float
    auroc_shifted: float


@dataclass(frozen=True, slots=True)
class Row:
    """One trial. `status` is finished, pruned, failed, stopped or running; missing values are None.

    `auroc` and `val_loss` (uncalibrated) are those of the last epoch where the trial did not finish.
    """

    number: int
    status: str
    value: float | None
    loss: float | None
    loss_shifted: float | None
    auroc: float | None
    auroc_shifted: float | None
    val_loss: float | None
    epochs: int
    seconds: float | None
    note: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """State of a study: its trials so far in order, and the number requested."""

    rows: tuple[Row, ...]
    trials: int

    @property
    def counted(self) -> tuple[Row, ...]:
        """The trials that count: not the stopped ones."""
        return tuple(row for row in self.rows if row.status in ("finished", "pruned", "failed"))

    @property
    def best(self) -> Row | None:
        """The finished trial with the smallest value; the first of equal ones."""
        finished = [row for row in self.rows if row.status == "finished" and row.value is not None]
        return min(finished, key=lambda row: (row.value, row.number), default=None)


@dataclass(frozen=True, slots=True)
class TrialStart:
    """`Progress.detail` when a trial starts: the study before it."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """`Progress.detail` when a trial has ended: the study after it, and the trial's row."""

    standing: Standing
    row: Row


# Trains one configuration and reports as `fit` does; what the report raises ends the trial.
Objective = Callable[[TrainingConfig, Report], Outcome]

"""The schedule of a fit: learning rate of each step, and how a time limit is divided among epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from training.fitting.config import TrainingConfig


def learning_rate_at(step: float, steps: int, peak: float, warmup: int) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine to zero.

    Parameters
    ----------
    step
        From 0; may be fractional.
    steps
        In total.
    peak
        The highest learning rate.
    warmup
        Steps of the warm-up, at most a quarter of `steps`.

    References
    ----------
    Loshchilov & Hutter 2017, "SGDR", https://arxiv.org/abs/1608.03983.
    """
    warmup = min(warmup, steps // 4)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """Place of an epoch in the schedule.

    It is the epoch `position` of `sharing` epochs that share one cosine, has `steps` steps, and may take `allowed`
    seconds of fitting (infinity without a time limit).
    """

    index: int
    position: int
    sharing: int
    steps: int
    allowed: float


def seconds_of_fitting(history: Iterable[Mapping[str, Any]]) -> float:
    """Return the time that epochs spent fitting, without validation; early versions recorded only the sum of both."""
    return sum((float(row["fit_seconds" if "fit_seconds" in row else "seconds"]) for row in history), 0.0)


def plan_epoch(config: TrainingConfig, index: int, steps: int, spent: float) -> EpochPlan:
    """Return the place of an epoch in the schedule, with its share of the time limit.

    The rest of the time limit is divided in proportion to the area of each epoch's pictures.

    Parameters
    ----------
    config
        Stages and time limit.
    index
        Of the epoch, from 0.
    steps
        Of the epoch.
    spent
        Seconds of fitting so far.
    """
    same = [i for i, stage in enumerate(config.epochs) if stage.schedule == config.epochs[index].schedule]
    work = [stage.input_px**2 for stage in config.epochs[index:]]
    left = config.budget_minutes * 60 - spent
    allowed = max(0.0, left) * work[0] / sum(work) if config.budget_minutes else math.inf
    return EpochPlan(index, index - same[0], len(same), steps, allowed)


def seconds_left(config: TrainingConfig, plan: EpochPlan, elapsed: float, step: int) -> float:
    """Estimate the remaining seconds of the fit.

    Parameters
    ----------
    config
        The stages.
    plan
        The present epoch.
    elapsed
        Seconds of the present epoch.
    step
        Steps of the present epoch.
    """
    left = [stage.input_px**2 for stage in config.epochs[plan.index :]]
    per_epoch = min(elapsed / max(1, step - 1) * plan.steps, plan.allowed)
    return max(0.0, float(per_epoch * sum(left) / left[0] - elapsed))

"""The fit of a network: epochs in stages, validated with averaged weights, with a checkpoint after each.

>>> history = fit(network, config, data, run_dir, report)
>>> history[-1]["val_auroc"]
0.995
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.files import write_atomically
from core.progress import Report, Tick
from model.anatomy import AnatomyFinder
from model.area_intervals import auroc_interval
from model.engine import mirrored_mean
from model.framing import network_pictures
from model.intervals import members
from model.metrics import auroc
from model.networks.graphs import logit_function
from training.data.epoch import NO_SOURCES, drawn_counts, epoch_order
from training.data.input_pipeline import Batch, batches
from training.data.recipes import Augmentation, resolve
from training.fitting.batch_norm import recompute_batch_norms
from training.fitting.config import Stage, TrainingConfig, as_served
from training.fitting.progress import EpochEnd, FittingStep
from training.fitting.schedule import EpochPlan, learning_rate_at, plan_epoch, seconds_left, seconds_of_fitting
from training.fitting.trainer import CHECKPOINT, History, Trainer

# Batches from which the batch normalisations of averaged weights are recomputed.
STATISTICS_BATCHES = 20
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Squashed pictures, uint8 (n, detail_px, detail_px), and labels, int (n,), of both sides of the split.

    Of a network that sees films framed by their lungs, pictures are uint8 (n, detail_px, detail_px, 3), as
    `model.framing.pair_of` returns them.

    `train_virus` (n,) is 1 for a viral pneumonia, 0 for a bacterial one, −1 where it is unknown, and so is `val_virus`,
    which may be empty; `train_sources`, int (n,), is empty for one source.
    `val_patients`, (n,) or empty, is for the intervals. `train_looks`, int (n,) or empty, is the acquisition style of
    each training film, for the films that take over another one's look.
    """

    train_pictures: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int_]
    val_pictures: npt.NDArray[np.uint8]
    val_labels: npt.NDArray[np.int_]
    train_virus: npt.NDArray[np.int_] = field(default_factory=lambda: np.zeros(0, np.int_))
    train_sources: npt.NDArray[np.int_] = field(default_factory=lambda: NO_SOURCES)
    val_virus: npt.NDArray[np.int_] = field(default_factory=lambda: np.zeros(0, np.int_))
    val_patients: tuple[str, ...] = ()
    train_looks: npt.NDArray[np.int_] = field(default_factory=lambda: np.zeros(0, np.int_))


def precision_policy(requested: str) -> str:
    """Return the Keras precision policy; "auto" is bfloat16 where the hardware multiplies it natively, else float32."""
    if requested != "auto":
        return requested
    if tf.config.list_physical_devices("GPU"):
        return "mixed_bfloat16"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def predict_logits(
    forward: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    pictures: npt.NDArray[np.uint8],
    input_px: int,
    batch_size: int = 32,
    tick: Tick | None = None,
    mirror: bool = False,
    find_anatomy: AnatomyFinder | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits of squashed pictures.

    Parameters
    ----------
    forward
        The network's `model.networks.graphs.logit_function`; made once, since tracing takes seconds.
    pictures
        uint8 (n, detail_px, detail_px), or (n, detail_px, detail_px, 3) with the lungs beside each.
    input_px
        Side to which they are enlarged.
    batch_size
        Pictures in one pass.
    tick
        Called with the number of pictures done since the last call.
    mirror
        Whether to average with the mirror image.
    find_anatomy
        The anatomy network, where the network sees films framed by their lungs.

    Returns
    -------
    npt.NDArray[np.float32]
        (n,) logits.
    """
    logits = []
    for start in range(0, len(pictures), batch_size):
        chunk = network_pictures(pictures[start : start + batch_size], input_px, find_anatomy)
        logits.append(mirrored_mean(forward, chunk) if mirror else forward(chunk))
        if tick is not None:
            tick(len(chunk))
    return np.concatenate(logits) if logits else np.zeros(0, np.float32)


def stage_recipe(config: TrainingConfig, stage: Stage) -> Augmentation:
    """Return the augmentation recipe of `stage`, else that of `config`, at its strength."""
    return as_served(resolve(stage.augmentation or config.augmentation, config.augmentation_strength), config)


def _fit_epoch(
    trainer: Trainer, data: TrainingData, plan: EpochPlan, last_val: float | None, report: Report
) -> dict[str, Any]:
    """Train one epoch, or as much of it as its time limit allows; return its row without the validation measures."""
    config, stage = trainer.config, trainer.config.epochs[plan.index]
    virus = data.train_virus if len(data.train_virus) else np.full(len(data.train_labels), -1)
    labels = np.column_stack((data.train_labels, virus))
    rng = np.random.default_rng((config.seed, plan.index))
    order = epoch_order(data.train_labels, config.max_class_ratio, rng, data.train_sources)
    feed = batches(
        data.train_pictures,
        labels,
        order,
        stage_recipe(config, stage),
        stage.input_px,
        config.batch_size,
        config.seed * 1000 + plan.index,
        data.train_looks if len(data.train_looks) else None,
    )
    losses: list[float] = []
    logits: list[Array] = []
    rate = elapsed = 0.0
    started = time.monotonic()
    for step, (pictures, targets) in enumerate(feed):
        if step == 1:  # the first step of a stage is spent on building its graph
            started = time.monotonic()
        elapsed = time.monotonic() - started if step else 0.0
        if losses and elapsed >= plan.allowed:
            break
        # In an epoch that will be cut short, the schedule goes by the clock.
        place = max(step, elapsed / plan.allowed * plan.steps) if elapsed else step
        rate = learning_rate_at(
            plan.position * plan.steps + place, plan.sharing * plan.steps, stage.learning_rate, config.warmup_steps
        )
        loss, batch_logits = trainer.step(pictures, targets, rate)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss} in epoch {plan.index + 1}, step {step + 1}")
        losses.append(loss)
        logits.append(batch_logits)
        if step % 5 == 4 or step + 1 == plan.steps:
            elapsed = time.monotonic() - started
            seen = np.concatenate(logits)
            timed = len(seen) - len(logits[0]) if step else len(seen)
            report(
                FittingStep(
                    stage.name,
                    plan.index + 1,
                    len(config.epochs),
                    step + 1,
                    plan.steps,
                    float(np.mean(losses)),
                    auroc(data.train_labels[order[: len(seen)]], seen),
                    last_val,
                    timed / elapsed,
                    seconds_left(config, plan, elapsed, step + 1),
                ).progress()
            )
    seen = np.concatenate(logits)
    return {
        "epoch": plan.index + 1,
        "stage": stage.name,
        "input_px": stage.input_px,
        "images": len(seen),
        "loss": float(np.mean(losses)),
        "train_auroc": auroc(data.train_labels[order[: len(seen)]], seen),
        "learning_rate": rate,
        "fit_seconds": round(elapsed, 1),
    }


def _statistics_batches(data: TrainingData, config: TrainingConfig, index: int) -> Iterator[Batch]:
    """Return the first batches of an epoch, augmented as for training."""
    stage = config.epochs[index]
    rng = np.random.default_rng((config.seed, index))
    order = epoch_order(data.train_labels, config.max_class_ratio, rng, data.train_sources)
    return batches(
        data.train_pictures,
        data.train_labels,
        order[: STATISTICS_BATCHES * config.batch_size],
        stage_recipe(config, stage),
        stage.input_px,
        config.batch_size,
        config.seed * 1000 + index,
        data.train_looks if len(data.train_looks) else None,
    )


def balance(labels: Array, config: TrainingConfig, sources: Array = NO_SOURCES) -> tuple[tuple[float, float], int]:
    """Return loss weights and size of an epoch.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.
    config
        Its `max_class_ratio` limits the larger class.
    sources
        As in `training.data.epoch.epoch_order`.

    Returns
    -------
    weights : tuple of float
        Of NORMAL and PNEUMONIA.
    n : int
        Pictures of an epoch.
    """
    if len(by_source := drawn_counts(labels, config.max_class_ratio, sources)) > 1:
        drawn = by_source.sum(axis=0)
        weights = drawn.sum() / (2 * drawn)
        return (float(weights[0]), float(weights[1])), int(drawn.sum())
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    drawn = np.minimum(counts, counts.min() * config.max_class_ratio)
    weights = drawn.sum() / (2 * drawn)
    return (float(weights[0]), float(weights[1])), int(sum(max(1, int(d)) for d in drawn))


def validation_row(labels: Array, logits: Array) -> dict[str, float]:
    """Return AUROC and mean log loss of `logits`, (n,), against `labels`, (n,) in {0, 1}, for an epoch's row."""
    signed = np.where(labels == 1, -logits, logits).astype(np.float64)
    return {"val_auroc": auroc(labels, logits), "val_loss": float(np.logaddexp(0, signed).mean())}


def _pathogen_row(
    pathogen: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]] | None, data: TrainingData, input_px: int
) -> dict[str, float | int]:
    """Return the AUROC of the auxiliary output, viral against bacterial, on validation; {} where none is trained.

    The output is removed after training, so that this is the place where its performance is on record.
    """
    known = data.val_virus >= 0
    if pathogen is None or len(set(data.val_virus[known].tolist())) < 2:
        return {}
    logits = predict_logits(pathogen, data.val_pictures[known], input_px)
    patients = np.array(data.val_patients)[known] if data.val_patients else None
    found = auroc_interval(data.val_virus[known], logits, members(patients, len(logits)))
    return {
        "val_pathogen_auroc": found.value,
        "val_pathogen_auroc_low": found.low,
        "val_pathogen_auroc_high": found.high,
        "val_pathogen_films": int(known.sum()),
    }


def fit(
    network: keras.Model,
    config: TrainingConfig,
    data: TrainingData,
    run_dir: Path,
    report: Report,
) -> History:
    """Train `network` in place and leave the averaged weights in it.

    Parameters
    ----------
    network
        Takes pictures of every stage's size.
    config
        Stages, optimiser, augmentation, time limit.
    data
        Training and validation pictures.
    run_dir
        Holds the checkpoint, from which an interrupted run continues, and ``history.json``.
    report
        Gets a `FittingStep` every few steps and an `EpochEnd` after each epoch; what it raises ends the training.

    Returns
    -------
    History
        One row per epoch.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    class_weights, drawn = balance(data.train_labels, config, data.train_sources)
    steps = math.ceil(drawn / config.batch_size)
    trainer = Trainer(network, config, class_weights)
    forward = logit_function(network)
    pathogen = (
        logit_function(keras.Model(trainer.joint.inputs, trainer.joint.outputs[1])) if config.pathogen_weight else None
    )
    done = 0
    history: History = []
    if (run_dir / CHECKPOINT).exists():
        done, history = trainer.load(run_dir / CHECKPOINT)
    for index in range(done, len(config.epochs)):
        stage = config.epochs[index]
        trainer.enter(stage)
        started = time.monotonic()
        plan = plan_epoch(config, index, steps, seconds_of_fitting(history))
        if history and plan.allowed <= 0:
            break
        row = _fit_epoch(trainer, data, plan, history[-1]["val_auroc"] if history else None, report)
        trainer.swap()
        if config.ema_momentum:
            recompute_batch_norms(network, _statistics_batches(data, config, index))
        val_logits = predict_logits(forward, data.val_pictures, stage.input_px, mirror=config.mirror)
        second = _pathogen_row(pathogen, data, stage.input_px)
        trainer.swap()
        history.append(
            row
            | validation_row(data.val_labels, val_logits)
            | second
            | {"seconds": round(time.monotonic() - started, 1)}
        )
        trainer.save(run_dir / CHECKPOINT, index + 1, history)
        write_atomically(run_dir / "history.json", json.dumps(history, indent=1))
        report(EpochEnd(history[-1]).progress(steps, len(config.epochs)))
    trainer.swap()
    return history

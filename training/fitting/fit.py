"""Fit a network: stages, warm-up and cosine, an average of the weights, a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.files import write_atomically
from core.progress import Report, Tick
from imaging.radiograph import enlarge
from model.engine import mirrored_mean
from model.metrics import auroc
from model.networks.graphs import logit_function
from model.networks.layers import train_after
from training.data.augment import Augmentation, resolve
from training.data.dataset import epoch_order
from training.data.input_pipeline import Batch, batches
from training.fitting.batch_norm import recompute_batch_norms
from training.fitting.config import Stage, TrainingConfig, as_served
from training.fitting.progress import EpochEnd, FittingStep

CHECKPOINT = "checkpoint.npz"
# Batches that tell the statistics of averaged weights.
SOME = 20
Array = npt.NDArray[Any]
History = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Squashed pictures, uint8 (n, detail_px, detail_px), and labels, int (n,), of both sides of the split.

    `train_virus` (n,) is 1 for a viral pneumonia, 0 for a bacterial one, −1 where the file name does not say.
    """

    train_pictures: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int_]
    val_pictures: npt.NDArray[np.uint8]
    val_labels: npt.NDArray[np.int_]
    train_virus: npt.NDArray[np.int_] = field(default_factory=lambda: np.zeros(0, np.int_))


def precision_policy(requested: str) -> str:
    """Resolve "auto": bfloat16 where the hardware multiplies it natively, float32 elsewhere."""
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
) -> npt.NDArray[np.float32]:
    """Return float32 logits (n,) of squashed pictures, uint8 (n, detail_px, detail_px).

    `forward` is the network's `model.networks.graphs.logit_function`, made once because making it takes seconds.
    """
    logits = []
    for start in range(0, len(pictures), batch_size):
        chunk = np.stack([enlarge(p, input_px) for p in pictures[start : start + batch_size]])
        logits.append(mirrored_mean(forward, chunk) if mirror else forward(chunk))
        if tick is not None:
            tick(len(chunk))
    return np.concatenate(logits) if logits else np.zeros(0, np.float32)


def learning_rate_at(step: float, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up to `peak`, then half a cosine to zero at `steps` (Loshchilov & Hutter 2017)."""
    warmup = min(warmup, steps // 4)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_optimizer(config: TrainingConfig, learning_rate: float) -> keras.optimizers.Optimizer:
    """Return the configuration's optimiser; weight decay is decoupled in each (Loshchilov & Hutter 2019)."""
    kind = {
        "adamw": keras.optimizers.AdamW,
        "adam": keras.optimizers.Adam,
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
    }[config.optimizer]
    momentum = {"momentum": 0.9, "nesterov": True} if config.optimizer == "sgd" else {}
    decay = config.weight_decay or None
    if config.optimizer == "adamw":
        decay = config.weight_decay
    return kind(learning_rate, weight_decay=decay, global_clipnorm=1.0, **momentum)


def stage_recipe(config: TrainingConfig, stage: Stage) -> Augmentation:
    """Return how the pictures of a stage are changed."""
    return as_served(resolve(stage.augmentation or config.augmentation, config.augmentation_strength), config)


class Trainer:
    """A network under training with its optimiser and averaged weights; holds state because TensorFlow's does."""

    def __init__(self, network: keras.Model, config: TrainingConfig, class_weights: tuple[float, float]) -> None:
        self.network, self.config, self.class_weights = network, config, class_weights
        self.joint = _with_pathogen(network) if config.pathogen_weight else network
        self.stage: Stage | None = None
        self.averaged: list[tf.Variable] = []
        self.updates = 0

    def enter(self, stage: Stage) -> None:
        """Make the stage's layers trainable; a new set of them starts a new optimiser and average."""
        if self.stage is not None and self.stage.train_after == stage.train_after:
            self.stage = stage
            return
        self.stage = stage
        train_after(self.network, stage.train_after)
        self.optimizer = make_optimizer(self.config, stage.learning_rate)
        self.optimizer.build(self.joint.trainable_variables)
        self.averaged = [tf.Variable(v.value, trainable=False) for v in self.joint.trainable_variables]
        self.updates = 0
        # Said beforehand, so that neither a last, smaller batch nor another picture size costs the time of a new graph.
        self._step = tf.function(
            self._train_step,
            input_signature=(
                tf.TensorSpec(self.joint.input_shape, tf.float32),
                tf.TensorSpec((None, 2), tf.float32),
                tf.TensorSpec((), tf.float32),
            ),
        )

    def _train_step(self, pictures: tf.Tensor, labels: tf.Tensor, momentum: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        positive, virus = labels[:, :1], labels[:, 1:]
        smooth = positive * (1 - self.config.label_smoothing) + self.config.label_smoothing / 2
        weights = tf.where(positive > 0.5, self.class_weights[1], self.class_weights[0])
        with tf.GradientTape() as tape:
            # Under mixed precision a network of one's own may end in bfloat16, which does not multiply with float32.
            outputs = [tf.cast(one, tf.float32) for one in tf.nest.flatten(self.joint(pictures, training=True))]
            logits = outputs[0]
            loss = tf.reduce_mean(weights * tf.nn.sigmoid_cross_entropy_with_logits(labels=smooth, logits=logits))
            total = loss
            if self.config.pathogen_weight:
                known = tf.cast(virus >= 0, tf.float32)
                second = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.maximum(virus, 0.0), logits=outputs[1])
                total += self.config.pathogen_weight * tf.math.divide_no_nan(
                    tf.reduce_sum(known * second), tf.reduce_sum(known)
                )
        variables = self.joint.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        for mean, variable in zip(self.averaged, variables, strict=True):
            mean.assign(momentum * mean + (1 - momentum) * variable.value)
        return loss, logits

    def step(self, pictures: tf.Tensor, labels: tf.Tensor, learning_rate: float) -> tuple[float, Array]:
        """Take one optimiser step on labels (b, 2), pneumonia and virus; return the loss and the logits (b,)."""
        self.optimizer.learning_rate.assign(learning_rate)
        momentum = min(self.config.ema_momentum, (1 + self.updates) / (10 + self.updates))
        loss, logits = self._step(pictures, labels, tf.constant(momentum, tf.float32))
        self.updates += 1
        return float(loss), logits.numpy()[:, 0]

    def swap(self) -> None:
        """Exchange the network's trainable weights with their average; twice is nothing."""
        for mean, variable in zip(self.averaged, self.joint.trainable_variables, strict=True):
            kept = variable.value.numpy()
            variable.assign(mean)
            mean.assign(kept)

    def save(self, path: Path, done: int, history: Sequence[dict[str, Any]]) -> None:
        """Write the checkpoint: all that the next epoch depends on."""
        arrays = {f"w{i}": w.numpy() for i, w in enumerate(self.joint.weights)}
        arrays |= {f"a{i}": a.numpy() for i, a in enumerate(self.averaged)}
        arrays |= {f"o{i}": o.numpy() for i, o in enumerate(self.optimizer.variables)}
        state = json.dumps({"done": done, "updates": self.updates, "history": list(history)})
        arrays["state"] = np.frombuffer(state.encode(), np.uint8)
        write_atomically(path, lambda file: np.savez(file, **arrays))

    def load(self, path: Path) -> tuple[int, History]:
        """Restore a checkpoint: (epochs done, history). The last finished epoch's stage is entered."""
        with np.load(path, allow_pickle=False) as arrays:
            state = json.loads(arrays["state"].tobytes())
            self.enter(self.config.epochs[state["done"] - 1])
            for prefix, targets in (("w", self.joint.weights), ("a", self.averaged), ("o", self.optimizer.variables)):
                for i, target in enumerate(targets):
                    target.assign(arrays[f"{prefix}{i}"])
        self.updates = state["updates"]
        return state["done"], state["history"]


def _with_pathogen(network: keras.Model) -> keras.Model:
    """Add a second logit, virus rather than bacteria, on what the first one sees; shares all layers below."""
    second = keras.layers.Dense(1, dtype="float32", name="virus")(network.layers[-1].input)
    return keras.Model(network.inputs, [network.outputs[0], second])


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where an epoch stands in its schedule: (its position, epochs) that share one cosine, and its time, in seconds."""

    index: int
    position: int
    sharing: int
    steps: int
    allowed: float


def seconds_of_fitting(history: Iterable[Mapping[str, Any]]) -> float:
    """Return how long the epochs of a run fitted, validation not counted; of early versions only both are known."""
    return sum((float(row["fit_seconds" if "fit_seconds" in row else "seconds"]) for row in history), 0.0)


def _plan(config: TrainingConfig, index: int, steps: int, spent: float) -> _Plan:
    same = [i for i, stage in enumerate(config.epochs) if stage.schedule == config.epochs[index].schedule]
    work = [stage.input_px**2 for stage in config.epochs[index:]]
    left = config.budget_minutes * 60 - spent
    allowed = max(0.0, left) * work[0] / sum(work) if config.budget_minutes else math.inf
    return _Plan(index, index - same[0], len(same), steps, allowed)


def _fit_epoch(
    trainer: Trainer, data: TrainingData, plan: _Plan, last_val: float | None, report: Report
) -> dict[str, Any]:
    """Train one epoch, or as much of it as its time allows, and return its row without the validation figures."""
    config, stage = trainer.config, trainer.config.epochs[plan.index]
    virus = data.train_virus if len(data.train_virus) else np.full(len(data.train_labels), -1)
    labels = np.column_stack((data.train_labels, virus))
    order = epoch_order(data.train_labels, config.max_class_ratio, np.random.default_rng((config.seed, plan.index)))
    feed = batches(
        data.train_pictures,
        labels,
        order,
        stage_recipe(config, stage),
        stage.input_px,
        config.batch_size,
        config.seed * 1000 + plan.index,
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
                    _seconds_left(config, plan, elapsed, step + 1),
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


def _some(data: TrainingData, config: TrainingConfig, index: int) -> Iterator[Batch]:
    """Return some batches of an epoch's pictures as the network was trained with them."""
    stage = config.epochs[index]
    order = epoch_order(data.train_labels, config.max_class_ratio, np.random.default_rng((config.seed, index)))
    return batches(
        data.train_pictures,
        data.train_labels,
        order[: SOME * config.batch_size],
        stage_recipe(config, stage),
        stage.input_px,
        config.batch_size,
        config.seed * 1000 + index,
    )


def _seconds_left(config: TrainingConfig, plan: _Plan, elapsed: float, step: int) -> float:
    left = [stage.input_px**2 for stage in config.epochs[plan.index :]]
    per_epoch = min(elapsed / max(1, step - 1) * plan.steps, plan.allowed)
    return max(0.0, float(per_epoch * sum(left) / left[0] - elapsed))


def balance(labels: Array, config: TrainingConfig) -> tuple[tuple[float, float], int]:
    """Return (the weights of both classes in the loss, how many pictures an epoch draws) for labels (n,) in {0, 1}."""
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    drawn = np.minimum(counts, counts.min() * config.max_class_ratio)
    weights = drawn.sum() / (2 * drawn)
    return (float(weights[0]), float(weights[1])), int(sum(max(1, int(d)) for d in drawn))


def validation_row(labels: Array, logits: Array) -> dict[str, float]:
    """Return the validation figures of an epoch: AUROC and mean log loss of logits (n,) against labels (n,)."""
    signed = np.where(labels == 1, -logits, logits).astype(np.float64)
    return {"val_auroc": auroc(labels, logits), "val_loss": float(np.logaddexp(0, signed).mean())}


def fit(
    network: keras.Model,
    config: TrainingConfig,
    data: TrainingData,
    run_dir: Path,
    report: Report,
) -> History:
    """Train `network` in place and leave the averaged weights in it; return one history row per epoch.

    Continues from the checkpoint in `run_dir` if there is one. `network` takes pictures of every stage's size.
    `report` gets a `FittingStep` every few steps and an `EpochEnd` after each epoch; what it raises ends the training.
    """
    class_weights, drawn = balance(data.train_labels, config)
    steps = math.ceil(drawn / config.batch_size)
    trainer = Trainer(network, config, class_weights)
    forward = logit_function(network)
    done = 0
    history: History = []
    if (run_dir / CHECKPOINT).exists():
        done, history = trainer.load(run_dir / CHECKPOINT)
    for index in range(done, len(config.epochs)):
        stage = config.epochs[index]
        trainer.enter(stage)
        started = time.monotonic()
        plan = _plan(config, index, steps, seconds_of_fitting(history))
        if history and plan.allowed <= 0:
            break
        row = _fit_epoch(trainer, data, plan, history[-1]["val_auroc"] if history else None, report)
        trainer.swap()
        if config.ema_momentum:
            recompute_batch_norms(network, _some(data, config, index))
        val_logits = predict_logits(forward, data.val_pictures, stage.input_px, mirror=config.mirror)
        trainer.swap()
        history.append(
            row | validation_row(data.val_labels, val_logits) | {"seconds": round(time.monotonic() - started, 1)}
        )
        trainer.save(run_dir / CHECKPOINT, index + 1, history)
        write_atomically(run_dir / "history.json", json.dumps(history, indent=1))
        report(EpochEnd(history[-1]).progress(steps, len(config.epochs)))
    trainer.swap()
    return history

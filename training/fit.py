"""Fit a network: stages, AdamW with warm-up and cosine, an average of the weights, a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.files import write_atomically
from model.metrics import auroc
from model.network import train_after
from model.radiograph import enlarge
from training.augment import RECIPES
from training.config import Stage, TrainingConfig
from training.dataset import batches, epoch_order

CHECKPOINT = "checkpoint.npz"
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Squashed pictures, uint8 (n, detail_px, detail_px), and labels, int (n,), of both sides of the split."""

    train_pictures: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int_]
    val_pictures: npt.NDArray[np.uint8]
    val_labels: npt.NDArray[np.int_]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `loss` and `train_auroc` cover the epoch so far; times are in seconds."""

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
    network: keras.Model, pictures: npt.NDArray[np.uint8], input_px: int, batch_size: int = 32,
    progress: Callable[[int], object] | None = None,
) -> npt.NDArray[np.float32]:
    """Return float32 logits (n,) of squashed pictures, uint8 (n, detail_px, detail_px)."""
    forward = tf.function(lambda x: network(x, training=False), reduce_retracing=True)
    logits = []
    for start in range(0, len(pictures), batch_size):
        chunk = [enlarge(p, input_px) for p in pictures[start:start + batch_size]]
        logits.append(forward(tf.constant(np.stack(chunk)[..., None], tf.float32)).numpy()[:, 0])
        if progress is not None:
            progress(len(chunk))
    return np.concatenate(logits) if logits else np.zeros(0, np.float32)


def learning_rate_at(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up to `peak`, then half a cosine to zero at `steps` (Loshchilov & Hutter 2017)."""
    warmup = min(warmup, steps // 4)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Trainer:
    """A network under training with its optimiser and averaged weights; holds state because TensorFlow's does."""

    def __init__(self, network: keras.Model, config: TrainingConfig, class_weights: tuple[float, float]) -> None:
        self.network, self.config, self.class_weights = network, config, class_weights
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
        self.optimizer = keras.optimizers.AdamW(
            stage.learning_rate, weight_decay=self.config.weight_decay, global_clipnorm=1.0)
        self.optimizer.build(self.network.trainable_variables)
        self.averaged = [tf.Variable(v.value, trainable=False) for v in self.network.trainable_variables]
        self.updates = 0
        self._step = tf.function(self._train_step, reduce_retracing=True)

    def _train_step(self, pictures: tf.Tensor, labels: tf.Tensor, momentum: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        smooth = labels * (1 - self.config.label_smoothing) + self.config.label_smoothing / 2
        weights = tf.where(labels > 0.5, self.class_weights[1], self.class_weights[0])
        with tf.GradientTape() as tape:
            logits = self.network(pictures, training=True)
            loss = tf.reduce_mean(weights * tf.nn.sigmoid_cross_entropy_with_logits(labels=smooth, logits=logits))
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        for mean, variable in zip(self.averaged, variables, strict=True):
            mean.assign(momentum * mean + (1 - momentum) * variable.value)
        return loss, logits

    def step(self, pictures: tf.Tensor, labels: tf.Tensor, learning_rate: float) -> tuple[float, Array]:
        """Take one optimiser step; return the loss and the logits (b,)."""
        self.optimizer.learning_rate.assign(learning_rate)
        momentum = min(self.config.ema_momentum, (1 + self.updates) / (10 + self.updates))
        loss, logits = self._step(pictures, labels, tf.constant(momentum, tf.float32))
        self.updates += 1
        return float(loss), logits.numpy()[:, 0]

    def swap(self) -> None:
        """Exchange the network's trainable weights with their average; twice is nothing."""
        for mean, variable in zip(self.averaged, self.network.trainable_variables, strict=True):
            kept = variable.value.numpy()
            variable.assign(mean)
            mean.assign(kept)

    def save(self, path: Path, done: int, history: Sequence[dict[str, Any]]) -> None:
        """Write the checkpoint: all that the next epoch depends on."""
        arrays = {f"w{i}": w.numpy() for i, w in enumerate(self.network.weights)}
        arrays |= {f"a{i}": a.numpy() for i, a in enumerate(self.averaged)}
        arrays |= {f"o{i}": o.numpy() for i, o in enumerate(self.optimizer.variables)}
        state = json.dumps({"done": done, "updates": self.updates, "history": list(history)})
        arrays["state"] = np.frombuffer(state.encode(), np.uint8)
        write_atomically(path, lambda file: np.savez(file, **arrays))

    def load(self, path: Path) -> tuple[int, list[dict[str, Any]]]:
        """Restore a checkpoint: (epochs done, history). The last finished epoch's stage is entered."""
        with np.load(path, allow_pickle=False) as arrays:
            state = json.loads(arrays["state"].tobytes())
            self.enter(self.config.epochs[state["done"] - 1])
            for prefix, targets in (("w", self.network.weights), ("a", self.averaged), ("o", self.optimizer.variables)):
                for i, target in enumerate(targets):
                    target.assign(arrays[f"{prefix}{i}"])
        self.updates = state["updates"]
        return state["done"], state["history"]


def fit(
    network: keras.Model, config: TrainingConfig, data: TrainingData, run_dir: Path,
    report: Callable[[Progress], object],
) -> list[dict[str, Any]]:
    """Train `network` in place and leave the averaged weights in it; return one history row per epoch.

    Continues from the checkpoint in `run_dir` if there is one. `network` takes pictures of any size.
    """
    labels = data.train_labels
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    drawn = np.minimum(counts, counts.min() * config.max_class_ratio)
    weights = drawn.sum() / (2 * drawn)
    trainer = Trainer(network, config, (float(weights[0]), float(weights[1])))
    done = 0
    history: list[dict[str, Any]] = []
    if (run_dir / CHECKPOINT).exists():
        done, history = trainer.load(run_dir / CHECKPOINT)
    seconds_per_pixel = 0.0
    for index in range(done, len(config.epochs)):
        stage = config.epochs[index]
        trainer.enter(stage)
        started = time.monotonic()
        order = epoch_order(labels, config.max_class_ratio, np.random.default_rng((config.seed, index)))
        steps = math.ceil(len(order) / config.batch_size)
        same = [i for i, s in enumerate(config.epochs) if s.schedule == stage.schedule]
        feed = batches(data.train_pictures, labels, order, RECIPES[config.augmentation], stage.input_px,
                       config.batch_size, config.seed * 1000 + index)
        losses: list[float] = []
        logits: list[Array] = []
        for step, (pictures, targets) in enumerate(feed):
            rate = learning_rate_at((index - same[0]) * steps + step, len(same) * steps, stage.learning_rate,
                                    config.warmup_steps)
            loss, batch_logits = trainer.step(pictures, targets, rate)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss} in epoch {index + 1}, step {step + 1}")
            losses.append(loss)
            logits.append(batch_logits)
            if step % 5 == 4 or step + 1 == steps:
                elapsed = time.monotonic() - started
                seconds_per_pixel = elapsed / (step + 1) / stage.input_px**2
                pixels_left = (steps - step - 1) * stage.input_px**2
                pixels_left += sum(steps * s.input_px**2 for s in config.epochs[index + 1:])
                seen = np.concatenate(logits)
                report(Progress(
                    stage.name, index + 1, len(config.epochs), step + 1, steps, float(np.mean(losses)),
                    auroc(labels[order[:len(seen)]], seen), history[-1]["val_auroc"] if history else None,
                    len(seen) / elapsed, seconds_per_pixel * pixels_left))
        trainer.swap()
        val_logits = predict_logits(network, data.val_pictures, stage.input_px)
        trainer.swap()
        signed = np.where(data.val_labels == 1, -val_logits, val_logits).astype(np.float64)
        history.append({
            "epoch": index + 1, "stage": stage.name, "input_px": stage.input_px, "loss": float(np.mean(losses)),
            "train_auroc": auroc(labels[order], np.concatenate(logits)),
            "val_auroc": auroc(data.val_labels, val_logits), "val_loss": float(np.logaddexp(0, signed).mean()),
            "learning_rate": rate, "seconds": round(time.monotonic() - started, 1)})
        trainer.save(run_dir / CHECKPOINT, index + 1, history)
        write_atomically(run_dir / "history.json", json.dumps(history, indent=1))
    trainer.swap()
    return history

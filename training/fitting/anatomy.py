"""The fit of the anatomy network: outlines of both lungs by cross-entropy and Dice, and the pose of the picture.

A checkpoint is written after each epoch, and a resumed fit gives the same weights as one that was not interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.errors import RunError
from core.files import write_atomically
from core.formatting import format_short_duration
from core.progress import Progress, Report
from model.networks.architectures import ANATOMY_PX, POSES
from training.data.anatomy_batches import anatomy_batches
from training.data.lung_masks import LungFilms
from training.fitting.anatomy_config import AnatomyConfig
from training.fitting.trainer import read_checkpoint

Array = npt.NDArray[Any]
History = list[dict[str, Any]]
# The learning rate does not end at 0.
_LEAST_RATE = 1e-5


def fit_anatomy(
    network: keras.Model,
    films: LungFilms,
    others: npt.NDArray[np.uint8],
    config: AnatomyConfig,
    checkpoint: Path,
    report: Report,
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> History:
    """Train the anatomy network; an interrupted fit goes on from its checkpoint.

    Parameters
    ----------
    network
        From `model.networks.anatomy.build_anatomy`; it is trained in place.
    films
        Those to learn from.
    others
        (m, h, h), uint8: pictures that are no frontal chest radiograph.
    config
        The configuration.
    checkpoint
        File that is written after each epoch, and continued where it exists.
    report
        Called after each step, with the time left.
    after_epoch
        Called with each new row of the history before it is saved, which may add figures to it.

    Returns
    -------
    list of dict
        A row per epoch: `epoch`, `loss` of the outlines, `pose_loss`, `seconds`.

    Raises
    ------
    RunError
        If the checkpoint is damaged or of another network.
    """
    optimizer = keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    done, history = _restored(checkpoint, network, optimizer) if checkpoint.exists() else (0, [])
    step = _step(network, optimizer, config.pose_weight)
    n_films, n_others = min(config.films_per_epoch, len(films.films)), config.others_per_epoch if len(others) else 0
    steps = math.ceil((n_films + n_others) / config.batch_size)
    total = config.epochs * steps
    for epoch in range(done, config.epochs):
        rng = np.random.default_rng((config.seed, epoch))
        drawn = rng.integers(0, max(1, len(others)), n_others)
        order = rng.permutation(np.concatenate((rng.permutation(len(films.films))[:n_films], -1 - drawn)))
        losses: list[tuple[float, float]] = []
        started = time.monotonic()
        feed = anatomy_batches(films, others, order, config.batch_size, config.seed * 1000 + epoch)
        for squares, lungs, poses in feed:
            place = epoch * steps + len(losses)
            optimizer.learning_rate.assign(_rate(config, place, total))
            losses.append(tuple(float(one) for one in step(squares, lungs, poses)))  # type: ignore[arg-type]
            left = (time.monotonic() - started) / len(losses) * (total - place - 1)
            said = f"epoch {epoch + 1}/{config.epochs}, loss {losses[-1][0]:.3f}, {format_short_duration(left)} left"
            report(Progress("fitting the anatomy network", place + 1, total, said))
        loss, pose_loss = (float(value) for value in np.mean(losses, axis=0))
        row = {"epoch": epoch + 1, "loss": loss, "pose_loss": pose_loss, "seconds": time.monotonic() - started}
        if after_epoch is not None:
            after_epoch(row)
        history.append(row)
        _save(checkpoint, network, optimizer, history)
    return history


def _rate(config: AnatomyConfig, place: int, total: int) -> float:
    """Return the learning rate of a step: a rise, then a cosine."""
    rise = min(1.0, (place + 1) / max(1, min(config.warmup_steps, total // 10)))
    return config.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * place / total)) + _LEAST_RATE


def _step(network: keras.Model, optimizer: Any, pose_weight: float) -> Any:
    """Return the graph of one optimiser step on a batch; it returns both losses."""

    def train(squares: tf.Tensor, targets: tf.Tensor, poses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lungs, known = targets[..., :2], 1 - targets[..., 2:]
        is_chest = tf.cast(poses < len(POSES), tf.float32)
        with tf.GradientTape() as tape:
            logits, pose_logits = network(squares, training=True)
            entropy = known * tf.nn.sigmoid_cross_entropy_with_logits(labels=lungs, logits=logits)
            found = tf.sigmoid(logits) * known
            shared = tf.reduce_sum(found * lungs, (1, 2))
            both = tf.reduce_sum(found + lungs * known, (1, 2))
            apart = tf.reduce_mean(1 - (2 * shared + 1) / (both + 1), 1)
            outlines = tf.reduce_mean(entropy) + tf.math.divide_no_nan(
                tf.reduce_sum(apart * is_chest), tf.reduce_sum(is_chest)
            )
            pose = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(poses, pose_logits))
            total = outlines + pose_weight * pose
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return outlines, pose

    px = ANATOMY_PX
    return tf.function(
        train,
        input_signature=(
            tf.TensorSpec((None, px, px, 1), tf.float32),
            tf.TensorSpec((None, px, px, 3), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ),
    )


def _generators(network: keras.Model) -> list[Any]:
    """Return the states of the network's random generators, of its dropout."""
    weights = {id(weight) for weight in network.weights}
    return [variable for variable in network.variables if id(variable) not in weights]


def _parts(network: keras.Model, optimizer: Any) -> tuple[tuple[str, list[Any]], ...]:
    return ("w", network.weights), ("o", optimizer.variables), ("g", _generators(network))


def _save(path: Path, network: keras.Model, optimizer: Any, history: History) -> None:
    arrays = {
        f"{prefix}{i}": variable.numpy()
        for prefix, variables in _parts(network, optimizer)
        for i, variable in enumerate(variables)
    }
    state = json.dumps({"done": len(history), "updates": 0, "history": history})
    arrays["state"] = np.frombuffer(state.encode(), np.uint8)
    write_atomically(path, lambda file: np.savez(file, **arrays))


def _restored(path: Path, network: keras.Model, optimizer: Any) -> tuple[int, History]:
    """Restore a checkpoint: (epochs done, history)."""
    state, arrays = read_checkpoint(path)
    try:
        for prefix, variables in _parts(network, optimizer):
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"{prefix}{i}"])
    except (KeyError, ValueError) as error:
        raise RunError(
            f"expected the checkpoint of an anatomy network. Received: {error} in {path.name}",
            advice="Name another folder, or delete the checkpoint to begin again.",
        ) from error
    return int(state["done"]), list(state["history"])

"""The network under training: optimiser, step, averaged weights and checkpoint."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.errors import RunError
from core.files import write_atomically
from core.json_text import parse_json
from model.networks.layers import train_after
from training.fitting.config import Stage, TrainingConfig

CHECKPOINT = "checkpoint.npz"
Array = npt.NDArray[Any]
History = list[dict[str, Any]]


def make_optimizer(config: TrainingConfig, learning_rate: float) -> keras.optimizers.Optimizer:
    """Return the optimiser of `config` with the initial `learning_rate`; weight decay is decoupled in each.

    References
    ----------
    Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.
    """
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


class Trainer:
    """A network with its optimiser and averaged weights; stateful, because TensorFlow's optimisers are.

    Parameters
    ----------
    network
        Takes pictures of every stage's size and returns one logit. A second output for the pathogen is added where the
        configuration asks for it.
    config
        Of the run.
    class_weights
        Weights of NORMAL and PNEUMONIA in the loss.
    """

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
        # With a fixed signature neither a smaller last batch nor another picture size traces a new graph.
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
        """Exchange the network's trainable weights with their average; a second call restores them."""
        for mean, variable in zip(self.averaged, self.joint.trainable_variables, strict=True):
            kept = variable.value.numpy()
            variable.assign(mean)
            mean.assign(kept)

    def save(self, path: Path, done: int, history: Sequence[dict[str, Any]]) -> None:
        """Write the checkpoint: everything that the next epoch depends on, random generators included."""
        arrays = {f"w{i}": w.numpy() for i, w in enumerate(self.joint.weights)}
        arrays |= {f"a{i}": a.numpy() for i, a in enumerate(self.averaged)}
        arrays |= {f"o{i}": o.numpy() for i, o in enumerate(self.optimizer.variables)}
        arrays |= {f"g{i}": g.numpy() for i, g in enumerate(self._generators())}
        state = json.dumps({"done": done, "updates": self.updates, "history": list(history)})
        arrays["state"] = np.frombuffer(state.encode(), np.uint8)
        write_atomically(path, lambda file: np.savez(file, **arrays))

    def load(self, path: Path) -> tuple[int, History]:
        """Restore a checkpoint: (epochs done, history). The last finished epoch's stage is entered.

        Raises
        ------
        RunError
            If the file at `path` is damaged or of another network.
        """
        state, arrays = read_checkpoint(path)
        try:
            self.enter(self.config.epochs[state["done"] - 1])
            for prefix, targets in (("w", self.joint.weights), ("a", self.averaged), ("o", self.optimizer.variables)):
                for i, target in enumerate(targets):
                    target.assign(arrays[f"{prefix}{i}"])
            for i, generator in enumerate(self._generators()):
                if f"g{i}" in arrays:  # early checkpoints lack them
                    generator.assign(arrays[f"g{i}"])
            self.updates = state["updates"]
        except (KeyError, IndexError, ValueError) as error:
            raise _damaged(path, error) from error
        return state["done"], state["history"]

    def _generators(self) -> list[Any]:
        """Return the states of the network's random generators, of its dropout for instance."""
        weights = {id(weight) for weight in self.joint.weights}
        return [variable for variable in self.joint.variables if id(variable) not in weights]


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a checkpoint.

    Parameters
    ----------
    path
        The file that `Trainer.save` wrote.

    Returns
    -------
    state : dict
        Epochs `done`, `updates` of the average, and `history`.
    arrays : dict of str to ndarray
        Weights, averages, state of the optimiser and of the random generators.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = parse_json(arrays["state"].tobytes().decode())
        return {name: state[name] for name in ("done", "updates", "history")}, arrays
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"expected the checkpoint of this run. Received: {type(error).__name__} for {path.name}",
        advice="Delete that file in the run's directory to begin again with the first epoch, or start a new run.",
    )


def _with_pathogen(network: keras.Model) -> keras.Model:
    """Add a second logit (virus rather than bacteria) on the input of the first one; all layers below are shared."""
    second = keras.layers.Dense(1, dtype="float32", name="virus")(network.layers[-1].input)
    return keras.Model(network.inputs, [network.outputs[0], second])

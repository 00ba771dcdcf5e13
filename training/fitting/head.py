"""The fit of the classification head only, on features that the frozen network computes once.

Each radiograph passes through the network once for each augmented copy; an epoch of the head then takes milliseconds.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.errors import ClassifierError
from core.files import write_atomically
from core.progress import Report, counted
from model.framing import network_pictures
from model.metrics import auroc
from model.networks.layers import POOL_LAYER
from training.data.epoch import epoch_order
from training.data.input_pipeline import batches
from training.fitting.config import TrainingConfig
from training.fitting.fit import TrainingData, balance, stage_recipe, validation_row
from training.fitting.progress import EpochEnd, FittingStep
from training.fitting.schedule import learning_rate_at
from training.fitting.trainer import CHECKPOINT, History, Trainer

FEATURES = "features.npz"
COMPUTING = "computing features"
Float = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


def fit_head(
    network: keras.Model,
    config: TrainingConfig,
    data: TrainingData,
    run_dir: Path,
    report: Report,
) -> History:
    """Train the dense layer of `network` in place.

    Parameters
    ----------
    network
        With one dense layer on pooled features as its head.
    config
        With one stage and `cached_copies` above 0.
    data
        Training and validation pictures.
    run_dir
        Holds features and checkpoint, from which an interrupted run continues.
    report
        Gets the number of pictures with features, then an `EpochEnd` after each epoch.

    Returns
    -------
    History
        One row per epoch.

    Raises
    ------
    ClassifierError
        If the head is not one dense layer on pooled features.
    """
    if POOL_LAYER not in {layer.name for layer in network.layers}:
        raise ClassifierError(
            f"expected a network with a layer {POOL_LAYER}. Received: {network.name}",
            advice="Train this architecture with the preset standard.",
        )
    train, labels, val = _features(network, config, data, run_dir, report)
    head = _head(network, config)
    trainer = Trainer(head, config, balance(data.train_labels, config, data.train_sources)[0])
    done = 0
    history: History = []
    if (run_dir / CHECKPOINT).exists():
        done, history = trainer.load(run_dir / CHECKPOINT)
    steps = math.ceil(len(train) / config.batch_size)
    for index in range(done, len(config.epochs)):
        stage = config.epochs[index]
        trainer.enter(stage)
        started = time.monotonic()
        order = np.random.default_rng((config.seed, index)).permutation(len(train))
        losses: list[float] = []
        logits: list[Array] = []
        rate = 0.0
        for step in range(steps):
            chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
            rate = learning_rate_at(
                index * steps + step, len(config.epochs) * steps, stage.learning_rate, config.warmup_steps
            )
            targets = np.column_stack((labels[chosen], np.full(len(chosen), -1.0))).astype(np.float32)
            loss, batch_logits = trainer.step(tf.constant(train[chosen]), tf.constant(targets), rate)
            losses.append(loss)
            logits.append(batch_logits)
        elapsed = time.monotonic() - started
        area = auroc(labels[order], np.concatenate(logits))
        report(
            FittingStep(
                stage.name,
                index + 1,
                len(config.epochs),
                steps,
                steps,
                float(np.mean(losses)),
                area,
                history[-1]["val_auroc"] if history else None,
                len(train) / elapsed,
                elapsed * (len(config.epochs) - index - 1),
            ).progress()
        )
        trainer.swap()
        val_logits = np.asarray(head(val, training=False))[:, 0]
        trainer.swap()
        history.append(
            {
                "epoch": index + 1,
                "stage": stage.name,
                "input_px": stage.input_px,
                "images": len(train),
                "loss": float(np.mean(losses)),
                "train_auroc": area,
                "learning_rate": rate,
                "fit_seconds": round(elapsed, 2),
            }
            | validation_row(data.val_labels, val_logits)
            | {"seconds": round(time.monotonic() - started, 2)}
        )
        trainer.save(run_dir / CHECKPOINT, index + 1, history)
        write_atomically(run_dir / "history.json", json.dumps(history, indent=1))
        report(EpochEnd(history[-1]).progress(steps, len(config.epochs)))
    trainer.swap()
    for ours, fitted in zip(network.layers[-1].weights, head.layers[-1].weights, strict=True):
        ours.assign(fitted)
    (run_dir / FEATURES).unlink(missing_ok=True)
    return history


def _head(network: keras.Model, config: TrainingConfig) -> keras.Model:
    """Return a network of the dense layer alone, on features (N, channels), with its present weights."""
    dense = network.layers[-1]
    inputs = keras.Input((dense.kernel.shape[0],), name=POOL_LAYER)
    logit = keras.layers.Dense(1, dtype="float32", name="logit")
    head = keras.Model(inputs, logit(keras.layers.Dropout(config.dropout, name="dropout")(inputs)), name="head")
    for ours, theirs in zip(logit.weights, dense.weights, strict=True):
        ours.assign(theirs)
    return head


def _features(
    network: keras.Model,
    config: TrainingConfig,
    data: TrainingData,
    run_dir: Path,
    report: Report,
) -> tuple[Float, npt.NDArray[np.int_], Float]:
    """Return (training features (m, channels), their labels (m,), validation features (n, channels)).

    The first copy is the radiographs as they are, the others are augmented. With a time limit the features computed
    until then are used; their order is random.
    """
    path = run_dir / FEATURES
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return kept["train"], kept["labels"], kept["val"]
    stage = config.stages[0]
    pooled = keras.Model(network.inputs, network.get_layer(POOL_LAYER).output)
    signature = [tf.TensorSpec((None, stage.input_px, stage.input_px, network.input_shape[-1]), tf.float32)]
    forward = tf.function(lambda x: tf.cast(pooled(x, training=False), tf.float32), input_signature=signature)
    orders = [
        epoch_order(
            data.train_labels, config.max_class_ratio, np.random.default_rng((config.seed, copy)), data.train_sources
        )
        for copy in range(config.cached_copies)
    ]
    tick = counted(report, COMPUTING, sum(map(len, orders)) + len(data.val_labels))
    ended = time.monotonic() + config.budget_minutes * 60 if config.budget_minutes else math.inf

    def features_of(pictures: tf.Tensor) -> Float:
        features = forward(pictures).numpy()
        tick(len(features))
        return np.asarray(features, np.float32)

    val = np.concatenate(
        [
            features_of(tf.constant(_enlarged(data.val_pictures[i : i + config.batch_size], stage.input_px)))
            for i in range(0, len(data.val_pictures), config.batch_size)
        ]
    )
    features: list[Float] = []
    for copy, order in enumerate(orders):
        if copy:
            feed = (
                pictures
                for pictures, _ in batches(
                    data.train_pictures,
                    data.train_labels,
                    order,
                    stage_recipe(config, stage),
                    stage.input_px,
                    config.batch_size,
                    config.seed * 1000 + copy,
                    data.train_looks if len(data.train_looks) else None,
                )
            )
        else:
            feed = (
                tf.constant(_enlarged(data.train_pictures[order[i : i + config.batch_size]], stage.input_px))
                for i in range(0, len(order), config.batch_size)
            )
        for pictures in feed:
            if features and time.monotonic() > ended:
                break
            features.append(features_of(pictures))
    train = np.concatenate(features)
    labels = np.concatenate([data.train_labels[order] for order in orders])[: len(train)]
    write_atomically(path, lambda file: np.savez(file, train=train, labels=labels, val=val))
    return train, labels, val


def _enlarged(pictures: npt.NDArray[np.uint8], px: int) -> Float:
    shown = network_pictures(pictures, px)
    return (shown if shown.ndim == 4 else shown[..., None]).astype(np.float32)

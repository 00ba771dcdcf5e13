"""Batch normalisations take the statistics of the weights that serve, and frozen ones keep theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.progress import ignore
from training.fitting.config import Stage, TrainingConfig

pytestmark = pytest.mark.slow


def network(trainable: bool = True) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="convolution")(inputs)
    x = keras.layers.BatchNormalization(name="norm", trainable=trainable)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooled_features")(keras.layers.Activation("relu")(x))
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(x))


def feed(batches: int = 3) -> list[tuple[Any, None]]:
    import tensorflow as tf

    rng = np.random.default_rng(3)
    return [(tf.constant(rng.normal(40 * k, 20, (8, 32, 32, 1)), tf.float32), None) for k in range(batches)]


def test_statistics_are_those_of_the_weights_as_they_are() -> None:
    import keras

    from training.fitting.batch_norm import recompute_batch_norms

    made = network()
    convolution, norm = made.get_layer("convolution"), made.get_layer("norm")
    before = [v.numpy() for v in made.trainable_variables]
    recompute_batch_norms(made, feed())
    seen = [np.asarray(convolution(pictures)) for pictures, _ in feed()]
    assert np.asarray(norm.moving_mean) == pytest.approx(np.mean([s.mean((0, 1, 2)) for s in seen], 0), rel=1e-3)
    assert np.asarray(norm.moving_variance) == pytest.approx(np.mean([s.var((0, 1, 2)) for s in seen], 0), rel=1e-2)
    assert norm.momentum == keras.layers.BatchNormalization().momentum
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, made.trainable_variables, strict=True))


def test_without_films_and_where_they_are_frozen_statistics_stay() -> None:
    from training.fitting.batch_norm import recompute_batch_norms

    made = network()
    recompute_batch_norms(made, [])
    frozen = network(trainable=False)

    def unread() -> Any:
        pytest.fail("read")
        yield

    recompute_batch_norms(frozen, unread())
    for one in (made, frozen):
        norm = one.get_layer("norm")
        assert not np.any(norm.moving_mean) and np.all(np.asarray(norm.moving_variance) == 1)


def test_a_trained_network_serves_with_the_statistics_of_its_averaged_weights(tmp_path: Path) -> None:
    from model.networks.graphs import logit_function
    from training.fitting.fit import TrainingData, fit, predict_logits

    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    pictures = (rng.uniform(0, 120, (64, 32, 32)) + 100 * labels[:, None, None]).astype(np.uint8)
    config = TrainingConfig(
        stages=(Stage("fit", 3, 32, "", 3e-2),),
        input_px=32,
        detail_px=32,
        batch_size=8,
        augmentation="plain",
        ema_momentum=0.99,
        precision="float32",
    )
    made = network()
    history = fit(made, config, TrainingData(pictures, labels, pictures, labels), tmp_path, ignore)
    logits = predict_logits(logit_function(made), pictures, 32)
    assert history[-1]["val_auroc"] > 0.95
    norm, convolution = made.get_layer("norm"), made.get_layer("convolution")
    mean = np.asarray(convolution(pictures[..., None].astype(np.float32))).mean((0, 1, 2))
    # The training's own running statistics, which move by a hundredth a batch, would still be near their start.
    assert np.asarray(norm.moving_mean) == pytest.approx(mean, rel=0.1)
    assert ((logits > 0) == labels).mean() > 0.9

"""Speed of training and inference of a network on this machine: a few steps on noise, half a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model.networks.architectures import find_architecture
from model.networks.graphs import logit_function
from model.networks.layers import sees_lungs
from training.fitting.config import default_config
from training.fitting.initial_weights import build_initial_network
from training.fitting.trainer import Trainer
from training.runs.estimate import Speed

STEPS = 2


def measure(architecture: str) -> Speed:
    """Measure the images per second of fitting and of a forward pass at the architecture's default size."""
    transfer = find_architecture(architecture).is_transfer
    config = default_config(architecture, has_weights=transfer)
    network = build_initial_network("random", config)
    stage = config.stages[-1]
    rng = np.random.default_rng(0)
    channels = (2,) if sees_lungs(network) else ()
    pictures = rng.integers(0, 256, (config.batch_size, stage.input_px, stage.input_px, *channels), np.uint8)
    forward = logit_function(network)
    trainer = Trainer(network, config, (1.0, 1.0))
    trainer.enter(stage)
    batch = tf.constant(pictures if channels else pictures[..., None], tf.float32)
    labels = tf.constant(np.column_stack((np.arange(len(pictures)) % 2, np.full(len(pictures), -1))), tf.float32)

    def rate(act: Callable[[], object]) -> float:
        act()  # the first call builds the graph
        started = time.monotonic()
        for _ in range(STEPS):
            act()
        return STEPS * len(pictures) / (time.monotonic() - started)

    return Speed(
        architecture,
        stage.input_px,
        rate(lambda: trainer.step(batch, labels, 1e-4)),
        rate(lambda: forward(pictures)),
        os.cpu_count() or 1,
    )

"""Speed of training relative to plain Keras, and cost of the input pipeline, in one process.

The peer is `network.fit` as a user would write it: the same layers at 299 px in all epochs, the same ones trainable,
BatchNormalization frozen, AdamW, the same batch size, float32, pictures decoded once, cached and prefetched. It is
measured without augmentation and with the layers that notebooks for this data set use (RandomFlip, RandomRotation,
RandomZoom, RandomTranslation). All take turns, so that a slower machine slows all of them.

Not counted on either side: validation, checkpoints, and the first turn, which traces the graphs. --cpu-time counts
processor seconds, for machines with other load."""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.tf_startup import start_tensorflow
from tests.phantoms import write_dataset
from training.data.dataset import scan_folder
from training.data.loading import read_samples
from training.fitting.config import Stage, TrainingConfig, default_config

Act = Callable[[int], object]
Clock = Callable[[], float]
BARE, AUGMENTED = "Keras without augmentation", "Keras with its random layers"


def take_turns(contestants: Mapping[str, Act], steps: int, turns: int, clock: Clock) -> dict[str, list[float]]:
    """Return the seconds of every turn of `steps` steps, by contestant; the first turn is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, act in contestants.items():
            started = clock()
            act(steps)
            if turn:
                seconds[name].append(clock() - started)
    return seconds


def relative(seconds: Mapping[str, list[float]], name: str, peer: str) -> float:
    """Return how many times as fast as the peer: the median over the turns, each against the peer's own turn."""
    return statistics.median(p / own for p, own in zip(seconds[peer], seconds[name], strict=True))


def make_trainer(config: TrainingConfig, architecture: str) -> Any:
    """Return our trainer with a network from random weights; the weights' values do not change the speed."""
    from model.networks.architectures import find_architecture
    from model.networks.build import build_network
    from training.fitting.trainer import Trainer

    size = None if find_architecture(architecture).any_size else config.input_px
    return Trainer(build_network(architecture, size, dropout=config.dropout), config, (1.0, 1.0))


def feed_of(
    config: TrainingConfig, stage: Stage, pictures: npt.NDArray[np.uint8], labels: npt.NDArray[np.int_], steps: int
) -> Iterable[Any]:
    """Return `steps` augmented batches as `fit` makes them."""
    from training.data.input_pipeline import batches
    from training.fitting.fit import stage_recipe

    order = np.resize(np.arange(len(pictures)), steps * config.batch_size)
    return batches(
        pictures,
        np.column_stack((labels, np.full(len(labels), -1))),
        order,
        stage_recipe(config, stage),
        stage.input_px,
        config.batch_size,
        config.seed,
    )


def ours(trainer: Any, stage: Stage, pictures: npt.NDArray[np.uint8], labels: npt.NDArray[np.int_]) -> Act:
    """Return what takes steps of `fit` in a stage that the trainer has entered."""

    def act(steps: int) -> None:
        for batch, targets in feed_of(trainer.config, stage, pictures, labels, steps):
            trainer.step(batch, targets, stage.learning_rate)

    return act


def keras_peer(network: Any, folder: Path, stage: Stage, config: TrainingConfig, steps: int, augmented: bool) -> Act:
    """Return what takes `steps` steps of `network.fit` on the folder's files, with the stage's layers trainable."""
    import keras
    import tensorflow as tf

    from model.networks.layers import train_after

    train_after(network, stage.train_after)
    network.compile(
        optimizer=keras.optimizers.AdamW(stage.learning_rate, weight_decay=config.weight_decay),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    data = keras.utils.image_dataset_from_directory(
        folder,
        label_mode="binary",
        color_mode="grayscale",
        batch_size=config.batch_size,
        image_size=(config.input_px, config.input_px),
        verbose=False,
    ).cache()
    for _ in data:  # fills the cache, as the first epoch would
        pass
    data = data.repeat().take(steps)
    if augmented:
        change = keras.Sequential(
            [
                keras.layers.RandomFlip("horizontal"),
                keras.layers.RandomRotation(30 / 360),
                keras.layers.RandomZoom(0.2, 0.2),
                keras.layers.RandomTranslation(0.1, 0.1),
            ]
        )
        data = data.map(lambda x, y: (change(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    data = data.prefetch(tf.data.AUTOTUNE)
    return lambda _: network.fit(data, epochs=1, shuffle=False, verbose=0)


def compare_with_keras(folder: Path, options: argparse.Namespace) -> None:
    """Print images per second in every stage of the standard schedule, and over the whole of it."""
    from model.networks.build import build_network

    config = default_config("inception_v3", "standard", precision="float32", batch_size=options.batch)
    samples, pictures, _ = read_samples(scan_folder(folder).train, config.detail_px)
    labels = np.array([sample.label for sample in samples])
    trainer = make_trainer(config, "inception_v3")
    network = build_network("inception_v3", config.input_px, dropout=config.dropout)
    print(
        "| layers trained | what | picture side, px | images per second | relative to Keras without augmentation |\n"
        "|---|---|---|---|---|"
    )
    # Seconds per picture of the whole schedule, with every epoch drawing as many.
    total = {"ours": 0.0, BARE: 0.0, AUGMENTED: 0.0}
    for train_after, stages in itertools.groupby(config.stages, lambda stage: stage.train_after):
        group = list(stages)
        trainer.enter(group[0])
        contestants = {
            AUGMENTED: keras_peer(network, folder, group[0], config, options.steps, True),
            BARE: keras_peer(network, folder, group[0], config, options.steps, False),
            **{f"ours, {stage.input_px} px": ours(trainer, stage, pictures, labels) for stage in group},
        }
        seconds = take_turns(contestants, options.steps, options.turns, options.clock)
        images = options.steps * options.batch
        for name, turns in seconds.items():
            px = name.rpartition(", ")[2].removesuffix(" px") if name.startswith("ours") else config.input_px
            print(
                f"| after {train_after} | {name.partition(',')[0]} | {px} | {images / statistics.median(turns):.2f} "
                f"| {relative(seconds, name, BARE):.2f} |",
                flush=True,
            )
        for stage in group:
            for who in total:
                key = f"ours, {stage.input_px} px" if who == "ours" else who
                total[who] += stage.epochs * statistics.median(seconds[key]) / images
    epochs = " + ".join(f"{stage.epochs} × {stage.input_px} px" for stage in config.stages)
    for peer in (BARE, AUGMENTED):
        print(
            f"\nThe whole schedule ({epochs}) against as many epochs at {config.input_px} px, {peer}: "
            f"{total[peer] / total['ours']:.2f} times as fast.",
            flush=True,
        )


def measure_pipeline(folder: Path, options: argparse.Namespace) -> None:
    """Print how much faster a step would be if its batch were there already; a turn starts the pipeline anew."""
    print(
        "\n| network | picture side, px | step on a ready batch, ms | with the pipeline, ms | ready is faster by |\n"
        "|---|---|---|---|---|"
    )
    for architecture in ("inception_v3", options.small):
        config = default_config(architecture, "standard", precision="float32", batch_size=options.batch)
        samples, pictures, _ = read_samples(scan_folder(folder).train, config.detail_px)
        labels = np.array([sample.label for sample in samples])
        trainer = make_trainer(config, architecture)
        for stage in {stage.input_px: stage for stage in config.stages}.values():
            trainer.enter(stage)
            steps = options.steps if architecture == "inception_v3" else options.steps * 15
            ready = list(feed_of(config, stage, pictures, labels, 2))

            def on_ready(n: int, trainer: Any = trainer, stage: Stage = stage, ready: list[Any] = ready) -> None:
                for batch, targets in itertools.islice(itertools.cycle(ready), n):
                    trainer.step(batch, targets, stage.learning_rate)

            seconds = take_turns(
                {"ready": on_ready, "piped": ours(trainer, stage, pictures, labels)},
                steps,
                options.turns,
                options.clock,
            )
            ready_ms, piped_ms = (statistics.median(seconds[name]) / steps * 1e3 for name in ("ready", "piped"))
            print(
                f"| {architecture} | {stage.input_px} | {ready_ms:.0f} | {piped_ms:.0f} "
                f"| {100 * (relative(seconds, 'ready', 'piped') - 1):.1f} % |",
                flush=True,
            )


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="steps of a turn (%(default)s)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--films", type=int, default=64, metavar="N", help="drawn radiographs of a class (%(default)s)")
    parser.add_argument("--small", default="cnn_2_1", metavar="NAME", help="the small network (%(default)s)")
    parser.add_argument("--only", choices=("keras", "pipeline"), help="one of the two tables")
    parser.add_argument(
        "--cpu-time",
        dest="clock",
        action="store_const",
        const=time.process_time,
        default=time.perf_counter,
        help="count processor seconds instead of those that pass",
    )
    options = parser.parse_args()
    start_tensorflow(in_batches=True)
    with tempfile.TemporaryDirectory() as name:
        write_dataset(Path(name), options.films, size=(300, 360))
        if options.only != "pipeline":
            compare_with_keras(Path(name), options)
        if options.only != "keras":
            measure_pipeline(Path(name), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

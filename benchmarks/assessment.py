"""Time of an assessment relative to one forward pass of the same network in the same process.

The peer is `network(x, training=False)` in a tf.function on a float32 batch of one: no decoding, no gate, no evidence
map. A ratio of 1.2 means that everything around the network costs a fifth of the network. The version in use refuses
synthetic radiographs, so these are read by its network without the training population."""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import AppError
from core.settings import load_settings
from imaging.radiograph import decode_radiograph
from model.engine import Classifier, load_classifier
from model.pipeline import assess
from model.registry import active_version, version_folder
from model.tf_startup import start_tensorflow
from tests.phantoms import as_jpeg, chest

Plain = Callable[[npt.NDArray[np.float32]], object]


def classifier_and_peer() -> tuple[Classifier, Plain]:
    """Return the classifier in use, and the same network as plain TensorFlow, which takes float32 (1, px, px, 1).

    Raises AppError where no classifier can be used.
    """
    settings = load_settings(os.environ)
    start_tensorflow()
    folder = version_folder(settings, active_version(settings))
    classifier = load_classifier(folder, settings.architectures)
    import tensorflow as tf

    from model.networks.weights import load_network

    network = load_network(
        folder / classifier.card.weights_file, classifier.card.architecture, classifier.input_px, settings.architectures
    )
    plain = tf.function(lambda x: network(x, training=False))
    return classifier, lambda batch: plain(tf.constant(batch)).numpy()


def in_turn(classifier: Classifier, plain: Plain, data: bytes, repeats: int) -> tuple[list[float], list[float]]:
    """Return the seconds of the peer's forward pass and of the whole assessment of `data`, one of each a turn.

    One after the other, so that a machine that slows down slows both.
    """
    picture = classifier.input_of(decode_radiograph(data))[None]
    batch = (picture if picture.ndim == 4 else picture[..., None]).astype(np.float32)
    acts: tuple[Callable[[], object], ...] = (lambda: plain(batch), lambda: assess(data, classifier))
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for act, own in zip(acts, times, strict=True):
            started = time.perf_counter()
            act()
            if turn:  # in the first, graphs are traced
                own.append(time.perf_counter() - started)
    return times


def main() -> int:
    """Print the ratio for each file, or for drawn radiographs of three sizes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assessment", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="(default: drawn films of three sizes)")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="(%(default)s)")
    options = parser.parse_args()
    films = {path.name: path.read_bytes() for path in options.files} or {
        f"drawn {h}×{w} JPEG": as_jpeg(chest(1, (h, w))) for h, w in ((224, 224), (1200, 1500), (2000, 2500))
    }
    try:
        classifier, plain = classifier_and_peer()
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    if not options.files:
        classifier = dataclasses.replace(classifier, population=None)
    print("| radiograph | finding | one forward pass, ms | assessment, ms | ratio |\n|---|---|---|---|---|")
    for name, data in films.items():
        words = assess(data, classifier).words
        peers, ours = in_turn(classifier, plain, data, options.repeats)
        ratio = statistics.median(own / peer for own, peer in zip(ours, peers, strict=True))
        print(
            f"| {name} | {words} | {statistics.median(peers) * 1e3:.0f} | {statistics.median(ours) * 1e3:.0f} | "
            f"{ratio:.2f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Training time on this machine, estimated from measurements made here and not from a table of other machines.

    <data folder>/speed/<architecture>/speed.json   images per second at one size: fitting, and forward only

The time of an image is proportional to its area. A network with a fixed input size is measured at that size.
This module does not import TensorFlow; `training.runs.measure` measures in a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import make_folder, write_atomically
from core.settings import Settings
from model.card import ModelCard
from model.networks.architectures import find_architecture
from training.fitting.config import TrainingConfig
from training.fitting.population import population_pictures
from training.runs import candidate, processes
from training.runs.background import BackgroundTask

RESULT = "speed.json"
# Seconds beside the network's own: start of TensorFlow, and audit and decoding of one file on one core.
_START = 25.0
_PER_FILE = 0.012
# Finding the lungs of one radiograph, on one core.
_PER_LUNGS = 0.02
_START_COMPARING = 15.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Images per second of one architecture at `input_px`, and with how many processors that was measured."""

    architecture: str
    input_px: int
    fitting: float
    forward: float
    processors: int


def fit_seconds(config: TrainingConfig, pneumonia: int, normal: int, speed: Speed) -> float:
    """Estimate the training time on a folder; evaluation on a test split is not included.

    Parameters
    ----------
    config
        The configuration of the training.
    pneumonia, normal
        Number of radiographs of each class.
    speed
        As measured on this machine for the architecture.

    Returns
    -------
    float
        Seconds of reading, finding lungs, fitting, validation, calibration and fitting the gate.
    """
    held_out = config.validation_fraction * (pneumonia + normal)
    train = [(1 - config.validation_fraction) * n for n in (pneumonia, normal)]
    drawn = sum(min(n, min(train) * config.max_class_ratio) for n in train)
    mirrored = 2 if config.mirror else 1

    def forward(images: float, px: int) -> float:
        return images * (px / speed.input_px) ** 2 / speed.forward

    if config.cached_copies:
        fitting = forward(config.cached_copies * drawn + held_out, config.stages[0].input_px) + 2.0 * len(config.epochs)
    else:
        per_epoch = [
            drawn * (stage.input_px / speed.input_px) ** 2 / _rate(stage.train_after, speed) for stage in config.epochs
        ]
        fitting = sum(per_epoch)
        if config.budget_minutes:
            fitting = min(fitting, config.budget_minutes * 60)
        fitting += sum(mirrored * forward(held_out, stage.input_px) for stage in config.epochs)
    calibration = mirrored * forward(held_out * (1 + sum(config.copies)), config.input_px)
    looks = forward(population_pictures(round(sum(train)), round(held_out)), config.input_px)
    looks *= config.learns_population
    lungs = 0.0
    if find_architecture(config.architecture).is_framed:
        # Of each radiograph once, of held-out ones for calibration and for the groups as well.
        pictures = pneumonia + normal + 2 * held_out
        if config.learns_population:
            pictures += population_pictures(round(sum(train)), round(held_out))
        lungs = _PER_LUNGS * pictures
    return _START + 2 * _PER_FILE * (pneumonia + normal) + fitting + calibration + looks + lungs


def _rate(train_after: str, speed: Speed) -> float:
    # Training the head alone has almost no backward pass.
    return speed.forward * 0.95 if train_after == "pooled_features" else speed.fitting


def comparison_seconds(settings: Settings, card: ModelCard, against: ModelCard) -> float:
    """Estimate the time of a comparison in seconds.

    From earlier comparisons on this machine, else from the measured speed. Without either, a forward pass of a network
    of 22 million parameters at 299 px is taken as 0.1 s.

    Parameters
    ----------
    settings
        The installation with its runs and measurements.
    card, against
        Model cards of the two versions.
    """
    earlier = [
        float(values["seconds_each"])
        for path in settings.runs_dir.glob(f"*/{candidate.FOLDER}/{candidate.RESULT}")
        if (values := processes.read_json(path)).get("seconds_each")
    ]
    each = (
        statistics.median(earlier)
        if earlier
        else statistics.fmean(_forward_seconds(settings, one) for one in (card, against))
    )
    return _START_COMPARING + candidate.forward_passes(candidate.films_to_compare(card)[1]) * each


def _forward_seconds(settings: Settings, card: ModelCard) -> float:
    px = float(card.preprocessing.get("input_px", 299))
    if (speed := known_speed(settings, card.architecture)) is not None:
        return (px / speed.input_px) ** 2 / speed.forward
    return 0.005 + 0.1 * (px / 299) ** 2 * min(2.0, card.parameters / 22e6)


def folder(settings: Settings, architecture: str) -> Path:
    """Return the folder under `settings` with the speed measurement of `architecture`."""
    return settings.data_dir / "speed" / architecture.replace(":", ".").replace("/", ".")


def known_speed(settings: Settings, architecture: str) -> Speed | None:
    """Return the measured speed of `architecture` under `settings`.

    None where there is no valid measurement with this number of processors.
    """
    values = processes.read_json(folder(settings, architecture) / RESULT)
    try:
        speed = Speed(**values)
    except TypeError:
        return None
    fits = speed.architecture == architecture and speed.processors == os.cpu_count()
    return speed if fits and min(speed.fitting, speed.forward) > 0 and math.isfinite(speed.fitting) else None


def keep_speed(settings: Settings, speed: Speed) -> None:
    """Store the measurement `speed` in the data folder of `settings`."""
    place = folder(settings, speed.architecture)
    make_folder(place)
    write_atomically(place / RESULT, json.dumps(asdict(speed)))


def start_measuring(settings: Settings, architecture: str) -> None:
    """Measure `architecture` in the background for `settings`, unless it is being measured or its speed is known."""
    _task(settings, architecture).start(keep=lambda: known_speed(settings, architecture) is not None)


def stop_measuring(settings: Settings) -> None:
    """Cancel all speed measurements: they would slow a training down, and their results would be wrong."""
    for place in (settings.data_dir / "speed").glob("*"):
        task = _task_in(place, place.name)
        if task.state() != "done":
            task.cancel("training")


def is_measuring(settings: Settings, architecture: str) -> bool:
    """Return whether `architecture` is being measured in the data folder of `settings`."""
    return _task(settings, architecture).is_running()


def measuring_failed(settings: Settings, architecture: str) -> bool:
    """Return whether the last measurement of `architecture` under `settings` ended without a result.

    A failed measurement is not repeated automatically.
    """
    return _task(settings, architecture).state() == "failed"


def _task(settings: Settings, architecture: str) -> BackgroundTask:
    return _task_in(folder(settings, architecture), architecture)


def _task_in(place: Path, architecture: str) -> BackgroundTask:
    return BackgroundTask("measurement", place, ("_measure", architecture), (place / RESULT).is_file, (RESULT,))

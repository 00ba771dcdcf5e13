"""One trial of a tuning study: a training on radiographs that all trials share, and its score on held-out patients."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.errors import ClassifierError
from core.files import make_folder
from core.progress import Report
from model.anatomy_files import shipped_finder
from model.metrics import auroc
from model.networks.graphs import logit_function
from model.networks.layers import sees_lungs
from training.data.data_request import DataRequest
from training.data.recipes import ANOTHER_UNIT, DOMAIN_SHIFT
from training.data.sample import digest
from training.experiments.study_values import Objective, Outcome, TrialFailed
from training.fitting.calibrate import calibrate, class_balance, perturbed
from training.fitting.config import TrainingConfig, as_served
from training.fitting.fit import TrainingData, fit, precision_policy, predict_logits
from training.fitting.initial_weights import build_initial_network
from training.runs.run import load, training_data

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class TuningData:
    """Both sides of the split, and the held-out pictures' shifted copies, uint8 (copies · n, px, px), copy by copy.

    Of a network that sees films framed by their lungs, pictures are as in `TrainingData`, and copies are framed, uint8
    (copies · n, px, px, 2).
    """

    fitting: TrainingData
    shifted: npt.NDArray[np.uint8]
    identity: Mapping[str, str]


def load_data(data: Path | DataRequest, config: TrainingConfig, report: Report) -> TuningData:
    """Read the training and validation splits once for all trials.

    Parameters
    ----------
    data
        The dataset.
    config
        Configuration of the trials.
    report
        Called with the progress.

    Raises
    ------
    DatasetError
        If the dataset cannot be used.
    ClassifierError
        If the network cannot be built, or the anatomy network that finds the lungs for it is missing.
    """
    # Before the radiographs are read: only the network itself tells whether one's own sees the lungs.
    is_framed = sees_lungs(build_initial_network("random", config))
    keras.backend.clear_session()
    find_anatomy = shipped_finder() if is_framed else None
    loaded = load(data, config, report)
    fitting = training_data(loaded, find_anatomy, report)
    shift = as_served(ANOTHER_UNIT if is_framed else DOMAIN_SHIFT, config)
    return TuningData(
        fitting,
        perturbed(fitting.val_pictures, shift, config.copies[0], config.seed, fitting.val_labels, config.input_px),
        {"data": digest(loaded.samples), "held_out": digest(loaded.side(True))},
    )


def measured(labels: Array, clean: Array, shifted: Array) -> Outcome:
    """Return the outcome of a trial from the logits of held-out pictures.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.
    clean
        (n,), logits without perturbation.
    shifted
        (copies, n), logits under `DOMAIN_SHIFT`, or `ANOTHER_UNIT` of films framed by their lungs.
    """
    calibration = calibrate(labels, clean, shifted)
    sign, weight = np.where(labels == 1, -1.0, 1.0), class_balance(labels)

    def loss(logits: Array) -> float:
        scaled = np.asarray(logits, np.float64) / calibration.temperature + calibration.bias
        return float((weight * np.logaddexp(0, sign * scaled)).mean())

    losses = loss(clean), loss(shifted)
    return Outcome(
        sum(losses) / 2, *losses, auroc(labels, clean), auroc(np.tile(labels, len(shifted)), shifted.ravel())
    )


def training_objective(data: TuningData, backbone_weights: str, work: Path) -> Objective:
    """Return a function that trains a network from its initial weights and returns the outcome.

    Parameters
    ----------
    data
        Training and validation splits.
    backbone_weights
        As `training.fitting.initial_weights.build_initial_network` takes it.
    work
        Folder of the trial's checkpoint; it exists only while a trial runs.
    """

    def objective(config: TrainingConfig, report: Report) -> Outcome:
        # A killed process leaves its folder, and `fit` would continue from that checkpoint.
        shutil.rmtree(work, ignore_errors=True)
        policy = keras.mixed_precision.dtype_policy()
        tf.get_logger().addFilter(_is_relevant)
        keras.utils.set_random_seed(config.seed)
        keras.mixed_precision.set_global_policy(precision_policy(config.precision))
        try:
            network = build_initial_network(backbone_weights, config)
            _refuse_unknown_layer(config, [layer.name for layer in network.layers])
            make_folder(work)
            fit(network, config, data.fitting, work, report)
            labels, pictures = data.fitting.val_labels, data.fitting.val_pictures
            forward = logit_function(network)
            clean, shifted = (
                predict_logits(forward, p, config.input_px, mirror=config.mirror) for p in (pictures, data.shifted)
            )
            if not (np.isfinite(clean).all() and np.isfinite(shifted).all()):
                raise TrialFailed("the logits are not finite")
            return measured(labels, clean, shifted.reshape(-1, len(labels)))
        except FloatingPointError as error:
            raise TrialFailed(str(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise TrialFailed("not enough memory") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
            tf.get_logger().removeFilter(_is_relevant)
            keras.mixed_precision.set_global_policy(policy)
            keras.backend.clear_session()
            gc.collect()

    return objective


def _is_relevant(record: logging.LogRecord) -> bool:
    """Suppress the retracing warning: each trial traces a network of its own."""
    return "tf.function retracing" not in record.getMessage()


def _refuse_unknown_layer(config: TrainingConfig, layers: list[str]) -> None:
    for stage in config.stages:
        if stage.train_after and stage.train_after not in layers:
            raise ClassifierError(
                f"expected train_after to be a layer of {config.architecture}. Received: {stage.train_after!r}",
                advice=f"Fix it to a layer such as {', '.join(layers[len(layers) // 3 :: len(layers) // 6 or 1])}.",
            )

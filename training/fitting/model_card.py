"""The card of a new version: calibration and operating points on held-out patients, data, training, limitations."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from typing import Any

import numpy as np
import numpy.typing as npt

from model.anatomy import AnatomyFinder
from model.calibration import probabilities
from model.card import Calibration, ConformalSets, Evaluation, ModelCard, OperatingPoint, PurposePoint
from model.decision import operating_points_by_purpose
from model.framing import pairs_of
from training.data.audit import Audit
from training.data.description import describe
from training.data.loading import LoadedFolder
from training.data.patients import split_in_words
from training.data.recipes import ANOTHER_UNIT, DOMAIN_SHIFT, JITTER, resolve
from training.data.sample import CLASSES, digest
from training.data.split import DUPLICATES_TOGETHER, HELD_OUT_DIGEST, PATIENT_RULES
from training.fitting.calibrate import calibrate, choose_operating_point, logits_by_copy
from training.fitting.config import TrainingConfig, as_served
from training.fitting.cross_fit import Scale, conformal_levels, cross_fit
from training.fitting.intended_use import (
    intended_ages,
    intended_use,
    limitations,
    patients_in_words,
    population_phrase,
)

Array = npt.NDArray[Any]
# With which the targets of screening and ruling in are met among new patients.
CONFIDENCE = 0.95
Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class HeldOutCalibration:
    """Calibration, operating points and evaluations of a network on held-out patients."""

    calibration: Calibration
    operating_point: OperatingPoint
    evaluations: Mapping[str, Evaluation]
    purposes: tuple[PurposePoint, ...]
    conformal: tuple[ConformalSets, ...]
    cross_fit: Mapping[str, Any]


def calibration_pictures(config: TrainingConfig, held_out: int) -> int:
    """Return the number of pictures that `make_card` scores for `held_out` radiographs with `config`."""
    return held_out * (1 + sum(config.copies))


def make_card(
    predict: Predict,
    version: str,
    config: TrainingConfig,
    loaded: LoadedFolder,
    audit: Audit,
    history: Sequence[Mapping[str, Any]],
    *,
    parameters: int,
    precision: str,
    backbone_weights: str,
    stated: Mapping[str, str],
    notes: tuple[str, ...],
    find_anatomy: AnatomyFinder | None = None,
) -> ModelCard:
    """Choose calibration and operating points on the held-out patients and return the card, without a checksum.

    Parameters
    ----------
    predict
        Maps squashed pictures, uint8 (n, detail_px, detail_px), to logits (n,) of the network as it will serve.
    version
        Name of the new version.
    config, loaded, audit, history
        Of the run.
    parameters
        Number of the network's weights.
    precision
        Keras precision policy of the run.
    backbone_weights
        Name of the initial weights.
    stated
        What the administrator stated of the data, see `training.data.description`.
    notes
        Further statements of the card.
    find_anatomy
        As in `calibrate_held_out`.
    """
    scale = calibrate_held_out(predict, loaded, config, find_anatomy)
    is_framed = find_anatomy is not None
    description = describe(loaded.samples, stated)
    ages = intended_ages(description)
    # What the gate tells a reader of a patient outside the training population (`model.gate.training_ages`).
    description |= {"intended_population": population_phrase(description), "intended_ages": ages and list(ages)}
    unknown = sum(not sample.patient_known for sample in loaded.samples)
    patients = patients_in_words(len(loaded.samples), unknown, loaded.folder.patient_rules)
    return ModelCard(
        version=version,
        parent=None,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_file="classifier.npz",
        sha256="",
        architecture=config.architecture,
        parameters=parameters,
        intended_use=intended_use(description),
        limitations=limitations(description, patients),
        data=_describe_data(loaded, audit, description),
        preprocessing={
            "input_px": config.input_px,
            "detail_px": config.detail_px,
            "channels": 2 if is_framed else 1,
            "mirror": config.mirror,
            "fills_border": config.fills_border,
            **({"frame": "lungs"} if is_framed else {}),
            "geometry": "radiograph framed by its lungs, which are the second channel; one grey value beside the thorax"
            if is_framed
            else "whole radiograph squashed to a square",
            "range": "0–255, rescaled in the network",
        },
        training=_describe_training(config, precision, backbone_weights),
        history=tuple(history),
        calibration=scale.calibration,
        operating_point=scale.operating_point,
        evaluations=scale.evaluations,
        libraries=libraries(),
        notes=notes,
        purposes=scale.purposes,
        conformal=scale.conformal,
        cross_fit=scale.cross_fit,
    )


def calibrate_held_out(
    predict: Predict, loaded: LoadedFolder, config: TrainingConfig, find_anatomy: AnatomyFinder | None = None
) -> HeldOutCalibration:
    """Choose calibration and operating points on the held-out patients' pictures, as they are and perturbed.

    The evaluations and the rates of the purposes are cross-fitted, see `training.fitting.cross_fit`.

    Parameters
    ----------
    predict
        Maps squashed pictures, uint8 (n, px, px), to logits (n,); called with `calibration_pictures` pictures in total.
    loaded
        The dataset.
    config
        Perturbed copies, seed and filling of borders.
    find_anatomy
        Finds the lungs, for a network that sees films framed by them. The perturbed copies then have the look of
        another unit.
    """
    pictures, labels = loaded.pictures[loaded.held_out], loaded.labels[loaded.held_out]
    shift = DOMAIN_SHIFT
    if find_anatomy is not None:
        pictures, shift = pairs_of(pictures, find_anatomy), ANOTHER_UNIT
    shift_copies, jitter_copies = config.copies
    clean = predict(pictures)
    px = config.input_px
    shifted = logits_by_copy(predict, pictures, as_served(shift, config), shift_copies, config.seed, labels, px)
    jittered = logits_by_copy(predict, pictures, as_served(JITTER, config), jitter_copies, config.seed + 1, input_px=px)
    patients = loaded.groups_of_side(True)

    def choose(chosen: npt.NDArray[np.bool_]) -> Scale:
        y, who = labels[chosen], [one for one, kept in zip(patients, chosen, strict=True) if kept]
        own, moved = clean[chosen], shifted[:, chosen]
        calibration = calibrate(y, own, moved)
        score = probabilities(own, calibration)
        return Scale(
            calibration,
            choose_operating_point(y, own, moved, jittered[:, chosen], calibration),
            _purposes(y, score, probabilities(moved, calibration), who),
            conformal_levels(y, score, who),
        )

    scale = choose(np.ones(len(labels), bool))
    measured = cross_fit(labels, clean, patients, choose, scale, config.seed, shifted)
    evaluations: dict[str, Evaluation] = {"validation": measured.evaluation}
    if measured.shifted is not None:
        evaluations["validation_shifted"] = measured.shifted
    return HeldOutCalibration(
        scale.calibration, measured.operating_point, evaluations, measured.purposes, scale.conformal, measured.record
    )


def _purposes(labels: Array, clean: Array, shifted: Array, patients: Sequence[str]) -> tuple[PurposePoint, ...]:
    """Choose further operating points on clean and perturbed pictures, half the weight each.

    On pictures of one source alone a bound on the specificity would not hold elsewhere.
    """
    copies = len(shifted)
    weights = np.concatenate((np.full(len(labels), 0.5), np.full(copies * len(labels), 0.5 / copies)))
    return operating_points_by_purpose(
        np.tile(labels, copies + 1),
        np.concatenate((clean, shifted.ravel())),
        weights,
        f"{len(labels)} held-out radiographs, as they are and as another hospital might export them",
        list(patients) * (copies + 1),
        CONFIDENCE,
    )


def _describe_training(config: TrainingConfig, precision: str, backbone_weights: str) -> dict[str, Any]:
    used = {config.augmentation, *(s.augmentation for s in config.stages if s.augmentation)}
    recipes = {name: dataclasses.asdict(resolve(name, config.augmentation_strength)) for name in sorted(used)}
    return dataclasses.asdict(config) | {
        "precision_used": precision,
        "backbone_weights": backbone_weights,
        "recipes": recipes,
    }


def _describe_data(loaded: LoadedFolder, audit: Audit, description: Mapping[str, Any]) -> dict[str, Any]:
    def counts(side: bool) -> dict[str, int]:
        chosen = loaded.side(side)
        return {name: sum(s.label == label for s in chosen) for label, name in enumerate(CLASSES)} | {
            "patients": len({s.patient for s in chosen})
        }

    return {
        "source": description["source"]["value"] if description["source"] else "not stated",
        "digest": digest(loaded.samples),
        "train": counts(False),
        "validation": counts(True),
        "unreadable": loaded.unreadable,
        "unknown_patients": sum(not s.patient_known for s in loaded.samples),
        "split": split_in_words(loaded.samples),
        PATIENT_RULES: dict(loaded.folder.patient_rules),
        HELD_OUT_DIGEST: digest(loaded.side(True)),
        "skipped": dict(loaded.folder.skipped),
        DUPLICATES_TOGETHER: bool(loaded.groups),
        "description": dict(description),
        "audit": [issue.message for issue in audit.issues],
        "sees_no_lungs_auroc": audit.shortcut_auroc if math.isfinite(audit.shortcut_auroc) else None,
    }


def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that determine results."""
    names = ("tensorflow", "keras", "numpy", "opencv-python", "pillow")
    return {"python": platform.python_version(), **{name: library_version(name) for name in names}}

"""One training run from folder to classifier version. Its directory is the truth about it.

    <run>/run.json       what was asked: folder, its digest, starting weights, where the version goes
    <run>/config.json    the configuration
    <run>/audit.json     what the folder hides
    <run>/split.csv      which file is on which side of the split
    <run>/history.json   one row per finished epoch
    <run>/status.json    where it stands, rewritten while it runs
    <run>/checkpoint.npz all that the next epoch depends on
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.calibration import probabilities
from model.card import Evaluation, ModelCard
from model.engine import Classifier, wrap_network
from model.errors import ClassifierError, DatasetError
from model.files import write_atomically
from model.metrics import evaluate
from model.network import build_inception_v3, load_network, round_to_half, save_network
from model.registry import add_version, next_version
from model.settings import Settings
from training.audit import Audit, audit_folder, audit_to_json
from training.augment import SHIFT, SLIGHT
from training.calibrate import calibrate, choose_operating_point, logits_by_copy
from training.config import TrainingConfig
from training.dataset import (
    CLASSES,
    DatasetFolder,
    Sample,
    digest,
    hold_out,
    read_samples,
    scan_folder,
    write_manifest,
)
from training.evaluate import evaluate_folder, evaluate_samples, labelled_test
from training.fit import CHECKPOINT, Progress, TrainingData, fit, precision_policy, predict_logits

SHIFT_COPIES, SLIGHT_COPIES = 3, 2
INTENDED_USE = (
    "Decision support for clinicians reading frontal chest radiographs of children aged 1–5 years: how likely the film "
    "shows pneumonia, and which regions moved that figure. Not a diagnosis; not for adults, lateral views, other body "
    "parts, follow-up of a known pneumonia, or use without a clinician.")
LIMITATIONS = (
    "Learned from children of one centre only (Guangzhou Women and Children's Medical Center); other hospitals' films "
    "may be scored too high or too low.",
    "On adults it calls most healthy films pneumonia.",
    "Knows pneumonia yes or no; other disease may be called pneumonia or missed.",
    "The influence map shows what moved the score. It is coarse and is not the outline of a lesion.",
    "Which films belong to one patient is known from file names only.",
    "The public data's two parts differ in exposure and framing; figures at another site have to be measured there.")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run was asked for; the results of `extra_evaluations` (name, folder) and the notes go on the card."""

    data: Path
    out: Path
    backbone_weights: str
    source: str = ""
    promote: bool = False
    extra_evaluations: tuple[tuple[str, Path], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Watcher:
    """What a run tells whoever watches: phases by name with (done, total), and the progress of fitting."""

    phase: Callable[[str, int, int], object]
    fitting: Callable[[Progress], object]


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    folder: DatasetFolder
    samples: list[Sample]
    pictures: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.bool_]
    unreadable: int

    @property
    def labels(self) -> npt.NDArray[np.int_]:
        return np.array([sample.label for sample in self.samples])

    def training_data(self) -> TrainingData:
        out, labels = self.held_out, self.labels
        return TrainingData(self.pictures[~out], labels[~out], self.pictures[out], labels[out])


def create_run(run_dir: Path, config: TrainingConfig, request: RunRequest) -> None:
    """Write down what is asked; raises DatasetError or ClassifierError at once when that cannot work."""
    scan_folder(request.data)
    for _, folder in request.extra_evaluations:
        scan_folder(folder)
    if request.backbone_weights not in ("imagenet", "random") and not Path(request.backbone_weights).is_file():
        raise ClassifierError(f"expected a file with the backbone's weights. Received: {request.backbone_weights}",
                              advice='Name a file that exists, or "imagenet" to let Keras download its own.')
    run_dir.mkdir(parents=True)
    write_atomically(run_dir / "config.json", config.to_json())
    asked = dataclasses.asdict(request) | {"created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_atomically(run_dir / "run.json", json.dumps(asked, indent=1, default=str))


def read_request(run_dir: Path) -> RunRequest:
    """Read what a run was asked for; raises DatasetError when the directory is not a run's."""
    try:
        values = json.loads((run_dir / "run.json").read_text())
        return RunRequest(
            Path(values["data"]), Path(values["out"]), values["backbone_weights"], values["source"], values["promote"],
            tuple((name, Path(folder)) for name, folder in values["extra_evaluations"]), tuple(values["notes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"expected the directory of a training run. Received: {run_dir} ({error})",
                           advice="Name a directory that `python -m training train` printed.") from error


def execute(run_dir: Path, settings: Settings, watcher: Watcher) -> Path:
    """Train, calibrate, evaluate and add the version; return its folder. Continues an interrupted run.

    Raises DatasetError when the folder changed since the run began, or cannot be used.
    """
    request = read_request(run_dir)
    config = TrainingConfig.from_json((run_dir / "config.json").read_text())
    audit = _audited(request.data, run_dir, watcher)
    loaded = _load(request.data, config, watcher)
    _remember_digest(run_dir, digest(loaded.samples))
    write_manifest(run_dir / "split.csv", loaded.samples, loaded.held_out, loaded.folder.root)

    keras.utils.set_random_seed(config.seed)
    policy = precision_policy(config.precision)
    keras.mixed_precision.set_global_policy(policy)
    network = _start_network("random" if (run_dir / CHECKPOINT).exists() else request.backbone_weights, config)

    def fitting(progress: Progress) -> None:
        write_atomically(run_dir / "status.json", json.dumps(
            dataclasses.asdict(progress) | {"pid": os.getpid(), "at": datetime.now(UTC).isoformat()}))
        watcher.fitting(progress)

    history = fit(network, config, loaded.training_data(), run_dir, fitting)
    network = _at_serving_size(network, config, run_dir)
    card = _scaled_card(network, config, request, loaded, audit, history, policy, settings, watcher)
    classifier = wrap_network(network, card)
    evaluations = dict(card.evaluations)
    for name, evaluation in _further_evaluations(classifier, loaded.folder, request, watcher):
        evaluations[name] = evaluation
    card = dataclasses.replace(card, evaluations=evaluations)
    request.out.mkdir(parents=True, exist_ok=True)
    return add_version(request.out, card, lambda path: save_network(network, path))


def _audited(root: Path, run_dir: Path, watcher: Watcher) -> Audit:
    """Audit the folder, keep the result beside the run, and refuse to train on what blocks."""
    folder = scan_folder(root)
    total = len(folder.train) + len(folder.val) + len(folder.test)
    tick = _counter("auditing the folder", total, watcher)
    audit = audit_folder(folder, lambda: tick(1))
    write_atomically(run_dir / "audit.json", audit_to_json(audit))
    if blocking := [issue for issue in audit.issues if issue.blocking]:
        raise DatasetError(
            f"expected a folder without blocking findings. Received: {', '.join(issue.code for issue in blocking)}",
            advice=" ".join(issue.message for issue in blocking))
    return audit


def _load(root: Path, config: TrainingConfig, watcher: Watcher) -> _Loaded:
    folder = scan_folder(root)
    total, done = len(folder.train) + len(folder.val), 0

    def count() -> None:
        nonlocal done
        done += 1
        watcher.phase("reading radiographs", done, total)

    train, train_pictures, train_failed = read_samples(folder.train, config.detail_px, count)
    val, val_pictures, val_failed = read_samples(folder.val, config.detail_px, count)
    if {s.label for s in train} != {0, 1}:
        raise DatasetError("expected readable radiographs of both classes. Received: one class or none",
                           advice="Check that the files in NORMAL and PNEUMONIA open in a viewer.")
    held_out = hold_out(train, val, config.validation_fraction, config.seed)
    samples = [*train, *val]
    sides = [{s.label for s, out in zip(samples, held_out, strict=True) if out == side} for side in (False, True)]
    if sides != [{0, 1}, {0, 1}]:
        raise DatasetError(
            f"expected at least two patients of each class. Received: {len({s.patient for s in samples})} patients",
            advice="Add radiographs of more patients; validation needs patients that training has not seen.")
    return _Loaded(folder, samples, np.concatenate((train_pictures, val_pictures)), held_out,
                   len(train_failed) + len(val_failed))


def _remember_digest(run_dir: Path, data_digest: str) -> None:
    path = run_dir / "data.sha256"
    if path.exists() and path.read_text() != data_digest:
        raise DatasetError("expected the radiographs with which the run began. Received: a changed folder",
                           advice="Restore the folder, or start a new run.")
    write_atomically(path, data_digest)


def _start_network(backbone_weights: str, config: TrainingConfig) -> keras.Model:
    try:
        return build_inception_v3(None if backbone_weights == "random" else backbone_weights, input_px=None,
                                  dropout=config.dropout)
    except Exception as error:  # Keras raises a bare Exception for a failed download, OSError or ValueError for a file
        raise ClassifierError(
            f"expected the backbone's weights. Received: {type(error).__name__} for {backbone_weights!r}: {error}",
            advice="Name a local weights file with --backbone-weights, or check that this machine may download "
                   "them.") from error


def _at_serving_size(network: keras.Model, config: TrainingConfig, run_dir: Path) -> keras.Model:
    """Return the network as the registry will load it: fixed size, float32, kernels rounded to half precision."""
    path = run_dir / "weights.npz"
    round_to_half(network)
    save_network(network, path)
    keras.mixed_precision.set_global_policy("float32")
    return load_network(path, config.architecture, config.input_px)


def _scaled_card(
    network: keras.Model, config: TrainingConfig, request: RunRequest, loaded: _Loaded, audit: Audit,
    history: Sequence[Mapping[str, Any]], policy: str, settings: Settings, watcher: Watcher,
) -> ModelCard:
    pictures, labels = loaded.pictures[loaded.held_out], loaded.labels[loaded.held_out]
    total, done = len(pictures) * (1 + SHIFT_COPIES + SLIGHT_COPIES), 0

    def predict(some: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return predict_logits(network, some, config.input_px, progress=count)

    def count(n: int) -> None:
        nonlocal done
        done += n
        watcher.phase("calibrating on held-out patients", done, total)

    clean = predict(pictures)
    shifted = logits_by_copy(predict, pictures, SHIFT, SHIFT_COPIES, config.seed)
    slight = logits_by_copy(predict, pictures, SLIGHT, SLIGHT_COPIES, config.seed + 1)
    calibration = calibrate(labels, clean, shifted)
    point = choose_operating_point(labels, clean, shifted, slight, calibration)
    patients = [s.patient for s, out in zip(loaded.samples, loaded.held_out, strict=True) if out]
    validation = evaluate("validation", labels, probabilities(clean, calibration), point.probability, patients)
    moved = evaluate("validation, shifted", np.tile(labels, SHIFT_COPIES),
                     probabilities(shifted.ravel(), calibration), point.probability, patients * SHIFT_COPIES)
    return ModelCard(
        version=next_version(request.out, settings, datetime.now(UTC).date()), parent=None,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"), weights_file="classifier.npz", sha256="",
        architecture=config.architecture, parameters=int(network.count_params()), intended_use=INTENDED_USE,
        limitations=LIMITATIONS, data=_describe_data(loaded, audit, request),
        preprocessing={"input_px": config.input_px, "detail_px": config.detail_px, "channels": 1,
                       "geometry": "whole radiograph squashed to a square", "range": "0–255, rescaled in the network"},
        training=dataclasses.asdict(config) | {"precision_used": policy,
                                               "backbone_weights": Path(request.backbone_weights).name},
        history=tuple(history), calibration=calibration, operating_point=point,
        evaluations={"validation": validation, "validation_shifted": moved}, libraries=_libraries(),
        notes=request.notes)


def _describe_data(loaded: _Loaded, audit: Audit, request: RunRequest) -> dict[str, Any]:
    def counts(side: bool) -> dict[str, int]:
        chosen = [s for s, out in zip(loaded.samples, loaded.held_out, strict=True) if out == side]
        return {name: sum(s.label == label for s in chosen) for label, name in enumerate(CLASSES)} | {
            "patients": len({s.patient for s in chosen})}

    return {"source": request.source or "a folder of this installation", "digest": digest(loaded.samples),
            "train": counts(False), "validation": counts(True), "unreadable": loaded.unreadable,
            "unknown_patients": sum(not s.patient_known for s in loaded.samples),
            "split": "by patient, read from file names",
            "audit": [issue.message for issue in audit.issues],
            "sees_no_lungs_auroc": audit.sees_no_lungs_auroc if math.isfinite(audit.sees_no_lungs_auroc) else None}


def _further_evaluations(
    classifier: Classifier, folder: DatasetFolder, request: RunRequest, watcher: Watcher
) -> list[tuple[str, Evaluation]]:
    results = []
    if test := labelled_test(folder):
        tick = _counter("evaluating on test", len(test), watcher)
        results.append(("test", evaluate_samples(classifier, test, "test", tick)[0]))
    for name, root in request.extra_evaluations:
        tick = _counter(f"evaluating on {name}", len(scan_folder(root).train), watcher)
        results.append((name, evaluate_folder(classifier, root, name, tick)[0]))
    return results


def _counter(name: str, total: int, watcher: Watcher) -> Callable[[int], None]:
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        watcher.phase(name, done, total)

    return count


def _libraries() -> dict[str, str]:
    names = ("tensorflow", "keras", "numpy", "opencv-python", "pillow")
    return {"python": platform.python_version(), **{name: library_version(name) for name in names}}

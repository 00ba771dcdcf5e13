"""One training run from dataset to classifier version, with all of its state in its directory.

<run>/run.json       the request: dataset, initial weights, folder of the versions
<run>/config.json    the configuration
<run>/audit.json     the audit of the dataset
<run>/split.csv      each file with its part of the split
<run>/history.json   one row per finished epoch
<run>/libraries.json versions of the libraries
<run>/log.txt        a line for each phase and each epoch
<run>/status.json    progress, rewritten during the run
<run>/progress.jsonl while fitting, a row every two seconds
<run>/checkpoint.npz all that the next epoch depends on
<run>/anatomy.npz    of a network that sees films framed by their lungs, the anatomy network that finds them
<run>/version.json   the version that was made
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from core.errors import ClassifierError, DatasetError
from core.files import clear_left_over, make_folder, write_atomically
from core.progress import Progress, Report, counted
from core.settings import Settings
from model.anatomy import AnatomyFinder
from model.anatomy_files import load_anatomy_finder, shipped_anatomy
from model.calibration import probabilities
from model.card import Evaluation, ModelCard
from model.card_sections import left_out_rows
from model.engine import Classifier, wrap_network
from model.framing import pairs_of
from model.networks.graphs import logit_function
from model.networks.layers import sees_lungs
from model.networks.weights import load_network, round_to_half, save_network
from model.population import TrainingPopulation, save_population
from model.registry import ANATOMY, add_version, file_sha256, next_version
from training.data.audit import Audit, audit_folder, audit_to_json, with_split
from training.data.audit_split import SplitAudit, audit_split, side_features
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder, scan
from training.data.loading import LoadedFolder, load_folder
from training.data.manifest import MANIFEST, write_manifest
from training.data.sample import digest
from training.data.styles import style_model_to_values
from training.evaluation.evaluate import evaluate_folder, evaluate_samples, labelled_test
from training.evaluation.groups import memberships, with_validation_groups
from training.evaluation.looks import Recorder, recorder
from training.fitting.config import TrainingConfig
from training.fitting.fit import TrainingData, fit, precision_policy, predict_logits
from training.fitting.head import fit_head
from training.fitting.initial_weights import build_initial_network, initial_weights_name
from training.fitting.model_card import Predict, calibration_pictures, libraries, make_card
from training.fitting.population import Keep, PooledFeatures, learn_population, population_pictures
from training.fitting.trainer import CHECKPOINT, read_checkpoint
from training.runs import processes
from training.runs.event_log import event_log
from training.runs.held_out import keeps_duplicates
from training.runs.jobs import started_by
from training.runs.learned_films import save_films
from training.runs.leave_out import leave_out
from training.runs.left_out_heads import MEASURED, NOT_MEASURED, leave_out_in_turn
from training.runs.progress import forget_points, recorded
from training.runs.request import RunRequest, announce_version, finished_version, read_config, read_request

HISTORY = "history.json"
_LUNGS_BATCH = 64


def execute(
    run_dir: Path, settings: Settings, report: Report, prepared: tuple[Audit, LoadedFolder] | None = None
) -> Path:
    """Train, calibrate, evaluate and add the version; an interrupted run is continued, a finished one is not repeated.

    Parameters
    ----------
    run_dir
        Directory of the run, from `training.runs.request.create_run`.
    settings
        The installation.
    report
        Called with the progress.
    prepared
        Audit and radiographs of the dataset, where several runs share it; None reads the dataset.

    Returns
    -------
    Path
        Folder of the version.

    Raises
    ------
    DatasetError
        If the dataset has changed since the run began, or cannot be used.
    RunError
        If another process works on the run.
    """
    with processes.exclusive(run_dir):
        return finished_version(run_dir) or _execute(run_dir, settings, report, prepared)


def _execute(run_dir: Path, settings: Settings, report: Report, prepared: tuple[Audit, LoadedFolder] | None) -> Path:
    request = read_request(run_dir)
    config = read_config(run_dir)
    report = recorded(report, run_dir)
    _restore_files(run_dir)
    write_atomically(run_dir / "libraries.json", json.dumps(libraries(), indent=1))
    keras.utils.set_random_seed(config.seed)
    policy = precision_policy(config.precision)
    keras.mixed_precision.set_global_policy(policy)
    report(Progress("building the network"))
    # Before the radiographs are read, which takes minutes: a function or weights that do not fit are said at once.
    network = _network_to_train(run_dir, request, config)
    find_anatomy = _anatomy_of_run(run_dir, settings) if sees_lungs(network) else None
    audit, loaded = prepared or (
        audited(request.data, report),
        load(request.data, config, report, keeps_duplicates=keeps_duplicates(run_dir)),
    )
    if request.leave_out:
        loaded, sentence = leave_out(loaded, audit, request.leave_out)
        request = dataclasses.replace(request, notes=(*request.notes, sentence))
    audit = with_split(audit, split_audit(audit, loaded))
    write_atomically(run_dir / "audit.json", audit_to_json(audit))
    refuse_blocking(audit)
    _remember_digest(run_dir, digest(loaded.samples))
    write_manifest(run_dir / MANIFEST, loaded.samples, loaded.held_out, loaded.folder, loaded.groups)

    looks = looks_of(audit, loaded)
    fitted = fit_head if config.cached_copies else fit
    with event_log(request.tensorboard, run_dir.name, config, report) as logged:
        history = fitted(network, config, training_data(loaded, find_anatomy, report, looks), run_dir, logged)
    network = _at_serving_size(network, config, run_dir)
    tick = counted(report, "calibrating on held-out patients", calibration_pictures(config, int(loaded.held_out.sum())))
    forward = logit_function(network)
    card = make_card(
        lambda pictures: predict_logits(
            forward, pictures, config.input_px, tick=tick, mirror=config.mirror, find_anatomy=find_anatomy
        ),
        next_version(request.out, settings, datetime.now(UTC).date()),
        config,
        loaded,
        audit,
        history,
        parameters=int(network.count_params()),
        precision=policy,
        stated={**({"source": request.source} if request.source else {}), **request.stated},
        notes=request.notes,
        backbone_weights=initial_weights_name(request.backbone_weights),
        find_anatomy=find_anatomy,
    )
    card = _by_group(
        card,
        audit,
        loaded,
        lambda pictures: predict_logits(
            forward, pictures, config.input_px, mirror=config.mirror, find_anatomy=find_anatomy
        ),
    )
    pooled: list[PooledFeatures] = []
    population = _population(network, config, loaded, report, pooled.append, find_anatomy)
    card = _left_out(card, audit, loaded, pooled, report)
    classifier = wrap_network(network, card, population, find_anatomy)
    looked = recorder(settings, "train", started_by(run_dir))
    evaluations = _further_evaluations(classifier, loaded.folder, request, report, looked)
    card = dataclasses.replace(card, evaluations={**card.evaluations, **evaluations})
    make_folder(request.out)
    report(Progress("adding the version"))
    announce_version(run_dir, request.out / card.version, card.created_at)
    folder = add_version(
        request.out,
        card,
        lambda path: save_network(network, path),
        None if population is None else lambda path: save_population(population, path),
        None if find_anatomy is None else run_dir / ANATOMY,
    )
    save_films(folder, loaded.samples, loaded.held_out, loaded.fingerprints)
    return folder


def split_audit(audit: Audit, loaded: LoadedFolder) -> SplitAudit:
    """Audit the drawn split of a dataset.

    Parameters
    ----------
    audit
        The folder's audit, whose groups are found apart from those of the split.
    loaded
        The dataset with its split.
    """
    return audit_split(
        loaded.samples,
        loaded.held_out,
        loaded.groups,
        [loaded.folder.name_of(sample) for sample in loaded.samples],
        [group.files for group in (*audit.exact_duplicate_groups, *audit.near_duplicate_groups)],
        side_features(loaded.samples, loaded.pictures),
    )


def looks_of(audit: Audit, loaded: LoadedFolder) -> npt.NDArray[np.int_]:
    """Return the acquisition style of each radiograph as a number.

    Parameters
    ----------
    audit
        Of the dataset, with its styles.
    loaded
        The dataset.

    Returns
    -------
    npt.NDArray[np.int_]
        (n,); 0 for those without a style.
    """
    names = [audit.style_of.get(loaded.folder.name_of(sample), "") for sample in loaded.samples]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int_)


def training_data(
    loaded: LoadedFolder,
    find_anatomy: AnatomyFinder | None = None,
    report: Report | None = None,
    looks: npt.NDArray[np.int_] | None = None,
) -> TrainingData:
    """Return both parts of the split in the form that `training.fitting.fit` takes.

    Parameters
    ----------
    loaded
        The dataset with its split.
    find_anatomy
        Finds the lungs, for a network that sees films framed by them.
    report
        Called with the progress of finding them.
    looks
        As `looks_of` returns them; None where they are not needed.
    """
    out, labels = loaded.held_out, loaded.labels
    pictures = loaded.pictures
    if find_anatomy is not None:
        tick = counted(report, "finding the lungs", len(pictures)) if report is not None else None
        pictures = np.empty((*loaded.pictures.shape, 3), np.uint8)
        for start in range(0, len(pictures), _LUNGS_BATCH):
            part = slice(start, start + _LUNGS_BATCH)
            pictures[part] = pairs_of(loaded.pictures[part], find_anatomy)
            if tick is not None:
                tick(len(pictures[part]))
    return TrainingData(
        pictures[~out],
        labels[~out],
        pictures[out],
        labels[out],
        loaded.virus[~out],
        loaded.sources[~out],
        loaded.virus[out],
        tuple(loaded.groups_of_side(True)),
        np.zeros(0, np.int_) if looks is None else looks[~out],
    )


def audited(data: Path | DataRequest, report: Report) -> Audit:
    """Audit the dataset `data`; `report` is called with the progress."""
    folder = scan(data)
    total = len(folder.train) + len(folder.val) + len(folder.test)
    tick = counted(report, "auditing the folder", total)
    return audit_folder(folder, tick)


def refuse_blocking(audit: Audit) -> None:
    """Raise DatasetError if an audit has blocking findings."""
    if blocking := [issue for issue in audit.issues if issue.blocking]:
        raise DatasetError(
            f"expected a folder without blocking findings. Received: {', '.join(issue.code for issue in blocking)}",
            advice=" ".join(issue.message for issue in blocking),
        )


def load(
    data: Path | DataRequest, config: TrainingConfig, report: Report, keeps_duplicates: bool = True
) -> LoadedFolder:
    """Read the dataset and hold patients out.

    Parameters
    ----------
    data
        The dataset.
    config
        Side of the pictures, share and seed of the split, filling of borders.
    report
        Called with the progress.
    keeps_duplicates
        As in `load_folder`.
    """
    folder = scan(data)
    tick = counted(report, "reading radiographs", len(folder.train) + len(folder.val))
    return load_folder(
        data, config.detail_px, config.validation_fraction, config.seed, tick, config.fills_border, keeps_duplicates
    )


def _restore_files(run_dir: Path) -> None:
    """Restore the files of the directory to the checkpoint, and delete partial files of a killed process.

    They can be one epoch behind: the checkpoint is written first.
    """
    clear_left_over(run_dir)
    history: list[dict[str, Any]] = []
    if (run_dir / CHECKPOINT).exists():
        history = read_checkpoint(run_dir / CHECKPOINT)[0]["history"]
        write_atomically(run_dir / HISTORY, json.dumps(history, indent=1))
    forget_points(run_dir, len(history))


def _remember_digest(run_dir: Path, data_digest: str) -> None:
    path = run_dir / "data.sha256"
    if path.exists() and path.read_text() != data_digest:
        raise DatasetError(
            "expected the radiographs with which the run began. Received: a changed dataset",
            advice="Restore the folder, or start a new run.",
        )
    write_atomically(path, data_digest)


def _network_to_train(run_dir: Path, request: RunRequest, config: TrainingConfig) -> keras.Model:
    """Build the network; the initial weights are only read where no checkpoint holds all weights."""
    has_all = (run_dir / CHECKPOINT).exists() and not config.cached_copies
    network = build_initial_network("random" if has_all else request.backbone_weights, config)
    present = {layer.name for layer in network.layers}
    for stage in config.stages:
        if stage.train_after and stage.train_after not in present:
            raise ClassifierError(
                f"expected the name of a layer of {config.architecture} to train after. Received: {stage.train_after}",
                advice="Name one of its layers with --train-after, or leave the option out.",
            )
    return network


def _anatomy_of_run(run_dir: Path, settings: Settings) -> AnatomyFinder:
    """Load the anatomy network with which the run began: an update of the software may ship another one meanwhile."""
    kept = run_dir / ANATOMY
    if kept.exists():
        return load_anatomy_finder(kept, file_sha256(kept))
    path, sha256 = shipped_anatomy(settings)
    found = load_anatomy_finder(path, sha256)
    write_atomically(kept, path.read_bytes())
    return found


def _at_serving_size(network: keras.Model, config: TrainingConfig, run_dir: Path) -> keras.Model:
    """Return the network as the registry loads it: fixed size, float32, kernels rounded to half precision."""
    path = run_dir / "weights.npz"
    round_to_half(network)
    save_network(network, path)
    keras.mixed_precision.set_global_policy("float32")
    return load_network(path, config.architecture, config.input_px, trusted=(config.architecture,))


def _by_group(card: ModelCard, audit: Audit, loaded: LoadedFolder, predict: Predict) -> ModelCard:
    """Return the card with the styles of the data, and with the results on held-out patients by group."""
    held = loaded.side(True)
    styles = [audit.style_of.get(loaded.folder.name_of(sample), "") for sample in held]
    p = probabilities(predict(loaded.pictures[loaded.held_out]), card.calibration)
    return dataclasses.replace(
        with_validation_groups(card, held, styles, p, together=loaded.groups_of_side(True)),
        styles={} if audit.style_model is None else style_model_to_values(audit.style_model),
    )


def _population(
    network: keras.Model,
    config: TrainingConfig,
    loaded: LoadedFolder,
    report: Report,
    keep: Keep,
    find_anatomy: AnatomyFinder | None,
) -> TrainingPopulation | None:
    """Fit the population for the gate; None where there are too few radiographs, or it is not requested."""
    total = population_pictures(int((~loaded.held_out).sum()), int(loaded.held_out.sum()))
    if not (total and config.learns_population):
        return None
    return learn_population(
        network,
        config.architecture,
        config.input_px,
        loaded,
        config.seed,
        counted(report, "fitting the training population", total),
        config.fills_border,
        keep,
        find_anatomy,
    )


def _left_out(
    card: ModelCard, audit: Audit, loaded: LoadedFolder, pooled: list[PooledFeatures], report: Report
) -> ModelCard:
    """Return the card with the results of leaving styles, sources and units out in turn."""
    report(Progress("leaving styles, sources and units out in turn"))
    styles = [audit.style_of.get(loaded.folder.name_of(sample), "") for sample in loaded.samples]
    groups = memberships(loaded.samples, styles)
    found = leave_out_in_turn(pooled[0], loaded.samples, loaded.held_out, groups) if pooled else ()
    for name, words in left_out_rows(found):
        report(Progress(f"without {name}: {words}"))
    return dataclasses.replace(card, left_out=found, left_out_note=MEASURED if found else NOT_MEASURED)


def _further_evaluations(
    classifier: Classifier, folder: DatasetFolder, request: RunRequest, report: Report, looked: Recorder
) -> dict[str, Evaluation]:
    results = {}
    if test := labelled_test(folder):
        tick = counted(report, "evaluating on test", len(test))
        results["test"] = evaluate_samples(classifier, test, "test", tick, looked)[0]
    for name, root in request.extra_evaluations:
        tick = counted(report, f"evaluating on {name}", len(scan(data := request.data.with_sources(root)).train))
        results[name] = evaluate_folder(classifier, data, name, tick, looked)[0]
    return results

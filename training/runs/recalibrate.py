"""Recalibration: a version with the weights of another one, and calibration and operating points chosen anew.

They are chosen on the held-out patients of the first training. Recalibration takes minutes where training takes hours.
The result is a version of its own, since a probability of one version is not comparable with that of another.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ClassifierError, DatasetError
from core.files import make_folder
from core.progress import Report, counted, ignore
from core.settings import Settings
from model.anatomy import AnatomyFinder
from model.anatomy_files import load_anatomy_finder
from model.calibration import probabilities
from model.card import Evaluation, ModelCard
from model.engine import Classifier, wrap_network
from model.population import TrainingPopulation, save_population
from model.registry import ANATOMY, add_version, next_version, verify, version_folder
from records.activity import command_line_user
from training.data.audit import audit_folder
from training.data.data_request import AS_BEFORE, DataRequest
from training.data.dataset import scan
from training.data.loading import LoadedFolder, load_folder
from training.data.patients import BEFORE_0_2
from training.data.sample import CLASSES, digest
from training.data.split import DUPLICATES_TOGETHER, HELD_OUT_DIGEST, PATIENT_RULES
from training.data.style_features import StyleFeatures
from training.data.styles import style_model_to_values
from training.evaluation.evaluate import evaluate_folder, evaluate_samples, labelled_test, score_samples
from training.evaluation.groups import styles_of, with_validation_groups
from training.evaluation.looks import Recorder, recorder
from training.fitting.config import TrainingConfig, config_from
from training.fitting.model_card import calibrate_held_out, calibration_pictures
from training.fitting.population import learn_population, population_pictures
from training.runs.learned_films import save_films

_BATCH = 16


def recalibrate(
    settings: Settings,
    version: str,
    data: Path | DataRequest,
    out: Path,
    *,
    extra: Sequence[tuple[str, Path]] = (),
    notes: tuple[str, ...] = (),
    fills_border: bool | None = None,
    report: Report = ignore,
) -> Path:
    """Add a version with the weights of another one and new calibration, and return its folder.

    Parameters
    ----------
    settings
        The installation with `version`.
    version
        Name of the version whose weights are kept.
    data
        The dataset that it was trained on; its test split is evaluated again.
    out
        Folder of the versions.
    extra
        Further test sets to evaluate on, (name, folder).
    notes
        Added to the card's notes.
    fills_border
        Whether black margins are filled by continuing the border, as in `TrainingConfig`; None as before.
    report
        Called with the progress.

    Returns
    -------
    Path
        Folder of the new version.

    Raises
    ------
    ClassifierError
        If the version cannot be used.
    DatasetError
        If `data` is not the training data of the version, or its split differs: the held-out patients are unknown.
    """
    folder = version_folder(settings, version)
    card = verify(folder)
    for _, other in extra:
        scan(DataRequest.of(data).with_sources(other))
    config = configuration(card)
    if fills_border is not None:
        config = dataclasses.replace(config, fills_border=fills_border)
    request = DataRequest.of(data)
    if BEFORE_0_2 in card.data.get(PATIENT_RULES, (BEFORE_0_2,)):
        request = dataclasses.replace(request, patient_rule=AS_BEFORE, patient_pattern="")
    loaded = _load(request, config, report, bool(card.data.get(DUPLICATES_TOGETHER)))
    _check_same(card, loaded)
    from model.networks.weights import load_network  # takes seconds and hundreds of MB: only after the checks

    network = load_network(folder / card.weights_file, card.architecture, config.input_px, settings.architectures)
    # The same network under the new card, so that every figure on it is that of the new version.
    shown = dataclasses.replace(card, preprocessing={**card.preprocessing, "fills_border": config.fills_border})
    find_anatomy = load_anatomy_finder(folder / ANATOMY, card.anatomy_sha256) if card.anatomy_sha256 else None
    population = _population(network, config, loaded, report, find_anatomy)
    classifier = wrap_network(network, shown, population, find_anatomy)
    total = calibration_pictures(config, int(loaded.held_out.sum()))
    scale = calibrate_held_out(_scorer(classifier, total, report), loaded, config, find_anatomy)
    created = datetime.now(UTC)
    renewed = dataclasses.replace(
        shown,
        version=next_version(out, settings, created.date()),
        parent=version,
        sha256="",
        created_at=created.isoformat(timespec="seconds"),
        calibration=scale.calibration,
        operating_point=scale.operating_point,
        purposes=scale.purposes,
        conformal=scale.conformal,
        cross_fit=scale.cross_fit,
        evaluations=scale.evaluations,
        robustness=(),
        notes=(
            *card.notes,
            f"The weights are those of {version}; calibration and operating points were chosen anew.",
            *notes,
        ),
    )
    rescaled = dataclasses.replace(classifier, card=renewed)
    renewed = _with_groups(rescaled, loaded, report)
    if renewed.preprocessing["fills_border"] != bool(card.preprocessing.get("fills_border", False)):
        renewed = dataclasses.replace(renewed, left_out=(), left_out_note="")  # measured on other pictures
    rescaled = dataclasses.replace(classifier, card=renewed)
    looked = recorder(settings, "recalibrate", command_line_user())
    evaluations = _evaluations(rescaled, loaded, extra, report, looked)
    renewed = dataclasses.replace(renewed, evaluations={**renewed.evaluations, **evaluations})
    make_folder(out)
    made = add_version(
        out,
        renewed,
        lambda path: shutil.copyfile(folder / card.weights_file, path),
        None if population is None else lambda path: save_population(population, path),
        folder / ANATOMY if card.anatomy_sha256 else None,
    )
    save_films(made, loaded.samples, loaded.held_out, loaded.fingerprints)
    return made


def configuration(card: ModelCard) -> TrainingConfig:
    """Return the configuration that a version was trained with.

    Raises
    ------
    ClassifierError
        If the card lacks it.
    """
    known = {field.name for field in fields(TrainingConfig)}
    try:
        config = config_from({name: value for name, value in card.training.items() if name in known})
    except (ValueError, TypeError) as error:
        raise ClassifierError(
            f"expected the configuration of a training on the card of {card.version}. Received: {error}",
            advice="Train a new version instead.",
        ) from error
    # A recalibrated version may fill borders otherwise than its training did.
    return dataclasses.replace(config, fills_border=bool(card.preprocessing.get("fills_border", False)))


def _population(
    network: Any,
    config: TrainingConfig,
    loaded: LoadedFolder,
    report: Report,
    find_anatomy: AnatomyFinder | None,
) -> TrainingPopulation | None:
    """Fit the population for the gate; None where there are too few radiographs."""
    total = population_pictures(int((~loaded.held_out).sum()), int(loaded.held_out.sum()))
    if not total:
        return None
    tick = counted(report, "fitting the training population", total)
    return learn_population(
        network,
        config.architecture,
        config.input_px,
        loaded,
        config.seed,
        tick,
        config.fills_border,
        find_anatomy=find_anatomy,
    )


def _load(data: DataRequest, config: TrainingConfig, report: Report, keeps_duplicates: bool) -> LoadedFolder:
    folder = scan(data)
    tick = counted(report, "reading radiographs", len(folder.train) + len(folder.val))
    return load_folder(
        data, config.detail_px, config.validation_fraction, config.seed, tick, config.fills_border, keeps_duplicates
    )


def _check_same(card: ModelCard, loaded: LoadedFolder) -> None:
    """Refuse radiographs other than those of the training, among which its own could not be identified."""
    held = loaded.side(True)
    counts = {name: sum(sample.label == label for sample in held) for label, name in enumerate(CLASSES)}
    known = {name: card.data.get("validation", {}).get(name) for name in CLASSES}
    if card.data.get("digest") != digest(loaded.samples) or counts != known:
        raise DatasetError(
            f"expected the radiographs that {card.version} was trained with. Received: other radiographs",
            advice="Name the folder that the version was trained with, unchanged. For a hospital's own radiographs, "
            "name the version without --classifier: python -m training recalibrate VERSION --data DIR",
        )
    if HELD_OUT_DIGEST in card.data and card.data[HELD_OUT_DIGEST] != digest(held):
        raise DatasetError(
            f"expected the patients that {card.version} was trained with. Received: patients found in another way",
            advice="Give the same sources and the same patient pattern, on the installation whose key hashed the IDs.",
        )


def _scorer(classifier: Classifier, total: int, report: Report) -> Callable[[Any], Any]:
    tick = counted(report, "calibrating on held-out patients", total)

    def predict(pictures: Any) -> Any:
        logits = []
        for start in range(0, len(pictures), _BATCH):
            chunk = classifier.inputs_of(pictures[start : start + _BATCH])
            logits.append(classifier.run(chunk))
            tick(len(chunk))
        return np.concatenate(logits)

    return predict


def _with_groups(classifier: Classifier, loaded: LoadedFolder, report: Report) -> ModelCard:
    """Return the classifier's card with the styles of the data and the results on held-out patients by group."""
    card, held = classifier.card, loaded.side(True)
    if not card.styles:
        folder = loaded.folder
        total = len(folder.train) + len(folder.val) + len(folder.test)
        model = audit_folder(folder, counted(report, "finding acquisition styles", total)).style_model
        card = dataclasses.replace(card, styles={} if model is None else style_model_to_values(model))
    features: list[StyleFeatures] = []
    tick = counted(report, "evaluating held-out patients by group", len(held))
    used, logits, _ = score_samples(classifier, held, tick, features=features if card.styles else None)
    return with_validation_groups(card, used, styles_of(card, features), probabilities(logits, card.calibration))


def _evaluations(
    classifier: Classifier, loaded: LoadedFolder, extra: Sequence[tuple[str, Path]], report: Report, looked: Recorder
) -> dict[str, Evaluation]:
    results = {}
    if test := labelled_test(loaded.folder):
        tick = counted(report, "evaluating on test", len(test))
        results["test"] = evaluate_samples(classifier, test, "test", tick, looked)[0]
    for name, root in extra:
        tick = counted(
            report, f"evaluating on {name}", len(scan(data := loaded.folder.request.with_sources(root)).train)
        )
        results[name] = evaluate_folder(classifier, data, name, tick, looked)[0]
    return results

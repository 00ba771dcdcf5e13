"""A training of the anatomy network: from a folder of films with drawn lungs to `anatomy.npz` with its record.

<out>/config.json     the configuration
<out>/checkpoint.npz  all that the next epoch depends on
<out>/anatomy.npz     the network, kernels in half precision
<out>/anatomy.json    what it learned from, figures on held-out patients, SHA-256, configuration, library versions
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RunError
from core.files import make_folder, write_atomically
from core.json_text import json_with_names, parse_json
from core.progress import Report, counted
from model.anatomy_files import RECORD, anatomy_finder
from model.networks.anatomy import build_anatomy
from model.networks.architectures import ANATOMY_PX
from model.networks.weights import round_to_half, save_network
from model.registry import ANATOMY, file_sha256
from training.data.lung_masks import LungFilms, read_lung_films
from training.data.sample import CLASSES, Sample
from training.data.split import split_by_patient
from training.evaluation.lung_outlines import Outlines, measure_outlines, outlines_to_values
from training.fitting.anatomy import fit_anatomy
from training.fitting.anatomy_config import AnatomyConfig, config_from_values
from training.fitting.model_card import libraries
from training.fitting.synthetic_outliers import draw_synthetic_outliers

CONFIG, CHECKPOINT = "config.json", "checkpoint.npz"
# How many pictures of other things are drawn for one of an epoch.
_DRAWN = 2
# Digits of a digest by which a held-out file is recognised.
_DIGITS = 16
# Films that the figure after each epoch rests on.
_WATCHED = 300


@dataclass(frozen=True, slots=True)
class AnatomySource:
    """Where films and drawn lungs come from.

    Attributes
    ----------
    data, masks
        Folders, as `training.data.lung_masks.read_lung_films` takes them.
    stated
        What the administrator says of them, by name: source, licence, attribution.
    """

    data: Path
    masks: Path
    stated: Mapping[str, str]


def train_anatomy(source: AnatomySource, config: AnatomyConfig, out: Path, report: Report) -> tuple[Path, Outlines]:
    """Train the anatomy network and write it with its record; a folder with a checkpoint is continued.

    Parameters
    ----------
    source
        Films and drawn lungs.
    config
        The configuration; that of a folder which is continued must be the same.
    out
        Folder of the results.
    report
        Called with the progress.

    Returns
    -------
    path : Path
        The network.
    figures : Outlines
        On held-out patients.

    Raises
    ------
    DatasetError
        If there are no films with drawn lungs, or no patients that can be held out.
    RunError
        If `out` belongs to another training.
    """
    make_folder(out)
    _keep_config(out, config)
    films = read_lung_films(source.data, source.masks, counted(report, "reading films and masks", 0))
    held_out = hold_out_patients(films, config)
    learned, kept = films.at(np.flatnonzero(~held_out)), films.at(np.flatnonzero(held_out))
    keras.utils.set_random_seed(config.seed)
    network = build_anatomy()
    others = draw_synthetic_outliers(_DRAWN * config.others_per_epoch, learned.films, config.seed)
    watched = kept.at(np.unique(np.linspace(0, len(kept.films) - 1, min(_WATCHED, len(kept.films))).astype(int)))

    find = anatomy_finder(network)

    def watch(row: dict[str, Any]) -> None:
        row["held_out_dice"] = measure_outlines(find, watched).groups["all"].dice.value

    history = fit_anatomy(network, learned, others, config, out / CHECKPOINT, report, watch)
    round_to_half(network)
    figures = measure_outlines(find, kept, counted(report, "measuring on held-out patients", len(kept.films)))
    path = out / ANATOMY
    save_network(network, path)
    write_record(path, source, config, films, held_out, figures, history, int(network.count_params()))
    return path, figures


def hold_out_patients(films: LungFilms, config: AnatomyConfig) -> npt.NDArray[np.bool_]:
    """Return which films are held out: those of a share of the patients of each class.

    Parameters
    ----------
    films
        All films.
    config
        Share and seed.

    Returns
    -------
    ndarray
        (n,), bool.

    Raises
    ------
    DatasetError
        If there are too few patients.
    """
    samples = [
        Sample(Path(name), int(label == CLASSES[1]), patient, films.patients_known, sha256=sha256)
        for name, label, patient, sha256 in zip(films.names, films.classes, films.patients, films.sha256, strict=True)
    ]
    held_out = split_by_patient(samples, config.held_out, config.seed)
    if held_out.all() or not held_out.any():
        raise DatasetError(
            f"expected films of several patients. Received: {len(set(films.patients))}",
            advice="Add films of other patients, so that some can be held out.",
        )
    return np.asarray(held_out, np.bool_)


def write_record(
    path: Path,
    source: AnatomySource,
    config: AnatomyConfig,
    films: LungFilms,
    held_out: npt.NDArray[np.bool_],
    figures: Outlines,
    history: list[dict[str, Any]],
    parameters: int,
) -> None:
    """Write what is known of an anatomy network beside it.

    Parameters
    ----------
    path
        The network's file.
    source
        Films and drawn lungs.
    config
        The configuration.
    films, held_out
        All films, and which of them were held out, bool (n,).
    figures
        On held-out patients.
    history
        A row per epoch.
    parameters
        Number of the network's weights.
    """
    values = {
        "sha256": file_sha256(path),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "input_px": ANATOMY_PX,
        "parameters": parameters,
        "size_bytes": path.stat().st_size,
        "data": {
            "films": int((~held_out).sum()),
            "patients": len({films.patients[i] for i in np.flatnonzero(~held_out)}),
            "held_out_films": int(held_out.sum()),
            "held_out_patients": len({films.patients[i] for i in np.flatnonzero(held_out)}),
            "patients_known": films.patients_known,
            "left_out": dict(films.left_out),
            "digest": _digest([films.sha256[i] for i in np.flatnonzero(~held_out)]),
            **source.stated,
        },
        "held_out": outlines_to_values(figures),
        "training": config.to_values(),
        "history": history,
        "libraries": libraries(),
        "held_out_sha256": sorted(films.sha256[i][:_DIGITS] for i in np.flatnonzero(held_out)),
    }
    write_atomically(path.with_suffix(".json"), json_with_names(values) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Read the record beside the network in `path`.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    record = path.with_suffix(".json")
    try:
        values = parse_json(record.read_text(encoding="utf-8"))
        return {**values, "sha256": str(values["sha256"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"expected the record of an anatomy network in {record.name}. Received: {type(error).__name__}",
            advice=f"Name the {ANATOMY} of a training; {RECORD} stands beside it.",
        ) from error


def only_held_out(films: LungFilms, record: Mapping[str, Any]) -> LungFilms:
    """Return the films of patients from whom a network did not learn.

    Parameters
    ----------
    films
        Any films.
    record
        Of the network, from `read_record`.

    Raises
    ------
    DatasetError
        If none of them was held out.
    """
    held = set(record.get("held_out_sha256", ()))
    kept = [i for i, sha256 in enumerate(films.sha256) if sha256[:_DIGITS] in held]
    if not kept:
        raise DatasetError(
            "expected films of patients who were held out. Received: none",
            advice="Name the folder of films that the anatomy network was trained with.",
        )
    return films.at(kept)


def _keep_config(out: Path, config: AnatomyConfig) -> None:
    """Write the configuration, or refuse a folder that has another."""
    path = out / CONFIG
    if not path.exists():
        write_atomically(path, json.dumps(config.to_values(), indent=1))
        return
    try:
        before = config_from_values(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        before = None
    if before != config:
        raise RunError(
            f"expected the configuration in {CONFIG}. Received: another one",
            advice="Name a new folder for --out, or repeat the options with which the training began.",
        )


def _digest(sha256: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(sha256)).encode()).hexdigest()

"""Request of a run and the version it made: the part of a run's directory that is read without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import DatasetError, RunError
from core.files import PRIVATE_FOLDER, make_folder, write_atomically
from core.json_text import parse_json
from training.data.audit_split import LEAST_PATIENTS, ONE_HELD_OUT_PATIENT, few_to_hold_out
from training.data.data_request import AS_BEFORE, DataRequest, request_from_values, request_to_values
from training.data.dataset import scan
from training.data.description import checked
from training.fitting.config import TrainingConfig
from training.fitting.initial_weights import check_initial_weights

REQUEST, CONFIG, VERSION = "run.json", "config.json", "version.json"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Request of a training run; the results of `extra_evaluations` (name, folder) and the notes go on the card.

    `tensorboard` is the folder for logs that TensorBoard shows, None for none; `stated` is what the administrator says
    of the data (`training.data.description`); `leave_out` is a group that training does not see
    (`training.runs.leave_out`), "" for none. Early runs lack all three.
    """

    data: DataRequest
    out: Path
    backbone_weights: str
    source: str = ""
    promote: bool = False
    extra_evaluations: tuple[tuple[str, Path], ...] = ()
    notes: tuple[str, ...] = ()
    tensorboard: Path | None = None
    stated: Mapping[str, str] = field(default_factory=dict)
    leave_out: str = ""


def create_run(run_dir: Path, config: TrainingConfig, request: RunRequest) -> None:
    """Make the directory of a run and write its configuration and request.

    Parameters
    ----------
    run_dir
        A directory that does not exist.
    config, request
        The configuration and the request.

    Raises
    ------
    DatasetError
        If a folder of the request is no dataset, or validation would hold one patient of a class.
    ClassifierError
        If the initial weights cannot be used.
    RunError
        If the directory exists, or the folder for TensorBoard's logs cannot be made.
    """
    found = scan(request.data)
    check_initial_weights(request.backbone_weights, config)
    few = few_to_hold_out(found.train, found.val, config.validation_fraction, seed=config.seed)
    if few is not None and few[0] == ONE_HELD_OUT_PATIENT:
        raise DatasetError(
            f"expected at least {LEAST_PATIENTS} patients of each class in validation. Received: fewer", advice=few[2]
        )
    for _, folder in request.extra_evaluations:
        scan(request.data.with_sources(folder))
    if request.tensorboard is not None:
        _make_folder_of_logs(request.tensorboard)
    make_folder(run_dir.parent)
    try:
        run_dir.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError as error:
        raise RunError(
            f"expected a directory that does not exist yet. Received: {run_dir}",
            advice="Continue that run with --resume, or name another directory.",
        ) from error
    write_atomically(run_dir / CONFIG, config.to_json())
    asked = _values(request) | {"created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_atomically(run_dir / REQUEST, json.dumps(asked, indent=1, default=str))


def _make_folder_of_logs(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise RunError(
            f"expected a folder for the logs of TensorBoard. Received: {folder} ({error.strerror})",
            advice="Name a folder that can be written with --tensorboard DIR.",
        ) from error


def read_config(run_dir: Path) -> TrainingConfig:
    """Read the configuration of the run in the directory `run_dir`.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    try:
        return TrainingConfig.from_json((run_dir / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"expected the configuration of a training run. Received: {type(error).__name__} for {run_dir / CONFIG}",
            advice="The run's records are incomplete; start a new run.",
        ) from error


def read_request(run_dir: Path) -> RunRequest:
    """Read the request of a run.

    Raises
    ------
    DatasetError
        If the directory is not that of a run.
    """
    try:
        return request_from(parse_json((run_dir / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, DatasetError) as error:
        raise DatasetError(
            f"expected the directory of a training run. Received: {run_dir} ({error})",
            advice="List the runs with: python -m training runs",
        ) from error


def request_from(values: Any) -> RunRequest:
    """Return the request with the values of a run.json.

    Raises
    ------
    DatasetError
        If a value is missing or invalid.
    """
    try:
        return RunRequest(
            _data_of(values),
            Path(values["out"]),
            str(values["backbone_weights"]),
            str(values["source"]),
            values["promote"],
            tuple((name, Path(folder)) for name, folder in values["extra_evaluations"]),
            tuple(values["notes"]),
            Path(values["tensorboard"]) if values.get("tensorboard") else None,
            checked(values.get("stated") or {}),
            str(values.get("leave_out") or ""),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"expected the values of a training run. Received: {error}", advice="Start a new run."
        ) from error


def _values(request: RunRequest) -> dict[str, Any]:
    """Return the values of run.json; earlier versions read `data` as the one folder that they know."""
    sources = [str(path) for path in request.data.sources]
    return {one.name: getattr(request, one.name) for one in dataclasses.fields(request)} | {
        "data": sources[0] if len(sources) == 1 else sources,
        "data_request": request_to_values(request.data),
    }


def _data_of(values: Mapping[str, Any]) -> DataRequest:
    if "data_request" in values:
        return request_from_values(values["data_request"])
    return DataRequest((Path(values["data"]),), patient_rule=AS_BEFORE)


def announce_version(run_dir: Path, folder: Path, created_at: str) -> None:
    """Record the version that a run is about to add, so that a killed run never adds it twice.

    Parameters
    ----------
    run_dir
        Directory of the run.
    folder
        The version's folder to be.
    created_at
        ISO 8601; the version counts as made once a card with this time is in `folder`.
    """
    write_atomically(
        run_dir / VERSION, json.dumps({"version": folder.name, "folder": str(folder), "created_at": created_at})
    )


def finished_version(run_dir: Path) -> Path | None:
    """Return the folder of the version that a run has made, None where it has made none or the folder is gone."""
    try:
        made = parse_json((run_dir / VERSION).read_text())
        folder = Path(made["folder"])
        # Another run may since have taken the name that this one had announced.
        card = parse_json((folder / "card.json").read_text()) if made.get("created_at") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if card is not None and not isinstance(card, dict):
        return None
    if card is None:
        return folder if (folder / "card.json").is_file() else None
    return folder if card.get("created_at") == made["created_at"] else None

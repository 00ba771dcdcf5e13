"""Recalibration on a hospital's own radiographs as a background task: requested on a page, the same after a reload.

    <data>/recalibration/request.json  the version, the data, who asked and when
                         result.json   the new version, once it is complete

and the files of `training.runs.background`. One runs at a time. `training.runs.site_recalibration` does the work; this
module does not import TensorFlow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import DatasetError, RunError
from core.files import write_atomically
from core.progress import Progress, Report
from core.settings import Settings
from model.registry import verify, version_folder
from training.data.data_request import DataRequest, request_from_values, request_to_values
from training.data.dataset import scan
from training.data.sample import CLASSES, Sample
from training.runs import processes
from training.runs.background import BackgroundTask, Launch, State
from training.runs.processes import Failure

REQUEST, RESULT = "request.json", "result.json"
# Patients of each class. Below 20 the intercept is known to about ±1 only, and the threshold is chance.
MIN_PATIENTS = 20
_BETWEEN_STATUS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Recalibration:
    """State of the last recalibration that was asked for.

    Attributes
    ----------
    state
        "none" where there has been none.
    version, data
        What is recalibrated, on which radiographs; "" and None where that is unknown.
    asked_by, asked_at
        By whom, and when, UTC.
    phase, done, total, seconds_left
        Progress while it runs.
    made
        The new version once it is done, else "".
    failure
        Why it failed.
    log
        The last lines of its log.
    """

    state: State
    version: str = ""
    data: DataRequest | None = None
    asked_by: str = ""
    asked_at: str = ""
    phase: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    made: str = ""
    failure: Failure | None = None
    log: tuple[str, ...] = ()


def start_recalibration(
    settings: Settings, version: str, data: DataRequest, who: str, launch: Launch | None = None
) -> None:
    """Recalibrate a version in the background; what an earlier recalibration left but its version is deleted.

    Parameters
    ----------
    settings
        The installation with `version`.
    version
        The version whose weights are kept.
    data
        The hospital's labelled radiographs.
    who
        Name of the administrator.
    launch
        As in `BackgroundTask.start`.

    Raises
    ------
    ClassifierError
        If the version cannot be used.
    DatasetError
        If the data cannot be used, or have too few patients.
    RunError
        If a recalibration is running.
    """
    verify(version_folder(settings, version))
    found = scan(data)
    refuse_few((*found.train, *found.val, *found.test))
    folder = folder_of(settings)
    request = {
        "version": version,
        "data_request": request_to_values(data.resolved()),
        "asked_by": who,
        "asked_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if not _task(folder).start(lambda: write_atomically(folder / REQUEST, json.dumps(request)), launch=launch):
        raise RunError(
            "expected no other recalibration. Received: one that is running",
            advice="Wait until the recalibration has finished, or cancel it.",
        )


def read_recalibration(settings: Settings) -> Recalibration:
    """Return the state of the last recalibration of an installation."""
    folder = folder_of(settings)
    task, request = _task(folder), processes.read_json(folder / REQUEST)
    if not request:
        return Recalibration("none")
    now, state = task.status(), task.state()
    made = str(processes.read_json(folder / RESULT).get("version", "")) if state == "done" else ""
    return Recalibration(
        state,
        str(request.get("version", "")),
        _data(request),
        str(request.get("asked_by", "")),
        str(request.get("asked_at", "")),
        now.phase,
        now.done,
        now.total,
        now.seconds_left,
        made,
        task.failure() if state == "failed" else None,
        processes.last_log_lines(folder),
    )


def cancel_recalibration(settings: Settings, who: str) -> None:
    """Cancel the running recalibration of the installation of `settings` on behalf of `who`; no version is added.

    Raises
    ------
    RunError
        If its process could not be ended.
    """
    _task(folder_of(settings)).cancel(who)


def folders_in_use(settings: Settings) -> tuple[Path, ...]:
    """Return the sources that a running recalibration reads."""
    folder = folder_of(settings)
    data = _data(processes.read_json(folder / REQUEST)) if processes.is_running(folder) else None
    return () if data is None else data.sources


def requested(folder: Path) -> tuple[str, DataRequest, str]:
    """Return version, data and administrator of the request in a recalibration's folder.

    Raises
    ------
    DatasetError
        If there is none, or it is damaged.
    """
    request = processes.read_json(folder / REQUEST)
    data = _data(request)
    if data is None:
        raise DatasetError(
            "expected the request of a recalibration. Received: none", advice="Start the recalibration again."
        )
    return str(request.get("version", "")), data, str(request.get("asked_by", ""))


def keep_result(folder: Path, made: Path) -> None:
    """Write that the recalibration of `folder` has added the version in the folder `made`."""
    write_atomically(folder / RESULT, json.dumps({"version": made.name}))


def status_report(folder: Path) -> Report:
    """Return a report that writes the progress into a recalibration's `folder`, at most twice a second."""
    began = written = time.monotonic()

    def write(progress: Progress) -> None:
        nonlocal written
        now = time.monotonic()
        if progress.done < progress.total and now - written < _BETWEEN_STATUS_SECONDS:
            return
        written = now
        left = (now - began) / progress.done * (progress.total - progress.done) if progress.done else None
        processes.write_status(
            folder, phase=progress.phase, done=progress.done, total=progress.total, seconds_left=left
        )

    return write


def refuse_few(samples: Sequence[Sample]) -> tuple[int, int]:
    """Return the numbers of patients without and with pneumonia among `samples`.

    Raises
    ------
    DatasetError
        If they are fewer than `MIN_PATIENTS` of a class.
    """
    normal, positive = (len({s.patient for s in samples if s.label == label}) for label in range(len(CLASSES)))
    if min(normal, positive) < MIN_PATIENTS:
        lacking = [
            f"{MIN_PATIENTS - n} {which}"
            for n, which in ((positive, "with pneumonia"), (normal, "without pneumonia"))
            if n < MIN_PATIENTS
        ]
        raise DatasetError(
            f"expected readable radiographs of at least {MIN_PATIENTS} patients of each class. Received: {positive} "
            f"patients with pneumonia and {normal} without",
            advice=f"Add labelled radiographs of more patients: {' and '.join(lacking)}.",
        )
    return normal, positive


def _data(request: dict[str, Any]) -> DataRequest | None:
    try:
        return request_from_values(request["data_request"])
    except (KeyError, DatasetError):
        return None


def folder_of(settings: Settings) -> Path:
    """Return the folder of the last recalibration of the installation of `settings`."""
    return settings.data_dir / "recalibration"


def _task(folder: Path) -> BackgroundTask:
    return BackgroundTask(
        "recalibration",
        folder,
        ("_recalibrate", str(folder.resolve())),
        (folder / RESULT).is_file,
        (RESULT, processes.OUTPUT),
    )

"""Audits of datasets as background tasks: started from a page, and the same after a reload or a restart of the app.

    <data>/audits/<key>/request.json   the sources with their patient rule, and the time of the request
                        audit.json     the result, once it is complete

and the files of `training.runs.processes`. The key is a digest of the sources and their state, so unchanged data are
audited once, and changed data need a new audit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from core.errors import DatasetError
from core.files import write_atomically
from core.progress import Progress, Report, counted
from core.settings import Settings
from training.data.audit import Audit, audit_folder, audit_from_json, audit_to_json
from training.data.data_request import DataRequest, request_from_values, request_to_values
from training.data.dataset import scan
from training.data.sources import Dataset, dataset_at, pictures, table_of
from training.runs import processes
from training.runs.background import BackgroundTask
from training.runs.processes import Failure

REQUEST, RESULT = "request.json", "audit.json"
LISTING, READING, COMPARING = "listing the files", "reading the radiographs", "comparing the radiographs"
MOST_LISTED = 20
_BETWEEN_STATUS_SECONDS = 0.5
_CANCELLED = Failure("The audit was cancelled.", "Start it again when you need it.")
_NOT_STARTED = Failure("The audit has not started.", "Start it again.")
_UNREADABLE = Failure("The audit's result cannot be read.", "Start it again.")


@dataclass(frozen=True, slots=True)
class AuditState:
    """State of an audit. `done` of `total` files are read; `started_at` is UTC, as ISO 8601."""

    key: str
    data: DataRequest
    datasets: tuple[Dataset, ...]
    state: Literal["running", "done", "failed"]
    phase: str = ""
    done: int = 0
    total: int = 0
    started_at: str = ""
    seconds_left: float | None = None
    audit: Audit | None = None
    failure: Failure | None = None


def audit_key(*datasets: Dataset, patient_pattern: str = "") -> str:
    """Return the key of data in their present state: a digest of paths, and of names, sizes and times of files.

    Parameters
    ----------
    datasets
        The sources.
    patient_pattern
        As in `DataRequest`.
    """
    found = hashlib.sha256()
    for dataset in datasets:
        found.update(os.fsencode(dataset.path))
        table = table_of(dataset.path)
        for path in (*sorted(path for _, _, path in pictures(dataset.path)), *([table] if table else [])):
            try:
                state = path.stat()
            except OSError:  # deleted meanwhile; the next call returns another key
                continue
            found.update(os.fsencode(path) + b"\0%d %d\0" % (state.st_size, state.st_mtime_ns))
    if patient_pattern:
        found.update(b"\0patients " + patient_pattern.encode())
    return found.hexdigest()[:16]


def data_of(settings: Settings, *datasets: Dataset, patient_pattern: str = "") -> DataRequest:
    """Return the request that reads some of the datasets of an installation.

    Parameters
    ----------
    settings
        The installation, whose key hashes DICOM patient IDs.
    datasets
        The sources.
    patient_pattern
        As in `DataRequest`.

    Raises
    ------
    DatasetError
        If one of the sources holds another, or the pattern cannot be used.
    """
    return DataRequest(
        tuple(one.path for one in datasets), patient_pattern=patient_pattern, key_file=settings.patient_key_file
    ).resolved()


def start_audit(settings: Settings, *datasets: Dataset, patient_pattern: str = "") -> str:
    """Audit data in a background process; an audit that is running or complete is kept.

    Parameters
    ----------
    settings
        The data roots, below which the folders must be, and the folder of the audits.
    datasets
        The sources; their present state decides the key.
    patient_pattern
        As in `DataRequest`.

    Returns
    -------
    str
        The key of the audit, for `read_audit`.

    Raises
    ------
    DatasetError
        If a folder is not below a data root, no longer a dataset, or holds another one of them; or the pattern cannot
        be used.
    """
    datasets = tuple(dataset_at(settings, one.path) for one in datasets)
    data = data_of(settings, *datasets, patient_pattern=patient_pattern)
    key = audit_key(*datasets, patient_pattern=patient_pattern)
    folder = settings.audits_dir / key
    request = {
        "path": str(datasets[0].path),
        "data_request": request_to_values(data),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _task(folder).start(
        lambda: write_atomically(folder / REQUEST, json.dumps(request)),
        keep=lambda: (folder / REQUEST).is_file() and _state(settings, folder).state == "done",
    )
    return key


def read_audit(settings: Settings, key: str) -> AuditState:
    """Return the state of the audit `key`, 16 hexadecimal digits, of the installation of `settings`.

    Raises
    ------
    DatasetError
        If there is no audit of that key, or its folder is gone.
    """
    folder = settings.audits_dir / key
    if not re.fullmatch(r"[0-9a-f]{16}", key) or not (folder / REQUEST).is_file():
        raise DatasetError(
            "expected the key of an audit. Received: an unknown key",
            advice="Choose the data again and press the button that audits it.",
        )
    return _state(settings, folder)


def latest_audits(settings: Settings) -> tuple[AuditState, ...]:
    """Return the audits of folders that can still be trained on, newest first, at most `MOST_LISTED`."""
    found = []
    for request in settings.audits_dir.glob(f"*/{REQUEST}"):
        try:
            found.append(_state(settings, request.parent))
        except DatasetError:  # its folder was deleted, or is no longer below a data root
            continue
    return tuple(sorted(found, key=lambda state: state.started_at, reverse=True)[:MOST_LISTED])


def is_current(settings: Settings, state: AuditState) -> bool:
    """Return whether the audited data are unchanged: the same files with the same sizes and times.

    Parameters
    ----------
    settings
        The data roots, below which the folders must be.
    state
        The audit.
    """
    try:
        datasets = [dataset_at(settings, one.path) for one in state.datasets]
        return audit_key(*datasets, patient_pattern=state.data.patient_pattern) == state.key
    except DatasetError:
        return False


def cancel_audit(settings: Settings, key: str) -> None:
    """Cancel the running audit `key` of the installation of `settings`; partial results are discarded.

    Raises
    ------
    DatasetError
        If there is no audit of that key.
    RunError
        If its process could not be ended.
    """
    _task(settings.audits_dir / read_audit(settings, key).key).cancel("administrator")


def forget_audits(settings: Settings, dataset: Dataset) -> None:
    """Delete the audits of `dataset` under `settings`, which hold the names of its files; running ones are ended."""
    for request in settings.audits_dir.glob(f"*/{REQUEST}"):
        if any(path.is_relative_to(dataset.path) for path in _requested(request.parent).sources):
            processes.stop(request.parent)
            shutil.rmtree(request.parent)


def folders_in_use(settings: Settings) -> tuple[Path, ...]:
    """Return the folders that audits are reading."""
    return tuple(
        path
        for request in settings.audits_dir.glob(f"*/{REQUEST}")
        if processes.is_running(request.parent)
        for path in _requested(request.parent).sources
    )


def work(folder: Path) -> Audit:
    """Run the audit that `folder` requests and write the result there; called in the background process.

    Raises
    ------
    DatasetError
        If the folder to be audited is no longer a dataset.
    """
    processes.write_status(folder, phase=LISTING, done=0, total=0)
    dataset = scan(_requested(folder))
    total = sum(len(part) for part in (dataset.train, dataset.val, dataset.test))
    audit = audit_folder(dataset, counted(_status_report(folder), READING, total))
    write_atomically(folder / RESULT, audit_to_json(audit))
    return audit


def _status_report(folder: Path) -> Report:
    """Return a report that writes the status at most twice a second."""
    started = written = time.monotonic()

    def write(progress: Progress) -> None:
        nonlocal written
        now = time.monotonic()
        if progress.done < progress.total and now - written < _BETWEEN_STATUS_SECONDS:
            return
        written = now
        processes.write_status(
            folder,
            phase=READING if progress.done < progress.total else COMPARING,
            done=progress.done,
            total=progress.total,
            seconds_left=(now - started) / progress.done * (progress.total - progress.done),
        )

    return write


def _requested(folder: Path) -> DataRequest:
    """Return the data of a request; earlier ones have one folder."""
    request = processes.read_json(folder / REQUEST)
    if "data_request" in request:
        return request_from_values(request["data_request"])
    return DataRequest((Path(str(request.get("path"))),))


def _task(folder: Path) -> BackgroundTask:
    return BackgroundTask(
        "audit",
        folder,
        ("_audit", str(folder.resolve())),
        (folder / RESULT).is_file,
        (RESULT, processes.OUTPUT),
    )


def _state(settings: Settings, folder: Path) -> AuditState:
    request = processes.read_json(folder / REQUEST)
    task, started, data = _task(folder), str(request.get("started_at")), _requested(folder)
    datasets = tuple(dataset_at(settings, path) for path in data.sources)
    audit = AuditState(folder.name, data, datasets, "failed", started_at=started)
    match task.state():
        case "done":
            return _finished(folder, audit)
        case "running":
            now = task.status(LISTING)
            return replace(
                audit,
                state="running",
                phase=now.phase,
                done=now.done,
                total=now.total,
                seconds_left=now.seconds_left,
            )
        case "cancelled":
            return replace(audit, failure=_CANCELLED)
        case _:
            return replace(audit, failure=task.failure() or _NOT_STARTED)


def _finished(folder: Path, audit: AuditState) -> AuditState:
    try:
        found = audit_from_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return replace(audit, failure=_UNREADABLE)
    return replace(audit, state="done", done=found.n, total=found.n, audit=found)

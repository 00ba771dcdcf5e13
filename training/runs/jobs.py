"""Training runs as pages and commands show them, read from their folders; queued and started by `run_queue`.

A run that has ended is read once, and again when its folder or its version's card has changed. Nothing else is kept in
memory, so every page, command and restarted app sees the same. This module imports neither TensorFlow nor Streamlit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from core.errors import AppError, RunError
from core.json_text import parse_json
from core.settings import Settings
from records.activity import command_line_user
from training.data.data_request import DataRequest
from training.fitting.initial_weights import initial_weights_name
from training.fitting.progress import FITTING
from training.runs import processes
from training.runs.background import BackgroundTask, is_cancelled
from training.runs.processes import Failure
from training.runs.progress import LOG, read_points
from training.runs.request import CONFIG, REQUEST, finished_version, request_from

State = Literal["queued", "running", "cancelled", "failed", "done"]
JOB = "job.json"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,79}")
# Longest time from the launch of a process to its record; after it the run counts as never started.
_STARTING = timedelta(seconds=10)
_NEVER_STARTED = Failure("The run was never started: the program that was about to start it ended.", "Resume it.")
_INTERRUPTED = Failure("The run was interrupted.", "Resume it.")
# A folder changed twice within one tick of the file system's clock looks unchanged.
_SETTLED_SECONDS = 2.0
_MOST_KEPT = 5000


@dataclass(frozen=True, slots=True)
class Job:
    """One training run. `fitting` holds the fields of `FittingStep` while it fits.

    `place` is the position in the queue from 1, 0 for a run that does not wait. `seconds_left` is the remaining time of
    the phase, `minutes` the fitting time so far, `val_auroc` that of the last epoch; `epochs_done` of `epochs` are
    finished. `is_busy` is whether a process works on it, which may still be closing down after the version was made.
    """

    id: str
    folder: Path
    state: State
    asked_by: str
    asked_at: str
    preset: str
    starting_point: str
    data: DataRequest | None
    phase: str = ""
    done: int = 0
    total: int = 0
    fitting: Mapping[str, Any] = field(default_factory=dict)
    seconds_left: float | None = None
    images_per_second: float | None = None
    version: str | None = None
    failure: Failure | None = None
    can_resume: bool = False
    place: int = 0
    queued_at: str = ""
    is_busy: bool = False
    architecture: str = ""
    epochs: int = 0
    epochs_done: int = 0
    minutes: float = 0.0
    val_auroc: float | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A run that has ended, with the times of what it was read from: its folder and its version's card."""

    folder_ns: int
    card: Path | None
    card_ns: int
    job: Job


_kept: dict[Path, _Kept] = {}


def started_by(run_dir: Path) -> str:
    """Return who requested a run: an administrator in the browser, or the user of the command line.

    Parameters
    ----------
    run_dir
        Directory of the run.
    """
    asked = processes.read_json(run_dir / JOB).get("asked_by")
    return asked if isinstance(asked, str) and asked else command_line_user()


def list_jobs(settings: Settings) -> tuple[Job, ...]:
    """Return every run, newest first; those of `python -m training train` too."""
    jobs = [_job(folder) for folder in _folders(settings)]
    waiting = sorted((job.queued_at, job.id) for job in jobs if job.state == "queued")
    places = {id: place for place, (_, id) in enumerate(waiting, start=1)}
    jobs = [replace(job, place=places[job.id]) if job.id in places else job for job in jobs]
    return tuple(sorted(jobs, key=lambda job: (job.asked_at, job.id), reverse=True))


def read_job(settings: Settings, id: str) -> Job:
    """Return the run `id` of the installation of `settings`.

    Raises
    ------
    RunError
        If there is no such run.
    """
    job = _job(run_folder(settings, id))
    if job.state != "queued":
        return job
    return next((one for one in list_jobs(settings) if one.id == id), job)


def run_folder(settings: Settings, id: str) -> Path:
    """Return the folder of the run `id`, an untrusted name, under `settings`.

    Raises
    ------
    RunError
        If there is no such run.
    """
    folder = settings.runs_dir / id
    # The name comes from a URL, which is not trusted.
    if not _ID.fullmatch(id) or not (folder / REQUEST).is_file():
        raise RunError(
            "expected a run of this installation. Received: a name that none has",
            advice="Choose a run from the list, or start a new one.",
        )
    return folder


def run_task(folder: Path) -> BackgroundTask:
    """Return the background task that trains the run of `folder`."""
    return BackgroundTask(
        "training", folder, ("_run", str(folder.resolve())), lambda: finished_version(folder) is not None, resumes=True
    )


def epochs(job: Job) -> list[dict[str, Any]]:
    """Return one row for each finished epoch, as `training.fitting.fit` writes them."""
    return _rows(job.folder)


def points(job: Job, most: int = 1000) -> list[dict[str, Any]]:
    """Return the rows of the training curve of `job` within epochs, thinned to about `most`, the newest included."""
    return read_points(job.folder, most)


def log_tail(job: Job, lines: int = 200) -> tuple[str, ...]:
    """Return the last log lines of a run.

    Parameters
    ----------
    job
        The run.
    lines
        Largest number of lines.

    Returns
    -------
    tuple of str
        The output of its process, or its log where it was started in a terminal; oldest first.
    """
    return processes.last_log_lines(job.folder, lines) or _log(job.folder, lines)


def _folders(settings: Settings) -> list[Path]:
    found = settings.runs_dir.glob(f"*/{REQUEST}") if settings.runs_dir.is_dir() else ()
    return sorted(path.parent for path in found if _ID.fullmatch(path.parent.name))


def _job(folder: Path) -> Job:
    """Return a run without its place in the queue."""
    folder_ns = _changed_at(folder)
    kept = _kept.get(folder)
    if (
        kept is not None
        and kept.folder_ns == folder_ns
        and kept.card_ns == _changed_at(kept.card)
        and not processes.is_held(folder)
    ):
        return kept.job
    job, card = _read(folder)
    has_ended = job.state in ("done", "failed", "cancelled") and not job.is_busy
    card_ns = _changed_at(card)
    if has_ended and time.time() - max(folder_ns, card_ns) / 1e9 > _SETTLED_SECONDS:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[folder] = _Kept(folder_ns, card, card_ns, job)
    return job


def _changed_at(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(folder: Path) -> tuple[Job, Path | None]:
    """Read every file of a run once; return also its version's card."""
    asked, config = processes.read_json(folder / JOB), processes.read_json(folder / CONFIG)
    # Checked before the version, so that a run that ends in between does not appear to have made none.
    is_busy = processes.is_running(folder) or _is_starting(folder, asked)
    made = finished_version(folder)
    state: State = (
        "done"
        if made
        else "running"
        if is_busy
        else "cancelled"
        if is_cancelled(folder)
        else "queued"
        if asked and not asked.get("launched_at")
        else "failed"
    )
    wanted = processes.read_json(folder / REQUEST)
    status = processes.read_json(folder / processes.STATUS)
    rows = _rows(folder)
    try:
        request = request_from(wanted)
        data: DataRequest | None = request.data
        starting_point = initial_weights_name(request.backbone_weights)
    except AppError:
        data, starting_point = None, ""
    fitting = status if _is_fitting(status) else {}
    is_fitting = state == "running" and status.get("phase") == FITTING
    job = Job(
        id=folder.name,
        folder=folder,
        state=state,
        asked_by=str(asked.get("asked_by", "command line")),
        asked_at=str(asked.get("asked_at", wanted.get("created_at", ""))),
        preset=str(asked.get("preset", "")),
        starting_point=starting_point,
        data=data,
        phase=str(status.get("phase", "starting" if state == "running" else "")),
        done=processes.whole(status.get("done")),
        total=processes.whole(status.get("total")),
        fitting=fitting,
        seconds_left=processes.number(status.get("seconds_left")) if state == "running" else None,
        images_per_second=processes.number(fitting.get("images_per_second")) if is_fitting else None,
        version=made.name if made else None,
        failure=_failure(folder, asked) if state == "failed" else None,
        can_resume=state in ("cancelled", "failed"),
        queued_at=str(asked.get("queued_at", "")),
        is_busy=is_busy,
        architecture=str(config.get("architecture", "")),
        epochs=_epochs_planned(config.get("stages")),
        epochs_done=len(rows),
        minutes=sum(processes.number(row.get("seconds")) or 0.0 for row in rows) / 60,
        val_auroc=processes.number(rows[-1].get("val_auroc")) if rows else None,
    )
    return job, made / "card.json" if made else None


def _is_starting(folder: Path, asked: Mapping[str, Any]) -> bool:
    if processes.was_started(folder):
        return False
    try:
        launched = datetime.fromisoformat(asked["launched_at"])
    except (KeyError, TypeError, ValueError):
        return False
    return datetime.now(UTC) - launched < _STARTING


def _failure(folder: Path, asked: Mapping[str, Any]) -> Failure:
    failure = run_task(folder).failure() or (_NEVER_STARTED if asked else _INTERRUPTED)
    return failure if failure.last_log_lines else replace(failure, last_log_lines=_log(folder, 12))


def _log(folder: Path, lines: int) -> tuple[str, ...]:
    try:
        return tuple((folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ()


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        rows = parse_json((folder / "history.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict) and _is_epoch(row)] if isinstance(rows, list) else []


def _is_fitting(status: Mapping[str, Any]) -> bool:
    """Whether a status is that of a step of fitting, with the figures that a page draws."""
    figures = (status.get("loss"), status.get("epoch"))
    return processes.whole(status.get("epoch")) > 0 and all(processes.number(one) is not None for one in figures)


def _is_epoch(row: Mapping[str, Any]) -> bool:
    """Whether every figure of a row of the history is one; what is not finite is left out where it is drawn."""
    return processes.whole(row.get("epoch")) > 0 and all(
        isinstance(value, str | int | float | None) for value in row.values()
    )


def _epochs_planned(stages: Any) -> int:
    stages = stages if isinstance(stages, list) else []
    return sum(processes.whole(stage.get("epochs")) for stage in stages if isinstance(stage, dict))

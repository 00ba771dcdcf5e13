"""Queue of training runs: one runs at a time, the others wait in the order of their requests.

    <run>/job.json          who requested it and when, and since when it is queued or launched
    <run>/cancelled.json    who cancelled it, and when

and the files of `training.runs.background`. Every page and command that calls `advance`, and every run that ends,
starts the next run under a lock.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import ResourceError, RunError
from core.files import locked, make_folder, sync_folder, write_atomically
from core.settings import Settings
from training.data.data_request import DataRequest
from training.data.description import checked
from training.fitting.config import TrainingConfig
from training.runs import processes
from training.runs.background import CANCELLED
from training.runs.jobs import JOB, Job, list_jobs, read_job, run_folder, run_task
from training.runs.request import RunRequest, create_run


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Request of an administrator.

    `config` is a TrainingConfig as JSON; `weights` as `training.fitting.initial_weights.build_initial_network` takes
    it; `stated` is what the administrator says of the data (`training.data.description`); `leave_out` is a group that
    training does not see (`training.runs.leave_out`), "" for none; `tensorboard` is the folder for its logs, None for
    none.
    """

    data: Path | DataRequest
    config: str
    weights: str
    preset: str
    note: str = ""
    extra_evaluations: tuple[tuple[str, Path], ...] = ()
    stated: Mapping[str, str] = field(default_factory=dict)
    leave_out: str = ""
    tensorboard: Path | None = None


def enqueue(settings: Settings, request: JobRequest, who: str) -> Job:
    """Put a run into the queue, and start it if no other run is active.

    Parameters
    ----------
    settings
        The installation.
    request
        The request.
    who
        Name of the administrator.

    Returns
    -------
    Job
        The run.

    Raises
    ------
    RunError
        If the configuration is invalid.
    DatasetError, ClassifierError
        If the dataset or the initial weights cannot be used.
    ResourceError
        If the disk is full. After any error there is no run.
    """
    try:
        config = TrainingConfig.from_json(request.config)
    except (ValueError, TypeError) as error:
        raise RunError(
            f"expected a configuration that can be trained. Received: {error}", advice="Correct the advanced settings."
        ) from error
    with _disk_errors(), _queue_lock(settings):
        now = datetime.now(UTC)
        id = _new_id(settings, now)
        staging = settings.runs_dir / f".{id}.new"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            create_run(
                staging,
                config,
                RunRequest(
                    DataRequest.of(request.data).resolved(),
                    settings.versions_dir.resolve(),
                    request.weights,
                    notes=tuple(filter(None, [request.note])),
                    extra_evaluations=request.extra_evaluations,
                    tensorboard=request.tensorboard,
                    stated=checked(request.stated),
                    leave_out=request.leave_out,
                ),
            )
            _write_job(
                staging,
                {
                    "asked_by": who,
                    "asked_at": now.isoformat(timespec="seconds"),
                    "preset": request.preset,
                    "queued_at": now.isoformat(),
                    "launched_at": None,
                },
            )
            staging.rename(settings.runs_dir / id)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        sync_folder(settings.runs_dir)
    advance(settings)
    return read_job(settings, id)


def cancel(settings: Settings, id: str, who: str) -> Job:
    """Remove a run from the queue, or end it with all its processes within five seconds; finished epochs are kept.

    Parameters
    ----------
    settings
        The installation.
    id
        Name of the run; a run that has ended is unchanged.
    who
        Name of the administrator.

    Raises
    ------
    RunError
        If there is no such run, or it could not be ended.
    """
    task = run_task(run_folder(settings, id))
    with _disk_errors(), _queue_lock(settings):  # so that it is not launched meanwhile
        state = read_job(settings, id).state
        if state not in ("queued", "running"):
            return read_job(settings, id)
        task.mark_cancelled(who)
    if state == "running":
        task.stop()
    advance(settings)
    return read_job(settings, id)


def resume(settings: Settings, id: str, who: str) -> Job:
    """Put a cancelled or failed run back into the queue; it continues after its last finished epoch.

    Parameters
    ----------
    settings
        The installation.
    id
        Name of the run.
    who
        Name of the administrator.

    Raises
    ------
    RunError
        If there is no such run, or it has not been cancelled or failed.
    """
    folder = run_folder(settings, id)
    with _disk_errors(), _queue_lock(settings):
        state = read_job(settings, id).state
        if state not in ("cancelled", "failed"):
            raise RunError(
                f"expected a run that was cancelled or failed. Received: one that is {state}",
                advice="Only a run that has stopped before its end can be resumed.",
            )
        now = datetime.now(UTC).isoformat()
        asked = processes.read_json(folder / JOB)
        _write_job(folder, {"asked_by": who, **asked, "resumed_by": who, "queued_at": now, "launched_at": None})
        (folder / CANCELLED).unlink(missing_ok=True)
    advance(settings)
    return read_job(settings, id)


def advance(settings: Settings) -> str | None:
    """Start the run that has waited longest, unless one is running; return its id, None when none was started.

    Cheap, and safe to be called by several processes at any time.
    """
    if _next(list_jobs(settings)) is None:
        return None
    with _queue_lock(settings):
        id = _next(list_jobs(settings))
        if id is None:
            return None
        task = run_task(settings.runs_dir / id)

        def prepare() -> None:
            # Before the launch, so that no second process is ever started beside the first.
            about = processes.read_json(task.folder / JOB) | {"launched_at": datetime.now(UTC).isoformat()}
            _write_job(task.folder, about)

        try:
            return id if task.start(prepare) else None
        except OSError as error:
            if not processes.read_json(task.folder / JOB).get("launched_at"):
                return None  # the disk is full; the run keeps its place
            processes.mark_ended(task.folder)
            processes.write_error(task.folder, error)
        return id


def _next(jobs: tuple[Job, ...]) -> str | None:
    """Return the run to be started, None while one is running or none waits."""
    if any(job.is_busy for job in jobs):
        return None
    return next((job.id for job in jobs if job.place == 1), None)


def _queue_lock(settings: Settings) -> contextlib.AbstractContextManager[None]:
    make_folder(settings.runs_dir)
    return locked(settings.runs_dir / "queue")


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn an OSError into a ResourceError with a description and an advice."""
    try:
        yield
    except OSError as error:
        message, advice = processes.describe_error(error)
        raise ResourceError(message, advice=advice) from error


def _write_job(folder: Path, values: Mapping[str, Any]) -> None:
    write_atomically(folder / JOB, json.dumps(values))


def _new_id(settings: Settings, now: datetime) -> str:
    name = f"{now:%Y.%m.%d-%H%M%S}"
    taken = {path.name for path in settings.runs_dir.iterdir()}
    return next(id for id in (name, *(f"{name}-{n}" for n in range(2, 1000))) if id not in taken)

"""Runs in the background: one at a time, the others in a queue. What a run's directory says is all there is to know.

    <run>/job.json          who asked, when, and since when it was queued or launched
    <run>/cancelled.json    who cancelled it, and when
    <run>/process.json, output.log, error.json   see training.runs.processes
    and what training.runs.run and training.runs.progress write

Nothing is kept in memory, so pages, commands and a run that ends all see and do the same, also after a restart. No
tensorflow here, and no streamlit.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from core.errors import AppError, ResourceError, RunError
from core.files import locked, sync_folder, write_atomically
from core.settings import Settings
from training.fitting.config import TrainingConfig
from training.fitting.initial_weights import initial_weights_name
from training.fitting.progress import FITTING
from training.runs import processes
from training.runs.processes import Failure
from training.runs.progress import LOG, read_points
from training.runs.request import REQUEST, RunRequest, create_run, finished_version, read_request

State = Literal["queued", "running", "cancelled", "failed", "done"]
JOB, CANCELLED = "job.json", "cancelled.json"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,79}")
# How long a launched process may take to be written down before it counts as never started.
_STARTING = timedelta(seconds=10)
_NEVER_STARTED = Failure("It was never started: whoever was about to start it was ended.", "Resume it.")
_INTERRUPTED = Failure("It was interrupted.", "Resume it.")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What an administrator asks for. `config` is a TrainingConfig as JSON.

    `weights` is what `training.fitting.initial_weights` takes.
    """

    data: Path
    config: str
    weights: str
    preset: str
    note: str = ""
    extra_evaluations: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One run. `fitting` holds the fields of `FittingStep` while it fits; `seconds_left` is until the phase ends.

    `place` is 0 for a run that is not waiting, else its place in the queue from 1. `minutes` is what fitting has taken
    so far, `val_auroc` the last epoch's, of `epochs` planned epochs `epochs_done` are finished.
    """

    id: str
    folder: Path
    state: State
    asked_by: str
    asked_at: str
    preset: str
    starting_point: str
    data: Path
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
    architecture: str = ""
    epochs: int = 0
    epochs_done: int = 0
    minutes: float = 0.0
    val_auroc: float | None = None


def list_jobs(settings: Settings) -> tuple[Job, ...]:
    """Return every run, newest first; those of `python -m training train` too."""
    order = _queue(settings)
    jobs = [_job(folder, order) for folder in _folders(settings)]
    return tuple(sorted(jobs, key=lambda job: (job.asked_at, job.id), reverse=True))


def read_job(settings: Settings, id: str) -> Job:
    """Return one run; raises RunError when there is none of that name."""
    return _job(_folder(settings, id), _queue(settings))


def enqueue(settings: Settings, request: JobRequest, who: str) -> Job:
    """Put a run into the queue, start it if nothing else runs, and return it.

    Raises DatasetError, ClassifierError, RunError or ResourceError when it cannot work; then there is no run.
    """
    try:
        config = TrainingConfig.from_json(request.config)
    except (ValueError, TypeError) as error:
        raise RunError(
            f"expected a configuration that can be trained. Received: {error}", advice="Correct the advanced settings."
        ) from error
    with _clear_words(), _queue_lock(settings):
        now = datetime.now(UTC)
        id = _new_id(settings, now)
        staging = settings.runs_dir / f".{id}.new"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            create_run(
                staging,
                config,
                RunRequest(
                    request.data.resolve(),
                    settings.versions_dir.resolve(),
                    request.weights,
                    notes=tuple(filter(None, [request.note])),
                    extra_evaluations=request.extra_evaluations,
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
    """Take a run out of the queue, or end it and all that it started within five seconds; what it has done stays.

    A run that has already ended is left as it is. Raises RunError when there is none, or when it could not be ended.
    """
    folder = _folder(settings, id)
    with _queue_lock(settings):  # it is not being launched meanwhile
        state = _state(folder)
        if state not in ("queued", "running"):
            return read_job(settings, id)
        # Before the process is ended, so that nobody ever sees it failed; but a full disk must not keep it going.
        with contextlib.suppress(OSError) if state == "running" else _clear_words():
            write_atomically(folder / CANCELLED, json.dumps({"who": who, "at": datetime.now(UTC).isoformat()}))
    if state == "running":
        processes.stop(folder)
        if processes.is_running(folder) and not finished_version(folder):
            (folder / CANCELLED).unlink(missing_ok=True)
            raise RunError(
                "expected a training process that can be ended. Received: one that goes on",
                advice="It may belong to another user of this machine; ask them to end it.",
            )
    advance(settings)
    return read_job(settings, id)


def resume(settings: Settings, id: str, who: str) -> Job:
    """Put a cancelled or failed run back into the queue; it goes on after its last finished epoch.

    Raises RunError when there is none, or when it is not in such a state.
    """
    folder = _folder(settings, id)
    with _clear_words(), _queue_lock(settings):
        state = _state(folder)
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

    Cheap, and safe to be called by anybody at any time.
    """
    if not _queue(settings):
        return None
    with _queue_lock(settings):
        queue = _queue(settings)
        if not queue or any(_is_busy(folder) for folder in _folders(settings)):
            return None
        folder = settings.runs_dir / queue[0]
        try:
            for old in (processes.PROCESS, processes.STATUS):
                (folder / old).unlink(missing_ok=True)
            # Before the launch: whatever happens in between, no second process is ever started beside the first.
            _write_job(folder, processes.read_json(folder / JOB) | {"launched_at": datetime.now(UTC).isoformat()})
        except OSError:  # no room for a few bytes; it keeps its place until there is
            return None
        try:
            processes.launch(folder, ["_run", str(folder.resolve())])
        except OSError as error:
            processes.leave(folder)
            processes.write_error(folder, error)
        return folder.name


def is_cancelled(folder: Path) -> bool:
    """Whether somebody cancelled the run in `folder`."""
    return (folder / CANCELLED).is_file()


def epochs(job: Job) -> list[dict[str, Any]]:
    """Return one row per finished epoch, as `fit` writes them."""
    return _rows(job.folder)


def points(job: Job, most: int = 1000) -> list[dict[str, Any]]:
    """Return the rows from which the curve grows within an epoch, thinned to about `most`."""
    return read_points(job.folder, most)


def log_tail(job: Job, lines: int = 200) -> tuple[str, ...]:
    """Return the last lines that the run printed, or wrote into its log when it was started in a terminal."""
    return processes.last_words(job.folder, lines) or _log(job.folder, lines)


def _folders(settings: Settings) -> list[Path]:
    found = settings.runs_dir.glob(f"*/{REQUEST}") if settings.runs_dir.is_dir() else ()
    return sorted(path.parent for path in found if _ID.fullmatch(path.parent.name))


def _folder(settings: Settings, id: str) -> Path:
    folder = settings.runs_dir / id
    # The name comes from an address that anybody can type.
    if not _ID.fullmatch(id) or not (folder / REQUEST).is_file():
        raise RunError(
            "expected a run of this installation. Received: a name that none has",
            advice="Choose a run from the list, or start a new one.",
        )
    return folder


def _queue_lock(settings: Settings) -> contextlib.AbstractContextManager[None]:
    settings.runs_dir.mkdir(parents=True, exist_ok=True)
    return locked(settings.runs_dir / "queue")


@contextlib.contextmanager
def _clear_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message, advice = processes.explain(error)
        raise ResourceError(message, advice=advice) from error


def _queue(settings: Settings) -> list[str]:
    """Return the ids of the runs that wait, the next one first."""
    waiting = []
    for folder in _folders(settings):
        asked = processes.read_json(folder / JOB)
        if asked and not asked.get("launched_at") and _state(folder) == "queued":
            waiting.append((str(asked.get("queued_at", "")), folder.name))
    return [id for _, id in sorted(waiting)]


def _state(folder: Path) -> State:
    # Looked at before the version: a run that ends in between must not be taken for one that ended without any.
    is_running = _is_busy(folder)
    if finished_version(folder):
        return "done"
    if is_running:
        return "running"
    if is_cancelled(folder):
        return "cancelled"
    asked = processes.read_json(folder / JOB)
    return "queued" if asked and not asked.get("launched_at") else "failed"


def _is_busy(folder: Path) -> bool:
    return processes.is_running(folder) or _is_starting(folder)


def _is_starting(folder: Path) -> bool:
    if processes.was_started(folder):
        return False
    try:
        launched = datetime.fromisoformat(processes.read_json(folder / JOB)["launched_at"])
    except (KeyError, TypeError, ValueError):
        return False
    return datetime.now(UTC) - launched < _STARTING


def _job(folder: Path, order: Sequence[str]) -> Job:
    state = _state(folder)
    asked, config = processes.read_json(folder / JOB), processes.read_json(folder / "config.json")
    wanted = processes.read_json(folder / REQUEST)
    status = processes.read_json(folder / processes.STATUS)
    rows = _rows(folder)
    try:
        request = read_request(folder)
        data, starting_point = request.data, initial_weights_name(request.backbone_weights)
    except AppError:
        data, starting_point = Path(), ""
    made = finished_version(folder) if state == "done" else None
    fitting = status if "epoch" in status else {}
    is_fitting = state == "running" and status.get("phase") == FITTING
    return Job(
        id=folder.name,
        folder=folder,
        state=state,
        asked_by=str(asked.get("asked_by", "command line")),
        asked_at=str(asked.get("asked_at", wanted.get("created_at", ""))),
        preset=str(asked.get("preset", "")),
        starting_point=starting_point,
        data=data,
        phase=str(status.get("phase", "starting" if state == "running" else "")),
        done=int(status.get("done", 0)),
        total=int(status.get("total", 0)),
        fitting=fitting,
        seconds_left=_number(status.get("seconds_left")) if state == "running" else None,
        images_per_second=_number(fitting.get("images_per_second")) if is_fitting else None,
        version=made.name if made else None,
        failure=_failure(folder) if state == "failed" else None,
        can_resume=state in ("cancelled", "failed"),
        place=order.index(folder.name) + 1 if folder.name in order else 0,
        architecture=str(config.get("architecture", "")),
        epochs=sum(int(stage.get("epochs", 0)) for stage in config.get("stages", [])),
        epochs_done=len(rows),
        minutes=sum(_number(row.get("seconds")) or 0.0 for row in rows) / 60,
        val_auroc=_number(rows[-1].get("val_auroc")) if rows else None,
    )


def _failure(folder: Path) -> Failure:
    failure = processes.failure(folder) or (_NEVER_STARTED if (folder / JOB).is_file() else _INTERRUPTED)
    return failure if failure.last_words else replace(failure, last_words=_log(folder, 12))


def _log(folder: Path, lines: int) -> tuple[str, ...]:
    try:
        return tuple((folder / LOG).read_text(encoding="utf-8").splitlines()[-lines:])
    except OSError:
        return ()


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _write_job(folder: Path, values: Mapping[str, Any]) -> None:
    write_atomically(folder / JOB, json.dumps(values))


def _new_id(settings: Settings, now: datetime) -> str:
    name = f"{now:%Y.%m.%d-%H%M%S}"
    taken = {path.name for path in settings.runs_dir.iterdir()}
    return next(id for id in (name, *(f"{name}-{n}" for n in range(2, 1000))) if id not in taken)

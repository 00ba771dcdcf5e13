"""Background task: one process on one folder, started once however many callers ask for it.

    <folder>/.start.lock     held while the task is being started or cancelled
    <folder>/cancelled.json  who cancelled it, and when
    and the files of `training.runs.processes`

Audits, trainings, comparisons and speed measurements are such tasks. The state is in the folder and not in memory, so
every page, command and restarted app sees the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.errors import RunError
from core.files import is_locked, locked, make_folder, write_atomically
from training.runs import processes
from training.runs.processes import Failure

State = Literal["none", "running", "done", "cancelled", "failed"]
Launch = Callable[[Path, Sequence[str]], object]
CANCELLED = "cancelled.json"
_START = "start"
_START_AGAIN = "Start the {} again. If it happens again, technical support finds the cause in its log."


@dataclass(frozen=True, slots=True)
class Status:
    """Progress of a running task as its status.json has it; `seconds_left` is None while unknown."""

    phase: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class BackgroundTask:
    """Work that `python -m training <arguments>` does on `folder`.

    Parameters
    ----------
    name
        What the task is called in a sentence, such as "audit".
    folder
        The task's own folder; made when the task starts.
    arguments
        What follows `python -m training`.
    is_done
        Whether the result is there.
    results
        Glob patterns, below `folder`, of what a task leaves; a new start deletes it.
    resumes
        Whether the task can be resumed, instead of being started again from the beginning.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]
    is_done: Callable[[], bool]
    results: tuple[str, ...] = ()
    resumes: bool = False

    def start(
        self,
        prepare: Callable[[], object] = lambda: None,
        *,
        keep: Callable[[], bool] = lambda: False,
        launch: Launch | None = None,
    ) -> bool:
        """Start the task unless it is running or its result is to be kept.

        Parameters
        ----------
        prepare
            Writes the input of the task; called with the lock held.
        keep
            Returns whether the present result is kept; called with the lock held.
        launch
            Takes the folder and the arguments; `processes.launch` by default.

        Returns
        -------
        bool
            Whether this call started it.
        """
        make_folder(self.folder)
        with locked(self.folder / _START):
            if processes.is_running(self.folder) or keep():
                return False
            for pattern in (processes.PROCESS, processes.STATUS, processes.ERROR, CANCELLED, *self.results):
                for left in self.folder.glob(pattern):
                    left.unlink(missing_ok=True)
            prepare()
            (launch or processes.launch)(self.folder, self.arguments)
        return True

    def is_running(self) -> bool:
        """Return whether its process is alive, or being started."""
        is_starting = not processes.was_started(self.folder) and is_locked(self.folder / _START)
        return is_starting or processes.is_running(self.folder)

    def state(self) -> State:
        """Return the state by the files of the folder."""
        # Checked before the result: a process that ends in between has written its result by then.
        is_running = self.is_running()
        if self.is_done():
            return "done"
        if is_running:
            return "running"
        if is_cancelled(self.folder):
            return "cancelled"
        return "failed" if processes.was_started(self.folder) else "none"

    def status(self, first_phase: str = "starting") -> Status:
        """Return the progress; `first_phase` is the phase until the process has written one."""
        values = processes.read_json(self.folder / processes.STATUS)
        return Status(
            str(values.get("phase", first_phase)),
            processes.whole(values.get("done")),
            processes.whole(values.get("total")),
            processes.number(values.get("seconds_left")),
        )

    def cancel(self, who: str) -> None:
        """Cancel the task, and end its process and all that it started, within five seconds.

        Raises
        ------
        RunError
            If the process could not be ended.
        """
        self.mark_cancelled(who)
        self.stop()

    def mark_cancelled(self, who: str) -> None:
        """Record the cancellation before the process is ended, so that the task never appears as failed."""
        with locked(self.folder / _START):
            about: dict[str, Any] = {"who": who, "at": datetime.now(UTC).isoformat()}
            # A full disk must not prevent the end of the process.
            with contextlib.suppress(OSError) if processes.is_running(self.folder) else contextlib.nullcontext():
                write_atomically(self.folder / CANCELLED, json.dumps(about))

    def stop(self) -> None:
        """End the process and all that it started.

        Raises
        ------
        RunError
            If it still runs.
        """
        processes.stop(self.folder)
        if processes.is_running(self.folder) and not self.is_done():
            (self.folder / CANCELLED).unlink(missing_ok=True)
            raise RunError(
                "expected a process that can be ended. Received: one that still runs",
                advice="It may belong to another user of this machine; ask them to end it.",
            )

    def failure(self) -> Failure | None:
        """Return why the task ended without a result, None while it runs or when it was never started."""
        found = processes.failure(self.folder)
        if found is None or self.resumes or "resume" not in found.advice.lower():
            return found
        return replace(found, advice=_START_AGAIN.format(self.name))


def is_cancelled(folder: Path) -> bool:
    """Return whether the task of `folder` was cancelled."""
    return (folder / CANCELLED).is_file()

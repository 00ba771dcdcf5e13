"""Progress files of a run: its status, rows of the training curve, and its log.

    <run>/status.json      the phase with (done, total); while fitting, also all fields of `FittingStep`
    <run>/progress.jsonl   while fitting, a row every two seconds, so that the curve grows within an epoch
    <run>/log.txt          a line for each phase and each epoch

This module does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.files import append_privately, write_atomically
from core.json_text import parse_json
from core.progress import Progress, Report
from training.fitting.progress import FITTING, EpochEnd, FittingStep
from training.runs import processes

POINTS, LOG = "progress.jsonl", "log.txt"
_STATUS_SECONDS, _POINT_SECONDS = 0.5, 2.0
_COLUMNS = ("epoch", "step", "steps", "loss", "train_auroc", "images_per_second", "seconds_left")


def recorded(report: Report, run_dir: Path, clock: Callable[[], float] = time.monotonic) -> Report:
    """Return a report that also writes status, rows and log of a run.

    Parameters
    ----------
    report
        Called with each progress after it was written.
    run_dir
        Directory of the run.
    clock
        Returns seconds; the status is written at most twice a second within a phase.
    """
    write_line = log(run_dir)
    shown = ""
    begun = clock()
    status_at = point_at = -math.inf

    def is_due(last: float, seconds: float, must: bool) -> bool:
        return must or clock() - last >= seconds

    def phase(progress: Progress) -> None:
        nonlocal begun, status_at
        name, done, total = progress.phase, progress.done, progress.total
        begins = name != shown
        if begins:
            begun = clock()
            write_line(f"{name}: {total}" if total else name)
        if is_due(status_at, _STATUS_SECONDS, begins or done >= total):
            status_at = clock()
            left = None if begins or not done else round((clock() - begun) / done * (total - done), 1)
            processes.write_status(run_dir, phase=name, done=done, total=total, seconds_left=left, pid=os.getpid())

    def fitting(progress: Progress, step: FittingStep) -> None:
        nonlocal status_at, point_at
        ends = step.step == step.steps
        if is_due(status_at, _STATUS_SECONDS, ends or shown != FITTING):
            status_at = clock()
            processes.write_status(
                run_dir,
                phase=progress.phase,
                done=progress.done,
                total=progress.total,
                pid=os.getpid(),
                **dataclasses.asdict(step),
            )
        if is_due(point_at, _POINT_SECONDS, False):
            point_at = clock()
            _add_point(run_dir, step)
        if ends:
            write_line(
                f"epoch {step.epoch}/{step.epochs} {step.stage}: loss {step.loss:.4f}, AUROC on "
                f"training batches {step.train_auroc:.4f}, {step.images_per_second:.1f} images/s"
            )

    def record(progress: Progress) -> None:
        nonlocal shown
        match progress.detail:
            case FittingStep() as step:
                fitting(progress, step)
            case EpochEnd(row):
                write_line(f"epoch {row['epoch']} validation: AUROC {row['val_auroc']:.4f}, loss {row['val_loss']:.4f}")
            case _:
                phase(progress)
        shown = progress.phase
        report(progress)

    return record


def log(run_dir: Path) -> Callable[[str], object]:
    """Return a function that appends a line with the time to the log of a run."""

    def append(line: str) -> None:
        append_privately(run_dir / LOG, f"{_now()} {line}\n".encode())

    return append


def _add_point(run_dir: Path, step: FittingStep) -> None:
    row = {name: _number(getattr(step, name)) for name in _COLUMNS} | {"stage": step.stage, "at": _now()}
    append_privately(run_dir / POINTS, f"{json.dumps(row)}\n".encode())


def _number(value: float) -> float | None:
    if isinstance(value, int):
        return value
    return round(value, 5) if math.isfinite(value) else None


def read_points(run_dir: Path, most: int = 1000) -> list[dict[str, Any]]:
    """Return the training curve of the run in `run_dir`, oldest row first.

    About `most` rows, evenly spread; the newest is always included.
    """
    try:
        lines = (run_dir / POINTS).read_bytes().splitlines()
    except OSError:
        return []
    every = max(1, math.ceil(len(lines) / most))
    chosen = lines[(len(lines) - 1) % every :: every] if lines else []
    return [row for line in chosen if (row := _row(line))]


def forget_points(run_dir: Path, epochs: int) -> None:
    """Delete the rows of `run_dir` after the first `epochs` epochs: a resumed run fits those again."""
    path = run_dir / POINTS
    if not path.exists():
        return
    rows = [row for line in path.read_bytes().splitlines() if (row := _row(line)) and row["epoch"] <= epochs]
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


def _row(line: bytes) -> dict[str, Any] | None:
    try:  # the last line may be incomplete
        row = parse_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("epoch"), int) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

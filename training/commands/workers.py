"""Hidden commands of `python -m training`: what the processes of background tasks run."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.errors import AppError
from core.settings import Settings
from model.tf_startup import start_tensorflow
from training.commands.terminal import terminal_report
from training.runs import audits, background, candidate, estimate, processes, recalibrations, run_queue

NAMES = ("_audit", "_run", "_compare", "_measure", "_recalibrate")
_RESERVE, _RESERVE_BYTES = ".reserve", 64 * 1024


def add_workers(acts: Any) -> None:
    """Add the hidden commands to the sub-parsers; each sets `act` to (options, settings) → exit status."""
    for name, argument, kind, act in zip(
        NAMES,
        ("folder", "folder", "folder", "architecture", "folder"),
        (Path, Path, Path, str, Path),
        (_audit, _run, _compare, _measure, _recalibrate),
        strict=True,
    ):
        worker = acts.add_parser(name, description="Started by the app.")
        worker.add_argument(argument, type=kind)
        worker.set_defaults(act=act)


@contextlib.contextmanager
def failure_kept(folder: Path) -> Iterator[None]:
    """Write an error that ends the work into `folder`, with its advice, before it is raised again."""
    try:
        yield
    except Exception as error:
        processes.write_error(folder, error)
        raise


def _audit(options: argparse.Namespace, _settings: Settings) -> int:
    with failure_kept(options.folder):
        audits.work(options.folder)
    return 0


def _compare(options: argparse.Namespace, settings: Settings) -> int:
    with failure_kept(options.folder / candidate.FOLDER):
        start_tensorflow(in_batches=True)
        from training.runs.side_by_side import compare_run

        result = compare_run(settings, options.folder)
    print(f"compared {result.candidate} with {result.against} on {result.n} radiographs", file=sys.stderr)
    return 0


def _measure(options: argparse.Namespace, settings: Settings) -> int:
    with failure_kept(estimate.folder(settings, options.architecture)):
        start_tensorflow(in_batches=True)
        from training.runs.measure import measure

        estimate.keep_speed(settings, measure(options.architecture))
    return 0


def _recalibrate(options: argparse.Namespace, settings: Settings) -> int:
    folder = options.folder.resolve()
    # The working folder differs from that of the starting process, and the setting may be relative.
    settings = dataclasses.replace(settings, data_dir=folder.parent)
    with failure_kept(folder):
        os.nice(5)  # the same machine assesses radiographs
        start_tensorflow(in_batches=True)
        from training.runs.site_recalibration import recalibrate_for_site

        version, data, who = recalibrations.requested(folder)
        made = recalibrate_for_site(
            settings, version, data, settings.versions_dir, who=who, report=recalibrations.status_report(folder)
        )
        recalibrations.keep_result(folder, made.folder)
    print(f"version {made.folder.name}", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace, settings: Settings) -> int:
    """Train the run of a folder; every error is written there."""
    folder = options.folder.resolve()
    # The working folder differs from that of the starting process, and the setting may be relative.
    settings = dataclasses.replace(settings, data_dir=folder.parent.parent)
    # Before the check for a cancellation, which is recorded before the process is looked up.
    processes.record_process(folder, os.getpid())
    try:
        if background.is_cancelled(folder):
            return 0
        os.nice(5)  # the same machine assesses radiographs
        _train(folder, settings)
        return 0
    except BaseException as error:  # the page shows any error
        (folder / _RESERVE).unlink(missing_ok=True)
        processes.write_error(folder, error)
        _print_error(error)
        return 1
    finally:
        (folder / _RESERVE).unlink(missing_ok=True)
        processes.mark_ended(folder)
        run_queue.advance(settings)


def _train(folder: Path, settings: Settings) -> None:
    from training.runs.preflight import check_resources
    from training.runs.request import read_config, read_request

    check_resources(folder, read_config(folder), read_request(folder))
    # Deleted when the disk is full, so that there is room for the error.
    (folder / _RESERVE).write_bytes(os.urandom(_RESERVE_BYTES))
    from model import tf_startup

    tf_startup.start_tensorflow(in_batches=True)
    from training.runs.run import execute

    with tqdm(disable=True) as bar:
        made = execute(folder, settings, terminal_report(bar))
    print(f"version {made.name}", file=sys.stderr, flush=True)


def _print_error(error: BaseException) -> None:
    with contextlib.suppress(OSError):  # the log may be on the disk that is full
        if isinstance(error, AppError):
            print(error, error.advice, sep="\n", file=sys.stderr, flush=True)
        else:
            traceback.print_exception(error)

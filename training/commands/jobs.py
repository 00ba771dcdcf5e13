"""python -m training runs | start | watch | cancel | resume: runs in the background, the same as on the page."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from core.errors import AppError, RunError
from core.formatting import format_short_duration
from core.settings import Settings
from model.registry import active_version, load_card, version_folder
from training.commands.promote import command_line_user
from training.commands.terminal import terminal_report
from training.commands.train import add_recipe_options, config_of, named_folder, starting_weights
from training.fitting.progress import FITTING
from training.runs import background, jobs, processes, run_queue
from training.runs.jobs import Job
from training.runs.run_queue import JobRequest

START_EXAMPLES = """examples:
  python -m training start --data chest_xray --from in-use --preset quick
  python -m training start --data chest_xray --from imagenet --preset thorough
  python -m training start --data chest_xray --from 2026.11.21-3 --learning-rate 1e-4

The run goes on when the terminal is closed. One run is trained at a time; further ones wait in a queue.
"""
WATCH_EXAMPLES = """examples:
  python -m training watch
  python -m training watch 2026.11.20-142233

exit status: 0 it is done, 1 it failed or was cancelled; Ctrl-C ends the watching, not the run
"""
_LOOK_SECONDS = 0.5
_RESERVE, _RESERVE_BYTES = ".reserve", 64 * 1024


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    runs = acts.add_parser(
        "runs",
        help="list the training runs: what each is doing or what came of it",
        epilog="example: python -m training runs",
    )
    runs.set_defaults(act=_runs)
    start = acts.add_parser(
        "start",
        help="train in the background, or put into the queue",
        epilog=START_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    start.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with NORMAL/ and PNEUMONIA/, or with train/ [val/] [test/] above them",
    )
    start.add_argument(
        "--from",
        dest="start_from",
        metavar="WHAT",
        help="starting point: in-use (the classifier in use), imagenet, or a version (default: --backbone-weights)",
    )
    start.add_argument("--note", default="", metavar="TEXT", help="a remark for the card")
    start.add_argument(
        "--also-evaluate",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="evaluate on a further folder and put the result onto the card; may be repeated",
    )
    add_recipe_options(start)
    start.set_defaults(act=_start)
    watch = acts.add_parser(
        "watch",
        help="look on while a run is trained",
        epilog=WATCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    watch.add_argument("run", nargs="?", metavar="RUN", help="(default: the one that runs, else the newest)")
    watch.set_defaults(act=_watch)
    for name, act, text in (
        ("cancel", _cancel, "end a run, or take it out of the queue; what it has done stays"),
        ("resume", _resume, "go on with a cancelled or failed run from its last epoch"),
    ):
        one = acts.add_parser(name, help=text, epilog=f"example: python -m training {name} 2026.11.20-142233")
        one.add_argument("run", metavar="RUN", help="as `runs` lists it")
        one.set_defaults(act=act)
    work = acts.add_parser("_run")  # started by training.runs.jobs
    work.add_argument("folder", type=Path)
    work.set_defaults(act=_work)


def _runs(_options: argparse.Namespace, settings: Settings) -> int:
    run_queue.advance(settings)
    listed = jobs.list_jobs(settings)
    if not listed:
        print("No run yet. Start one with: python -m training start --data DIR", file=sys.stderr)
        return 0
    rows = [("run", "state", "preset", "epochs", "AUROC", "minutes", "version")]
    rows += [
        (
            job.id,
            _state(job),
            job.preset or "–",
            _stage(job),
            "–" if job.val_auroc is None else f"{job.val_auroc:.4f}",
            f"{job.minutes:.1f}",
            job.version or "–",
        )
        for job in listed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _state(job: Job) -> str:
    return f"queued, place {job.place}" if job.state == "queued" else job.state


def _stage(job: Job) -> str:
    if job.state == "running":
        return f"{job.fitting.get('stage')} {job.fitting.get('epoch')}/{job.epochs}" if job.fitting else job.phase
    return f"{job.epochs_done}/{job.epochs}"


def _start(options: argparse.Namespace, settings: Settings) -> int:
    try:
        weights = _starting_point(options, settings)
        config = config_of(options, has_weights=weights != "random")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    job = run_queue.enqueue(
        settings,
        JobRequest(options.data, config.to_json(), weights, options.preset, options.note, tuple(options.also_evaluate)),
        command_line_user(),
    )
    print(job.id)
    waits = f"It waits at place {job.place}." if job.state == "queued" else "It has begun."
    print(f"{waits} Watch it with: python -m training watch {job.id}", file=sys.stderr)
    return 0


def _starting_point(options: argparse.Namespace, settings: Settings) -> str:
    """Return the starting weights; a version also says which network it is, and of which size."""
    if options.start_from in (None, "imagenet"):
        options.backbone_weights = options.start_from or options.backbone_weights
        return starting_weights(options, settings, options.architecture or "inception_v3")
    version = active_version(settings) if options.start_from == "in-use" else options.start_from
    card = load_card(settings, version)
    if options.recipe is None:
        options.architecture = options.architecture or card.architecture
        options.input_px = options.input_px or card.preprocessing.get("input_px")
    return str((version_folder(settings, version) / card.weights_file).resolve())


def _cancel(options: argparse.Namespace, settings: Settings) -> int:
    before = jobs.read_job(settings, options.run)
    job = run_queue.cancel(settings, options.run, command_line_user())
    if before.state not in ("queued", "running"):
        print(f"{job.id} had ended already: {job.state}.", file=sys.stderr)
    elif job.state == "done":
        print(f"{job.id} was done before it could be cancelled: version {job.version}.", file=sys.stderr)
    else:
        print(f"{job.id} is cancelled. Go on with: python -m training resume {job.id}", file=sys.stderr)
    return 0


def _resume(options: argparse.Namespace, settings: Settings) -> int:
    job = run_queue.resume(settings, options.run, command_line_user())
    print(f"{job.id} is {_state(job)}. Watch it with: python -m training watch {job.id}", file=sys.stderr)
    return 0


def _watch(options: argparse.Namespace, settings: Settings) -> int:
    run_queue.advance(settings)
    id = options.run or _worth_watching(settings)
    try:
        with tqdm(disable=None, leave=False, bar_format="{desc} {bar} {percentage:3.0f}%") as bar:
            job = _look_on(settings, id, bar)
    except KeyboardInterrupt:
        print(f"{id} goes on. Look again with: python -m training watch {id}", file=sys.stderr)
        return 130
    if job.state == "done":
        area = "" if job.val_auroc is None else f", validation AUROC {job.val_auroc:.4f}"
        print(f"{id} is done: version {job.version}{area}.")
        return 0
    print(f"{id} {'failed' if job.state == 'failed' else 'was cancelled'}.", file=sys.stderr)
    if job.failure:
        print(*job.failure.last_log_lines, job.failure.message, job.failure.advice, sep="\n", file=sys.stderr)
    print(f"Go on with: python -m training resume {id}", file=sys.stderr)
    return 1


def _worth_watching(settings: Settings) -> str:
    listed = jobs.list_jobs(settings)
    if not listed:
        raise RunError(
            "expected a run to watch. Received: none", advice="Start one with: python -m training start --data DIR"
        )
    return next((job.id for job in listed if job.state == "running"), listed[0].id)


def _look_on(settings: Settings, id: str, bar: tqdm[NoReturn]) -> Job:
    """Show a run until it has ended, on one line of a terminal or as a line for each phase and epoch."""
    said, epochs = "", 0
    while True:
        job = jobs.read_job(settings, id)
        rows = jobs.epochs(job)
        if bar.disable:
            title = _state(job) if job.state == "queued" else job.phase
            if title not in ("", said):
                said = title
                print(title, flush=True)
            for row in rows[epochs:]:
                print(_epoch_said(row, job.epochs), flush=True)
            epochs = len(rows)
        else:
            bar.total = job.total or None
            bar.n = job.done
            bar.set_description_str(_now_said(job), refresh=False)
            bar.refresh()
        if job.state not in ("queued", "running"):
            return job
        time.sleep(_LOOK_SECONDS)
        run_queue.advance(settings)


def _epoch_said(row: Mapping[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs} {row['stage']} · loss {row['loss']:.3f} · AUROC train "
        f"{row['train_auroc']:.4f}, validation {row['val_auroc']:.4f} · {row['seconds']:.0f} s"
    )


def _now_said(job: Job) -> str:
    if job.state == "queued":
        return f"waits at place {job.place}"
    if job.phase != FITTING:
        return job.phase
    left = job.seconds_left or 0.0
    area = "–" if job.val_auroc is None else f"{job.val_auroc:.4f}"
    return (
        f"epoch {job.fitting['epoch']}/{job.epochs} {job.fitting['stage']} · loss {job.fitting['loss']:.3f} · "
        f"validation AUROC {area} · {job.images_per_second or 0:.1f} images/s · "
        f"{format_short_duration(left)} left"
    )


def _work(options: argparse.Namespace, settings: Settings) -> int:
    """Train the run of a folder in this process; what goes wrong is written down there for a person."""
    folder = options.folder.resolve()
    # This process has another working folder than whoever started it, and the setting may be relative.
    settings = dataclasses.replace(settings, data_dir=folder.parent.parent)
    # Before the look whether somebody cancelled it: they write that down first and then look for the process.
    processes.remember(folder, os.getpid())
    try:
        if background.is_cancelled(folder):
            return 0
        os.nice(5)  # the same machine reads radiographs
        _train(folder, settings)
        return 0
    except BaseException as error:  # whatever it is, the page must be able to say it
        (folder / _RESERVE).unlink(missing_ok=True)
        processes.write_error(folder, error)
        _say(error)
        return 1
    finally:
        (folder / _RESERVE).unlink(missing_ok=True)
        processes.leave(folder)
        run_queue.advance(settings)


def _train(folder: Path, settings: Settings) -> None:
    from training.fitting.config import TrainingConfig
    from training.runs.preflight import check_resources
    from training.runs.request import CONFIG, read_request

    config = TrainingConfig.from_json((folder / CONFIG).read_text(encoding="utf-8"))
    check_resources(folder, config, read_request(folder))
    # Given back when the disk is full, so that there is room to say so.
    (folder / _RESERVE).write_bytes(os.urandom(_RESERVE_BYTES))
    from model.tf_startup import start_tensorflow

    start_tensorflow(in_batches=True)
    from training.runs.run import execute

    with tqdm(disable=True) as bar:
        made = execute(folder, settings, terminal_report(bar))
    print(f"version {made.name}", file=sys.stderr, flush=True)


def _say(error: BaseException) -> None:
    with contextlib.suppress(OSError):  # the log may be on the disk that is full
        if isinstance(error, AppError):
            print(error, error.advice, sep="\n", file=sys.stderr, flush=True)
        else:
            traceback.print_exception(error)

"""Commands `runs`, `start`, `watch`, `cancel` and `resume`: training in the background."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from tqdm import tqdm

from core.errors import RunError
from core.formatting import format_short_duration
from core.printable import printable
from core.settings import Settings
from model.registry import active_version, load_card, version_folder
from records.activity import command_line_user, note, noted
from training.commands.arguments import (
    add_command,
    add_data_options,
    add_description_options,
    add_patient_options,
    data_of,
    named_folder,
    stated_of,
    trainable,
)
from training.commands.train import (
    add_recipe_options,
    add_tensorboard_option,
    architecture_of,
    config_of,
    say_split,
    starting_weights,
)
from training.fitting.progress import FITTING
from training.runs import jobs, run_queue
from training.runs.jobs import Job
from training.runs.run_queue import JobRequest

_POLL_SECONDS = 0.5


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    runs = add_command(acts, "runs", "list the training runs with their states and results", "runs")
    runs.set_defaults(act=_runs)
    start = add_command(
        acts,
        "start",
        "train in the background, or add a training to the queue",
        "start --data chest_xray --from in-use --preset quick",
        "start --data chest_xray --from imagenet --preset thorough",
        "start --data chest_xray --from 2026.11.21-3 --learning-rate 1e-4 --tensorboard logs",
        note="The run continues when the terminal is closed. One run is trained at a time; others wait in a queue.",
    )
    add_data_options(start)
    add_patient_options(start)
    start.add_argument(
        "--from",
        dest="start_from",
        metavar="WHAT",
        help="starting point: in-use (the classifier in use), imagenet, or a version (default: --backbone-weights)",
    )
    start.add_argument("--note", default="", metavar="TEXT", help="note for the model card")
    start.add_argument(
        "--also-evaluate",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="evaluate on a further folder too; the result goes onto the model card; may be repeated",
    )
    add_tensorboard_option(start)
    add_description_options(start)
    add_recipe_options(start)
    start.set_defaults(act=_start)
    watch = add_command(
        acts,
        "watch",
        "show the progress of a run until it ends",
        "watch",
        "watch 2026.11.20-142233",
        note="exit status: 0 the run is done, 1 it failed or was cancelled; Ctrl-C ends the display, not the run",
    )
    watch.add_argument(
        "run", nargs="?", metavar="RUN", help="name of a run (default: the running one, else the newest)"
    )
    watch.set_defaults(act=_watch)
    for name, act, text in (
        ("cancel", _cancel, "cancel a run, or remove it from the queue; finished epochs are kept"),
        ("resume", _resume, "resume a cancelled or failed run after its last finished epoch"),
    ):
        one = add_command(acts, name, text, f"{name} 2026.11.20-142233")
        one.add_argument("run", metavar="RUN", help="name of a run, as listed by `runs`")
        one.set_defaults(act=act)


def _runs(_options: argparse.Namespace, settings: Settings) -> int:
    run_queue.advance(settings)
    listed = jobs.list_jobs(settings)
    if not listed:
        print("No run yet. Start one: python -m training start --data chest_xray", file=sys.stderr)
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
        print(printable("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()))
    return 0


def _state(job: Job) -> str:
    return f"queued, position {job.place}" if job.state == "queued" else job.state


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
        JobRequest(
            data_of(options, settings),
            config.to_json(),
            weights,
            options.preset,
            options.note,
            tuple(options.also_evaluate),
            stated_of(options),
            tensorboard=None if options.tensorboard is None else options.tensorboard.resolve(),
        ),
        command_line_user(),
    )
    note(settings, "start", who=command_line_user(), object=job.id)
    say_split(data_of(options, settings))
    print(job.id)
    waits = f"Queued at position {job.place}." if job.state == "queued" else "Started."
    print(f"{waits} Show its progress: python -m training watch {job.id}", file=sys.stderr)
    return 0


def _starting_point(options: argparse.Namespace, settings: Settings) -> str:
    """Return the initial weights; for a version, also its architecture and input size."""
    trainable(architecture_of(options))
    if options.start_from in (None, "imagenet"):
        options.backbone_weights = options.start_from or options.backbone_weights
        return starting_weights(options, settings, architecture_of(options))
    version = active_version(settings) if options.start_from == "in-use" else options.start_from
    card = load_card(settings, version)
    if options.recipe is None:
        options.architecture = options.architecture or card.architecture
        options.input_px = options.input_px or card.preprocessing.get("input_px")
    return str((version_folder(settings, version) / card.weights_file).resolve())


def _cancel(options: argparse.Namespace, settings: Settings) -> int:
    before = jobs.read_job(settings, options.run)
    who = command_line_user()
    with noted(settings, "cancel", who=who, object=before.id):
        job = run_queue.cancel(settings, options.run, who)
    if before.state not in ("queued", "running"):
        print(f"{job.id} had already ended: {job.state}.", file=sys.stderr)
    elif job.state == "done":
        print(f"{job.id} was done before it could be cancelled: version {job.version}.", file=sys.stderr)
    else:
        print(f"{job.id} is cancelled. Resume it: python -m training resume {job.id}", file=sys.stderr)
    return 0


def _resume(options: argparse.Namespace, settings: Settings) -> int:
    who = command_line_user()
    with noted(settings, "resume", who=who, object=jobs.read_job(settings, options.run).id):
        job = run_queue.resume(settings, options.run, who)
    print(f"{job.id} is {_state(job)}. Show its progress: python -m training watch {job.id}", file=sys.stderr)
    return 0


def _watch(options: argparse.Namespace, settings: Settings) -> int:
    run_queue.advance(settings)
    id = options.run or _default_run(settings)
    try:
        with tqdm(disable=None, leave=False, bar_format="{desc} {bar} {percentage:3.0f}%") as bar:
            job = _show_until_end(settings, id, bar)
    except KeyboardInterrupt:
        print(f"{id} continues in the background. Show its progress: python -m training watch {id}", file=sys.stderr)
        return 130
    if job.state == "done":
        area = "" if job.val_auroc is None else f", validation AUROC {job.val_auroc:.4f}"
        print(f"{id} is done: version {job.version}{area}.")
        return 0
    print(f"{id} {'failed' if job.state == 'failed' else 'was cancelled'}.", file=sys.stderr)
    if job.failure:
        said = (*job.failure.last_log_lines, job.failure.message, job.failure.advice)
        print(*map(printable, said), sep="\n", file=sys.stderr)
    print(f"Resume it: python -m training resume {id}", file=sys.stderr)
    return 1


def _default_run(settings: Settings) -> str:
    listed = jobs.list_jobs(settings)
    if not listed:
        raise RunError(
            "expected a run to watch. Received: none", advice="Start one: python -m training start --data chest_xray"
        )
    return next((job.id for job in listed if job.state == "running"), listed[0].id)


def _show_until_end(settings: Settings, id: str, bar: tqdm[NoReturn]) -> Job:
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
                print(_epoch_line(row, job.epochs), flush=True)
            epochs = len(rows)
        else:
            bar.total = job.total or None
            bar.n = job.done
            bar.set_description_str(_present_state(job), refresh=False)
            bar.refresh()
        if job.state not in ("queued", "running"):
            return job
        time.sleep(_POLL_SECONDS)
        run_queue.advance(settings)


def _epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs} {row['stage']} · loss {row['loss']:.3f} · AUROC train "
        f"{row['train_auroc']:.4f}, validation {row['val_auroc']:.4f} · {row['seconds']:.0f} s"
    )


def _present_state(job: Job) -> str:
    if job.state == "queued":
        return f"queued at position {job.place}"
    if job.phase != FITTING:
        return job.phase
    left = job.seconds_left or 0.0
    area = "–" if job.val_auroc is None else f"{job.val_auroc:.4f}"
    return (
        f"epoch {job.fitting['epoch']}/{job.epochs} {job.fitting['stage']} · loss {job.fitting['loss']:.3f} · "
        f"validation AUROC {area} · {job.images_per_second or 0:.1f} images/s · "
        f"{format_short_duration(left)} left"
    )

"""python -m training compare RUN, and the process behind the comparison that the page starts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.errors import ClassifierError, DatasetError
from core.files import write_atomically
from core.formatting import format_estimate
from core.progress import Report, ignore
from core.settings import Settings
from model.registry import active_version
from model.tf_startup import start_tensorflow
from training.commands.terminal import terminal_report
from training.evaluation.compare import comparison_to_text
from training.runs import candidate, processes
from training.runs.candidate_result import CandidateComparison, result_to_json


def add_commands(acts: Any) -> None:
    """Add the hidden sub-command; `compare` itself is in `training.commands.evaluate`."""
    work = acts.add_parser("_compare")  # without help it is not listed
    work.add_argument("folder", type=Path)
    work.set_defaults(act=_work)


def compare_run_and_print(run_id: str, against: str | None, json_file: Path | None, settings: Settings) -> int:
    """Compare the version of a run with another one, by default the one in use, and print what was found.

    A comparison that still holds is printed and not made again. Raises DatasetError or ClassifierError when there is
    no such run, nothing to compare, or a comparison going on.
    """
    folder = candidate.run_of(settings, run_id)
    if folder is None:
        raise DatasetError(
            f"expected the name of a training run. Received: {run_id}",
            advice="List the runs with: python -m training runs",
        )
    against = against or active_version(settings)
    result = candidate.read_comparison(folder).result
    if result is None or result.against != against or not candidate.weights_are_same(settings, result):
        result = _here(settings, folder, against)
    if json_file is not None:
        write_atomically(json_file, result_to_json(result) + "\n")
    print(result_to_text(result))
    return 0


def result_to_text(result: CandidateComparison) -> str:
    """Return what was found as tables for a terminal; films go by their place among those compared."""
    names = [f"film {index + 1}" for index in range(result.n)]
    lines = [
        comparison_to_text(result.comparison, names, result.split),
        f"  {'accuracy of the same films changed':<36}{'A':<22}B (n = {result.robustness[0].n})",
    ]
    lines += [
        f"    {a.name:<34}{format_estimate(a.accuracy, 3):<22}{format_estimate(b.accuracy, 3)}"
        for a, b in zip(result.robustness, result.robustness_against, strict=True)
    ]
    return "\n".join([*lines, *result.remarks])


def _here(settings: Settings, folder: Path, against: str) -> CandidateComparison:
    """Compare in this process; the page shows it as it would show one that it has started."""

    def begin(comparison: Path, _: object) -> None:
        processes.remember(comparison, os.getpid())

    if not candidate.start_comparison(settings, folder, against, begin):
        raise ClassifierError(
            "expected a run that is not being compared. Received: one that is",
            advice="Wait until the comparison that is going on has ended.",
        )
    with tqdm(disable=None, leave=False) as bar:
        return _compared(settings, folder, terminal_report(bar))


def _work(options: argparse.Namespace, settings: Settings) -> int:
    result = _compared(settings, options.folder, None)
    print(f"compared {result.candidate} with {result.against} on {result.n} films", file=sys.stderr)
    return 0


def _compared(settings: Settings, folder: Path, report: Report | None) -> CandidateComparison:
    try:
        start_tensorflow(in_batches=True)
        from training.runs.side_by_side import compare_run

        return compare_run(settings, folder, report or ignore)
    except Exception as error:
        processes.write_error(folder / candidate.FOLDER, error)
        raise
    finally:
        if report is not None:  # the process goes on after this: it must not look as if it still compared
            (folder / candidate.FOLDER / processes.PROCESS).unlink(missing_ok=True)

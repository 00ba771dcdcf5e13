"""Comparison of a run's version with another one on a terminal, for the command `compare`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from core.errors import ClassifierError, DatasetError
from core.files import write_atomically
from core.formatting import format_estimate
from core.settings import Settings
from model.registry import active_version
from model.tf_startup import start_tensorflow
from training.commands.terminal import terminal_report
from training.commands.workers import failure_kept
from training.data.sample import digest
from training.evaluation.compare import comparison_to_text
from training.runs import candidate, processes
from training.runs.candidate_result import CandidateComparison, result_to_json
from training.runs.held_out import held_out_films
from training.runs.request import read_request


def compare_run_and_print(run_id: str, against: str | None, json_file: Path | None, settings: Settings) -> int:
    """Compare the version of a run with another one and print the result; a valid earlier comparison is not repeated.

    Parameters
    ----------
    run_id
        Name of the run.
    against
        The other version; None for the one in use.
    json_file
        File for the result as JSON, None for none.
    settings
        The installation.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    DatasetError
        If there is no such run, or its held-out radiographs cannot be used.
    ClassifierError
        If there is nothing to compare, or a comparison of the run is running.
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
    print(result_to_text(result, film_names(folder, result)))
    return 0


def film_names(run_folder: Path, result: CandidateComparison) -> list[str]:
    """Return the names of the radiographs of `result`, a comparison of the run in `run_folder`.

    Paths below their source, or numbers where its radiographs have changed.
    """
    with contextlib.suppress(DatasetError, OSError):
        data, held = read_request(run_folder).data, held_out_films(run_folder).samples
        used = [film for place, film in enumerate(held) if place not in result.unreadable]
        if digest(used) == result.films_digest:
            return [data.name_of(film.path) for film in used]
    return [f"radiograph {index + 1}" for index in range(result.n)]


def result_to_text(result: CandidateComparison, names: Sequence[str]) -> str:
    """Return a comparison as tables for a terminal.

    Parameters
    ----------
    result
        The comparison.
    names
        (n,), names of the radiographs.
    """
    lines = [
        comparison_to_text(result.comparison, names, result.split),
        f"  {'accuracy after perturbation':<36}{'A':<22}B (n = {result.robustness[0].n})",
    ]
    lines += [
        f"    {a.name:<34}{format_estimate(a.accuracy, 3):<22}{format_estimate(b.accuracy, 3)}"
        for a, b in zip(result.robustness, result.robustness_against, strict=True)
    ]
    return "\n".join([*lines, *result.remarks])


def _here(settings: Settings, folder: Path, against: str) -> CandidateComparison:
    """Compare in this process; the page shows it as it would show one that it has started."""

    def begin(comparison: Path, _: object) -> None:
        processes.record_process(comparison, os.getpid())

    if not candidate.start_comparison(settings, folder, against, begin):
        raise ClassifierError(
            "expected a run that is not being compared. Received: one that is",
            advice="Wait until the comparison that is going on has ended.",
        )
    with tqdm(disable=None, leave=False) as bar:
        try:
            with failure_kept(folder / candidate.FOLDER):
                start_tensorflow(in_batches=True)
                from training.runs.side_by_side import compare_run

                return compare_run(settings, folder, terminal_report(bar))
        finally:  # this process continues and must not appear to be comparing
            (folder / candidate.FOLDER / processes.PROCESS).unlink(missing_ok=True)

"""Comparison of a run's version with the classifier in use: its state, and the background task that makes it.

    <run>/comparison/request.json     both versions, and the checksums of their weights
    <run>/comparison/status.json      progress
    <run>/comparison/comparison.json  the result; written last, in one step
    <run>/comparison/*.png            the radiographs with the largest disagreement, without and with both evidence maps

`training.runs.side_by_side` does the work in a process of its own. This module does not import TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from core.errors import AppError, ClassifierError, DatasetError
from core.files import write_atomically
from core.settings import Settings
from model.card import ModelCard
from model.registry import active_version, load_card
from training.data.audit import Audit, audit_from_json, with_split
from training.data.audit_split import audit_split
from training.data.manifest import MANIFEST, read_manifest_rows
from training.evaluation.robustness import PERTURBATIONS
from training.runs import processes, request
from training.runs.background import BackgroundTask, Launch
from training.runs.candidate_result import CandidateComparison, result_from_json
from training.runs.held_out import Split, made_version
from training.runs.processes import Failure

FOLDER, RESULT, REQUEST = "comparison", "comparison.json", "request.json"
# Robustness costs one forward pass for each perturbation, so it is measured on no more radiographs than these.
ROBUSTNESS_FILMS = 100


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """State of the comparison of a run: `done` of `total` forward passes, and the seconds left, None if unknown."""

    state: Literal["none", "running", "done", "failed"]
    phase: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    result: CandidateComparison | None = None
    failure: Failure | None = None


def run_of(settings: Settings, run_id: str) -> Path | None:
    """Return the folder of a run, None where there is none.

    Parameters
    ----------
    settings
        The folder of the runs.
    run_id
        An untrusted name; one that leads out of the folder of the runs is not found.
    """
    if not run_id or run_id.startswith(".") or Path(run_id).name != run_id:
        return None
    folder = settings.runs_dir / run_id
    return folder if (folder / request.REQUEST).is_file() else None


def start_comparison(settings: Settings, run_folder: Path, against: str, launch: Launch | None = None) -> bool:
    """Start comparing a run's version with another one in the background; an earlier result of the run is deleted.

    Parameters
    ----------
    settings
        The installation with both versions.
    run_folder
        A run that has made a version, the candidate.
    against
        The other version, usually the one in use.
    launch
        Takes the comparison's folder and the arguments of `python -m training`; starts a process by default.

    Returns
    -------
    bool
        False if a comparison of the run is already running.

    Raises
    ------
    ClassifierError
        If the run has made no version, or both versions are the same.
    """
    candidate = made_version(run_folder)
    if candidate is None:
        raise ClassifierError(
            "expected a run that has made a version. Received: one that has not",
            advice="Wait until the run is done, or resume it.",
        )
    if candidate == against:
        raise ClassifierError(
            f"expected two versions. Received: {candidate}, which is in use, twice",
            advice="Choose a run whose version is not in use.",
        )
    asked = {"candidate": candidate, "against": against}
    cards = {f"{side}_sha256": load_card(settings, version).sha256 for side, version in asked.items()}
    return _task(run_folder).start(
        lambda: write_atomically(run_folder / FOLDER / REQUEST, json.dumps(asked | cards)), launch=launch
    )


def read_comparison(run_folder: Path) -> ComparisonState:
    """Return the state of the comparison of a run, with its result once it is complete."""
    task = _task(run_folder)
    state = task.state()
    if state == "running":
        now = task.status()
        return ComparisonState("running", now.phase, now.done, now.total, now.seconds_left)
    if state == "done" and (result := _result(run_folder / FOLDER)) is not None:
        return ComparisonState("done", result=result)
    failure = task.failure()
    return ComparisonState("none" if failure is None else "failed", failure=failure)


def _task(run_folder: Path) -> BackgroundTask:
    folder = run_folder / FOLDER
    return BackgroundTask(
        "comparison",
        folder,
        ("_compare", str(run_folder.resolve())),
        (folder / RESULT).is_file,
        (RESULT, "*.png", processes.OUTPUT),
    )


def is_current(settings: Settings, result: CandidateComparison) -> bool:
    """Return whether a comparison is with the version in use and the weights of both versions are unchanged.

    Parameters
    ----------
    settings
        The installation.
    result
        The comparison.
    """
    try:
        return result.against == active_version(settings) and weights_are_same(settings, result)
    except AppError:
        return False


def weights_are_same(settings: Settings, result: CandidateComparison) -> bool:
    """Return whether the cards under `settings` have the checksums of the weights that `result` compared."""
    try:
        return all(
            load_card(settings, version).sha256 == sha256
            for version, sha256 in (
                (result.candidate, result.candidate_sha256),
                (result.against, result.against_sha256),
            )
        )
    except AppError:
        return False


def run_audit(run_folder: Path) -> Audit | None:
    """Return the audit of a run's training data and split, None where it is missing or damaged.

    The split of a run that was made before splits were audited is audited from its records.
    """
    try:
        audit = audit_from_json((run_folder / "audit.json").read_text(encoding="utf-8"))
        if audit.split is None:
            rows = read_manifest_rows(run_folder / MANIFEST)
            split = audit_split(
                [row.sample for row in rows],
                np.array([row.part == "validation" for row in rows], dtype=bool),
                [row.group for row in rows] if all(row.group for row in rows) else (),
                [row.sample.path.as_posix() for row in rows],
                [group.files for group in (*audit.exact_duplicate_groups, *audit.near_duplicate_groups)],
            )
            audit = with_split(audit, split)
    except DatasetError:  # the rules say that there is no split on record
        return audit
    except (OSError, ValueError):
        return None
    return audit


def films_to_compare(card: ModelCard) -> tuple[Split, int]:
    """Return the split on which the version of a card will be compared, and its number of radiographs, 0 if unknown."""
    split: Split = "test" if "test" in card.evaluations else "validation"
    return split, card.evaluations[split].n if split in card.evaluations else 0


def forward_passes(n: int) -> int:
    """Return the number of forward passes in the comparison of two classifiers on `n` radiographs."""
    mild = sum(one.mild for one in PERTURBATIONS)
    return 2 * (n + min(n, ROBUSTNESS_FILMS) * (1 + mild))


def _result(folder: Path) -> CandidateComparison | None:
    try:
        return result_from_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DatasetError):
        return None

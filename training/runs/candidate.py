"""A run's version beside the classifier in use: what was found, as values, and the background work that finds it.

    <run>/comparison/request.json     which two versions, and their checksums
    <run>/comparison/status.json      where it stands
    <run>/comparison/comparison.json  what was found; written last, so that it is all there or not at all
    <run>/comparison/*.png            the films on which the two differ most, without and with both influence maps

`training.runs.side_by_side` does the work in a process of its own. No tensorflow here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import AppError, ClassifierError, DatasetError
from core.files import write_atomically
from core.settings import Settings
from model.card import ModelCard
from model.registry import active_version, load_card
from training.data.audit import Audit, audit_from_json
from training.evaluation.robustness import PERTURBATIONS
from training.runs import processes, request
from training.runs.background import BackgroundTask, Launch
from training.runs.candidate_result import CandidateComparison, result_from_json
from training.runs.held_out import Split, made_version
from training.runs.processes import Failure

FOLDER, RESULT, REQUEST = "comparison", "comparison.json", "request.json"
# Robustness costs one reading for each change, so it is measured on no more films than these.
ROBUSTNESS_FILMS = 100


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """Where the comparison of a run stands; `done` of `total` readings, and how long the rest will take, if known."""

    state: Literal["none", "running", "done", "failed"]
    phase: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    result: CandidateComparison | None = None
    failure: Failure | None = None


def run_of(settings: Settings, run_id: str) -> Path | None:
    """Return the folder of a run by its name, None when there is none; a name never leads out of the runs' folder."""
    if not run_id or run_id.startswith(".") or Path(run_id).name != run_id:
        return None
    folder = settings.runs_dir / run_id
    return folder if (folder / request.REQUEST).is_file() else None


def start_comparison(settings: Settings, run_folder: Path, against: str, launch: Launch | None = None) -> bool:
    """Start comparing the run's version with `against` in the background; return False when that is going on already.

    The result of an earlier comparison of the run is deleted. `launch` gets the comparison's folder and the arguments
    of `python -m training`; by default it starts a process. Raises ClassifierError when there is nothing to compare.
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
    """Return where the comparison of a run stands, with what it found once it is done."""
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
    """Whether the comparison still speaks of the classifier in use, and of both weights as they are."""
    try:
        return result.against == active_version(settings) and weights_are_same(settings, result)
    except AppError:
        return False


def weights_are_same(settings: Settings, result: CandidateComparison) -> bool:
    """Whether both versions still have the weights that were compared, by what their cards say."""
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
    """Return the audit of the data that a run learned from, None when there is none to be read."""
    try:
        return audit_from_json((run_folder / "audit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def films_to_compare(card: ModelCard) -> tuple[Split, int]:
    """Return on which part of its data a version will be compared, and on how many films."""
    split: Split = "test" if "test" in card.evaluations else "validation"
    return split, card.evaluations[split].n if split in card.evaluations else 0


def readings(n: int) -> int:
    """Return how often a film is read by a classifier in the comparison of two on n films."""
    mild = sum(one.mild for one in PERTURBATIONS)
    return 2 * (n + min(n, ROBUSTNESS_FILMS) * (1 + mild))


def _result(folder: Path) -> CandidateComparison | None:
    try:
        return result_from_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DatasetError):
        return None

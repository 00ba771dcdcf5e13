"""A run's version beside the classifier in use: what was found, as values, and the background work that finds it.

    <run>/comparison/request.json     which two versions, and their checksums
    <run>/comparison/status.json      where it stands
    <run>/comparison/comparison.json  what was found; written last, so that it is all there or not at all
    <run>/comparison/*.png            the films on which the two differ most, without and with both influence maps

`training.runs.side_by_side` does the work in a process of its own. No tensorflow here.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.errors import AppError, ClassifierError, DatasetError
from core.files import locked, write_atomically
from core.settings import Settings
from model.card import Evaluation, Measure, ModelCard, evaluation_from
from model.registry import active_version, load_card
from training.data.audit import Audit, audit_from_json
from training.evaluation.compare import Comparison, DeLong, Disagreement, McNemar, Side
from training.evaluation.evaluate import plain
from training.evaluation.robustness import PERTURBATIONS, RobustnessRow
from training.runs import processes, request
from training.runs.estimate import known_speed
from training.runs.held_out import Learned, Split, made_version
from training.runs.processes import Failure

FOLDER, RESULT, REQUEST = "comparison", "comparison.json", "request.json"
# Robustness costs one reading for each change, so it is measured on no more films than these.
ROBUSTNESS_FILMS = 100
_AGAIN = "Start the comparison again. If it happens again, technical support finds the cause in its log."
_START_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DifferingFilm:
    """A film on which the two differ: its place among those compared, its label, both probabilities, its pictures.

    `film`, `map` and `map_against` name PNG files in the comparison's folder; an empty map means that no region of the
    film raised the probability.
    """

    index: int
    label: int
    probability: float
    probability_against: float
    film: str
    map: str
    map_against: str
    map_is_empty: bool = False
    map_against_is_empty: bool = False


@dataclass(frozen=True, slots=True)
class CandidateComparison:
    """A candidate beside the classifier in use, on the same films; in `comparison` a is the candidate.

    `patients` counts patients without and with pneumonia. `films_digest` names the films, and the checksums the weights
    that were compared. `seconds_each` is what one reading of a film by one classifier took.
    """

    candidate: str
    against: str
    candidate_sha256: str
    against_sha256: str
    split: Split
    films_digest: str
    n: int
    left_out: int
    patients: tuple[int, int]
    comparison: Comparison
    evaluation: Evaluation
    evaluation_against: Evaluation
    robustness: tuple[RobustnessRow, ...]
    robustness_against: tuple[RobustnessRow, ...]
    films: tuple[DifferingFilm, ...]
    learned: Learned
    learned_against: Learned
    remarks: tuple[str, ...]
    made_at: str
    seconds_each: float


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


def start_comparison(
    settings: Settings, run_folder: Path, against: str, begin: Callable[[Path, Sequence[str]], object] | None = None
) -> bool:
    """Start comparing the run's version with `against` in the background; return False when that is going on already.

    What an earlier comparison of the run found is thrown away. `begin` gets the comparison's folder and the arguments
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
    folder = run_folder / FOLDER
    folder.mkdir(exist_ok=True)
    with locked(folder / REQUEST):  # two administrators at once start one comparison
        if processes.is_running(folder):
            return False
        for name in (RESULT, processes.PROCESS, processes.STATUS, processes.ERROR):
            (folder / name).unlink(missing_ok=True)
        for picture in folder.glob("*.png"):
            picture.unlink()
        write_atomically(folder / REQUEST, json.dumps(asked | cards))
        (begin or processes.launch)(folder, ("_compare", str(run_folder.resolve())))
    return True


def read_comparison(settings: Settings, run_folder: Path) -> ComparisonState:
    """Return where the comparison of a run stands, with what it found once it is done."""
    folder = run_folder / FOLDER
    for last_look in (False, True):
        if (result := _result(folder)) is not None:
            return ComparisonState("done", result=result)
        # It may have ended between the two looks: then its result is there now.
        if not last_look and processes.is_running(folder):
            status = processes.read_json(folder / processes.STATUS)
            left = status.get("seconds_left")
            return ComparisonState(
                "running",
                str(status.get("phase", "starting")),
                int(status.get("done", 0)),
                int(status.get("total", 0)),
                None if left is None else float(left),
            )
    failure = processes.failure(folder)
    if failure is None:
        return ComparisonState("none")
    # The words of a training run do not fit: a comparison is not resumed but made again.
    return ComparisonState(
        "failed", failure=replace(failure, advice=_AGAIN if "resume" in failure.advice.lower() else failure.advice)
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


def expected_seconds(settings: Settings, card: ModelCard, against: ModelCard) -> float:
    """Estimate how long a comparison will take: from earlier ones on this machine, else from what was measured here.

    Where nothing was, a reading by a network of 22 million parameters at 299 px is taken for a tenth of a second.
    """
    earlier = [
        float(values["seconds_each"])
        for path in settings.runs_dir.glob(f"*/{FOLDER}/{RESULT}")
        if (values := processes.read_json(path)).get("seconds_each")
    ]
    each = (
        statistics.median(earlier)
        if earlier
        else statistics.fmean(_reading_seconds(settings, one) for one in (card, against))
    )
    return _START_SECONDS + readings(films_to_compare(card)[1]) * each


def _reading_seconds(settings: Settings, card: ModelCard) -> float:
    px = float(card.preprocessing.get("input_px", 299))
    if (speed := known_speed(settings, card.architecture)) is not None:
        return (px / speed.input_px) ** 2 / speed.forward
    return 0.005 + 0.1 * (px / 299) ** 2 * min(2.0, card.parameters / 22e6)


def result_to_json(result: CandidateComparison) -> str:
    """Return what was found as JSON that `result_from_json` reads back; an undefined figure is null."""
    return json.dumps(plain(asdict(result)), indent=1, ensure_ascii=False)


def result_from_json(text: str) -> CandidateComparison:
    """Read what was found; raises DatasetError when the text is not that."""
    try:
        values = _nan_for_null(json.loads(text))
        values["comparison"] = _comparison_from(values["comparison"])
        for name in ("evaluation", "evaluation_against"):
            values[name] = evaluation_from(values[name])
        for name in ("robustness", "robustness_against"):
            values[name] = tuple(_row_from(row) for row in values[name])
        for name in ("learned", "learned_against"):
            values[name] = Learned(int(values[name]["films"]), tuple(values[name]["unknown"]))
        values["films"] = tuple(DifferingFilm(**film) for film in values["films"])
        values["patients"] = (int(values["patients"][0]), int(values["patients"][1]))
        values["remarks"] = tuple(values["remarks"])
        return CandidateComparison(**values)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"expected a comparison. Received: JSON that is not one ({type(error).__name__})",
            advice="Start the comparison again.",
        ) from error


def _result(folder: Path) -> CandidateComparison | None:
    try:
        return result_from_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DatasetError):
        return None


def _comparison_from(values: Mapping[str, Any]) -> Comparison:
    def side(one: Mapping[str, Any]) -> Side:
        return Side(one["version"], one["operating_point"], _measures(one["figures"]))

    return Comparison(
        **{
            **values,
            "a": side(values["a"]),
            "b": side(values["b"]),
            "delong": DeLong(**values["delong"]),
            "mcnemar": McNemar(**values["mcnemar"]),
            "differences": _measures(values["differences"]),
            "disagreeing": tuple(Disagreement(**film) for film in values["disagreeing"]),
        }
    )


def _row_from(row: Mapping[str, Any]) -> RobustnessRow:
    fields: dict[str, Any] = {
        name: Measure(**value) if isinstance(value, Mapping) else value for name, value in row.items()
    }
    return RobustnessRow(**fields)


def _measures(values: Mapping[str, Any]) -> dict[str, Measure]:
    return {name: Measure(**measure) for name, measure in values.items()}


def _nan_for_null(value: Any) -> Any:
    if value is None:
        return float("nan")
    if isinstance(value, dict):
        return {name: _nan_for_null(one) for name, one in value.items()}
    return [_nan_for_null(one) for one in value] if isinstance(value, list) else value

"""Result of comparing a run's version with the classifier in use: the values, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import DatasetError
from core.json_text import parse_json
from model.card import Evaluation, Measure, evaluation_from, group_from
from training.evaluation.compare import Comparison, DeLong, Disagreement, GroupDifference, McNemar, Side
from training.evaluation.evaluate import plain
from training.evaluation.robustness import RobustnessRow
from training.runs.held_out import Split, TrainingOverlap


@dataclass(frozen=True, slots=True)
class DifferingFilm:
    """A radiograph on which two classifiers disagree: its index, its label, both probabilities, its pictures.

    `film`, `map` and `map_against` name PNG files in the comparison's folder. An empty map means that no region raised
    the probability.
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
    """Comparison of a candidate (a in `comparison`) with the classifier in use on the same radiographs.

    `unreadable` holds the places, among the radiographs held out, of the `left_out` that could not be read; file names
    are not kept. `patients` counts patients without and with pneumonia. `films_digest` identifies the radiographs, and
    the checksums the weights that were compared. `seconds_each` is the mean time of one forward pass with decoding.
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
    learned: TrainingOverlap
    learned_against: TrainingOverlap
    remarks: tuple[str, ...]
    made_at: str
    seconds_each: float
    unreadable: tuple[int, ...] = ()


def result_to_json(result: CandidateComparison) -> str:
    """Return a comparison as JSON that `result_from_json` reads; an undefined measure is null."""
    return json.dumps(plain(asdict(result)), indent=1, ensure_ascii=False)


def result_from_json(text: str) -> CandidateComparison:
    """Read a comparison that `result_to_json` wrote.

    Raises
    ------
    DatasetError
        If the text is not a comparison.
    """
    try:
        values = _nan_for_null(parse_json(text))
        values["comparison"] = _comparison_from(values["comparison"])
        for name in ("evaluation", "evaluation_against"):
            values[name] = evaluation_from(values[name])
        for name in ("robustness", "robustness_against"):
            values[name] = tuple(_row_from(row) for row in values[name])
        for name in ("learned", "learned_against"):
            values[name] = TrainingOverlap(int(values[name]["films"]), tuple(values[name]["unknown"]))
        values["films"] = tuple(DifferingFilm(**film) for film in values["films"])
        values["patients"] = (int(values["patients"][0]), int(values["patients"][1]))
        values["remarks"] = tuple(values["remarks"])
        values["unreadable"] = tuple(int(place) for place in values.get("unreadable", ()))
        return CandidateComparison(**values)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"expected a comparison. Received: JSON that is not one ({type(error).__name__})",
            advice="Start the comparison again.",
        ) from error


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
            "groups_a": tuple(map(group_from, values.get("groups_a", ()))),
            "groups_b": tuple(map(group_from, values.get("groups_b", ()))),
            "group_differences": tuple(
                GroupDifference(row["kind"], row["name"], row["rate"], Measure(**row["difference"]))
                for row in values.get("group_differences", ())
            ),
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

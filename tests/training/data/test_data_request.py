from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import DatasetError
from tests.phantoms import write_dataset
from training.data.data_request import DataRequest, request_from_values, request_to_values
from training.data.dataset import scan
from training.data.patient_pattern import PatientPattern


def test_sources_are_called_by_their_folders_and_further_ones_where_these_repeat() -> None:
    assert DataRequest.of(Path("/a/ward"), Path("/b/clinic")).names == ("ward", "clinic")
    assert DataRequest.of(Path("/a/ward/films"), Path("/a/clinic/films")).names == ("ward/films", "clinic/films")
    assert DataRequest((Path("/a/x"), Path("/b/x")), ("one", "")).names == ("one", "x")
    assert DataRequest.of(Path("/a/labels.csv")).names == ("labels",)


@pytest.mark.parametrize(
    ("sources", "more", "message"),
    [
        ((), {}, "at least one source"),
        ((Path("/a"), Path("/a/b")), {}, "beside each other"),
        ((Path("/a"), Path("/b")), {"given_names": ("x", "x")}, "a name of its own"),
        ((Path("/a"),), {"given_names": ("x", "y")}, "a name for each source"),
        ((Path("/a"),), {"patient_rule": "guess"}, "one of auto, folder, file"),
    ],
)
def test_requests_that_mean_nothing_are_refused(
    sources: tuple[Path, ...], more: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        DataRequest(sources, **more)  # type: ignore[arg-type]


def test_a_request_survives_json() -> None:
    asked = DataRequest((Path("/a"), Path("/b.csv")), ("x", ""), r"P(\d+)_.*", "folder", Path("/k"))
    assert request_from_values(json.loads(json.dumps(request_to_values(asked)))) == asked
    with pytest.raises(DatasetError, match="sources of a dataset"):
        request_from_values({"names": []})


def test_patients_of_two_sources_are_two_and_files_are_named_with_their_source(tmp_path: Path) -> None:
    for name in ("ward", "clinic"):
        write_dataset(tmp_path / name, 2, size=(60, 70))
    both = scan(DataRequest.of(tmp_path / "ward", tmp_path / "clinic"))
    assert {s.source for s in both.train} == {"ward", "clinic"}
    assert len({s.patient for s in both.train}) == 2 * len({s.patient for s in scan(tmp_path / "ward").train})
    assert both.name_of(both.train[0]).startswith("ward/NORMAL/")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("P(", "a regular expression"),
        (r"P\d+", "the patient in parentheses"),
        ("(a+)+b", "no repeat or alternative inside a repeat"),
        ("((?:a|aa)+)b", "no repeat or alternative inside a repeat"),
        ("((?:a?){30})b", "no repeat or alternative inside a repeat"),
        ("(" + "a?" * 30 + ")" + "a" * 30, "at most 5 repeats"),
        ("(x)" + "(?:a|b.)" * 20, "at most 5 repeats"),
        ("(x)" * 80, "at most 200 characters"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        PatientPattern(pattern)


def test_a_pattern_matches_whole_names_and_its_worst_case_ends() -> None:
    pattern = PatientPattern(r"P(\d+)_\d+")
    assert [pattern.patient(name) for name in ("P0012_1", "xP0012_1", "P0012_1x")] == ["0012", None, None]
    assert PatientPattern(r"(.*.*.*)z").patient("a" * 100) is None

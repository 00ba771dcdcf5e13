"""Folds by patient, what is pooled from them, and a whole cross-validation that is interrupted and resumed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetError
from core.progress import Progress
from core.settings import Settings
from records.test_sets import add_test_set, looks
from tests.phantoms import as_png
from training.__main__ import main
from training.data.data_request import DataRequest
from training.data.dataset import scan
from training.data.loading import load_folder
from training.evaluation.looks import hashed
from training.fitting.config import default_config
from training.runs.cross_validation import (
    OUT_OF_FOLD,
    RESULT,
    assign_folds,
    create_cross_validation,
    cross_validate,
    make_folder_of,
    result_to_text,
    summary,
    without,
)
from training.runs.request import RunRequest


@given(st.integers(2, 6), st.integers(0, 3))
def test_no_group_is_in_two_folds_and_classes_are_even(folds: int, seed: int) -> None:
    labels = np.array([0] * 60 + [1] * 90)
    groups = [f"n{i // 2}" for i in range(60)] + [f"p{i // 3}" for i in range(90)]
    fold_of = assign_folds(labels, groups, folds, seed)
    assert set(fold_of) == set(range(folds))
    assert all(len({int(fold_of[i]) for i, own in enumerate(groups) if own == name}) == 1 for name in set(groups))
    for label in (0, 1):
        sizes = [int(((fold_of == fold) & (labels == label)).sum()) for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 3


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(DatasetError, match="Received: 2 of class PNEUMONIA"):
        assign_folds(np.array([0, 0, 0, 1, 1, 1]), ["a", "b", "c", "d", "e", "e"], 3, 1)


def rows(version: str, point: float, films: list[tuple[int, float]]) -> list[dict[str, object]]:
    return [
        {
            "file": f"{version}-{i}",
            "label": ("NORMAL", "PNEUMONIA")[label],
            "patient": f"{version}-{i}",
            "probability": p,
            "operating_point": point,
            "version": version,
        }
        for i, (label, p) in enumerate(films)
    ]


def test_each_film_is_decided_at_the_operating_point_of_its_own_fold() -> None:
    films = [
        *rows("a", 0.5, [(0, 0.4), (0, 0.6), (1, 0.7), (1, 0.8)]),
        *rows("b", 0.9, [(0, 0.85), (0, 0.2), (1, 0.95)]),
    ]
    found = summary(films, 2)
    assert (found["tp"], found["fp"], found["tn"], found["fn"]) == (3, 1, 3, 0) and found["n"] == 7
    assert found["specificity"] == 0.75 and [one["specificity"] for one in found["by_fold"]] == [0.5, 1.0]
    assert found["auroc"] == pytest.approx(10 / 12), "0.85 is above two of three positives"
    assert found["spread"]["specificity"] == {"mean": 0.75, "sd": pytest.approx(0.353553), "low": 0.5, "high": 1.0}
    assert "specificity over folds: mean 0.750, SD 0.354, 0.500–1.000" in result_to_text(found)


def test_a_fold_of_one_class_has_no_part_in_the_spread_of_what_it_cannot_show() -> None:
    both = rows("a", 0.5, [(0, 0.1), (0, 0.2), (1, 0.9), (1, 0.8)])
    result = summary([*both, *rows("b", 0.5, [(1, 0.9), (1, 0.2)])], 2)
    assert result["by_fold"][1]["specificity"] is None and result["spread"]["specificity"]["mean"] == 1
    assert result["spread"]["sensitivity"]["mean"] == 0.75


@pytest.mark.slow
def test_an_interrupted_cross_validation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    films, settings = tmp_path / "films", Settings(tmp_path / "home")
    folder = make_folder_of(settings, "cv")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("NORMAL/IM-{:04d}-0001.png", "PNEUMONIA/person{}_virus_1.png")):
        for patient in range(10):
            path = films / name.format(patient)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_png(rng.integers(60 * label, 196 + 60 * label, (64, 64), np.uint8)))
    config = default_config("cnn_2_1", epochs=1, input_px=64, batch_size=8, validation_fraction=0.5, copies=(1, 1))
    request = RunRequest(DataRequest.of(films), settings.versions_dir, "random")
    create_cross_validation(folder, config, request, 2)
    found = scan(DataRequest.of(films))
    add_test_set(settings, "all", hashed(found.train), "ann")
    loaded = load_folder(films, config.detail_px, 0.5, config.seed)
    fold_of = assign_folds(loaded.labels, loaded.groups, 2, config.seed)
    rest = without(loaded, fold_of == 0, config)
    assert len(rest.samples) == int((fold_of == 1).sum()) and rest.held_out.any() and not rest.held_out.all()
    seen: list[Progress] = []

    def stop_in_second(progress: Progress) -> None:
        seen.append(progress)
        if progress.phase.startswith("fold 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(folder, settings, stop_in_second)
    first = (folder / "fold-1" / OUT_OF_FOLD).read_text()
    assert not (folder / RESULT).exists() and any("about" in one.phase for one in seen if "fold 2" in one.phase)
    result = cross_validate(folder, settings, lambda _: None)
    assert (folder / "fold-1" / OUT_OF_FOLD).read_text() == first, "the first fold is not repeated"
    assert result == json.loads((folder / RESULT).read_text()) and result["n"] == 20 and len(result["by_fold"]) == 2
    out = [
        film["file"] for k in (1, 2) for film in json.loads((folder / f"fold-{k}" / OUT_OF_FOLD).read_text())["films"]
    ]
    assert sorted(out) == sorted(path.relative_to(films).as_posix() for path in films.rglob("*.png"))
    for k in (1, 2):
        trained = (folder / f"fold-{k}" / "split.csv").read_text()
        left_out = json.loads((folder / f"fold-{k}" / OUT_OF_FOLD).read_text())["films"]
        assert not [film for film in left_out if f"{film['file']}," in trained], "no film left out was read by its run"
    of_folds = looks(settings)
    assert [(one.command, one.versions, one.split) for one in of_folds] == [
        ("cross-validate", (fold["version"],), "films") for fold in result["by_fold"]
    ]
    assert sum(one.files for one in of_folds) == 20, "each film is looked at by the version that did not see it"
    assert not settings.versions_dir.exists(), "the versions of folds are not registered"
    assert dataclasses.replace(config, learns_population=False).to_json() == (folder / "config.json").read_text()
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(settings.data_dir))
    capsys.readouterr()
    assert main(["cross-validate", "--resume", "cv"]) == 0
    assert capsys.readouterr().out == result_to_text(result) + "\n", "its lines stay lines"


@pytest.mark.slow
def test_each_source_is_read_by_a_run_that_has_not_seen_its_patients(tmp_path: Path) -> None:
    folder, settings = tmp_path / "cv", Settings(tmp_path / "home")
    rng = np.random.default_rng(0)
    roots = [tmp_path / name for name in ("north", "south")]
    for root in roots:
        for label, name in enumerate(("NORMAL/IM-{:04d}-0001.png", "PNEUMONIA/person{}_virus_1.png")):
            for patient in range(10):
                path = root / name.format(patient)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(as_png(rng.integers(60 * label, 196 + 60 * label, (64, 64), np.uint8)))
    config = default_config("cnn_2_1", epochs=1, input_px=64, batch_size=8, validation_fraction=0.5, copies=(1, 1))
    request = RunRequest(DataRequest(tuple(roots)), settings.versions_dir, "random")
    create_cross_validation(folder, config, request, 5, "source")
    result = cross_validate(folder, settings, lambda _: None)
    assert {(one["name"], one["n"]) for one in result["groups"]} == {("north", 20), ("south", 20)}
    assert result["n"] == 40 and "by source, worst first" in result_to_text(result)
    for k in (1, 2):
        trained = (folder / f"fold-{k}" / "split.csv").read_text()
        films = json.loads((folder / f"fold-{k}" / OUT_OF_FOLD).read_text())["films"]
        assert len({film["group"] for film in films}) == 1
        assert not [film for film in films if f"{film['file']}," in trained], "no film left out was read by its run"

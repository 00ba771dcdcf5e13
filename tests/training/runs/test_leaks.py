"""Copies of held-out radiographs in training: not in a new run, and found by the promotion rules in an old one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.errors import DatasetError
from tests.comparisons import NEW, OLD, a_card
from tests.phantoms import as_jpeg, as_png, chest
from training.data.audit import Audit, audit_folder, audit_to_json, with_split
from training.data.data_request import DataRequest
from training.data.dataset import scan_folder
from training.data.loading import LoadedFolder, load_folder
from training.data.manifest import write_manifest
from training.fitting.config import default_config
from training.runs.candidate import run_audit
from training.runs.promotion import check
from training.runs.request import RunRequest, create_run
from training.runs.run import split_audit


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audit]:
    """Six films of each class under three names of unknown patients, in other bytes, and the folder's audit."""
    folder = tmp_path_factory.mktemp("copied")
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        (folder / name).mkdir()
        for film in range(6):
            picture = chest(2 * film + label, (100, 120), bool(label))
            for copy, data in (("a", as_png(picture)), ("b", as_jpeg(picture, 92)), ("c", as_png(picture + 0))):
                (folder / name / f"{copy}{film}.png").write_bytes(data + b"\0" * (copy == "c"))
    return folder, audit_folder(scan_folder(folder))


def rule(audit: Audit | None) -> tuple[bool, str]:
    rules = {one.name: one for one in check(a_card(NEW), a_card(OLD), None, audit)}
    found = rules["No duplicates across splits"]
    return found.passed, found.sentence


def recorded(run: Path, audit: Audit, loaded: LoadedFolder, groups: list[str]) -> Path:
    run.mkdir()
    write_manifest(run / "split.csv", loaded.samples, loaded.held_out, loaded.folder, groups)
    (run / "audit.json").write_text(audit_to_json(audit))
    return run


def test_a_run_holds_out_all_copies_of_a_film_and_passes(copied: tuple[Path, Audit], tmp_path: Path) -> None:
    folder, audit = copied
    loaded = load_folder(folder, 64, 0.34, 1)
    whole = with_split(audit, split_audit(audit, loaded))
    assert whole.split is not None and whole.split.sides["validation"].radiographs == {"NORMAL": 6, "PNEUMONIA": 6}
    assert whole.split.sides["validation"].patients == {"NORMAL": 2, "PNEUMONIA": 2}, "two films under three names"
    assert rule(run_audit(recorded(tmp_path / "run", whole, loaded, loaded.groups)))[0]


def test_a_run_from_before_whose_split_leaks_does_not_pass(copied: tuple[Path, Audit], tmp_path: Path) -> None:
    folder, audit = copied
    loaded = load_folder(folder, 64, 0.34, 1, keeps_duplicates=False)
    assert audit.split is None
    passed, sentence = rule(run_audit(recorded(tmp_path / "run", audit, loaded, [])))
    assert not passed and "duplicate radiographs are both in training and in validation" in sentence
    whole = with_split(audit, split_audit(audit, loaded))
    assert "DUPLICATE_ON_BOTH_SIDES" in {issue.code for issue in whole.issues}
    (tmp_path / "run" / "split.csv").unlink()
    assert rule(run_audit(tmp_path / "run")) == (False, "The run's split is not on record.")


def test_one_validation_patient_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for name, file in (("NORMAL", "IM-{:04d}-0001.png"), ("PNEUMONIA", "person{}_virus_1.png")):
        (tmp_path / "films" / name).mkdir(parents=True)
        for patient in range(5):
            (tmp_path / "films" / name / file.format(patient)).touch()
    config = default_config("cnn_2_1", epochs=1, validation_fraction=0.12)
    request = RunRequest(DataRequest.of(tmp_path / "films"), tmp_path / "versions", "random")
    with pytest.raises(DatasetError, match="at least 2 patients of each class") as refused:
        create_run(tmp_path / "run", config, request)
    assert "about 9 more patients of class NORMAL" in refused.value.advice and not (tmp_path / "run").exists()
    create_run(tmp_path / "run", dataclasses.replace(config, validation_fraction=0.4), request)
    assert (tmp_path / "run" / "run.json").is_file()

"""A data folder that version 0.1.0 made before the code was laid out by room opens in this one.

`tests/data_folder` was made with that version's own commands on drawn radiographs: two versions, two finished runs, one
with a comparison, and a cancelled one, an audit, a study, an administrator and three promotions.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import optuna
import pytest

from core.settings import Settings
from model.engine import load_classifier
from model.pipeline import assess
from model.promotions import promotions, serving_version
from model.registry import list_versions, read_card, version_folder
from records.administrator import check_password, has_password
from tests import ROOT
from tests.phantoms import as_png, chest
from training.experiments import tune
from training.fitting.config import TrainingConfig
from training.runs import audits, candidate, jobs

FIRST, SECOND = "2026.12.01-1", "2026.12.01-2"


# Where the old installation kept its data folder and its radiographs.
DATA_DIR, RADIOGRAPHS = "/srv/pneumolens", "/srv/chest_xray"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The old data folder, in a copy that may be written to; its files name the copy and a folder of radiographs."""
    data, radiographs = tmp_path / "data", tmp_path / "chest_xray"
    shutil.copytree(ROOT / "tests" / "data_folder", data)
    for path in (*data.rglob("*.json"), *data.rglob("*.jsonl")):
        path.write_text(path.read_text().replace(DATA_DIR, str(data)).replace(RADIOGRAPHS, str(radiographs)))
    for seed, (split, label) in enumerate(product(("train", "test"), ("NORMAL", "PNEUMONIA")), start=1):
        folder = radiographs / split / label
        folder.mkdir(parents=True)
        (folder / f"{seed}.png").write_bytes(as_png(chest(seed, pneumonia=label == "PNEUMONIA")))
    return Settings(data, data_roots=(radiographs,))


def test_versions_promotions_and_the_administrator_are_those_of_before(settings: Settings) -> None:
    assert serving_version(settings) == (FIRST, None)
    assert {FIRST, SECOND} <= set(list_versions(settings))
    acts = [(one.act, one.version, one.previous) for one in promotions(settings)]
    assert sorted(acts) == sorted(
        [("promote", FIRST, "2026.11.22-10"), ("promote", "2026.11.22-10", FIRST), ("rollback", FIRST, "2026.11.22-10")]
    )
    assert has_password(settings)
    check_password(settings, "a password of the fixture")


@pytest.mark.parametrize(("version", "logits"), [(FIRST, (0.05811, 0.05389)), (SECOND, (0.03121, 0.02921))])
def test_its_versions_say_of_a_radiograph_what_they_said(
    settings: Settings, version: str, logits: tuple[float, float]
) -> None:
    classifier = load_classifier(version_folder(settings, version))
    for seed, logit in zip((3, 4), logits, strict=True):
        assessment = assess(as_png(chest(seed, pneumonia=seed == 4)), classifier)
        assert assessment.prediction is not None and assessment.heatmap is not None
        assert assessment.prediction.logit == pytest.approx(logit, abs=1e-3)


def test_its_runs_are_listed_and_their_settings_read(settings: Settings) -> None:
    found = {job.id: job for job in jobs.list_jobs(settings)}
    assert {name: job.state for name, job in found.items()} == {
        "2026.12.01-121221": "done",
        "2026.12.01-121350": "done",
        "2026.12.01-121404": "cancelled",
    }
    assert found["2026.12.01-121221"].version == FIRST and found["2026.12.01-121404"].can_resume
    kept = candidate.read_comparison(found["2026.12.01-121221"].folder)
    assert kept.state == "done" and kept.result is not None and kept.result.n == 4
    for job in found.values():
        assert TrainingConfig.from_json((job.folder / "config.json").read_text()).architecture == "cnn_77k"


def test_its_cards_audits_and_study_are_read(settings: Settings) -> None:
    assert read_card(version_folder(settings, SECOND)).training["augmentation"]
    (audit,) = audits.latest_audits(settings)
    assert audit.state == "done" and audit.audit is not None and audit.audit.n == 40
    recipe = TrainingConfig.from_json((settings.data_dir / "study.best.json").read_text())
    assert recipe.architecture == "cnn_77k"
    study = optuna.load_study(study_name=tune.STUDY_NAME, storage=f"sqlite:///{settings.data_dir / 'study.db'}")
    (row,) = [tune.row_of(trial) for trial in study.trials]
    assert (row.status, row.epochs) == ("finished", 1) and row.value == pytest.approx(0.693, abs=0.05)

"""A network of one's own that sees films framed by their lungs: its whole run, and all that is made of its version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("keras")

import model.engine
import training.data.audit
import training.data.style_audit
import training.fitting.population
import training.runs.recalibrate
import training.runs.run
from core.errors import ClassifierError
from core.progress import Progress, ignore
from core.settings import Settings
from model.anatomy import AnatomyFinder
from model.anatomy_files import FOLDER, RECORD
from model.card import ModelCard
from model.engine import load_classifier
from model.pipeline import assess
from model.registry import ANATOMY, file_sha256, read_card, verify
from tests.lungs import ellipses, find_drawn
from tests.phantoms import as_png, chest
from training.data.data_request import DataRequest
from training.fitting.config import default_config
from training.fitting.progress import EpochEnd
from training.runs.cross_validation import create_cross_validation, cross_validate
from training.runs.recalibrate import recalibrate
from training.runs.request import RunRequest, create_run
from training.runs.run import execute
from training.runs.site_recalibration import recalibrate_for_site

OWN = "tests.model.networks.small_network:lung_network"
CONFIG = default_config(
    OWN,
    epochs=2,
    input_px=48,
    detail_px=64,
    batch_size=8,
    validation_fraction=0.4,
    copies=(1, 1),
    augmentation="lungs",
    ema_momentum=0.0,
    precision="float32",
)
# Of each class, in each source.
PATIENTS = 10


def film(seed: int, label: int) -> np.ndarray:
    """Draw dark lungs in a grey body, uint8 (80, 80), with a dense patch in one of them for label 1."""
    rng = np.random.default_rng((seed, label))
    noise = cv2.resize(rng.normal(0, 30, (12, 12)), (80, 80), interpolation=cv2.INTER_CUBIC)
    body = np.where(ellipses(80).max(0) > 0, 70.0, 160.0) + noise
    if label:
        cv2.circle(body, (24 + 32 * int(rng.integers(2)), int(rng.integers(30, 50))), 9, 190.0, -1)
    return np.clip(body, 0, 255).astype(np.uint8)


def write_films(root: Path, seed: int, patients: int) -> Path:
    for label, name in enumerate(("NORMAL/IM-{:04d}-0001.png", "PNEUMONIA/person{}_virus_1.png")):
        for patient in range(patients):
            path = root / name.format(patient)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_png(film(1000 * seed + patient, label)))
    return root


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An installation whose shipped anatomy network finds the lungs where they are drawn."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "shipped" / FOLDER
    folder.mkdir(parents=True)
    (folder / ANATOMY).write_bytes(b"drawn")
    (folder / RECORD).write_text(json.dumps({"sha256": file_sha256(folder / ANATOMY)}))

    def load(path: Path, sha256: str) -> AnatomyFinder:
        assert path.read_bytes() == b"drawn" and file_sha256(path) == sha256
        return find_drawn

    with pytest.MonkeyPatch.context() as patch:
        for module in (training.runs.run, training.runs.recalibrate, model.engine):
            patch.setattr(module, "load_anatomy_finder", load)
        for module in (training.data.audit, training.data.style_audit):
            patch.setattr(module, "baseline_auroc", lambda *_: 0.5)  # boosted trees, most of the time of a small run
        for name in ("MIN_FILMS", "MIN_HELD_OUT"):
            patch.setattr(training.fitting.population, name, 10)
        yield Settings(home / "data", architectures=(OWN,), shipped_weights=home / "shipped")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> DataRequest:
    """Two sources of the same number of films."""
    root = tmp_path_factory.mktemp("films")
    return DataRequest(tuple(write_films(root / name, seed, PATIENTS) for seed, name in enumerate(("north", "south"))))


@pytest.fixture(scope="module")
def trained(installation: Settings, films: DataRequest) -> tuple[Path, list[Progress]]:
    """The version of a run that was interrupted after its first epoch and continued; what the second half reported.

    Meanwhile the software was updated and ships another anatomy network.
    """
    run = installation.runs_dir / "framed"
    create_run(run, CONFIG, RunRequest(films, installation.versions_dir, "random"))

    def interrupt(progress: Progress) -> None:
        if isinstance(progress.detail, EpochEnd):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(run, installation, interrupt)
    assert not installation.versions_dir.exists()
    shipped = installation.shipped_weights / FOLDER
    recorded, reported = (shipped / RECORD).read_text(), list[Progress]()
    (shipped / ANATOMY).write_bytes(b"of the next release")
    (shipped / RECORD).write_text(json.dumps({"sha256": file_sha256(shipped / ANATOMY)}))
    try:
        return execute(run, installation, reported.append), reported
    finally:
        (shipped / ANATOMY).write_bytes(b"drawn")
        (shipped / RECORD).write_text(recorded)


def test_a_run_that_was_interrupted_makes_a_version_that_frames_films_by_their_lungs(
    trained: tuple[Path, list[Progress]], installation: Settings
) -> None:
    folder, reported = trained
    card = verify(folder)
    assert (folder / ANATOMY).read_bytes() == b"drawn" and card.anatomy_sha256 == file_sha256(folder / ANATOMY)
    assert (card.preprocessing["frame"], card.preprocessing["channels"]) == ("lungs", 2)
    assert card.preprocessing["geometry"].startswith("radiograph framed by its lungs")
    assert [row["epoch"] for row in card.history] == [1, 2] == [1, 1 + sum(_is_epoch(one) for one in reported)]
    lungs = [one for one in reported if one.phase == "finding the lungs"]
    assert lungs[-1].done == lungs[-1].total == 4 * PATIENTS
    assert card.population_sha256 and load_classifier(folder, (OWN,)).population is not None
    assert {"validation", "validation_shifted"} <= set(card.evaluations)
    assert execute(installation.runs_dir / "framed", installation, ignore) == folder, "a finished run is not repeated"


def _is_epoch(progress: Progress) -> bool:
    return isinstance(progress.detail, EpochEnd)


@pytest.mark.usefixtures("installation")
def test_the_version_is_served_over_its_lungs(trained: tuple[Path, list[Progress]]) -> None:
    with pytest.raises(ClassifierError, match="this installation trusts"):
        load_classifier(trained[0])
    answer = assess(as_png(chest(3, (200, 220), pneumonia=True)), load_classifier(trained[0], (OWN,)))
    assert answer.prediction is not None and answer.heatmap is not None and answer.anatomy is not None
    cells = answer.heatmap.frame_cells
    assert cells is not None and cells.shape == (6, 6)
    bias = np.load(trained[0] / "classifier.npz")
    (head,) = (bias[name] for name in bias.files if bias[name].shape == (1,))
    assert float(cells.mean() + head[0]) == pytest.approx(answer.prediction.logit, abs=1e-4)


def _new(installation: Settings, before: set[str]) -> tuple[Path, ModelCard]:
    (name,) = {one.name for one in installation.versions_dir.iterdir()} - before
    return installation.versions_dir / name, verify(installation.versions_dir / name)


def test_recalibrated_versions_keep_their_anatomy(
    trained: tuple[Path, list[Progress]], installation: Settings, films: DataRequest, tmp_path: Path
) -> None:
    card = read_card(trained[0])
    again = recalibrate(installation, card.version, films, installation.versions_dir)
    renewed = verify(again)
    assert (renewed.sha256, renewed.anatomy_sha256) == (card.sha256, card.anatomy_sha256)
    before, after = (load_classifier(one, (OWN,)).population for one in (trained[0], again))
    assert before is not None and after is not None
    np.testing.assert_allclose(after.references, before.references, atol=1e-2)
    # The same films, networks and seeds: the same scale, so films were framed as in training.
    assert renewed.calibration.bias == pytest.approx(card.calibration.bias, abs=1e-3)
    assert renewed.operating_point.probability == pytest.approx(card.operating_point.probability, abs=2e-3)
    before = {one.name for one in installation.versions_dir.iterdir()}
    site = DataRequest.of(write_films(tmp_path / "hospital", 7, 20))
    report = recalibrate_for_site(installation, card.version, site, installation.versions_dir, who="ann")
    folder, own = _new(installation, before)
    assert report.folder == folder and own.parent == card.version and own.anatomy_sha256 == card.anatomy_sha256
    assert load_classifier(folder, (OWN,)).find_anatomy is not None


def test_sources_are_left_out_and_cross_validated(installation: Settings, films: DataRequest, tmp_path: Path) -> None:
    quick = dataclasses.replace(CONFIG, stages=(dataclasses.replace(CONFIG.stages[-1], epochs=1),))
    create_run(tmp_path / "run", quick, RunRequest(films, tmp_path / "versions", "random", leave_out="source=north"))
    card = read_card(execute(tmp_path / "run", installation, ignore))
    assert card.data["validation"]["NORMAL"] >= PATIENTS and card.preprocessing["frame"] == "lungs"
    assert any("source north was left out of training" in note for note in card.notes)
    request = RunRequest(films, installation.versions_dir, "random")
    create_cross_validation(tmp_path / "cv", quick, request, 2)
    found = cross_validate(tmp_path / "cv", installation, ignore)
    assert found["n"] == 4 * PATIENTS and len(found["by_fold"]) == 2

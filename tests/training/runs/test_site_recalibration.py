"""Recalibration on a hospital's own radiographs: the weights stay, threshold and intercept follow the hospital."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetError
from core.settings import Settings
from model.card import Calibration, ModelCard, OperatingPoint
from model.engine import Classifier
from model.registry import add_version, read_card, verify
from tests.fake_classifier import fake_card, fake_classifier
from tests.phantoms import as_png
from training.__main__ import main
from training.commands import recalibrate as command
from training.data.data_request import DataRequest
from training.runs import site_recalibration as module

# The version was made where 128 divides the classes; at this hospital films are 30 grey levels brighter.
OFFSET = 30


def write_films(root: Path, patients: int, seed: int = 0, offset: int = OFFSET, spread: float = 10) -> Path:
    """Write two films of each patient of both classes."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        (root / name).mkdir(parents=True)
        for patient in range(patients):
            level = 108 + 40 * label + offset + rng.normal(0, spread)
            for film in range(2):
                grey = int(np.clip(level + rng.normal(0, 6), 1, 254))
                path = root / name / f"person{patient + 1000 * label}_virus_{film}.png"
                picture = np.full((40, 40), grey, np.uint8)
                # No two films are equal, since equal files count as one patient; their mean brightness stays.
                picture[0, patient % 40] -= 1
                picture[1 + film + 2 * label, patient // 40] += 1
                path.write_bytes(as_png(picture))
    return root


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(data_dir=tmp_path / "home")
    settings.versions_dir.mkdir(parents=True)
    card = fake_card(
        "2026.01.01-1", calibration=Calibration(1.0), operating_point=OperatingPoint(0.5, 0.35, 0.65, "by hand")
    )
    add_version(settings.versions_dir, card, lambda path: path.write_bytes(b"weights"))

    def load(folder: Path, **_: object) -> Classifier:
        return fake_classifier(verify(folder))

    monkeypatch.setattr(module, "load_classifier", load)
    monkeypatch.setattr(command, "start_tensorflow", lambda **_: None)
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(settings.data_dir))
    return settings


def renewed(settings: Settings) -> ModelCard:
    (folder,) = (one for one in settings.versions_dir.iterdir() if one.name != "2026.01.01-1")
    return read_card(folder)


def test_threshold_and_intercept_follow_the_hospital(
    installation: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_films(tmp_path / "hospital", 25)
    assert main(["recalibrate", "2026.01.01-1", "--data", str(data)]) == 0
    old, card = read_card(installation.versions_dir / "2026.01.01-1"), renewed(installation)
    before, after = card.evaluations["before_recalibration"], card.evaluations["validation"]
    assert (card.parent, card.sha256, card.calibration.temperature) == (old.version, old.sha256, 1.0)
    # 30 grey levels are 3 on the logit scale.
    assert card.calibration.bias == pytest.approx(-3, abs=0.8)
    assert before.measures["specificity"].value < 0.3 < 0.5 < after.measures["specificity"].value
    assert before.calibration is not None and after.calibration is not None
    assert before.calibration.intercept.high < -1 and after.calibration.intercept.low < 0
    assert after.calibration.intercept.high > 0
    assert card.cross_fit["patients"] == {"normal": 25, "pneumonia": 25} and len(card.conformal) == 2
    assert card.data["recalibrated_on"]["changed"] == "threshold and intercept"
    out = capsys.readouterr().out
    assert "cannot be promised with 25 patients" in out and "Recalibrated from 2026.01.01-1" in out
    assert "Recalibrated from 2026.01.01-1" in card.notes[-1]
    assert verify(installation.versions_dir / card.version) == card, "the card is read back as it was written"


def test_unlabelled_films_give_the_prevalence_and_leave_the_findings(installation: Settings, tmp_path: Path) -> None:
    data = write_films(tmp_path / "hospital", 25)
    many = write_films(tmp_path / "month", 40, seed=1)
    for path in sorted((many / "PNEUMONIA").iterdir())[16:]:
        path.unlink()  # 80 normal films and 16 with pneumonia: 17 %
    request = DataRequest((data,))
    plain = module.recalibrate_for_site(installation, "2026.01.01-1", request, tmp_path / "a")
    shifted = module.recalibrate_for_site(installation, "2026.01.01-1", request, tmp_path / "b", unlabelled=many)
    first, second = read_card(plain.folder), read_card(shifted.folder)
    assert second.calibration.prevalence == pytest.approx(0.17, abs=0.1) and first.calibration.prevalence == 0.5
    low, high = second.data["recalibrated_on"]["prevalence_ci"]
    assert low < second.calibration.prevalence < high and high - low > 0.1, "96 films"
    assert f"{low:.2f}–{high:.2f}" in shifted.changed and first.data["recalibrated_on"]["prevalence_ci"] is None
    assert second.operating_point.probability < first.operating_point.probability
    cells = [(e.tp, e.fp, e.tn, e.fn) for e in (plain.after, shifted.after)]
    assert cells[0] == cells[1]


def test_too_few_patients_are_refused_with_the_number_that_is_lacking(installation: Settings, tmp_path: Path) -> None:
    data = write_films(tmp_path / "hospital", 12)
    with pytest.raises(DatasetError, match="12 patients with pneumonia and 12 without") as caught:
        module.recalibrate_for_site(installation, "2026.01.01-1", DataRequest((data,)), tmp_path / "out")
    assert "more patients: 8 with pneumonia and 8 without pneumonia." in caught.value.advice
    enough = write_films(tmp_path / "enough", 20)
    with pytest.raises(DatasetError, match=r"at least 50 readable unlabelled radiographs\. Received: 48"):
        module.recalibrate_for_site(
            installation, "2026.01.01-1", DataRequest((enough,)), tmp_path / "out", unlabelled=data
        )
    shutil.copytree(write_films(tmp_path / "more", 25) / "NORMAL", data / "NORMAL", dirs_exist_ok=True)
    with pytest.raises(DatasetError, match="12 patients with pneumonia and 25 without") as caught:
        module.recalibrate_for_site(installation, "2026.01.01-1", DataRequest((data,)), tmp_path / "out")
    assert caught.value.advice.endswith("more patients: 8 with pneumonia.")
    assert [one.name for one in installation.versions_dir.iterdir()] == ["2026.01.01-1"]


def test_the_slope_is_refitted_where_many_patients_show_that_it_is_wrong(
    installation: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "load_classifier", lambda folder, **_: fake_classifier(verify(folder), slope=0.4))
    data = write_films(tmp_path / "hospital", 55, offset=0, spread=14)
    card = read_card(
        module.recalibrate_for_site(installation, "2026.01.01-1", DataRequest((data,)), tmp_path / "out").folder
    )
    assert card.calibration.temperature > 1.5
    assert card.data["recalibrated_on"]["changed"] == "threshold, intercept and slope"
    found = card.evaluations["validation"].calibration
    assert found is not None and found.slope.low < 1 < found.slope.high


def test_both_evaluations_are_told_by_source(installation: Settings, tmp_path: Path) -> None:
    right = write_films(tmp_path / "right", 12, offset=0)
    bright = write_films(tmp_path / "bright", 12, seed=1)
    report = module.recalibrate_for_site(
        installation, "2026.01.01-1", DataRequest((right, bright)), installation.versions_dir
    )
    card = renewed(installation)
    assert card.evaluations["validation"] == report.after
    for one in (card.evaluations["before_recalibration"], report.after):
        sources = [group for group in one.groups if group.kind == "source"]
        assert [(group.name, group.n) for group in sources] == [("bright", 48), ("right", 48)], "the worst first"


def test_the_results_by_source_are_cross_fitted_as_the_whole_is(installation: Settings, tmp_path: Path) -> None:
    request = DataRequest(tuple(write_films(tmp_path / name, 12, seed, spread=14) for seed, name in enumerate("ab")))
    after = module.recalibrate_for_site(installation, "2026.01.01-1", request, installation.versions_dir).after
    sources = [group for group in after.groups if group.kind == "source"]
    for cell in ("tp", "fp", "tn", "fn"):
        assert sum(getattr(group, cell) for group in sources) == getattr(after, cell)

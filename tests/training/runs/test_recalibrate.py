"""The same weights with another scale, on the patients that the training had held out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import ClassifierError, DatasetError
from core.settings import Settings
from model.card import OperatingPoint
from model.registry import add_version, read_card, verify
from records.activity import ACTIVITY
from tests.phantoms import write_dataset
from training.__main__ import main
from training.data import style_audit
from training.data.audit import audit_folder
from training.data.dataset import scan_folder
from training.data.loading import LoadedFolder, load_folder
from training.data.sample import digest
from training.fitting.config import default_config
from training.fitting.model_card import make_card
from training.runs import recalibrate as module


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Settings, Path, LoadedFolder]:
    """A version of a small network with random weights, a folder that counts as what it learned from, both split."""
    from model.networks.build import build_network
    from model.networks.weights import save_network

    data = tmp_path / "films"
    write_dataset(data, 12)
    config = default_config("cnn_2_1", "quick", validation_fraction=0.3, copies=(1, 1))
    loaded = load_folder(data, config.detail_px, config.validation_fraction, config.seed)
    network = build_network("cnn_2_1", config.input_px)
    card = make_card(
        lambda pictures: pictures.mean((1, 2), dtype=np.float32) / 20 - 5,
        "2026.01.01-1",
        config,
        loaded,
        audit_folder(scan_folder(data)),
        (),
        parameters=1,
        precision="float32",
        backbone_weights="random",
        stated={},
        notes=("a first remark",),
    )
    # As wrong as a threshold can be: what is chosen anew must not be this.
    card = replace(card, operating_point=OperatingPoint(0.999, 0.99, 1.0, "by a test"))
    settings = Settings(data_dir=tmp_path / "home")
    settings.versions_dir.mkdir(parents=True)
    add_version(settings.versions_dir, card, lambda path: save_network(network, path))
    return settings, data, loaded


def test_only_the_scale_is_new(
    trained: tuple[Settings, Path, LoadedFolder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, data, loaded = trained
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(style_audit, "FEWEST_FILMS", 10)
    assert (
        main(
            [
                "recalibrate",
                "--data",
                str(data),
                "--classifier",
                "2026.01.01-1",
                "--note",
                "why",
                "--also-evaluate",
                f"elsewhere={data}",
            ]
        )
        == 0
    )
    assert "operating point 0.999 in 2026.01.01-1, " in capsys.readouterr().out
    (new,) = (folder for folder in settings.versions_dir.iterdir() if folder.name != "2026.01.01-1")
    before, after = read_card(settings.versions_dir / "2026.01.01-1"), verify(new)
    assert after.sha256 == before.sha256 and after.parent == before.version
    assert after.data == before.data and after.training == before.training
    assert after.data["digest"] == digest(loaded.samples)
    assert after.operating_point.probability != 0.999
    assert after.evaluations["validation"].n == int(loaded.held_out.sum())
    assert after.evaluations["elsewhere"].n == 24
    assert after.styles and not before.styles, "the styles are found where the card lacks them"
    held_out = after.evaluations["validation"]
    assert sum(group.n for group in held_out.groups if group.kind == "style") == held_out.n
    assert {e.operating_point for e in after.evaluations.values()} == {after.operating_point.probability}
    line = json.loads((settings.data_dir / ACTIVITY).read_text())
    assert (line["act"], line["outcome"], line["object"]) == ("recalibrate", "done", "2026.01.01-1")
    assert after.notes[0] == "a first remark" and after.notes[-1] == "why" and before.version in after.notes[1]


def _another_film(data: Path) -> None:
    first = next((data / "NORMAL").iterdir())
    first.write_bytes(next((data / "PNEUMONIA").iterdir()).read_bytes())


def _a_film_less(data: Path) -> None:
    next((data / "NORMAL").iterdir()).unlink()


@pytest.mark.parametrize("change", [_another_film, _a_film_less])
def test_other_films_than_it_learned_from_are_refused(
    trained: tuple[Settings, Path, LoadedFolder], change: Callable[[Path], None]
) -> None:
    settings, data, _ = trained
    change(data)
    with pytest.raises(DatasetError, match=r"the radiographs that 2026\.01\.01-1 was trained with"):
        module.recalibrate(settings, "2026.01.01-1", data, settings.versions_dir)
    assert [folder.name for folder in settings.versions_dir.iterdir()] == ["2026.01.01-1"]


def test_damaged_weights_are_never_given_a_new_scale(trained: tuple[Settings, Path, LoadedFolder]) -> None:
    settings, data, _ = trained
    weights = settings.versions_dir / "2026.01.01-1" / "classifier.npz"
    shutil.copyfile(weights, weights.with_suffix(".old"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ClassifierError, match="sha256"):
        module.recalibrate(settings, "2026.01.01-1", data, settings.versions_dir)


def test_patients_that_are_found_in_another_way_are_refused(
    trained: tuple[Settings, Path, LoadedFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, data, loaded = trained
    other = loaded.held_out.copy()
    # Held out instead: as many radiographs of the class, of which others were trained on.
    inside, outside = (next(i for i, s in enumerate(loaded.samples) if not s.label and other[i] == o) for o in (1, 0))
    other[[inside, outside]] = other[[outside, inside]]
    changed = replace(loaded, held_out=other)
    monkeypatch.setattr(module, "load_folder", lambda *_: changed)
    with pytest.raises(DatasetError, match="patients found in another way"):
        module.recalibrate(settings, "2026.01.01-1", data, settings.versions_dir)

"""The command `anatomy` from films with drawn lungs to a network with its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.errors import ClassifierError
from model.anatomy_files import load_anatomy_finder
from model.networks import anatomy as networks
from model.networks.architectures import ANATOMY_PX
from model.registry import file_sha256
from tests.phantoms import as_png
from training.__main__ import main

SIDE = 96


def write_films(root: Path, patients: int) -> None:
    """Dark ellipses on a bright film, with their masks."""
    for patient in range(patients):
        rng = np.random.default_rng(patient)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for column in (30, 66):
            cv2.ellipse(mask, (column + int(rng.integers(-3, 4)), 48), (11, 30), 0, 0, 360, 255, -1)
        film = np.where(mask > 0, 60, 190) + rng.normal(0, 6, mask.shape)
        for label, stem in (("NORMAL", f"IM-{patient + 1:04d}-0001"), ("PNEUMONIA", f"person{patient + 1}_virus_1")):
            for folder, pixels in (("films", np.clip(film, 0, 255).astype(np.uint8)), ("masks", mask)):
                path = root / folder / "train" / label / f"{stem}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(as_png(pixels))


def arguments(root: Path, out: str, epochs: int, *more: str) -> list[str]:
    folders = ["--data", str(root / "films"), "--masks", str(root / "masks"), "--out", str(root / out)]
    return ["anatomy", *folders, "--epochs", str(epochs), "--held-out", "0.25", "--others-per-epoch", "4", *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training of two epochs, of a network of few channels."""
    root = tmp_path_factory.mktemp("anatomy")
    write_films(root, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "WIDTHS", (4, 4, 6, 6, 8))
        assert main(arguments(root, "whole", 2, "--licence", "CC BY 4.0")) == 0
    return root


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "anatomy.json").read_text())
    return found


def test_the_record_says_what_the_network_is(trained: Path) -> None:
    known = record(trained / "whole")
    assert known["sha256"] == file_sha256(trained / "whole" / "anatomy.npz")
    assert known["data"]["licence"] == "CC BY 4.0"
    assert (known["data"]["films"], known["data"]["held_out_films"]) == (8, 4)
    assert known["data"]["held_out_patients"] == len(known["held_out_sha256"]) == 4
    assert [row["epoch"] for row in known["history"]] == [1, 2]
    assert set(known["held_out"]["groups"]) >= {"all", "NORMAL", "PNEUMONIA", "virus"}
    assert 0 <= known["held_out"]["groups"]["all"]["dice"]["value"] <= 1


def test_a_resumed_training_gives_the_same_network(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.runs import anatomy as runs

    monkeypatch.setattr(networks, "WIDTHS", (4, 4, 6, 6, 8))
    fit = runs.fit_anatomy

    def interrupted(*given: Any) -> Any:
        def stop(row: dict[str, Any]) -> None:
            given[6](row)
            if row["epoch"] == 2:
                raise KeyboardInterrupt

        return fit(*given[:6], stop)

    monkeypatch.setattr(runs, "fit_anatomy", interrupted)
    assert main(arguments(trained, "halves", 2)) == 130
    assert not (trained / "halves" / "anatomy.npz").exists()
    monkeypatch.setattr(runs, "fit_anatomy", fit)
    assert main(arguments(trained, "halves", 2)) == 2
    assert main(arguments(trained, "halves", 2, "--resume")) == 0
    with np.load(trained / "whole" / "anatomy.npz") as one, np.load(trained / "halves" / "anatomy.npz") as other:
        for name in one.files:
            np.testing.assert_allclose(one[name], other[name], rtol=2e-2, atol=2e-3, err_msg=name)


def test_another_configuration_does_not_continue_a_training(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(trained, "whole", 3, "--resume")) == 1
    assert "configuration" in capsys.readouterr().err


def test_evaluate_measures_held_out_films(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(networks, "WIDTHS", (4, 4, 6, 6, 8))
    weights, target = trained / "whole" / "anatomy.npz", tmp_path / "figures.json"
    given = ["--weights", str(weights), "--data", str(trained / "films"), "--masks", str(trained / "masks")]
    assert main(["anatomy", "evaluate", *given, "--held-out", "--json", str(target)]) == 0
    figures = json.loads(target.read_text())
    known = record(trained / "whole")["held_out"]
    assert figures["groups"]["all"]["n"] == 4
    assert figures["groups"]["all"]["dice"]["value"] == pytest.approx(known["groups"]["all"]["dice"]["value"], abs=1e-4)
    assert "Dice of both lungs" in capsys.readouterr().out


def test_a_finder_takes_squares_of_any_size_and_refuses_a_changed_file(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(networks, "WIDTHS", (4, 4, 6, 6, 8))
    weights = trained / "whole" / "anatomy.npz"
    find = load_anatomy_finder(weights, file_sha256(weights))
    found = find(np.full((33, 200, 200), 120, np.uint8))
    assert len(found) == 33
    assert found[0].lungs.shape == (2, ANATOMY_PX, ANATOMY_PX)
    with pytest.raises(ClassifierError, match="sha256"):
        load_anatomy_finder(weights, "0" * 64)
    with pytest.raises(ClassifierError, match="anatomy network"):
        load_anatomy_finder(tmp_path / "none.npz", "0" * 64)
    monkeypatch.setattr(networks, "WIDTHS", (8, 8, 8, 8, 8))
    with pytest.raises(ClassifierError, match="weights of the anatomy network"):
        load_anatomy_finder(weights, file_sha256(weights))

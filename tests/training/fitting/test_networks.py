"""Networks other than the default, through the commands that people use: trained, registered, evaluated, served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import run, run_warm
from tests.phantoms import as_png, chest, write_dataset

OWN = """
import keras

def build(input_px):
    inputs = keras.Input((input_px, input_px, 1))
    x = keras.layers.Conv2D(4, 5, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with films of 12 children of each class, and a recipe."""
    home = tmp_path_factory.mktemp("networks")
    write_dataset(home / "films", 12)
    (home / "recipe.json").write_text(
        json.dumps(
            {
                "architecture": "cnn_77k",
                "input_px": 128,
                "batch_size": 8,
                "optimizer": "rmsprop",
                "dropout": 0.1,
                "validation_fraction": 0.3,
                "copies": [1, 1],
                "augmentation": "seed",
                "augmentation_strength": 0.5,
                "stages": [{"name": "fit", "epochs": 9, "input_px": 128, "train_after": "", "learning_rate": 0.002}],
            }
        )
    )
    return home


def card_of(home: Path, architecture: str) -> dict[str, object]:
    cards = [json.loads(path.read_text()) for path in (home / "versions").glob("*/card.json")]
    (card,) = (card for card in cards if card["architecture"] == architecture)
    return card


@pytest.mark.slow
def test_recipe_trains_a_small_network_that_the_app_serves_with_its_heat_map(home: Path) -> None:
    run_warm(
        "training",
        "train",
        "--data",
        str(home / "films"),
        "--recipe",
        str(home / "recipe.json"),
        "--epochs",
        "2",
        "--run-dir",
        str(home / "run"),
        "--promote",
        data_dir=home,
    )
    card = card_of(home, "cnn_77k")
    assert card["parameters"] == 77_633
    training = card["training"]
    assert isinstance(training, dict)
    assert training["optimizer"] == "rmsprop" and training["stages"][0]["epochs"] == 2
    assert training["backbone_weights"] == "random"
    assert training["recipes"]["keras_notebook"]["degrees"] == 15.0, "half of the named recipe's 30"
    assert [one["purpose"] for one in card["purposes"]] == ["screening", "balanced", "rule_in"]  # type: ignore
    (home / "film.png").write_bytes(as_png(chest(1, (300, 340), pneumonia=True)))
    out = run_warm(
        "model", "assess", str(home / "film.png"), "--json", "-", "--heatmaps", str(home / "maps"), data_dir=home
    )
    line = json.loads(out.stdout)
    assert line["status"] == "assessed" and line["classifier_version"] == card["version"]
    assert len(list((home / "maps").iterdir())) == 1
    for name in ("log.txt", "libraries.json", "split.csv", "config.json", "history.json", "audit.json"):
        assert (home / "run" / name).stat().st_size > 0, name
    log = (home / "run" / "log.txt").read_text()
    assert "epoch 2/2" in log and "epoch 2 validation" in log and "calibrating" in log
    assert str(home) not in log and "person" not in log, "neither paths nor patients"
    again = run_warm("training", "train", "--resume", str(home / "run"), data_dir=home)
    assert str(card["version"]) in again.stdout, "a run that is done says what it made"


@pytest.mark.slow
def test_network_of_ones_own_is_trained_and_served_only_where_it_is_trusted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "my_nets.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(home))
    name = "my_nets:build"
    run_warm(
        "training",
        "train",
        "--data",
        str(home / "films"),
        "--architecture",
        name,
        "--input-px",
        "48",
        "--epochs",
        "1",
        "--validation-fraction",
        "0.3",
        "--augmentation",
        "plain",
        data_dir=home,
    )
    version = str(card_of(home, name)["version"])
    evaluate = ("training", "evaluate", "--data", str(home / "films"), "--classifier", version)
    refused = run_warm(*evaluate, data_dir=home, expect=1)
    assert "add it to the setting PNEUMOLENS_ARCHITECTURES" in refused.stderr and name in refused.stderr
    done = run_warm(*evaluate, data_dir=home, PNEUMOLENS_ARCHITECTURES=name)
    assert "n = 24" in done.stdout


@pytest.mark.nightly
def test_leaderboard_trains_what_is_missing_and_uses_again_what_is_there(home: Path) -> None:
    board = (
        "training",
        "leaderboard",
        "--data",
        str(home / "films"),
        "--also-evaluate",
        f"clinic={home / 'films'}",
        "--only",
        "cnn_2_1",
        "--preset",
        "quick",
        "--budget-minutes",
        "0.1",
        "--out",
        str(home / "B.md"),
    )
    first = run(*board, data_dir=home)
    assert "epoch 1/6" in first.stderr
    text = (home / "B.md").read_text()
    assert "| `cnn_2_1` 2" in text and "On `clinic` (24 radiographs)" in text and str(home) not in text
    again = run_warm(*board, data_dir=home)
    assert "epoch" not in again.stderr and (home / "B.md").read_text() == text
    further = run_warm(*board, "--also-evaluate", f"ward={home / 'films'}", data_dir=home)
    text = (home / "B.md").read_text()
    assert "epoch" not in further.stderr and "On `ward` (24 radiographs)" in text and "On `clinic` (24" in text
    refused = run_warm(*board, "--also-evaluate", f"ward={home / 'nowhere'}", data_dir=home, expect=1)
    assert "nowhere" in refused.stderr
    refused = run(*board[:-4], "--only", "alexnet", data_dir=home, expect=1)
    assert "python -m training architectures" in refused.stderr


def test_options_that_contradict_a_recipe_are_refused(home: Path) -> None:
    train = ("training", "train", "--data", str(home / "films"))
    refused = run(*train, "--recipe", str(home / "recipe.json"), "--learning-rate", "0.1", data_dir=home, expect=2)
    assert "--learning-rate" in refused.stderr
    (home / "broken.json").write_text('{"dropuot": 1}')
    refused = run(*train, "--recipe", str(home / "broken.json"), data_dir=home, expect=1)
    assert "dropuot" in refused.stderr and "tune" in refused.stderr
    refused = run(*train, "--architecture", "alexnet", data_dir=home, expect=2)
    assert "cnn_77k" in refused.stderr

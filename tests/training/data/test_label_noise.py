"""Labels that were exchanged are found again by confident learning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import run_warm
from tests.phantoms import as_png
from training.data.dataset import scan
from training.data.label_noise import LEAST_GROUPS, rank_labels, suspicious, to_json

FLIPPED = (3, 11, 19)


def picture(label: int, rng: np.random.Generator) -> np.ndarray:
    """A soft pattern: lines that run down in one class and across in the other, under noise."""
    lines = np.sin(np.linspace(0, 20, 112) + rng.uniform(0, 6))
    grey = 128 + 60 * (lines[:, None] if label else lines[None]) + rng.normal(0, 40, (112, 112))
    return np.clip(grey, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty films of each class, of which three have the other label."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        (root / name).mkdir()
        for i in range(30):
            shown = 1 - label if i in FLIPPED else label
            stem = f"IM-{i:04d}-0001" if label == 0 else f"person{i}_virus_{i}"
            (root / name / f"{stem}.png").write_bytes(as_png(picture(shown, rng)))
    return root


def test_exchanged_labels_come_first(folder: Path) -> None:
    ticks: list[int] = []
    noise = rank_labels(scan(folder), ticks.append)
    assert noise is not None and noise.n == len(ticks) == 60 and noise.auroc > 0.8
    wrong = {f"NORMAL/IM-{i:04d}-0001.png" for i in FLIPPED} | {f"PNEUMONIA/person{i}_virus_{i}.png" for i in FLIPPED}
    first = {one.file for one in noise.films[:6]}
    assert len(first & wrong) >= 5, "by chance fewer than one of six"
    assert [one.probability for one in noise.films] == sorted(one.probability for one in noise.films)
    values = json.loads(json.dumps(to_json(noise)))
    assert values["suspected"]["NORMAL"] >= 2 and set(values["films"][0]) == {"file", "label", "probability_of_label"}


def test_confident_learning_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    # Mean probability of NORMAL over its films is 0.6, of PNEUMONIA 0.7.
    p = np.array([0.1, 0.2, 0.9, 0.9, 0.95, 0.25])
    assert suspicious(labels, p).tolist() == [2, 5]
    assert suspicious(labels, np.array([0.1, 0.2, 0.65, 0.9, 0.95, 0.5])).tolist() == [], "neither class is reached"


def test_the_command_lists_them_and_says_when_there_are_too_few(folder: Path, tmp_path: Path) -> None:
    said = run_warm(
        "training",
        "audit",
        "--data",
        str(folder),
        "--label-noise",
        "--json",
        str(tmp_path / "a.json"),
        data_dir=tmp_path,
    ).stdout
    assert "look like the other class" in said and "NORMAL/IM-0003-0001.png" in said
    assert json.loads((tmp_path / "a.json").read_text())["label_noise"]["n"] == 60
    few = tmp_path / "few"
    for name in ("NORMAL", "PNEUMONIA"):
        (few / name).mkdir(parents=True)
        for path in sorted((folder / name).iterdir())[: LEAST_GROUPS - 1]:
            (few / name / path.name).write_bytes(path.read_bytes())
    assert rank_labels(scan(few)) is None

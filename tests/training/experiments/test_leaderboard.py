from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.settings import Settings
from model.anatomy import Anatomy
from model.card import Measure, ModelCard
from model.engine import Classifier
from model.registry import add_version
from tests.fake_classifier import framed_classifier, usual_lungs
from tests.pages.performance.test_performance import a_card
from tests.phantoms import write_dataset
from training.__main__ import main
from training.data.loading import load_folder
from training.experiments.leaderboard import (
    PUBLISHED,
    TIMED,
    Row,
    board_from_json,
    board_to_json,
    find_version,
    measure,
    rows_from_json,
    rows_to_json,
    same_patients,
    table,
)

TEST = {
    "n": 10,
    "normal": (3, 4),
    "pneumonia": (6, 6),
    **{m: {"value": 0.9, "low": 0.8, "high": 0.95} for m in ("accuracy", "auroc", "sensitivity", "specificity", "ece")},
}


def a_row(architecture: str, version: str = "v1", **changes: object) -> Row:
    return dataclasses.replace(
        Row(
            architecture,
            version,
            77_633,
            150,
            "random",
            4.0,
            5.0,
            20,
            59_000,
            2026,
            Measure(0.97, 0.95, 0.98),
            600,
            {"test": TEST},
            3.0,
        ),
        **changes,
    )  # type: ignore[arg-type]


def test_table_says_what_each_network_was_given_and_what_was_published() -> None:
    better = {**TEST, "auroc": {"value": 0.99, "low": 0.98, "high": 1.0}}
    text = table([a_row("vgg16", ms_per_radiograph=30.0), a_row("cnn_77k", tests={"test": better})], "the command")
    assert "Written by `the command`." in text
    lines = text.splitlines()
    (vgg,) = (line for line in lines if line.startswith("| `vgg16` v1"))
    assert "random (no ImageNet weights here)" in vgg and "30 (10×)" in vgg
    assert "| 20 (59,000) | 4.0 (5) |" in vgg
    (small,) = (line for line in lines if line.startswith("| `cnn_77k` v1"))
    assert "| random |" in small and "77,633" in small and "96 % train, 93 % test" in small
    ranked = [line.split("`")[1] for line in lines if line.startswith("| `") and "3 of 4" in line]
    assert ranked == ["cnn_77k", "vgg16"], "the better AUROC comes first"
    assert all(name in text for name in PUBLISHED) and "0.928" in text


def test_table_does_not_invent_what_an_early_version_saw() -> None:
    assert "| 20 (not counted) |" in table([a_row("cnn_77k", images_seen=0)], "c")


@pytest.mark.parametrize("command", ["train", "start", "leaderboard", "recalibrate"])
@pytest.mark.parametrize("given", ["ward", "=films", "ward="])
def test_a_further_folder_needs_a_name_and_a_place(
    command: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--data", "films", "--also-evaluate", given])
    assert ended.value.code == 2 and "expected NAME=DIR" in capsys.readouterr().err


def test_rows_survive_json() -> None:
    rows = {"v1": a_row("cnn_77k")}
    again = rows_from_json(rows_to_json(rows))
    assert table(list(again.values()), "c") == table(list(rows.values()), "c")


def test_board_survives_json() -> None:
    rows = [a_row("cnn_77k"), a_row("cnn_2_1")]
    assert board_from_json(board_to_json(rows, "c")) == table(rows, "c")


def a_version(settings: Settings, version: str, architecture: str, **training: object) -> ModelCard:
    card = dataclasses.replace(
        a_card(version),
        architecture=architecture,
        data={"digest": "d"},
        training={"seed": 2026, "validation_fraction": 0.12, **training},
    )
    add_version(settings.versions_dir, card, lambda path: path.write_bytes(b"weights"))
    return card


def test_only_a_version_from_the_same_patients_is_used_again(tmp_path: Path) -> None:
    settings = Settings(tmp_path, shipped_weights=tmp_path / "none")
    a_version(settings, "2026.1.1-1", "cnn_77k", seed=1)
    a_version(settings, "2026.1.1-2", "cnn_2_1")
    assert find_version(settings, "cnn_77k", "d", 2026, 0.12) is None
    a_version(settings, "2026.1.1-3", "cnn_77k")
    a_version(settings, "2026.1.1-4", "cnn_77k")
    assert find_version(settings, "cnn_77k", "d", 2026, 0.12) == "2026.1.1-4"
    assert find_version(settings, "cnn_77k", "other films", 2026, 0.12) is None
    in_use = dataclasses.replace(settings, classifier="2026.1.1-3")
    assert find_version(in_use, "cnn_77k", "d", 2026, 0.12) == "2026.1.1-3"
    assert find_version(in_use, "cnn_77k", "d", 2026, 0.12, "held out") == "2026.1.1-3", "a card of before 0.2.0"


def test_a_version_with_other_patients_held_out_is_not_used_again() -> None:
    card = a_card(training={"seed": 1, "validation_fraction": 0.1}, data={"digest": "d"})
    assert same_patients(card, "d", 1, 0.1, "held out")
    known = dataclasses.replace(card, data={**card.data, "validation_digest": "held out"})
    assert same_patients(known, "d", 1, 0.1, "held out") and not same_patients(known, "d", 1, 0.1, "others")
    by_file = dataclasses.replace(card, data={**card.data, "unknown_patients": 3})
    assert not same_patients(by_file, "d", 1, 0.1, "held out")


def test_a_version_that_sees_the_lungs_is_measured_with_finding_them(tmp_path: Path) -> None:
    write_dataset(tmp_path / "films", 4)
    loaded = load_folder(tmp_path / "films", 80, 0.5, 1)
    card = dataclasses.replace(
        a_card(),
        training={"seed": 5},
        history=(),
        preprocessing={"input_px": 80, "detail_px": 80, "frame": "lungs"},
    )
    asked: list[int] = []

    def find(square: np.ndarray) -> Anatomy:
        asked.append(int(square.mean()))
        return Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.01)

    row = measure(framed_classifier(find, card), loaded)
    assert row.train_n == len(loaded.side(False)) and row.ms_per_radiograph > 0
    assert len(asked) >= row.train_n + TIMED


def test_row_is_measured_at_the_operating_point_on_training_radiographs(tmp_path: Path) -> None:
    """A stand-in that finds every second ill film: right on all normal ones and on half of the others."""
    write_dataset(tmp_path / "films", 10)
    loaded = load_folder(tmp_path / "films", 64, 0.3, 1)
    labels = [s.label for s in loaded.side(False)]
    seen: list[int] = []

    def run(pictures: np.ndarray) -> np.ndarray:
        first = len(seen)
        seen.extend([0] * len(pictures))
        return np.array([8.0 if first + i in found else -8.0 for i in range(len(pictures))], np.float32)

    order = sorted(np.random.default_rng(0).permutation(len(labels)))
    found = set([i for i, k in enumerate(order) if labels[k]][::2])
    card = dataclasses.replace(
        a_card(),
        training={"seed": 5, "budget_minutes": 2, "backbone_weights": "random"},
        preprocessing={"input_px": 64, "detail_px": 64},
        history=({"seconds": 60.0, "images": 4}, {"seconds": 90.0, "fit_seconds": 30.0, "images": 3}),
    )
    row = measure(Classifier(card, "map", run, lambda pictures: (run(pictures),) * 3), loaded)
    right = labels.count(0) + len(found)
    assert row.train_accuracy.value == pytest.approx(right / len(labels)) and row.train_n == len(labels)
    assert (row.fit_minutes, row.budget_minutes, row.images_seen, row.seed) == (1.5, 2.0, 7, 5), "validation counts not"
    assert row.starts_from == "random" and row.ms_per_radiograph > 0
    for backbone, starts in (("inception_v3.h5", "ImageNet"), ("version 2026.01.01-1",) * 2):
        other = dataclasses.replace(card, training={**card.training, "backbone_weights": backbone})
        again = measure(Classifier(other, "map", run, lambda pictures: (run(pictures),) * 3), loaded)
        assert again.starts_from == starts
    assert not any(name.startswith("validation") for name in row.tests)
    evaluations = dict(card.evaluations)
    asked = dataclasses.replace(card, evaluations={**evaluations, "outside_ward": next(iter(evaluations.values()))})
    row = measure(Classifier(asked, "map", run, lambda pictures: (run(pictures),) * 3), loaded, asked=["outside_ward"])
    assert "outside_ward" in row.tests, "looked at already: not a second time"

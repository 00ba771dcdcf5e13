"""A whole training on synthetic radiographs with the real network, through the commands that people use."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT, environment, run, run_warm
from tests.phantoms import as_png, chest, write_dataset

SMALL = [
    "--backbone-weights",
    "random",
    "--head-epochs",
    "1",
    "--small-epochs",
    "1",
    "--full-epochs",
    "0",
    "--small-px",
    "75",
    "--input-px",
    "96",
    "--batch-size",
    "8",
    "--validation-fraction",
    "0.3",
    "--train-after",
    "mixed9",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(data folder of the app, dataset, run directory) after a training that was killed and resumed."""
    home = tmp_path_factory.mktemp("home")
    dataset, run_dir, log = home / "films", home / "run", home / "killed.log"
    write_dataset(dataset, 12)
    with log.open("w") as stderr:
        killed = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "training",
                "train",
                "--data",
                str(dataset),
                "--run-dir",
                str(run_dir),
                "--promote",
                "--licence",
                "drawn, no rights reserved",
                *SMALL,
            ],
            cwd=ROOT,
            env=environment(home),
            stderr=stderr,
        )
        deadline = time.monotonic() + 300
        while not (run_dir / "history.json").exists() and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert (run_dir / "history.json").exists(), log.read_text()
    assert not (home / "versions").exists(), "nothing may be registered by a run that was killed"
    run_warm("training", "train", "--resume", str(run_dir), data_dir=home)
    return home, dataset, run_dir


@pytest.mark.slow
def test_killed_run_resumes_and_makes_a_version_with_its_card(trained: tuple[Path, Path, Path]) -> None:
    home, _dataset, run_dir = trained
    history = json.loads((run_dir / "history.json").read_text())
    assert [(row["epoch"], row["stage"], row["input_px"]) for row in history] == [(1, "head", 75), (2, "small", 75)]
    (folder,) = (home / "versions").iterdir()
    card = json.loads((folder / "card.json").read_text())
    assert card["history"] == history
    assert card["training"]["seed"] == 2026
    assert card["data"]["train"]["NORMAL"] + card["data"]["validation"]["NORMAL"] == 12
    assert card["evaluations"]["validation"]["n"] == sum(card["data"]["validation"][c] for c in ("NORMAL", "PNEUMONIA"))
    assert card["preprocessing"]["input_px"] == 96
    assert not card["left_out"] and "was not measured" in card["left_out_note"], "12 films make no population"
    # The drawn films have the names of Kermany's, which is all that is known of them beside what was stated.
    described = card["data"]["description"]
    assert described["ages"]["from"] == "published"
    assert described["licence"] == {"value": "drawn, no rights reserved", "from": "stated by the administrator"}
    assert described["sex"] is None and "1–5 years" in card["intended_use"]
    sides: dict[str, set[str]] = {}
    with (run_dir / "split.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sides.setdefault(row["patient"], set()).add(row["part"])
    assert all(len(parts) == 1 for parts in sides.values()), "a patient lies on both sides"
    assert {part for parts in sides.values() for part in parts} == {"train", "validation"}


@pytest.mark.slow
def test_evaluation_writes_exactly_the_promised_keys(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    home, dataset, _ = trained
    (dataset / "NORMAL" / "broken.jpeg").write_bytes(b"not a picture")
    done = run("training", "evaluate", "--data", str(dataset), "--json", str(tmp_path / "e.json"), data_dir=home)
    values = json.loads((tmp_path / "e.json").read_text())
    rates = ["accuracy", "auroc", "auprc", "sensitivity", "specificity", "ppv", "npv", "f1", "brier", "ece"]
    counts = ["tp", "fp", "tn", "fn"]
    measured = ("calibration_intercept", "calibration_slope", "ece_debiased")
    at_prevalence = {"calibration_prevalence", *measured, *(f"{name}_ci" for name in measured)}
    assert set(values) == {
        "n",
        *rates,
        *counts,
        *(f"{r}_ci" for r in rates),
        "classifier_version",
        "training_overlap",
        *at_prevalence,
    }
    assert values["n"] == 24 == sum(values[c] for c in counts)
    assert values["accuracy"] == pytest.approx((values["tp"] + values["tn"]) / 24, abs=1e-6)
    assert "broken.jpeg" in done.stderr
    learned = values["training_overlap"]
    # Drawn radiographs resemble each other: a held-out one may count as nearly the same as one that was trained on.
    assert (learned["n"], learned["trained"] + learned["held_out"] + learned["trained_nearly"]) == (24, 24)
    assert learned["warning"] in done.stdout and "were used to train" in learned["warning"]
    (dataset / "NORMAL" / "broken.jpeg").unlink()


@pytest.mark.slow
def test_new_version_assesses_films_folders_and_archives(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    import zipfile

    home, _, _ = trained
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.png").write_bytes(as_png(chest(1, (300, 340))))
    (films / "b.png").write_bytes(b"no picture at all")
    (films / "notes.txt").write_text("passed over")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("deep/c.png", as_png(chest(2, (300, 340), pneumonia=True)))
        archive.writestr("deep/d.png", b"")
    out, maps = tmp_path / "out.jsonl", tmp_path / "maps"
    run(
        "model",
        "assess",
        str(films),
        str(tmp_path / "more.zip"),
        str(tmp_path / "gone.png"),
        "--json",
        str(out),
        "--heatmaps",
        str(maps),
        data_dir=home,
    )
    lines = {Path(line["path"]).name: line for line in map(json.loads, out.read_text().splitlines())}
    assert {name: line["status"] for name, line in lines.items()} == {
        "a.png": "assessed",
        "b.png": "refused",
        "c.png": "assessed",
        "d.png": "refused",
        "gone.png": "refused",
    }
    for line in lines.values():
        assert {
            "path",
            "status",
            "finding",
            "probability",
            "operating_point",
            "issues",
            "classifier_version",
            "seconds",
        } <= set(line)
        if line["status"] == "refused":
            assert line["finding"] is None and line["probability"] is None
            (issue,) = line["issues"]
            assert issue["blocking"] and issue["code"].isupper() and issue["message"].endswith(".")
        else:
            above = line["probability"] >= line["operating_point"]
            assert line["finding"] == ("PNEUMONIA" if above else "NO_PNEUMONIA")
    assert len(list(maps.iterdir())) == 2
    assert {path.stem for path in maps.iterdir()} == {lines[n]["sha256"][:16] for n in ("a.png", "c.png")}
    streamed = run_warm("model", "assess", str(films / "a.png"), "--json", "-", data_dir=home)
    line = json.loads(streamed.stdout)
    assert line["probability"] == lines["a.png"]["probability"]


@pytest.mark.slow
def test_resuming_with_changed_films_is_refused(trained: tuple[Path, Path, Path]) -> None:
    home, dataset, run_dir = trained
    extra = dataset / "NORMAL" / "IM-0900-0001.png"
    extra.write_bytes(as_png(chest(99, (120, 140))))
    made = (run_dir / "version.json").rename(run_dir / "made.json")  # as if it had not come to its end
    try:
        refused = run_warm("training", "train", "--resume", str(run_dir), data_dir=home, expect=1)
    finally:
        extra.unlink()
        made.rename(run_dir / "version.json")
    assert "Restore the folder, or start a new run." in refused.stderr


@pytest.mark.slow
def test_versions_and_promotion_from_the_command_line(trained: tuple[Path, Path, Path]) -> None:
    home, _, _ = trained
    listed = run_warm("training", "versions", data_dir=home).stdout
    assert any(line.startswith("* ") and "validation AUROC" in line for line in listed.splitlines())
    refused = run_warm("training", "promote", "1999.1.1-1", data_dir=home, expect=1)
    assert "1999.1.1-1" in refused.stderr


def test_commands_refuse_with_a_sentence_and_a_status(tmp_path: Path) -> None:
    refused = run_warm("training", "train", "--data", str(tmp_path / "nowhere"), data_dir=tmp_path, expect=1)
    assert "Name a folder that exists" in refused.stderr
    assert not (tmp_path / "runs").exists(), "a refused training leaves no run behind"
    refused = run_warm(
        "training",
        "train",
        "--data",
        str(tmp_path),
        "--head-epochs",
        "0",
        "--small-epochs",
        "0",
        "--full-epochs",
        "0",
        data_dir=tmp_path,
        expect=2,
    )
    assert "at least one stage" in refused.stderr
    write_dataset(tmp_path / "films", 2)
    refused = run_warm(
        "training",
        "train",
        "--data",
        str(tmp_path / "films"),
        "--backbone-weights",
        "gone.h5",
        data_dir=tmp_path,
        expect=1,
    )
    assert "Name a file that exists" in refused.stderr
    for module in ("model", "training"):
        assert "examples:" in run_warm(module, "--help", data_dir=tmp_path).stdout

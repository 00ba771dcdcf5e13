"""Every way to evaluate leaves a line in the ledger where it meets a test set."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pneumolens
from core.progress import ignore
from core.settings import Settings
from records.test_sets import LEDGER, looks, seen
from tests.fake_classifier import fake_card, fake_classifier
from tests.phantoms import write_dataset
from training.__main__ import main
from training.data.dataset import scan
from training.evaluation.looks import recorder, sets_of

VERSION = "2026.11.22-10"


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A named test set, and a classifier whose answers cost nothing."""
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "data"))
    card = fake_card(VERSION, input_px=200)
    monkeypatch.setattr("model.engine.load_classifier", lambda *_, **__: fake_classifier(card))
    monkeypatch.setattr("training.commands.evaluate.start_tensorflow", lambda **_: None)
    monkeypatch.setattr("training.commands.localisation.start_tensorflow", lambda **_: None)
    write_dataset(tmp_path / "ward", 4, size=(240, 280))
    write_dataset(tmp_path / "other", 4, seed=100, size=(240, 280))
    assert main(["test-set", "add", "ward-2026", "--data", str(tmp_path / "ward")]) == 0
    yield tmp_path / "ward"


def recorded(data_dir: Path) -> list[tuple[str, tuple[str, ...], str, int]]:
    return [(one.command, one.versions, one.split, one.files) for one in looks(Settings(data_dir))]


def test_commands_record_and_say_so(ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, result = ["--data", str(ward)], tmp_path / "result.json"
    assert main(["evaluate", *data, "--json", str(result)]) == 0
    once = "test set ward-2026 (8 of 8 files): looked at once, by 1 version"
    assert f"  {once}\n" in capsys.readouterr().out and json.loads(result.read_text())["test_sets"] == [once]
    assert main(["evaluate", "--data", str(tmp_path / "other"), "--json", str(result)]) == 0
    assert "test set" not in capsys.readouterr().out and "test_sets" not in json.loads(result.read_text())
    assert main(["compare", *data, "--with", VERSION]) == 0
    assert "looked at twice, by 1 version; figures on it are optimistic" in capsys.readouterr().out
    boxes = tmp_path / "boxes.csv"
    with boxes.open("w", newline="") as file:
        films = [film.path.relative_to(ward) for film in scan(ward).train]
        csv.writer(file).writerows([("file", "x", "y", "w", "h"), *((film, 0, 0, 50, 50) for film in films[:3])])
    assert main(["localisation", *data, "--boxes", str(boxes)]) == 0
    assert "test set ward-2026 (3 of 8 files): looked at 3 times" in capsys.readouterr().out
    assert recorded(tmp_path / "data") == [
        ("evaluate", (VERSION,), "ward", 8),
        ("compare", (VERSION, VERSION), "ward", 8),
        ("localisation", (VERSION,), "ward", 3),
    ]
    assert main(["test-set", "list", "--json", str(result)]) == 0
    assert capsys.readouterr().out.count("(command line)") == 3
    (row,) = json.loads(result.read_text())
    assert (row["name"], row["n"], row["looks"], row["versions"]) == ("ward-2026", 8, 3, [VERSION])
    assert main(["test-set", "verify"]) == 0 and capsys.readouterr().out.startswith("Intact: 4 lines, head ")
    ledger = tmp_path / "data" / LEDGER
    ledger.write_text(ledger.read_text().replace('"compare"', '"audit"'))
    assert main(["test-set", "verify"]) == 1 and "was changed or removed" in capsys.readouterr().out
    ledger.unlink()
    assert main(["test-set", "list"]) == 0
    listed = capsys.readouterr()
    assert "0 are there: lines were removed" in listed.err and "No test set yet" not in listed.out


def test_the_python_interface_and_runs_record(ward: Path, tmp_path: Path) -> None:
    from training.runs.recalibrate import _evaluations
    from training.runs.run import _further_evaluations

    settings = Settings(tmp_path / "data")
    classifier = fake_classifier(fake_card("v2", input_px=200))
    pneumolens.evaluate(classifier, ward, name="ours", settings=settings)
    whole = tmp_path / "whole"
    whole.mkdir()
    (tmp_path / "other").rename(whole / "train")
    ward.rename(whole / "test")
    request: Any = type("Request", (), {"extra_evaluations": (("again", whole / "test"),), "data": scan(whole).request})
    _further_evaluations(classifier, scan(whole), request, ignore, recorder(settings, "train", "ann"))
    loaded: Any = type("Loaded", (), {"folder": scan(whole)})
    _evaluations(classifier, loaded, (), ignore, recorder(settings, "recalibrate", "ann"))
    assert [(command, split) for command, _, split, _ in recorded(settings.data_dir)] == [
        ("Python interface", "ours"),
        ("train", "test"),
        ("train", "again"),
        ("recalibrate", "test"),
    ]
    assert seen(settings)[0].versions == ("v2",)
    assert sets_of(settings, {"v2"}) == [
        "test set ward-2026 (8 files): looked at 4 times, by 1 version; figures on it are optimistic"
    ]
    assert sets_of(settings, {"v3"}) == []


def test_the_accuracy_benchmark_records(ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import accuracy

    monkeypatch.setattr(accuracy, "load_classifier", lambda *_, **__: fake_classifier(fake_card("v3", input_px=200)))
    monkeypatch.setattr(accuracy, "start_tensorflow", lambda: None)
    monkeypatch.setattr("sys.argv", ["accuracy", str(ward), str(tmp_path / "other")])
    assert accuracy.main() == 0
    assert recorded(tmp_path / "data") == [("accuracy benchmark", ("v3",), "ward", 8)], (
        "the other folder is no test set"
    )


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "data"))
    for arguments in (["add", "ward"], ["list", "ward"], ["verify", "--data", str(tmp_path)]):
        with pytest.raises(SystemExit) as end:
            main(["test-set", *arguments])
        assert end.value.code == 2

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from core.errors import ClassifierError
from core.settings import Settings
from model.card import Calibration, ModelCard, OperatingPoint
from model.promotions import promote, serving_version
from model.registry import (
    active_version,
    add_version,
    file_sha256,
    list_versions,
    load_card,
    next_version,
    replace_card,
    verify,
    verify_again,
    version_folder,
)
from tests import ROOT


def card(version: str) -> ModelCard:
    return ModelCard(
        version,
        None,
        "2026-11-21T00:00:00+00:00",
        "classifier.npz",
        "",
        "inception_v3",
        1,
        "use",
        ("limit",),
        {},
        {},
        {},
        (),
        Calibration(1.0),
        OperatingPoint(0.5, 0.4, 0.6, "test"),
        {},
        {},
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shipped = tmp_path / "shipped"
    add_version(shipped, card("2026.11.1-1"), lambda path: path.write_bytes(b"first"))
    (shipped / "active.json").write_text('{"version": "2026.11.1-1"}')
    return Settings(tmp_path / "data", shipped_weights=shipped)


def add(settings: Settings, version: str) -> Path:
    return add_version(settings.versions_dir, card(version), lambda path: path.write_bytes(version.encode()))


def test_shipped_version_serves_until_another_is_promoted(settings: Settings) -> None:
    assert active_version(settings) == "2026.11.1-1"
    add(settings, "2026.11.2-1")
    assert active_version(settings) == "2026.11.1-1"
    promote(settings, "2026.11.2-1", who="a test")
    assert active_version(settings) == "2026.11.2-1"
    promote(settings, "2026.11.1-1", who="a test")
    assert active_version(settings) == "2026.11.1-1"
    assert active_version(dataclasses.replace(settings, classifier="2026.11.2-1")) == "2026.11.2-1"


def test_versions_are_listed_in_order_of_date_and_number(settings: Settings) -> None:
    for version in ("2026.11.2-10", "2026.11.2-9", "2025.12.31-1"):
        add(settings, version)
    assert list_versions(settings) == ("2025.12.31-1", "2026.11.1-1", "2026.11.2-9", "2026.11.2-10")
    assert next_version(settings.versions_dir, settings, date(2026, 11, 2)) == "2026.11.02-1"
    add(settings, "2026.11.02-9")
    assert next_version(settings.versions_dir, settings, date(2026, 11, 2)) == "2026.11.02-10", "after the last one"


def test_changed_weights_are_refused_by_name(settings: Settings) -> None:
    folder = add(settings, "2026.11.2-1")
    assert verify(folder).version == "2026.11.2-1"
    weights = folder / "classifier.npz"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ClassifierError, match=r"2026\.11\.2-1") as error:
        promote(settings, "2026.11.2-1", who="a test")
    assert "changed or damaged" in error.value.advice
    assert active_version(settings) == "2026.11.1-1"
    weights.unlink()
    with pytest.raises(ClassifierError, match="no such file"):
        verify(folder)


def test_files_that_have_not_changed_are_not_read_again_and_others_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add(settings, "2026.11.2-1")
    weights, read = folder / "classifier.npz", []
    monkeypatch.setattr("model.registry._TICK_NS", -1)
    monkeypatch.setattr("model.registry.file_sha256", lambda path: (read.append(path), file_sha256(path))[1])
    for _ in range(3):
        assert verify_again(folder).version == "2026.11.2-1"
    assert read == [weights]
    about = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"?")
    os.utime(weights, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    for _ in range(2):
        with pytest.raises(ClassifierError, match=r"2026\.11\.2-1"):
            verify_again(folder)
    with pytest.raises(ClassifierError, match=r"2026\.11\.2-1"):
        verify(folder)


def test_a_file_that_was_just_written_is_read_every_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, read = add(settings, "2026.11.2-1"), []
    monkeypatch.setattr("model.registry._TICK_NS", 10**18)
    monkeypatch.setattr("model.registry.file_sha256", lambda path: (read.append(path), file_sha256(path))[1])
    for _ in range(3):
        verify_again(folder)
    assert len(read) == 3


def test_a_version_may_bring_its_population_and_is_refused_when_that_was_changed(settings: Settings) -> None:
    plain = add(settings, "2026.11.2-1")
    assert load_card(settings, "2026.11.2-1").population_sha256 == ""
    (plain / "population.npz").write_bytes(b"whatever lies here was not asked for")
    assert verify(plain).version == "2026.11.2-1"
    folder = add_version(
        settings.versions_dir,
        card("2026.11.3-1"),
        lambda path: path.write_bytes(b"weights"),
        lambda path: path.write_bytes(b"population"),
    )
    assert verify(folder).population_sha256 == file_sha256(folder / "population.npz")
    promote(settings, "2026.11.3-1", who="a test")
    for content in (b"another one", None):
        (folder / "population.npz").unlink()
        if content:
            (folder / "population.npz").write_bytes(content)
        for check in (verify, verify_again):
            with pytest.raises(ClassifierError, match=r"2026\.11\.3-1") as error:
                check(folder)
            assert "population" in error.value.advice
    assert serving_version(settings)[0] == "2026.11.1-1", "the last whole version goes on serving"


def test_a_card_keeps_its_population(settings: Settings) -> None:
    folder = add_version(
        settings.versions_dir,
        card("2026.11.3-1"),
        lambda path: path.write_bytes(b"weights"),
        lambda path: path.write_bytes(b"population"),
    )
    kept = verify(folder)
    replace_card(folder, dataclasses.replace(kept, notes=("more",)))
    with pytest.raises(ClassifierError, match="its weights"):
        replace_card(folder, dataclasses.replace(kept, population_sha256=""))


def test_card_may_not_point_outside_its_folder(settings: Settings) -> None:
    folder = add(settings, "2026.11.2-1")
    values = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(values | {"weights_file": "../../shipped/2026.11.1-1/classifier.npz"}))
    with pytest.raises(ClassifierError, match="no such file"):
        verify(folder)


@pytest.mark.parametrize("version", ["2026.1.1-9", "../shipped/2026.11.1-1", "", ".", "a/b"])
def test_unknown_or_crooked_names_are_refused(settings: Settings, version: str) -> None:
    with pytest.raises(ClassifierError, match="expected a version of"):
        version_folder(settings, version)


def test_a_version_is_added_whole_or_not_at_all(settings: Settings) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        add_version(settings.versions_dir, card("2026.11.3-1"), fail)
    assert list(settings.versions_dir.iterdir()) == []
    add(settings, "2026.11.3-1")
    with pytest.raises(ClassifierError, match="which exists"):
        add(settings, "2026.11.3-1")


def test_damaged_pointer_or_card_gives_a_sentence(settings: Settings) -> None:
    add(settings, "2026.11.2-1")
    promote(settings, "2026.11.2-1", who="a test")
    (settings.data_dir / "active.json").write_text("{")
    with pytest.raises(ClassifierError, match="damaged"):
        active_version(settings)
    (settings.versions_dir / "2026.11.2-1" / "card.json").write_text("[]")
    with pytest.raises(ClassifierError, match="model card"):
        load_card(settings, "2026.11.2-1")


def test_no_classifier_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError) as error:
        active_version(Settings(tmp_path / "a", shipped_weights=tmp_path / "b"))
    assert "train a classifier" in error.value.advice


@pytest.mark.parametrize(
    "module",
    [
        "model.registry",
        "reports.json_report",
        "model.pipeline",
        "model.engine",
        "model.__main__",
        "training.data.dataset",
        "training.evaluation.evaluate",
        "training.__main__",
    ],
)
def test_importing_does_not_pull_tensorflow_in(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), timeout=60).returncode == 0


def test_more_can_be_said_of_the_same_weights_but_not_of_others(settings: Settings) -> None:
    folder = add(settings, "2026.11.2-1")
    read = verify(folder)
    replace_card(folder, dataclasses.replace(read, notes=("seen again",)))
    assert verify(folder).notes == ("seen again",)
    for wrong in ({"sha256": "0" * 64}, {"version": "2026.11.2-2"}, {"weights_file": "other.npz"}):
        with pytest.raises(ClassifierError):
            replace_card(folder, dataclasses.replace(read, **wrong))
    assert verify(folder).notes == ("seen again",)

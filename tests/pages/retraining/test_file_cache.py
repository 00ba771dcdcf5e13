"""The Retrain page reads a dataset, and the curves of a run, anew only when a folder or a file has changed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from core.settings import Settings
from pages.retraining import file_cache
from tests.pages.retraining.test_choose import films
from training.data import sources
from training.data.sources import Dataset, dataset_at
from training.runs import audits, jobs
from training.runs.audits import AuditState


@pytest.fixture(autouse=True)
def empty() -> None:
    st.cache_data.clear()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "var", data_roots=(tmp_path / "films",))


@pytest.fixture
def dataset(settings: Settings) -> Dataset:
    films(settings.data_roots[0], 3)
    return dataset_at(settings, settings.data_roots[0])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each function that reads much was called."""
    counts: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, counting)

    for module, name in ((audits, "audit_key"), (sources, "with_counts"), (jobs, "epochs"), (jobs, "points")):
        count(module, name)
    return counts


def later(folder: Path) -> None:
    """Move a folder's time on by a second, in case the clock of the file system is coarse."""
    found = folder.stat()
    os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


def test_an_unchanged_dataset_is_read_once(settings: Settings, dataset: Dataset, calls: Counter[str]) -> None:
    state = AuditState(audits.audit_key(dataset), audits.data_of(settings, dataset), (dataset,), "done")
    calls.clear()
    for _ in range(20):
        assert file_cache.is_current(settings, state)
        assert file_cache.with_counts(dataset).n == {"train": {"NORMAL": 3, "PNEUMONIA": 3}}
    assert calls == {"audit_key": 1, "with_counts": 1}


@pytest.mark.parametrize("change", ["added", "removed", "added below", "renamed"])
def test_a_changed_folder_is_read_again(settings: Settings, dataset: Dataset, calls: Counter[str], change: str) -> None:
    inner = dataset.path / "NORMAL" / "ward"
    inner.mkdir()
    later(dataset.path / "NORMAL")
    state = AuditState(audits.audit_key(dataset), audits.data_of(settings, dataset), (dataset,), "done")
    assert file_cache.is_current(settings, state)
    calls.clear()
    first = dataset.path / "PNEUMONIA" / "0.png"
    if change == "added":
        (dataset.path / "PNEUMONIA" / "new.png").write_bytes(b"film")
    elif change == "removed":
        first.unlink()
    elif change == "renamed":
        first.rename(first.with_name("other.png"))
    else:
        (inner / "new.png").write_bytes(b"film")
    later(inner if change == "added below" else first.parent)
    assert not file_cache.is_current(settings, state) and calls == {"audit_key": 1}


def test_a_dataset_that_is_gone_is_not_current(settings: Settings, dataset: Dataset) -> None:
    state = AuditState(audits.audit_key(dataset), audits.data_of(settings, dataset), (dataset,), "done")
    (dataset.path / "NORMAL").rename(dataset.path / "other")
    assert not file_cache.is_current(settings, state)


def test_links_below_a_class_cannot_make_it_endless(dataset: Dataset) -> None:
    (dataset.path / "NORMAL" / "loop").symlink_to(dataset.path)
    assert [Path(folder).name for folder, _ in file_cache.folder_state(dataset.path)] == [
        "films",
        "NORMAL",
        "PNEUMONIA",
    ]


def test_curves_are_read_again_only_when_their_files_grow(tmp_path: Path, calls: Counter[str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    job = jobs.Job("run", folder, "running", "", "", "", "", None)
    assert file_cache.learning_curves(job) == ([], [])
    (folder / "history.json").write_text(json.dumps([{"epoch": 1}]))
    (folder / "progress.jsonl").write_text('{"epoch": 1, "step": 1}\n')
    calls.clear()
    for _ in range(5):
        assert file_cache.learning_curves(job) == ([{"epoch": 1}], [{"epoch": 1, "step": 1}])
    assert calls == {"epochs": 1, "points": 1}
    with (folder / "progress.jsonl").open("a") as file:
        file.write('{"epoch": 1, "step": 2}\n')
    assert len(file_cache.learning_curves(job)[1]) == 2

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest

from core.errors import DatasetError
from core.files import write_atomically
from core.settings import Settings
from tests.phantoms import write_dataset
from training.__main__ import main
from training.data.audit import audit_folder, audit_from_json, audit_to_json
from training.data.dataset import scan_folder
from training.data.sources import Dataset, dataset_at
from training.runs import audits, processes
from training.runs.audits import (
    AuditState,
    audit_key,
    cancel_audit,
    folders_in_use,
    forget_audits,
    is_current,
    latest_audits,
    read_audit,
    start_audit,
    work,
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films, drawn once: that takes longer than all else here."""
    folder = tmp_path_factory.mktemp("drawn")
    write_dataset(folder, 3)
    return folder


@pytest.fixture
def settings(tmp_path: Path, drawn: Path) -> Settings:
    shutil.copytree(drawn, tmp_path / "films")
    return Settings(tmp_path / "var", data_roots=(tmp_path / "films",))


@pytest.fixture
def dataset(settings: Settings) -> Dataset:
    return dataset_at(settings, settings.data_roots[0])


def ended(settings: Settings, key: str) -> AuditState:
    """Wait for an audit; a real one of six small pictures takes seconds, most of them imports."""
    until = time.monotonic() + 120
    while (state := read_audit(settings, key)).state == "running":
        assert time.monotonic() < until, "the audit has not ended"
        time.sleep(0.05)
    return state


def launched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let processes be started on paper only; return the list that their folders go onto."""
    folders: list[Path] = []

    def launch(folder: Path, _arguments: tuple[str, ...]) -> None:
        folders.append(folder)
        processes.record_process(folder, os.getpid())

    monkeypatch.setattr(processes, "launch", launch)
    return folders


def test_an_audit_goes_on_in_a_process_of_its_own_and_stays(settings: Settings, dataset: Dataset) -> None:
    key = start_audit(settings, dataset)
    state = ended(settings, key)
    assert state.state == "done" and state.failure is None and state.datasets == (dataset,)
    assert state.audit == dataclasses.replace(
        audit_folder(scan_folder(dataset.path)), shortcut_auroc=state.audit.shortcut_auroc
    )
    assert math.isnan(state.audit.shortcut_auroc)
    assert is_current(settings, state) and latest_audits(settings)[0].key == key
    process = (settings.audits_dir / key / "process.json").read_text()
    assert start_audit(settings, dataset) == key
    assert (settings.audits_dir / key / "process.json").read_text() == process, "it was not audited twice"


def test_a_process_that_is_killed_shows_as_failed_and_can_be_started_again(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = start_audit(settings, dataset)
    folder = settings.audits_dir / key
    assert folders_in_use(settings) == (dataset.path,)
    psutil.Process(json.loads((folder / "process.json").read_text())["pid"]).kill()
    state = ended(settings, key)
    assert state.state == "failed" and state.audit is None and state.failure is not None
    assert "ended from outside" in state.failure.message and folders_in_use(settings) == ()
    started = launched(monkeypatch)
    assert start_audit(settings, dataset) == key
    assert started == [folder] and read_audit(settings, key).state == "running"


def test_cancelling_ends_the_process_and_says_so(settings: Settings, dataset: Dataset) -> None:
    key = start_audit(settings, dataset)
    cancel_audit(settings, key)
    assert not processes.is_running(settings.audits_dir / key)
    failure = read_audit(settings, key).failure
    assert failure is not None and failure.message == "The audit was cancelled."


def test_the_command_of_the_process_writes_why_it_failed(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched(monkeypatch)
    folder = settings.audits_dir / start_audit(settings, dataset)
    for path in (dataset.path / "NORMAL").iterdir():
        path.unlink()
    assert main(["_audit", str(folder)]) == 1
    assert "NORMAL and PNEUMONIA" in processes.read_json(folder / "error.json")["message"]
    assert "NORMAL and PNEUMONIA" in capsys.readouterr().err


def test_the_command_is_not_advertised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "_audit" not in said and "SUPPRESS" not in said and "audit " in said


def test_progress_is_written_with_the_time_left(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch)
    folder = settings.audits_dir / start_audit(settings, dataset)
    waiting = read_audit(settings, folder.name)
    assert (waiting.state, waiting.phase, waiting.total) == ("running", audits.LISTING, 0)
    written: list[dict[str, object]] = []
    monkeypatch.setattr(processes, "write_status", lambda _folder, **values: written.append(values))
    monkeypatch.setattr(audits, "_BETWEEN_STATUS_SECONDS", 0.0)
    work(folder)
    assert [one["done"] for one in written] == [0, 1, 2, 3, 4, 5, 6]
    assert {one["phase"] for one in written[1:-1]} == {audits.READING} and written[-1]["phase"] == audits.COMPARING
    assert all(float(str(one["seconds_left"])) > 0 for one in written[1:-1])
    monkeypatch.setattr(audits, "_BETWEEN_STATUS_SECONDS", 1e9)
    written.clear()
    work(folder)
    assert [one["done"] for one in written] == [0, 6], "no more often than that, but the last one always"


def test_a_changed_folder_has_another_key(dataset: Dataset) -> None:
    film = next((dataset.path / "NORMAL").iterdir())
    before = film.stat()
    keys = [audit_key(dataset)]
    (dataset.path / "notes.txt").write_text("not a picture")
    assert audit_key(dataset) == keys[0]
    film.write_bytes(film.read_bytes() + b"\0")
    keys.append(audit_key(dataset))
    os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    keys.append(audit_key(dataset))
    film.rename(film.with_name("IM-9999-0001.jpeg"))
    keys.append(audit_key(dataset))
    film.with_name("IM-9999-0001.jpeg").unlink()
    keys.append(audit_key(dataset))
    assert len(set(keys)) == 5


def test_an_audit_of_a_folder_that_changed_is_not_current(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch)
    key = start_audit(settings, dataset)
    work(settings.audits_dir / key)
    assert is_current(settings, read_audit(settings, key))
    next((dataset.path / "PNEUMONIA").iterdir()).unlink()
    state = read_audit(settings, key)
    assert state.state == "done" and not is_current(settings, state)
    assert start_audit(settings, dataset) != key
    shutil.rmtree(dataset.path)
    assert not is_current(settings, state) and latest_audits(settings) == ()


@pytest.mark.parametrize("key", ["", "0123456789abcdef", "../../etc", "0123456789ABCDEF", "x" * 16])
def test_a_key_that_does_not_exist_is_refused(settings: Settings, key: str) -> None:
    with pytest.raises(DatasetError, match="key of an audit"):
        read_audit(settings, key)


def test_a_folder_outside_the_roots_is_not_audited(settings: Settings, dataset: Dataset) -> None:
    elsewhere = dataclasses.replace(settings, data_roots=())
    with pytest.raises(DatasetError, match="below the data roots"):
        start_audit(elsewhere, dataset)
    assert not settings.audits_dir.exists()


def test_a_result_that_cannot_be_read_is_a_failure(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch)
    key = start_audit(settings, dataset)
    for text in ("", "[]", '{"n": 1}'):
        write_atomically(settings.audits_dir / key / "audit.json", text)
        state = read_audit(settings, key)
        assert state.state == "failed" and state.failure is not None and "cannot be read" in state.failure.message


def test_the_audits_of_a_deleted_dataset_are_forgotten(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch)
    monkeypatch.setattr(processes, "stop", lambda _folder: None)
    key = start_audit(settings, dataset)
    forget_audits(settings, dataclasses.replace(dataset, path=dataset.path / "other"))
    assert read_audit(settings, key).key == key
    forget_audits(settings, dataset)
    assert not (settings.audits_dir / key).exists()


def test_json_keeps_an_audit_whole(dataset: Dataset) -> None:
    root = dataset.path
    film = next((root / "NORMAL").iterdir())
    shutil.copy(film, root / "PNEUMONIA" / "person99_virus_1.jpeg")
    shutil.copy(film, root / "NORMAL" / "IM-0099-0001.jpeg")
    (root / "NORMAL" / "broken.png").write_bytes(b"no picture")
    audit = dataclasses.replace(audit_folder(scan_folder(root)), shortcut_auroc=0.75)
    assert audit.label_conflicts and audit.unreadable and audit.is_blocked
    assert audit_from_json(audit_to_json(audit)) == audit


def test_json_holds_an_audit_without_a_second_class(dataset: Dataset) -> None:
    """Nothing can be measured then, and not-a-number is no JSON."""
    for path in (dataset.path / "NORMAL").iterdir():
        path.write_bytes(b"")
    audit = audit_from_json(audit_to_json(audit_folder(scan_folder(dataset.path))))
    assert audit.is_blocked and all(map(math.isnan, audit.shortcut_features.values()))


def test_several_sources_and_a_pattern_are_audited_as_asked(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(dataset.path, tmp_path / "more" / "clinic")
    settings = dataclasses.replace(settings, data_roots=(*settings.data_roots, tmp_path / "more"))
    other = dataset_at(settings, tmp_path / "more" / "clinic")
    launched(monkeypatch)
    keys = [start_audit(settings, *one) for one in ((dataset,), (dataset, other))]
    keys.append(start_audit(settings, dataset, other, patient_pattern="(.*)-1"))
    assert len(set(keys)) == 3
    state = read_audit(settings, keys[2])
    assert state.datasets == (dataset, other) and state.data.patient_pattern == "(.*)-1"
    assert state.data.key_file == settings.patient_key_file.resolve()
    audit = work(settings.audits_dir / keys[2])
    assert audit.n == 12 and audit.data is not None and set(audit.data.sources) == {"films", "clinic"}
    assert is_current(settings, read_audit(settings, keys[2]))
    assert set(folders_in_use(settings)) >= {dataset.path, other.path}
    with pytest.raises(DatasetError, match="patient in parentheses"):
        start_audit(settings, dataset, patient_pattern="no group")


def test_an_audit_that_was_asked_for_before_0_2_is_still_read(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch)
    key = start_audit(settings, dataset)
    request = settings.audits_dir / key / audits.REQUEST
    request.write_text(json.dumps({"path": str(dataset.path), "started_at": "2026-11-01T00:00:00+00:00"}))
    work(settings.audits_dir / key)
    state = read_audit(settings, key)
    assert state.state == "done" and state.datasets == (dataset,) and is_current(settings, state)

"""The ledger of test sets: what it records, and that a change of it shows."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from core.errors import DatasetError
from core.settings import Settings
from records.hash_chain import NO_LINE, append_to_chain, read_chain
from records.test_sets import (
    LEDGER,
    add_test_set,
    digest_of,
    looks,
    named_sets,
    record_look,
    seen,
    verify_ledger,
)
from training.data.sample import Sample, digest

AT = "2026-12-01T00:00:00+00:00"
FILES = [(f"{n:064x}", n % 2) for n in range(6)]


def look(settings: Settings, *versions: str, files: list[tuple[str, int]] = FILES, command: str = "evaluate") -> int:
    return len(record_look(settings, files, versions, command, "test", "ann"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "data")


def test_nothing_is_written_before_a_set_is_named(settings: Settings) -> None:
    assert look(settings, "v1") == 0 and not settings.data_dir.exists()


def test_looks_are_counted_by_set_and_version(settings: Settings) -> None:
    add_test_set(settings, "ward", FILES, "ann")
    assert seen(settings)[0].words == "never looked at"
    assert look(settings, "v1") == 1
    assert seen(settings)[0].words == "looked at once, by 1 version"
    look(settings, "v1", "v2", command="compare")
    look(settings, "v3", files=[*FILES[:2], ("f" * 64, 1)])  # two of its files among others
    assert look(settings, "v4", files=[("f" * 64, 1)]) == 0
    (found,) = seen(settings)
    assert found.words == "looked at 3 times, by 3 versions; figures on it are optimistic"
    assert [(one.files, one.versions, one.command) for one in looks(settings)] == [
        (6, ("v1",), "evaluate"),
        (6, ("v1", "v2"), "compare"),
        (2, ("v3",), "evaluate"),
    ]
    whole, _, part = looks(settings)
    assert whole.digest == named_sets(settings)[0].digest != part.digest
    assert verify_ledger(settings).faults == () and verify_ledger(settings).lines == 4


def test_the_digest_is_that_of_a_dataset() -> None:
    samples = [Sample(Path(sha256), label, "p", True, sha256=sha256) for sha256, label in FILES]
    assert digest_of(FILES) == digest(samples)


def test_a_file_under_another_label_is_the_same_file(settings: Settings) -> None:
    add_test_set(settings, "ward", FILES, "ann")
    assert look(settings, "v1", files=[(sha256, 1 - label) for sha256, label in FILES]) == 1
    assert record_look(settings, [(FILES[0][0], None)], ("v1",), "localisation", "test", "ann")[0].files == 1


def test_a_name_and_a_set_are_given_once(settings: Settings) -> None:
    add_test_set(settings, "ward", FILES, "ann")
    for name, files in (("ward", FILES[:2]), ("clinic", FILES)):
        with pytest.raises(DatasetError, match="a new set and a new name"):
            add_test_set(settings, name, files, "ann")
    for name in ("", "a/b", "x" * 81, "a\nb"):
        with pytest.raises(DatasetError, match="1–80 letters"):
            add_test_set(settings, name, FILES[:3], "ann")
    with pytest.raises(DatasetError, match="expected radiographs"):
        add_test_set(settings, "none", [], "ann")


def test_every_edit_of_the_chain_shows(settings: Settings) -> None:
    add_test_set(settings, "ward", FILES, "ann")
    for version in ("v1", "v2", "v3"):
        look(settings, version)
    ledger = settings.data_dir / LEDGER
    head_file = ledger.with_name("test_sets.head.json")
    whole, head = ledger.read_bytes(), head_file.read_bytes()
    lines = whole.splitlines(keepends=True)
    noted = verify_ledger(settings).head
    damages = {
        "an edit": whole.replace(b'"v2"', b'"v9"'),
        "an edit of the last line": whole.replace(b'"v3"', b'"v9"'),
        "a line left out": b"".join([lines[0], *lines[2:]]),
        "two lines exchanged": b"".join([lines[0], lines[2], lines[1], lines[3]]),
        "cut off at the end": b"".join(lines[:-1]),
        "empty": b"",
        "no JSON": whole.replace(b'{"previous"', b"{previous", 1),
    }
    for name, content in damages.items():
        ledger.write_bytes(content)
        head_file.write_bytes(head)
        assert verify_ledger(settings).faults, name
    ledger.unlink()
    assert verify_ledger(settings).faults, "deleted"
    # Lines and head cut off together: only a head that was noted elsewhere shows it.
    ledger.write_bytes(b"".join(lines[:-1]))
    before = json.loads(lines[-1])["previous"]
    head_file.write_text(json.dumps({"lines": 3, "sha256": before}))
    assert not verify_ledger(settings).faults
    assert verify_ledger(settings, noted).faults and not verify_ledger(settings, before).faults


def test_damage_stays_on_record_when_more_is_added(settings: Settings) -> None:
    add_test_set(settings, "ward", FILES, "ann")
    look(settings, "v1")
    ledger = settings.data_dir / LEDGER
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:1]))
    look(settings, "v2")
    (fault,) = verify_ledger(settings).faults
    assert "2 lines are on record, and 1 are there" in fault
    assert [one.versions for one in looks(settings)] == [("v2",)]


def test_the_list_of_files_cannot_be_changed_unseen(settings: Settings) -> None:
    added = add_test_set(settings, "ward", FILES, "ann")
    files = settings.data_dir / "test_sets" / added.digest
    files.write_text(files.read_text().replace("0", "1", 1))
    assert verify_ledger(settings).faults == ("The list of files of ward was changed or removed.",)


def test_a_crash_between_line_and_head_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    first = append_to_chain(path, {"kind": "a"}, at=AT)
    head = path.with_name("chain.head.json").read_bytes()
    append_to_chain(path, {"kind": "b"}, at=AT)
    path.with_name("chain.head.json").write_bytes(head)
    with path.open("ab") as file:
        file.write(b'{"previous": "half a li')
    append_to_chain(path, {"kind": "c"}, at=AT)
    chain = read_chain(path, first)
    assert [one["kind"] for one in chain.entries] == ["a", "b", "c"] and not chain.faults
    assert chain.entries[0]["previous"] == NO_LINE and path.stat().st_mode & 0o077 == 0


def _many(path: str, name: str) -> None:
    for n in range(5):
        append_to_chain(Path(path), {"kind": name, "n": n}, at=AT)


def test_writers_at_one_time_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    start = multiprocessing.get_context("fork")
    writers = [start.Process(target=_many, args=(str(path), name)) for name in "abc"]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    chain = read_chain(path)
    assert len(chain.entries) == 15 and not chain.faults


def test_without_a_record_there_are_no_figures(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    add_test_set(settings, "ward", FILES, "ann")
    monkeypatch.setattr("records.test_sets.append_to_chain", full)
    with pytest.raises(DatasetError, match="to record this look at ward"):
        look(settings, "v1")

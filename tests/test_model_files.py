from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.files import sync_folder, write_atomically


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("content", "expected"), [
    (b"\x00\xff", b"\x00\xff"), ("1–5 years", b"1\xe2\x80\x935 years"),
    (lambda file: file.write(b"by hand"), b"by hand"), (b"", b"")], ids=["bytes", "text", "writer", "nothing"])
def test_new_content_replaces_the_old_and_nothing_else_is_left(tmp_path, content, expected):
    path = tmp_path / "card.json"
    path.write_bytes(b"an older and longer content")
    write_atomically(path, content)
    assert content_of(tmp_path) == {"card.json": expected}


def test_a_file_that_was_not_there_is_made(tmp_path):
    write_atomically(tmp_path / "new", b"1")
    assert content_of(tmp_path) == {"new": b"1"}


def test_a_failure_in_the_middle_leaves_the_old_content_and_no_temporary_file(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")

    def half(file) -> None:
        file.write(b"half of the n")
        file.flush()
        assert path.read_bytes() == b"old"  # a reader at this moment finds the old content
        assert len(content_of(tmp_path)) == 2
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, half)
    assert content_of(tmp_path) == {"weights.npz": b"old"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_at_the_end_leaves_the_old_content_too(tmp_path, monkeypatch, step):
    path = tmp_path / "active"
    path.write_bytes(b"old")

    def fails(*_: object) -> None:
        raise OSError(f"{step} failed")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fails)
    with pytest.raises(OSError, match=step):
        write_atomically(path, b"new")
    assert content_of(tmp_path) == {"active": b"old"}


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda *paths: (steps.append("replace"), replace(*paths))[1])
    write_atomically(tmp_path / "a", b"1")
    assert steps == ["fsync", "replace", "fsync"]  # the file, its name, the folder that holds the name


def test_the_temporary_file_is_hidden_and_ignored_by_git(tmp_path):
    seen = []
    write_atomically(tmp_path / "a", lambda file: seen.extend(path.name for path in tmp_path.iterdir()))
    assert len(seen) == 1 and seen[0].startswith(".") and seen[0].endswith(".tmp")


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "a", b"1")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "nowhere")

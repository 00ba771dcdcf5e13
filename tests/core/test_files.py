from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.files import (
    append_privately,
    clear_left_over,
    locked,
    make_folder,
    sync_folder,
    tighten,
    try_lock,
    write_atomically,
)
from tests import ROOT


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x00\xff", b"\x00\xff"),
        ("1–5 years", b"1\xe2\x80\x935 years"),
        (lambda file: file.write(b"by hand"), b"by hand"),
        (b"", b""),
    ],
    ids=["bytes", "text", "writer", "nothing"],
)
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
    write_atomically(tmp_path / "a", lambda _file: seen.extend(path.name for path in tmp_path.iterdir()))
    assert len(seen) == 1 and seen[0].startswith(".") and seen[0].endswith(".tmp")


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "a", b"1")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "nowhere")


def test_a_secret_file_is_nobody_elses_from_its_first_byte(tmp_path):
    path, seen = tmp_path / "account.json", []

    def look(file) -> None:
        file.write(b"secret")
        seen.extend(stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir() if one.name.endswith(".tmp"))

    leftover = tmp_path / f".account.json.{os.getpid()}-{threading.get_ident()}.tmp"
    leftover.write_bytes(b"of a process that was killed")
    leftover.chmod(0o666)
    write_atomically(path, look, mode=0o600)
    assert seen == [0o600] and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"secret"


def test_a_lock_keeps_other_threads_and_processes_out_until_its_holder_dies(tmp_path):
    path, order = tmp_path / "active.json", []
    code = (
        "import sys, pathlib; from core.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )

    def wait_for_it() -> None:
        with locked(path):
            order.append("got it")

    with holder:
        assert holder.stdout.readline() == b"held\n"
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not order, "two hold the lock at once"
        order.append("killed")
        holder.kill()
        waiting.join(30)
    assert order == ["killed", "got it"]
    with locked(tmp_path / "another"), locked(path):
        assert not path.exists(), "the lock is a file of its own"


def test_what_killed_writers_left_is_cleared_and_what_living_ones_write_is_not(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    kept = {f".status.json.{os.getpid()}-7.tmp", ".odd.tmp", "split.csv"}
    for name in (f".split.csv.{ended}-140.tmp", f".checkpoint.npz.{ended}-1.tmp", *kept):
        (tmp_path / name).write_bytes(b"half")
    clear_left_over(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_lock_is_had_by_one_or_shared_by_many_and_ends_with_its_descriptor(tmp_path):
    def opened() -> int:
        return os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT)

    first, second = opened(), opened()
    assert try_lock(first) and not try_lock(second) and not try_lock(second, is_shared=True)
    os.close(first)
    assert try_lock(second, is_shared=True)
    third = opened()
    assert try_lock(third, is_shared=True) and not try_lock(third)
    os.close(second)
    assert try_lock(third)
    os.close(third)


def test_folders_and_files_are_private_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b")
        write_atomically(tmp_path / "a" / "b" / "whole", b"1")
        append_privately(tmp_path / "a" / "b" / "line", b"1")
        with locked(tmp_path / "a" / "b" / "whole"):
            pass
    finally:
        os.umask(before)
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}
    files = list((tmp_path / "a" / "b").iterdir())
    assert len(files) == 3 and {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    make_folder(tmp_path / "a" / "b")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "a" / "b" / "whole")


def test_open_folders_are_closed_but_not_those_that_all_share(tmp_path: Path) -> None:
    for name, mode in (("open", 0o755), ("closed", 0o700), ("shared", 0o1777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    names = [tmp_path / name for name in ("open", "closed", "shared", "missing")]
    assert tighten(*names, Path("/")) == (tmp_path / "open",)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("open", "shared")] == [0o700, 0o1777]

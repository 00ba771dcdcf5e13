"""Atomic writing of files and locks between processes: a reader finds the old content or the new one, never a part."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | str | Callable[[BinaryIO], object], *, mode: int = 0o666) -> None:
    """Write to a temporary name beside `path`, fsync, then rename over it.

    Parameters
    ----------
    path
        The file to be made or replaced.
    content
        Its bytes, its text (written as UTF-8), or a function that writes to the open file.
    mode
        Permissions, less the umask, from the first byte on: 0o600 is for what only this user may read.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # left by a process of this id that was killed, perhaps with another mode
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, mode)) as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def clear_left_over(folder: Path) -> None:
    """Remove the temporary files of killed writers; those of running processes are kept."""
    for left in folder.glob(".*.tmp"):
        process = left.name.split(".")[-2].partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's, so there is one
        return True
    return True


def try_lock(descriptor: int, *, is_shared: bool = False) -> bool:
    """Lock an open file unless another process holds it; return whether that succeeded.

    The lock ends when the descriptor is closed or its process dies. Any number of processes share a shared lock.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make renames within `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep out every other thread and process that locks the same `path`; the lock of a dead process ends with it.

    The lock is on a hidden file beside `path`, which stays: `path` itself may be renamed over, and then two could each
    hold the lock of a different file. Do not nest it for one path.
    """
    # Opened for reading only, so that a user who may not write another user's lock can still wait for it.
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether another thread or process holds `locked(path)` at this moment."""
    try:
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, is_shared=True)
    finally:
        os.close(descriptor)

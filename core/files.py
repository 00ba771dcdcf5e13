"""Atomic writing of files and locks between processes: a reader finds the old content or the new one, never a part."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def write_atomically(
    path: Path, content: bytes | str | Callable[[BinaryIO], object], *, mode: int = PRIVATE_FILE
) -> None:
    """Write to a temporary name beside `path`, fsync, then rename over it.

    Parameters
    ----------
    path
        The file to be made or replaced.
    content
        Its bytes, its text (written as UTF-8), or a function that writes to the open file.
    mode
        Permissions from the first byte on, whatever the umask is; 0o600 is what only this user may read.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # left by a process of this id that was killed, perhaps with another mode
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, mode)) as file:
            os.fchmod(file.fileno(), mode)
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, for this user only, whatever the umask is; existing ones stay as they are."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):
            one.mkdir(mode=PRIVATE_FOLDER)
            one.chmod(PRIVATE_FOLDER)
    if not folder.is_dir():
        raise NotADirectoryError(folder)


def append_privately(path: Path, content: bytes) -> None:
    """Append `content` to the file `path`, which only this user may read."""
    with open(path, "ab", opener=private_opener) as file:
        file.write(content)


def private_opener(name: str, flags: int) -> int:
    """Open the file `name` with `flags`, for `open`; a new file is for this user only, whatever the umask is."""
    is_new = not Path(name).exists()
    descriptor = os.open(name, flags, PRIVATE_FILE)
    if is_new:
        os.fchmod(descriptor, PRIVATE_FILE)
    return descriptor


def tighten(*folders: Path) -> tuple[Path, ...]:
    """Close folders of this user to everybody else; return those that were open.

    Folders of other users, and those that everybody may write into (the sticky bit), such as /tmp, are not changed.
    """
    changed = []
    for folder in folders:
        try:
            about = folder.stat()
            is_ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and folder != folder.parent
            if is_ours and about.st_mode & 0o077 and not about.st_mode & stat.S_ISVTX:
                folder.chmod(PRIVATE_FOLDER)
                changed.append(folder)
        except OSError:  # it is not there, or on a file system without permissions
            continue
    return tuple(changed)


def hold(path: Path) -> bool:
    """Hold `path` for this process until it ends; return whether no other process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    if try_lock(descriptor):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return True  # the descriptor stays open: the lock is on it
    holder = os.read(descriptor, 20)
    os.close(descriptor)
    return holder == str(os.getpid()).encode()


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

    The lock ends when the descriptor is closed or its process ends.

    Parameters
    ----------
    descriptor
        Of the open file.
    is_shared
        Whether the lock is shared; any number of processes may hold a shared lock.
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
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDONLY | os.O_CREAT, PRIVATE_FILE)
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

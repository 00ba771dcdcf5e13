"""Datasets uploaded through the browser, as a zip archive or a directory.

An upload is not trusted: neither its names nor the sizes that it claims. It is written to a hidden folder, which is
renamed once it is complete. If anything is wrong, nothing remains.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import IO

from core.errors import ArchiveError, DatasetError
from core.files import make_folder, private_opener
from core.formatting import format_size
from core.progress import Progress, Report, ignore
from core.settings import Settings
from imaging.archives import Archive
from imaging.intake import HEAD_BYTES
from imaging.limits import LIMITS, Limits
from training.data.layout import class_folders, describe, kind_of_skipped, split_of
from training.data.sample import CLASSES
from training.data.sources import Dataset, dataset_at, with_counts
from training.data.tables import header_of, is_header_of_radiographs, read_table

STORING = "storing pictures"
_CHUNK = 1 << 20
_HEADER = 100_000  # bytes of a table's first line
_LONGEST_NAME = 255  # bytes, of a file or folder; what file systems allow
_MOST_LEVELS = 12
# Left free beside what is unpacked, so that runs and the app itself go on working.
_SPARE_BYTES = 200_000_000
_STALE = (".unpacking-", ".deleted-")
_MAKE_AGAIN = "Make the zip again from the folder itself, with the tool of your operating system."


# A dataset holds more than a reader assesses at once.
UPLOAD_LIMITS = replace(LIMITS, entries=200_000, total_bytes=60_000_000_000)


@dataclass(frozen=True, slots=True)
class Stored:
    """A dataset that was made of an upload, counted, and how many of the upload's files were left out."""

    dataset: Dataset
    left_out: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file that comes in: its name and size as claimed, and how to open it for a function that reads from it."""

    name: str
    size: int
    open: Callable[[], contextlib.AbstractContextManager[Callable[[int], bytes]]]

    def head(self, size: int = HEAD_BYTES) -> bytes:
        """Return the first bytes."""
        with self.open() as read:
            return read(size)


_Chosen = tuple[tuple[str, ...], _Entry]


def unpack_zip(
    settings: Settings, file: IO[bytes], name: str, report: Report = ignore, limits: Limits = UPLOAD_LIMITS
) -> Stored:
    """Unpack an uploaded zip archive into a dataset folder.

    Parameters
    ----------
    settings
        They name the folder of the datasets.
    file
        The archive, open for reading.
    name
        Its file name, which the dataset is called after.
    report
        Called with the number of files stored so far.
    limits
        How much the archive may hold.

    Raises
    ------
    DatasetError
        If it is no zip archive, holds no dataset, or is unsafe to unpack; then nothing remains.
    """
    size = file.seek(0, os.SEEK_END)
    archive = Archive(file, limits)
    try:
        entries = archive.entries()
        for entry in entries:
            safe_parts(entry.name)
        files = [entry for entry in entries if not entry.is_folder]
        for entry in files:
            archive.check_kind(entry)
        incoming = [_Entry(entry.name, entry.size, partial(archive.open, entry)) for entry in files]
        most = max(limits.ratio_from, int(limits.ratio * size))
        return _store(settings, Path(name).stem, incoming, report, limits, most)
    except ArchiveError as error:
        raise DatasetError(str(error), advice=error.advice) from error
    finally:
        archive.close()


def store_files(
    settings: Settings,
    files: Sequence[tuple[str, IO[bytes]]],
    name: str = "",
    report: Report = ignore,
    limits: Limits = UPLOAD_LIMITS,
) -> Stored:
    """Store the files of an uploaded directory as a dataset folder.

    Parameters
    ----------
    settings
        They name the folder of the datasets.
    files
        (path in the directory, open file) of each.
    name
        Name of the dataset; else that of the directory.
    report
        Called with the number of files stored so far.
    limits
        How much the upload may hold.

    Raises
    ------
    DatasetError
        If it is no dataset, or unsafe to store; then nothing remains.
    """
    if len(files) > limits.entries:
        raise _refused(f"at most {limits.entries} files", str(len(files)), "Upload the data in smaller parts.")
    entries = [
        _Entry(path, file.seek(0, os.SEEK_END), lambda file=file: _rewound(file))  # type: ignore[misc]
        for path, file in files
    ]
    top = files[0][0].split("/")[0] if files and "/" in files[0][0] else ""
    return _store(settings, name or top, entries, report, limits, limits.total_bytes)


def safe_parts(name: str) -> tuple[str, ...]:
    """Split an untrusted path into parts that cannot lead out of a folder.

    Raises
    ------
    DatasetError
        For a path that is absolute, climbs, names a drive, or is no valid name on some file system.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    reasons = {
        "an absolute path": name.startswith("/"),
        "a path that climbs": ".." in parts,
        "a path with a backslash": "\\" in name,
        "a path with a drive letter": any(re.match(r"[A-Za-z]:", part) for part in parts),
        "a path with control characters": any(unicodedata.category(c) in ("Cc", "Cs") for c in name),
        "a path that is too long": len(parts) > _MOST_LEVELS
        or any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts),
    }
    for received, is_so in reasons.items():
        if is_so:
            raise _refused("only paths below one folder", received, _MAKE_AGAIN)
    return parts


@contextlib.contextmanager
def _rewound(file: IO[bytes]) -> Iterator[Callable[[int], bytes]]:
    file.seek(0)
    yield file.read


def _store(
    settings: Settings, name: str, entries: Sequence[_Entry], report: Report, limits: Limits, most_bytes: int
) -> Stored:
    chosen, left_out = _choose(entries)
    uploads = settings.datasets_dir
    make_folder(uploads)
    _sweep(uploads)
    expected = sum(entry.size for _, entry in chosen)
    most_bytes = min(most_bytes, limits.total_bytes)
    if expected > most_bytes:
        raise _too_much(most_bytes)
    free = shutil.disk_usage(uploads).free - _SPARE_BYTES
    if expected > free:
        raise _refused(
            f"at most {format_size(max(0, free))}, which is what the disk has room for",
            format_size(expected),
            "Free some space on the server, or upload fewer pictures.",
        )
    folder = Path(tempfile.mkdtemp(prefix=f"{_STALE[0]}{os.getpid()}-", dir=uploads))
    try:
        written = 0
        for done, (parts, entry) in enumerate(chosen):
            report(Progress(STORING, done, len(chosen)))
            target = folder.joinpath(*parts)
            make_folder(target.parent)
            written += _write(entry, target, limits.file_bytes, most_bytes - written)
            if written > most_bytes:
                raise _too_much(most_bytes)
        for table in folder.glob("*.csv"):  # an upload has one only where it has no class folders
            read_table(table, confined=True)
        return Stored(with_counts(dataset_at(settings, _settle(folder, uploads, name))), left_out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _refused(
                "room on the disk", "a full disk", "Free some space on the server, then upload it again."
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # of a dataset that is in place it no longer exists


def _choose(entries: Sequence[_Entry]) -> tuple[list[_Chosen], int]:
    """Return the files of a dataset, each with its path in the folder to be, and how many others were left out.

    Folders around the dataset are removed. Hidden files are skipped and not counted.
    """
    visible = [
        (parts, entry)
        for parts, entry in ((safe_parts(entry.name), entry) for entry in entries)
        if parts and not any(part.startswith(".") or part == "__MACOSX" for part in parts)
    ]
    below: dict[tuple[str, ...], dict[str, None]] = {}
    for parts, _ in visible:
        for k in range(len(parts) - 1):
            below.setdefault(parts[:k], {})[parts[k]] = None
    found = {one.parts: one for one in class_folders(lambda parts: sorted(below.get(parts, ())))}
    counts = dict.fromkeys(CLASSES, 0)
    chosen = []
    for parts, entry in visible:
        one = next((found[parts[:k]] for k in range(1, len(parts)) if parts[:k] in found), None)
        if one is not None and not kind_of_skipped(parts[len(one.parts) :], entry.head):
            chosen.append((parts[_above(one.parts) :], entry))
            counts[CLASSES[one.label]] += one.split == "train"
    if not found:
        chosen = _with_table(visible)
    if not chosen or (found and not all(counts.values())):
        words = " and ".join(f"{n} in {label}" for label, n in counts.items())
        folders = {"/".join(parts[:-1]) for parts, _ in visible if len(parts) > 1}
        raise _refused(
            f"pictures in two folders called {' and '.join(CLASSES)}",
            f"{words}; folders {describe(list(folders))}",
            "Put the radiographs into two folders called NORMAL and PNEUMONIA, and upload what holds both.",
        )
    _refuse_twins([parts for parts, _ in chosen])
    return chosen, len(visible) - len(chosen)


def _above(parts: tuple[str, ...]) -> int:
    """Return how many folders are around the splits or classes of a class folder."""
    return next((k for k, name in enumerate(parts) if split_of(name) is not None), len(parts) - 1)


def _with_table(visible: Sequence[_Chosen]) -> list[_Chosen]:
    """Return the table of an upload without class folders, and its pictures; [] unless there is one table."""
    tables = [
        (parts, entry)
        for parts, entry in visible
        if PurePath(parts[-1]).suffix.lower() == ".csv" and is_header_of_radiographs(header_of(entry.head(_HEADER)))
    ]
    if len(tables) != 1:
        return []
    place = tables[0][0][:-1]
    inside = [(parts[len(place) :], entry) for parts, entry in visible if parts[: len(place)] == place]
    return [one for one in inside if one[1] is tables[0][1] or not kind_of_skipped(one[0], one[1].head)]


def _refuse_twins(paths: Sequence[tuple[str, ...]]) -> None:
    """Refuse names that one file system keeps apart and another takes for the same, and a file that is a folder too."""
    names = [tuple(unicodedata.normalize("NFC", part).casefold() for part in parts) for parts in paths]
    files = set(names)
    folders = {parts[:k] for parts in files for k in range(1, len(parts))}
    if len(files) < len(names) or files & folders:
        raise _refused(
            "a different name for each picture",
            "the same name twice, or names that differ only in case",
            "Give every picture a name of its own, then upload the data again.",
        )


def _too_much(most_bytes: int) -> DatasetError:
    return _refused(
        f"at most {format_size(most_bytes)} once it is unpacked",
        "more",
        "Upload the data in smaller parts, as pictures that are not compressed beyond their format.",
    )


def _write(entry: _Entry, target: Path, most: int, room: int) -> int:
    """Copy an entry and return its size, counted in what is really read; stops soon after there is no more `room`.

    Raises DatasetError when it is larger than `most` bytes, whatever it claims to be.
    """
    size = 0
    with entry.open() as read, open(target, "xb", opener=private_opener) as file:
        while size <= room and (chunk := read(_CHUNK)):
            size += len(chunk)
            if size > most:
                raise _refused(
                    f"files of at most {format_size(most)}",
                    "a larger one",
                    "Leave out files that are not single radiographs.",
                )
            file.write(chunk)
    return size


def _settle(folder: Path, uploads: Path, name: str) -> Path:
    """Rename the finished folder to a safe name that nothing else has; return the new path."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:60].rstrip("-_") or "upload"
    for number in range(1, 10_000):
        target = uploads / (plain if number == 1 else f"{plain}-{number}")
        if os.path.lexists(target):
            continue
        try:
            return folder.rename(target)
        except OSError as error:  # somebody else took the name a moment ago
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    raise _refused("fewer than 10000 uploads of one name", "more", "Delete uploads that are no longer needed.")


def _sweep(uploads: Path) -> None:
    """Remove what uploads and deletions left behind whose process was killed: they are a day old."""
    for prefix in _STALE:
        for folder in uploads.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                if folder.stat().st_mtime < time.time() - 86_400:
                    shutil.rmtree(folder, ignore_errors=True)


def _refused(expected: str, received: str, advice: str) -> DatasetError:
    return DatasetError(f"expected {expected}. Received: {received}", advice=advice)

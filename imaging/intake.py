"""The radiographs among the files of a folder or a zip archive.

What a hospital's CD holds beside the radiographs (viewers, indexes, hidden files) is skipped. What looks like a
radiograph is listed, and refused by name when its turn comes if it cannot be read safely.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from core.errors import ArchiveError, RadiographError
from imaging.archives import Archive, Entry
from imaging.dicom.elements import is_dicom
from imaging.limits import LIMITS, Limits

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".dcm", ".dicom", ".jp2", ".j2k"}
)
_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"})
# What a hospital's CD or a shared folder holds beside radiographs. Of everything else, the first bytes decide.
_OTHERS = frozenset(
    {
        ".txt",
        ".csv",
        ".json",
        ".xml",
        ".html",
        ".htm",
        ".css",
        ".js",
        ".pdf",
        ".md",
        ".log",
        ".ini",
        ".inf",
        ".exe",
        ".dll",
        ".jar",
        ".bat",
        ".sh",
        ".py",
        ".db",
        ".ico",
        ".doc",
        ".docx",
        ".xls",
        ".xlsx",
        ".ppt",
        ".pptx",
        ".odt",
        ".ods",
        ".mp4",
        ".avi",
        ".mov",
    }
)
HEAD_BYTES = 132
_PICTURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"MM\0*",
    b"BM",
    b"GIF8",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cjP  ",
    b"PK\x03\x04",
)
_LONGEST_SHOWN = 120


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One file of an archive that may be a radiograph. `name` is for the screen alone: it may hold a patient's."""

    name: str
    archive: Archive
    _entry: Entry

    @property
    def path(self) -> str:
        """The name as the archive has it, for a command line."""
        return self._entry.name

    def read(self) -> bytes:
        """Unpack into memory.

        Raises
        ------
        RadiographError
            With the codes UNREADABLE, UNSUPPORTED or TOO_LARGE.
        """
        if _suffix(self._entry.name) in _ARCHIVES:
            raise RadiographError(
                "expected a picture. Received: an archive inside the archive",
                code="UNSUPPORTED",
                advice="This is an archive inside an archive; unpack it and add the radiographs that it holds.",
            )
        try:
            return self.archive.read(self._entry)
        except ArchiveError as error:
            raise RadiographError(str(error), code=error.code, advice=error.advice) from error


@dataclass(frozen=True, slots=True)
class Contents:
    """What may be radiographs in an archive, in its own order, and how many other files in it were skipped."""

    members: tuple[Member, ...]
    skipped: int


def list_archive(source: Path | bytes, limits: Limits = LIMITS) -> Contents:
    """List what may be radiographs in a zip archive, without unpacking any of it.

    Parameters
    ----------
    source
        The archive as a path or in memory. The list keeps it; nothing else does.

    Raises
    ------
    RadiographError
        UNREADABLE when it is damaged or no zip, TOO_LARGE when it holds, or claims to hold, more than `limits`.
    """
    archive = Archive(source, limits)
    try:
        entries = archive.entries()
    except ArchiveError as error:
        raise RadiographError(str(error), code=error.code, advice=error.advice) from error
    files = [one for one in entries if not one.is_folder and not _is_hidden(one.name)]
    chosen = [one for one in files if one.is_plain and may_be_radiograph(one.name, partial(_head, archive, one))]
    return Contents(tuple(Member(shown_name(one.name), archive, one) for one in chosen), len(files) - len(chosen))


def _head(archive: Archive, entry: Entry) -> bytes:
    """Return a member's first bytes, or those of a picture where they cannot be had: then it is refused by name."""
    try:
        with archive.open(entry) as read:
            return read(HEAD_BYTES)
    except ArchiveError:
        return _PICTURES[0]


def _suffix(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def may_be_radiograph(name: str, head: Callable[[], bytes]) -> bool:
    """Whether a file may be a radiograph: it has a picture's ending, or no known one and the first bytes of a picture.

    DICOM files often have no ending, or one that is part of an identifier. An archive counts, so that it gets a line
    that says why it was not opened.

    Parameters
    ----------
    name
        The file's name, with the folders that it is in.
    head
        Returns the file's first `HEAD_BYTES` bytes. It is only called where the name does not decide.
    """
    suffix = _suffix(name)
    if _is_hidden(name) or PurePosixPath(name.replace("\\", "/")).name.upper() == "DICOMDIR" or suffix in _OTHERS:
        return False
    return suffix in SUFFIXES or suffix in _ARCHIVES or _begins_like_picture(head())


def shown_name(name: str) -> str:
    """Return a file's name for the screen: without what could turn or hide it, and not longer than a line."""
    plain = "".join(c for c in name.replace("\\", "/") if unicodedata.category(c)[0] != "C").strip()
    return plain if len(plain) <= _LONGEST_SHOWN else "…" + plain[1 - _LONGEST_SHOWN :]


def _is_hidden(name: str) -> bool:
    return any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX"
        for part in name.replace("\\", "/").split("/")
    )


def _begins_like_picture(head: bytes) -> bool:
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return head.startswith(_PICTURES) or is_webp or is_dicom(head)

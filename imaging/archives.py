"""Zip archives of radiographs, read without trusting them.

Nothing is written to disk and no name is used as a path: a member is unpacked into memory when its turn comes, and only
as far as one file may be large. What a hospital's CD holds beside the films (viewers, indexes, hidden files) is passed
over; what looks like a film is listed, and refused by name when its turn comes if it cannot be read safely.
"""

from __future__ import annotations

import io
import mmap
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from core.errors import RadiographError
from core.formatting import format_size
from imaging.radiograph import MAX_BYTES

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".dcm", ".dicom", ".jp2", ".j2k"}
)
_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"})
# What lies beside the films on a hospital's CD and in a shared folder. Everything else is asked for its first bytes.
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
_DIRECTORY_ENTRY = b"PK\x01\x02"
_LONGEST_SHOWN = 120
_MAKE_AGAIN = "Make the zip again from the folder itself, with the tool of your operating system."
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    struct.error,
    OverflowError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold: entries of any kind, bytes unpacked, and bytes unpacked over bytes packed.

    `ratio` holds from `ratio_from` unpacked bytes on, for one member as for all of them together.
    """

    entries: int = 20_000
    file_bytes: int = MAX_BYTES
    total_bytes: int = 40_000_000_000
    ratio: float = 100.0
    ratio_from: int = 16_000_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One file of an archive that may be a film. `name` is for the screen alone: it may hold a patient's."""

    name: str
    archive: Archive
    _info: zipfile.ZipInfo

    @property
    def path(self) -> str:
        """The name as the archive has it, for a command line."""
        return self._info.filename

    def read(self) -> bytes:
        """Unpack into memory; raises RadiographError (UNREADABLE, UNSUPPORTED or TOO_LARGE) if that cannot be done."""
        return self.archive.read(self._info)


@dataclass(frozen=True, slots=True)
class Contents:
    """What may be films in an archive, in its own order, and how many other files in it were passed over."""

    members: tuple[Member, ...]
    passed_over: int


@dataclass(slots=True, eq=False)
class Archive:
    """A zip archive, as a path or in memory. Holds no list of its members, which hold it, so all go together."""

    source: Path | bytes
    limits: Limits = LIMITS
    _zip: zipfile.ZipFile | None = field(default=None, repr=False)

    def read(self, info: zipfile.ZipInfo) -> bytes:
        """Unpack one member; see `Member.read`."""
        self._check(info)
        try:
            with self._opened().open(info) as file:
                # With a bound: without one, all that a packed entry expands to is in memory before it is cut to what
                # the entry claims. The checksum is compared when the end is reached.
                return file.read(info.file_size + 1)
        except _DAMAGE as error:
            raise RadiographError(
                f"expected a whole file in the archive. Received: {type(error).__name__}",
                advice="This file of the archive is damaged. " + _MAKE_AGAIN,
            ) from error

    def entries(self) -> list[zipfile.ZipInfo]:
        """Return everything in the archive's directory; raises what `zipfile` raises on damage."""
        return self._opened().infolist()

    def close(self) -> None:
        """Close the file; it is opened again by the next reading."""
        if self._zip is not None:
            self._zip.close()
            self._zip = None

    def head(self, info: zipfile.ZipInfo) -> bytes:
        """Return a member's first bytes, or those of a picture where they cannot be had: then it is refused by name."""
        try:
            self._check(info)
            with self._opened().open(info) as file:
                return file.read(HEAD_BYTES)
        except (RadiographError, *_DAMAGE):
            return _PICTURES[0]

    def _opened(self) -> zipfile.ZipFile:
        if self._zip is None:
            self._zip = zipfile.ZipFile(io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source)
        return self._zip

    def _check(self, info: zipfile.ZipInfo) -> None:
        """Refuse what must not be unpacked, from the entry's own claims, which bind the unpacking."""
        if PurePosixPath(info.filename).suffix.lower() in _ARCHIVES:
            raise _refused(
                "a picture",
                "an archive inside the archive",
                "UNSUPPORTED",
                "This is an archive inside an archive; unpack it and drop the radiographs that it holds.",
            )
        if info.flag_bits & 0x1:
            raise _refused(
                "a file without a password",
                "an encrypted one",
                "UNSUPPORTED",
                "This file of the archive is locked with a password; unpack the archive and drop the files.",
            )
        # Others' unpacking takes as much memory as the archive asks for.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(
                "a file packed by the usual method",
                f"method {info.compress_type}",
                "UNSUPPORTED",
                "This file is packed in an unusual way. " + _MAKE_AGAIN,
            )
        if info.file_size > self.limits.file_bytes:
            raise _refused(
                f"at most {format_size(self.limits.file_bytes)}",
                format_size(info.file_size),
                "TOO_LARGE",
                f"The file is larger than {format_size(self.limits.file_bytes)}. Export the "
                "radiograph at the detector's own size or smaller.",
            )
        if _is_bomb(info.file_size, info.compress_size, self.limits):
            raise _refused(
                f"a file packed to no less than 1 in {self.limits.ratio:.0f}",
                "one packed further",
                "TOO_LARGE",
                "This file unpacks to far more than a radiograph does, so it was left alone. "
                "Export the radiograph again.",
            )


def list_archive(source: Path | bytes, limits: Limits = LIMITS) -> Contents:
    """List what may be films in a zip archive, without unpacking any of it.

    Raises RadiographError: UNREADABLE when it is damaged or no zip, TOO_LARGE when it holds, or claims to hold, more
    than `limits`.
    """
    archive = Archive(source, limits)
    try:
        if _entries_exceed(source, limits.entries):
            raise _refused(
                f"at most {limits.entries} entries",
                "more",
                "TOO_LARGE",
                f"The archive holds more than {limits.entries} files. Pack the films in smaller parts.",
            )
        entries = archive.entries()
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
    except _DAMAGE as error:
        raise RadiographError(
            f"expected a whole zip archive. Received: {type(error).__name__}",
            advice="The archive is damaged or incomplete. " + _MAKE_AGAIN,
        ) from error
    claimed = sum(one.file_size for one in entries if not _is_bomb(one.file_size, one.compress_size, limits))
    if claimed > limits.total_bytes or _is_bomb(claimed, size, limits):
        raise _refused(
            f"at most {format_size(limits.total_bytes)} once unpacked, {limits.ratio:.0f} times its size",
            "more",
            "TOO_LARGE",
            "The archive unpacks to far more than its films would, so it was left alone. " + _MAKE_AGAIN,
        )
    files = [one for one in entries if not one.filename.endswith("/") and not _is_hidden(one.filename)]
    chosen = [
        one
        for one in files
        if stat.S_IFMT(one.external_attr >> 16) in (0, stat.S_IFREG)
        and may_be_film(one.filename, partial(archive.head, one))
    ]
    return Contents(tuple(Member(shown_name(one.filename), archive, one) for one in chosen), len(files) - len(chosen))


def is_archive(data: bytes) -> bool:
    """Whether these are a zip file's bytes, whatever the file is called; an empty zip is one."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def may_be_film(name: str, head: Callable[[], bytes]) -> bool:
    """Whether a file is worth reading: its ending is a picture's, or it has no known one and begins like a picture.

    `head` returns its first 132 bytes and is only asked where the name does not tell. DICOM files often have no ending,
    or one that is part of an identifier. An archive is worth a line that says why it was not opened.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    suffix = parts.suffix.lower()
    if _is_hidden(name) or parts.name.upper() == "DICOMDIR" or suffix in _OTHERS:
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
    # Without its preamble DICOM begins with group 0002 or 0008 and a low element number (PS3.10, PS3.5 section 7.1).
    is_bare = len(head) > 8 and ((head[:2] in (b"\x02\0", b"\x08\0") and head[3] == 0) or head[:3] == b"\0\x08\0")
    return head.startswith(_PICTURES) or head[128:132] == b"DICM" or is_webp or is_bare


def _is_bomb(unpacked: int, packed: int, limits: Limits) -> bool:
    return unpacked > limits.ratio_from and unpacked > limits.ratio * packed


def _entries_exceed(source: Path | bytes, most: int) -> bool:
    """Whether there are more directory entries than `most`, counted before a list of them takes memory.

    What the archive says of their number is not used by anyone who reads it, so it is not asked.
    """
    if isinstance(source, bytes):
        return _occurs_more_than(source, most)
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _occurs_more_than(mapped, most)


def _occurs_more_than(data: bytes | mmap.mmap, most: int) -> bool:
    count, position = 0, data.find(_DIRECTORY_ENTRY)
    while position >= 0 and count <= most:
        count, position = count + 1, data.find(_DIRECTORY_ENTRY, position + 4)
    return count > most


def _refused(expected: str, received: str, code: str, advice: str) -> RadiographError:
    return RadiographError(f"expected {expected}. Received: {received}", code=code, advice=advice)

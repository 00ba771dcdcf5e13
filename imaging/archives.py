"""Reader of untrusted zip archives: their names, sizes and numbers of files are claims, not facts.

Nothing is written to disk and no name is used as a path. Radiographs that are assessed (`imaging.intake`) and uploads
that become a dataset (`training.data.uploads`) come through this reader.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from core.errors import ArchiveError
from core.formatting import format_size
from imaging.limits import LIMITS, Limits

_CHUNK = 1 << 20
_DIRECTORY_ENTRY = b"PK\x01\x02"
_MAKE_AGAIN = "Make the zip again from the folder itself, with the tool of your operating system."
# What `zipfile` raises on damaged bytes.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    struct.error,
    OverflowError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder as the archive's directory lists it; no more is unpacked than it claims."""

    info: zipfile.ZipInfo

    @property
    def name(self) -> str:
        """The path as the archive has it. Never use it as a path, and show it only cleaned."""
        return self.info.filename

    @property
    def size(self) -> int:
        """Bytes once unpacked."""
        return self.info.file_size

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder. `ZipInfo.is_dir` fails on an empty name."""
        return self.info.filename.endswith("/")

    @property
    def is_plain(self) -> bool:
        """Whether this is no link and no device."""
        return stat.S_IFMT(self.info.external_attr >> 16) in (0, stat.S_IFREG)


@dataclass(slots=True, eq=False)
class Archive:
    """A zip archive as a path, bytes or an open file; it stays open, since `zipfile` parses its directory once.

    Parameters
    ----------
    source
        The archive.
    limits
        Limits of its number of files, sizes and compression ratios.
    """

    source: Path | bytes | IO[bytes]
    limits: Limits = LIMITS
    _zip: zipfile.ZipFile | None = field(default=None, repr=False)

    def entries(self) -> tuple[Entry, ...]:
        """List the archive's directory, without unpacking anything.

        Raises
        ------
        ArchiveError
            UNREADABLE when it is damaged or no zip, TOO_LARGE when it holds, or claims to hold, more than `limits`.
        """
        limits = self.limits
        try:
            size, directory_entries = self._measured()
            if directory_entries > limits.entries:
                raise ArchiveError(
                    f"expected at most {limits.entries} files. Received: more",
                    code="TOO_LARGE",
                    advice=f"The archive holds more than {limits.entries} files. Make several smaller archives.",
                )
            infos = self._opened().infolist()
        except _DAMAGE as error:
            raise ArchiveError(
                f"expected a whole zip file. Received: {type(error).__name__}",
                advice=f"The archive is damaged or incomplete. {_MAKE_AGAIN}",
            ) from error
        claimed = sum(one.file_size for one in infos if not self._is_bomb(one.file_size, one.compress_size))
        if claimed > limits.total_bytes or self._is_bomb(claimed, size):
            raise ArchiveError(
                f"expected at most {format_size(limits.total_bytes)} once it is unpacked, and {limits.ratio:.0f} times "
                "its size. Received: more",
                code="TOO_LARGE",
                advice=f"The archive unpacks to far more than radiographs do, so it was not opened. {_MAKE_AGAIN}",
            )
        return tuple(Entry(info) for info in infos)

    @staticmethod
    def check_kind(entry: Entry) -> None:
        """Refuse a link, a device or an encrypted file.

        Raises
        ------
        ArchiveError
            With the code UNSUPPORTED.
        """
        if not entry.is_plain:
            raise ArchiveError(
                "expected plain files. Received: a link or a device",
                code="UNSUPPORTED",
                advice="Put the radiographs themselves into the zip, not links.",
            )
        if entry.info.flag_bits & 0x1:
            raise ArchiveError(
                "expected a zip without a password. Received: an encrypted file",
                code="UNSUPPORTED",
                advice="This file of the archive is locked with a password. Make the zip again without a password.",
            )

    def check(self, entry: Entry) -> None:
        """Refuse what must not be unpacked, by the entry's own claims.

        Raises
        ------
        ArchiveError
            UNSUPPORTED for a link, an encrypted file or an unusual compression; TOO_LARGE for a file beyond `limits`.
        """
        self.check_kind(entry)
        info, limits = entry.info, self.limits
        # Other methods take as much memory as the archive requests.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(
                f"expected a zip with ordinary compression. Received: method {info.compress_type}",
                code="UNSUPPORTED",
                advice=f"This file is packed in an unusual way. {_MAKE_AGAIN}",
            )
        if entry.size > limits.file_bytes:
            raise ArchiveError(
                f"expected files of at most {format_size(limits.file_bytes)}. Received: {format_size(entry.size)}",
                code="TOO_LARGE",
                advice=f"A file is larger than {format_size(limits.file_bytes)}. Export the radiograph at the "
                "detector's own size or smaller.",
            )
        if self._is_bomb(entry.size, info.compress_size):
            raise ArchiveError(
                f"expected a file packed to no less than 1 in {limits.ratio:.0f}. Received: one packed further",
                code="TOO_LARGE",
                advice="This file unpacks to far more than a radiograph does, so it was not opened. Export the "
                "radiograph again.",
            )

    @contextmanager
    def open(self, entry: Entry) -> Iterator[Callable[[int], bytes]]:
        """Check a file and unpack it as a stream.

        No more is unpacked than is read, nor than the entry claims. The checksum is compared at the end of the stream.

        Yields
        ------
        callable
            Takes a number of bytes and returns at most as many, empty at the end.

        Raises
        ------
        ArchiveError
            As `check` does, and UNREADABLE if the file is damaged.
        """
        self.check(entry)
        with self._undamaged():
            file = self._opened().open(entry.info)

        def read(size: int) -> bytes:
            with self._undamaged():
                return file.read(size)

        with file:
            yield read

    def read(self, entry: Entry) -> bytes:
        """Unpack a file into memory.

        Raises
        ------
        ArchiveError
            As `open` does.
        """
        with self.open(entry) as read:
            return read(entry.size + 1)

    def close(self) -> None:
        """Close the file; the next reading opens it again."""
        if self._zip is not None:
            self._zip.close()
            self._zip = None

    def _opened(self) -> zipfile.ZipFile:
        if self._zip is None:
            self._zip = zipfile.ZipFile(io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source)
        return self._zip

    def _is_bomb(self, unpacked: int, packed: int) -> bool:
        return unpacked > self.limits.ratio_from and unpacked > self.limits.ratio * packed

    def _measured(self) -> tuple[int, int]:
        """Return the archive's bytes, and its directory entries, counted before a list of them takes memory.

        The number that the archive claims is not used.
        """
        if isinstance(self.source, Path):
            with self.source.open("rb") as file:
                return _measured(file, self.limits.entries)
        return _measured(
            io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source, self.limits.entries
        )

    @staticmethod
    @contextmanager
    def _undamaged() -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise ArchiveError(
                f"expected a whole zip file. Received: one with a damaged file ({type(error).__name__})",
                advice=f"This file of the archive is damaged. {_MAKE_AGAIN}",
            ) from error


def is_archive(data: bytes) -> bool:
    """Return whether the bytes are those of a zip archive, an empty one included; file names play no part."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _measured(file: IO[bytes], most: int) -> tuple[int, int]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    count, tail = 0, b""
    while count <= most and (chunk := file.read(_CHUNK)):
        count += (tail + chunk).count(_DIRECTORY_ENTRY)
        tail = chunk[1 - len(_DIRECTORY_ENTRY) :]
    file.seek(0)
    return size, count

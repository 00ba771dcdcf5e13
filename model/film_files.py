"""Films on disk: the files that a path stands for, in folders and zip archives, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.errors import RadiographError
from imaging.archives import is_archive
from imaging.intake import HEAD_BYTES, Member, list_archive, may_be_radiograph
from imaging.limits import check_file_size


@dataclass(frozen=True, slots=True)
class FilmFile:
    """One file to assess.

    Attributes
    ----------
    path
        The file, or the zip archive that holds it.
    member
        The file within the archive; None outside archives.
    error
        Why the archive could not be opened.
    """

    path: Path
    member: Member | None = None
    error: RadiographError | None = None

    @property
    def name(self) -> str:
        """The path, with that in the archive appended."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member.path}"

    def read(self) -> bytes:
        """Return the content.

        Raises
        ------
        RadiographError
            If the file is missing, too large or cannot be read.
        """
        if self.error is not None:
            raise self.error
        if self.member is not None:
            return self.member.read()
        try:
            check_file_size(self.path.stat().st_size)
            return self.path.read_bytes()
        except FileNotFoundError as error:
            raise RadiographError(
                "expected a file. Received: none", advice="There is no such file. Check the path."
            ) from error
        except OSError as error:
            raise RadiographError(
                f"expected a readable file. Received: {type(error).__name__}",
                advice=f"The file could not be read ({type(error).__name__}). Check that it is complete and that you "
                "have permission to open it.",
            ) from error


def list_film_files(path: Path) -> Iterator[FilmFile]:
    """List the files of a path: itself, or those in a folder or zip archive that look like images."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file() and may_be_radiograph(inner.relative_to(path).as_posix(), partial(_head, inner)):
                yield from list_film_files(inner)
    elif is_archive(_head(path)):
        try:
            for member in list_archive(path).members:
                yield FilmFile(path, member)
        except RadiographError as error:
            yield FilmFile(path, error=error)
    else:
        yield FilmFile(path)


def _head(path: Path) -> bytes:
    """Return a file's first bytes, none if it cannot be read: `FilmFile.read` says why."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""

"""Result files of `python -m model assess`: JSON lines or CSV, one record a film, written out at once.

A run that was killed leaves whole records and at most one partial one. `ResultFile` with ``resume=True`` drops the
partial record, and `take` says which films the file already holds.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from core.errors import AppError
from core.files import private_opener
from core.json_text import parse_json
from core.printable import printable
from model.listing import csv_heading, csv_row, row

STDOUT = "-"


class ResultFile:
    """A file, or standard output, that takes one record a film.

    Parameters
    ----------
    target
        Path of the file, or "-" for standard output.
    is_csv
        Whether records are rows of a CSV file rather than JSON lines.
    resume
        Whether to append to the records that the file holds instead of replacing them.
    version, purpose
        Classifier version and purpose of the run; a file with records of another one is not resumed.

    Raises
    ------
    AppError
        If the file that is to be resumed holds anything but results, or those of another version or purpose.
    OSError
        If the file cannot be read or written.
    """

    def __init__(
        self, target: str, *, is_csv: bool = False, resume: bool = False, version: str = "", purpose: str = ""
    ) -> None:
        self._is_csv = is_csv
        records: Sequence[Mapping[str, Any]] = ()
        if target != STDOUT and resume and Path(target).exists():
            records = _whole_records(Path(target), is_csv)
            for one in records:
                for expected, received in ((version, one["classifier_version"]), (purpose, one["purpose"])):
                    if received and received != expected:
                        raise AppError(
                            f"expected results of version {version} for purpose {purpose}. Received: {received}",
                            advice="Continue with the version and purpose that the file was begun with, or choose "
                            "another file.",
                        )
        self._has_heading = bool(records)
        # A file that an earlier version began lacks columns; its rows keep to its heading.
        self._columns = tuple(records[0]) if records else ()
        self._held = Counter((one["path"], one["sha256"] or "") for one in records)
        self.count = len(records)
        self._file = None
        if target != STDOUT:
            self._file = open(  # noqa: SIM115
                target, "a" if resume else "w", encoding="utf-8", newline="", opener=private_opener
            )

    def __enter__(self) -> ResultFile:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def take(self, path: str, sha256: str | None) -> bool:
        """Whether the file held a record of these bytes at this path when it was opened; each counts once."""
        key = (row({"path": path})["path"] if self._is_csv else path, sha256 or "")
        if not self._held[key]:
            return False
        self._held[key] -= 1
        return True

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one record and hand it to the operating system."""
        text = (
            csv_row(values, self._columns) if self._is_csv else printable(json.dumps(values, ensure_ascii=False)) + "\n"
        )
        if self._is_csv and not self._has_heading:
            text = csv_heading(values) + text
        self._has_heading = True
        if self._file is None:
            # Lines of a terminal or a pipe: a carriage return would be escaped there.
            lines = text.replace("\r\n", "\n")
            tqdm.write(lines, file=sys.stdout, end="")  # clears a progress bar on the same terminal first
            sys.stdout.flush()
        else:
            self._file.write(text)
            self._file.flush()


def _whole_records(path: Path, is_csv: bool) -> Sequence[Mapping[str, Any]]:
    """Return the whole records of a file and remove a partial last one from it."""
    data = path.read_bytes()
    end = _end_of_records(data, is_csv)
    start = b"path,status," if is_csv else b'{"path": '
    begins = data[: len(start)]
    try:
        text = data[:end].decode("utf-8")
        records: list[Mapping[str, Any]]
        if is_csv:
            records = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            records = [parse_json(one) for one in text.split("\n")[:-1]]
        fits = start.startswith(begins) and all({"path", "sha256", "purpose"} <= set(one) for one in records)
    except (ValueError, TypeError, csv.Error):
        fits = False
    if not fits:
        raise AppError(
            "expected results of this command. Received: another file",
            advice="The file does not hold results that can be continued. Choose another file.",
        )
    if not records:
        end = 0  # a heading without rows is written again
    if end < len(data):
        os.truncate(path, end)
    return records


def _end_of_records(data: bytes, is_csv: bool) -> int:
    """Return where the last whole record ends; within quotes of a CSV file a line break does not end one."""
    if not is_csv:
        return data.rfind(b"\n") + 1
    end, position, is_quoted = 0, 0, False
    for part in data.splitlines(keepends=True):
        position += len(part)
        is_quoted ^= part.count(b'"') % 2 == 1
        if part.endswith(b"\n") and not is_quoted:
            end = position
    return end

"""Records, one JSON object a line, each with the SHA-256 of the line before it: a change of any line shows.

    <name>.jsonl       the lines
    <name>.head.json   number of lines and SHA-256 of the last one, so that lines cut off at the end show, too

Whoever changes both files together is only found out by a head that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import locked, make_folder, private_opener, sync_folder, write_atomically
from core.json_text import parse_json

NO_LINE = "0" * 64
# The kind of a line that the chain itself adds where it found damage: it stays, so that damage is not overwritten.
DAMAGE = "damage"


@dataclass(frozen=True, slots=True)
class Chain:
    """The lines of a chain, and what is wrong with it.

    Attributes
    ----------
    entries
        The lines that could be read, oldest first, each with `kind` and `previous`.
    head
        SHA-256 of the last line; `NO_LINE` where there is none.
    faults
        What was found wrong, in sentences; empty for an intact chain.
    """

    entries: tuple[Mapping[str, Any], ...]
    head: str
    faults: tuple[str, ...]


def read_chain(path: Path, noted_head: str | None = None) -> Chain:
    """Read and verify a chain.

    Parameters
    ----------
    path
        The file of the lines.
    noted_head
        A head that was noted earlier: the chain must still hold that line.
    """
    lines = _lines(path)
    entries: list[Mapping[str, Any]] = []
    faults: list[str] = []
    previous = NO_LINE
    digests = []
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None:
            faults.append(f"Line {number} is damaged.")
        elif entry["previous"] != previous:
            faults.append(f"Line {number} does not follow the line before it: one of them was changed or removed.")
        if entry is not None:
            if entry["kind"] == DAMAGE:
                faults.append(f"Line {number} records damage found at {entry.get('at', '')}: {entry.get('found', '')}")
            entries.append(entry)
        previous = hashlib.sha256(line).hexdigest()
        digests.append(previous)
    if fault := _fault_of_head(path, digests):
        faults.append(fault)
    if noted_head is not None and noted_head not in digests:
        faults.append("No line has the noted head: lines were changed or removed since then.")
    return Chain(tuple(entries), previous, tuple(faults))


def append_to_chain(path: Path, *entries: Mapping[str, Any], at: str) -> str:
    """Append entries under a lock, and write them through to the disk.

    Parameters
    ----------
    path
        The file of the lines.
    entries
        JSON objects with a `kind`.
    at
        Time, ISO 8601 UTC, for a line about damage that is found.

    Returns
    -------
    str
        The new head.
    """
    make_folder(path.parent)
    with locked(path):
        _cut_half_line(path)
        lines = _lines(path)
        digests = [hashlib.sha256(line).hexdigest() for line in lines]
        fault = _fault_of_head(path, digests)
        more = [{"kind": DAMAGE, "at": at, "found": fault}, *entries] if fault else [*entries]
        previous = digests[-1] if digests else NO_LINE
        written = []
        for entry in more:
            line = json.dumps({"previous": previous, **entry}, ensure_ascii=False).encode()
            previous = hashlib.sha256(line).hexdigest()
            written.append(line)
        with open(path, "ab", opener=private_opener) as file:
            file.writelines(line + b"\n" for line in written)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
        head = {"lines": len(lines) + len(written), "sha256": previous}
        write_atomically(_head_file(path), json.dumps(head) + "\n")
    return previous


def _fault_of_head(path: Path, digests: list[str]) -> str:
    """Compare the lines with the record of their head; lines after it were written before a crash, and count."""
    file = _head_file(path)
    if not file.exists():
        # A crash may come between the first line and the first head.
        return "The record of the last line is missing." if len(digests) > 1 else ""
    try:
        head = parse_json(file.read_bytes())
        count, sha256 = int(head["lines"]), str(head["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return "The record of the last line is damaged."
    if count > len(digests):
        return f"{count} lines are on record, and {len(digests)} are there: lines were removed at the end."
    if count < 1 or digests[count - 1] != sha256:
        return f"Line {count} is not the one on record."
    return ""


def _cut_half_line(path: Path) -> None:
    """Remove a line without its end: the rest of a write that a crash interrupted, which nobody was told of."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        with path.open("rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n") if line] if path.exists() else []


def _entry(line: bytes) -> Mapping[str, Any] | None:
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    is_entry = isinstance(entry, dict) and isinstance(entry.get("kind"), str) and isinstance(entry.get("previous"), str)
    return entry if is_entry else None


def _head_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}.head.json")

"""Ledger of test sets: which sets of radiographs are tests, and every look at them.

    <data_dir>/test_sets.jsonl        a line for each set that is named, and for each evaluation that met its files
    <data_dir>/test_sets/<digest>     the files of a set: SHA-256 and label, one a line; their digest names the file

A figure is only as good as its set is fresh: whoever has seen the results of ten versions on a set and keeps the best
has chosen on it (Dwork et al. 2015, doi 10.1126/science.aaa9375). The ledger holds digests and no names of files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import DatasetError
from core.files import make_folder, write_atomically
from core.settings import Settings
from records.hash_chain import append_to_chain, read_chain

LEDGER, FOLDER = "test_sets.jsonl", "test_sets"
_NAME = re.compile(r"[\w][\w .+-]{0,79}")
Labelled = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set of radiographs that is named as a test set: its digest, number of files, who named it and when (UTC)."""

    name: str
    digest: str
    n: int
    who: str
    at: str


@dataclass(frozen=True, slots=True)
class Look:
    """One evaluation that met files of a test set.

    Attributes
    ----------
    test_set
        Name of the set.
    digest
        Of the radiographs that were evaluated; the set's own where all of it was.
    files
        Number of the set's files among them.
    versions
        The classifier versions that were measured.
    command
        What measured them, such as "evaluate".
    split
        Name under which the evaluation lists them.
    who, at
        By whom, and when, UTC.
    """

    test_set: str
    digest: str
    files: int
    versions: tuple[str, ...]
    command: str
    split: str
    who: str
    at: str


@dataclass(frozen=True, slots=True)
class Seen:
    """How often a test set was looked at, by how many versions, and by which; `last_at` is "" before the first look."""

    test_set: NamedSet
    looks: int
    versions: tuple[str, ...]
    last_at: str

    @property
    def words(self) -> str:
        """In a sentence, for everything that shows figures on the set."""
        if not self.looks:
            return "never looked at"
        times = {1: "once", 2: "twice"}.get(self.looks, f"{self.looks} times")
        n = len(self.versions)
        said = f"looked at {times}, by {n} version{'' if n == 1 else 's'}"
        return said if self.looks == 1 else f"{said}; figures on it are optimistic"


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of verifying the ledger: its number of lines, its head, and what is wrong; empty where nothing is."""

    lines: int
    head: str
    faults: tuple[str, ...]


def digest_of(files: Iterable[Labelled]) -> str:
    """Return the digest of a set: SHA-256 over the sorted (file digest, label) pairs, as `Sample` sets have it.

    Parameters
    ----------
    files
        SHA-256 and label of each; a label of None is not part of it.
    """
    return hashlib.sha256("\n".join(_sorted(files)).encode()).hexdigest()


def add_test_set(settings: Settings, name: str, files: Sequence[Labelled], who: str) -> NamedSet:
    """Name a set of radiographs as a test set.

    Parameters
    ----------
    settings
        The installation.
    name
        1–80 letters, digits, spaces and . + - _.
    files
        SHA-256 and label of each radiograph.
    who
        Who names it.

    Raises
    ------
    DatasetError
        If the name is invalid or taken, the set has a name already, or is empty.
    """
    if not _NAME.fullmatch(name):
        raise DatasetError(
            "expected a name of 1–80 letters, digits, spaces and . + - _. Received: another one",
            advice="Choose a short name, such as ward-2026.",
        )
    if not files:
        raise DatasetError("expected radiographs. Received: none", advice="Name a folder with radiographs.")
    digest = digest_of(files)
    for one in named_sets(settings):
        if name == one.name or digest == one.digest:
            raise DatasetError(
                f"expected a new set and a new name. Received: {one.name} is there, digest {one.digest[:12]}…",
                advice="A test set keeps its name and its radiographs; choose another name for other radiographs.",
            )
    found = NamedSet(name, digest, len(files), who, _now())
    make_folder(settings.data_dir / FOLDER)
    write_atomically(settings.data_dir / FOLDER / digest, "\n".join(_sorted(files)) + "\n")
    values = {"kind": "set", "name": name, "digest": digest, "n": len(files), "who": who, "at": found.at}
    append_to_chain(settings.data_dir / LEDGER, values, at=found.at)
    return found


def named_sets(settings: Settings) -> tuple[NamedSet, ...]:
    """Return the sets that are named as test sets on an installation, oldest first.

    Parameters
    ----------
    settings
        The installation.
    """
    return tuple(
        NamedSet(str(one["name"]), str(one["digest"]), int(one["n"]), str(one["who"]), str(one["at"]))
        for one in _entries(settings, "set", ("name", "digest", "n", "who", "at"))
    )


def record_look(
    settings: Settings, files: Sequence[Labelled], versions: Sequence[str], command: str, split: str, who: str
) -> tuple[Look, ...]:
    """Record an evaluation in the ledger where it met files of a test set; return what was recorded.

    Parameters
    ----------
    settings
        The installation.
    files
        SHA-256 of each radiograph that was evaluated, and its label, None where it has none.
    versions, command, split, who
        As the attributes of `Look`.

    Raises
    ------
    DatasetError
        If the ledger cannot be written: figures on a test set are not shown without it.
    """
    sets = named_sets(settings)
    if not sets:
        return ()
    evaluated, digest, at = {sha256 for sha256, _ in files}, digest_of(files), _now()
    found = []
    for one in sets:
        shared = one.n if digest == one.digest else len(evaluated & _files_of(settings, one))
        if shared:
            found.append(Look(one.name, digest, shared, tuple(versions), command, split, who, at))
    if found:
        entries = [
            {
                "kind": "look",
                "set": look.test_set,
                "digest": look.digest,
                "files": look.files,
                "versions": list(look.versions),
                "command": look.command,
                "split": look.split,
                "who": look.who,
                "at": look.at,
            }
            for look in found
        ]
        try:
            append_to_chain(settings.data_dir / LEDGER, *entries, at=at)
        except OSError as error:
            raise DatasetError(
                f"expected to record this look at {found[0].test_set}. Received: {type(error).__name__}",
                advice="Make the data folder writable: figures on a test set are only shown once they are recorded.",
            ) from error
    return tuple(found)


def looks(settings: Settings) -> tuple[Look, ...]:
    """Return every recorded look, oldest first.

    Parameters
    ----------
    settings
        The installation.
    """
    names = ("set", "digest", "files", "versions", "command", "split", "who", "at")
    return tuple(
        Look(
            str(one["set"]),
            str(one["digest"]),
            int(one["files"]),
            tuple(map(str, one["versions"])),
            str(one["command"]),
            str(one["split"]),
            str(one["who"]),
            str(one["at"]),
        )
        for one in _entries(settings, "look", names)
    )


def seen(settings: Settings) -> tuple[Seen, ...]:
    """Return how often each test set was looked at, in the order in which they were named.

    Parameters
    ----------
    settings
        The installation.
    """
    every = looks(settings)
    found = []
    for one in named_sets(settings):
        own = [look for look in every if look.test_set == one.name]
        versions = tuple(dict.fromkeys(version for look in own for version in look.versions))
        found.append(Seen(one, len(own), versions, own[-1].at if own else ""))
    return tuple(found)


def verify_ledger(settings: Settings, noted_head: str | None = None) -> Verified:
    """Verify the chain of the ledger and the files of every set.

    Parameters
    ----------
    settings
        The installation.
    noted_head
        A head that was noted earlier, which must still be in the ledger.
    """
    chain = read_chain(settings.data_dir / LEDGER, noted_head)
    faults = [*chain.faults]
    for one in named_sets(settings):
        try:
            lines = _list_of(settings, one).read_text().splitlines()
        except (OSError, UnicodeDecodeError, DatasetError):
            lines = []
        if hashlib.sha256("\n".join(lines).encode()).hexdigest() != one.digest:
            faults.append(f"The list of files of {one.name} was changed or removed.")
    return Verified(len(chain.entries), chain.head, tuple(faults))


def _entries(settings: Settings, kind: str, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the lines of a kind that have all names; `verify_ledger` reports damaged ones."""
    chain = read_chain(settings.data_dir / LEDGER)
    whole = [one for one in chain.entries if one["kind"] == kind and all(name in one for name in names)]
    numbers = ("n", "files")
    return [
        one
        for one in whole
        if all(isinstance(one[name], int) for name in numbers if name in names)
        and ("versions" not in names or isinstance(one["versions"], list))
    ]


def _files_of(settings: Settings, test_set: NamedSet) -> set[str]:
    try:
        lines = _list_of(settings, test_set).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"expected the list of files of {test_set.name}. Received: {type(error).__name__}",
            advice="Verify the ledger: python -m training test-set verify",
        ) from error
    return {line.partition(" ")[0] for line in lines}


def _list_of(settings: Settings, test_set: NamedSet) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", test_set.digest):
        raise DatasetError(
            f"expected a digest for {test_set.name}. Received: something else",
            advice="Verify the ledger: python -m training test-set verify",
        )
    return settings.data_dir / FOLDER / test_set.digest


def _sorted(files: Iterable[Labelled]) -> list[str]:
    return sorted(sha256 if label is None else f"{sha256} {label}" for sha256, label in files)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Looks at test sets: what is evaluated is recorded in the ledger where it meets files of a set that is named there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence

from core.formatting import format_count
from core.settings import Settings
from records.activity import command_line_user
from records.test_sets import Look, named_sets, record_look, seen
from training.data.sample import Sample

# Called with what was evaluated, the versions and the name of the evaluation, before its figures are shown.
Recorder = Callable[[Sequence[Sample], Sequence[str], str], tuple[Look, ...]]


def recorder(settings: Settings, command: str, who: str = "") -> Recorder:
    """Return what records the evaluations of a command in the ledger of an installation.

    Parameters
    ----------
    settings
        The installation.
    command
        What measures, such as "evaluate".
    who
        By whom; "" for the user of the command line.
    """
    by = who or command_line_user()

    def record(samples: Sequence[Sample], versions: Sequence[str], split: str) -> tuple[Look, ...]:
        if not named_sets(settings):
            return ()
        return record_look(settings, hashed(samples), versions, command, split, by)

    return record


def hashed(samples: Iterable[Sample]) -> list[tuple[str, int | None]]:
    """Return SHA-256 and label of each sample; files that cannot be read are left out.

    Parameters
    ----------
    samples
        Files without a SHA-256 are read.
    """
    found: list[tuple[str, int | None]] = []
    for sample in samples:
        try:
            sha256 = sample.sha256 or hashlib.sha256(sample.path.read_bytes()).hexdigest()
        except OSError:
            continue
        found.append((sha256, sample.label))
    return found


def sets_of(settings: Settings, versions: Collection[str]) -> list[str]:
    """Return a sentence for each test set on which one of these `versions` was measured: how often it was looked at.

    Parameters
    ----------
    settings
        The installation.
    versions
        Names of versions.
    """
    return [
        f"test set {one.test_set.name} ({format_count(one.test_set.n, 'file')}): {one.words}"
        for one in seen(settings)
        if set(one.versions) & set(versions)
    ]


def looks_in_words(settings: Settings, recorded: Iterable[Look]) -> list[str]:
    """Return a sentence for each test set that was looked at: how much of it, and how often it has been.

    Parameters
    ----------
    settings
        The installation.
    recorded
        What a `Recorder` returned.
    """
    so_far = {one.test_set.name: one for one in seen(settings)}
    return [
        f"test set {look.test_set} ({look.files} of {format_count(so_far[look.test_set].test_set.n, 'file')}): "
        f"{so_far[look.test_set].words}"
        for look in recorded
        if look.test_set in so_far
    ]

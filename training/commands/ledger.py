"""Command `test-set`: name a set of radiographs as a test set, list how often each was looked at, verify the ledger."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_atomically
from core.formatting import format_count
from core.printable import printable
from core.settings import Settings
from training.commands.arguments import add_command, add_data_options, add_patient_options, data_of, new_file

_NOTE = """\
From then on every evaluation that meets a file of the set is recorded: who, when, which versions, by which command.
The records are a chain of digests in test_sets.jsonl of the data folder. `verify` finds lines that were changed or
removed; note the head that it prints elsewhere, since whoever may write into the data folder can write a new chain."""


def add_commands(acts: Any) -> None:
    """Add `test-set` to the sub-commands."""
    command = add_command(
        acts,
        "test-set",
        "name a set of radiographs as a test set, and see how often it was looked at",
        "test-set add ward-2026 --data films/test",
        "test-set list --json test_sets.json",
        "test-set verify",
        note=_NOTE,
    )
    command.add_argument("step", choices=("add", "list", "verify"), help="what to do")
    command.add_argument("name", nargs="?", metavar="NAME", help="name of the new set, for add")
    add_data_options(command, required=False)
    add_patient_options(command)
    command.add_argument("--head", metavar="SHA256", help="for verify: a head that was noted earlier")
    command.add_argument("--json", type=new_file, metavar="FILE", help="write the results there as JSON")
    command.set_defaults(act=_test_set, refuse=command.error)


def _test_set(options: argparse.Namespace, settings: Settings) -> int:
    if options.step == "add":
        if not (options.name and options.data):
            options.refuse("expected a name and --data, such as: test-set add ward-2026 --data films/test")
        return _add(options, settings)
    if options.name or options.data:
        options.refuse(f"expected no name and no --data for {options.step}")
    return _list(options.json, settings) if options.step == "list" else _verify(options, settings)


def _add(options: argparse.Namespace, settings: Settings) -> int:
    from records.activity import command_line_user, noted
    from records.test_sets import add_test_set
    from training.data.dataset import scan
    from training.evaluation.looks import hashed

    folder = scan(data_of(options, settings))
    samples = (*folder.train, *folder.val, *folder.test)
    with tqdm(samples, desc="reading files", disable=None, leave=False) as bar:
        files = hashed(bar)
    who = command_line_user()
    with noted(settings, "name-test-set", who=who, object=options.name):
        added = add_test_set(settings, options.name, files, who)
    _write(options.json, {"name": added.name, "digest": added.digest, "n": added.n, "at": added.at, "who": added.who})
    print(printable(f"test set {added.name}: {format_count(added.n, 'file')}, digest {added.digest}"))
    return 0


def _list(json_file: Path | None, settings: Settings) -> int:
    from records.test_sets import looks, seen, verify_ledger

    faults = verify_ledger(settings).faults
    every = looks(settings)
    rows = []
    for one in seen(settings):
        own = [look for look in every if look.test_set == one.test_set.name]
        rows.append(
            {
                "name": one.test_set.name,
                "digest": one.test_set.digest,
                "n": one.test_set.n,
                "looks": one.looks,
                "versions": list(one.versions),
                "by": [
                    {
                        "at": look.at,
                        "who": look.who,
                        "command": look.command,
                        "versions": list(look.versions),
                        "evaluation": look.split,
                        "files": look.files,
                        "digest": look.digest,
                    }
                    for look in own
                ],
            }
        )
        print(printable(f"{one.test_set.name}  n = {one.test_set.n}  {one.test_set.digest[:12]}…  {one.words}"))
        for look in own:
            measured = ", ".join(look.versions)
            print(
                printable(
                    f"  {look.at}  {look.who}  {look.command}: {measured}  ({look.files} of {one.test_set.n} files)"
                )
            )
    _write(json_file, rows)
    for fault in faults:
        print(printable(f"warning: {fault}"), file=sys.stderr)
    if not rows and not faults:
        print("No test set yet. Name one: python -m training test-set add ward-2026 --data films/test")
    return 0


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from records.test_sets import verify_ledger

    found = verify_ledger(settings, options.head)
    _write(options.json, {"lines": found.lines, "head": found.head, "faults": list(found.faults)})
    for fault in found.faults:
        print(printable(fault))
    print(f"{'Damaged' if found.faults else 'Intact'}: {format_count(found.lines, 'line')}, head {found.head}")
    return 1 if found.faults else 0


def _write(path: Path | None, values: Any) -> None:
    if path is not None:
        write_atomically(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

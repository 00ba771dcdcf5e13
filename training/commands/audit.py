"""python -m training audit: what a dataset folder hides. `_audit` does the same for the app, in the background."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_atomically
from core.settings import Settings


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    audit = acts.add_parser(
        "audit",
        help="look for what a dataset folder hides: duplicates, leaks, damaged files",
        description="Exit status 1 when a finding blocks training.",
        epilog="example: python -m training audit --data chest_xray --json audit.json",
    )
    audit.add_argument("--data", type=Path, required=True, metavar="DIR")
    audit.add_argument("--json", type=Path, metavar="FILE", help="write all of it there")
    audit.set_defaults(act=_audit)

    # Without help it is not listed; argparse would list a suppressed one by that word.
    background = acts.add_parser("_audit", description="The app starts this one by itself.")
    background.add_argument("folder", type=Path, metavar="FOLDER")
    background.set_defaults(act=_work)


def _audit(options: argparse.Namespace, _settings: Settings) -> int:
    from training.data.audit import audit_folder, audit_to_json, audit_to_text
    from training.data.dataset import scan_folder

    folder = scan_folder(options.data)
    total = sum(len(part) for part in (folder.train, folder.val, folder.test))
    with tqdm(total=total, desc="auditing", disable=None, leave=False) as bar:
        audit = audit_folder(folder, bar.update)
    if options.json:
        write_atomically(options.json, audit_to_json(audit) + "\n")
    print(audit_to_text(audit))
    return 1 if audit.is_blocked else 0


def _work(options: argparse.Namespace, _settings: Settings) -> int:
    from training.runs import audits, processes

    try:
        audits.work(options.folder)
    except Exception as error:
        processes.write_error(options.folder, error)
        raise
    return 0

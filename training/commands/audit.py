"""Commands `audit` and `patients`: check a dataset, and show which patients it will be split by."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_atomically
from core.json_text import json_with_names
from core.printable import printable
from core.settings import Settings
from training.commands.arguments import add_command, add_data_options, add_patient_options, data_of


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    audit = add_command(
        acts,
        "audit",
        "check a dataset for duplicates, leaks between splits and damaged files",
        "audit --data chest_xray --json audit.json",
        "audit --data chest_xray --label-noise",
        note="exit status: 0 no finding blocks training, 1 one does",
    )
    add_data_options(audit)
    add_patient_options(audit)
    audit.add_argument("--json", type=Path, metavar="FILE", help="write the audit there as JSON")
    audit.add_argument(
        "--label-noise",
        action="store_true",
        help="also rank films of train and val whose label may be wrong (confident learning); reads them once more",
    )
    audit.set_defaults(act=_audit)
    patients = add_command(
        acts,
        "patients",
        "show the patients of a dataset and how they are found, without reading its radiographs",
        "patients --data chest_xray",
        r"patients --data films --patient-pattern 'P(\d+)_\d+'",
        "patients --data Ward=/srv/ward --data Clinic=/srv/clinic.csv --json patients.json",
    )
    add_data_options(patients)
    add_patient_options(patients)
    patients.add_argument("--json", type=Path, metavar="FILE", help="write the preview there as JSON")
    patients.set_defaults(act=_patients)


def _audit(options: argparse.Namespace, settings: Settings) -> int:
    from training.data.audit import audit_folder, audit_to_json, audit_to_text
    from training.data.dataset import scan

    folder = scan(data_of(options, settings))
    total = sum(len(part) for part in (folder.train, folder.val, folder.test))
    with tqdm(total=total, desc="auditing", disable=None, leave=False) as bar:
        audit = audit_folder(folder, bar.update)
    lines, values = [audit_to_text(audit)], json.loads(audit_to_json(audit))
    if options.label_noise:
        from training.data import label_noise

        with tqdm(total=len(folder.train) + len(folder.val), desc="ranking labels", disable=None, leave=False) as bar:
            ranked = label_noise.rank_labels(folder, bar.update)
        values["label_noise"] = None if ranked is None else label_noise.to_json(ranked)
        lines += (
            [f"label noise: unknown with fewer than {label_noise.LEAST_GROUPS} patients of a class"]
            if ranked is None
            else [printable(line) for line in label_noise.to_text(ranked)]
        )
    if options.json:
        write_atomically(options.json, json_with_names(values) + "\n")
    print("\n".join(lines))
    return 1 if audit.is_blocked else 0


def _patients(options: argparse.Namespace, settings: Settings) -> int:
    from training.data.dataset import scan
    from training.data.patient_preview import preview, preview_to_text, preview_to_values

    found = preview(scan(data_of(options, settings)))
    if options.json:
        write_atomically(options.json, json_with_names(preview_to_values(found)) + "\n")
    print(preview_to_text(found))
    return 0

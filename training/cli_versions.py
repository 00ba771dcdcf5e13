"""python -m training audit | architectures | versions | promote: what there is, and what is in use."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.architectures import ARCHITECTURES
from model.files import write_atomically
from model.quiet import start_tensorflow
from model.settings import Settings


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    audit = acts.add_parser("audit", help="look for what a dataset folder hides: duplicates, leaks, damaged files",
                            description="Exit status 1 when a finding blocks training.",
                            epilog="example: python -m training audit --data chest_xray --json audit.json")
    audit.add_argument("--data", type=Path, required=True, metavar="DIR")
    audit.add_argument("--json", type=Path, metavar="FILE", help="write all of it there")
    audit.set_defaults(act=_audit)

    networks = acts.add_parser("architectures", help="list the networks that can be trained",
                               epilog="example: python -m training architectures --json networks.json")
    networks.add_argument("--json", type=Path, metavar="FILE", help="write the list there")
    networks.set_defaults(act=_architectures)

    versions = acts.add_parser("versions", help="list the classifier versions; * marks the one in use")
    versions.set_defaults(act=_versions)
    promote = acts.add_parser("promote", help="put a version into use",
                              epilog="example: python -m training promote 2026.11.21-3")
    promote.add_argument("version", metavar="VERSION")
    promote.set_defaults(act=_promote)


def _audit(options: argparse.Namespace, settings: Settings) -> int:
    from training.audit import audit_folder, audit_to_json, audit_to_text
    from training.dataset import scan_folder

    folder = scan_folder(options.data)
    total = sum(len(part) for part in (folder.train, folder.val, folder.test))
    with tqdm(total=total, desc="auditing", disable=None, leave=False) as bar:
        audit = audit_folder(folder, bar.update)
    if options.json:
        write_atomically(options.json, audit_to_json(audit) + "\n")
    print(audit_to_text(audit))
    return 1 if audit.is_blocked else 0


def _architectures(options: argparse.Namespace, settings: Settings) -> int:
    start_tensorflow()
    from model.network import count_parameters

    rows = []
    with tqdm(ARCHITECTURES.values(), desc="building", disable=None, leave=False) as bar:
        for network in bar:
            bar.set_postfix_str(network.name)
            rows.append({"name": network.name, "parameters": count_parameters(network.name),
                         "input_px": network.input_px, "starts_from": "ImageNet" if network.is_transfer else "random",
                         "summary": network.summary, "claim": network.claim, "source": network.source})
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    for row in rows:
        print(f"{row['name']:<20} {row['parameters']:>11,} parameters  {row['input_px']:>3} px  from "
              f"{row['starts_from']:<8}  {row['summary']}")
        print(f"{'':<20} published: {row['claim']} ({row['source']})")
    print("package.module:function  a network of your own: takes the picture's side in pixels, returns a keras.Model "
          "from (N, px, px, 1), 0–255, to one logit")
    return 0


def _versions(options: argparse.Namespace, settings: Settings) -> int:
    from model.registry import active_version, list_versions, load_card

    names = list_versions(settings)
    if not names:
        print("No classifier version yet. Make one with: python -m training train --data DIR", file=sys.stderr)
        return 0
    active = active_version(settings)
    for name in names:
        card = load_card(settings, name)
        area = card.evaluations["validation"].measures["auroc"]
        print(f"{'*' if name == active else ' '} {name}  {card.architecture}  {card.created_at[:10]}  "
              f"validation AUROC {area.value:.4f} ({area.low:.4f}–{area.high:.4f})")
    return 0


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    from model.registry import promote

    promote(settings, options.version)
    print(f"{options.version} is in use.")
    return 0

"""python -m training architectures | versions: what there is, and what is in use."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_atomically
from core.formatting import format_estimate
from core.settings import Settings
from model.architectures import ARCHITECTURES
from model.tf_startup import start_tensorflow


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    networks = acts.add_parser(
        "architectures",
        help="list the networks that can be trained",
        epilog="example: python -m training architectures --json networks.json",
    )
    networks.add_argument("--json", type=Path, metavar="FILE", help="write the list there")
    networks.set_defaults(act=_architectures)

    versions = acts.add_parser("versions", help="list the classifier versions; * marks the one in use")
    versions.set_defaults(act=_versions)


def _architectures(options: argparse.Namespace, _settings: Settings) -> int:
    start_tensorflow(in_batches=True)
    from model.networks.build import count_parameters

    rows = []
    with tqdm(ARCHITECTURES.values(), desc="building", disable=None, leave=False) as bar:
        for network in bar:
            bar.set_postfix_str(network.name)
            rows.append(
                {
                    "name": network.name,
                    "parameters": count_parameters(network.name),
                    "input_px": network.input_px,
                    "starts_from": "ImageNet" if network.is_transfer else "random",
                    "summary": network.summary,
                    "claim": network.claim,
                    "source": network.source,
                }
            )
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    for row in rows:
        print(
            f"{row['name']:<20} {row['parameters']:>11,} parameters  {row['input_px']:>3} px  from "
            f"{row['starts_from']:<8}  {row['summary']}"
        )
        print(f"{'':<20} published: {row['claim']} ({row['source']})")
    print(
        "package.module:function  a network of your own: takes the picture's side in pixels, returns a keras.Model "
        "from (N, px, px, 1), 0–255, to one logit"
    )
    return 0


def _versions(_options: argparse.Namespace, settings: Settings) -> int:
    from model.registry import active_version, list_versions, load_card

    names = list_versions(settings)
    if not names:
        print("No classifier version yet. Make one with: python -m training train --data DIR", file=sys.stderr)
        return 0
    active = active_version(settings)
    for name in names:
        card = load_card(settings, name)
        area = card.evaluations["validation"].measures["auroc"]
        print(
            f"{'*' if name == active else ' '} {name}  {card.architecture}  {card.created_at[:10]}  "
            f"validation AUROC {format_estimate(area, 4)}"
        )
    return 0

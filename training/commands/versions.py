"""Commands `architectures` and `versions`: the networks that can be trained, and the classifier versions."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from core.files import write_atomically
from core.formatting import format_estimate
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES
from training.commands.arguments import add_command, new_file


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    networks = add_command(
        acts, "architectures", "list the networks that can be trained", "architectures --json networks.json"
    )
    networks.add_argument("--json", type=new_file, metavar="FILE", help="write the list there as JSON")
    networks.set_defaults(act=_architectures)

    versions = add_command(
        acts, "versions", "list the classifier versions; * marks the one in use", "versions", "versions --card in-use"
    )
    versions.add_argument("--card", metavar="VERSION", help="show the model card of a version, or of in-use, instead")
    versions.set_defaults(act=_versions)


def _architectures(options: argparse.Namespace, _settings: Settings) -> int:
    rows = [
        {
            "name": network.name,
            "parameters": network.parameters,
            "input_px": network.input_px,
            "framed_by_lungs": network.is_framed,
            "starts_from": "ImageNet" if network.is_transfer else "random",
            "summary": network.summary,
            "claim": network.claim,
            "source": network.source,
        }
        for network in ARCHITECTURES.values()
    ]
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    for row in rows:
        print(
            f"{row['name']:<20} {row['parameters']:>11,} parameters  {row['input_px']:>3} px  from "
            f"{row['starts_from']:<8}  {row['summary']}"
        )
        print(f"{'':<20} published: {row['claim']} ({row['source']})")
    print(
        "package.module:function  your own network: a function of the image side in pixels that returns a keras.Model "
        "from (N, px, px, 1), 0–255, to one logit; from (N, px, px, 2) it gets films framed by their lungs, and the "
        "lungs as second channel"
    )
    return 0


def _versions(options: argparse.Namespace, settings: Settings) -> int:
    from model.registry import active_version, list_versions, load_card

    if options.card:
        from model.card_sections import card_to_text
        from training.evaluation.looks import sets_of

        card = load_card(settings, active_version(settings) if options.card == "in-use" else options.card)
        print(card_to_text(card))
        said = sets_of(settings, {card.version})
        print("\n".join(["", "Test sets", *(f"  {one}" for one in said or ("none on record",))]))
        return 0
    names = list_versions(settings)
    if not names:
        print("No classifier version yet. Train one: python -m training train --data chest_xray", file=sys.stderr)
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

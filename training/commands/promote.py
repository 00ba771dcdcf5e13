"""python -m training promote | rollback | history: which version is in use, and who decided so."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import Any

from core.settings import Settings
from model.promotions import Promotion, promote, promotions, rollback
from model.registry import active_version, load_card, verify, version_folder
from training.runs import candidate
from training.runs.held_out import made_version
from training.runs.promotion import REASON_CHARACTERS, Rule, broken, check, is_reason
from training.runs.request import VERSION


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    put = acts.add_parser(
        "promote",
        help="put a version into use",
        epilog='example: python -m training promote 2026.11.21-3 --reason "higher specificity"',
    )
    put.add_argument("version", metavar="VERSION")
    put.add_argument("--reason", default="", metavar="TEXT", help="why; stays in the history")
    put.add_argument(
        "--force",
        action="store_true",
        help="overrule the rules that block it; needs a --reason, which stays in the history with them",
    )
    put.set_defaults(act=_promote)

    back = acts.add_parser(
        "rollback",
        help="put the version before the one in use back",
        epilog='example: python -m training rollback --reason "too many false alarms"',
    )
    back.add_argument("--reason", default="", metavar="TEXT", help="why; stays in the history")
    back.set_defaults(act=_rollback)

    history = acts.add_parser("history", help="list who put which version into use, when and why; oldest first")
    history.set_defaults(act=_history)


def command_line_user() -> str:
    """Return how the history names whoever decides on a command line."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        name = f"user {os.getuid()}"
    return f"{name} (command line)"


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    if options.force and not options.reason.strip():
        print("--force needs a --reason, which stays in the history.", file=sys.stderr)
        return 2
    verify(version_folder(settings, options.version))
    in_use = active_version(settings)
    unmet = [rule for rule in rules_for(settings, options.version, in_use) if not rule.passed]
    for rule in unmet:
        print(f"not met: {rule.name}. {rule.sentence}", file=sys.stderr)
    if unmet and not options.force:
        print(
            "It is not put into use. Compare it with the one in use (python -m training compare RUN), or overrule "
            "with --force and a --reason.",
            file=sys.stderr,
        )
        return 1
    if unmet and not is_reason(options.reason):
        print(
            f"The --reason needs at least {REASON_CHARACTERS} characters, since it stays in the history.",
            file=sys.stderr,
        )
        return 2
    overruled = broken(unmet)
    decision = promote(
        settings,
        options.version,
        who=command_line_user(),
        why=options.reason.strip(),
        overruled=overruled,
        expected=in_use,
    )
    return _say(decision, settings)


def rules_for(settings: Settings, version: str, in_use: str) -> tuple[Rule, ...]:
    """Return the rules before `version` goes into service, as they turned out; none where it is in service already."""
    if version == in_use:
        return ()
    card, card_in_use = load_card(settings, version), load_card(settings, in_use)
    runs = (path.parent for path in sorted(settings.runs_dir.glob(f"*/{VERSION}"), reverse=True))
    run = next((folder for folder in runs if made_version(folder) == version), None)
    if run is None:
        return check(card, card_in_use, None, None)
    return check(card, card_in_use, candidate.read_comparison(run).result, candidate.run_audit(run))


def _rollback(options: argparse.Namespace, settings: Settings) -> int:
    return _say(rollback(settings, who=command_line_user(), why=options.reason.strip()), settings)


def _say(decision: Promotion, settings: Settings) -> int:
    before = "" if decision.previous in (None, decision.version) else f" Before: {decision.previous}."
    print(f"{decision.version} is in use.{before}")
    if settings.classifier and (serving := active_version(settings)) != decision.version:
        print(f"But this installation serves {serving}, as the setting PNEUMOLENS_CLASSIFIER says.", file=sys.stderr)
    return 0


def _history(_options: argparse.Namespace, settings: Settings) -> int:
    decisions = promotions(settings)
    if not decisions:
        print("No version was ever put into use here; the one that shipped serves.", file=sys.stderr)
    for one in decisions:
        print(line(one))
    return 0


def line(one: Promotion) -> str:
    """Return a decision in one line."""
    what = "rolled back to" if one.act == "rollback" else "put into use"
    parts = [
        f"{one.at[:19].replace('T', ' ')} UTC",
        f"{what} {one.version}",
        f"before: {one.previous or 'none'}",
        f"by {one.who}",
    ]
    if one.overruled:
        parts.append(f"overruled: {', '.join(one.overruled)}")
    if one.why:
        parts.append(f"reason: {' '.join(one.why.split())}")
    return "  ".join(parts)

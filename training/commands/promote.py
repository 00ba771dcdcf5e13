"""Commands `promote`, `rollback` and `history`: which version is in clinical use, and who decided so."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from core.errors import ClassifierError
from core.printable import printable
from core.settings import Settings
from model.decisions import Promotion
from model.promotions import previous_version, promote, promotions, rollback, serving_version, verified
from model.registry import active_version, load_card
from records.activity import command_line_user, note, noted
from training.commands.arguments import add_command
from training.runs import candidate
from training.runs.held_out import made_version
from training.runs.promotion import REASON_CHARACTERS, Rule, broken, check, is_reason
from training.runs.request import VERSION

_ACTS = {"promote": "promoted", "rollback": "rolled back to", "card": "changed the card of"}


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    put = add_command(
        acts,
        "promote",
        "put a version into clinical use",
        'promote 2026.11.21-3 --reason "higher specificity"',
        'promote 2026.11.21-3 --force --reason "lower sensitivity accepted by the radiology board"',
        note="The rules of promotion block a version that is not better; --force overrides them.",
    )
    put.add_argument("version", metavar="VERSION", help="as listed by `versions`")
    put.add_argument("--reason", default="", metavar="TEXT", help="reason for the decision, kept in the history")
    put.add_argument(
        "--force",
        action="store_true",
        help="override the rules that block it; requires --reason",
    )
    put.set_defaults(act=_promote)

    back = add_command(
        acts,
        "rollback",
        "restore the version that was in use before",
        'rollback --reason "too many false positives"',
    )
    back.add_argument("--reason", default="", metavar="TEXT", help="reason for the decision, kept in the history")
    back.set_defaults(act=_rollback)

    history = add_command(acts, "history", "list every promotion and rollback, oldest first", "history")
    history.set_defaults(act=_history)


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    if options.force and not options.reason.strip():
        print("--force requires --reason, which the history keeps.", file=sys.stderr)
        return 2
    verified(settings, options.version)
    try:
        in_use = active_version(settings)
    except ClassifierError:  # promoting again is what repairs the record
        in_use = serving_version(settings)[0]
    unmet = [rule for rule in rules_for(settings, options.version, in_use) if not rule.passed]
    for rule in unmet:
        print(printable(f"not met: {rule.name}. {rule.sentence}"), file=sys.stderr)
    if unmet and not options.force:
        note(settings, "promote", who=command_line_user(), object=options.version, outcome="refused")
        print(
            "The version was not promoted. Compare it with the one in use (python -m training compare, with the name "
            "of its run), or override the rules with --force and --reason.",
            file=sys.stderr,
        )
        return 1
    if unmet and not is_reason(options.reason):
        print(
            f"expected a --reason of at least {REASON_CHARACTERS} characters. Received: {len(options.reason.strip())}",
            file=sys.stderr,
        )
        return 2
    overruled = broken(unmet)
    who = command_line_user()
    with noted(settings, "promote", who=who, object=options.version):
        decision = promote(
            settings, options.version, who=who, why=options.reason.strip(), overruled=overruled, expected=in_use
        )
    return _say(decision, settings)


def rules_for(settings: Settings, version: str, in_use: str) -> tuple[Rule, ...]:
    """Check the promotion rules for a version.

    Parameters
    ----------
    settings
        The installation; comparison and audit are those of the newest run that made the version.
    version, in_use
        Names of the candidate and of the version in use.

    Returns
    -------
    tuple of Rule
        Empty where both are the same.
    """
    if version == in_use:
        return ()
    card, card_in_use = load_card(settings, version), load_card(settings, in_use)
    runs = (path.parent for path in sorted(settings.runs_dir.glob(f"*/{VERSION}"), reverse=True))
    run = next((folder for folder in runs if made_version(folder) == version), None)
    if run is None:
        return check(card, card_in_use, None, None)
    return check(card, card_in_use, candidate.read_comparison(run).result, candidate.run_audit(run))


def _rollback(options: argparse.Namespace, settings: Settings) -> int:
    who = command_line_user()
    with noted(settings, "rollback", who=who, object=previous_version(settings) or ""):
        decision = rollback(settings, who=who, why=options.reason.strip())
    return _say(decision, settings)


def _say(decision: Promotion, settings: Settings) -> int:
    before = "" if decision.previous in (None, decision.version) else f" Before: {decision.previous}."
    print(f"{decision.version} is in use.{before}")
    if settings.classifier and (serving := active_version(settings)) != decision.version:
        print(
            f"This installation serves {serving}: the setting PNEUMOLENS_CLASSIFIER overrides the promotion.",
            file=sys.stderr,
        )
    return 0


def _history(_options: argparse.Namespace, settings: Settings) -> int:
    decisions = promotions(settings)
    if not decisions:
        print("No version has been promoted here; the one that ships with PneumoLens is in use.", file=sys.stderr)
    for one in decisions:
        print(line(one))
    return 0


def line(one: Promotion) -> str:
    """Return a decision in one line."""
    what = _ACTS.get(one.act, one.act)
    parts = [
        f"{one.at[:19].replace('T', ' ')} UTC",
        f"{what} {one.version}",
        f"before: {one.previous or 'none'}",
        f"by {one.who}",
    ]
    if one.overruled:
        parts.append(f"overridden: {', '.join(one.overruled)}")
    if one.why:
        parts.append(f"reason: {' '.join(one.why.split())}")
    return printable("  ".join(parts))

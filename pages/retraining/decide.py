"""Decide: the rules before a version goes into service, the button that does it, and the way back."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st

from core.errors import AppError, ClassifierError
from core.formatting import format_estimate
from core.settings import Settings
from model.card import ModelCard
from model.promotions import Promotion, previous_version, promote, promotions, rollback, serving_version
from model.registry import active_version, list_versions, load_card
from pages.shared import frame
from pages.shared.administrator import guarded
from pages.shared.measures import split_name
from training.runs import candidate, promotion
from training.runs.promotion import Rule

_SAID = "decide.said"
_AT_ONCE = (
    "It takes effect at once: every open page reads with it from its next action on, and nothing has to be restarted."
)
_FIGURES = ("auroc", "sensitivity", "specificity", "ece")


def show(settings: Settings, who: str, run_id: str) -> None:
    """Draw the decision about the run's version, if there is one, and the history; `who` decides."""
    _show_said()
    in_use = _version_in_use(settings)
    try:
        _show_decision(settings, who, run_id, in_use)
    except AppError as error:
        frame.show_error(error)
    show_history(settings, who, in_use)
    show_versions(settings, in_use)


def _version_in_use(settings: Settings) -> str | None:
    """Return the version in use and say what is wrong with it; None when nobody can tell, which can be mended here."""
    if settings.classifier:
        _warn(
            f"This installation is set to serve {settings.classifier}, whatever is decided here.",
            "The setting PNEUMOLENS_CLASSIFIER says so. Remove it to decide here.",
        )
    try:
        version = active_version(settings)
    except ClassifierError as error:
        _warn("It cannot be told which version is in use.", error.advice)
        return None
    try:
        serving, refused = serving_version(settings)
    except ClassifierError as error:
        _warn("No version can be used.", error.advice)
        return version
    if refused is not None:
        _warn(refused.advice, f"Until another version is put into service, {serving} goes on serving.")
    return version


def _show_decision(settings: Settings, who: str, run_id: str, in_use: str | None) -> None:
    folder = candidate.run_of(settings, run_id)
    version = None if folder is None else candidate.made_version(folder)
    if folder is None:
        _title("Decide", "No training is chosen, so there is nothing to decide. What was decided stands below.")
    elif version is None:
        _title(
            "Decide",
            "This training has not made a version yet. It can be decided on as soon as it has been "
            "compared with the classifier in use.",
        )
    elif version == in_use:
        _title(
            f"{version} is in service",
            "Read a few films with it and look at its Performance page. If anything is "
            "not as it should be, go back below: that takes a second.",
        )
    elif in_use is not None:
        show_gate(settings, who, folder, version, in_use)


def _title(title: str, note: str) -> None:
    st.html(f'<h2 class="pl-title">{escape(title)}</h2><p class="pl-note">{escape(note)}</p>')


def _warn(strong: str, words: str) -> None:
    st.html(f'<section class="pl-warning"><p><strong>{escape(strong)}</strong></p><p>{escape(words)}</p></section>')


def show_gate(settings: Settings, who: str, folder: Path, version: str, in_use: str) -> None:
    """Draw the rules, and the button that puts `version` into service in place of `in_use`."""
    rules = _rules(settings, folder, version, in_use)
    blocked = promotion.is_blocked(rules)
    _title(
        f"Put {version} into service?",
        f"In use now: {in_use}." + ("" if blocked else f" All rules are met. {_AT_ONCE}"),
    )
    show_rules(rules)
    # What a press means is settled while the page is drawn: by the time of the press another administrator may have
    # put another version into service, and then the decision is refused.
    decision = (settings, who, folder, version, in_use, promotion.broken(rules))
    st.button(
        f"Put {version} into service",
        type="primary",
        key="decide.promote",
        on_click=_promote,
        args=decision,
        disabled=blocked or bool(settings.classifier),
    )
    if blocked:
        if st.button("Back to the comparison", key="decide.compare"):
            st.query_params["step"] = "compare"
            st.rerun()
        _show_overrule(decision, disabled=bool(settings.classifier))


def _rules(settings: Settings, folder: Path, version: str, in_use: str) -> tuple[Rule, ...]:
    return promotion.check(
        load_card(settings, version),
        load_card(settings, in_use),
        candidate.read_comparison(settings, folder).result,
        candidate.run_audit(folder),
    )


def show_rules(rules: tuple[Rule, ...]) -> None:
    """Draw each rule with whether it is met; those that are not come first and have an outline."""
    unmet, met = ([rule for rule in rules if rule.passed is passed] for passed in (False, True))
    if unmet:
        count = "One rule is" if len(unmet) == 1 else f"{len(unmet)} rules are"
        st.html(
            f'<section class="pl-warning"><p><strong>{count} not met, so this version cannot go into service '
            f"as it is.</strong></p>{_rule_table(unmet)}</section>"
        )
    if met:
        st.html(_rule_table(met))


def _rule_table(rules: list[Rule]) -> str:
    return (
        '<table class="pl-facts">'
        + "".join(
            f"<tr><th>{'met' if rule.passed else 'not met'}</th><td>{escape(rule.name)}</td>"
            f"<td>{escape(rule.sentence)}</td></tr>"
            for rule in rules
        )
        + "</table>"
    )


def _show_overrule(decision: tuple[Settings, str, Path, str, str, tuple[str, ...]], disabled: bool) -> None:
    version, unmet = decision[3], decision[5]
    with st.expander("Overrule"), st.form("decide.overrule", border=False):
        st.html(
            f'<p class="pl-note">You can put {escape(version)} into service although {len(unmet)} '
            f"{'rule is' if len(unmet) == 1 else 'rules are'} not met. Write down why. The reason, your sign-in "
            "and the rules overruled stay in the history for good.</p>"
        )
        st.text_area(
            "Reason",
            key="decide.reason",
            max_chars=2000,
            help=f"At least {promotion.REASON_CHARACTERS} characters. No patient data, please.",
        )
        st.form_submit_button(
            f"Overrule and put {version} into service",
            key="decide.overrule.go",
            on_click=_overrule,
            args=decision,
            disabled=disabled,
        )


@guarded
def _promote(settings: Settings, who: str, folder: Path, version: str, in_use: str, unmet: tuple[str, ...]) -> None:
    _put_into_service(settings, who, folder, version, in_use, unmet)


def _put_into_service(
    settings: Settings,
    who: str,
    folder: Path,
    version: str,
    in_use: str,
    unmet: tuple[str, ...],
    why: str = "All rules were met.",
) -> bool:
    """Put a version into service, unless more speaks against it by now than when the page was drawn."""
    try:
        now_unmet = promotion.broken(_rules(settings, folder, version, in_use))
        if not set(now_unmet) <= set(unmet):
            raise ClassifierError(
                f"expected the rules as they were. Received: also not met: {', '.join(now_unmet)}",
                advice="What is known of the version has changed. Look at the rules again.",
            )
        promote(settings, version, who=who, why=why, overruled=now_unmet, expected=in_use)
    except AppError as error:
        _say(error.advice, str(error), is_warning=True)
        return False
    _say(f"{version} is in service.", f"{_AT_ONCE} {in_use} is kept; you can go back to it below.")
    return True


@guarded
def _overrule(settings: Settings, who: str, folder: Path, version: str, in_use: str, unmet: tuple[str, ...]) -> None:
    why = str(st.session_state.get("decide.reason", "")).strip()
    if not promotion.is_reason(why):
        _say(
            "Nothing was changed.",
            f"Write down why, in at least {promotion.REASON_CHARACTERS} characters.",
            is_warning=True,
        )
        return
    if _put_into_service(settings, who, folder, version, in_use, unmet, why):
        st.session_state["decide.reason"] = ""


@guarded
def _roll_back(settings: Settings, who: str, in_use: str | None) -> None:
    try:
        done = rollback(settings, who=who, expected=in_use)
    except AppError as error:
        _say(error.advice, str(error), is_warning=True)
    else:
        _say(f"{done.version} is in service again.", _AT_ONCE)


def _say(strong: str, words: str, is_warning: bool = False) -> None:
    """Keep what came of a press for the page that is drawn next."""
    st.session_state[_SAID] = (strong, words, is_warning)


def _show_said() -> None:
    if said := st.session_state.pop(_SAID, None):
        strong, words, is_warning = said
        if is_warning:
            _warn(strong, words)
        else:
            st.html(
                f'<section class="pl-about" role="status"><h2>{escape(strong)}</h2><p>{escape(words)}</p></section>'
            )


def show_history(settings: Settings, who: str, in_use: str | None) -> None:
    """Draw who put what into service, when and why, newest first, and the one press that goes back."""
    st.html('<h2 class="pl-heading">History</h2>')
    back = previous_version(settings)
    if back is not None:
        st.button(
            f"Roll back to {back}",
            key="decide.rollback",
            on_click=_roll_back,
            args=(settings, who, in_use),
            disabled=bool(settings.classifier),
            help=_AT_ONCE,
        )
    history = promotions(settings)
    if not history:
        st.html(
            f'<p class="pl-note">Nothing has been decided yet: {escape(in_use or "no version")} is the version '
            "that this installation started with.</p>"
        )
        return
    rows = "".join(_history_row(one) for one in reversed(history))
    st.html(
        '<div class="pl-wide"><table class="pl-facts"><tr><th>When (UTC)</th><th>Who</th><th>What</th><th>Why</th>'
        f"</tr>{rows}</table></div>"
    )


def _history_row(one: Promotion) -> str:
    what = f"{'Rolled back to' if one.act == 'rollback' else 'Put into service:'} {one.version}"
    if one.previous and one.previous != one.version:
        what += f", in place of {one.previous}"
    why = one.why + (f" Overruled: {', '.join(one.overruled)}." if one.overruled else "")
    cells = (one.at[:16].replace("T", " "), one.who, what, why or "–")
    return "<tr>" + "".join(f"<td>{escape(cell.strip())}</td>" for cell in cells) + "</tr>"


def show_versions(settings: Settings, in_use: str | None) -> None:
    """Draw every version on this installation with its own figures, newest first."""
    with st.expander("All versions"):
        rows = "".join(_version_row(settings, version, in_use) for version in reversed(list_versions(settings)))
        st.html(
            '<div class="pl-wide"><table class="pl-table"><tr><th>Version</th><th>Evaluated on</th><th>AUROC</th>'
            f"<th>Sensitivity</th><th>Specificity</th><th>Calibration error</th></tr>{rows}</table></div>"
            '<p class="pl-note">Each on films of its own, so figures of different versions do not compare. Compare '
            "two versions to know which is better.</p>"
        )


def _version_row(settings: Settings, version: str, in_use: str | None) -> str:
    head = f"<tr><th>{escape(version)}<span>{'in use' if version == in_use else ''}</span></th>"
    try:
        card = load_card(settings, version)
    except ClassifierError:
        return f'{head}<td colspan="5">Its card cannot be read.</td></tr>'
    name = _evaluated_on(card)
    if name is None:
        return f'{head}<td colspan="5">Never evaluated.</td></tr>'
    found = card.evaluations[name]
    return (
        f"{head}<td>{escape(split_name(name))}, n = {found.n}</td>"
        + "".join(f"<td>{format_estimate(found.measures[key], 3)}</td>" for key in _FIGURES)
        + "</tr>"
    )


def _evaluated_on(card: ModelCard) -> str | None:
    return next((name for name in ("test", "validation", *card.evaluations) if name in card.evaluations), None)

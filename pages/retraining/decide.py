"""The Decide step: promotion rules, promotion, rollback and the history."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st

from core.errors import AppError, ClassifierError
from core.formatting import format_estimate
from core.settings import Settings
from model.card import ModelCard
from model.decisions import Promotion
from model.promotions import previous_version, promote, promotions, rollback, serving_version
from model.registry import CARD, active_version, list_versions, load_card, read_card, version_folder
from pages.retraining import file_cache, recalibrate
from pages.shared import frame, visitor
from pages.shared.administrator import guarded
from pages.shared.measures import split_name
from training.runs import candidate, promotion, recalibrations
from training.runs.held_out import made_version
from training.runs.promotion import Rule

_MESSAGE, _REASON, _RECALIBRATED = "decide.message", "decide.reason", "decide.recalibrated.reason"
_AT_ONCE = "It takes effect immediately on every open page, without a restart."
MET, NOT_MET = "met", "not&nbsp;met"
_ACTS = {"promote": "Promoted", "rollback": "Rolled back to", "card": "Changed the card of"}
_FIGURES = ("auroc", "sensitivity", "specificity", "ece")


def show(settings: Settings, who: str, run_id: str) -> None:
    """Draw the decision on the run's version, if there is one, and the history; `who` is the administrator."""
    _show_message()
    in_use = _version_in_use(settings)
    try:
        _show_decision(settings, who, run_id, in_use)
    except AppError as error:
        frame.show_error(error)
    recalibrate.show(settings, who, in_use)
    _show_recalibrated(settings, who, in_use)
    show_history(settings, who, in_use)
    show_versions(settings, in_use)


def _version_in_use(settings: Settings) -> str | None:
    """Return the version in use and draw warnings about it; None when it is unknown."""
    if settings.classifier:
        _warn(
            f"The version in use is fixed to {settings.classifier}.",
            "Remove the setting PNEUMOLENS_CLASSIFIER to promote versions here.",
        )
    try:
        version = active_version(settings)
    except ClassifierError as error:
        return _serving_instead(settings, error)
    try:
        serving, refused = serving_version(settings)
    except ClassifierError as error:
        _warn("No version is usable.", error.advice)
        return version
    if refused is not None:
        _warn(refused.advice, f"{serving} remains in use until another version is promoted.")
    return version


def _serving_instead(settings: Settings, error: ClassifierError) -> str | None:
    """Draw that the version in use is not on record, and return the one that is used; promoting one repairs it."""
    try:
        serving, _ = serving_version(settings)
    except ClassifierError:
        _warn("The version in use is unknown.", error.advice)
        return None
    _warn("The version in use is unknown.", f"{error.advice} Until then {serving} is used.")
    return serving


def _show_decision(settings: Settings, who: str, run_id: str, in_use: str | None) -> None:
    folder = candidate.run_of(settings, run_id)
    version = None if folder is None else made_version(folder)
    if folder is None:
        _title("Decide", "No training is selected. Earlier decisions are listed below.")
    elif version is None:
        _title(
            "Decide",
            "This training has not produced a version yet. Decide on it after it has been compared with the classifier "
            "in use.",
        )
    elif version == in_use and _is_on_record(settings):
        _title(
            f"{version} is in use",
            "Check it on a few radiographs and on the Performance page. Roll back below if necessary.",
        )
    elif in_use is not None:
        show_promotion(settings, who, folder, version, in_use)


def _is_on_record(settings: Settings) -> bool:
    try:
        active_version(settings)
    except ClassifierError:
        return False
    return True


def _title(title: str, note: str) -> None:
    st.html(f'<h2 class="pl-title">{escape(title)}</h2><p class="pl-note">{escape(note)}</p>')


def _warn(strong: str, words: str) -> None:
    st.html(f'<section class="pl-warning"><p><strong>{escape(strong)}</strong></p><p>{escape(words)}</p></section>')


def show_promotion(settings: Settings, who: str, folder: Path, version: str, in_use: str) -> None:
    """Draw the rules and the button that promotes `version` in place of `in_use`."""
    rules = _rules(settings, folder, version, in_use)
    blocked = version != in_use and promotion.is_blocked(rules)  # the same again only puts it on record
    _title(
        f"Promote {version}?",
        f"In use: {in_use}." + ("" if blocked else f" All rules are met. {_AT_ONCE}"),
    )
    show_rules(rules)
    # Fixed while the page is drawn: if somebody promotes another version meanwhile, the decision is refused.
    decision = (settings, who, folder, version, in_use, promotion.broken(rules))
    st.button(
        f"Promote {version}",
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
        _show_override(decision, disabled=bool(settings.classifier))


def _show_recalibrated(settings: Settings, who: str, in_use: str | None) -> None:
    """Draw the promotion of a recalibrated version, which no comparison on held-out radiographs precedes."""
    version = recalibrations.read_recalibration(settings).made
    if in_use is None or version in ("", in_use) or version not in list_versions(settings):
        return
    folder = recalibrations.folder_of(settings)
    unmet = promotion.broken(_rules(settings, folder, version, in_use))
    with st.expander(f"Promote {version}"), st.form("decide.recalibrated", border=False):
        st.html(
            f'<p class="pl-note">{escape(version)} has the network of its parent, so the rules on a comparison with '
            "held-out radiographs are not met; the figures above are what there is. The reason, your user name and the "
            f"{len(unmet)} overridden rules are kept in the history permanently. {_AT_ONCE}</p>"
        )
        st.text_area(
            "Reason",
            key=_RECALIBRATED,
            max_chars=2000,
            help=f"At least {promotion.REASON_CHARACTERS} characters. Do not enter patient data.",
        )
        st.form_submit_button(
            f"Override and promote {version}",
            key="decide.recalibrated.go",
            on_click=_override,
            args=(settings, who, folder, version, in_use, unmet, _RECALIBRATED),
            disabled=bool(settings.classifier),
        )


def _rules(settings: Settings, folder: Path, version: str, in_use: str) -> tuple[Rule, ...]:
    if version == in_use:  # promoted again, since it is not on record
        return ()
    return promotion.check(
        load_card(settings, version),
        load_card(settings, in_use),
        candidate.read_comparison(folder).result,
        candidate.run_audit(folder),
    )


def show_rules(rules: tuple[Rule, ...]) -> None:
    """Draw the rules with their state; unmet rules come first, outlined."""
    unmet, met = ([rule for rule in rules if rule.passed is passed] for passed in (False, True))
    if unmet:
        count = "One rule is" if len(unmet) == 1 else f"{len(unmet)} rules are"
        st.html(
            f'<section class="pl-warning"><p><strong>{count} not met. Promotion is blocked.'
            f"</strong></p>{_rule_table(unmet)}</section>"
        )
    if met:
        st.html(_rule_table(met))


def _rule_table(rules: list[Rule]) -> str:
    return (
        '<table class="pl-facts">'
        + "".join(
            f"<tr><th>{MET if rule.passed else NOT_MET}</th><td>{escape(rule.name)}</td>"
            f"<td>{escape(rule.sentence)}</td></tr>"
            for rule in rules
        )
        + "</table>"
    )


def _show_override(decision: tuple[Settings, str, Path, str, str, tuple[str, ...]], disabled: bool) -> None:
    version, unmet = decision[3], decision[5]
    with st.expander("Override"), st.form("decide.override", border=False):
        st.html(
            f'<p class="pl-note">Promote {escape(version)} although {len(unmet)} '
            f"{'rule is' if len(unmet) == 1 else 'rules are'} not met. The reason, your user name and the overridden "
            "rules are kept in the history permanently.</p>"
        )
        st.text_area(
            "Reason",
            key=_REASON,
            max_chars=2000,
            help=f"At least {promotion.REASON_CHARACTERS} characters. Do not enter patient data.",
        )
        st.form_submit_button(
            f"Override and promote {version}",
            key="decide.override.go",
            on_click=_override,
            args=decision,
            disabled=disabled,
        )


@guarded
def _promote(settings: Settings, who: str, folder: Path, version: str, in_use: str, unmet: tuple[str, ...]) -> None:
    _promote_version(settings, who, folder, version, in_use, unmet)


def _promote_version(
    settings: Settings,
    who: str,
    folder: Path,
    version: str,
    in_use: str,
    unmet: tuple[str, ...],
    why: str = "All rules were met.",
) -> bool:
    """Promote a version, unless more rules are unmet than when the page was drawn; return whether it was promoted."""
    try:
        with visitor.noted(settings, "promote", version):
            now_unmet = promotion.broken(_rules(settings, folder, version, in_use))
            if not set(now_unmet) <= set(unmet):
                raise ClassifierError(
                    f"expected the same unmet rules as on the page. Received: {', '.join(now_unmet)}",
                    advice="The evaluation of this version has changed. Review the rules again.",
                )
            promote(settings, version, who=who, why=why, overruled=now_unmet, expected=in_use)
    except AppError as error:
        _keep_message(error.advice, str(error), is_warning=True)
        return False
    _keep_message(f"{version} is in use.", f"{_AT_ONCE} {in_use} is kept; you can roll back to it below.")
    return True


@guarded
def _override(
    settings: Settings, who: str, folder: Path, version: str, in_use: str, unmet: tuple[str, ...], key: str = _REASON
) -> None:
    why = str(st.session_state.get(key, "")).strip()
    if not promotion.is_reason(why):
        _keep_message(
            "Nothing was changed.",
            f"Enter a reason of at least {promotion.REASON_CHARACTERS} characters.",
            is_warning=True,
        )
        return
    if _promote_version(settings, who, folder, version, in_use, unmet, why):
        st.session_state[key] = ""


@guarded
def _roll_back(settings: Settings, who: str, in_use: str | None) -> None:
    try:
        with visitor.noted(settings, "rollback", previous_version(settings) or ""):
            done = rollback(settings, who=who, expected=in_use)
    except AppError as error:
        _keep_message(error.advice, str(error), is_warning=True)
    else:
        _keep_message(f"{done.version} is in use again.", _AT_ONCE)


def _keep_message(strong: str, words: str, is_warning: bool = False) -> None:
    """Keep a message for the next run of the page."""
    st.session_state[_MESSAGE] = (strong, words, is_warning)


def _show_message() -> None:
    if message := st.session_state.pop(_MESSAGE, None):
        strong, words, is_warning = message
        if is_warning:
            _warn(strong, words)
        else:
            st.html(
                f'<section class="pl-about" role="status"><h2>{escape(strong)}</h2><p>{escape(words)}</p></section>'
            )


def show_history(settings: Settings, who: str, in_use: str | None) -> None:
    """Draw the history of promotions, newest first, and the rollback button."""
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
        st.html(f'<p class="pl-note">No promotions yet. Initial version: {escape(in_use or "none")}.</p>')
        return
    rows = "".join(_history_row(one) for one in reversed(history))
    st.html(
        '<div class="pl-wide"><table class="pl-facts"><tr><th>Time (UTC)</th><th>User</th><th>Action</th>'
        f"<th>Reason</th></tr>{rows}</table></div>"
    )


def _history_row(one: Promotion) -> str:
    what = f"{_ACTS.get(one.act, one.act)} {one.version}"
    if one.previous and one.previous != one.version:
        what += f", replacing {one.previous}"
    why = one.why + (f" Overridden: {', '.join(one.overruled)}." if one.overruled else "")
    cells = (one.at[:16].replace("T", " "), one.who, what, why or "–")
    return "<tr>" + "".join(f"<td>{escape(cell.strip())}</td>" for cell in cells) + "</tr>"


def show_versions(settings: Settings, in_use: str | None) -> None:
    """Draw all versions with their measures, newest first."""
    with st.expander("All versions"):
        rows = "".join(_version_row(settings, version, in_use) for version in reversed(list_versions(settings)))
        st.html(
            '<div class="pl-wide"><table class="pl-table"><tr><th>Version</th><th>Evaluated on</th><th>AUROC</th>'
            f"<th>Sensitivity</th><th>Specificity</th><th>Calibration error</th></tr>{rows}</table></div>"
            '<p class="pl-note">Versions were evaluated on different radiographs. Use Compare to compare two '
            "versions.</p>"
        )


def _version_row(settings: Settings, version: str, in_use: str | None) -> str:
    head = f"<tr><th>{escape(version)}<span>{'in use' if version == in_use else ''}</span></th>"
    folder = version_folder(settings, version)
    return f"{head}{_measures_of(str(folder), file_cache.file_state(folder / CARD))}</tr>"


@st.cache_data(max_entries=512, show_spinner=False)
def _measures_of(folder: str, state: tuple[int, ...]) -> str:  # noqa: ARG001 (part of the cache's key)
    """Return the table cells of a version; a model card is tens of kilobytes, and there may be many versions."""
    try:
        card = read_card(Path(folder))
    except ClassifierError:
        return '<td colspan="5">Model card unreadable.</td>'
    name = _evaluated_on(card)
    if name is None:
        return '<td colspan="5">Not evaluated.</td>'
    found = card.evaluations[name]
    return f"<td>{escape(split_name(name))}, n = {found.n}</td>" + "".join(
        f"<td>{format_estimate(found.measures[key], 3)}</td>" for key in _FIGURES
    )


def _evaluated_on(card: ModelCard) -> str | None:
    return next((name for name in ("test", "validation", *card.evaluations) if name in card.evaluations), None)

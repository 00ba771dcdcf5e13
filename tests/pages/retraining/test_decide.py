"""The decision in each of its states: what the gate says, what a press does, and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from model.card import ModelCard
from model.promotions import promote, promotions
from model.registry import active_version, add_version, read_card
from tests.comparisons import LABELS, NEW, OLD, RUN, a_card, a_run, install, well_calibrated, write_result
from tests.pages.retraining.test_compare import open_step, text
from training.data.audit import Issue

REASON = "The radiologists read all twelve films and agree."
THIRD = "2026.01.03-1"


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step stands behind the guard, which has tests of its own."""
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation with two versions, the older one in use."""
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("PNEUMOLENS_CLASSIFIER", raising=False)
    return install(tmp_path)


def less_sensitive() -> np.ndarray:
    p = well_calibrated()
    p[np.flatnonzero(LABELS)[:6]] = 0.45
    return p


def blocked_run(settings: Settings) -> Path:
    run = a_run(settings)
    write_result(settings, run, less_sensitive())
    return run


def override(app: AppTest, reason: str) -> AppTest:
    app.text_area(key="decide.reason").set_value(reason)
    return app.button(key="decide.override.go").click().run()


@pytest.mark.usefixtures("settings")
def test_without_a_run_the_history_and_the_versions_can_be_read() -> None:
    app = open_step("decide", "")
    assert not app.exception
    said = text(app)
    assert "No training is selected" in said and "installer" in said and f"Promoted {OLD}" in said
    assert [button.label for button in app.button] == [], "there is nothing to go back to"
    for version in (OLD, NEW):
        assert f"<th>{version}" in said
    assert "Validation, n = 120" in said and "1.000 (1.000–1.000)" not in said


def test_nothing_decided_yet_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "shipped"
    add_version(shipped, a_card(OLD), lambda path: path.write_text("w"))
    (shipped / "active.json").write_text(json.dumps({"version": OLD}))
    settings = Settings(tmp_path, shipped_weights=shipped)
    monkeypatch.setattr("pages.shared.installation.settings", lambda: settings)
    said = text(open_step("decide", ""))
    assert f"No promotions yet. Initial version: {OLD}." in said


def test_a_run_without_a_version_cannot_be_decided_on(settings: Settings) -> None:
    a_run(settings, None)
    app = open_step("decide")
    assert not app.exception and "has not produced a version yet" in text(app) and not app.button


def test_without_a_comparison_the_button_is_shut_and_the_way_is_shown(settings: Settings) -> None:
    a_run(settings)
    app = open_step("decide")
    assert not app.exception
    assert f"{NEW} has not been compared with {OLD}; run the comparison first." in text(app)
    assert app.button(key="decide.promote").disabled
    app = app.button(key="decide.compare").click().run()
    assert app.query_params["step"] == "compare" and app.query_params["run"] == RUN


def test_a_press_puts_it_into_service_when_all_rules_are_met(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    app = open_step("decide")
    assert not app.exception
    button = app.button(key="decide.promote")
    assert button.label == f"Promote {NEW}" and not button.disabled
    said = text(app)
    assert "All rules are met." in said and said.count("<th>met</th>") == 11 and "pl-warning" not in said
    assert not app.text_area
    app = button.click().run()
    assert not app.exception
    assert active_version(settings) == NEW
    last = promotions(settings)[-1]
    assert (last.who, last.version, last.previous, last.overruled, last.act) == (
        "administrator",
        NEW,
        OLD,
        (),
        "promote",
    )
    assert last.why == "All rules were met."
    said = text(app)
    assert f"{NEW} is in use." in said and f"Promoted {NEW}, replacing {OLD}" in said
    assert "immediately on every open page" in said
    again = app.run()
    assert f"<h2>{NEW} is in use.</h2>" not in text(again), "said once"
    assert f"{NEW} is in use" in text(again) and f"Roll back to {OLD}" in [b.label for b in again.button]


def test_blocked_says_which_rule_and_why_and_is_shut(settings: Settings) -> None:
    blocked_run(settings)
    app = open_step("decide")
    assert not app.exception
    said = text(app)
    assert "One rule is not met" in said and "<th>not&nbsp;met</th><td>Sensitivity not lower</td>" in said
    assert "Sensitivity 0.900 against 1.000" in said
    assert app.button(key="decide.promote").disabled
    assert app.button(key="decide.override.go").label == f"Override and promote {NEW}"


@pytest.mark.parametrize("reason", ["", "because", " " * 30, "a" + " " * 30 + "b"])
def test_overruling_needs_a_reason(settings: Settings, reason: str) -> None:
    blocked_run(settings)
    app = override(open_step("decide"), reason)
    assert not app.exception
    assert active_version(settings) == OLD and "of at least 20 characters" in text(app)
    assert len(promotions(settings)) == 1


def test_a_reason_overrules_and_stays_in_the_history(settings: Settings) -> None:
    blocked_run(settings)
    app = override(open_step("decide"), f"  {REASON} <b>  ")
    assert not app.exception
    assert active_version(settings) == NEW
    last = promotions(settings)[-1]
    assert (last.why, last.overruled) == (f"{REASON} <b>", ("Sensitivity not lower",))
    said = text(app)
    assert f"{REASON} &lt;b&gt; Overridden: Sensitivity not lower." in said
    assert not app.text_area, "there is nothing left to decide"


def test_a_dirty_audit_blocks(settings: Settings) -> None:
    run = a_run(settings, NEW, Issue("DUPLICATE_ACROSS_SPLITS", False, "2 groups <in two> splits."))
    write_result(settings, run)
    app = open_step("decide")
    assert "2 groups &lt;in two&gt; splits." in text(app) and app.button(key="decide.promote").disabled
    (run / "audit.json").unlink()
    assert "2 rules are not met" in text(open_step("decide"))


def test_two_administrators_cannot_overwrite_each_other(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    add_version(settings.versions_dir, a_card(THIRD), lambda path: path.write_text(THIRD))
    app = open_step("decide")
    promote(settings, THIRD, who="the other one", expected=OLD)
    app = app.button(key="decide.promote").click().run()
    assert not app.exception
    assert active_version(settings) == THIRD
    said = text(app)
    assert "Another administrator changed the version in use." in said
    assert f"is one of {NEW} with {OLD}, but {THIRD} is in use now; compare again" in said
    assert app.button(key="decide.promote").disabled


def test_what_has_become_worse_since_the_page_was_drawn_is_not_overruled_unseen(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    app = open_step("decide")
    write_result(settings, run, less_sensitive())
    app = app.button(key="decide.promote").click().run()
    assert active_version(settings) == OLD and "The evaluation of this version has changed." in text(app)


def test_damaged_weights_are_refused_by_name(settings: Settings) -> None:
    run = a_run(settings)
    write_result(settings, run)
    (settings.versions_dir / NEW / "classifier.npz").write_text("other")
    app = open_step("decide")
    app = app.button(key="decide.promote").click().run()
    assert not app.exception
    assert active_version(settings) == OLD and f"The weights of version {NEW} were changed or damaged" in text(app)


def test_one_press_rolls_back(settings: Settings) -> None:
    a_run(settings)
    promote(settings, NEW, who="administrator", why=REASON, expected=OLD)
    app = open_step("decide")
    assert f"{NEW} is in use" in text(app)
    app = app.button(key="decide.rollback").click().run()
    assert not app.exception
    assert active_version(settings) == OLD
    last = promotions(settings)[-1]
    assert (last.act, last.who, last.version, last.previous) == ("rollback", "administrator", OLD, NEW)
    said = text(app)
    assert f"{OLD} is in use again." in said and f"Rolled back to {OLD}, replacing {NEW}" in said


def test_a_roll_back_that_somebody_else_has_done_is_not_done_twice(settings: Settings) -> None:
    promote(settings, NEW, who="administrator", expected=OLD)
    app = open_step("decide", "")
    add_version(settings.versions_dir, a_card(THIRD), lambda path: path.write_text(THIRD))
    promote(settings, THIRD, who="the other one")
    app = app.button(key="decide.rollback").click().run()
    assert active_version(settings) == THIRD and "Another administrator changed the version in use." in text(app)


def test_a_damaged_version_in_use_can_be_left_from_here(settings: Settings) -> None:
    promote(settings, NEW, who="administrator", expected=OLD)
    (settings.versions_dir / NEW / "classifier.npz").write_text("flipped")
    app = open_step("decide", "")
    assert not app.exception
    said = text(app)
    assert f"The weights of version {NEW} were changed or damaged" in said and f"{OLD} remains in use" in said
    app = app.button(key="decide.rollback").click().run()
    assert not app.exception and active_version(settings) == OLD and "remains in use" not in text(app)


def test_a_damaged_pointer_can_be_mended_from_here(settings: Settings) -> None:
    promote(settings, NEW, who="administrator", expected=OLD)
    (settings.data_dir / "active.json").write_text("{")
    app = open_step("decide")
    assert not app.exception and "The version in use is unknown." in text(app)
    app = app.button(key="decide.rollback").click().run()
    assert not app.exception and active_version(settings) == OLD


def test_the_version_that_is_used_can_be_promoted_again_where_the_record_is_missing(settings: Settings) -> None:
    write_result(settings, a_run(settings))
    promote(settings, NEW, who="administrator", expected=OLD)
    (settings.data_dir / "active.json").unlink()
    app = open_step("decide")
    assert not app.exception and f"Until then {NEW} is used." in text(app)
    app = app.button(key="decide.promote").click().run()
    assert not app.exception and active_version(settings) == NEW and "is unknown" not in text(app)
    assert promotions(settings)[-1].previous == NEW


def test_a_version_that_the_settings_pin_cannot_be_replaced_here(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(settings)
    write_result(settings, run)
    monkeypatch.setenv("PNEUMOLENS_CLASSIFIER", OLD)
    app = open_step("decide")
    assert not app.exception
    assert "PNEUMOLENS_CLASSIFIER" in text(app) and app.button(key="decide.promote").disabled


def test_a_version_with_a_damaged_card_is_listed_as_such(settings: Settings) -> None:
    (settings.versions_dir / NEW / "card.json").write_text("{")
    add_version(settings.versions_dir, a_card(THIRD, evaluations={}), lambda path: path.write_text(THIRD))
    app = open_step("decide", "")
    assert not app.exception
    assert "Model card unreadable." in text(app) and "Not evaluated." in text(app)


def test_cards_are_read_again_only_when_they_change(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(folder: Path) -> ModelCard:
        read.append(folder.name)
        return read_card(folder)

    monkeypatch.setattr("pages.retraining.decide.read_card", counting)
    app = open_step("decide", "").run()
    assert not app.exception and sorted(read) == [OLD, NEW]
    card = settings.versions_dir / NEW / "card.json"
    card.write_text(card.read_text() + " ")
    app.run()
    assert sorted(read) == [OLD, NEW, NEW]

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import pneumolens
from core.errors import ClassifierError
from core.settings import SHIPPED_WEIGHTS, Settings
from model.decisions import ACTIVE, COPY, HISTORY
from model.promotions import change_card, promote, promotions, rollback, serving_version, verified
from model.registry import active_version, file_sha256, load_card
from tests import ROOT
from tests.commands import environment
from tests.model import test_promotions
from tests.model.test_promotions import FIRST, A, B, C
from tests.pages.performance.test_performance import text

NESTED = "[" * 100_000
settings = test_promotions.settings


def set_operating_point(settings: Settings, version: str) -> None:
    """Change the card as somebody with an editor would, so that hardly anything is found."""
    path = settings.versions_dir / version / "card.json"
    values = json.loads(path.read_text())
    values["operating_point"] |= {"probability": 0.99, "near_low": 0.98, "near_high": 1.0}
    path.write_text(json.dumps(values))


def test_a_decision_holds_the_digests_of_the_files(settings: Settings) -> None:
    folder = settings.versions_dir / A
    expected = {name: file_sha256(folder / name) for name in ("card.json", "classifier.npz")}
    assert promote(settings, A, who="a test").digests == expected
    assert json.loads((settings.data_dir / ACTIVE).read_text())["decision"]["digests"] == expected
    assert json.loads((settings.data_dir / HISTORY).read_text())["digests"] == expected


def test_a_changed_card_is_refused_by_name_and_the_last_good_version_serves(settings: Settings) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    set_operating_point(settings, B)
    serving, refused = serving_version(settings)
    assert serving == A and refused is not None
    assert refused.advice == f"The card of version {B} was changed or damaged and will not be used."
    for load in (lambda: verified(settings, B), lambda: pneumolens.load_active(settings)):
        with pytest.raises(ClassifierError, match=B):
            load()
    set_operating_point(settings, A)
    assert serving_version(settings)[0] == FIRST
    for act in (lambda: promote(settings, B, who="a test"), lambda: rollback(settings, who="a test")):
        with pytest.raises(ClassifierError, match="card of"):
            act()


def test_a_command_refuses_a_changed_card_too(settings: Settings) -> None:
    promote(settings, B, who="a test")
    set_operating_point(settings, B)
    done = subprocess.run(
        [sys.executable, "-m", "training", "promote", B],
        cwd=ROOT,
        env=environment(settings.data_dir),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and f"The card of version {B} was changed" in done.stderr


def test_a_card_that_is_changed_by_command_keeps_its_version_in_use(settings: Settings) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    for version in (A, B, B):
        card = load_card(settings, version)
        change_card(settings, dataclasses.replace(card, notes=(*card.notes, "seen again")), who="Ada", why="robustness")
    assert serving_version(settings) == (B, None) and active_version(settings) == B
    assert load_card(settings, B).notes == ("seen again", "seen again")
    assert [(one.act, one.version, one.who) for one in promotions(settings)[2:]] == [
        ("card", A, "Ada"),
        ("card", B, "Ada"),
        ("card", B, "Ada"),
    ]
    assert rollback(settings, who="a test").version == A
    set_operating_point(settings, A)
    with pytest.raises(ClassifierError, match=A):
        change_card(settings, load_card(settings, A), who="Ada", why="what somebody else changed")


def test_killed_between_record_and_card_the_version_stays_in_use(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promote(settings, B, who="a test")
    card = load_card(settings, B)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("model.promotions.write_atomically", full)
        with pytest.raises(OSError, match="No space"):
            change_card(settings, dataclasses.replace(card, notes=("more",)), who="Ada", why="robustness")
    assert serving_version(settings) == (B, None)
    change_card(settings, dataclasses.replace(card, notes=("more",)), who="Ada", why="robustness")
    assert serving_version(settings) == (B, None) and load_card(settings, B).notes == ("more",)


def test_decisions_without_digests_are_read_and_do_not_refuse(settings: Settings) -> None:
    promote(settings, B, who="a test")
    for path in (settings.data_dir / ACTIVE, settings.data_dir / HISTORY):
        values = json.loads(path.read_text())
        values.get("decision", values).pop("digests")
        values.pop("history", None)
        path.write_text(json.dumps(values) + "\n")
    (settings.data_dir / COPY).unlink()
    set_operating_point(settings, B)
    assert serving_version(settings) == (B, None)


def delete(settings: Settings) -> None:
    (settings.data_dir / ACTIVE).unlink()


def name_another(settings: Settings) -> None:
    (settings.data_dir / ACTIVE).write_text(json.dumps({"version": A}))


def put_an_older_one_back(settings: Settings) -> None:
    decision = dataclasses.asdict(promotions(settings)[0])
    (settings.data_dir / ACTIVE).write_text(json.dumps({"version": A, "decision": decision}))


def change_digests(settings: Settings) -> None:
    values = json.loads((settings.data_dir / ACTIVE).read_text())
    values["decision"]["digests"]["card.json"] = "0" * 64
    (settings.data_dir / ACTIVE).write_text(json.dumps(values))


def nest(settings: Settings) -> None:
    (settings.data_dir / ACTIVE).write_text(NESTED)


def give_it_another_type(settings: Settings) -> None:
    (settings.data_dir / ACTIVE).write_text('{"version": ["' + B + '"], "decision": {}}')


@pytest.mark.parametrize(
    "change", [delete, name_another, put_an_older_one_back, change_digests, nest, give_it_another_type]
)
def test_pointer_and_history_that_disagree_are_said_and_promoting_repairs(settings: Settings, change) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    change(settings)
    serving, refused = serving_version(settings)
    assert serving == B, "what the history says last, not what ships"
    assert refused is not None and "promote a classifier again" in refused.advice
    with pytest.raises(ClassifierError):
        active_version(settings)
    promote(settings, B, who="a test", expected=serving)
    assert serving_version(settings) == (B, None) and promotions(settings)[-1].previous == B


def delete_history(settings: Settings) -> None:
    (settings.data_dir / HISTORY).unlink()


def delete_both(settings: Settings) -> None:
    delete(settings)
    delete_history(settings)


def cut_the_history_short(settings: Settings) -> None:
    lines = (settings.data_dir / HISTORY).read_text().splitlines(keepends=True)
    (settings.data_dir / HISTORY).write_text(lines[-1])


def cut_off_its_end(settings: Settings) -> None:
    """With a pointer that agrees."""
    first = promotions(settings)[0]
    (settings.data_dir / HISTORY).write_text(json.dumps(dataclasses.asdict(first)) + "\n")
    (settings.data_dir / ACTIVE).write_text(json.dumps({"version": A, "decision": dataclasses.asdict(first)}))


def change_a_reason(settings: Settings) -> None:
    path = settings.data_dir / HISTORY
    path.write_text(path.read_text().replace("the first", "another"))


def take_the_digests_away(settings: Settings) -> None:
    for path in (settings.data_dir / ACTIVE, settings.data_dir / HISTORY):
        decisions = [json.loads(line) for line in path.read_text().splitlines()]
        for one in decisions:
            one.get("decision", one).pop("digests")
        path.write_text("".join(json.dumps(one) + "\n" for one in decisions))


@pytest.mark.parametrize(
    ("change", "serves"),
    [
        (delete_history, B),
        (delete_both, B),
        (cut_the_history_short, B),
        (cut_off_its_end, A),  # pointer and history agree; the copy alone says otherwise
        (change_a_reason, B),
        (take_the_digests_away, B),
    ],
)
def test_a_history_that_is_deleted_cut_short_or_changed_is_said(settings: Settings, change, serves: str) -> None:
    promote(settings, A, who="a test", why="the first")
    promote(settings, B, who="a test")
    change(settings)
    serving, refused = serving_version(settings)
    assert serving == serves and refused is not None and "promote a classifier again" in refused.advice
    with pytest.raises(ClassifierError):
        active_version(settings)
    promote(settings, B, who="a test", expected=serving)
    assert serving_version(settings) == (B, None) and promotions(settings)[-1].previous == serves
    card = load_card(settings, B)
    change_card(settings, dataclasses.replace(card, notes=("seen",)), who="Ada", why="robustness")
    assert serving_version(settings) == (B, None)
    delete_history(settings)
    assert serving_version(settings)[1] is not None


def test_what_remains_of_the_records_still_protects_the_card(settings: Settings) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    delete_both(settings)
    set_operating_point(settings, B)
    assert serving_version(settings)[0] != B
    with pytest.raises(ClassifierError, match=f"card of {B}"):
        verified(settings, B)


@pytest.mark.parametrize("content", ["null", NESTED, '{"version": "2026\\ud800"}'])
def test_a_copy_that_is_no_record_is_said_and_promoting_repairs(settings: Settings, content: str) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    (settings.data_dir / COPY).write_text(content)
    serving, refused = serving_version(settings)
    assert serving == B and refused is not None and "record of the version" in refused.advice
    promote(settings, B, who="a test", expected=serving)
    assert serving_version(settings) == (B, None)


def test_a_fresh_data_folder_has_nothing_missing(tmp_path: Path, settings: Settings) -> None:
    assert serving_version(settings) == (FIRST, None)
    assert serving_version(Settings(tmp_path / "new", shipped_weights=settings.shipped_weights)) == (FIRST, None)


@pytest.mark.parametrize("written", [(), (ACTIVE,), (ACTIVE, HISTORY)])
def test_a_decision_that_was_interrupted_is_no_missing_history(settings: Settings, written: tuple[str, ...]) -> None:
    promote(settings, A, who="a test")
    before = {one: (settings.data_dir / one).read_bytes() for one in (ACTIVE, HISTORY, COPY)}
    promote(settings, B, who="a test")
    for one, content in before.items():
        if one not in written:
            (settings.data_dir / one).write_bytes(content)
    assert serving_version(settings) == ((B if written else A), None)
    promote(settings, C, who="a test")
    assert serving_version(settings) == (C, None) and len(promotions(settings)) == 2 + bool(written)


def test_every_reader_is_told_and_the_page_is_not_empty(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promote(settings, A, who="a test")
    page = """
from pages.shared import classifiers
import streamlit as st
classifiers.show_refused()
st.html("the page")
"""
    monkeypatch.setattr("pages.shared.installation.settings", lambda: settings)
    for change, words in (
        (delete, "is missing"),
        (delete_history, "are missing"),
        (nest, "promote a classifier again"),
    ):
        change(settings)
        app = AppTest.from_string(page, default_timeout=60).run()
        assert not app.exception and "the page" in text(app)
        assert words in text(app) and f"Version {A} is used in its place" in text(app)


@pytest.mark.parametrize("version", ["2026\ud800", "9" * 3_000_000, "../A", "", "a\0b"])
def test_a_pointer_to_what_is_no_name_is_damaged_and_not_a_broken_page(settings: Settings, version: str) -> None:
    """Half a character has no UTF-8, and a name of 30 MB is more than a page may send: no page was drawn at all."""
    (settings.data_dir / ACTIVE).write_text(json.dumps({"version": version}))
    serving, refused = serving_version(settings)
    assert serving == FIRST and refused is not None
    assert f"{refused}{refused.advice}".isascii() and len(f"{refused}{refused.advice}") < 1_000


def test_a_pointer_is_not_read_whole_whatever_its_size(settings: Settings) -> None:
    path = settings.data_dir / ACTIVE
    path.write_text(json.dumps({"version": A, "more": "x" * 900_000}))
    assert serving_version(settings) == (A, None)
    path.write_text(json.dumps({"version": A, "more": "x" * 1_100_000}))
    assert serving_version(settings)[0] == FIRST


@pytest.mark.parametrize("change", [{"who": "\ud800"}, {"why": "y" * 200_000}, {"version": "../A"}])
def test_a_decision_that_no_page_can_show_is_skipped(settings: Settings, change: dict[str, str]) -> None:
    promote(settings, A, who="a test")
    path = settings.data_dir / HISTORY
    path.write_text(path.read_text() + json.dumps({**json.loads(path.read_text()), **change}) + "\n")
    assert len(promotions(settings)) == 1 and serving_version(settings) == (A, None)


def test_the_shipped_version_is_that_of_the_repository(tmp_path: Path) -> None:
    here = Settings(tmp_path)
    version = active_version(here)
    fixed = json.loads((SHIPPED_WEIGHTS / ACTIVE).read_text())["digests"]
    assert fixed == {name: file_sha256(SHIPPED_WEIGHTS / version / name) for name in fixed}
    assert set(fixed) == {"card.json", "classifier.npz", "population.npz"}
    # A folder of the same name in the data folder does not stand in for it.
    stand_in = here.versions_dir / version
    stand_in.mkdir(parents=True)
    for name in fixed:
        (stand_in / name).write_bytes((SHIPPED_WEIGHTS / version / name).read_bytes())
    assert serving_version(here) == (version, None)
    set_operating_point(here, version)
    with pytest.raises(ClassifierError, match="card of"):
        serving_version(here)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: NESTED,
        lambda values: values | {"sha256": 5},
        lambda values: values | {"version": None},
        lambda values: values | {"training": []},
        lambda values: values | {"limitations": [1]},
        lambda values: values | {"history": ["x"]},
        lambda values: values | {"parameters": "many"},
        lambda values: values | {"operating_point": values["operating_point"] | {"probability": 10**400}},
        lambda values: values | {"operating_point": values["operating_point"] | {"chosen": []}},
        lambda values: values | {"calibration": {"temperature": True}},
    ],
)
def test_a_card_of_other_types_is_damaged_and_not_a_broken_page(settings: Settings, change) -> None:
    path = settings.versions_dir / A / "card.json"
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(ClassifierError, match="expected a model card"):
        load_card(settings, A)

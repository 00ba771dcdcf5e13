from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import model.promotions
from core.errors import ClassifierError
from core.settings import Settings
from model.decisions import ACTIVE, HISTORY
from model.promotions import previous_version, promote, promotions, rollback, serving_version
from model.registry import active_version, add_version
from tests import ROOT
from tests.model.test_registry import add, card

FIRST, A, B, C = "2026.11.1-1", "2026.11.2-1", "2026.11.3-1", "2026.11.4-1"
# What another process does, with the settings' two folders as its arguments.
START = """
import os, sys, pathlib
import model.promotions
from model.promotions import promote, rollback
from core.settings import Settings
settings = Settings(pathlib.Path(sys.argv[1]), shipped_weights=pathlib.Path(sys.argv[2]))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shipped = tmp_path / "shipped"
    add_version(shipped, card(FIRST), lambda path: path.write_bytes(b"first"))
    (shipped / ACTIVE).write_text(json.dumps({"version": FIRST}))
    made = Settings(tmp_path / "data", shipped_weights=shipped)
    for version in (A, B, C):
        add(made, version)
    return made


def process(settings: Settings, code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START + code, str(settings.data_dir), str(settings.shipped_weights), *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(settings: Settings, version: str) -> Path:
    return settings.versions_dir / version / "classifier.npz"


def flip(path: Path) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_the_history_says_who_when_why_and_what_was_overruled(settings: Settings) -> None:
    assert promotions(settings) == () and previous_version(settings) is None
    before = datetime.now(UTC)
    first = promote(settings, A, who="Ada", why="better on <outside> films", overruled=("sensitivity",), expected=FIRST)
    second = promote(settings, B, who="Grace")
    third = rollback(settings, who="Ada", why="too many false alarms")
    assert promotions(settings) == (first, second, third)
    assert (first.who, first.version, first.previous, first.why, first.overruled, first.act) == (
        "Ada",
        A,
        FIRST,
        "better on <outside> films",
        ("sensitivity",),
        "promote",
    )
    assert (third.version, third.previous, third.act) == (A, B, "rollback")
    times = [datetime.fromisoformat(one.at) for one in promotions(settings)]
    assert times == sorted(times) and (times[0] - before).total_seconds() > -1
    assert len((settings.data_dir / HISTORY).read_text().splitlines()) == 3


def test_going_back_goes_further_back_each_time_and_not_in_a_circle(settings: Settings) -> None:
    for version in (A, B, B, C):
        promote(settings, version, who="a test")
    seen = []
    while (version := previous_version(settings)) is not None:
        assert rollback(settings, who="a test").version == version == active_version(settings)
        seen.append(version)
    assert seen == [B, A, FIRST]
    with pytest.raises(ClassifierError, match="none was in use before"):
        rollback(settings, who="a test")
    promote(settings, C, who="a test")
    assert previous_version(settings) == FIRST


def test_a_decision_against_another_version_than_the_one_in_use_is_refused(settings: Settings) -> None:
    promote(settings, A, who="Ada", expected=FIRST)
    with pytest.raises(ClassifierError, match=A) as error:
        promote(settings, B, who="Grace", expected=FIRST)
    assert "Another administrator" in error.value.advice
    with pytest.raises(ClassifierError, match="meanwhile"):
        rollback(settings, who="Grace", expected=FIRST)
    assert active_version(settings) == A and len(promotions(settings)) == 1


def test_of_two_administrators_promoting_at_once_exactly_one_wins(settings: Settings) -> None:
    code = """
print("ready", flush=True)
sys.stdin.readline()
try:
    promote(settings, sys.argv[3], who=sys.argv[3], expected=sys.argv[4])
    print("won", flush=True)
except model.promotions.ClassifierError as error:
    print(error.advice, flush=True)
"""
    both = [process(settings, code, version, FIRST) for version in (A, B, C)]
    for one in both:
        assert one.stdout.readline() == "ready\n"
    for one in both:
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60)[0].strip() for one in both]
    assert said.count("won") == 1 and sum("Another administrator" in words for words in said) == 2
    winner = (A, B, C)[said.index("won")]
    assert active_version(settings) == winner
    assert [(one.who, one.version) for one in promotions(settings)] == [(winner, winner)]


def test_many_decisions_at_once_are_all_in_the_history(settings: Settings) -> None:
    code = "[promote(settings, sys.argv[3], who=f'{sys.argv[3]} {i}') for i in range(8)]"
    for one in [process(settings, code, version) for version in (A, B, C)]:
        assert one.communicate(timeout=60)[1] == "" and one.returncode == 0
    history = promotions(settings)
    assert sorted(one.who for one in history) == sorted(f"{version} {i}" for version in (A, B, C) for i in range(8))
    assert [one.previous for one in history[1:]] == [one.version for one in history[:-1]], "each saw the one before"


@pytest.mark.parametrize(
    ("where", "in_use", "known"),
    [
        ("verify", FIRST, []),
        ("write_atomically", FIRST, []),
        ("sync_folder", A, ["Ada"]),
        ("after the pointer", A, ["Ada"]),
        ("half a line", A, ["Ada"]),
    ],
)
def test_killed_at_any_moment_a_decision_is_whole_or_was_never_made(
    settings: Settings, where: str, in_use: str, known: list[str]
) -> None:
    code = """
where = sys.argv[4]
def die(*_, **__):
    os._exit(9)
def write_then_die(path, content, write=model.promotions.write_atomically):
    write(path, content)
    die()
def half_a_line(settings, decisions):
    if decisions:
        (settings.data_dir / "promotions.jsonl").write_bytes(b'{"at": "2026-')
        die()
if where == "after the pointer":
    model.promotions.write_atomically = write_then_die
elif where == "half a line":
    model.promotions._append = half_a_line
else:
    setattr(model.promotions, where, die)
promote(settings, sys.argv[3], who="Ada")
"""
    one = process(settings, code, A, where)
    assert one.communicate(timeout=60)[1] == "" and one.returncode == 9
    assert active_version(settings) == in_use
    assert [one.who for one in promotions(settings)] == known
    promote(settings, B, who="Grace", expected=in_use)
    assert [(one.who, one.previous) for one in promotions(settings)] == [
        *((name, FIRST) for name in known),
        ("Grace", in_use),
    ]
    written = [
        json.loads(line)
        for line in (settings.data_dir / HISTORY).read_text().splitlines()
        if line and not line.endswith("2026-")
    ]
    assert [line["who"] for line in written] == [*known, "Grace"], "the history itself was completed, once"


def test_a_full_disk_after_the_pointer_leaves_a_decision_that_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = model.promotions._append

    def full(_settings: Settings, decisions: tuple[object, ...]) -> None:
        if decisions:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.promotions, "_append", full)
    promote(settings, A, who="Ada")
    assert active_version(settings) == A and [one.who for one in promotions(settings)] == ["Ada"]
    with pytest.raises(OSError, match="No space"):
        promote(settings, B, who="Grace")
    assert active_version(settings) == A, "the next decision would lose the one that only the pointer knows"
    monkeypatch.setattr(model.promotions, "_append", write)
    promote(settings, B, who="Grace")
    assert [one.who for one in promotions(settings)] == ["Ada", "Grace"]


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_damaged_weights_are_refused_by_name_and_the_last_good_version_serves(settings: Settings, damage) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    promote(settings, C, who="a test")
    rollback(settings, who="a test")
    assert serving_version(settings) == (B, None)
    damage(weights(settings, B))
    serving, refused = serving_version(settings)
    assert serving == A, "not the one that was rolled back, although it was in use later"
    assert refused is not None and B in refused.advice
    assert active_version(settings) == B, "who was put into use is not changed by who serves"
    damage(weights(settings, A))
    assert serving_version(settings)[0] == FIRST
    with pytest.raises(ClassifierError, match=A):
        rollback(settings, who="a test")
    with pytest.raises(ClassifierError, match=B):
        promote(settings, B, who="a test")
    (settings.shipped_weights / FIRST / "classifier.npz").write_bytes(b"!")
    with pytest.raises(ClassifierError) as error:
        serving_version(settings)
    assert B in error.value.advice, "the one in use is named, not the last that was tried"


def test_a_damaged_card_or_pointer_is_refused_too_and_promoting_repairs(settings: Settings) -> None:
    promote(settings, A, who="a test")
    promote(settings, B, who="a test")
    (settings.versions_dir / B / "card.json").write_text("{")
    serving, refused = serving_version(settings)
    assert serving == A and refused is not None and B in refused.advice
    (settings.data_dir / ACTIVE).write_text("{")
    (settings.versions_dir / B / "card.json").write_text((settings.versions_dir / A / "card.json").read_text())
    serving, refused = serving_version(settings)
    assert serving == A and refused is not None and "damaged file" in str(refused)
    promote(settings, C, who="a test", expected=A)
    assert serving_version(settings) == (C, None)
    assert promotions(settings)[-1].previous == B
    (settings.data_dir / ACTIVE).write_text("[]")
    serving, refused = serving_version(settings)
    assert serving == C and refused is not None, "the last that was put into use serves on"


def test_the_setting_decides_what_serves_and_is_not_above_the_checksum(settings: Settings) -> None:
    promote(settings, A, who="a test")
    pinned = dataclasses.replace(settings, classifier=B)
    assert serving_version(pinned) == (B, None)
    promote(pinned, C, who="a test", expected=B)
    assert serving_version(pinned) == (B, None) and serving_version(settings) == (C, None)
    assert promotions(settings)[-1].previous == A
    flip(weights(settings, B))
    serving, refused = serving_version(pinned)
    assert serving == C and refused is not None and B in refused.advice


def test_lines_that_are_no_decisions_are_passed_over_and_never_rewritten(settings: Settings) -> None:
    promote(settings, A, who="Ada", why="line\nbreak   and more")
    path = settings.data_dir / HISTORY
    strange = path.read_bytes() + b'not json\n[1, 2]\n{"at": 1}\n\xff\xfe\n'
    path.write_bytes(strange)
    promote(settings, B, who="Grace")
    assert [one.who for one in promotions(settings)] == ["Ada", "Grace"]
    assert promotions(settings)[0].why == "line\nbreak   and more"
    assert path.read_bytes().startswith(strange)


def test_commands(settings: Settings) -> None:
    def run(*arguments: str, expect: int = 0) -> str:
        environ = os.environ | {"PNEUMOLENS_DATA_DIR": str(settings.data_dir)}
        done = subprocess.run(
            [sys.executable, "-m", "training", *arguments],
            cwd=ROOT,
            env=environ,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    why = "found more on our own films"
    assert "the one that ships with PneumoLens is in use" in run("history")
    refused = run("promote", A, expect=1)
    assert f"not met: Compared with the classifier in use. {A} has not been compared" in refused
    assert "--reason" in run("promote", A, "--force", expect=2)
    assert "at least 20 characters" in run("promote", A, "--force", "--reason", "sharper", expect=2)
    assert f"{A} is in use." in run("promote", A, "--force", "--reason", why)
    assert f"{B} is in use. Before: {A}." in run("promote", B, "--force", "--reason", why)
    assert f"{A} is in use. Before: {B}." in run("rollback", "--reason", "too many false alarms")
    lines = run("history").splitlines()
    assert len(lines) == 3 and f"promoted {B}  before: {A}" in lines[1] and f"reason: {why}" in lines[1]
    assert "overridden: Compared with the classifier in use" in lines[1]
    assert f"rolled back to {A}" in lines[2] and "(command line)" in lines[2]
    flip(weights(settings, B))
    assert f"weights of version {B} were changed" in run("promote", B, "--force", "--reason", why, expect=1)

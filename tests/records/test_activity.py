from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.errors import ClassifierError, DatasetError
from core.settings import SHIPPED_WEIGHTS, Settings
from model.registry import active_version
from records import activity, refusals
from records.activity import ACTIVITY, dataset_object, note, noted
from records.administrator import new_first_code, set_password
from tests.commands import run
from tests.pages.shared.test_administrator import PAGE, PASSWORD, WRONG, send
from tests.phantoms import write_dataset
from training.__main__ import main


def lines(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (settings.data_dir / ACTIVITY).read_text().splitlines()]


def acts(settings: Settings) -> list[tuple[str, str, str]]:
    return [(one["act"], one["outcome"], one["source"]) for one in lines(settings)]


def test_an_act_is_one_line_with_time_source_and_object_whatever_it_holds(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        note(Settings(tmp_path / "data"), "promote", who="Ada\n\x1b[31m", source="192.0.2.1", object="2026.12.01-1")
    finally:
        os.umask(before)
    (line,) = lines(Settings(tmp_path / "data"))
    assert (line["who"], line["source"], line["object"]) == ("Ada\n\x1b[31m", "192.0.2.1", "2026.12.01-1")
    assert line["at"].endswith("+00:00")
    assert "\x1b" not in (tmp_path / "data" / ACTIVITY).read_text()
    assert stat.S_IMODE((tmp_path / "data" / ACTIVITY).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_an_act_that_is_refused_is_noted_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(tmp_path)
    with pytest.raises(ClassifierError), noted(settings, "promote", who="Ada", object="2026.12.01-1"):
        raise ClassifierError("expected. Received: nothing", advice="Do it again.")
    with noted(settings, "promote", who="Ada", object="2026.12.01-1"):
        pass
    assert [one["outcome"] for one in lines(settings)] == ["refused", "done"]
    assert sum(one.levelno == logging.WARNING for one in caplog.records) == 1


def test_the_log_is_rotated_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MOST_BYTES", 400)
    for n in range(40):
        note(Settings(tmp_path), "sign-in", who="administrator", object=str(n))
    files = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert files == [ACTIVITY, *(f"{ACTIVITY}.{n}" for n in range(1, activity.MOST_FILES))]
    assert all((tmp_path / name).stat().st_size <= 400 for name in files)
    assert lines(Settings(tmp_path))[-1]["object"] == "39"


def logged(settings: Settings) -> list[dict[str, Any]]:
    """Every line that is left, of all files."""
    files = [path for path in settings.data_dir.iterdir() if path.name.startswith("activity")]
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds since a certain moment."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(activity, "_now", lambda: datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=seconds))

    set_to(0)
    return set_to


def test_refused_sign_ins_of_a_source_are_one_line_with_a_count(
    tmp_path: Path, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(tmp_path)
    for second in range(100):
        clock(second)
        refuse(settings, "192.0.2.1")
    refuse(settings, "2001:db8::1")
    refuse(settings, "2001:db8::2")
    assert acts(settings) == [("sign-in", "refused", "192.0.2.1"), ("sign-in", "refused", "2001:db8::1")]
    assert len(caplog.records) == 2, "the terminal shows no more"
    clock(200)
    note(settings, "sign-in", who="administrator", source="192.0.2.1")
    _, _, counted, done = lines(settings)
    assert (counted["count"], counted["source"], counted["outcome"], done["outcome"]) == (
        99,
        "192.0.2.1",
        "refused",
        "done",
    )
    assert (counted["since"][11:19], counted["until"][11:19]) == ("00:00:00", "00:01:39")
    clock(99 + refusals.INTERVAL_SECONDS)
    refuse(settings, "192.0.2.1")
    assert [(one["source"], one.get("count")) for one in lines(settings)[4:]] == [
        ("2001:db8::/64", 1),
        ("192.0.2.1", None),
    ]
    clock(0)  # set back
    refuse(settings, "192.0.2.1")
    assert len(lines(settings)) == 7


@pytest.mark.parametrize(
    "left", ["[" * 100_000, "{}", '[{"act": 1}]', '[{"act": "sign-in", "source": [], "since": 0}]']
)
def test_counts_that_are_damaged_count_as_nothing(tmp_path: Path, left: str) -> None:
    (tmp_path / refusals.REFUSALS).write_text(left)
    refuse(Settings(tmp_path), "192.0.2.1")
    assert acts(Settings(tmp_path)) == [("sign-in", "refused", "192.0.2.1")]


def test_no_stranger_washes_the_acts_out_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    settings = Settings(tmp_path)
    monkeypatch.setattr(activity, "MOST_BYTES", 1_500)
    note(settings, "promote", who="administrator", object="2026.12.01-1")
    for hour in range(4):
        clock(3600 * hour)
        note(settings, "sign-in", who="administrator", source="198.51.100.1")
        for one in range(12):
            refuse(settings, f"192.0.2.{one}")
    kept = [one for one in logged(settings) if one["outcome"] == "done"]
    assert [one["act"] for one in kept].count("sign-in") == 4 and "promote" in {one["act"] for one in kept}
    assert all(path.stat().st_size <= 1_500 for path in tmp_path.glob("activity*"))
    # Nothing is lost: every refusal is in a line or a count, though only 20 sources are counted by themselves.
    monkeypatch.setattr(activity, "MOST_BYTES", 1_000_000)
    again = Settings(tmp_path / "roomy")
    for one in (*range(24), *range(24)):
        refuse(again, f"192.0.2.{one}")
    clock(3600 * 24)
    note(again, "sign-out", who="administrator")
    found = [one for one in lines(again) if one["outcome"] == "refused"]
    assert sum(one.get("count", 1) for one in found) == 48 and len(found) == 21 + 21
    assert found[-1]["source"] == refusals.OTHERS


def refuse(settings: Settings, source: str) -> None:
    note(settings, "sign-in", who="administrator", source=source, outcome="refused")


def test_a_log_that_cannot_be_written_keeps_nobody_from_acting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    note(Settings(tmp_path / "file" / "data"), "sign-in", who="administrator")


def test_the_terminal_shows_each_act_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "log", logging.getLogger("a test of the terminal"))
    shown: list[str] = []
    monkeypatch.setattr(activity._Terminal, "emit", lambda _, record: shown.append(record.getMessage()))
    for _ in range(3):
        activity.show_in_terminal()
    note(Settings(tmp_path), "rollback", who="Ada")
    assert len(shown) == 1 and '"act": "rollback"' in shown[0]


def test_sign_in_and_its_refusal_are_noted_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("pages.shared.visitor.source", lambda: "192.0.2.1")
    settings = Settings(tmp_path)
    code = new_first_code(settings)
    assert code is not None
    set_password(settings, code, PASSWORD)
    app = AppTest.from_string(PAGE, default_timeout=60).run()
    app = send(send(app, password=WRONG), password=PASSWORD)
    app.button(key="administrator.sign_out").click().run()
    assert acts(settings) == [
        ("sign-in", "refused", "192.0.2.1"),
        ("sign-in", "done", "192.0.2.1"),
        ("sign-out", "done", "192.0.2.1"),
    ]
    assert WRONG not in (tmp_path / ACTIVITY).read_text() and PASSWORD not in (tmp_path / ACTIVITY).read_text()


def test_commands_are_noted(tmp_path: Path) -> None:
    run("training", "rollback", data_dir=tmp_path, expect=1)
    run("pneumolens", "unlock", data_dir=tmp_path)
    assert acts(Settings(tmp_path)) == [("rollback", "refused", "local"), ("unlock", "done", "local")]


@pytest.mark.parametrize(
    ("raised", "status", "expected"),
    [
        (None, 0, [("train", "done", "local"), ("promote", "done", "local")]),
        (KeyboardInterrupt(), 130, [("train", "done", "local")]),
        (
            DatasetError("expected. Received: nothing", advice="Do it again."),
            1,
            [("train", "done", "local"), ("train", "refused", "local")],
        ),
    ],
)
def test_a_training_in_the_terminal_is_noted_at_its_beginning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException | None,
    status: int,
    expected: list[tuple[str, str, str]],
) -> None:
    def execute(*_: object) -> Path:
        if raised is not None:
            raise raised
        return SHIPPED_WEIGHTS / active_version(settings)

    settings = Settings(tmp_path / "data")
    write_dataset(tmp_path / "films", 8)
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(settings.data_dir))
    monkeypatch.setitem(sys.modules, "training.runs.run", SimpleNamespace(execute=execute))  # no TensorFlow here
    monkeypatch.setattr("training.commands.train.start_tensorflow", lambda **_: None)
    options = ["--architecture", "cnn_77k", "--validation-fraction", "0.4", "--promote"]
    assert main(["train", "--data", str(tmp_path / "films"), *options]) == status
    assert acts(settings) == expected
    (run_dir,) = settings.runs_dir.iterdir()
    assert lines(settings)[0]["object"] == run_dir.name
    if raised is not None:
        main(["train", "--resume", run_dir.name])
        assert acts(settings)[len(expected)] == ("resume", "done", "local")


def test_the_name_of_a_dataset_is_not_in_the_log() -> None:
    assert dataset_object("Maria Muster 1.1.2020") == dataset_object("Maria Muster 1.1.2020")
    assert "Muster" not in dataset_object("Maria Muster 1.1.2020")

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from core.printable import from_spreadsheet_text, printable, printable_stdout, spreadsheet_text
from core.settings import Settings
from model.decisions import Promotion
from model.listing import csv_text
from model.promotions import promote
from model.registry import list_versions
from tests.commands import run
from tests.model.test_decisions import settings  # noqa: F401 (a fixture)
from tests.model.test_promotions import A
from training.commands import promote as promote_command
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder
from training.data.manifest import write_manifest
from training.data.sample import Sample
from training.runs.held_out import read_manifest

EVIL = "film\x1b]0;title\x07\x9b31m\u202egnp\n\udc80.png"
NAMES = (EVIL, "=cmd()", "+1", "-1", "@x", "\t=1", "\n=1", " =1", "'=1", "'x", "plain.png", "片.png", "a'b")


def is_plain(text: str) -> bool:
    return not set(text) & {"\x1b", "\x07", "\x9b", "\u202e", "\r", "\udc80"}


def test_nothing_that_a_terminal_obeys_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert is_plain(printable(EVIL)) and "\n" not in printable(EVIL)
    with printable_stdout():
        print(f"{EVIL}\tsecond", json.dumps({"path": "\x9b"}, ensure_ascii=False), sep="\n")
        sys.stdout.flush()
    said = capsys.readouterr().out
    assert is_plain(said) and said.count("\n") == 3 and "\tsecond" in said
    assert json.loads(said.splitlines()[-1]) == {"path": "\x9b"}, "JSON stays JSON"


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_is_a_formula_and_each_can_be_read_back(name: str) -> None:
    cell = spreadsheet_text(name)
    assert is_plain(cell) and "\n" not in cell
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert from_spreadsheet_text(cell) == name


def test_every_csv_writer_escapes(tmp_path: Path) -> None:
    root = tmp_path / "data"
    samples = [Sample(root / "NORMAL" / name.replace("/", ""), 0, name, True, sha256="0" * 64) for name in NAMES]
    samples += [Sample(root / "=1.png", 1, "p", False, sha256="1" * 64)]
    folder = DatasetFolder(DataRequest.of(root), tuple(samples), (), ())
    write_manifest(tmp_path / "split.csv", samples, np.zeros(len(samples), bool), folder)
    text = (tmp_path / "split.csv").read_text(encoding="utf-8")
    assert is_plain(text) and "\n=1.png" not in text and ",=cmd" not in text
    read = [sample for sample, _ in read_manifest(tmp_path)]
    assert [(str(one.path), one.patient) for one in read] == [
        (one.path.relative_to(root).as_posix(), one.patient) for one in samples
    ]
    assert is_plain(csv_text([{"path": EVIL}]).replace("\r\n", "")) and csv_text([{"path": "=1"}]).endswith("'=1\r\n")


def test_the_history_of_promotions_is_escaped() -> None:
    decision = Promotion("2026-12-01T00:00:00+00:00", EVIL, "2026.12.01-1", None, EVIL)
    assert is_plain(promote_command.line(decision)) and "\n" not in promote_command.line(decision)


def test_a_command_says_nothing_that_a_terminal_obeys(settings: Settings) -> None:  # noqa: F811
    promote(settings, A, who="a\x1b[31mb", why="\x9b31m \u202e")
    said = run("training", "history", data_dir=settings.data_dir).stdout
    assert "a\\u001b[31mb" in said and is_plain(said)


def test_a_version_whose_folder_is_no_name_is_not_listed(settings: Settings) -> None:  # noqa: F811
    before = list_versions(settings)
    folder = settings.versions_dir / "2026\x1b[31m"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    assert list_versions(settings) == before

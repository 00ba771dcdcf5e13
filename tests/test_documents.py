"""The documents: what they link to and name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT
from training.__main__ import main

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])
EACH = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


@EACH
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@EACH
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    rooms = "core|imaging|model|reports|records|training|pages|benchmarks|tests|assets"
    for name in re.findall(rf"`((?:{rooms})/[\w/.-]+\.(?:py|js|json|css|md))`", text):
        assert (ROOT / name).exists(), name


@EACH
def test_commands_that_are_named_exist(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = document.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.findall(r"^    ([a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    assert {"train", "promote"} <= commands
    for command in re.findall(r"python -m training ([a-z][a-z-]+)", text):
        assert command in commands, command
    for script in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (ROOT / "benchmarks" / f"{script}.py").exists(), script

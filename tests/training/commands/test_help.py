"""Every command's help, and what wrong arguments get."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from core.errors import DatasetError
from tests import ROOT
from training.__main__ import EXAMPLES, main, parser
from training.data.data_request import DataRequest
from training.fitting.config import default_config
from training.runs.request import RunRequest, create_run


def commands() -> dict[str, argparse.ArgumentParser]:
    acts = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(acts.choices)


def examples(text: str) -> list[str]:
    """Each line that starts with the program's name."""
    return re.findall(r"^\s*(python -m training .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["", *commands()])
def test_every_example_can_be_pasted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    epilog = (commands()[name].epilog if name else EXAMPLES) or ""
    found = examples(epilog)
    assert found, "a command's help has an example"
    for line in found:
        assert not re.search(r"[A-Z]{2,}\b|[…()<>]", line.partition('"')[0]), f"placeholder or remark: {line}"
        words = shlex.split(line, comments=True)[3:]
        assert not name or words[0] in (name, "compare", "train"), line
        parser().parse_args(words)


def commands_in_sources() -> list[str]:
    """What follows `python -m training` in the advice and messages of the sources, with x for what is filled in."""
    found = []
    for path in sorted(path for room in ("core", "model", "training", "pages") for path in (ROOT / room).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if id(node) in parts:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            found += re.findall(r"python -m training ([a-z-]+ [^`\n]*)", text)
    return found


def test_commands_in_messages_and_documents_can_be_pasted() -> None:
    documents = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/methods.md"))
    fenced = "\n".join(re.findall(r"```sh\n(.*?)```", documents, re.DOTALL)).replace("\\\n", " ")
    printed = re.findall(r"python -m training ([a-z-]+ .*)", fenced)
    assert len(printed) > 3
    advised = [line for line in commands_in_sources() if re.match(r"[a-z-]+ (-|x|[\d.]+-)", line)]
    assert len(advised) > 5
    for line in (*printed, *advised):
        parser().parse_args(shlex.split(line.rstrip(". "), comments=True))


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_says_what_it_does(name: str) -> None:
    text = commands()[name].format_help()
    assert commands()[name].description, name
    for action in commands()[name]._actions:
        assert action.help, f"{name} {action.option_strings or action.dest}"
    assert not re.search(r"\b(told|let go|goes on\b|go on\b|looks? on\b|overrul)", text), text


def test_hidden_commands_stay_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["bogus"], ["_bogus"], ["_ru"]):
        with pytest.raises(SystemExit):
            main(arguments)
    said = capsys.readouterr()
    assert "invalid choice: 'bogus'" in said.err and "'train'" in said.err
    assert not re.search(r"\b_(?!bogus|ru\b)[a-z]+", said.out + said.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--learning-rate", "-1"), "expected a number from 1e-07 to 10. Received: -1"),
        (("--input-px", "8"), "expected a whole number from 32 to 1024. Received: 8"),
        (("--epochs", "many"), "expected a whole number from 0 to 1000. Received: many"),
        (("--also-evaluate", "films"), "expected NAME=DIR"),
    ],
)
@pytest.mark.parametrize("command", ["train", "start"])
def test_wrong_arguments_are_refused(
    command: str, arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--data", str(tmp_path), *arguments])
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_size_that_the_network_cannot_take_is_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["train", "--data", str(tmp_path), "--architecture", "cnn_77k", "--input-px", "100"])
    assert status == 2 and "for cnn_77k. Received: 100 px" in capsys.readouterr().err
    assert not home.exists()


def test_an_unknown_architecture_is_refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train", "--data", str(tmp_path), "--architecture", "resnet9000"], ["speed", "resnet9000"]):
        assert main(command) == 1
        assert "Received: 'resnet9000'" in capsys.readouterr().err
    assert not home.exists()


def test_a_run_is_resumed_by_name_or_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "films" / "NORMAL").mkdir(parents=True)
    (tmp_path / "films" / "PNEUMONIA").mkdir()
    for kind in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "films" / kind / "one.png").write_bytes(b"")
    run = home / "runs" / "2026.01.02-030405"
    create_run(
        run, default_config("cnn_2_1"), RunRequest(DataRequest.of(tmp_path / "films"), home / "versions", "random")
    )
    started: list[Path] = []

    def execute(run_dir: Path, *_: object) -> Path:
        started.append(run_dir)
        raise KeyboardInterrupt

    monkeypatch.setattr("training.commands.train.start_tensorflow", lambda **_: None)
    pytest.importorskip("tensorflow")
    monkeypatch.setattr("training.runs.run.execute", execute)
    for named in (run.name, str(run)):
        assert main(["train", "--resume", named]) == 130
    assert started == [run, run]

    def fail(*_: object) -> Path:
        raise DatasetError("expected more. Received: less", advice="Add more.")

    monkeypatch.setattr("training.runs.run.execute", fail)
    assert main(["train", "--resume", run.name]) == 1
    assert json.loads((run / "error.json").read_text())["advice"] == "Add more.", "which `watch` and the page show"
    assert main(["watch", run.name]) == 1
    assert "expected more. Received: less\nAdd more." in capsys.readouterr().err
    for nothing in ("nope", str(tmp_path), "../films"):
        assert main(["train", "--resume", nothing]) == 1
        said = capsys.readouterr().err
        assert "expected the name or the directory of a training run" in said and "Traceback" not in said

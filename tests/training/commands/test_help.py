"""Every command's help, and what wrong arguments get."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import DatasetError
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES
from tests import ROOT
from training.__main__ import EXAMPLES, main, parser
from training.commands.train import starting_weights
from training.data.data_request import DataRequest
from training.fitting.config import default_config
from training.runs import processes
from training.runs.request import RunRequest, create_run

LISTS = """
import sys
from training.__main__ import main
status = main(["architectures", "--json", sys.argv[1]])
sys.exit(status or ("tensorflow" in sys.modules and 3) or 0)
"""


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
        assert not re.search(r"[A-Z]{2,}\b|[…()<>]", re.split("[\"']", line)[0]), f"placeholder or remark: {line}"
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
        line = re.sub(r"^train x ", "train --data x ", line)  # the advice repeats the options for the data
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


def test_architectures_are_listed_without_building_them(tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-c", LISTS, str(tmp_path / "networks.json")], cwd=ROOT, capture_output=True, text=True
    )
    assert listed.returncode == 0, listed.stderr
    assert "cnn_77k                   77,633 parameters  150 px" in listed.stdout
    rows = json.loads((tmp_path / "networks.json").read_text())
    assert [row["name"] for row in rows] == list(ARCHITECTURES) and all(row["parameters"] > 70_000 for row in rows)
    assert [row["name"] for row in rows if row["framed_by_lungs"]] == ["inception_v3_lungs"]


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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet9000", "Received: 'resnet9000'"),
        ("no_such_module_here:build", "expected a module that can be imported. Received: no_such_module_here"),
        ("no_such.package.here:build", "expected a module that can be imported. Received: no_such.package.here"),
    ],
)
def test_an_unknown_architecture_is_refused_before_anything_is_read(
    name: str, message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "nowhere")]
    for command in (
        ["train", *data, "--architecture", name],
        ["start", *data, "--architecture", name],
        ["tune", *data, "--architecture", name],
        ["leaderboard", *data, "--only", name],
        ["speed", name],
    ):
        assert main(command) == 2, command
        said = capsys.readouterr().err
        assert message in said and "Traceback" not in said, command
    assert not home.exists()


def test_a_recipe_whose_sizes_do_not_fit_its_network_is_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.json"
    good = default_config("cnn_77k", epochs=2)
    for stage_px, input_px, message in ((150, 100, "128 to 1024 px for cnn_77k"), (128, 150, "150 px in every stage")):
        stages = tuple(dataclasses.replace(stage, input_px=stage_px) for stage in good.stages)
        recipe.write_text(dataclasses.replace(good, stages=stages, input_px=input_px).to_json())
        assert main(["train", "--data", str(tmp_path), "--recipe", str(recipe)]) == 2
        assert message in capsys.readouterr().err
    assert not home.exists()


def test_weights_that_the_network_cannot_start_from_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inception.h5").write_bytes(b"")
    data = ["--data", str(tmp_path), "--architecture", "cnn_2_1"]
    for weights in ("/nosuch", "imagenet", str(tmp_path / "inception.h5")):
        for command in ("train", "start", "tune"):
            assert main([command, *data, "--backbone-weights", weights]) == 2, (command, weights)
            said = capsys.readouterr().err
            assert '"random" or the weights file of a version of cnn_2_1' in said and weights in said
    assert main(["start", *data, "--from", "imagenet"]) == 2
    assert main(["leaderboard", "--data", str(tmp_path), "--only", "cnn_2_1", "--backbone-weights", "/nosuch"]) == 2
    assert not home.exists()
    options = parser().parse_args(["train", *data])
    settings = Settings(home, backbone_weights="/weights/of/inception.h5")
    assert starting_weights(options, settings, "cnn_2_1") == "random", "the setting is for the default network"
    (tmp_path / "v").mkdir()
    for name in ("card.json", "classifier.npz"):
        (tmp_path / "v" / name).write_bytes(b"")
    options.backbone_weights = str(tmp_path / "v" / "classifier.npz")
    assert starting_weights(options, settings, "cnn_2_1") == options.backbone_weights, "a version of it continues"


def test_a_run_is_resumed_by_name_or_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "films" / "NORMAL").mkdir(parents=True)
    (tmp_path / "films" / "PNEUMONIA").mkdir()
    for kind in ("NORMAL", "PNEUMONIA"):
        for patient in range(14):
            (tmp_path / "films" / kind / f"{kind}-{patient}.png").write_bytes(b"")
    run = home / "runs" / "2026.01.02-030405"
    create_run(
        run,
        default_config("cnn_2_1"),
        RunRequest(DataRequest.of(tmp_path / "films"), home / "versions", "random"),
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
    assert main(["train", "--resume", run.name, "--epochs", "3"]) == 2
    assert "expected --resume without other options. Received: --epochs" in capsys.readouterr().err

    def break_down(*_: object) -> Path:
        raise RuntimeError("a library's own words")

    monkeypatch.setattr("training.runs.run.execute", break_down)
    assert main(["train", "--resume", run.name]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError" in said and "Traceback" not in said and "a library's own words" not in said
    assert "a library's own words" in (run / processes.OUTPUT).read_text(), "the log has the rest"
    assert main(["train", "--data", str(tmp_path / "films"), "--run-dir", str(run)]) == 1
    assert "expected a directory that does not exist yet" in capsys.readouterr().err
    for nothing in ("nope", str(tmp_path), "../films"):
        assert main(["train", "--resume", nothing]) == 1
        said = capsys.readouterr().err
        assert "expected the name or the directory of a training run" in said and "Traceback" not in said


@pytest.mark.parametrize("command", ["--help", "versions"])
def test_output_that_nobody_reads_ends_quietly(command: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {
        "PNEUMOLENS_DATA_DIR": str(tmp_path)
    }
    command_line = [sys.executable, "-m", "training", command]
    done = subprocess.run(command_line, stdout=write, stderr=subprocess.PIPE, env=environment)
    os.close(write)
    assert done.returncode in {0, 141} and done.stderr == b""

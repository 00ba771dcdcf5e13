"""The package: its requirements, its wheel, and the examples of its Python interface."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import pneumolens
from core.settings import Settings
from model.registry import active_version, list_versions
from tests import ROOT
from tests.phantoms import as_png, chest, write_dataset

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(name: str) -> list[str]:
    """Return the lines of a requirements file without remarks and inclusions."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def test_requirements_files_and_project_agree() -> None:
    assert requirements("requirements.txt") == PROJECT["dependencies"]
    assert requirements("requirements-dev.txt") == PROJECT["optional-dependencies"]["dev"]


def test_constraints_pin_every_requirement_within_its_range() -> None:
    pinned = dict(line.split("==") for line in requirements("constraints.txt"))
    for line in requirements("requirements.txt") + requirements("requirements-dev.txt"):
        name, _, wanted = line.partition("==")
        assert name.lower() in pinned, f"constraints.txt has no version of {name}"
        assert pinned[name.lower()].startswith(wanted.removesuffix("*")), line


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked as pip does without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("pneumolens-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_holds_the_app_and_runs_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    tracked = {
        path.relative_to(ROOT).as_posix()
        for room in ("core", "imaging", "model", "pages", "records", "reports", "training", "assets")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert tracked | {"app.py", "pneumolens.py", ".streamlit/config.toml"} <= there
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in there)
    asked = (
        "import pneumolens, pathlib; from core.settings import Settings; from model.registry import active_version;"
        "print(pneumolens.__file__, active_version(Settings(pathlib.Path('none'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [str(installed / "pneumolens.py"), active_version(Settings(Path("none")))]


def test_console_command_hands_over_to_assess(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        pneumolens.main(["assess", "--help"])
    assert ended.value.code == 0 and "--heatmaps" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        pneumolens.main(["nothing"])
    assert ended.value.code == 2
    assert PROJECT["scripts"] == {"pneumolens": "pneumolens:main", "pneumolens-train": "training.__main__:main"}


def test_serve_becomes_the_server_so_that_a_signal_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(Exception):
        """The process is another program from here on."""

    def execv(program: str, command: list[str]) -> None:
        assert program == command[0] == sys.executable
        raise Replaced(*command[1:])

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(Replaced) as became:
        pneumolens.main(["serve", "--server.port", "8600"])
    assert became.value.args == ("-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", "8600")


@pytest.mark.slow
def test_examples_of_the_interface_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.png").write_bytes(as_png(chest(3)))
    write_dataset(tmp_path / "films", 28, size=(240, 280))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "data"))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    assert "720 600 uint8" in said and "n = 56" in said
    assert names["version"] in list_versions(Settings(tmp_path / "data"))
    assert set(pneumolens.__all__) <= set(dir(pneumolens))

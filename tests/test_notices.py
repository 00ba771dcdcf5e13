"""Third-party notices and the bill of materials."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import ROOT
from tests.test_packaging import requirements


@pytest.fixture(scope="module")
def third_party() -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party", ROOT / ".ci" / "third_party.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def rows() -> dict[str, list[str]]:
    lines = (ROOT / "THIRD_PARTY.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in cells if len(row) == 4 and row[0] != "package"}


def test_every_package_that_is_installed_is_listed_in_its_pinned_version(third_party: ModuleType) -> None:
    listed, pinned = rows(), dict(line.split("==") for line in requirements("constraints.txt"))
    assert set(listed) == set(third_party.installed()), "write it anew: python .ci/third_party.py"
    versions = {name: row[0] for name, row in listed.items() if name not in ("setuptools", "wheel")}
    assert versions == {name: pinned[name] for name in versions}, "write it anew: python .ci/third_party.py"


def test_licences_that_ask_for_more_than_a_notice_are_named() -> None:
    listed = rows()
    assert listed["fpdf2"][1].startswith("LGPL-3.0-only") and "github.com" in listed["fpdf2"][2]
    assert "FFmpeg (LGPL-2.1)" in listed["opencv-python"][1]
    fonts = (ROOT / "THIRD_PARTY.md").read_text().partition("## Fonts")[2]
    for licence in (ROOT / "reports" / "fonts").glob("LICENSE*"):
        assert licence.name in fonts


def test_a_bill_of_materials_is_made_by_the_command_of_the_document(tmp_path: Path) -> None:
    if importlib.util.find_spec("cyclonedx_py") is None:
        pytest.skip("cyclonedx-bom of requirements-dev.txt is not installed")
    (command,) = [
        line for line in (ROOT / "SECURITY.md").read_text().splitlines() if "cyclonedx-py environment" in line
    ]
    words = command.replace("sbom.json", str(tmp_path / "sbom.json")).split()
    words[0] = str(Path(sys.executable).with_name("cyclonedx-py"))
    words[words.index(".venv")] = sys.executable
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    made = json.loads((tmp_path / "sbom.json").read_text())
    assert made["bomFormat"] == "CycloneDX" and made["metadata"]["component"]["name"] == "pneumolens"
    assert {"fpdf2", "streamlit", "pydicom"} <= {one["name"] for one in made["components"]}

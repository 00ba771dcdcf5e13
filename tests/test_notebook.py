"""The notebook: kept without outputs, and run from top to bottom at night."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pneumolens
from tests import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def code() -> list[str]:
    return ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code"]


def test_notebook_is_kept_without_outputs_and_uses_the_public_interface_alone() -> None:
    assert len({cell["id"] for cell in cells()}) == len(cells()), "nbformat 4.5 wants an id for each cell"
    for cell in cells():
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    tree = ast.parse("\n".join(code()))
    ours = {"core", "imaging", "model", "reports", "records", "training", "pages", "tests"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not {str(name).split(".")[0] for name in names} & ours
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pneumolens":
            assert node.attr in pneumolens.__all__


@pytest.mark.nightly
def test_notebook_runs(tmp_path: Path) -> None:
    # As a kernel does: one namespace, and the value of a cell's last expression is drawn.
    (tmp_path / "cells.py").write_text("\n\n".join(code()) + "\nprint('AUROC', evaluation.measures['auroc'].value)\n")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PNEUMOLENS_")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "cells.py")],
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 6: loss" in done.stdout and "specificity" in done.stdout
    assert float(done.stdout.split("AUROC")[-1]) > 0.8, "what is drawn is told apart"

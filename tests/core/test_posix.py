"""What whoever starts PneumoLens on Windows is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import ROOT

# Windows has no such module.
WITHOUT_POSIX = "import sys; sys.modules['fcntl'] = None; "


@pytest.mark.parametrize(
    "module",
    [
        "pneumolens",
        "core.settings",
        "imaging.radiograph",
        "model.__main__",
        "records.administrator",
        "training.__main__",
        "training.runs.processes",
    ],
)
def test_without_posix_one_sentence_says_what_is_needed(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_POSIX}import {module}"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert last == ("ImportError: PneumoLens needs a POSIX system such as Linux or macOS; on Windows, run it in WSL 2.")

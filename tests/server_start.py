"""An app's start in a process of its own, without the server's seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.commands import environment

START = """
import sys
from pages.shared import installation
installation.start()
print("started", flush=True)
sys.stdin.readline()
"""


def start(data_dir: Path) -> tuple[subprocess.Popen[str], str]:
    """Start an app that stays until its input ends; return it and what it printed."""
    app = subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env=environment(data_dir),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=0,
    )
    assert app.stdout is not None
    said = ""
    for line in app.stdout:
        if line == "started\n":
            break
        said += line
    return app, said

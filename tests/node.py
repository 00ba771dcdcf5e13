"""Node.js for tests of the viewer's ES modules: running their own tests, and asking them for values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests import ROOT

SECONDS = 300


def run_node(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run Node.js in the repository; skips where it is missing, but fails in CI."""
    node = shutil.which("node")
    if node is None:
        reason = "the tests of the viewer's modules need Node.js (Debian: nodejs)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, which CI must have")
        pytest.skip(reason)
    return subprocess.run(
        [node, *arguments], cwd=ROOT, input=text, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def evaluate(module: str, expression: str, data: Any = None) -> Any:
    """Return what an expression over a module of the viewer, `module`, and JSON `data` gives, as JSON."""
    code = f"""
        import {{readFileSync}} from "node:fs";
        import * as module from "./pages/reading/viewer_component/{module}";
        const data = JSON.parse(readFileSync(0, "utf-8"));
        process.stdout.write(JSON.stringify({expression}));
    """
    done = run_node("--input-type=module", "--eval", code, text=json.dumps(data))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

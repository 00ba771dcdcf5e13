"""A `python -m training` that costs nothing: for tests of what happens around a training, not in it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from training.runs import processes

SLEEPS = "print('epoch 1/3', flush=True); time.sleep(600)"
# As stubborn as a trainer inside a long call, with a child of its own.
CLINGS = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, '-c', 'import signal, time; '
                              'signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)'],
                             stdout=subprocess.PIPE)
    child.stdout.readline()
    (folder / 'pids').write_text(f'{os.getpid()} {child.pid}')
    time.sleep(600)
"""
# Makes a version as the real one does: announced first, then the card.
MAKES = """
    version = folder.parent.parent / 'versions' / ('2026.01.02-' + folder.name[-1])
    (folder / 'version.json').write_text(json.dumps(
        {'version': version.name, 'folder': str(version), 'created_at': 'now'}))
    version.mkdir(parents=True)
    (version / 'card.json').write_text(json.dumps({'created_at': 'now'}))
"""


def trains_by(body: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every process that `processes.launch` starts from now on run `body`, with `folder` as its last argument."""
    package = root / "training"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import json, os, signal, subprocess, sys, time\nfrom pathlib import Path\nfolder = Path(sys.argv[-1])\n"
        + textwrap.dedent(body)
    )
    monkeypatch.setattr(processes, "ROOT", root)


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something that another process does."""
    ended = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ended, "it did not happen"
        time.sleep(0.01)


def pid_of(folder: Path) -> int:
    """Return the process that works on `folder`."""
    return int(processes.read_json(folder / processes.PROCESS)["pid"])


def is_alive(pid: int) -> bool:
    """Whether a process is in the table and not only waits to be buried."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def working_on(folder: Path) -> list[int]:
    """Return every process whose command line names `folder` or what lies in it."""
    return [
        one.pid
        for one in psutil.process_iter()
        if any(folder in (Path(word), *Path(word).parents) for word in _command(one)) and is_alive(one.pid)
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []

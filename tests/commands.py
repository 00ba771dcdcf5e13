"""The commands as people run them, each in a process of its own.

Importing TensorFlow is most of what a short command costs. `run` starts Python anew and pays for that; `run_warm` forks
a process that has imported TensorFlow and nothing of ours, so that whoever needs many commands pays once. All else is
the same: own process id, own streams, own environment, nothing left of the last command, killed as any process is. What
a command does from a cold start is for `run` to prove, once for each that needs TensorFlow.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests import ROOT

PATIENCE_S = 600


def environment(data_dir: Path) -> dict[str, str]:
    """The environment without what this machine has set for the app, and with its data folder there."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PNEUMOLENS_")}
    return kept | {"PNEUMOLENS_DATA_DIR": str(data_dir)}


def run(*arguments: str, data_dir: Path, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with these arguments from a cold start."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(data_dir) | environ,
        text=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    return _expected(done, expect)


def run_warm(*arguments: str, data_dir: Path, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with these arguments where TensorFlow is imported already."""
    return _expected(forked("-m", *arguments, cwd=ROOT, env=environment(data_dir) | environ), expect)


def forked(*arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Do what `python` does with these arguments, `-m module …` or `file …`, where TensorFlow is imported already."""
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["tensorflow"])
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        process = start.Process(target=_act, args=(arguments, str(cwd), dict(env), streams))
        process.start()
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        printed = [Path(name).read_text() if Path(name).exists() else "" for name in streams]
        done = subprocess.CompletedProcess(arguments, process.exitcode, *printed)
        process.close()
    return done


def _act(arguments: tuple[str, ...], cwd: str, env: dict[str, str], streams: list[str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for descriptor, name in enumerate(streams, 1):
        opened = os.open(name, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    is_module = arguments[0] == "-m"
    first = cwd if is_module else str(Path(arguments[0]).parent)
    sys.path[:0] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = list(arguments[is_module:])
    if is_module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


def _expected(done: subprocess.CompletedProcess[str], expect: int) -> subprocess.CompletedProcess[str]:
    assert done.returncode == expect, done.stderr + done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return done

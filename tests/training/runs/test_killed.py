"""kill -9 at each stage of a run: nothing is registered, and the next start goes on from what was finished."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from core.settings import Settings
from tests.commands import ROOT, forked
from tests.phantoms import write_dataset
from training.data.data_request import DataRequest
from training.fitting.config import default_config
from training.runs import jobs
from training.runs.request import RunRequest, create_run

# The process ends itself without any chance to tidy up, at the beginning of the stage that is named.
DIES = """
import os, pathlib, signal, sys
from training.fitting.progress import FittingStep
from training.runs.run import execute
from core.settings import Settings

def report(progress):
    if progress.phase == "fitting":
        dies = sys.argv[3] == "fitting" and isinstance(progress.detail, FittingStep) and progress.detail.epoch == 2
    else:
        dies = progress.phase.startswith(sys.argv[3])
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    execute(pathlib.Path(sys.argv[1]), Settings(pathlib.Path(sys.argv[2])), report)
"""
STAGES = ("auditing", "reading", "building", "fitting", "calibrating", "evaluating", "adding")


@pytest.mark.slow
def test_a_run_killed_at_each_stage_in_turn_makes_one_version_in_the_end(tmp_path: Path) -> None:
    write_dataset(tmp_path / "films" / "train", 12)
    write_dataset(tmp_path / "films" / "test", 4, seed=1)
    settings, run = Settings(tmp_path / "home"), tmp_path / "home" / "runs" / "killed"
    run.parent.mkdir(parents=True)
    config = default_config("cnn_2_1", epochs=3, input_px=64, batch_size=8, validation_fraction=0.3, copies=(1, 1))
    create_run(run, config, RunRequest(DataRequest.of(tmp_path / "films"), settings.versions_dir, "random"))
    (tmp_path / "dies.py").write_text(DIES)
    environ = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(dies_at: str) -> subprocess.CompletedProcess[str]:
        return forked(str(tmp_path / "dies.py"), str(run), str(settings.data_dir), dies_at, cwd=tmp_path, env=environ)

    for stage in STAGES:
        assert start(stage).returncode == -9, stage
        job = jobs.read_job(settings, "killed")
        assert job.state == "failed" and job.can_resume and job.version is None, stage
        assert not list(settings.versions_dir.glob("[!.]*")), f"nothing is registered by a run killed while {stage}"
        assert job.epochs_done == (0 if STAGES.index(stage) < 3 else 1 if stage == "fitting" else 3), stage
    ended = start("nowhere")
    assert ended.returncode == 0, ended.stderr
    job = jobs.read_job(settings, "killed")
    assert job.state == "done" and job.version is not None
    assert [path.name for path in settings.versions_dir.iterdir()] == [job.version]

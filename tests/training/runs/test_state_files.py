"""State files that hold anything: what reads them says so or goes on, and never fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.settings import Settings
from tests import ROOT
from training.runs import audits, candidate, jobs

RUN, AUDIT = "runs/2026.12.01-121221", "audits/8af047e25c0acf67"
CONTENTS = ("[" * 100_000, "[]", "null", '{"phase": [], "done": "x", "total": {}, "seconds_left": [1], "epoch": {}}')
FILES = (
    *(f"{RUN}/{name}" for name in ("job.json", "status.json", "process.json", "version.json", "config.json")),
    *(f"{RUN}/{name}" for name in ("run.json", "history.json", "progress.jsonl", "audit.json")),
    *(f"{RUN}/comparison/{name}" for name in ("status.json", "comparison.json", "request.json")),
    *(f"{AUDIT}/{name}" for name in ("audit.json", "status.json", "request.json", "process.json")),
    "versions/2026.12.01-1/card.json",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(ROOT / "tests" / "data_folder", tmp_path / "data")
    return Settings(tmp_path / "data", data_roots=(Path("/srv/chest_xray"),))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", CONTENTS, ids=["nested", "list", "null", "types"])
def test_state_of_any_content_is_read(settings: Settings, name: str, content: str) -> None:
    (settings.data_dir / name).write_text(content)
    for job in jobs.list_jobs(settings):
        jobs.epochs(job), jobs.points(job), jobs.log_tail(job)
        candidate.read_comparison(job.folder), candidate.run_audit(job.folder)
    audits.latest_audits(settings)


def test_epochs_of_other_types_are_left_out(settings: Settings) -> None:
    (settings.data_dir / RUN / "history.json").write_text('[{"epoch": 1, "loss": [1]}, {"epoch": "x"}, 5]')
    job = jobs.read_job(settings, Path(RUN).name)
    assert jobs.epochs(job) == [] and job.epochs_done == 0

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.settings import Settings
from tests.comparisons import a_run, an_audit, install
from tests.pages.retraining.test_compare import open_step, text
from training.data.audit import audit_to_json
from training.data.audit_split import SplitAudit, SplitSide


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)
    return install(tmp_path)


def test_a_finished_training_shows_its_split_and_what_is_on_both_sides(settings: Settings) -> None:
    run = a_run(settings)
    said = text(open_step("watch"))
    assert "Split of this training" in said and "On both sides: 0 patients and 0 groups" in said
    sides = {
        "train": SplitSide({"NORMAL": 100, "PNEUMONIA": 300}, {"NORMAL": 90, "PNEUMONIA": 150}, {}),
        "validation": SplitSide({"NORMAL": 14, "PNEUMONIA": 50}, {"NORMAL": 12, "PNEUMONIA": 31}, {}),
    }
    split = SplitAudit(sides, ("person1", "<person2>"), (("a", "b"),), 0.88)
    audit = dataclasses.replace(an_audit(), split=split)
    (run / "audit.json").write_text(audit_to_json(audit))
    said = text(open_step("watch"))
    assert "<th>Validation</th><td>14</td><td>12</td><td>50</td><td>31</td>" in said
    assert "On both sides: 2 patients and 1 groups" in said and "AUROC 0.88" in said
    assert "pl-warning" in said and "12" in said[said.index("pl-warning") :]

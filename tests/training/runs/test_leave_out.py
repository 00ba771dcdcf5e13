from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetError
from tests.comparisons import an_audit
from training.data.audit import Audit
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder
from training.data.loading import LoadedFolder
from training.data.sample import Sample
from training.runs.leave_out import group_named, leave_out
from training.runs.request import request_from


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedFolder:
    """Ten patients with two films each; patient 0 has one film of the north and one of the south."""
    samples = [
        Sample(tmp_path / f"{i}.png", (i // 2) % 2, f"p{i // 2}", True, source="north" if i in (0, 4, 6) else "south")
        for i in range(20)
    ]
    folder = DatasetFolder(DataRequest.of(tmp_path), tuple(samples), (), ())
    held_out = np.array([i >= 16 for i in range(20)])
    return LoadedFolder(folder, samples, np.zeros((20, 2, 2), np.uint8), held_out, 0)


def styled(styles: dict[int, str]) -> Audit:
    return dataclasses.replace(an_audit(), style_of={f"{i}.png": styles.get(i, "1") for i in range(20)})


def test_whole_patients_of_a_source_become_validation(loaded: LoadedFolder) -> None:
    other, sentence = leave_out(loaded, styled({}), "source=north")
    assert np.flatnonzero(other.held_out).tolist() == [0, 1, 4, 5, 6, 7, 16, 17, 18, 19]
    assert "source north was left out of training: its 3 radiographs" in sentence
    assert not loaded.held_out[:16].any(), "the split that was drawn is not changed"


def test_a_style_of_the_audit_is_left_out(loaded: LoadedFolder) -> None:
    other, _ = leave_out(loaded, styled({8: "2", 11: "2"}), "style=2")
    assert np.flatnonzero(other.held_out).tolist() == [8, 9, 10, 11, 16, 17, 18, 19]


def test_patients_with_the_same_picture_move_together(loaded: LoadedFolder) -> None:
    groups = ["joined" if sample.patient in ("p2", "p6") else sample.patient for sample in loaded.samples]
    other, _ = leave_out(dataclasses.replace(loaded, groups=groups), styled({4: "2"}), "style=2")
    assert np.flatnonzero(other.held_out).tolist() == [4, 5, 12, 13, 16, 17, 18, 19]


@pytest.mark.parametrize("text", ["", "3", "age=3", "style="])
def test_a_group_is_named_by_kind_and_name(text: str) -> None:
    with pytest.raises(DatasetError, match="style=NAME"):
        group_named(text)


def test_an_unknown_group_and_one_without_which_a_class_is_missing_are_refused(loaded: LoadedFolder) -> None:
    with pytest.raises(DatasetError, match="one of the styles 1"):
        leave_out(loaded, styled({}), "style=7")
    with pytest.raises(DatasetError, match="both classes outside style 2"):
        leave_out(loaded, styled({i: "2" for i in range(20) if (i // 2) % 2}), "style=2")


def test_an_early_run_leaves_nothing_out() -> None:
    values = {"data": "d", "out": "o", "backbone_weights": "random", "source": "", "promote": False}
    values |= {"extra_evaluations": [], "notes": []}
    assert request_from(values).leave_out == ""
    assert request_from(values | {"leave_out": "style=3"}).leave_out == "style=3"

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from core.progress import Progress, counted, ignore
from training.fitting.progress import EpochEnd, FittingStep
from training.runs.progress import POINTS, forget_points, read_points, recorded

FITTING_KEYS = {
    "stage",
    "epoch",
    "epochs",
    "step",
    "steps",
    "loss",
    "train_auroc",
    "val_auroc",
    "images_per_second",
    "seconds_left",
    "pid",
    "at",
}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def at(epoch: int, step: int, loss: float = 0.5) -> Progress:
    return FittingStep("head", epoch, 3, step, 10, loss, float("nan"), None, 12.5, 60.0).progress()


def status(folder: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((folder / "status.json").read_text())
    return values


def test_status_says_the_phase_and_is_not_written_for_every_file(tmp_path: Path) -> None:
    clock, heard = Clock(), []
    report = recorded(heard.append, tmp_path, clock)
    report(Progress("reading radiographs", 0, 40))
    clock.now += 0.4
    report(Progress("reading radiographs", 4, 40))
    assert status(tmp_path)["done"] == 0
    clock.now += 1.6
    report(Progress("reading radiographs", 10, 40))
    assert status(tmp_path) | {"at": ""} == {
        "phase": "reading radiographs",
        "done": 10,
        "total": 40,
        "seconds_left": 6.0,
        "at": "",
        "pid": status(tmp_path)["pid"],
    }
    clock.now += 0.1
    report(Progress("reading radiographs", 40, 40))
    assert status(tmp_path)["done"] == 40, "the end of a phase is always written"
    report(Progress("calibrating", 0, 5))
    assert status(tmp_path)["phase"] == "calibrating"
    assert len(heard) == 5, "whoever watches hears everything"
    assert [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == [
        "reading radiographs: 40",
        "calibrating: 5",
    ]


def test_fitting_keeps_its_status_and_adds_a_row_every_other_second(tmp_path: Path) -> None:
    clock = Clock()
    report = recorded(ignore, tmp_path, clock)
    for step in range(1, 11):
        report(at(1, step))
        clock.now += 0.5
    assert set(status(tmp_path)) == FITTING_KEYS | {"phase", "done", "total"}
    assert (status(tmp_path)["phase"], status(tmp_path)["done"], status(tmp_path)["total"]) == ("fitting", 10, 30)
    rows = read_points(tmp_path)
    assert [row["step"] for row in rows] == [1, 5, 9]
    assert rows[0]["train_auroc"] is None, "what is not a number is no number in JSON either"
    assert {"epoch", "step", "steps", "loss", "train_auroc", "images_per_second", "seconds_left", "at"} <= set(rows[0])
    assert "epoch 1/3 head" in (tmp_path / "log.txt").read_text()
    before = status(tmp_path)
    report(EpochEnd({"epoch": 1, "val_auroc": 0.9, "val_loss": 0.4}).progress(10, 3))
    assert status(tmp_path) == before and len(read_points(tmp_path)) == 3
    assert "epoch 1 validation: AUROC 0.9000, loss 0.4000" in (tmp_path / "log.txt").read_text()


def test_rows_are_thinned_evenly_and_the_newest_stays(tmp_path: Path) -> None:
    lines = [json.dumps({"epoch": 1, "step": step}) for step in range(1, 2501)]
    (tmp_path / POINTS).write_text("\n".join(lines) + "\n")
    rows = read_points(tmp_path, most=100)
    assert 95 <= len(rows) <= 100 and rows[-1]["step"] == 2500
    assert {b["step"] - a["step"] for a, b in pairwise(rows)} == {25}
    assert read_points(tmp_path / "nowhere") == []


def test_rows_of_epochs_that_are_fitted_again_are_dropped(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "step": step} for epoch in (1, 2, 3) for step in (1, 2)]
    (tmp_path / POINTS).write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 3, "st')
    assert len(read_points(tmp_path)) == 6, "a line that was being written is passed over"
    forget_points(tmp_path, 2)
    assert [row["epoch"] for row in read_points(tmp_path)] == [1, 1, 2, 2]
    forget_points(tmp_path, 0)
    assert read_points(tmp_path) == []


def test_ticks_from_several_threads_add_up_and_are_reported_one_after_another() -> None:
    seen: list[Progress] = []
    tick = counted(seen.append, "reading radiographs", 400)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tick, [2] * 200))
    assert [one.done for one in seen] == list(range(2, 401, 2))
    assert {(one.phase, one.total, one.detail) for one in seen} == {("reading radiographs", 400, None)}

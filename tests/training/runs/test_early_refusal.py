"""What is wrong with a run's network, weights or records is said before its radiographs are read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from core.errors import AppError, ClassifierError, RunError
from core.progress import Progress
from core.settings import Settings
from training.data.data_request import DataRequest
from training.fitting.config import Stage, TrainingConfig
from training.runs.request import CONFIG, RunRequest, create_run
from training.runs.run import execute

GOOD = TrainingConfig(
    architecture="cnn_2_1",
    input_px=32,
    precision="float32",
    validation_fraction=0.5,
    stages=(Stage("f", 1, 32, "", 1e-3),),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "films" / name).mkdir(parents=True)
        for patient in range(4):  # nothing reads these files
            (tmp_path / "films" / name / f"{name}-{patient}.png").touch()
    return tmp_path / "home" / "runs" / "one"


def phases_until_refusal(run: Path, config: TrainingConfig, error: type[AppError], words: str) -> set[str]:
    seen: set[str] = set()

    def report(progress: Progress) -> None:
        seen.add(progress.phase)

    if not run.exists():
        create_run(
            run,
            config,
            RunRequest(DataRequest((run.parent.parent.parent / "films",)), run.parent / "versions", "random"),
        )
    with pytest.raises(error, match=words):
        execute(run, Settings(run.parent.parent), report)
    return seen


@pytest.mark.parametrize(
    ("function", "words"),
    [("with_sigmoid", "expected a logit"), ("in_colour", "one logit"), ("missing", "AttributeError")],
)
def test_a_function_of_one_s_own_that_does_not_fit(run: Path, function: str, words: str) -> None:
    name = f"tests.model.networks.test_build:{function}"
    config = dataclasses.replace(GOOD, architecture=name)
    assert phases_until_refusal(run, config, ClassifierError, words) == {"building the network"}


def test_a_layer_that_the_network_lacks(run: Path) -> None:
    config = dataclasses.replace(GOOD, stages=(Stage("fit", 1, 32, "mixed3", 1e-3),))
    assert phases_until_refusal(run, config, ClassifierError, "Received: mixed3") == {"building the network"}


def test_a_folder_of_logs_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    request = RunRequest(DataRequest((tmp_path / "films",)), run.parent / "versions", "random")
    with pytest.raises(RunError, match="logs of TensorBoard"):
        create_run(run, GOOD, dataclasses.replace(request, tensorboard=tmp_path / "file" / "logs"))
    assert not run.exists()


def test_records_that_are_damaged(run: Path) -> None:
    create_run(
        run, GOOD, RunRequest(DataRequest((run.parent.parent.parent / "films",)), run.parent / "versions", "random")
    )
    (run / "checkpoint.npz").write_bytes(b"half a file")
    assert not phases_until_refusal(run, GOOD, RunError, "expected the checkpoint")
    (run / CONFIG).write_text('{"stages": 3')
    assert not phases_until_refusal(run, GOOD, RunError, "expected the configuration")
    (run / CONFIG).unlink()
    assert not phases_until_refusal(run, GOOD, RunError, "FileNotFoundError")

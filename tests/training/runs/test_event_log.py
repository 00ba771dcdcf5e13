"""Logs for TensorBoard, read back as its reader does: TFRecord files of event messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

tf = pytest.importorskip("tensorflow")

from core.progress import Progress, ignore  # noqa: E402
from core.settings import Settings  # noqa: E402
from tests.phantoms import write_dataset  # noqa: E402
from training.data.data_request import DataRequest  # noqa: E402
from training.fitting.config import Stage, TrainingConfig  # noqa: E402
from training.fitting.progress import EpochEnd, FittingStep  # noqa: E402
from training.runs.event_log import event_log  # noqa: E402
from training.runs.request import RunRequest, create_run, read_request  # noqa: E402
from training.runs.run import execute  # noqa: E402

CONFIG = TrainingConfig(
    architecture="cnn_2_1",
    input_px=32,
    batch_size=4,
    validation_fraction=0.3,
    copies=(1, 1),
    augmentation="plain",
    precision="float32",
    stages=(Stage("fit", 3, 32, "", 1e-3),),
)


def events(folder: Path) -> list[Any]:
    from tensorflow.core.util import event_pb2

    found = []
    for path in sorted(folder.iterdir()):
        assert path.name.startswith("events.out.tfevents.")
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event()
            event.ParseFromString(record.numpy())
            found.append(event)
    return found


def scalars(found: list[Any]) -> dict[str, dict[int, float]]:
    """Values by tag and step, as TensorBoard keeps them: a start of a session voids what is at or after its step."""
    kept: dict[str, dict[int, float]] = {}
    for event in found:
        if event.HasField("session_log"):
            kept = {tag: {s: v for s, v in values.items() if s < event.step} for tag, values in kept.items()}
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                kept.setdefault(value.tag, {})[event.step] = value.simple_value
    return kept


def test_steps_epochs_and_configuration_are_written_and_passed_on(tmp_path: Path) -> None:
    seen: list[Progress] = []
    step = FittingStep("fit", 1, 2, 5, 10, 0.5, 0.75, None, 30.0, 9.0)
    row = {"epoch": 1, "loss": 0.25, "train_auroc": 0.25, "val_auroc": 0.25, "val_loss": 0.25, "learning_rate": 1e-3}
    end = EpochEnd(row)
    with event_log(tmp_path / "logs", "one", CONFIG, seen.append) as report:
        report(step.progress())
        report(end.progress(10, 2))
    assert [one.detail for one in seen] == [step, end]
    found = events(tmp_path / "logs" / "one")
    assert found[0].file_version == "brain.Event:2"
    (text,) = [value for event in found for value in event.summary.value if value.tag == "config"]
    assert text.metadata.plugin_data.plugin_name == "text"
    assert '"architecture": "cnn_2_1"' in text.tensor.string_val[0].decode()
    kept = scalars(found)
    assert kept["step/loss"] == {5: 0.5} and kept["step/train_auroc"] == {5: 0.75}
    assert kept["epoch/val_auroc"] == {10: 0.25} and kept["epoch/learning_rate"] == {10: pytest.approx(1e-3)}
    with event_log(None, "two", CONFIG, ignore) as report:
        assert report is ignore
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["one"]


def test_a_run_that_is_resumed_draws_no_step_twice(tmp_path: Path) -> None:
    write_dataset(tmp_path / "films", 12)
    run = tmp_path / "home" / "runs" / "one"
    asked = RunRequest(
        DataRequest((tmp_path / "films",)), run.parent / "versions", "random", tensorboard=tmp_path / "l"
    )
    create_run(run, CONFIG, asked)
    assert read_request(run).tensorboard == tmp_path / "l"

    def stop(progress: Progress) -> None:
        if isinstance(progress.detail, FittingStep) and progress.detail.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(run, Settings(tmp_path / "home"), stop)
    steps = int(max(scalars(events(tmp_path / "l" / "one"))["step/loss"]) / 2)
    assert set(scalars(events(tmp_path / "l" / "one"))["epoch/val_auroc"]) == {steps}
    execute(run, Settings(tmp_path / "home"), ignore)
    assert len(list((tmp_path / "l" / "one").iterdir())) == 2
    kept = scalars(events(tmp_path / "l" / "one"))
    assert set(kept["step/loss"]) == {steps, 2 * steps, 3 * steps} == set(kept["epoch/val_auroc"])

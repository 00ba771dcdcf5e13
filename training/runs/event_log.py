"""Logs of a training for TensorBoard: loss and AUROC of every few steps and of each epoch, and the configuration.

An event file is a TFRecord file of `Event` messages, which TensorFlow itself can write; TensorBoard is only needed to
look at them: ``tensorboard --logdir DIR``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from core.files import make_folder
from core.progress import Progress, Report
from training.fitting.config import TrainingConfig
from training.fitting.progress import EpochEnd, FittingStep

_FILE_VERSION = "brain.Event:2"
_STEP_TAGS = ("loss", "train_auroc", "images_per_second")
_EPOCH_TAGS = ("loss", "train_auroc", "val_auroc", "val_loss", "learning_rate")


@contextmanager
def event_log(
    folder: Path | None,
    run: str,
    config: TrainingConfig,
    report: Report,
    clock: Callable[[], float] = time.time,
) -> Iterator[Report]:
    """Provide a report that also writes what a fit reports to an event file.

    Every value stands at its optimiser step. A resumed run begins a file of its own, which says from which step on the
    values of the earlier files are void, so that no part of an epoch is drawn twice.

    Parameters
    ----------
    folder
        Folder of the logs of all runs; None writes nothing.
    run
        Name of the run: its sub-folder.
    config
        Written as text.
    report
        Called with each progress after it was written.
    clock
        Returns seconds since 1970.

    References
    ----------
    Format: tensorflow/core/util/event.proto, https://www.tensorflow.org/api_docs/python/tf/compat/v1/summary.
    """
    if folder is None:
        yield report
        return
    from tensorflow.core.util import event_pb2

    make_folder(folder / run)
    now = clock()
    started = False
    with tf.io.TFRecordWriter(str(folder / run / f"events.out.tfevents.{now:.6f}.{run}")) as writer:

        def write(step: int = 0, **content: Any) -> None:
            writer.write(event_pb2.Event(wall_time=clock(), step=step, **content).SerializeToString())

        def logged(progress: Progress) -> None:
            nonlocal started
            detail = progress.detail
            if isinstance(detail, FittingStep):
                if not started:
                    started = True
                    first = (detail.epoch - 1) * detail.steps + 1
                    write(first, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
                    write(first, summary=_text("config", config.to_json()))
                write(progress.done, summary=_scalars("step", {tag: getattr(detail, tag) for tag in _STEP_TAGS}))
            elif isinstance(detail, EpochEnd):
                write(progress.done, summary=_scalars("epoch", {tag: detail.row[tag] for tag in _EPOCH_TAGS}))
                writer.flush()
            report(progress)

        write(file_version=_FILE_VERSION)
        yield logged


def _scalars(group: str, values: Mapping[str, float]) -> Any:
    from tensorflow.core.framework import summary_pb2

    one = summary_pb2.Summary.Value
    return summary_pb2.Summary(value=[one(tag=f"{group}/{tag}", simple_value=value) for tag, value in values.items()])


def _text(tag: str, json_text: str) -> Any:
    """Return a text summary; TensorBoard shows it as Markdown, in which an indented block stays as it is."""
    from tensorflow.core.framework import summary_pb2

    shown = "\n".join(f"    {line}" for line in json_text.splitlines())
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text"),
        data_class=summary_pb2.DATA_CLASS_TENSOR,
    )
    value = summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tf.make_tensor_proto([shown]))
    return summary_pb2.Summary(value=[value])

"""Disk space and memory that a run needs, checked before it starts. This module does not import TensorFlow."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from core.errors import ResourceError
from core.formatting import format_size
from model.networks.architectures import ARCHITECTURES
from training.data.dataset import scan
from training.fitting.config import TrainingConfig
from training.runs.request import RunRequest

# What is not known, as a function of one's own, is taken for large.
_LARGEST = max(one.parameters for one in ARCHITECTURES.values())
# A checkpoint holds weights, their average and two moments of the optimiser, 4 bytes each; a version half of one.
_CHECKPOINT_BYTES, _VERSION_BYTES = 16, 2.2
# Of one copy of a radiograph; InceptionV3 over the lungs pools most.
_FEATURE_BYTES = 2816 * 4
_SMALL_FILES = 64e6
# TensorFlow with its libraries; the network with gradients, average and moments; the activations of a batch. Measured
# for InceptionV3 with 32 pictures of 299 px: 3.5 GB in total.
_TENSORFLOW_BYTES, _PARAMETER_BYTES, _PIXEL_BYTES = 0.9e9, 20, 760
# Both parts of the split are copies of the decoded pictures; of films framed by their lungs these copies, and what they
# are divided from, have three channels.
_PICTURE_COPIES, _FRAMED_COPIES = 2, 7


def disk_needed(config: TrainingConfig, n: int) -> tuple[float, float]:
    """Estimate the disk space of a run.

    Parameters
    ----------
    config
        The configuration of the run.
    n
        Number of radiographs.

    Returns
    -------
    tuple of float
        Bytes in the run's directory, and bytes in the folder of the versions.
    """
    parameters = _parameters(config)
    # A checkpoint is only removed once the next one is complete.
    checkpoints = 2 * _CHECKPOINT_BYTES * parameters
    if config.cached_copies:
        checkpoints = (config.cached_copies + 1) * n * _FEATURE_BYTES
    return checkpoints + _VERSION_BYTES * parameters + _SMALL_FILES, _VERSION_BYTES * parameters + _SMALL_FILES


def memory_needed(config: TrainingConfig, n: int) -> float:
    """Estimate the bytes of memory of a run with `config` on `n` radiographs."""
    parameters = _parameters(config)
    px = max(stage.input_px for stage in config.stages)
    # A frozen network keeps almost no activations.
    per_pixel = _PIXEL_BYTES / 4 if config.cached_copies else _PIXEL_BYTES
    return (
        _TENSORFLOW_BYTES
        + _PARAMETER_BYTES * parameters
        + per_pixel * config.batch_size * px**2
        + (_FRAMED_COPIES if _may_be_framed(config) else _PICTURE_COPIES) * n * config.detail_px**2
    )


def check_resources(run_dir: Path, config: TrainingConfig, request: RunRequest) -> None:
    """Check that free disk space and free memory are sufficient for a run.

    Parameters
    ----------
    run_dir
        Directory of the run; checkpoints in it count as written.
    config, request
        The configuration and the request of the run.

    Raises
    ------
    ResourceError
        If disk space or memory is insufficient.
    DatasetError
        If the dataset is gone.
    """
    folder = scan(request.data)
    n = len(folder.train) + len(folder.val)
    here, there = disk_needed(config, n)
    # Files of an interrupted run are already written.
    here -= sum(path.stat().st_size for path in run_dir.glob("*.npz"))
    out = _nearest(request.out)
    if run_dir.stat().st_dev == out.stat().st_dev:
        _refuse_less("disk", here + there, shutil.disk_usage(run_dir).free)
    else:
        _refuse_less("disk", here, shutil.disk_usage(run_dir).free)
        _refuse_less("disk", there, shutil.disk_usage(out).free)
    _refuse_less("memory", memory_needed(config, n), psutil.virtual_memory().available)


def _parameters(config: TrainingConfig) -> int:
    known = ARCHITECTURES.get(config.architecture)
    return known.parameters if known is not None else _LARGEST


def _may_be_framed(config: TrainingConfig) -> bool:
    """Whether films are framed by their lungs, or may be: of a function of one's own only its network tells."""
    known = ARCHITECTURES.get(config.architecture)
    return known is None or known.is_framed


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _refuse_less(what: str, needed: float, free: float) -> None:
    if free < needed:
        advice = {
            "disk": "Free some disk space, then resume the run.",
            "memory": "End other programs on this machine, or start a new run with a smaller batch or --detail-px.",
        }
        raise ResourceError(
            f"expected {format_size(needed)} of free {what} for this run. Received: {format_size(free)}",
            advice=advice[what],
        )

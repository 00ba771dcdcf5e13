"""Cache of what the Retrain page reads from disk at each rerun and poll, keyed by modification times.

A folder's modification time changes when an entry is added, removed or renamed, so a dataset of thousands of files is
checked by the times of its few folders. A file that was overwritten in place is noticed within `MAX_AGE_SECONDS`.

>>> folder_state(Path("/srv/radiographs/films"))
(('/srv/radiographs/films', 1764590884123456789), ('/srv/radiographs/films/NORMAL', 1764590884223456789), ...)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.errors import DatasetError
from core.settings import Settings
from training.data import sources
from training.data.audit_split import SplitAudit
from training.data.data_request import DataRequest
from training.data.dataset import scan
from training.data.description import describe
from training.data.patient_preview import PatientPreview, preview
from training.data.sources import Dataset
from training.runs import audits, candidate, jobs
from training.runs.audits import AuditState
from training.runs.jobs import Job

MAX_AGE_SECONDS = 60
FolderState = tuple[tuple[str, int], ...]
Rows = list[dict[str, Any]]
_CURVE_FILES = ("history.json", "progress.jsonl")


def folder_state(root: Path) -> FolderState:
    """Return the path and modification time (ns) of every folder of a dataset, sorted by path.

    Folders that cannot be read are left out. Links are followed at the splits and classes, where training follows them.
    """
    places = sources.class_places(root)
    waiting = [str(folder) for folder in (root, *(place.parent for place in places), *places)]
    found: dict[str, int] = {}
    while waiting:
        folder = waiting.pop()
        if folder in found:
            continue
        try:
            found[folder] = Path(folder).stat().st_mtime_ns
            waiting += _subfolders(folder, found[folder])
        except OSError:
            found.pop(folder, None)
    return tuple(sorted(found.items()))


def is_current(settings: Settings, state: AuditState) -> bool:
    """Return whether a dataset has the same files, sizes and times as at its audit."""
    try:
        datasets = tuple(sources.dataset_at(settings, one.path) for one in state.datasets)
    except DatasetError:
        return False
    return _audit_key(datasets, state.data.patient_pattern, folder_states(datasets)) == state.key


def folder_states(datasets: Sequence[Dataset]) -> tuple[FolderState, ...]:
    """Return the state of every folder of some datasets, in their order; see `folder_state`."""
    return tuple(folder_state(one.path) for one in datasets)


def with_counts(dataset: Dataset) -> Dataset:
    """Return a dataset with its radiographs counted by split and class."""
    return _counted(dataset, str(dataset.path), folder_state(dataset.path))


def patient_preview(settings: Settings, datasets: Sequence[Dataset], pattern: str) -> PatientPreview:
    """Return what datasets will be split by, from the names of files and the headers of DICOM files.

    Parameters
    ----------
    settings
        The installation, whose key hashes DICOM patient IDs.
    datasets
        The sources.
    pattern
        Patient pattern, "" for none.

    Raises
    ------
    DatasetError
        If the data or the pattern cannot be used.
    """
    data = audits.data_of(settings, *datasets, patient_pattern=pattern)
    return _previewed(data, tuple(map(str, data.sources)), pattern, folder_states(datasets))


def description(state: AuditState) -> dict[str, Any]:
    """Return what headers, tables and published names say of audited data; see `training.data.description`.

    Raises
    ------
    DatasetError
        If the data can no longer be used.
    """
    return _described(state.data, state.key)


def learning_curves(job: Job) -> tuple[Rows, Rows]:
    """Return the rows of the finished epochs of a run, and the rows within epochs."""
    return _curves(job, str(job.folder), tuple(file_state(job.folder / name) for name in _CURVE_FILES))


def split_audit(run_folder: Path) -> SplitAudit | None:
    """Return the audit of the split of a run, None where it is not on record."""
    return _split_audit(str(run_folder), file_state(run_folder / "audit.json"))


def file_state(path: Path) -> tuple[int, ...]:
    """Return inode, size and modification time (ns) of a file; empty where it cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


@st.cache_data(max_entries=4096, show_spinner=False)
def _subfolders(folder: str, modified_ns: int) -> list[str]:  # noqa: ARG001 (part of the cache's key)
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


# Streamlit leaves arguments with a leading underscore out of the key.
@st.cache_data(max_entries=64, ttl=MAX_AGE_SECONDS, show_spinner=False)
def _audit_key(_datasets: tuple[Dataset, ...], pattern: str, states: tuple[FolderState, ...]) -> str:  # noqa: ARG001
    return audits.audit_key(*_datasets, patient_pattern=pattern)


# The names of files may be those of patients, as with thumbnails.
@st.cache_data(max_entries=16, ttl=300, show_spinner="Reading the names of files and the headers of DICOM files.")
def _previewed(
    _data: DataRequest,
    paths: tuple[str, ...],  # noqa: ARG001 (the cache's key)
    pattern: str,  # noqa: ARG001
    states: tuple[FolderState, ...],  # noqa: ARG001
) -> PatientPreview:
    return preview(scan(_data))


@st.cache_data(max_entries=64, show_spinner=False)
def _counted(_dataset: Dataset, path: str, state: FolderState) -> Dataset:  # noqa: ARG001 (the cache's key)
    return sources.with_counts(_dataset)


@st.cache_data(max_entries=32, show_spinner=False)
def _split_audit(folder: str, state: tuple[int, ...]) -> SplitAudit | None:  # noqa: ARG001 (the cache's key)
    audit = candidate.run_audit(Path(folder))
    return None if audit is None else audit.split


# The audit's key stands for the state of its files.
@st.cache_data(max_entries=16, show_spinner="Reading the headers of DICOM files.")
def _described(_data: DataRequest, key: str) -> dict[str, Any]:  # noqa: ARG001 (the cache's key)
    folder = scan(_data)
    return describe((*folder.train, *folder.val), {})


@st.cache_data(max_entries=16, show_spinner=False)
def _curves(_job: Job, folder: str, files: tuple[tuple[int, ...], ...]) -> tuple[Rows, Rows]:  # noqa: ARG001 (as above)
    return jobs.epochs(_job), jobs.points(_job)

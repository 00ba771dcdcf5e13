"""The Data step: select a dataset on the server or upload one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import IO

import streamlit as st

from core.errors import AppError
from core.formatting import format_count
from core.progress import Progress, Report
from core.settings import Settings
from pages.retraining import file_cache
from pages.retraining.charts_audit import SPLIT_NAMES
from pages.shared import installation, visitor
from pages.shared.streamlit_patches import take_upload
from records.activity import dataset_object
from training.data import sources, uploads
from training.data.dataset import SUFFIXES
from training.data.sample import CLASSES
from training.data.sources import Dataset
from training.runs import audits, jobs

ZIP, DIRECTORY = "ZIP file", "Folder on this computer"
_SELECTED, _MESSAGE, _ROUND, _DELETING = "choose.dataset", "choose.message", "choose.round", "choose.deleting"
_LAYOUT = (
    "Two folders NORMAL and PNEUMONIA with radiographs as DICOM, JPEG, PNG, TIFF, BMP or WebP; or folders train, val "
    "and test, each with these two; or radiographs with a CSV table that has the columns path and label."
)


def show(settings: Settings) -> None:
    """Draw the datasets on the server and the upload."""
    left, right = st.columns((3, 2), gap="medium")
    # The upload first: a new dataset is selected in the same run.
    with right, st.container(key="panel_upload"):
        show_upload(settings)
    with left, st.container(key="panel_choose"):
        show_folders(settings)


def show_folders(settings: Settings) -> None:
    """Draw the list of datasets, the class counts of the selected one and the button that starts its audit."""
    st.html('<h1 class="pl-title">Select training data</h1>')
    for message in st.session_state.pop(_MESSAGE, ()):
        st.html(f'<p class="pl-note" role="status">{escape(message)}</p>')
    datasets = {dataset.id: dataset for dataset in sources.list_datasets(settings)}
    if not datasets:
        show_empty(settings)
        return
    if st.session_state.get(_SELECTED) not in datasets:
        st.session_state.pop(_SELECTED, None)
    selected = st.selectbox(
        "Dataset on the server",
        list(datasets),
        key=_SELECTED,
        persist_state="session",
        format_func=lambda one: label(datasets[one]),
    )
    dataset = file_cache.with_counts(datasets[selected])
    st.html(f'<p class="pl-note">{escape(str(dataset.path))}</p>{counts_table(dataset)}')
    with st.container(horizontal=True, gap="small"):
        if st.button("Audit dataset", type="primary", key="choose.audit"):
            start_audit(settings, dataset)
        if dataset.is_upload and st.button("Delete upload", key="choose.delete"):
            st.session_state[_DELETING] = dataset.id
    st.html(
        '<p class="pl-note">The audit reads every radiograph and reports unreadable files, duplicates '
        "and label conflicts. It does not change the files. The audit of an unchanged dataset is shown at once.</p>"
    )
    if dataset.is_upload and st.session_state.get(_DELETING) == dataset.id:
        confirm_deletion(settings, dataset)


def start_audit(settings: Settings, dataset: Dataset) -> None:
    """Start the audit, or reuse the existing one, and open its step."""
    try:
        with visitor.noted(settings, "audit", dataset_object(dataset.id)):
            key = audits.start_audit(settings, dataset)
    except AppError as error:
        show_refusal(error)
        return
    st.query_params["step"] = "audit"
    st.query_params["audit"] = key
    st.query_params.pop("run", None)
    st.rerun()


def show_empty(settings: Settings) -> None:
    """Draw the empty state: how to add a dataset."""
    roots = sources.data_roots(settings)[:-1]
    if roots:
        searched = "".join(f"<li>{escape(str(root))}</li>" for root in roots)
        first = f"<p>No dataset found. Folders searched, three levels deep:</p><ul>{searched}</ul>"
    else:
        first = (
            "<p>No dataset folders are configured. Set PNEUMOLENS_DATA_ROOTS to the folders with datasets and restart "
            "the app, for example PNEUMOLENS_DATA_ROOTS=/srv/radiographs.</p>"
        )
    st.html(
        f'<section class="pl-about">{first}<p>You can also upload radiographs on this page.</p>'
        f"<h2>Expected folder structure</h2><p>{_LAYOUT}</p></section>"
    )


def show_upload(settings: Settings) -> None:
    """Draw the upload and store it as a dataset."""
    most = st.get_option("server.maxUploadSize")  # what the server takes, whatever a page offers
    st.html(
        '<h2 class="pl-heading">Upload radiographs</h2>'
        f'<p class="pl-note">{_LAYOUT} Uploads stay on this server until you delete them. Upload a dataset of '
        f"more than {most} MB as a folder.</p>"
    )
    kind = st.segmented_control(
        "Upload as", (ZIP, DIRECTORY), default=ZIP, required=True, key="choose.kind", label_visibility="collapsed"
    )
    # A new key empties the uploader after an upload was stored or refused.
    key = f"choose.upload.{kind}.{st.session_state.get(_ROUND, 0)}"
    problem = st.session_state.pop("choose.problem", None)
    if problem is not None:
        show_refusal(problem)
    if kind == ZIP:
        file = st.file_uploader(f"One ZIP file, up to {most} MB", type="zip", key=key)
        if file is not None:
            receive(partial(uploads.unpack_zip, settings, file, file.name))
            take_upload(file)
            st.rerun()
    else:
        files = st.file_uploader(
            f"One folder with its subfolders, up to {most} MB per file",
            key=key,
            type=[*sorted(suffix[1:] for suffix in SUFFIXES), "csv"],
            accept_multiple_files="directory",
        )
        if files:
            named: list[tuple[str, IO[bytes]]] = [(file.name, file) for file in files]
            receive(lambda report: uploads.store_files(settings, named, report=report))
            for file in files:
                take_upload(file)
            st.rerun()


def receive(store: Callable[[Report], uploads.Stored]) -> None:
    """Store an upload with a progress bar; the result is shown at the next run of the page."""
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    with st.empty():
        st.progress(0.0, "Checking the upload.")

        def show(progress: Progress) -> None:
            if progress.done % 50 == 0:
                st.progress(
                    progress.done / progress.total, f"Storing radiograph {progress.done + 1:,} of {progress.total:,}."
                )

        try:
            stored = store(show)
        except AppError as error:
            visitor.note(installation.settings(), "upload", outcome="refused")
            st.session_state["choose.problem"] = error
            return
    visitor.note(installation.settings(), "upload", dataset_object(stored.dataset.id))
    st.session_state[_SELECTED] = stored.dataset.id
    words = f"{count(total_of(stored.dataset))} stored as “{stored.dataset.name}”."
    if stored.left_out:
        files = "1 other file was" if stored.left_out == 1 else f"{stored.left_out:,} other files were"
        words += f" {files} skipped."
    st.session_state[_MESSAGE] = (words,)


def confirm_deletion(settings: Settings, dataset: Dataset) -> None:
    """Ask for confirmation and delete an upload."""
    st.html(
        f'<section class="pl-warning"><p><strong>Delete “{escape(dataset.name)}” permanently?'
        f"</strong></p><p>{count(total_of(dataset))} and their audits will be deleted. Classifier versions "
        "trained on them are kept.</p></section>"
    )
    with st.container(horizontal=True, gap="small"):
        if st.button("Cancel", key="choose.keep"):
            st.session_state.pop(_DELETING)
            st.rerun()
        if not st.button("Delete permanently", key="choose.delete_for_good"):
            return
    st.session_state.pop(_DELETING)
    in_training = [
        source
        for job in jobs.list_jobs(settings)
        if job.state in ("running", "queued") and job.data is not None
        for source in job.data.sources
    ]
    try:
        with visitor.noted(settings, "delete", dataset_object(dataset.id)):
            sources.delete_dataset(settings, dataset.id, (*in_training, *audits.folders_in_use(settings)))
    except AppError as error:
        show_refusal(error)
        return
    audits.forget_audits(settings, dataset)
    st.session_state[_MESSAGE] = (f"“{dataset.name}” was deleted.",)
    st.rerun()


def show_refusal(error: AppError) -> None:
    """Draw an error: what to do, and the technical message."""
    st.html(
        f'<section class="pl-warning"><p><strong>{escape(error.advice)}</strong></p>'
        f'<p class="pl-note">{escape(str(error))}. Nothing was changed.</p></section>'
    )


def label(dataset: Dataset) -> str:
    """Return the name of a dataset in the list."""
    return f"{dataset.name} (upload)" if dataset.is_upload else dataset.name


def total_of(dataset: Dataset) -> int:
    """Return the number of radiographs of a counted dataset."""
    return sum(sum(counts.values()) for counts in (dataset.n or {}).values())


def count(n: int) -> str:
    """Return a number of radiographs as words."""
    return format_count(n, "radiograph")


def counts_table(dataset: Dataset) -> str:
    """Return the counts of a dataset as a table, by split and class."""
    if not dataset.n:
        return '<p class="pl-warning">This dataset contains no radiographs.</p>'
    head = "".join(f"<th>{name}</th>" for name in CLASSES)
    rows = "".join(
        f"<tr><th>{SPLIT_NAMES.get(split, escape(split))}</th>"
        + "".join(f"<td>{counts.get(name, 0):,}</td>" for name in CLASSES)
        + "</tr>"
        for split, counts in dataset.n.items()
    )
    return f'<table class="pl-table"><tr><th>Radiographs</th>{head}</tr>{rows}</table>'

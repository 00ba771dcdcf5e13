"""Data: which radiographs to train on; a folder of the server, or an upload that becomes one."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import IO

import streamlit as st

from core.errors import AppError
from core.formatting import format_count
from core.progress import Progress, Report
from core.settings import Settings
from pages.shared.streamlit_patches import take_upload
from training.data import sources, uploads
from training.data.sources import CLASSES, SUFFIXES, Dataset
from training.runs import audits, jobs

ZIP, DIRECTORY = "A zip file", "A folder of this computer"
MOST_ZIP_MB = 4000
PARTS = {"train": "Training", "val": "Validation", "test": "Test"}
_CHOSEN, _SAID, _ROUND, _DELETING = "choose.dataset", "choose.said", "choose.round", "choose.deleting"
_LAYOUT = (
    "Two folders called NORMAL and PNEUMONIA with the radiographs in them, as JPEG, PNG, TIFF, BMP or WebP; or "
    "train, val and test with these two in each."
)


def show(settings: Settings, who: str) -> None:
    """Draw what can be trained on and the ways to add to it; the chosen folder goes on to its audit."""
    left, right = st.columns((3, 2), gap="medium")
    # The upload first, since what it adds is chosen at once.
    with right, st.container(key="panel_upload"):
        show_upload(settings)
    with left, st.container(key="panel_choose"):
        show_folders(settings)


def show_folders(settings: Settings) -> None:
    """Draw the folders that may be trained on, what the chosen one holds, and the button that audits it."""
    st.html('<h1 class="pl-title">Choose the radiographs to train on</h1>')
    for said in st.session_state.pop(_SAID, ()):
        st.html(f'<p class="pl-note" role="status">{escape(said)}</p>')
    datasets = {dataset.id: dataset for dataset in sources.list_datasets(settings)}
    if not datasets:
        show_nothing(settings)
        return
    if st.session_state.get(_CHOSEN) not in datasets:
        st.session_state.pop(_CHOSEN, None)
    chosen = st.selectbox(
        "Folder on the server",
        list(datasets),
        key=_CHOSEN,
        persist_state="session",
        format_func=lambda one: label(datasets[one]),
    )
    dataset = sources.with_counts(datasets[chosen])
    st.html(f'<p class="pl-note">{escape(str(dataset.path))}</p>{table(dataset)}')
    with st.container(horizontal=True, gap="small"):
        if st.button("Audit this folder", type="primary", key="choose.audit"):
            begin(settings, dataset)
        if dataset.is_upload and st.button("Delete this upload", key="choose.delete"):
            st.session_state[_DELETING] = dataset.id
    st.html(
        '<p class="pl-note">The audit reads every picture and looks for damaged files, duplicates and '
        "contradictions. It changes nothing. A folder that has not changed since its last audit shows at once.</p>"
    )
    if dataset.is_upload and st.session_state.get(_DELETING) == dataset.id:
        confirm_deletion(settings, dataset)


def begin(settings: Settings, dataset: Dataset) -> None:
    """Start the audit, or take the one that there is, and go on to it."""
    try:
        key = audits.start_audit(settings, dataset)
    except AppError as error:
        show_refusal(error)
        return
    st.query_params["step"] = "audit"
    st.query_params["audit"] = key
    st.query_params.pop("run", None)
    st.rerun()


def show_nothing(settings: Settings) -> None:
    """Say what to do while there is no folder to choose."""
    roots = sources.data_roots(settings)[:-1]
    if roots:
        looked = "".join(f"<li>{escape(str(root))}</li>" for root in roots)
        first = f"<p>No dataset was found. These folders were looked through, three levels deep:</p><ul>{looked}</ul>"
    else:
        first = (
            "<p>No folder of this server may be trained on yet. Whoever installed PneumoLens names the folders in "
            "the setting PNEUMOLENS_DATA_ROOTS and starts the app again, for example "
            "PNEUMOLENS_DATA_ROOTS=/srv/radiographs.</p>"
        )
    st.html(
        f'<section class="pl-about">{first}<p>Or upload radiographs on this page.</p>'
        f"<h2>What a dataset looks like</h2><p>{_LAYOUT}</p></section>"
    )


def show_upload(settings: Settings) -> None:
    """Draw the upload and make a dataset of what comes in."""
    st.html(
        '<h2 class="pl-heading">Upload radiographs</h2>'
        f'<p class="pl-note">{_LAYOUT} They are stored on this server until you delete them.</p>'
    )
    kind = st.segmented_control(
        "Upload as", (ZIP, DIRECTORY), default=ZIP, required=True, key="choose.kind", label_visibility="collapsed"
    )
    # A new key empties the uploader: what has been stored, or refused, is let go of.
    key = f"choose.upload.{kind}.{st.session_state.get(_ROUND, 0)}"
    problem = st.session_state.pop("choose.problem", None)
    if problem is not None:
        show_refusal(problem)
    if kind == ZIP:
        file = st.file_uploader(
            f"One zip file, up to {MOST_ZIP_MB // 1000} GB", type="zip", key=key, max_upload_size=MOST_ZIP_MB
        )
        if file is not None:
            receive(lambda report: uploads.unpack_zip(settings, file, file.name, report))
            take_upload(file)
            st.rerun()
    else:
        files = st.file_uploader(
            "One folder with all that is below it, up to 200 MB for each picture",
            key=key,
            type=sorted(suffix[1:] for suffix in SUFFIXES),
            accept_multiple_files="directory",
        )
        if files:
            named: list[tuple[str, IO[bytes]]] = [(file.name, file) for file in files]
            receive(lambda report: uploads.store_files(settings, named, report=report))
            for file in files:
                take_upload(file)
            st.rerun()


def receive(store: Callable[[Report], uploads.Stored]) -> None:
    """Store an upload with a progress bar; keep what came of it for the next drawing of the page."""
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    with st.empty():
        st.progress(0.0, "Looking at what came in.")

        def show(progress: Progress) -> None:
            if progress.done % 50 == 0:
                st.progress(
                    progress.done / progress.total, f"Storing picture {progress.done + 1:,} of {progress.total:,}."
                )

        try:
            stored = store(show)
        except AppError as error:
            st.session_state["choose.problem"] = error
            return
    st.session_state[_CHOSEN] = stored.dataset.id
    words = f"{count(total_of(stored.dataset))} stored as “{stored.dataset.name}”."
    if stored.left_out:
        files = "1 other file was" if stored.left_out == 1 else f"{stored.left_out:,} other files were"
        words += f" {files} left out."
    st.session_state[_SAID] = (words,)


def confirm_deletion(settings: Settings, dataset: Dataset) -> None:
    """Ask before an upload is deleted, and delete it."""
    st.html(
        f'<section class="pl-warning"><p><strong>Delete “{escape(dataset.name)}” from this server for good?'
        f"</strong></p><p>{count(total_of(dataset))} and the audits of them. Classifier versions that were "
        "trained on them stay.</p></section>"
    )
    with st.container(horizontal=True, gap="small"):
        if st.button("Keep it", key="choose.keep"):
            st.session_state.pop(_DELETING)
            st.rerun()
        if not st.button("Delete for good", key="choose.delete_for_good"):
            return
    st.session_state.pop(_DELETING)
    going = [job.data for job in jobs.list_jobs(settings) if job.state in ("running", "queued")]
    try:
        sources.delete_dataset(settings, dataset.id, (*going, *audits.folders_in_use(settings)))
    except AppError as error:
        show_refusal(error)
        return
    audits.forget_audits(settings, dataset)
    st.session_state[_SAID] = (f"“{dataset.name}” was deleted.",)
    st.rerun()


def show_refusal(error: AppError) -> None:
    """Say why something was not done and what to do."""
    st.html(
        f'<section class="pl-warning"><p><strong>{escape(error.advice)}</strong></p>'
        f'<p class="pl-note">{escape(str(error))}. Nothing was changed.</p></section>'
    )


def label(dataset: Dataset) -> str:
    """Return what a folder is called in the list."""
    return f"{dataset.name} (upload)" if dataset.is_upload else dataset.name


def total_of(dataset: Dataset) -> int:
    """Return how many radiographs a counted dataset holds."""
    return sum(sum(counts.values()) for counts in (dataset.n or {}).values())


def count(n: int) -> str:
    """Write a number of radiographs."""
    return format_count(n, "radiograph")


def table(dataset: Dataset) -> str:
    """Return the counts of a dataset as a table, by part and class."""
    if not dataset.n:
        return '<p class="pl-warning">No radiograph was found in this folder.</p>'
    head = "".join(f"<th>{name}</th>" for name in CLASSES)
    rows = "".join(
        f"<tr><th>{PARTS.get(part, escape(part))}</th>"
        + "".join(f"<td>{counts.get(name, 0):,}</td>" for name in CLASSES)
        + "</tr>"
        for part, counts in dataset.n.items()
    )
    return f'<table class="pl-table"><tr><th>Radiographs</th>{head}</tr>{rows}</table>'

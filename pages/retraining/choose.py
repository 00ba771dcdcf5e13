"""The Data step: select datasets on the server or upload one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from pages.shared.administrator import guarded
from pages.shared.streamlit_patches import take_upload
from records.activity import dataset_object
from training.data import sources, uploads
from training.data.dataset import SUFFIXES
from training.data.patient_preview import PatientPreview, concerns, skipped_in_words
from training.data.patients import FILE, PATTERN
from training.data.sample import CLASSES
from training.data.sources import Dataset
from training.runs import audits, jobs, recalibrations

ZIP, DIRECTORY = "ZIP file", "Folder on this computer"
_SELECTED, _PATTERN = "choose.datasets", "choose.pattern"
_MESSAGE, _ROUND, _DELETING = "choose.message", "choose.round", "choose.deleting"
RULE_NAMES = {PATTERN: "patient pattern", FILE: "unknown: each file its own patient"}
_LAYOUT = (
    "Two folders NORMAL and PNEUMONIA with radiographs as DICOM, JPEG, PNG, TIFF, BMP or WebP; or folders train, val "
    "and test, each with these two; or radiographs with a CSV or Parquet table that has the columns path and label."
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
    """Draw the list of datasets, the counts and patients of the selected ones and the button that starts the audit."""
    st.html('<h1 class="pl-title">Select training data</h1>')
    for message in st.session_state.pop(_MESSAGE, ()):
        st.html(f'<p class="pl-note" role="status">{escape(message)}</p>')
    datasets = {dataset.id: dataset for dataset in sources.list_datasets(settings)}
    if not datasets:
        show_empty(settings)
        return
    known = [one for one in st.session_state.get(_SELECTED, list(datasets)[:1]) if one in datasets]
    st.session_state[_SELECTED] = known
    ids = st.multiselect(
        "Datasets on the server",
        list(datasets),
        key=_SELECTED,
        persist_state="session",
        format_func=lambda one: label(datasets[one]),
        placeholder="Select one or several",
        help="Several datasets are trained on together: batches are balanced by class within each of them, and every "
        "figure is reported by dataset as well.",
    )
    if not ids:
        st.html('<p class="pl-note">Select at least one dataset.</p>')
        return
    try:
        selected = [file_cache.with_counts(datasets[one]) for one in ids]
    except AppError as error:
        show_refusal(error)
        return
    st.html("".join(f'<p class="pl-note">{escape(str(one.path))}</p>' for one in selected) + counts_table(selected))
    pattern = show_patients(settings, selected)
    with st.container(horizontal=True, gap="small"):
        if st.button(
            "Audit dataset" if len(selected) == 1 else f"Audit {len(selected)} datasets",
            type="primary",
            key="choose.audit",
            disabled=pattern is None,
        ):
            start_audit(settings, selected, pattern or "")
        uploaded = [one for one in selected if one.is_upload]
        if len(selected) == len(uploaded) == 1 and st.button("Delete upload", key="choose.delete"):
            st.session_state[_DELETING] = uploaded[0].id
    st.html(
        '<p class="pl-note">The audit reads every radiograph and reports unreadable files, duplicates, '
        "label conflicts and acquisition styles. It does not change the files.</p>"
    )
    if len(selected) == len(uploaded) == 1 and st.session_state.get(_DELETING) == uploaded[0].id:
        confirm_deletion(settings, uploaded[0])


def show_patients(settings: Settings, datasets: Sequence[Dataset]) -> str | None:
    """Draw how the patients are found, and the patient pattern; return the pattern, None where data or pattern fail."""
    st.html('<h2 class="pl-heading">Patients</h2>')
    place = st.empty()  # above the pattern, on which it depends
    pattern = st.text_input(
        "Patient pattern (optional)",
        key=_PATTERN,
        persist_state="session",
        placeholder=r"P(\d+)_\d+",
        help="Regular expression that matches a whole file name without its ending, with the patient in parentheses. "
        r"P(\d+)_\d+ finds patient 0012 in P0012_1.jpeg. Files that it does not match follow the other rules.",
    ).strip()
    try:
        found = file_cache.patient_preview(settings, datasets, pattern)
    except AppError as error:
        with place:
            show_refusal(error)
        return None
    with place.container():
        show_preview(found)
    if found.pattern and not pattern:
        st.button(
            f"Use {found.pattern}: {found.pattern_patients:,} patients",
            key="choose.suggested",
            on_click=guarded(use_pattern),
            args=(found.pattern,),
        )
    return pattern


def use_pattern(pattern: str) -> None:
    """Fill in the patient pattern."""
    st.session_state[_PATTERN] = pattern


def show_preview(found: PatientPreview) -> None:
    """Draw the split, the rules that found the patients, examples, skipped files and what is to be said of them."""
    by_file = found.rules.get(FILE, 0)
    words = f"Split {found.split}."
    if by_file:
        st.html(
            f'<section class="pl-warning"><p><strong>{escape(words)}</strong></p><p>Radiographs of one patient may '
            "then be in training and in validation, which makes the figures too good. Give a patient pattern below, or "
            "a table with the column patient.</p></section>"
        )
    else:
        st.html(f"<p>{escape(words)}</p>")
    rules = "".join(
        f"<tr><th>{escape(capitalized(RULE_NAMES.get(rule, rule)))}</th><td>{format_count(n, 'file')}</td></tr>"
        for rule, n in sorted(found.rules.items(), key=lambda one: -one[1])
    )
    examples = "".join(
        f"<tr><th>{escape(file)}</th><td>→ {escape(patient_in_words(patient))}</td></tr>"
        for file, patient in found.examples
    )
    st.html(
        f'<table class="pl-facts">{rules}</table><p class="pl-name"><span>Examples</span></p>'
        f'<table class="pl-facts">{examples}</table>'
    )
    said = [sentence for code, sentence in concerns(found) if code not in ("PATIENT_PATTERN", "SKIPPED")]
    if said:
        st.html(f'<section class="pl-warning">{"".join(f"<p>{escape(one)}</p>" for one in said)}</section>')
    if found.skipped:
        st.html(f'<p class="pl-note">Skipped files: {escape(skipped_in_words(found.skipped))}.</p>')


def patient_in_words(patient: str) -> str:
    """Return a patient's name, or that it is unknown where a file counts as its own patient."""
    return "unknown" if patient.split(": ", 1)[-1].startswith("file ") else patient


def start_audit(settings: Settings, datasets: Sequence[Dataset], pattern: str) -> None:
    """Start the audit, or reuse the existing one, and open its step."""
    try:
        with visitor.noted(settings, "audit", datasets_object(datasets)):
            key = audits.start_audit(settings, *datasets, patient_pattern=pattern)
    except AppError as error:
        show_refusal(error)
        return
    st.query_params["step"] = "audit"
    st.query_params["audit"] = key
    st.query_params.pop("run", None)
    st.rerun()


def datasets_object(datasets: Sequence[Dataset]) -> str:
    """Return what stands for some datasets in the activity log."""
    return " + ".join(dataset_object(one.id) for one in datasets)


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
            type=[*sorted(suffix[1:] for suffix in SUFFIXES), "csv", "parquet"],
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
    st.session_state[_SELECTED] = [stored.dataset.id]
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
            in_use = (*in_training, *audits.folders_in_use(settings), *recalibrations.folders_in_use(settings))
            sources.delete_dataset(settings, dataset.id, in_use)
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


def counts_table(datasets: Sequence[Dataset]) -> str:
    """Return the counts of datasets as a table, by dataset where there are several, split and class."""
    empty = [one.name for one in datasets if not one.n]
    if empty:
        return f'<p class="pl-warning">{escape(", ".join(empty))}: no radiographs.</p>'
    head = "".join(f"<th>{name}</th>" for name in CLASSES)
    rows = "".join(
        f"<tr><th>{SPLIT_NAMES.get(split, escape(split))}"
        + (f"<span>{escape(dataset.name)}</span>" if len(datasets) > 1 else "")
        + "</th>"
        + "".join(f"<td>{counts.get(name, 0):,}</td>" for name in CLASSES)
        + "</tr>"
        for dataset in datasets
        for split, counts in (dataset.n or {}).items()
    )
    return f'<table class="pl-table"><tr><th>Radiographs</th>{head}</tr>{rows}</table>'


def capitalized(words: str) -> str:
    """Return words with the first letter in upper case and the others unchanged."""
    return words[:1].upper() + words[1:]

"""The Train step after the start: the running training, the queue and earlier trainings, all read from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go
import streamlit as st

from core.errors import AppError
from core.formatting import UNDEFINED, format_duration
from core.settings import Settings
from pages.retraining import file_cache
from pages.retraining.charts_watch import training_curves
from pages.retraining.split import show_split
from pages.shared import visitor
from pages.shared.administrator import guarded, still_administrator
from pages.shared.measures import stage_name
from training.runs import jobs, run_queue
from training.runs.jobs import Job

POLL_SECONDS = 2
LOG_LINES = 200
_CONFIRM, _ERROR, _CURVES = "watch.confirm", "watch.error", "watch.curves"
STATES = {"queued": "Queued", "running": "Running", "cancelled": "Cancelled", "failed": "Failed", "done": "Done"}
PHASES = {
    "starting": "Starting (about 10 seconds)",
    "fitting": "Training",
    "auditing the folder": "Auditing the dataset",
    "reading radiographs": "Reading the radiographs",
    "building the network": "Building the network",
    "computing features": "Computing features of the radiographs",
    "calibrating on held-out patients": "Calibrating on held-out patients",
    "adding the version": "Storing the new version",
}


def show(settings: Settings, run_id: str) -> None:
    """Draw one run, the active one where `run_id` is empty, and keep it up to date."""
    live(settings, run_id)


@st.fragment(run_every=POLL_SECONDS)
def live(settings: Settings, run_id: str) -> None:
    """Draw the present state of the run, the queue and the earlier runs."""
    who = still_administrator()
    run_queue.advance(settings)
    listed = jobs.list_jobs(settings)
    if error := st.session_state.pop(_ERROR, None):
        st.html(f'<p class="pl-warning" role="alert">{escape(error)}</p>')
    if not listed:
        show_empty()
        return
    job = next((one for one in listed if one.id == run_id), None)
    if job is None and run_id:
        st.html('<p class="pl-warning">Training not found. The latest one is shown.</p>')
    job = job or default_job(listed)
    show_job(settings, who, job)
    show_queue(settings, who, listed, job)
    show_earlier(listed, job)


def show_empty() -> None:
    """Draw the empty state."""
    st.html(
        '<section class="pl-nofilm"><p>No training yet. Select a dataset and review its audit, then start a '
        "training.</p></section>"
    )
    st.button("Select data", type="primary", key="watch.choose_data", on_click=open_step, args=("data",))


@guarded
def open_step(step: str) -> None:
    """Open a step."""
    st.query_params["step"] = step


def default_job(listed: Sequence[Job]) -> Job:
    """Return the running job, else the next in the queue, else the latest."""
    waiting = sorted((job for job in listed if job.state == "queued"), key=lambda job: job.place)
    return next((job for job in listed if job.state == "running"), (*waiting, *listed)[0])


def show_job(settings: Settings, who: str, job: Job) -> None:
    """Draw one run: learning curves and log on the left, state and actions on the right."""
    st.html(f'<h1 class="pl-title">Training {escape(job.id)}</h1><p class="pl-note">{escape(about(job))}</p>')
    history, points = file_cache.learning_curves(job)
    left, right = st.columns((3, 1.4), gap="medium")
    with left:
        with st.container(key="figure_training"):
            if history or points:
                show_curves(job.id, training_curves(history, points, job.epochs))
            else:
                st.html('<p class="pl-nofilm">Learning curves appear after the first training step.</p>')
        if job.state == "done":
            show_split(job.folder)
        lines = jobs.log_tail(job, LOG_LINES)
        with st.expander("Log"):
            st.code("\n".join(lines) or "No log lines yet.", language=None, height=260)
    with right, st.container(key="panel_watch"):
        st.html(f'<h2 class="pl-heading" role="status">{STATES[job.state]}</h2>')
        {
            "queued": show_waiting,
            "running": show_running,
            "cancelled": show_cancelled,
            "failed": show_failed,
            "done": show_done,
        }[job.state](settings, who, job)


def show_curves(id: str, figure: go.Figure) -> None:
    """Draw a figure that changes every few seconds, without flicker.

    Streamlit removes a chart whose data have changed before it draws the new one. Therefore two charts are stacked: the
    new figure is drawn in the one at the back, which is then brought to the front.
    """
    shown, front, layers = st.session_state.get(_CURVES, ("", 0, []))
    if shown != id:
        front, layers = 0, [figure]
    elif figure != layers[front]:
        front = 1 - front
        layers = [figure, *layers[1:]] if front == 0 else [layers[0], figure]
    st.session_state[_CURVES] = id, front, layers
    with st.container(key="curves"):
        st.html(
            "<style>.stApp .st-key-curves { display: grid; grid-template-columns: minmax(0, 1fr); } "
            ".stApp .st-key-curves > * { grid-area: 1 / 1; width: 100%; } "
            f".stApp .st-key-curves > :has(> .st-key-curves_{front}) {{ z-index: 1; }}</style>"
        )
        for number, layer in enumerate(layers):
            with st.container(key=f"curves_{number}"):
                st.plotly_chart(layer, theme=None, key=f"watch.curves.{number}", config={"displayModeBar": False})


def about(job: Job) -> str:
    """Return the settings of a run, and who started it, in one line."""
    parts = [
        f"{job.preset} training".strip().capitalize(),
        job.architecture,
        f"from {job.starting_point}" if job.starting_point else "",
        "" if job.data is None else f"on {job.data.title}",
        f"started by {job.asked_by}",
        job.asked_at[:16].replace("T", " ") + " UTC",
    ]
    return ", ".join(filter(None, parts)) + "."


def show_waiting(settings: Settings, who: str, job: Job) -> None:
    """Draw the position in the queue."""
    st.html(
        f'<p class="pl-note">Position {job.place} in the queue. It starts automatically when the trainings '
        "ahead have ended, even if this page is closed.</p>"
    )
    act("Remove from queue", "watch.remove", settings, run_queue.cancel, job, who)


def show_running(settings: Settings, who: str, job: Job) -> None:
    """Draw the progress and the time left; cancelling needs a confirmation."""
    epoch = job.fitting.get("epoch") or job.epochs_done
    stage = str(job.fitting.get("stage", ""))
    rate = job.images_per_second
    tiles(
        {
            "Stage": capitalized(stage_name(stage)) or "–",
            "Epoch": f"{epoch} of {job.epochs}" if epoch else "–",
            "Images/s": "–" if rate is None else f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}",
            "Time left": UNDEFINED if job.seconds_left is None else format_duration(job.seconds_left),
            "Validation AUROC": last_auroc(job),
        }
    )
    words = phase(job)
    if job.total:
        words += f": {job.done:,} of {job.total:,}{' steps' if job.phase == 'fitting' else ''}"
    st.progress(min(1.0, job.done / job.total) if job.total else 0.0, f"{words}.")
    st.html(
        '<p class="pl-note">The training continues if you leave this page or close the browser. The time left '
        "is for the present phase; calibration and evaluation follow the last epoch.</p>"
    )
    if st.session_state.get(_CONFIRM) != job.id:
        st.button("Cancel training", key="watch.cancel", on_click=guarded(ask_to_cancel), args=(job.id,))
        return
    st.html(
        f'<p class="pl-warning">Cancel this training? {finished(job)} kept, and it can be resumed later. '
        "Clinical use does not change.</p>"
    )
    with st.container(horizontal=True, gap="small"):
        act("Cancel training", "watch.cancel_yes", settings, run_queue.cancel, job, who)
        st.button("Keep training", key="watch.cancel_no", on_click=guarded(ask_to_cancel), args=("",))


def show_cancelled(settings: Settings, who: str, job: Job) -> None:
    """Draw what was kept of a cancelled run."""
    st.html(f'<p class="pl-note">{finished(job)} kept. Clinical use has not changed.</p>')
    act("Resume", "watch.resume", settings, run_queue.resume, job, who)


def show_failed(settings: Settings, who: str, job: Job) -> None:
    """Draw why a run failed, and its last log lines."""
    failure = job.failure
    message, advice = (failure.message, failure.advice) if failure else ("The training ended.", "Resume it.")
    st.html(
        f'<section class="pl-warning" role="alert"><p><strong>{escape(message)}</strong></p><p>{escape(advice)}</p>'
        f"<p>{finished(job)} kept. No version was created, and clinical use has not changed.</p>"
        "</section>"
    )
    act("Resume", "watch.resume", settings, run_queue.resume, job, who)
    if failure and failure.last_log_lines:
        st.html('<p class="pl-note">Last log lines (for technical support)</p>')
        st.code("\n".join(failure.last_log_lines), language=None, wrap_lines=True)


def show_done(_settings: Settings, _who: str, job: Job) -> None:
    """Draw the result of a finished run and the button to the comparison."""
    tiles(
        {
            "Version": job.version or "–",
            "Epochs": str(job.epochs_done),
            "Validation AUROC": last_auroc(job),
            "Training time": format_duration(60 * job.minutes),
        }
    )
    st.html(
        '<p class="pl-note">The new version is stored. The classifier in use does not change until you '
        "promote the new version.</p>"
    )
    if st.button("Compare with the classifier in use", type="primary", key="watch.compare"):
        st.query_params["step"] = "compare"
        st.query_params["run"] = job.id
        st.rerun()


def show_queue(settings: Settings, who: str, listed: Sequence[Job], shown: Job) -> None:
    """Draw the queue, each run with a button that removes it."""
    waiting = sorted((job for job in listed if job.state == "queued" and job.id != shown.id), key=lambda job: job.place)
    if not waiting:
        return
    with st.container(key="panel_queue"):
        st.html('<h2 class="pl-heading">Queue</h2>')
        for job in waiting:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.html(f'<p class="pl-name"><span>{job.place}</span> {escape(job.id)}: {escape(about(job))}</p>')
                act("Remove from queue", f"watch.remove.{job.id}", settings, run_queue.cancel, job, who)


def show_earlier(listed: Sequence[Job], shown: Job) -> None:
    """Draw the table of all runs and the selection of the one to show."""
    rows = "".join(
        f"<tr><th>{escape(job.id)}</th><td>{STATES[job.state]}</td><td>{escape(job.preset) or '–'}</td>"
        f"<td>{escape(job.starting_point) or '–'}</td><td>{job.epochs_done} of {job.epochs}</td>"
        f"<td>{last_auroc(job)}</td><td>{job.minutes:.1f}</td>"
        f"<td>{escape(job.version or '–')}</td><td>{escape(job.asked_by)}</td></tr>"
        for job in listed
    )
    st.html(
        '<div class="pl-wide"><table class="pl-table"><caption>All trainings, newest first</caption><tr>'
        "<th>Training</th><th>State</th><th>Preset</th><th>Initial weights</th><th>Epochs</th><th>Validation AUROC</th>"
        f"<th>Training time (min)</th><th>Version</th><th>Started by</th></tr>{rows}</table></div>"
    )
    if len(listed) < 2:
        return
    ids = [job.id for job in listed]
    states = {job.id: STATES[job.state].lower() for job in listed}
    chosen = st.selectbox(
        "Show training",
        ids,
        index=ids.index(shown.id),
        key=f"watch.show.{shown.id}",
        format_func=lambda id: f"{id}, {states.get(id, '')}",
        width=360,
    )
    if chosen and chosen != shown.id:
        st.query_params["step"] = "train"
        st.query_params["run"] = chosen
        st.rerun()


def act(
    label: str, key: str, settings: Settings, what: Callable[[Settings, str, str], object], job: Job, who: str
) -> None:
    """Draw a button that acts on a run; an error is shown above the run at the next update."""

    def do() -> None:
        st.session_state.pop(_CONFIRM, None)
        try:
            with visitor.noted(settings, what.__name__, job.id):
                what(settings, job.id, who)
        except AppError as error:
            st.session_state[_ERROR] = f"{error.advice} ({error})"

    st.button(label, key=key, on_click=guarded(do))


def ask_to_cancel(id: str) -> None:
    """Ask for confirmation before the run `id` is cancelled; empty withdraws the question."""
    st.session_state[_CONFIRM] = id


def tiles(values: dict[str, str]) -> None:
    """Draw values with their names as tiles."""
    st.html(
        '<div class="pl-tiles">'
        + "".join(f"<div><span>{name}</span><strong>{escape(value)}</strong></div>" for name, value in values.items())
        + "</div>"
    )


def phase(job: Job) -> str:
    """Return the phase of a run as words."""
    return capitalized(PHASES.get(job.phase, job.phase))


def capitalized(words: str) -> str:
    """Return words with the first letter in upper case and the others unchanged."""
    return words[:1].upper() + words[1:]


def finished(job: Job) -> str:
    """Return the number of finished epochs as the beginning of a sentence."""
    return f"{job.epochs_done} finished epoch{' is' if job.epochs_done == 1 else 's are'}"


def last_auroc(job: Job) -> str:
    """Return the validation AUROC of the last finished epoch."""
    return "–" if job.val_auroc is None else f"{job.val_auroc:.3f}"

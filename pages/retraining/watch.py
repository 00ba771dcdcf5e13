"""Watch: the run that is trained, those that wait, and what came of the earlier ones; all of it read from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go
import streamlit as st

from core.errors import AppError
from core.formatting import UNDEFINED, format_duration
from core.settings import Settings
from pages.retraining.charts_watch import training_curves
from pages.shared.administrator import guarded, still_administrator
from training.runs import jobs
from training.runs.jobs import Job

POLL_SECONDS = 2
LOG_LINES = 200
_CONFIRM, _ERROR, _CURVES = "watch.confirm", "watch.error", "watch.curves"
STATES = {"queued": "In the queue", "running": "Running", "cancelled": "Cancelled", "failed": "Failed", "done": "Done"}
STAGES = {
    "head": "The last layer",
    "small": "Small pictures",
    "full": "Pictures at full size",
    "fit": "The whole network",
}
PHASES = {
    "starting": "Starting: about ten seconds",
    "fitting": "Training",
    "auditing the folder": "Looking through the folder",
    "reading radiographs": "Reading the radiographs",
    "building the network": "Building the network",
    "computing features": "Computing features of the radiographs",
    "calibrating on held-out patients": "Calibrating on the patients held out",
    "adding the version": "Storing the new version",
}


def show(settings: Settings, who: str, run_id: str) -> None:
    """Draw one run, the one that is going on where `run_id` is empty, and keep it up to date; `who` is signed in."""
    live(settings, run_id)


@st.fragment(run_every=POLL_SECONDS)
def live(settings: Settings, run_id: str) -> None:
    """Draw where things stand now."""
    who = still_administrator()
    jobs.advance(settings)
    listed = jobs.list_jobs(settings)
    if error := st.session_state.pop(_ERROR, None):
        st.html(f'<p class="pl-warning" role="alert">{escape(error)}</p>')
    if not listed:
        show_nothing()
        return
    job = next((one for one in listed if one.id == run_id), None)
    if job is None and run_id:
        st.html('<p class="pl-warning">There is no run of this name. Below is the newest one.</p>')
    job = job or worth_watching(listed)
    show_job(settings, who, job)
    show_queue(settings, who, listed, job)
    show_earlier(listed, job)


def show_nothing() -> None:
    """Say what to do while there is no run."""
    st.html(
        '<section class="pl-nofilm"><p>No training yet. Choose data and look through their audit; then a training '
        "can be started from there.</p></section>"
    )
    st.button("Choose data", type="primary", key="watch.choose_data", on_click=turn_to, args=("data",))


@guarded
def turn_to(step: str) -> None:
    """Turn to a step of the path."""
    st.query_params["step"] = step


def worth_watching(listed: Sequence[Job]) -> Job:
    """Return the run that is going on, else the one that is next, else the newest."""
    waiting = sorted((job for job in listed if job.state == "queued"), key=lambda job: job.place)
    return next((job for job in listed if job.state == "running"), (*waiting, *listed)[0])


def show_job(settings: Settings, who: str, job: Job) -> None:
    """Draw one run: its curve on the left, where it stands and what can be done on the right."""
    st.html(f'<h1 class="pl-title">Training {escape(job.id)}</h1><p class="pl-note">{escape(about(job))}</p>')
    history, points = jobs.epochs(job), jobs.points(job)
    left, right = st.columns((3, 1.4), gap="medium")
    with left:
        with st.container(key="figure_training"):
            if history or points:
                show_curves(job.id, training_curves(history, points, job.epochs))
            else:
                st.html('<p class="pl-nofilm">The curve appears here with the first step of the training.</p>')
        lines = jobs.log_tail(job, LOG_LINES)
        with st.expander("Log"):
            st.code("\n".join(lines) or "Nothing printed yet.", language=None, height=260)
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
    """Draw a figure that changes every few seconds without ever showing nothing.

    Streamlit takes a chart with other data for another chart: it removes the old one and then draws. So there are two
    on top of each other, and the new figure goes into the one that comes to the front.
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
    """Return in one line what was asked for, and by whom."""
    parts = [
        f"{job.preset} training".strip().capitalize(),
        job.architecture,
        f"from {job.starting_point}" if job.starting_point else "",
        f"on {job.data.name}" if job.data.name else "",
        f"asked for by {job.asked_by}",
        job.asked_at[:16].replace("T", " ") + " UTC",
    ]
    return ", ".join(filter(None, parts)) + "."


def show_waiting(settings: Settings, who: str, job: Job) -> None:
    """Say when a run will begin."""
    st.html(
        f'<p class="pl-note">Place {job.place} in the queue. It begins by itself when nothing else is being '
        "trained, also when this page is closed.</p>"
    )
    act("Take out of the queue", "watch.take_out", settings, jobs.cancel, job, who)


def show_running(settings: Settings, who: str, job: Job) -> None:
    """Say where the run stands and how long it will take; it can be cancelled after a second press."""
    epoch = job.fitting.get("epoch") or job.epochs_done
    stage = str(job.fitting.get("stage", ""))
    rate = job.images_per_second
    tiles(
        {
            "Stage": STAGES.get(stage, stage) or "–",
            "Epoch": f"{epoch} of {job.epochs}" if epoch else "–",
            "Radiographs per second": "–" if rate is None else f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}",
            "Time left": UNDEFINED if job.seconds_left is None else format_duration(job.seconds_left),
            "Validation AUROC": area(job),
        }
    )
    words = phase(job)
    if job.total:
        words += f": {job.done:,} of {job.total:,}{' steps' if job.phase == 'fitting' else ''}"
    st.progress(min(1.0, job.done / job.total) if job.total else 0.0, f"{words}.")
    st.html(
        '<p class="pl-note">The training goes on when you leave this page or close the browser. The time left '
        "is that of this step; after the last epoch the classifier is calibrated and evaluated.</p>"
    )
    if st.session_state.get(_CONFIRM) != job.id:
        st.button("Cancel the training", key="watch.cancel", on_click=guarded(ask), args=(job.id,))
        return
    st.html(
        f'<p class="pl-warning">End this training? Its {finished(job)} kept, and it can be resumed later. '
        "Nothing changes for the clinicians.</p>"
    )
    with st.container(horizontal=True, gap="small"):
        act("End the training", "watch.cancel_yes", settings, jobs.cancel, job, who)
        st.button("Let it go on", key="watch.cancel_no", on_click=guarded(ask), args=("",))


def show_cancelled(settings: Settings, who: str, job: Job) -> None:
    """Say what is left of a run that somebody cancelled."""
    st.html(
        f'<p class="pl-note">It was cancelled. Its {finished(job)} kept. Nothing has changed for the clinicians.</p>'
    )
    act("Resume", "watch.resume", settings, jobs.resume, job, who)


def show_failed(settings: Settings, who: str, job: Job) -> None:
    """Say why a run ended before its end, and what it printed last."""
    failure = job.failure
    message, advice = (failure.message, failure.advice) if failure else ("The training ended.", "Resume it.")
    st.html(
        f'<section class="pl-warning" role="alert"><p><strong>{escape(message)}</strong></p><p>{escape(advice)}</p>'
        f"<p>Its {finished(job)} kept. No version was made, and nothing has changed for the clinicians.</p>"
        "</section>"
    )
    act("Resume", "watch.resume", settings, jobs.resume, job, who)
    if failure and failure.last_words:
        st.html('<p class="pl-note">Its last words, for technical support:</p>')
        st.code("\n".join(failure.last_words), language=None, wrap_lines=True)


def show_done(settings: Settings, who: str, job: Job) -> None:
    """Say what came of a run and lead on to the comparison."""
    tiles(
        {
            "Version": job.version or "–",
            "Epochs": str(job.epochs_done),
            "Validation AUROC": area(job),
            "Fitting": format_duration(60 * job.minutes),
        }
    )
    st.html(
        '<p class="pl-note">The new version is stored. Clinicians go on with the classifier in use until you '
        "decide otherwise.</p>"
    )
    if st.button("Compare with the classifier in use", type="primary", key="watch.compare"):
        st.query_params["step"] = "compare"
        st.query_params["run"] = job.id
        st.rerun()


def show_queue(settings: Settings, who: str, listed: Sequence[Job], shown: Job) -> None:
    """Draw the runs that wait, each with a way out."""
    waiting = sorted((job for job in listed if job.state == "queued" and job.id != shown.id), key=lambda job: job.place)
    if not waiting:
        return
    with st.container(key="panel_queue"):
        st.html('<h2 class="pl-heading">In the queue</h2>')
        for job in waiting:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.html(f'<p class="pl-name"><span>{job.place}</span> {escape(job.id)}: {escape(about(job))}</p>')
                act("Take out", f"watch.take_out.{job.id}", settings, jobs.cancel, job, who)


def show_earlier(listed: Sequence[Job], shown: Job) -> None:
    """Draw all runs as a table, and let one be chosen."""
    rows = "".join(
        f"<tr><th>{escape(job.id)}</th><td>{STATES[job.state]}</td><td>{escape(job.preset) or '–'}</td>"
        f"<td>{escape(job.starting_point) or '–'}</td><td>{job.epochs_done} of {job.epochs}</td><td>{area(job)}</td>"
        f"<td>{job.minutes:.1f}</td><td>{escape(job.version or '–')}</td><td>{escape(job.asked_by)}</td></tr>"
        for job in listed
    )
    st.html(
        '<div class="pl-wide"><table class="pl-table"><caption>All trainings, the newest first</caption><tr>'
        "<th>Run</th><th>State</th><th>Preset</th><th>Starting point</th><th>Epochs</th><th>Validation AUROC</th>"
        f"<th>Fitting, minutes</th><th>Version</th><th>Asked for by</th></tr>{rows}</table></div>"
    )
    if len(listed) < 2:
        return
    ids = [job.id for job in listed]
    states = {job.id: STATES[job.state].lower() for job in listed}
    chosen = st.selectbox(
        "Show a training",
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
    """Draw a button that does something to a run; an error stands above the run at the next look."""

    def do() -> None:
        st.session_state.pop(_CONFIRM, None)
        try:
            what(settings, job.id, who)
        except AppError as error:
            st.session_state[_ERROR] = f"{error.advice} ({error})"

    st.button(label, key=key, on_click=guarded(do))


def ask(id: str) -> None:
    """Ask before the training `id` is ended; empty: ask no longer."""
    st.session_state[_CONFIRM] = id


def tiles(values: dict[str, str]) -> None:
    """Draw figures with their names."""
    st.html(
        '<div class="pl-tiles">'
        + "".join(f"<div><span>{name}</span><strong>{escape(value)}</strong></div>" for name, value in values.items())
        + "</div>"
    )


def phase(job: Job) -> str:
    """Return what a run is doing, as a person would say it."""
    words = PHASES.get(job.phase, job.phase)
    return words[:1].upper() + words[1:]


def finished(job: Job) -> str:
    """Return how much of a run is finished, as the beginning of a sentence."""
    return f"{job.epochs_done} finished epoch{' is' if job.epochs_done == 1 else 's are'}"


def area(job: Job) -> str:
    """Return the AUROC of the last finished epoch on validation patients."""
    return "–" if job.val_auroc is None else f"{job.val_auroc:.3f}"

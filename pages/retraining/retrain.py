"""The Retrain page: from a dataset to a promoted classifier version, in five steps.

The step and its audit or run are query parameters, so that a reload shows the same.
"""

from __future__ import annotations

import streamlit as st

from core.errors import AppError
from core.settings import Settings
from pages.retraining import audit, choose, compare, decide, start, watch
from pages.shared import frame, installation
from pages.shared.administrator import guarded, require_administrator
from training.runs import jobs, run_queue

frame.require_frame()
WHO = require_administrator()

STEPS = {"data": "Data", "audit": "Audit", "train": "Train", "compare": "Compare", "decide": "Decide"}


def current(settings: Settings) -> tuple[str, str, str]:
    """Return (step, audit, run) from the query parameters; without a step, the active run, else the first step."""
    step, key, run = (st.query_params.get(name, "") for name in ("step", "audit", "run"))
    if step not in STEPS:
        active = [job for job in jobs.list_jobs(settings) if job.state in ("running", "queued")]
        if active:
            return "train", key, min(active, key=lambda job: job.place).id
        step = "data"
    return step, key, run


def open_step(step: str) -> None:
    """Open a step."""
    st.query_params["step"] = step


def show_steps(step: str, key: str, run: str) -> None:
    """Draw the buttons of the five steps; those without content are disabled."""
    can_open = {"data": True, "audit": bool(key), "train": True, "compare": bool(run), "decide": True}
    with st.container(horizontal=True, key="steps", gap="small"):
        for number, (name, label) in enumerate(STEPS.items(), 1):
            st.button(
                f"{number}  {label}",
                key=f"retrain.step.{name}",
                type="primary" if name == step else "secondary",
                disabled=not can_open[name] and name != step,
                on_click=guarded(open_step),
                args=(name,),
            )


def page() -> None:
    """Draw the current step."""
    settings = installation.settings()
    run_queue.advance(settings)
    step, key, run = current(settings)
    show_steps(step, key, run)
    if step == "data":
        choose.show(settings)
    elif step == "audit":
        audit.show(settings, key)
    elif step == "train" and key and not run:
        start.show(settings, WHO, key)
    elif step == "train":
        watch.show(settings, run)
    elif step == "compare":
        compare.show(settings, run)
    else:
        decide.show(settings, WHO, run)


try:
    page()
except AppError as error:
    frame.show_error(error)

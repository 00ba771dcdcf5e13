"""Retrain: from a folder of radiographs to a new classifier version in service, in five steps.

Which step is on the screen and what it is about stands in the address, so that a reload shows the same.
"""

from __future__ import annotations

import streamlit as st

from core.errors import AppError
from core.settings import Settings
from pages.retraining import audit, choose, compare, decide, start, watch
from pages.shared import frame, installation
from pages.shared.administrator import guarded, require_administrator
from training.runs import jobs

frame.require_frame()
WHO = require_administrator()

STEPS = {"data": "Data", "audit": "Audit", "train": "Train", "compare": "Compare", "decide": "Decide"}


def current(settings: Settings) -> tuple[str, str, str]:
    """Return (step, audit, run) from the address; without a step, the run that is going on, else the beginning."""
    step, key, run = (st.query_params.get(name, "") for name in ("step", "audit", "run"))
    if step not in STEPS:
        going = [job for job in jobs.list_jobs(settings) if job.state in ("running", "queued")]
        if going:
            return "train", key, min(going, key=lambda job: job.place).id
        step = "data"
    return step, key, run


def go(step: str) -> None:
    """Show a step."""
    st.query_params["step"] = step


def show_path(step: str, key: str, run: str) -> None:
    """Draw the five steps; those for which there is nothing yet cannot be pressed."""
    can_open = {"data": True, "audit": bool(key), "train": True, "compare": bool(run), "decide": True}
    with st.container(horizontal=True, key="steps", gap="small"):
        for number, (name, label) in enumerate(STEPS.items(), 1):
            st.button(
                f"{number}  {label}",
                key=f"retrain.step.{name}",
                type="primary" if name == step else "secondary",
                disabled=not can_open[name] and name != step,
                on_click=guarded(go),
                args=(name,),
            )


def page() -> None:
    """Draw the step that is on the screen."""
    settings = installation.settings()
    jobs.advance(settings)
    step, key, run = current(settings)
    show_path(step, key, run)
    if step == "data":
        choose.show(settings, WHO)
    elif step == "audit":
        audit.show(settings, WHO, key)
    elif step == "train" and key and not run:
        start.show(settings, WHO, key)
    elif step == "train":
        watch.show(settings, WHO, run)
    elif step == "compare":
        compare.show(settings, WHO, run)
    else:
        decide.show(settings, WHO, run)


try:
    page()
except AppError as error:
    frame.show_error(error)

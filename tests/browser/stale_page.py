"""A page that stops in the middle of its run while a file is there, with the keys and the styles of the Read page."""

from __future__ import annotations

import os
import time
from pathlib import Path

import streamlit as st

from tests import ROOT


def page() -> None:
    """Draw the queue's progress, then what the Read page keeps on the screen, and something else."""
    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    st.html(ROOT / "assets" / "style.css")
    with st.container(key="reading"):
        st.progress(0.5, "Assessing")
    st.button("Run")
    while Path(os.environ["STALE_PAGE_HOLD"]).exists():
        time.sleep(0.05)
    with st.container(key="read_grid"):
        st.text(f"Run {st.session_state['runs']}")
    with st.container(key="elsewhere"):
        st.text(f"Elsewhere, run {st.session_state['runs']}")


if __name__ == "__main__":
    page()

"""The frame around every page: title, style, safety sentence and navigation. No logic.

`streamlit run app.py` imports this file as the module `app`, to find the server in it, and has the server run it as a
script for every visit.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.server import edge
from pages.shared import classifiers, frame, installation

ASSETS = Path(__file__).parent / "assets"


def draw() -> None:
    """Draw the frame and the requested page in it."""
    st.set_page_config(
        page_title="PneumoLens", page_icon=str(ASSETS / "icon.svg"), layout="wide", initial_sidebar_state="collapsed"
    )
    st.html(ASSETS / "style.css")
    st.logo(str(ASSETS / "logo.svg"), size="large")
    page = st.navigation(
        [
            st.Page("pages/reading/read.py", title="Read", url_path="home", default=True),
            # The default page is served at / only; /read, typed or bookmarked, must not lead to "page not found".
            st.Page("pages/reading/read.py", title="Read", url_path="read", visibility="hidden"),
            st.Page("pages/performance/performance.py", title="Performance", url_path="performance"),
            st.Page("pages/retraining/retrain.py", title="Retrain", url_path="retrain"),
        ],
        position="top",
    )
    st.html(f'<p class="pl-safety" role="note">{classifiers.safety()}</p>')
    installation.start()
    classifiers.show_refused()
    with frame.mark_drawn():
        page.run()


if __name__ == "app":
    app = st.App(__file__, lifespan=installation.lifespan, middleware=edge.middleware(installation.edge_settings()))
else:
    draw()

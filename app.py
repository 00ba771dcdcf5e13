"""The frame around every page: title, style, the safety sentence and the navigation. No logic."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.shared import session

ASSETS = Path(__file__).parent / "assets"
SAFETY = "Decision support, not a diagnosis. Intended for frontal chest radiographs of children aged 1–5."

st.set_page_config(
    page_title="PneumoLens", page_icon=str(ASSETS / "icon.svg"), layout="wide", initial_sidebar_state="collapsed"
)
st.html(ASSETS / "style.css")
st.logo(str(ASSETS / "logo.svg"), size="large")
page = st.navigation(
    [
        st.Page("pages/clinician/read.py", title="Read", url_path="home", default=True),
        # The default page answers at / only; whoever types or bookmarks /read must not see "page not found".
        st.Page("pages/clinician/read.py", title="Read", url_path="read", visibility="hidden"),
        st.Page("pages/clinician/performance.py", title="Performance", url_path="performance"),
    ],
    position="top",
)
st.html(f'<p class="pl-safety" role="note">{SAFETY}</p>')
with session.frame():
    page.run()

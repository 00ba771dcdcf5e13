"""A page with a picture and a download, behind the edge: what its files may be fetched by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from core.settings import Settings
from pages.server import edge

if __name__ == "media_page":
    app = st.App(__file__, middleware=edge.middleware(Settings(Path("var"))))
else:
    st.image(np.zeros((8, 8), np.uint8))
    st.download_button("Report", lambda: b"of a film", on_click="ignore")

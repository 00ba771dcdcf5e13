"""A page with a picture, a download and a cache, behind the edge: who may fetch its files, who may empty the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import streamlit as st

from core.settings import Settings
from pages.server import edge
from pages.server.connections import guarded_connections


@asynccontextmanager
async def lifespan(_server: object) -> AsyncIterator[None]:
    """Have little patience with connections that send no request."""
    with guarded_connections(100, head_seconds=1.5):
        yield


@st.cache_resource
def fill_cache() -> None:
    """Say that the cache was empty."""
    print("filled the cache", flush=True)


if __name__ == "media_page":
    app = st.App(__file__, lifespan=lifespan, middleware=edge.middleware(Settings(Path("var"))))
else:
    fill_cache()
    st.image(np.zeros((8, 8), np.uint8))
    st.download_button("Report", lambda: b"of a film", on_click="ignore")

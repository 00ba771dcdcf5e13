"""Thumbnails of a dataset's radiographs, by the names that its audit gives them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import streamlit as st
from PIL import Image

from core.errors import RadiographError
from imaging.radiograph import decode_radiograph, to_uint8
from pages.shared.streamlit_patches import release_memory
from training.data.data_request import DataRequest

THUMBNAIL_PX = 132


def show_thumbnail(data: DataRequest, file: str, width: int = THUMBNAIL_PX) -> None:
    """Draw the thumbnail of a file, `width` px wide, or that it is no longer readable."""
    picture = thumbnail(data, file)
    if picture is None:
        st.html('<p class="pl-nofilm">File no longer readable.</p>', width=width)
    else:
        st.image(picture, width=width, output_format="PNG", alt="Radiograph of this group")


def thumbnail(data: DataRequest, file: str) -> bytes | None:
    """Return the thumbnail of a file, as the audit names it, as PNG; None when it is no longer readable."""
    for name, root in zip(data.names, data.roots, strict=True):
        below = file if len(data.roots) == 1 else file.removeprefix(f"{name}/")
        path = root / below
        if (len(data.roots) > 1 and below == file) or not Path(os.path.normpath(path)).is_relative_to(root):
            continue
        try:
            return _thumbnail(str(path), path.stat().st_mtime_ns)
        except (OSError, RadiographError):
            continue
    return None


# Bounded and short-lived: these are patients' radiographs, which may be removed from the dataset.
@st.cache_data(max_entries=128, ttl=300, show_spinner=False)
def _thumbnail(path: str, modified_ns: int) -> bytes:  # noqa: ARG001 (part of the cache's key)
    small = Image.fromarray(to_uint8(decode_radiograph(Path(path).read_bytes())))
    small.thumbnail((2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX), Image.Resampling.BOX)
    target = io.BytesIO()
    small.save(target, "PNG", compress_level=1)
    release_memory()
    return target.getvalue()

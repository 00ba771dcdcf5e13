"""The radiograph on the screen: the film as it is beside the film with its influence map."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from model.gradcam import colour_table, contour, overlay
from pages.shared.films import Film

Mode = Literal["overlay", "contour"]
OVERLAY: Mode = "overlay"
CONTOUR: Mode = "contour"
LEVELS = (0.4, 0.6, 0.8)
OPACITY = 50
# A slider moved by mouse keeps the focus, and Streamlit then takes N and P for input to it: the next film would not
# come. Whoever reached the slider by keyboard keeps the focus.
_RELEASE_FOCUS = """<script>
if (!window.pneumolensReleasesFocus) {
  window.pneumolensReleasesFocus = true;
  document.addEventListener("pointerup", () => {
    if (document.activeElement?.type === "range") document.activeElement.blur();
  });
}
</script>"""


def show_pictures(film: Film) -> tuple[Mode, float]:
    """Draw both pictures at one size with the controls below; return (mode, opacity) for the report.

    A film without a map is drawn alone, and one that could not be decoded not at all.
    """
    # The controls stand below the pictures that they change, so their values are read before they are drawn.
    mode: Mode = st.session_state.get("read.mode") or OVERLAY
    opacity = st.session_state.get("read.opacity", OPACITY) / 100
    pixels, values = film.pixels, film.influence_values()
    if pixels is None:
        st.html('<div class="pl-nofilm">There is no picture to show: the file could not be decoded.</div>')
        return mode, opacity
    left, right = st.columns(2, gap="small")
    with left, st.container(key="film_left"):
        _picture(_png(pixels), f"Radiograph, {film.size[0]} × {film.size[1]} px" if film.size else "Radiograph")
    with right, st.container(key="film_right"):
        if values is None:
            _picture(None, "No influence map: the film was not assessed")
            return mode, opacity
        if film.influence_is_empty:
            _picture(_png(pixels), "Influence map: empty")
        elif mode == CONTOUR:
            _picture(_png(contour(pixels, values, LEVELS)), "Influence map, lines of equal influence")
        else:
            _picture(_png(overlay(pixels, values, opacity)), "Influence map over the radiograph")
    if film.influence_is_empty:
        st.html('<p class="pl-note">The influence map is empty: no region of this film raised the probability of '
                "pneumonia.</p>")
    else:
        _controls(mode)
    return mode, opacity


def _picture(png: bytes | None, caption: str) -> None:
    st.html(f'<p class="pl-caption">{caption}</p>')
    if png is not None:
        # As PNG: left to itself, Streamlit turns a radiograph into a JPEG.
        st.image(png, width="stretch", output_format="PNG", alt=caption)


def _controls(mode: Mode) -> None:
    st.session_state.setdefault("read.mode", OVERLAY)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="influence_controls"):
        st.segmented_control("Influence map as", (OVERLAY, CONTOUR), format_func=str.capitalize, key="read.mode",
                             required=True, label_visibility="collapsed", persist_state="session")
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content", key="opacity"):
            st.html('<span class="pl-label">Opacity</span>', width="content")
            st.slider("Opacity", 0, 100, OPACITY, 5, format="%d %%", key="read.opacity", disabled=mode == CONTOUR,
                      label_visibility="collapsed", persist_state="session", width=150)
        st.html(_colour_bar(mode) + _RELEASE_FOCUS, width="content", unsafe_allow_javascript=True)
    st.html('<p class="pl-note">Influence map, not a lesion outline. It shows which regions raised the probability, '
            "measured against the strongest region of this film; influence can lie outside the lungs.</p>")


def _colour_bar(mode: Mode) -> str:
    table = colour_table()
    if mode == CONTOUR:
        lines = "".join(f'<span><i style="background:{_css(table[round(level * 255)])}"></i>{level:.0%}</span>'
                        for level in LEVELS)
        return f'<div class="pl-bar pl-lines"><b>Influence, of the strongest</b>{lines}</div>'.replace("%<", " %<")
    # Over the film, colour fades with influence; the bar fades alike.
    stops = ", ".join(_css(table[index], alpha=index / 255) for index in range(0, 256, 15))
    return ('<div class="pl-bar"><b>Influence</b><span>low</span>'
            f'<i style="background:linear-gradient(90deg, {stops})"></i><span>high</span></div>')


def _css(colour: npt.NDArray[np.uint8], alpha: float = 1) -> str:
    red, green, blue = (int(channel) for channel in colour)
    return f"rgba({red},{green},{blue},{alpha:.2f})"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode losslessly and quickly; the browser is near, so size matters less than the slider's reply."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG", compress_level=1)
    return target.getvalue()

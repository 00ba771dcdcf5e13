"""A page of nothing but the viewer, for the browser tests and the benchmark: films that no file has to be read for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import streamlit as st
from streamlit import runtime

from imaging.film import Radiograph, Rendering
from model.anatomy import Anatomy
from pages.reading.viewer import show_viewer
from tests import ROOT
from tests.fake_classifier import usual_lungs
from tests.phantoms import chest

# Where the faint square of the deep film lies, and by how much it is brighter, of 65,535.
SQUARE, FAINT = (slice(480, 560), slice(560, 640)), 60


# The usual lungs, as a version that looks for them finds them.
LUNGS = Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.0)


def cells() -> np.ndarray:
    """A network's signed cells: most of what speaks for the finding in one place, what speaks against it in another."""
    rows, columns = np.mgrid[0:8, 0:8]
    for_, against = ((rows - 4) ** 2 + (columns - 2) ** 2, (rows - 2) ** 2 + (columns - 6) ** 2)
    return (2 * np.exp(-for_ / 2) - np.exp(-against / 2) + 0.05 * np.sin(3 * rows + columns)).astype(np.float32)


def deep_film(side: int = 1000, renderings: bool = True) -> Radiograph:
    """A film of 16 bits with a faint square, which lies within one of 256 greys of its surroundings."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    deep = (8000 + 40000 * rows + 100 * columns).astype(np.uint16)
    if side == 1000:
        deep[430:610, 510:690] = 30000
        deep[SQUARE] += FAINT
    values = np.arange(65536)
    sigmoid = np.round(65535 / (1 + np.exp(-4 * (values - 30000) / 20000))).astype(np.uint16)
    linear = np.round(np.clip((values - 2000) / 60000, 0, 1) * 65535).astype(np.uint16)
    offered = (Rendering("As acquired", linear, (32000.5, 60001)), Rendering("Chest curve", sigmoid))
    return Radiograph(
        (linear[deep] >> 8).astype(np.uint8),
        f"{side:064x}",
        "DICOM",
        deep=deep,
        renderings=offered if renderings else (),
    )


def large_film(side: int = 4000) -> Radiograph:
    """A film of 12 bits as a large detector makes it."""
    noise = np.random.default_rng(1).normal(0, 6, (side, side)).astype(np.float32)
    drawn = cv2.resize(chest(3, (1000, 1000), True).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    deep = np.clip(12 * drawn + 500 + noise, 0, 4095).astype(np.uint16)
    return Radiograph((deep >> 4).astype(np.uint8), "f" * 64, "DICOM", deep=deep)


@st.cache_resource
def films() -> list[tuple[Any, Radiograph | None]]:
    """The films, by the name that the address may ask for, each with its radiograph at full size."""

    def film(
        name: str,
        radiograph: Radiograph,
        grid: np.ndarray | None,
        is_whole: bool = True,
        anatomy: Anatomy | None = None,
    ) -> tuple[Any, Any]:
        size = (radiograph.width, radiograph.height) if is_whole else (4 * radiograph.width, 4 * radiograph.height)
        return SimpleNamespace(
            name=name,
            sha256=f"{abs(hash(name)):064x}",
            size=size,
            cells=grid,
            turn=0,
            frame=None,
            kept=SimpleNamespace(radiograph=radiograph, anatomy=anatomy),
        ), radiograph if is_whole else None

    return [
        film("small", Radiograph(chest(1, (300, 360)), "1" * 64, "PNG"), cells()),
        film("deep", deep_film(), cells()),
        film("unassessed", Radiograph(chest(4, (250, 450)), "2" * 64, "PNG"), None),
        film("empty", Radiograph(chest(6, (300, 360)), "3" * 64, "PNG"), -np.abs(cells())),
        film("released", Radiograph(chest(5, (400, 500)), "4" * 64, "JPEG"), cells(), is_whole=False),
        film("alone", deep_film(1100), cells()),
        film("lungs", Radiograph(np.full((300, 400), 60, np.uint8), "5" * 64, "PNG"), cells(), anatomy=LUNGS),
    ]


@st.cache_resource
def one_large() -> list[tuple[Any, Radiograph | None]]:
    """The benchmark's film."""
    radiograph = large_film()
    return [
        (
            SimpleNamespace(
                name="large",
                sha256="f" * 64,
                size=(radiograph.width, radiograph.height),
                cells=cells(),
                turn=0,
                frame=None,
                kept=SimpleNamespace(radiograph=radiograph, anatomy=None),
            ),
            radiograph,
        )
    ]


def step(by: int) -> None:
    """Go to another film."""
    st.session_state["place"] += by


def page() -> None:
    """Draw the viewer, the keys of the read page, and what came back."""
    st.set_page_config(layout="wide")
    st.html(ROOT / "assets" / "style.css")
    offered = one_large() if st.query_params.get("film") == "large" else films()
    names = [film.name for film, _ in offered]
    place = st.session_state.setdefault("place", names.index(st.query_params.get("film", names[0])))
    with st.container(horizontal=True, key="toolbar"):
        st.html(f'<p class="pl-name">{names[place]}</p>')
        st.button("Previous", on_click=step, args=(-1,), shortcut="P", disabled=place == 0)
        st.button("Next", on_click=step, args=(1,), shortcut="N", disabled=place == len(names) - 1)
    state = show_viewer(*offered[place])
    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    st.text(f"state {state}")
    st.text(f"runs {st.session_state['runs']}")
    st.text_input("Remarks")
    st.button("Run again")
    held = runtime.get_instance().media_file_mgr._storage._files_by_id
    st.text(f"held {sorted(file.content_size for file in list(held.values()))}")


if __name__ == "__main__":
    page()

"""The radiograph on the screen at its own resolution, and its influence map: what the browser is given, and what of the
reader's choices comes back.

The picture itself is drawn in the browser, by the files of `viewer_component`: dragging never asks the server.
"""

from __future__ import annotations

import base64
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import streamlit as st

from imaging.film import Pixels, Radiograph
from model.explanation import peak_evidence
from model.overlay import colour_table
from pages.reading import transport, windows
from pages.reading.films import Film
from pages.reading.transport import Sent
from pages.reading.windows import Preset
from reports.drawing import Drawing, Mode

Layout = Literal["beside", "one", "flicker"]
OVERLAY: Mode = "overlay"
CONTOUR: Mode = "contour"
LEVELS = (0.4, 0.6, 0.8)
OPACITY = 0.5

_COMPONENT = Path(__file__).parent / "viewer_component"
# One module in the browser: each file uses what those before it define.
_SCRIPTS = ("film", "grey", "influence", "view", "draw_webgl", "draw_2d", "stage", "keys", "controls", "viewer")
_STATE = "read.viewer"
_SHOWN = "read.viewer.shown"
_WORDS: dict[str, Any] = {
    "noMap": "No influence map: the film was not assessed",
    "captions": {
        "for": {
            OVERLAY: "Influence map over the radiograph",
            CONTOUR: "Influence map, lines of equal influence",
            "empty": "Influence map: empty",
        },
        "against": {
            OVERLAY: "Influence against pneumonia, over the radiograph",
            CONTOUR: "Influence against pneumonia, lines of equal influence",
            "empty": "Influence against pneumonia: none",
        },
    },
    "notes": {
        "for": {
            "map": "Influence map, not a lesion outline. It shows which regions raised the probability, measured "
            "against the strongest region of this film; influence can lie outside the lungs.",
            "empty": "The influence map is empty: no region of this film raised the probability of pneumonia.",
        },
        "against": {
            "map": "Influence map, not a lesion outline. It shows which regions lowered the probability, measured "
            "against the strongest of them; influence can lie outside the lungs.",
            "empty": "No region of this film lowered the probability of pneumonia.",
        },
    },
}


@dataclass(frozen=True, slots=True)
class ViewerState:
    """What the reader has chosen, as a report needs it.

    `mode` is how the influence map is drawn and `opacity`, in [0, 1], how strongly; `against` tells that it is the map
    of what lowered the probability. `levels`, in (0, 1], are those of the contour. `rendering` is the place in the
    radiograph's renderings of the one last chosen for this film. `layout` is how film and map stand to each other.
    """

    mode: Mode = OVERLAY
    opacity: float = OPACITY
    rendering: int = 0
    against: bool = False
    layout: Layout = "beside"
    levels: tuple[float, ...] = LEVELS

    @property
    def drawing(self) -> Drawing:
        """How film and map are drawn, for what is taken away."""
        return Drawing(self.mode, self.opacity, self.levels, self.against, self.rendering)


@dataclass(slots=True)
class _Shown:
    """What is known of the picture on the screen, so that a run of the page that shows the same has nothing to do."""

    pixels: weakref.ref[Pixels]
    presets: list[Preset]
    values: int
    sent: dict[str, Sent] = field(default_factory=dict)
    cells: npt.NDArray[np.float32] | None = None
    greatest: tuple[float, float] = (0.0, 0.0)


def show_pictures(film: Film, radiograph: Radiograph | None) -> ViewerState:
    """Draw the viewer; return what the reader has chosen, for the report.

    `radiograph` is the film at its own size, None where only its display size is left. A film without a map is shown
    alone, and one that could not be decoded not at all.
    """
    state: ViewerState = st.session_state.get(_STATE, ViewerState())
    shown = radiograph if radiograph is not None else film.kept.radiograph
    if shown is None:
        st.html('<div class="pl-nofilm">There is no picture to show: the file could not be decoded.</div>')
        return state
    known = _known(film, shown)
    about = _about(film, known, shown)
    with st.container(key="viewer"):
        result = _component()(
            key="read.viewer.component",
            on_choices_change=_nothing,
            data={
                "film": about,
                "presets": [asdict(preset) for preset in known.presets],
                "map": _map(film, known, shown),
                "colours": base64.b64encode(colour_table().tobytes()).decode(),
                "words": _WORDS,
                "choices": {
                    "layout": state.layout,
                    "mode": state.mode,
                    "opacity": state.opacity,
                    "levels": list(state.levels),
                    "against": state.against,
                },
            },
        )
    chosen = chosen_state(result.get("choices"), about["key"], len(shown.renderings))
    if chosen is not None:
        state = chosen
        # Another film starts with its own first rendering.
        st.session_state[_STATE] = replace(chosen, rendering=0)
    return state


def chosen_state(choices: object, film_key: str, renderings: int) -> ViewerState | None:
    """Return what the browser says was chosen, None where it says nothing; what makes no sense is the default."""
    if not isinstance(choices, dict):
        return None
    default = ViewerState()
    opacity, levels, rendering = choices.get("opacity"), choices.get("levels"), choices.get("rendering")
    is_this_film = choices.get("film") == film_key
    return ViewerState(
        mode=CONTOUR if choices.get("mode") == CONTOUR else OVERLAY,
        opacity=float(opacity) if _is_number(opacity) and 0 <= opacity <= 1 else default.opacity,
        rendering=rendering if is_this_film and type(rendering) is int and 0 <= rendering < renderings else 0,
        against=choices.get("against") is True,
        layout=choices["layout"] if choices.get("layout") in ("beside", "one", "flicker") else default.layout,
        levels=tuple(sorted(float(level) for level in levels))
        if isinstance(levels, list)
        and len(levels) <= 20
        and all(_is_number(level) and 0 < level <= 1 for level in levels)
        else default.levels,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _known(film: Film, shown: Radiograph) -> _Shown:
    """Return what is known of a picture, with its files made available to this run of the page."""
    pixels = windows.shown_values(shown)
    known: _Shown | None = st.session_state.get(_SHOWN)
    if known is None or known.pixels() is not pixels:
        known = _Shown(weakref.ref(pixels), windows.presets(shown), windows.value_count(shown))
        st.session_state[_SHOWN] = known
    curves = windows.curves(shown)
    makers: dict[str, Callable[[], bytes]] = {"film": lambda: transport.packed(pixels, curves)}
    if transport.wants_preview(pixels):
        makers = {
            "preview": lambda: transport.packed(transport.preview(pixels), curves),
            "film": lambda: transport.packed(pixels),
        }
    # Asked for at each run of the page: what is not, Streamlit drops.
    known.sent = {name: transport.send(name, make, known.sent.get(name)) for name, make in makers.items()}
    return known


def _about(film: Film, known: _Shown, shown: Radiograph) -> dict[str, Any]:
    size = film.size or (shown.width, shown.height)
    caption = f"Radiograph, {size[0]} × {size[1]} px"
    if size != (shown.width, shown.height):
        caption += f", shown at {shown.width} × {shown.height} px"
    files = list(known.sent.values())
    return {
        "key": f"{film.sha256[:16]}.{film.turn}.{files[-1].url.rsplit('/', 1)[-1]}",
        "caption": caption,
        "width": shown.width,
        "height": shown.height,
        "values": known.values,
        "files": [asdict(file) for file in files],
    }


def _map(film: Film, known: _Shown, shown: Radiograph) -> dict[str, Any] | None:
    """Return the network's cells and what each side is measured against, from which the browser draws the map."""
    cells = film.cells
    if cells is None:
        return None
    if known.cells is not cells:
        known.cells = cells
        known.greatest = (
            peak_evidence(cells, (shown.height, shown.width)),
            peak_evidence(cells, (shown.height, shown.width), against=True),
        )
    return {"cells": np.asarray(cells, float).tolist(), "for": known.greatest[0], "against": known.greatest[1]}


@cache
def _component() -> Any:
    parts = {kind: (_COMPONENT / f"viewer.{kind}").read_text("utf-8") for kind in ("html", "css")}
    module = "\n".join((_COMPONENT / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    return st.components.v2.component("pneumolens_viewer", js=module, **parts)


def _nothing() -> None:
    """Let the page run when a choice was made: a component without a callback has no state."""

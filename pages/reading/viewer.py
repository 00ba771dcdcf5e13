"""The viewer: the radiograph at its own resolution with its evidence map, and the reader's settings that come back.

The picture itself is drawn in the browser, by the ES modules of `viewer_component`: dragging never asks the server.
"""

from __future__ import annotations

import base64
import math
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeGuard

import numpy as np
import numpy.typing as npt
import streamlit as st

from imaging.film import Pixels, Radiograph
from model.explanation import peak_evidence
from model.overlay import colour_table, lung_outlines
from pages.reading import transport, windows
from pages.reading.components import mount_component
from pages.reading.films import Film
from pages.reading.transport import MediaFile
from pages.reading.windows import WindowPreset
from reports.drawing import Drawing, Mode

Layout = Literal["beside", "one", "flicker"]
OVERLAY: Mode = "overlay"
CONTOUR: Mode = "contour"
LEVELS = (0.4, 0.6, 0.8)
OPACITY = 0.5
_MAX_LEVELS = 20

_STATE = "read.viewer"
_SHOWN = "read.viewer.shown"
_ANYWHERE = "Evidence can be outside the lungs."
_IN_LUNGS = "The classifier reads the lungs alone, as far as it found them."
_TEXT: dict[str, Any] = {
    "noEvidence": "No evidence map: the image was not assessed",
    "lungs": "Lungs as found: dashed",
    "captions": {
        "for": {
            OVERLAY: "Evidence for pneumonia, overlay",
            CONTOUR: "Evidence for pneumonia, contours",
            "empty": "Evidence for pneumonia: none",
        },
        "against": {
            OVERLAY: "Evidence against pneumonia, overlay",
            CONTOUR: "Evidence against pneumonia, contours",
            "empty": "Evidence against pneumonia: none",
        },
    },
    "notes": {
        "for": {
            "map": "Evidence map, not a lesion outline. It shows the regions that raised the probability, relative to "
            "the strongest region of this image. " + _ANYWHERE,
            "empty": "The evidence map is empty: no region of this image raised the probability of pneumonia.",
        },
        "against": {
            "map": "Evidence map, not a lesion outline. It shows the regions that lowered the probability, relative to "
            "the strongest of them. " + _ANYWHERE,
            "empty": "No region of this image lowered the probability of pneumonia.",
        },
    },
}


@dataclass(frozen=True, slots=True)
class ViewerState:
    """The reader's settings, as a report needs them.

    Attributes
    ----------
    mode
        How the evidence map is drawn.
    opacity
        Of the overlay, in [0, 1].
    rendering
        Index in the radiograph's renderings of the one last chosen for this image.
    against
        Whether the map shows what lowered the probability.
    layout
        How image and map are arranged.
    levels
        Of the contours, each in (0, 1].
    lungs
        Whether the outlines of the lungs are drawn.
    """

    mode: Mode = OVERLAY
    opacity: float = OPACITY
    rendering: int = 0
    against: bool = False
    layout: Layout = "beside"
    levels: tuple[float, ...] = LEVELS
    lungs: bool = False

    @property
    def drawing(self) -> Drawing:
        """How image and map are drawn in reports."""
        return Drawing(self.mode, self.opacity, self.levels, self.against, self.rendering, self.lungs)


@dataclass(slots=True)
class _Shown:
    """What is known of the image on the screen, so that a run of the page that shows the same one costs nothing."""

    pixels: weakref.ref[Pixels]
    presets: list[WindowPreset]
    value_count: int
    files: dict[str, MediaFile] = field(default_factory=dict)
    cells: npt.NDArray[np.float32] | None = None
    peaks: tuple[float, float] = (0.0, 0.0)


def show_viewer(film: Film, radiograph: Radiograph | None) -> ViewerState:
    """Draw the viewer and return the reader's settings.

    An image without an evidence map is shown alone; a sentence takes the place of one that could not be decoded.

    Parameters
    ----------
    film
        The image and its assessment.
    radiograph
        The image at its own size; None where only its display size is left.
    """
    state: ViewerState = st.session_state.get(_STATE, ViewerState())
    shown = radiograph if radiograph is not None else film.kept.radiograph
    if shown is None:
        st.html('<div class="pl-nofilm">No image: the file could not be decoded.</div>')
        return state
    known = _known(shown)
    image = _image_data(film, known, shown)
    with st.container(key="viewer"):
        result = mount_component(
            "viewer",
            key="read.viewer.component",
            on_settings_change=_rerun,
            data={
                "image": image,
                "presets": [_preset_data(preset) for preset in known.presets],
                "evidence": _evidence_data(film, known, shown),
                "lungs": _lungs_data(film),
                "colormap": base64.b64encode(colour_table().tobytes()).decode(),
                "text": _text(film),
                "settings": {
                    "layout": state.layout,
                    "mode": state.mode,
                    "opacity": state.opacity,
                    "levels": list(state.levels),
                    "against": state.against,
                    "lungs": state.lungs,
                },
            },
        )
    chosen = parse_settings(result.get("settings"), image["id"], len(shown.renderings))
    if chosen is not None:
        state = chosen
        # Another image starts with its own first rendering.
        st.session_state[_STATE] = replace(chosen, rendering=0)
    return state


def parse_settings(settings: object, image_id: str, renderings: int) -> ViewerState | None:
    """Return the settings that the browser reports; each invalid one is the default.

    Parameters
    ----------
    settings
        What the browser sent, of any type.
    image_id
        Of the image on the screen: a rendering counts for this image only.
    renderings
        How many renderings the image has.

    Returns
    -------
    ViewerState or None
        None where the browser has reported nothing.
    """
    if not isinstance(settings, dict):
        return None
    default = ViewerState()
    opacity, levels, rendering = settings.get("opacity"), settings.get("levels"), settings.get("rendering")
    is_this_image = settings.get("imageId") == image_id
    return ViewerState(
        mode=CONTOUR if settings.get("mode") == CONTOUR else OVERLAY,
        opacity=float(opacity) if _is_number(opacity) and 0 <= opacity <= 1 else default.opacity,
        rendering=rendering if is_this_image and type(rendering) is int and 0 <= rendering < renderings else 0,
        against=settings.get("against") is True,
        lungs=settings.get("lungs") is True,
        layout=settings["layout"] if settings.get("layout") in ("beside", "one", "flicker") else default.layout,
        levels=tuple(sorted(float(level) for level in levels))
        if isinstance(levels, list)
        and len(levels) <= _MAX_LEVELS
        and all(_is_number(level) and 0 < level <= 1 for level in levels)
        else default.levels,
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _known(shown: Radiograph) -> _Shown:
    """Return what is known of an image, with its files published for this run of the page."""
    pixels = windows.stored_values(shown)
    known: _Shown | None = st.session_state.get(_SHOWN)
    if known is None or known.pixels() is not pixels:
        known = _Shown(weakref.ref(pixels), windows.window_presets(shown), windows.value_count(shown))
        st.session_state[_SHOWN] = known
    tables = windows.voi_luts(shown)
    makers: dict[str, Callable[[], bytes]] = {"full": lambda: transport.encode_pixels(pixels, tables)}
    if transport.needs_preview(pixels):
        makers = {
            "preview": lambda: transport.encode_pixels(transport.make_preview(pixels), tables),
            "full": lambda: transport.encode_pixels(pixels),
        }
    # Published at each run of the page: Streamlit drops what is not.
    known.files = {name: transport.publish(name, make, known.files.get(name)) for name, make in makers.items()}
    return known


def _image_data(film: Film, known: _Shown, shown: Radiograph) -> dict[str, Any]:
    size = film.size or (shown.width, shown.height)
    caption = f"Radiograph, {size[0]} × {size[1]} px"
    if size != (shown.width, shown.height):
        caption += f", shown at {shown.width} × {shown.height} px"
    files = list(known.files.values())
    return {
        "id": f"{film.sha256[:16]}.{film.turn}.{files[-1].url.rsplit('/', 1)[-1]}",
        "caption": caption,
        "width": shown.width,
        "height": shown.height,
        "valueCount": known.value_count,
        "files": [asdict(file) for file in files],
    }


def _preset_data(preset: WindowPreset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "windowCenter": preset.window_center,
        "windowWidth": preset.window_width,
        "rendering": preset.rendering,
        "isLut": preset.is_lut,
    }


def _evidence_data(film: Film, known: _Shown, shown: Radiograph) -> dict[str, Any] | None:
    """Return the network's cells and the maximum of each sign, from which the browser draws the map."""
    cells = film.cells
    if cells is None:
        return None
    if known.cells is not cells:
        shape = (shown.height, shown.width)
        known.cells, known.peaks = cells, (peak_evidence(cells, shape), peak_evidence(cells, shape, against=True))
    # To a hundred-thousandth of the strongest: the many cells of a framed film would be twice as long in JSON.
    finest = 10.0 ** (math.ceil(math.log10(max(*known.peaks, 1e-9))) - 6)
    rounded = np.round(np.asarray(cells, float) / finest) * finest
    sent = [[float(f"{value:.9g}") for value in row] for row in rounded.tolist()]
    return {"cells": sent, "maxFor": known.peaks[0], "maxAgainst": known.peaks[1]}


def _lungs_data(film: Film) -> list[list[float]] | None:
    """Return the outlines of the lungs, over the unit square, x and y in turn; None where none were found."""
    anatomy = film.kept.anatomy
    outlines = () if anatomy is None else lung_outlines(anatomy)
    return [np.round(one, 4).ravel().tolist() for one in outlines] or None


def _text(film: Film) -> dict[str, Any]:
    """Return the viewer's words; a version that reads the lungs alone has no evidence elsewhere."""
    anatomy = film.kept.anatomy
    if anatomy is None or film.frame is None or anatomy.is_doubtful:
        return _TEXT
    notes = {
        sign: {**words, "map": words["map"].replace(_ANYWHERE, _IN_LUNGS)} for sign, words in _TEXT["notes"].items()
    }
    return {**_TEXT, "notes": notes}


def _rerun() -> None:
    """Run the page after a change of the settings: a component without a callback has no state."""

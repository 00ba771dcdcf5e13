"""Radiograph and evidence map as displayed, drawn for the printed page and the archive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph, rendered, to_uint8
from model.anatomy import Anatomy
from model.assessment import Heatmap
from model.explanation import evidence_map
from model.overlay import contour, draw_lungs, overlay

Mode = Literal["overlay", "contour"]
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawing:
    """How radiograph and evidence map are displayed.

    Parameters
    ----------
    mode
        "overlay" in colour, or "contour" lines.
    opacity
        Of the overlay, in [0, 1].
    levels
        Of the contours, each in (0, 1], as shares of the maximum.
    against
        Whether the map is the evidence against pneumonia.
    rendering
        Index in `Radiograph.renderings` of the window; the assessment used the first.
    lungs
        Whether the outlines of the lungs are drawn over the map, where they were looked for.

    Raises
    ------
    ValueError
        For a value outside its range.
    """

    mode: Mode = "overlay"
    opacity: float = 0.5
    levels: tuple[float, ...] = (0.4, 0.6, 0.8)
    against: bool = False
    rendering: int = 0
    lungs: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.mode not in ("overlay", "contour"):
            raise ValueError(f"expected the mode overlay or contour. Received: {self.mode!r}")
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"expected an opacity in [0, 1]. Received: {self.opacity}")
        if not all(0 < level <= 1 for level in self.levels):
            raise ValueError(f"expected levels in (0, 1]. Received: {self.levels}")
        if self.rendering < 0:
            raise ValueError(f"expected the place of a rendering. Received: {self.rendering}")


def map_shown(heatmap: Heatmap, drawing: Drawing) -> Heatmap:
    """Return the evidence map to be displayed.

    Parameters
    ----------
    heatmap
        The map for the finding.
    drawing
        Decides whether the map against the finding is computed from the same cells.

    Returns
    -------
    Heatmap
        `heatmap` itself, or the map against the finding on the same grid, in [0, 1].

    Raises
    ------
    ValueError
        If the map against the finding is requested and `heatmap` has no cells.
    """
    if not drawing.against:
        return heatmap
    if heatmap.cells is None:
        raise ValueError("expected an evidence map with its cells. Received: one without")
    height, width = heatmap.values.shape
    values = evidence_map(heatmap.cells, (height, width), against=True)
    return replace(heatmap, values=values, is_empty=not values.any())


def draw_film(film: Radiograph, drawing: Drawing, px: tuple[int, int]) -> Grey:
    """Draw the radiograph in the chosen rendering, resampled.

    Parameters
    ----------
    film
        The radiograph.
    drawing
        Its `rendering` is applied.
    px
        Width and height of the result in pixels; reduction averages areas, enlargement is bilinear.

    Returns
    -------
    ndarray
        (height, width), uint8.

    Raises
    ------
    IndexError
        If the radiograph has no such rendering.
    """
    shown = rendered(film, drawing.rendering) if drawing.rendering else film
    method = cv2.INTER_AREA if px[0] < film.width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(to_uint8(shown), px, interpolation=method), np.uint8)


def draw_map(grey: Grey, heatmap: Heatmap, drawing: Drawing, anatomy: Anatomy | None = None) -> npt.NDArray[np.uint8]:
    """Draw an evidence map over a radiograph.

    Parameters
    ----------
    grey
        (H, W), uint8: the radiograph.
    heatmap
        Map of any size, resampled to the radiograph.
    drawing
        Overlay or contours, with opacity and levels, and whether the lungs are outlined.
    anatomy
        The lungs; None where they were not looked for.

    Returns
    -------
    ndarray
        (H, W, 3), uint8, RGB; the radiograph without a map where it is empty.
    """
    drawn = _with_map(grey, heatmap, drawing)
    return draw_lungs(drawn, anatomy) if drawing.lungs and anatomy is not None else drawn


def _with_map(grey: Grey, heatmap: Heatmap, drawing: Drawing) -> npt.NDArray[np.uint8]:
    if heatmap.is_empty:
        return np.repeat(grey[..., None], 3, axis=2)
    sized = cv2.resize(heatmap.values, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    values: npt.NDArray[np.float32] = np.clip(sized, 0, 1).astype(np.float32)
    if drawing.mode == "contour":
        return contour(grey, values, drawing.levels)
    drawn = np.repeat(grey[..., None], 3, axis=2)
    # Pixels without evidence stay as they are, so only the rectangle around the others is blended.
    x, y, width, height = cv2.boundingRect((values > 0).astype(np.uint8))
    box = slice(y, y + height), slice(x, x + width)
    drawn[box] = overlay(grey[box], values[box], drawing.opacity)
    return drawn

"""How a film is framed by its lungs, in words and numbers, for a program of one's own that runs an exported network.

>>> framing_values()["margin"]
0.09
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from model.anatomy import LUNG, USUAL
from model.anatomy import WALL as THORAX_WALL
from model.closer_look import ROOM as CLOSER_ROOM
from model.closer_look import STRAY as CLOSER_STRAY
from model.framing import BESIDE, MARGIN, MEAN, MOST_TILT, SPREAD, STRAY, WALL
from model.networks.architectures import ANATOMY_PX


def framing_values() -> dict[str, Any]:
    """Return the numbers with which a film is framed by its lungs, by the names that `framing_steps` uses."""
    return {
        "anatomy_px": ANATOMY_PX,
        "lung": LUNG,
        "stray": STRAY,
        "most_tilt_degrees": round(math.degrees(MOST_TILT), 6),
        "margin": MARGIN,
        "wall": WALL,
        "mean": MEAN,
        "spread": SPREAD,
        "beside": BESIDE,
        "usual": asdict(USUAL),
    }


def framing_steps(px: int, detail: int) -> list[str]:
    """Return in words how a squashed film becomes the network's input, for a program of one's own.

    Parameters
    ----------
    px
        Side of the network's input.
    detail
        Side of the squashed film.
    """
    return [
        f"anatomy network: resample that square to {ANATOMY_PX} × {ANATOMY_PX} px, averaging areas; float32, 0 to 255",
        f"of each map of lung_probabilities keep, of the parts that are at least lung ({LUNG:g}), the one whose "
        "probabilities above lung have the largest sum, parts that touch at their corners counting as one: where there "
        "are several, set the others, widened by one pixel, to 0; then times 255, rounded, uint8",
        "where two lungs were found, but not within usual, run the anatomy network again on the part of the square "
        f"from quantile {CLOSER_STRAY:g} to {1 - CLOSER_STRAY:g} of their pixels, with {CLOSER_ROOM:g} of its width "
        "and height added on each side, and take what it finds there, put back in place, where that is within usual "
        "(see model/closer_look.py)",
        "where the outlines are not within usual (areas, heights and distances as shares of the picture; see "
        "model/anatomy.py), put the thorax in place of both maps: the convex hull of both from lung · 255 on, widened "
        f"by an ellipse of radius round({THORAX_WALL:g} · {ANATOMY_PX}), as 0 and 255",
        f"resample both maps to {detail} × {detail} px, bilinear where that is larger, averaging areas where it is "
        "smaller; a pixel is lung where the larger of the two is at least 128",
        "tilt: slope of the line from the middle of the first map's lung to that of the second, at most "
        "most_tilt_degrees either way; 0 where one has less than 1 % of the pixels or the second is not to the right",
        "frame: along axes tilted so, from the quantile stray to 1 − stray of the pixel centres of the lungs, in "
        "shares of the side, at least 0.1 wide and high; with less than 1 % of the pixels lung, all of the square: "
        "middle 0.5, width and height 1 − 2 · margin, no tilt",
        f"resample square and lungs (the larger of the two maps) to {px} × {px} px, bilinear, so that width and height "
        "of the frame are each 1 − 2 · margin of the side, about its middle; beyond the square its edge pixels "
        "continue, and there is no lung",
        f"thorax: convex hull of the framed lungs from 128 on, widened by an ellipse of radius round(wall · {px}); all "
        "of the picture, as lung, where there is none",
        "grey values: those of the thorax to mean and standard deviation (taken for at least 4) mean and spread, "
        "rounded, clipped to 0 to 255; beside the thorax the value beside",
        "first channel the film, second channel the lungs, 0 to 255",
    ]

"""Ready-made windows of a film: how its file asks to be shown, and a few that suit any radiograph of the chest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imaging.film import Pixels, Radiograph

# Shares of the film's pixels, darkest first: on a frontal film the lungs lie in the darker half, what they lie in front
# of and beside in the brighter one.
_LUNGS = (2.0, 62.0)
_SOFT = (38.0, 99.5)
_SAMPLE = 400


@dataclass(frozen=True, slots=True)
class Preset:
    """A window by name, in values of `shown_values`: `centre` and `width` as in DICOM PS3.3 C.11.2.1.2.

    `rendering` is its place in `Radiograph.renderings`, whose curve then says how it is shown until somebody drags;
    None for a window of ours. `is_table` tells that the curve is no linear window, so that dragging works on what comes
    out of it.
    """

    name: str
    centre: float
    width: float
    rendering: int | None = None
    is_table: bool = False


def shown_values(radiograph: Radiograph) -> Pixels:
    """Return what window and level work on: the values before any window where the file has them, else its pixels."""
    return radiograph.pixels if radiograph.deep is None else radiograph.deep


def value_count(radiograph: Radiograph) -> int:
    """Return how many values a pixel can have: as many as a curve maps, or the power of two that holds them all."""
    if radiograph.renderings:
        return max(len(one.curve) for one in radiograph.renderings)
    if radiograph.deep is None:
        return 2**radiograph.bits
    return max(256, 1 << int(radiograph.deep.max()).bit_length())


def curves(radiograph: Radiograph) -> tuple[npt.NDArray[np.uint16], ...]:
    """Return the curves of the file's renderings, uint16 (value_count,)."""
    return tuple(one.curve for one in radiograph.renderings)


def presets(radiograph: Radiograph) -> list[Preset]:
    """Return the windows on offer; the first is how the file is shown."""
    values, count = shown_values(radiograph), value_count(radiograph)
    low, high = int(values.min()), int(values.max())
    full = ((low + high + 1) / 2, max(high - low + 1, 2))
    offered = [
        Preset(one.name, *(one.window or full), rendering=place, is_table=one.window is None)
        for place, one in enumerate(radiograph.renderings)
    ]
    if radiograph.deep is None and not offered:
        offered.append(Preset("As stored", count / 2, count))
    return [*offered, Preset("Full range", *full), *_generic(values, low, high)]


def _generic(values: Pixels, low: int, high: int) -> list[Preset]:
    """Windows from how the film's greys are spread, since a radiograph's values have no unit as those of CT have."""
    height, width = values.shape
    inner = values[height // 10 : height - height // 10, width // 10 : width - width // 10]
    sample = inner[:: max(1, inner.shape[0] // _SAMPLE), :: max(1, inner.shape[1] // _SAMPLE)].ravel()
    # The ends of the range are shutters, padding and direct exposure.
    body = sample[(sample > low) & (sample < high)]
    if not body.size:
        return []
    edges = [np.percentile(body, share) for share in (_LUNGS, _SOFT)]
    return [
        Preset(name, float((a + b + 1) / 2), float(max(b - a + 1, 2)))
        for name, (a, b) in zip(("Lungs", "Soft tissue and bone"), edges, strict=True)
    ]

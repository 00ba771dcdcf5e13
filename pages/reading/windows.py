"""Window presets of a radiograph: the file's own renderings, and generic windows for any chest radiograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imaging.film import Pixels, Radiograph

# Percentiles of the pixels, darkest first: on a frontal radiograph the lungs are in the darker half, mediastinum,
# abdomen and bone in the brighter one.
_LUNGS = (2.0, 62.0)
_SOFT_TISSUE = (38.0, 99.5)
_SAMPLE = 400


@dataclass(frozen=True, slots=True)
class WindowPreset:
    """A named window over `stored_values`.

    Attributes
    ----------
    name
        As the file or this module names it.
    window_center, window_width
        As in DICOM PS3.3 C.11.2.1.2.
    rendering
        Its index in `Radiograph.renderings`, whose VOI LUT is used until the window is changed; None for a generic
        window.
    is_lut
        The rendering has no linear window, so that changes of the window apply to the output of its VOI LUT.
    """

    name: str
    window_center: float
    window_width: float
    rendering: int | None = None
    is_lut: bool = False


def stored_values(radiograph: Radiograph) -> Pixels:
    """Return the values that are windowed: those before any window where the file has them, else its pixels."""
    return radiograph.pixels if radiograph.deep is None else radiograph.deep


def value_count(radiograph: Radiograph) -> int:
    """Return how many stored values can occur: the length of a VOI LUT, or the power of two that holds them all."""
    if radiograph.renderings:
        return max(len(one.curve) for one in radiograph.renderings)
    if radiograph.deep is None:
        return 1 << radiograph.bits
    return max(256, 1 << int(radiograph.deep.max()).bit_length())


def voi_luts(radiograph: Radiograph) -> tuple[npt.NDArray[np.uint16], ...]:
    """Return the VOI LUT of each rendering of the file, (value_count,) uint16."""
    return tuple(one.curve for one in radiograph.renderings)


def window_presets(radiograph: Radiograph) -> list[WindowPreset]:
    """Return the presets on offer; the first is how the file is shown initially."""
    values, count = stored_values(radiograph), value_count(radiograph)
    low, high = int(values.min()), int(values.max())
    full = ((low + high + 1) / 2, max(high - low + 1, 2))
    offered = []
    for index, one in enumerate(radiograph.renderings):
        center, width = one.window or full
        offered.append(WindowPreset(one.name, center, width, index, is_lut=one.window is None))
    if radiograph.deep is None and not offered:
        offered.append(WindowPreset("As stored", count / 2, count))
    return [*offered, WindowPreset("Full range", *full), *_generic(values, low, high)]


def _generic(values: Pixels, low: int, high: int) -> list[WindowPreset]:
    """Return windows from the histogram, since the values of a radiograph have no unit as those of CT have."""
    height, width = values.shape
    inner = values[height // 10 : height - height // 10, width // 10 : width - width // 10]
    sample = inner[:: max(1, inner.shape[0] // _SAMPLE), :: max(1, inner.shape[1] // _SAMPLE)].ravel()
    # The ends of the range are shutters, padding and direct exposure.
    body = sample[(sample > low) & (sample < high)]
    if not body.size:
        return []
    edges = [np.percentile(body, share) for share in (_LUNGS, _SOFT_TISSUE)]
    return [
        WindowPreset(name, float((a + b + 1) / 2), float(max(b - a + 1, 2)))
        for name, (a, b) in zip(("Lungs", "Soft tissue and bone"), edges, strict=True)
    ]

"""Is this picture fit to be read? Answers in issues, blocking or not.

Whether it is a frontal chest radiograph at all is not decided yet: a colour photograph draws a warning only.
"""

from __future__ import annotations

import numpy as np

from model.assessment import InputIssue
from model.radiograph import Radiograph, to_uint8

LOW_RESOLUTION_PX = 200
UNIFORM_SPREAD = 6.0


def check(radiograph: Radiograph) -> tuple[InputIssue, ...]:
    """Return what a reader must know about this picture, blocking issues first."""
    issues = []
    grey = to_uint8(radiograph)
    # The outer percentiles, not the extremes: one burnt-in letter must not make a blank picture look like a film.
    low, high = np.percentile(grey[:: max(1, radiograph.height // 512), :: max(1, radiograph.width // 512)], (2, 98))
    if high - low < UNIFORM_SPREAD:
        issues.append(InputIssue(
            "NEARLY_UNIFORM", True, "The picture is nearly one single grey, so there is nothing to assess. "
            "Check the export settings of the viewer and upload the radiograph again."))
    if radiograph.is_colour:
        issues.append(InputIssue(
            "COLOUR", False, "The picture is in colour, so it may not be a radiograph. The finding means nothing "
            "unless it is a frontal chest radiograph of a child."))
    if min(radiograph.height, radiograph.width) < LOW_RESOLUTION_PX:
        issues.append(InputIssue(
            "LOW_RESOLUTION", False, f"The picture is only {radiograph.width} × {radiograph.height} px. Fine opacities "
            "are lost at this size; export the radiograph at full size if you can."))
    return tuple(issues)

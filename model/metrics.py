"""How well scores separate and how true probabilities are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def auroc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve in [0, 1], ties counted half; nan when a class is missing.

    labels (n,) in {0, 1}; scores (n,), higher for 1. The Mann–Whitney statistic (Hanley & McNeil 1982).
    """
    ill, well = np.asarray(scores)[np.asarray(labels) == 1], np.sort(np.asarray(scores)[np.asarray(labels) == 0])
    if not len(ill) or not len(well):
        return float("nan")
    below = np.searchsorted(well, ill, "left") + np.searchsorted(well, ill, "right")
    return float(below.mean() / (2 * len(well)))

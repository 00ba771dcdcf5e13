"""The shortcut baseline: how well properties of a file without lung content separate the classes.

A classifier can only be credited with what it adds to this baseline, which boosted trees reach from file size,
dimensions, brightness, contrast and sharpness (Geirhos et al. 2020, https://arxiv.org/abs/2004.07780).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph
from model.metrics import auroc

FEATURES = ("bytes", "width", "height", "aspect", "mean", "contrast", "sharpness")
FOLDS = 5
Features = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int_]


def file_features(size_bytes: int, radiograph: Radiograph, small: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    """Return the features of a file that are independent of lung content, in the order of `FEATURES`.

    Parameters
    ----------
    size_bytes
        Size of the file.
    radiograph
        The radiograph.
    small
        (h, w), uint8: the radiograph reduced to a square.

    Returns
    -------
    tuple of float
        One value for each feature.
    """
    return (
        float(size_bytes),
        float(radiograph.width),
        float(radiograph.height),
        radiograph.width / radiograph.height,
        float(small.mean()),
        float(small.std()),
        float(cv2.Laplacian(small, cv2.CV_32F).var()),
    )


def baseline_auroc(features: Features, labels: Labels, patients: Sequence[str]) -> float:
    """Return the cross-validated AUROC of boosted trees on `features`, with folds by patient.

    Parameters
    ----------
    features
        float64 (n, len(FEATURES)).
    labels
        int (n,) in {0, 1}.
    patients
        Patient of each row; no patient is in two folds.

    Returns
    -------
    float
        AUROC in [0, 1]; nan with fewer than ten patients of a class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min((len({p for p, y in zip(patients, labels, strict=True) if y == label}) for label in (0, 1)), default=0)
    if fewest < 2 * FOLDS:
        return float("nan")
    scores = np.zeros(len(labels))
    for fitted, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, labels, patients):
        trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
        scores[held_out] = trees.fit(features[fitted], labels[fitted]).predict_proba(features[held_out])[:, 1]
    return auroc(labels, scores)


def feature_aurocs(features: Features, labels: Labels) -> dict[str, float]:
    """Return the AUROC of each feature alone, in either direction.

    Parameters
    ----------
    features
        (n, len(FEATURES)), as `file_features` returns them.
    labels
        (n,), int in {0, 1}.

    Returns
    -------
    dict of str to float
        In [0.5, 1]; nan with a single class.
    """
    areas = {name: auroc(labels, features[:, k]) for k, name in enumerate(FEATURES)}
    return {name: max(area, 1 - area) for name, area in areas.items()}

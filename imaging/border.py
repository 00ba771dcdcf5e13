"""Black borders of a radiograph, as collimation, a scanner or a rotation leaves them.

Borders are not anatomy, but they depend on how a radiograph was taken and handled, and a network uses them: black
wedges beside radiographs rotated by 10° cost a classifier 30 points of specificity, and 1 point when the margin was
continued over them. The network therefore gets radiographs whose margin is continued.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

BLACK = 3
# Resampling and compression leave a dark seam between border and image; the image beyond it is continued.
SEAM_PX = 2
# With a larger share of black, this is a dark picture and not a radiograph with a border.
MOST = 0.6


def fill_border(square: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Continue the image's margin over black that reaches the edge of the picture.

    Parameters
    ----------
    square
        (px, px), uint8. Black is a grey level of at most `BLACK`.

    Returns
    -------
    ndarray
        (px, px), uint8: each pixel of the border has the value of the nearest pixel of the image; black inside the
        image stays. A picture without a border, or more than `MOST` of which is border, is returned unchanged.
    """
    black = (square <= BLACK).astype(np.uint8)
    edges = (black[0], black[-1], black[:, 0], black[:, -1])
    if not any(edge.any() for edge in edges):
        return square
    _, pieces = cv2.connectedComponents(black)
    touching = np.unique(np.concatenate((pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1])))
    border = np.isin(pieces, touching[touching > 0]).astype(np.uint8)
    if border.mean() > MOST:
        return square
    side = 2 * SEAM_PX + 1
    empty = cv2.dilate(border, np.ones((side, side), np.uint8)).astype(bool)
    if empty.all():
        return square
    _, nearest = cv2.distanceTransformWithLabels(empty.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    values = np.zeros(int(nearest.max()) + 1, np.uint8)
    values[nearest[~empty]] = square[~empty]
    return np.asarray(np.where(empty, values[nearest], square), np.uint8)

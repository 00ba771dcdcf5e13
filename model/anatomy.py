"""Anatomy: where both lungs lie in a radiograph, how it is turned, and whether it is a frontal chest film at all.

A small network of our own (`model.networks.anatomy`) outlines the lungs as people draw them: the lung behind the heart
counts, and a lung that disease has made white is still a lung. This module holds what it found for one film, and what
follows from it: the outline on any grid, the hull of the thorax, zones, and whether two lungs of a plausible size and
place were found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.networks.architectures import ANATOMY_PX, POSES

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Pictures = npt.NDArray[np.uint8]

# A pixel is lung from this probability on.
LUNG = 0.5
# Chest wall beyond the hull of the lungs, as a share of the shorter side of the picture.
WALL = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """The lungs of one picture, squashed to a square of `ANATOMY_PX`.

    Attributes
    ----------
    lungs
        (2, ANATOMY_PX, ANATOMY_PX), uint8: probability × 255 of the lung on the left and on the right of the upright
        picture, where the patient's right and left lung are usually seen.
    pose
        (8,), float32: probability of each of `POSES`, given that it is a chest radiograph.
    no_chest
        Probability that it is no frontal chest radiograph, in [0, 1].
    """

    lungs: npt.NDArray[np.uint8]
    pose: Array
    no_chest: float

    @property
    def orientation(self) -> tuple[int, bool]:
        """The most probable of `POSES`: clockwise quarter turns, and whether the grayscale is inverted."""
        return POSES[int(np.argmax(self.pose))]

    @property
    def areas(self) -> tuple[float, float]:
        """Share of the picture that each lung covers."""
        left, right = (float((lung >= LUNG * 255).mean()) for lung in self.lungs)
        return left, right

    @property
    def sureness(self) -> float:
        """Mean probability inside the outlines, in [0, 1]; 0 where there are none."""
        most = self.lungs.max(0)
        inside = most >= LUNG * 255
        return float(most[inside].mean()) / 255 if inside.any() else 0.0

    @property
    def is_found(self) -> bool:
        """Whether two lungs of plausible size, place and proportion were found, as in a frontal chest radiograph."""
        return not _faults(self, _POSSIBLE)

    @property
    def is_doubtful(self) -> bool:
        """Whether the outlines are not to be relied on: not found, of an unusual form, or with little certainty."""
        return bool(self.doubts)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes the outlines doubtful, in words for a developer; empty where nothing does."""
        return _faults(self, USUAL)

    def outline(self, rows: int, columns: int) -> Mask:
        """Return both lungs on a grid over the radiograph, bool (rows, columns)."""
        return np.asarray(self.probability(rows, columns) >= LUNG, np.bool_)

    def probability(self, rows: int, columns: int) -> Array:
        """Return the probability of lung on a grid over the radiograph, float32 (rows, columns) in [0, 1]."""
        return _resized(self.lungs.max(0), rows, columns) / np.float32(255)

    def hull(self, rows: int, columns: int, margin: float = WALL) -> Mask:
        """Return the thorax on a grid over the radiograph: the convex hull of the lungs, widened to the chest wall.

        Parameters
        ----------
        rows, columns
            Shape of the grid.
        margin
            Width of the chest wall, as a share of the shorter side.

        Returns
        -------
        ndarray
            (rows, columns), bool; False everywhere where no lung was found.
        """
        return convex_hull(self.outline(rows, columns), margin)


AnatomyFinder = Callable[[Pictures], tuple[Anatomy, ...]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of two lungs; lengths and areas are shares of the picture's side and area."""

    no_chest: float
    least_area: float
    most_area: float
    least_height: float
    alike: float
    apart: float
    uneven: float
    sureness: float
    shared: float


# Chosen on held-out Kermany patients, NIH films, drawn pictures of other things and turned copies. A lung that is white
# with disease is still a lung, so little is asked before a film is refused, and much before its outlines are trusted.
_POSSIBLE = Limits(0.5, 0.015, 0.75, 0.15, 0.1, 0.15, 0.35, 0.7, 0.1)
USUAL = Limits(0.2, 0.035, 0.7, 0.2, 0.5, 0.22, 0.2, 0.9, 0.008)


def _faults(anatomy: Anatomy, limits: Limits) -> tuple[str, ...]:
    """Return what two lungs lack; empty where they are as asked."""
    if min(anatomy.areas) < limits.least_area:
        return (f"a lung covers {min(anatomy.areas):.3f} of the picture",)
    # As they would be upright: the lung on the left of the upright picture stands on the left.
    lungs = np.stack([np.rot90(lung, anatomy.orientation[0]) for lung in anatomy.lungs])
    inside = lungs >= LUNG * 255
    places = [np.nonzero(one) for one in inside]
    middles = np.array([(rows.mean(), columns.mean()) for rows, columns in places]) / ANATOMY_PX
    heights = [float(np.quantile(rows, 0.99) - np.quantile(rows, 0.01)) / ANATOMY_PX for rows, _ in places]
    sureness = min(float(lung[one].mean()) / 255 for lung, one in zip(lungs, inside, strict=True))
    alike = min(anatomy.areas) / max(anatomy.areas)
    uneven, apart = abs(float(middles[1, 0] - middles[0, 0])), float(middles[1, 1] - middles[0, 1])
    shared = float(lungs.min(0).sum(dtype=np.float64)) / float(lungs.max(0).sum(dtype=np.float64))
    asked = (
        (anatomy.no_chest <= limits.no_chest, f"no chest radiograph, probability {anatomy.no_chest:.2f}"),
        (sum(anatomy.areas) <= limits.most_area, f"lungs cover {sum(anatomy.areas):.2f} of the picture"),
        (min(heights) >= limits.least_height, f"a lung is {min(heights):.2f} high"),
        (alike >= limits.alike, f"one lung has {alike:.2f} of the other's area"),
        (apart >= limits.apart, f"the lungs are {apart:.2f} apart"),
        (uneven <= limits.uneven, f"one lung is {uneven:.2f} above the other"),
        (sureness >= limits.sureness, f"mean probability inside a lung {sureness:.3f}"),
        (shared <= limits.shared, f"both lungs claim {shared:.3f} of their area"),
    )
    return tuple(words for met, words in asked if not met)


def convex_hull(outline: Mask, margin: float = WALL) -> Mask:
    """Return the convex hull of an outline, widened.

    Parameters
    ----------
    outline
        (rows, columns), bool.
    margin
        How far it is widened, as a share of the shorter side.

    Returns
    -------
    ndarray
        (rows, columns), bool.
    """
    rows, columns = outline.shape
    outlines = cv2.findContours(outline.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    drawn = np.zeros((rows, columns), np.uint8)
    if outlines:
        cv2.fillConvexPoly(drawn, cv2.convexHull(np.concatenate(outlines)), 1)
    wall = 2 * round(margin * min(rows, columns)) + 1
    return np.asarray(cv2.dilate(drawn, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wall, wall))) > 0, np.bool_)


def lungs_apart(anatomy: Anatomy, rows: int, columns: int) -> Mask:
    """Return the outline of each lung on a grid over the radiograph.

    Parameters
    ----------
    anatomy
        Of the radiograph.
    rows, columns
        Shape of the grid.

    Returns
    -------
    ndarray
        (2, rows, columns), bool: the lung on the left and on the right of the upright picture; where both claim a pixel
        it belongs to the one that claims it more.
    """
    left, right = (_resized(lung, rows, columns) for lung in anatomy.lungs)
    return np.stack(((left >= LUNG * 255) & (left >= right), (right >= LUNG * 255) & (right > left)))


def from_output(lungs: Array, pose: Array) -> Anatomy:
    """Return the anatomy of one picture from what the network gives for it.

    Islands are removed: of each lung the largest and surest part stays, since a lung is one piece.

    Parameters
    ----------
    lungs
        (2, ANATOMY_PX, ANATOMY_PX), float32 in [0, 1].
    pose
        (9,), float32: probabilities of `POSES` and of no chest radiograph.
    """
    kept = np.round(np.stack([_surest(lung) for lung in lungs]) * 255).astype(np.uint8)
    upright = pose[: len(POSES)].astype(np.float32)
    return Anatomy(kept, upright / max(float(upright.sum()), 1e-9), float(pose[-1]))


def _surest(lung: Array) -> Array:
    """Keep the part of a lung that is the largest, weighed by its probability above that of an edge."""
    count, parts = cv2.connectedComponents((lung >= LUNG).astype(np.uint8))
    if count <= 2:
        return lung
    sums = np.bincount(parts.ravel(), (lung - LUNG).ravel(), count)
    others = (parts != 1 + int(np.argmax(sums[1:]))) & (parts > 0)
    return np.where(cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, 0, lung).astype(np.float32)


def _resized(picture: npt.NDArray[np.uint8], rows: int, columns: int) -> Array:
    how = cv2.INTER_AREA if max(rows, columns) < ANATOMY_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture.astype(np.float32), (columns, rows), interpolation=how), np.float32)

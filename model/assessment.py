"""The values that one assessment is made of. No tensorflow, no input or output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph

Finding = Literal["PNEUMONIA", "NO_PNEUMONIA"]


@dataclass(frozen=True, slots=True)
class InputIssue:
    """Something about the file that the reader must know; a blocking one means that nothing was assessed."""

    code: str
    blocking: bool
    message: str

    def __post_init__(self) -> None:
        """Refuse a code that is not in capitals."""
        if not self.code or self.code != self.code.upper():
            raise ValueError(f"expected a code in capitals. Received: {self.code!r}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier says of one radiograph.

    `probability` is the calibrated probability of pneumonia and `operating_point` the probability from which the
    finding is PNEUMONIA, both in [0, 1]. `logit` is the network's own output before calibration. `is_near` tells that
    small changes to the picture could move the probability across the operating point. `purpose` names what the
    operating point is for, of `core.purposes.PURPOSES`.
    """

    logit: float
    probability: float
    operating_point: float
    is_near: bool
    purpose: str = "default"

    def __post_init__(self) -> None:
        """Refuse anything but probabilities."""
        for value in (self.probability, self.operating_point):
            if not 0 <= value <= 1:
                raise ValueError(f"expected a probability in [0, 1]. Received: {value}")

    @property
    def finding(self) -> Finding:
        """Which side of the operating point the probability lies on."""
        return "PNEUMONIA" if self.probability >= self.operating_point else "NO_PNEUMONIA"

    @property
    def words(self) -> str:
        """The finding as the page and the report say it."""
        if self.is_near:
            return "Near the operating point: read with care"
        return "Pneumonia likely" if self.finding == "PNEUMONIA" else "Pneumonia unlikely"


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Where the influence on the logit came from: `values` is float32 (H, W) in [0, 1] on the radiograph's own grid.

    All zeros, with `is_empty` set, when no region raised the logit. It shows influence, not the outline of a lesion.
    `cells` is the network's own coarse grid that it was drawn from, float32 (rows, columns), signed: what lies below
    zero lowered the logit.
    """

    values: npt.NDArray[np.float32]
    layer: str
    is_empty: bool
    cells: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One of the training radiographs most like this one: its label, "NORMAL" or "PNEUMONIA", and how far it is."""

    label: str
    distance: float


@dataclass(frozen=True, slots=True)
class Population:
    """How far the film lies from the training population, in the classifier's own features.

    `distance` is in units of `threshold`'s: from there on the film is outside. `neighbours` are the most similar
    training radiographs, nearest first; their distances are in the same features.
    """

    distance: float
    threshold: float
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def is_outside(self) -> bool:
        """Whether the film is unlike what the classifier has learned from."""
        return self.distance >= self.threshold


@dataclass(frozen=True, slots=True)
class Stability:
    """The range of the probability under small changes to this radiograph that no reader would notice.

    `changes` holds (what was changed, in words; the probability then), each probability in [0, 1].
    """

    low: float
    high: float
    changes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class EvidenceRegions:
    """Where the influence lies: `shares` maps a zone's name in words to its share of all influence, in [0, 1].

    Sides are the patient's. `outside` is the share that falls outside the thorax; all shares and it add up to 1. Where
    the thorax was not found there are no shares and `outside` is nan.
    """

    shares: tuple[tuple[str, float], ...]
    outside: float

    @property
    def is_found(self) -> bool:
        """Whether the thorax was found, so that anything can be said."""
        return not math.isnan(self.outside)


Verdict = Literal["agree", "disagree", "unsure"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reader made of the film: a verdict on the finding and remarks in the reader's own words."""

    verdict: Verdict | None = None
    remarks: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """The answer to one file: a prediction with its influence map, or blocking issues and neither.

    `radiograph` is None when the file could not be decoded, and the one that was assessed when it was corrected:
    `corrections` says in words what was done ("inverted", "turned by 90°"). `turn` is by how many degrees clockwise
    the film should be turned to stand upright, 0, 90, 180 or 270; the reader decides. `population` is None for
    versions that do not know theirs; `stability` and `regions` are None until they are asked for. `assessed_at` is in
    UTC; `seconds` is how long it took.
    """

    radiograph: Radiograph | None
    issues: tuple[InputIssue, ...]
    prediction: Prediction | None
    heatmap: Heatmap | None
    classifier_version: str
    assessed_at: datetime
    seconds: float
    corrections: tuple[str, ...] = ()
    turn: int = 0
    population: Population | None = None
    stability: Stability | None = None
    regions: EvidenceRegions | None = None

    def __post_init__(self) -> None:
        """Refuse an assessment that both answers and refuses, or does neither."""
        if (self.prediction is None) != self.is_refused:
            raise ValueError("expected either a prediction or a blocking issue")

    @property
    def is_refused(self) -> bool:
        """Whether the file was not assessed."""
        return any(issue.blocking for issue in self.issues)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the file was not assessed. Of what is no chest film nothing is said of how it was exposed."""
        blocking = [issue for issue in self.issues if issue.blocking]
        about_content = [issue for issue in blocking if issue.code in ("NOT_A_CHEST_RADIOGRAPH", "NOT_FRONTAL")]
        return tuple(issue.message for issue in about_content or blocking)

    @property
    def is_outside(self) -> bool:
        """Whether the film is unlike what the classifier has learned from, so that its probability means little.

        By its looks, as `population` says, or because it is an adult's by its header.
        """
        return any(issue.code == "OUTSIDE_POPULATION" for issue in self.issues)

    @property
    def words(self) -> str:
        """The finding as the page and the report say it; what bears on it more than the probability comes first."""
        if self.prediction is None:
            return "Not assessed"
        return "Outside what this classifier has learned from" if self.is_outside else self.prediction.words

"""The values of one assessment: issues, prediction, evidence map, population, stability. No tensorflow, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from imaging.radiograph import Radiograph
from model.anatomy import Anatomy
from model.card import GroupResult
from model.framing import Frame

Finding = Literal["PNEUMONIA", "NO_PNEUMONIA"]
BORDERLINE = "Borderline (near the threshold)"
OUTSIDE_POPULATION = "Outside the training population"
NOT_ASSESSED = "Not assessed"


@dataclass(frozen=True, slots=True)
class InputIssue:
    """A problem with the file that the reader must know.

    Attributes
    ----------
    code
        Capitals, e.g. "LOW_CONTRAST".
    blocking
        Whether the file was refused for it.
    message
        Sentences for the reader: what was found and what to do.
    """

    code: str
    blocking: bool
    message: str

    def __post_init__(self) -> None:
        """Check that the code is in capitals."""
        if not self.code or self.code != self.code.upper():
            raise ValueError(f"expected a code in capitals. Received: {self.code!r}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classifier's output for one radiograph.

    Attributes
    ----------
    logit
        The network's output before calibration.
    probability
        Calibrated probability of pneumonia, in [0, 1].
    operating_point
        Probability from which the finding is PNEUMONIA, in [0, 1].
    is_near
        Whether small perturbations of the radiograph could move the probability across the operating point.
    purpose
        What the operating point is for, one of `core.settings.PURPOSES`.
    """

    logit: float
    probability: float
    operating_point: float
    is_near: bool
    purpose: str = "default"

    def __post_init__(self) -> None:
        """Check that both probabilities are in [0, 1]."""
        for value in (self.probability, self.operating_point):
            if not 0 <= value <= 1:
                raise ValueError(f"expected a probability in [0, 1]. Received: {value}")

    @property
    def finding(self) -> Finding:
        """PNEUMONIA from the operating point on, NO_PNEUMONIA below."""
        return "PNEUMONIA" if self.probability >= self.operating_point else "NO_PNEUMONIA"

    @property
    def words(self) -> str:
        """The finding as page and report show it."""
        if self.is_near:
            return BORDERLINE
        return "Pneumonia likely" if self.finding == "PNEUMONIA" else "Pneumonia unlikely"


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Evidence for the finding by region. It shows what moved the logit, not the outline of a lesion.

    Attributes
    ----------
    values
        (H, W), float32 in [0, 1], on the radiograph's own grid.
    layer
        Name of the network layer that the map is computed from.
    is_empty
        Whether no region raised the logit; `values` are then all zeros.
    cells
        (rows, columns), float32: the coarse grid over the whole radiograph that `values` is interpolated from, in
        logits. Negative cells lowered the logit.
    frame_cells
        (rows, columns), float32: the layer's own cells where the network saw the film framed by its lungs; their mean
        and the head's bias are the logit. None where `cells` are the layer's own.
    frame
        The frame of `frame_cells`.
    """

    values: npt.NDArray[np.float32]
    layer: str
    is_empty: bool
    cells: npt.NDArray[np.float32] | None = None
    frame_cells: npt.NDArray[np.float32] | None = None
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training radiograph near this one: its label, "NORMAL" or "PNEUMONIA", and its distance in feature space."""

    label: str
    distance: float


@dataclass(frozen=True, slots=True)
class Population:
    """Distance of a radiograph from the training population, in the classifier's own features.

    Attributes
    ----------
    distance
        Distance from the nearest training radiographs.
    threshold
        Distance from which a radiograph is outside the training population.
    neighbours
        The nearest training cases, nearest first; their distances include the features of the finding.
    """

    distance: float
    threshold: float
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def is_outside(self) -> bool:
        """Whether the radiograph is outside the training population."""
        return self.distance >= self.threshold


@dataclass(frozen=True, slots=True)
class Stability:
    """Result of the perturbation test: the range of the probability under small changes that no reader would notice.

    Attributes
    ----------
    low, high
        Range of the probability, the unchanged radiograph included.
    changes
        (name of the change, probability under it) for each change.
    """

    low: float
    high: float
    changes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class EvidenceRegions:
    """Distribution of the evidence over the zones of the lungs.

    Attributes
    ----------
    shares
        (name of the zone, its share of all evidence in [0, 1]) for each zone; sides are the patient's. Empty where the
        thorax was not found.
    outside
        Share outside the thorax; with `shares` it adds up to 1. nan where the thorax was not found.
    """

    shares: tuple[tuple[str, float], ...]
    outside: float

    @property
    def is_found(self) -> bool:
        """Whether the thorax was found."""
        return not math.isnan(self.outside)


Verdict = Literal["agree", "disagree", "unsure"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The reader's verdict on the finding, and remarks."""

    verdict: Verdict | None = None
    remarks: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """The result for one file: a prediction with its evidence map, or blocking issues and neither.

    Attributes
    ----------
    radiograph
        The radiograph as it was assessed, after `corrections`; None when the file could not be decoded.
    issues
        Problems with the file, blocking ones first.
    prediction
        The classifier's output; None when the file was refused.
    heatmap
        The evidence map; None when the file was refused.
    classifier_version
        Version that assessed the file.
    assessed_at
        Time of the assessment, UTC.
    seconds
        Duration of the assessment.
    corrections
        What was done to the radiograph first: "inverted", "turned by 90°".
    turn
        Clockwise rotation that would bring the radiograph upright: 0, 90, 180 or 270 degrees. The reader decides.
    population
        Distance from the training population; None for versions without one.
    stability
        Result of the perturbation test; None until it was run.
    regions
        Distribution of the evidence over lung zones; None until it was computed.
    anatomy
        The lungs of the radiograph; None for versions that do not look for them.
    groups
        What the card measured on radiographs of this one's age and projection; empty where that is unknown.
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
    anatomy: Anatomy | None = None
    groups: tuple[GroupResult, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is either a prediction or a blocking issue."""
        if (self.prediction is None) != self.is_refused:
            raise ValueError("expected either a prediction or a blocking issue")

    @classmethod
    def refused(
        cls,
        reason: RadiographError | Iterable[InputIssue],
        classifier_version: str,
        assessed_at: datetime,
        seconds: float = 0.0,
        *,
        radiograph: Radiograph | None = None,
        corrections: tuple[str, ...] = (),
        population: Population | None = None,
        anatomy: Anatomy | None = None,
    ) -> Assessment:
        """Return the assessment of a file that was refused.

        Parameters
        ----------
        reason
            The error that decoding raised, or issues of which at least one is blocking.
        classifier_version, assessed_at, seconds, radiograph, corrections, population, anatomy
            As the attributes.

        Returns
        -------
        Assessment
            Without prediction and evidence map.

        Raises
        ------
        ValueError
            If no issue is blocking.
        """
        if isinstance(reason, RadiographError):
            reason = (InputIssue(reason.code, True, reason.advice),)
        return cls(
            radiograph,
            tuple(reason),
            None,
            None,
            classifier_version,
            assessed_at,
            seconds,
            corrections,
            population=population,
            anatomy=anatomy,
        )

    @property
    def is_refused(self) -> bool:
        """Whether the file was not assessed."""
        return any(issue.blocking for issue in self.issues)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the file was not assessed; issues of exposure are left out when the content is not a chest radiograph."""
        blocking = [issue for issue in self.issues if issue.blocking]
        about_content = [issue for issue in blocking if issue.code in ("NOT_A_CHEST_RADIOGRAPH", "NOT_FRONTAL")]
        return tuple(issue.message for issue in about_content or blocking)

    @property
    def is_outside(self) -> bool:
        """Whether the radiograph is outside the training population, by its features or by the age in its header."""
        return any(issue.code == "OUTSIDE_POPULATION" for issue in self.issues)

    @property
    def words(self) -> str:
        """The finding as page and report show it; being outside the training population takes precedence."""
        if self.prediction is None:
            return NOT_ASSESSED
        return OUTSIDE_POPULATION if self.is_outside else self.prediction.words

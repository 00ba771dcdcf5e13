"""The model card that travels with a classifier version, as values and as JSON.

After Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import ClassifierError

MEASURES = ("accuracy", "auroc", "auprc", "sensitivity", "specificity", "ppv", "npv", "f1", "brier", "ece")


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure with its 95 % interval; nan where the sample does not define it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: mean probability, observed share of pneumonia, and how many radiographs."""

    probability: float
    observed: float
    n: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a classifier did on one set of radiographs, at its own operating point.

    `measures` has the keys of `MEASURES`. `roc` and `precision_recall` hold (x, y) points, x being 1 − specificity and
    recall. `histogram_normal` and `histogram_pneumonia` count calibrated probabilities in equal bins over [0, 1].
    `unit` is what the intervals resample: "patient" or "radiograph".
    """

    split: str
    n: int
    tp: int
    fp: int
    tn: int
    fn: int
    operating_point: float
    measures: Mapping[str, Measure]
    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]
    reliability: tuple[ReliabilityBin, ...]
    histogram_normal: tuple[int, ...]
    histogram_pneumonia: tuple[int, ...]
    unit: str = "patient"


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = sigmoid(logit / temperature + bias); Guo et al. 2017, with Platt's (1999) intercept.

    It holds where the share of pneumonia is `prevalence`, in (0, 1).
    """

    temperature: float
    bias: float = 0.0
    prevalence: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a scale that would turn or blank the probabilities."""
        if not (0 < self.temperature < math.inf and math.isfinite(self.bias) and 0 < self.prevalence < 1):
            raise ValueError(
                f"expected a positive temperature, a finite bias and a prevalence in (0, 1). Received: {self}"
            )


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The probability from which the finding is PNEUMONIA, how it was chosen, and the band that counts as near."""

    probability: float
    near_low: float
    near_high: float
    chosen: str

    def __post_init__(self) -> None:
        """Refuse a point outside its band, or a band outside [0, 1]."""
        if not 0 <= self.near_low <= self.probability <= self.near_high <= 1:
            raise ValueError(f"expected 0 <= near_low <= probability <= near_high <= 1. Received: {self}")


@dataclass(frozen=True, slots=True)
class PurposePoint:
    """The probability from which a film counts as pneumonia when it is read for one purpose, and how it was chosen.

    `sensitivity` and `specificity` are those of the held-out radiographs that chose it, in [0, 1].
    """

    purpose: str
    probability: float
    sensitivity: float
    specificity: float
    chosen: str

    def __post_init__(self) -> None:
        """Refuse anything but probabilities and rates."""
        if not all(0 <= value <= 1 for value in (self.probability, self.sensitivity, self.specificity)):
            raise ValueError(f"expected a probability and two rates in [0, 1]. Received: {self}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a classifier version is, what it is for, what it learned from and how it did.

    `sha256` is that of `weights_file`. `data` tells source, digest, counts and licences; `preprocessing` holds at least
    input_px and detail_px; `training` the configuration and `history` one row per epoch. `evaluations` are keyed
    "validation", and by the name of each further set. `purposes` are further operating points to choose from and
    `robustness` one row per change to the films (`training.evaluation.robustness`); cards of older versions have
    neither.
    `population_sha256` is that of the file that tells how the training radiographs look (`model.population`), empty
    where the version has none.
    """

    version: str
    parent: str | None
    created_at: str
    weights_file: str
    sha256: str
    architecture: str
    parameters: int
    intended_use: str
    limitations: tuple[str, ...]
    data: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    training: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    calibration: Calibration
    operating_point: OperatingPoint
    evaluations: Mapping[str, Evaluation]
    libraries: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())
    purposes: tuple[PurposePoint, ...] = ()
    robustness: tuple[Mapping[str, Any], ...] = ()
    population_sha256: str = ""


def card_to_json(card: ModelCard) -> str:
    """Return the card as JSON that `card_from_json` reads back."""
    return json.dumps(asdict(card), indent=1, ensure_ascii=False)


def card_from_json(text: str) -> ModelCard:
    """Read a card; raises ClassifierError when the text is not one."""
    try:
        values = json.loads(text)
        values["calibration"] = Calibration(**values["calibration"])
        values["operating_point"] = OperatingPoint(**values["operating_point"])
        values["evaluations"] = {name: evaluation_from(e) for name, e in values["evaluations"].items()}
        for name in ("limitations", "history", "notes"):
            values[name] = tuple(values[name])
        values["purposes"] = tuple(PurposePoint(**one) for one in values.get("purposes", ()))
        values["robustness"] = tuple(dict(row) for row in values.get("robustness", ()))
        return ModelCard(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClassifierError(
            f"expected a model card. Received: JSON that is not one ({error})",
            advice="The classifier's card is damaged; install the version again.",
        ) from error


def evaluation_from(values: Mapping[str, Any]) -> Evaluation:
    """Read one evaluation out of a parsed card."""
    fields = dict(values)
    fields["measures"] = {name: Measure(**measure) for name, measure in fields["measures"].items()}
    fields["reliability"] = tuple(ReliabilityBin(**one) for one in fields["reliability"])
    for name in ("roc", "precision_recall"):
        fields[name] = tuple((float(x), float(y)) for x, y in fields[name])
    for name in ("histogram_normal", "histogram_pneumonia"):
        fields[name] = tuple(fields[name])
    return Evaluation(**fields)

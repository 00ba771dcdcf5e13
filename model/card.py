"""Model card of a classifier version, as values and as JSON.

After Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from core.errors import ClassifierError
from core.json_text import parse_json

# What a field may hold, by how its annotation begins.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "str | None": (str, type(None)),
    "str": str,
    "int": int,
    "float": (int, float),
    "Mapping": Mapping,
    "tuple": tuple,
}
MEASURES = ("accuracy", "auroc", "auprc", "sensitivity", "specificity", "ppv", "npv", "f1", "brier", "ece")


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure with its 95 % interval; nan where the sample does not define it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: mean probability, observed share of pneumonia, number of radiographs."""

    probability: float
    observed: float
    n: int


@dataclass(frozen=True, slots=True)
class CalibrationMeasures:
    """Calibration measured at the prevalence that the probabilities are made for.

    Attributes
    ----------
    prevalence
        To which the classes are weighted, in (0, 1).
    intercept
        Calibration in the large: what has to be added to the logit of every probability; 0 is ideal.
    slope
        Factor of the logit; 1 is ideal, less means too extreme probabilities. nan for perfectly separated classes.
    ece
        Expected calibration error without its bias; 0 is ideal.

    References
    ----------
    Van Calster et al. 2019, doi 10.1186/s12916-019-1466-7
    """

    prevalence: float
    intercept: Measure
    slope: Measure
    ece: Measure


@dataclass(frozen=True, slots=True)
class GroupResult:
    """Performance on the radiographs of one group, such as those of one acquisition style.

    Attributes
    ----------
    kind, name
        What the groups are, one of `training.evaluation.groups.KINDS`, and which one this is.
    n, tp, fp, tn, fn
        Counts of radiographs.
    auroc
        With its 95 % interval; nan where a class has too few radiographs.
    sensitivity, specificity
        With Wilson's 95 % interval by patient; nan where the class has too few radiographs.
    too_few
        Whether both classes have too few radiographs to tell anything.
    """

    kind: str
    name: str
    n: int
    tp: int
    fp: int
    tn: int
    fn: int
    auroc: Measure
    sensitivity: Measure
    specificity: Measure
    too_few: bool


@dataclass(frozen=True, slots=True)
class LeftOutGroup:
    """A group whose radiographs took no part in refitting the head, see `training.runs.left_out_heads`.

    Attributes
    ----------
    without, reference
        Results on its held-out radiographs, of the head refitted without the group and with all groups.
    left_out
        Radiographs of the group in training, without and with pneumonia.
    differences
        without − reference, for those of "auroc", "sensitivity" and "specificity" that can be measured.
    """

    without: GroupResult
    reference: GroupResult
    left_out: tuple[int, int]
    differences: Mapping[str, Measure]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Performance of a classifier on one set of radiographs, at its own operating point.

    Attributes
    ----------
    split
        Name of the set.
    n, tp, fp, tn, fn
        Counts of radiographs.
    operating_point
        Probability from which a radiograph counts as pneumonia, in [0, 1].
    measures
        One `Measure` for each name of `MEASURES`.
    roc, precision_recall
        Points (x, y): x is 1 − specificity, and recall.
    reliability
        Bins of the reliability diagram.
    histogram_normal, histogram_pneumonia
        Counts of calibrated probabilities in equal bins over [0, 1].
    unit
        What counts as one observation in the intervals: "patient" or "radiograph".
    calibration
        Measures of calibration at the prevalence of the probabilities; None on older cards and with one class.
    effective_normal, effective_pneumonia
        Number of independent radiographs that the radiographs of each class are equal to; 0 on older cards.
    groups
        Results by style, source, unit, age and projection, the worst of each kind first; empty in earlier evaluations.
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
    calibration: CalibrationMeasures | None = None
    effective_normal: float = 0.0
    effective_pneumonia: float = 0.0
    groups: tuple[GroupResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration: probability = sigmoid(logit / temperature + bias).

    Attributes
    ----------
    temperature
        Positive scale of the logit.
    bias
        Intercept after scaling.
    prevalence
        Share of pneumonia for which the probabilities are calibrated, in (0, 1).

    References
    ----------
    Guo et al. 2017, https://arxiv.org/abs/1706.04599, with the intercept of Platt 1999
    """

    temperature: float
    bias: float = 0.0
    prevalence: float = 0.5

    def __post_init__(self) -> None:
        """Check that the scale keeps the order of the logits."""
        if not (0 < self.temperature < math.inf and math.isfinite(self.bias) and 0 < self.prevalence < 1):
            raise ValueError(
                f"expected a positive temperature, a finite bias and a prevalence in (0, 1). Received: {self}"
            )


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Probability from which the finding is PNEUMONIA, with the borderline band around it.

    Attributes
    ----------
    probability
        The threshold, in [0, 1].
    near_low, near_high
        Ends of the borderline band, in [0, 1].
    chosen
        How it was chosen, in words.
    """

    probability: float
    near_low: float
    near_high: float
    chosen: str

    def __post_init__(self) -> None:
        """Check that the band is in [0, 1] and holds the point."""
        if not 0 <= self.near_low <= self.probability <= self.near_high <= 1:
            raise ValueError(f"expected 0 <= near_low <= probability <= near_high <= 1. Received: {self}")


@dataclass(frozen=True, slots=True)
class PurposePoint:
    """Operating point for one purpose.

    Attributes
    ----------
    purpose
        One of `core.settings.PURPOSES`.
    probability
        The threshold, in [0, 1].
    sensitivity, specificity
        On held-out radiographs, in [0, 1]: cross-fitted where the card has `cross_fit`, else those it was chosen on.
    chosen
        How it was chosen, in words.
    """

    purpose: str
    probability: float
    sensitivity: float
    specificity: float
    chosen: str

    def __post_init__(self) -> None:
        """Check that all values are in [0, 1]."""
        if not all(0 <= value <= 1 for value in (self.probability, self.sensitivity, self.specificity)):
            raise ValueError(f"expected a probability and two rates in [0, 1]. Received: {self}")


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Limits of the class-conditional conformal sets, see `model.conformal`.

    Attributes
    ----------
    alpha
        Largest expected share of radiographs of a class whose set lacks it, in (0, 1).
    normal_up_to
        "No pneumonia" is in the set up to this probability of pneumonia, in [0, 1].
    pneumonia_from
        "Pneumonia" is in the set from this probability on, in [0, 1].
    """

    alpha: float
    normal_up_to: float
    pneumonia_from: float

    def __post_init__(self) -> None:
        """Check that all values are shares."""
        if not (0 < self.alpha < 1 and 0 <= self.normal_up_to <= 1 and 0 <= self.pneumonia_from <= 1):
            raise ValueError(f"expected alpha in (0, 1) and two limits in [0, 1]. Received: {self}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Model card of a classifier version.

    Attributes
    ----------
    version, parent
        Names of the version and of the one that it was trained from.
    created_at
        UTC, ISO 8601.
    weights_file, sha256
        Name and checksum of the weights.
    architecture, parameters
        Name of the network and number of its parameters.
    intended_use, limitations
        Sentences for the reader.
    data
        Source, digest, counts and licences of the training data.
    preprocessing
        At least ``input_px`` and ``detail_px``.
    training, history
        Training configuration, and one row per epoch.
    calibration, operating_point
        From logit to probability to finding.
    evaluations
        By name of the set; "validation" is the held-out patients' set.
    libraries
        Library versions.
    notes
        Remarks.
    purposes
        Further operating points; empty on older cards.
    robustness
        One row per perturbation, see `training.evaluation.robustness`; empty on older cards.
    population_sha256
        Checksum of the file of the training population (`model.population`); empty where there is none.
    anatomy_sha256
        Checksum of the network that finds the lungs by which films are framed; empty where they are not framed.
    styles
        The acquisition styles of the training data, see `training.data.styles`; empty where there are none.
    conformal
        Limits of the conformal sets for each alpha; empty on older cards.
    cross_fit
        Figures of the operating points and sets on patients that took no part in choosing them, see
        `training.fitting.cross_fit`; the evaluations on validation are such figures then. Empty on older cards.
    left_out, left_out_note
        Results with each style, source and unit left out of the head in turn, the worst of each kind first, and what
        they can show, or why there are none. Empty on older cards.
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
    anatomy_sha256: str = ""
    styles: Mapping[str, Any] = field(default_factory=dict)
    conformal: tuple[ConformalSets, ...] = ()
    cross_fit: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[LeftOutGroup, ...] = ()
    left_out_note: str = ""


def card_to_json(card: ModelCard) -> str:
    """Return the card as strict JSON that `card_from_json` reads back; an undefined measure is null."""
    return json.dumps(_null_for_nan(asdict(card)), indent=1, ensure_ascii=False, allow_nan=False)


def _null_for_nan(value: Any) -> Any:
    """Return a value with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {name: _null_for_nan(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_for_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _measure(values: Mapping[str, Any]) -> Measure:
    """Read a figure; null and the NaN of earlier cards are both nan."""
    return Measure(**{name: math.nan if one is None else one for name, one in values.items()})


def card_from_json(text: str) -> ModelCard:
    """Read a card.

    Raises
    ------
    ClassifierError
        If the text is not a card.
    """
    try:
        values = parse_json(text)
        values["calibration"] = Calibration(**values["calibration"])
        values["operating_point"] = OperatingPoint(**values["operating_point"])
        values["evaluations"] = {name: evaluation_from(e) for name, e in values["evaluations"].items()}
        for name in ("limitations", "history", "notes"):
            values[name] = tuple(values[name])
        values["purposes"] = tuple(PurposePoint(**one) for one in values.get("purposes", ()))
        values["conformal"] = tuple(ConformalSets(**one) for one in values.get("conformal", ()))
        values["robustness"] = tuple(dict(row) for row in values.get("robustness", ()))
        values["left_out"] = tuple(_left_out_from(one) for one in values.get("left_out", ()))
        card = ModelCard(**values)
        _refuse_other_types(card)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ClassifierError(
            f"expected a model card. Received: JSON that is not one ({error})",
            advice="The classifier's card is damaged; install the version again.",
        ) from error
    return card


def _left_out_from(values: Mapping[str, Any]) -> LeftOutGroup:
    normal, pneumonia = values["left_out"]
    return LeftOutGroup(
        group_from(values["without"]),
        group_from(values["reference"]),
        (int(normal), int(pneumonia)),
        {name: _measure(one) for name, one in values["differences"].items()},
    )


def _refuse_other_types(value: Any) -> None:
    """Raise TypeError if a field of a value of this module, or of those in it, is not of its annotated type.

    JSON may hold anything, and a page would only find out when it draws the figure.
    """
    for one in fields(value):
        held, expected = getattr(value, one.name), str(one.type)
        kinds = next((kinds for name, kinds in _KINDS.items() if expected.startswith(name)), None)
        if kinds is not None and (not isinstance(held, kinds) or isinstance(held, bool)):
            raise TypeError(f"{one.name} is {type(held).__name__}, not {expected}")
        parts = held.values() if isinstance(held, Mapping) else held if isinstance(held, tuple) else (held,)
        for part in parts:
            if is_dataclass(part):
                _refuse_other_types(part)
            elif expected == "tuple[str, ...]" and not isinstance(part, str):
                raise TypeError(f"{one.name} holds {type(part).__name__}, not str")
            elif expected.startswith("tuple[Mapping") and not isinstance(part, Mapping):
                raise TypeError(f"{one.name} holds {type(part).__name__}, not a mapping")


def evaluation_from(values: Mapping[str, Any]) -> Evaluation:
    """Read one evaluation of a parsed card."""
    fields = dict(values)
    fields["measures"] = {name: _measure(measure) for name, measure in fields["measures"].items()}
    fields["reliability"] = tuple(ReliabilityBin(**one) for one in fields["reliability"])
    for name in ("roc", "precision_recall"):
        fields[name] = tuple((float(x), float(y)) for x, y in fields[name])
    for name in ("histogram_normal", "histogram_pneumonia"):
        fields[name] = tuple(fields[name])
    found = fields.get("calibration")
    fields["calibration"] = None
    if isinstance(found, Mapping):  # a comparison's file reads null as nan
        measured = {name: _measure(found[name]) for name in ("intercept", "slope", "ece")}
        fields["calibration"] = CalibrationMeasures(found["prevalence"], **measured)
    fields["groups"] = tuple(group_from(group) for group in fields.get("groups", ()))
    return Evaluation(**fields)


def group_from(values: Mapping[str, Any]) -> GroupResult:
    """Read the result of one group from the `values` of parsed JSON."""
    fields: dict[str, Any] = {name: _measure(one) if isinstance(one, Mapping) else one for name, one in values.items()}
    return GroupResult(**fields)

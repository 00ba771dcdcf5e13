"""Content of the structured report: TID 1500 with one measurement group (TID 1501) and a container of texts.

Codes are those of SNOMED CT and DICOM where they have the exact meaning, else of a private scheme. "Probability of
cancer" (111047, DCM) and "Certainty of Finding" (111012, DCM) are neither calibrated nor of pneumonia. The disease is
the name of an evaluation with a qualified value ("Pneumonia: Probably not present") and never a "Finding" by itself,
which a viewer would show without its probability.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from model.assessment import BORDERLINE, OUTSIDE_POPULATION, Assessment, Reading, Verdict
from model.card import ModelCard
from reports.dicom.source import Source
from reports.wording import (
    NOT_A_DIAGNOSIS,
    NOT_AN_OUTLINE,
    SAYS_LITTLE,
    VERDICTS,
    corrections_sentence,
    evidence_sentence,
    finding_words,
    group_sentences,
    lungs_words,
    near_sentence,
    neighbours_sentence,
    population_sentence,
    probability_sentence,
    stability_sentence,
    warnings,
)

SCHEME = "99PNEUMOLENS"
_PNEUMONIA = CodedConcept("233604007", "SCT", "Pneumonia")
_PRESENT = CodedConcept("410592001", "SCT", "Probably present")
_NOT_PRESENT = CodedConcept("410593006", "SCT", "Probably not present")
_CHEST_RADIOGRAPHY = CodedConcept("399208008", "SCT", "Plain X-ray of chest")
_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
_COMMENT = CodedConcept("121106", "DCM", "Comment")


_PLAIN = str.maketrans(
    {
        "–": "-",
        "—": "-",
        "−": "-",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "…": "...",
        "×": "x",
        "°": " degrees",
        "≥": ">= ",
        "≤": "<= ",
        "±": "+/- ",
        "·": "-",
        "\u00a0": " ",
        "\u202f": " ",
    }
)


def _own(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, SCHEME, meaning)


_NEAR = _own("NEAR", BORDERLINE)
_OUTSIDE = _own("OUTSIDE", OUTSIDE_POPULATION)
_REFUSED = _own("NOT_ASSESSED", "Not assessed")
_PROBABILITY = _own("PROBABILITY", "Calibrated probability of pneumonia")
_POINT = _own("OPERATING_POINT", "Operating point")
_LOWEST = _own("LOWEST", "Lowest probability in the perturbation test")
_HIGHEST = _own("HIGHEST", "Highest probability in the perturbation test")
_DISTANCE = _own("DISTANCE", "Distribution distance to the training population")
_LIMIT = _own("DISTANCE_LIMIT", "Limit of the distribution distance")
_FINDING_WORDS = _own("FINDING_WORDS", "Finding in words")
_WARNING = _own("WARNING", "Warning")
_CORRECTION = _own("CORRECTION", "Correction before the assessment")
_INFLUENCE = _own("INFLUENCE", "Distribution of the evidence")
_LUNGS = _own("LUNGS", "Lungs as found")
_GROUP = _own("GROUP", "Performance on radiographs of this group")
_SIMILAR = _own("SIMILAR", "Nearest training cases")
_STABILITY = _own("STABILITY", "Perturbation test")
_VERDICT = _own("VERDICT", "Reader's verdict on the finding")
_NOTICE = _own("NOTICE", "Notice")
_INTENDED_USE = _own("INTENDED_USE", "Intended use")
_ASSESSED_AT = _own("ASSESSED_AT", "Time of the assessment")
_LIMITATION = _own("LIMITATION", "Limitation of the classifier")
_VERDICT_CODES: dict[Verdict, CodedConcept] = {
    "agree": _own("AGREE", "Reader agrees"),
    "disagree": _own("DISAGREE", "Reader disagrees"),
    "unsure": _own("UNSURE", "Reader is unsure"),
}


def measurement_report(
    assessment: Assessment, card: ModelCard, reading: Reading | None, source: Source, device: UID, tracking: UID
) -> MeasurementReport:
    """Return the content tree of the structured report.

    Parameters
    ----------
    assessment
        The assessment; a refused one has no measurements.
    card
        The card of its version.
    reading
        The reader's verdict and remarks, None without any.
    source
        The assessed DICOM instance.
    device
        UID of the classifier version, the observer.
    tracking
        UID of the finding on this radiograph.

    Raises
    ------
    ClassifierError
        If the card has no operating point for the purpose of the prediction.

    References
    ----------
    PS3.16 TID 1500, Measurement Report; TID 1501, Measurement and Qualitative Evaluation Group.
    """
    group = MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(tracking, "Pneumonia on this radiograph"),
        algorithm_id=_algorithm(assessment, card),
        finding_sites=[FindingSite(codes.SCT.Lung)],
        measurements=_measurements(assessment),
        qualitative_evaluations=[QualitativeEvaluation(_PNEUMONIA, _evaluation(assessment))],
        source_images=[SourceImageForMeasurementGroup(source.sop_class, source.instance)],
    )
    observer = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            device, name="PneumoLens", manufacturer_name="PneumoLens", model_name=f"classifier {card.version}"
        ),
    )
    report = MeasurementReport(
        ObservationContext(observer_device_context=observer),
        procedure_reported=_CHEST_RADIOGRAPHY,
        imaging_measurements=[group],
    )
    report[0].ContentSequence.append(_beside(assessment, card, reading))
    return report


def _algorithm(assessment: Assessment, card: ModelCard) -> AlgorithmIdentification:
    purpose = assessment.prediction.purpose if assessment.prediction else "default"
    return AlgorithmIdentification(
        "PneumoLens",
        card.version,
        manufacturer="PneumoLens",
        parameters=[f"architecture={card.architecture}", f"sha256={card.sha256}", f"operating_point_purpose={purpose}"],
    )


def _measurements(assessment: Assessment) -> list[Measurement]:
    prediction, stability, population = assessment.prediction, assessment.stability, assessment.population
    if prediction is None:
        return []
    values = [(_PROBABILITY, prediction.probability), (_POINT, prediction.operating_point)]
    if stability is not None:
        values += [(_LOWEST, stability.low), (_HIGHEST, stability.high)]
    if population is not None:
        values += [(_DISTANCE, population.distance), (_LIMIT, population.threshold)]
    return [Measurement(name, value, codes.UCUM.NoUnits) for name, value in values if math.isfinite(value)]


def _evaluation(assessment: Assessment) -> CodedConcept:
    prediction = assessment.prediction
    if prediction is None:
        return _REFUSED
    if assessment.is_outside:
        return _OUTSIDE
    if prediction.is_near:
        return _NEAR
    return _PRESENT if prediction.finding == "PNEUMONIA" else _NOT_PRESENT


def _beside(assessment: Assessment, card: ModelCard, reading: Reading | None) -> ContainerContentItem:
    """Return the container of texts (TID 1500's qualitative evaluations), the notice first."""
    prediction, population = assessment.prediction, assessment.population
    said: list[tuple[CodedConcept, str | None]] = [
        (_NOTICE, NOT_A_DIAGNOSIS),
        (_FINDING_WORDS, finding_words(assessment)),
    ]
    if prediction is not None:
        said.append((_FINDING_WORDS, f"{probability_sentence(prediction)}."))
        if assessment.is_outside:
            said += [(_WARNING, issue.message) for issue in assessment.issues if issue.code == "OUTSIDE_POPULATION"]
            said.append((_WARNING, SAYS_LITTLE))
        elif prediction.is_near:
            said.append((_WARNING, near_sentence(prediction, card)))
    said.append((_STABILITY, stability_sentence(assessment)))
    said += [(_WARNING, warning) for warning in warnings(assessment)]
    if assessment.corrections:
        said.append((_CORRECTION, corrections_sentence(assessment.corrections)))
    said.append((_LUNGS, lungs_words(assessment)))
    said += [(_GROUP, words) for words in group_sentences(assessment)]
    if assessment.regions is not None:
        said.append((_INFLUENCE, evidence_sentence(assessment.regions)))
    if population is not None:
        said += [(_DISTANCE, population_sentence(assessment)), (_SIMILAR, neighbours_sentence(population))]
    items: list[TextContentItem | CodeContentItem] = [_text(name, plain(words)) for name, words in said if words]
    if reading is not None:
        items += _reading(reading)
    # In words and UTC, because this object's dates are in the study's time zone, which the object may not state.
    items.append(_text(_ASSESSED_AT, f"{assessment.assessed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"))
    items += [
        _text(_INTENDED_USE, plain(card.intended_use)),
        *(_text(_LIMITATION, plain(limit)) for limit in card.limitations),
    ]
    if assessment.heatmap is not None:
        items.append(_text(_NOTICE, NOT_AN_OUTLINE))
    container = ContainerContentItem(_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _reading(reading: Reading) -> list[TextContentItem | CodeContentItem]:
    items: list[TextContentItem | CodeContentItem] = []
    if reading.verdict is not None:
        items.append(
            CodeContentItem(
                _VERDICT, _VERDICT_CODES[reading.verdict], relationship_type=RelationshipTypeValues.CONTAINS
            )
        )
        items.append(_text(_VERDICT, VERDICTS[reading.verdict]))
    if reading.remarks.strip():
        items.append(_text(_COMMENT, reading.remarks))
    return items


def plain(words: str) -> str:
    """Return a sentence in ASCII, since old archive viewers do not display other dashes and quotes."""
    return words.translate(_PLAIN)


def _text(name: CodedConcept, words: str) -> TextContentItem:
    # Of the control characters, UT holds these four (PS3.5 table 6.2-1).
    kept = "".join(c for c in words if c in "\t\n\f\r" or unicodedata.category(c) not in {"Cc", "Cs"})
    return TextContentItem(name, kept, relationship_type=RelationshipTypeValues.CONTAINS)

"""Sentences of a report, the same on the printed page and in the DICOM objects."""

from __future__ import annotations

import math

from core.formatting import format_age, format_percentage, format_probability, format_probability_range
from imaging.film import FilmHeader, Radiograph
from model.anatomy import Anatomy
from model.assessment import Assessment, EvidenceRegions, Population, Prediction, Reading, Verdict
from model.card import ModelCard
from model.framing import Frame
from model.lung_zones import outside_warning, region_words
from model.measured_groups import group_words
from model.operating import operating_point
from model.stability import crossing
from reports.drawing import Drawing

NOT_A_DIAGNOSIS = "Decision support, not a diagnosis."
_NOT_AN_OUTLINE = (
    "The evidence map shows the regions that {moved} the probability, scaled to its maximum. "
    "It is not the outline of a lesion."
)
NOT_AN_OUTLINE = _NOT_AN_OUTLINE.format(moved="raised")
NOT_AN_OUTLINE_AGAINST = _NOT_AN_OUTLINE.format(moved="lowered")
LUNGS_OUTLINED = " Dashed: the lungs as the classifier found them."
SAYS_LITTLE = "Outside the training population the probability is unreliable and the validation figures do not apply."
VERDICTS: dict[Verdict, str] = {
    "agree": "The reader agrees with the finding.",
    "disagree": "The reader disagrees with the finding.",
    "unsure": "The reader is unsure about the finding.",
}
_SEXES = {"F": "female", "M": "male", "O": "sex: other"}


def finding_words(assessment: Assessment) -> str:
    """Return the finding, or why there is none."""
    if assessment.prediction is not None:
        return assessment.words
    return "Not assessed: " + " ".join(assessment.reasons)


def point_words(prediction: Prediction) -> str:
    """Return the operating point and, unless it is the classifier version's own, what it is for."""
    purpose = "" if prediction.purpose == "default" else f" (for {prediction.purpose.replace('_', ' ')})"
    return f"{prediction.operating_point:.2f}{purpose}"


def probability_sentence(prediction: Prediction) -> str:
    """Return the probability and its side of the operating point."""
    point = prediction.operating_point
    side = "above" if prediction.probability > point else "at" if prediction.probability == point else "below"
    return (
        f"Probability of pneumonia {format_probability(prediction.probability)}, {side} the operating point "
        f"{point_words(prediction)}"
    )


def near_sentence(prediction: Prediction, card: ModelCard) -> str:
    """Return the borderline band of `prediction` by its `card`.

    Raises
    ------
    ClassifierError
        If the card has no operating point for the purpose.
    """
    point = operating_point(card, prediction.purpose)
    return (
        f"Between {point.near_low:.2f} and {point.near_high:.2f}, a small change of the image can change the finding."
    )


def stability_sentence(assessment: Assessment) -> str | None:
    """Return the result of the perturbation test; None if it was not run."""
    stability, prediction = assessment.stability, assessment.prediction
    if stability is None or prediction is None:
        return None
    span = f"Perturbation test: {format_probability_range(stability.low, stability.high)}"
    over = crossing(stability, prediction)
    kept = (
        ""
        if assessment.is_outside
        else "; the finding does not change"
        if not over
        else f"; it crosses the operating point when the radiograph is {_joined(over, 'or')}"
    )
    return f"{span}{kept}."


def map_name(drawing: Drawing) -> str:
    """Return what the map is called."""
    return f"Evidence map{' against pneumonia' if drawing.against else ''}"


def map_words(drawing: Drawing) -> str:
    """Return how the map is drawn."""
    if drawing.mode == "overlay":
        return f"opacity {format_percentage(drawing.opacity)}"
    if not drawing.levels:
        return "no contours"
    return f"contours at {_joined([f'{100 * level:.0f}' for level in sorted(drawing.levels)], 'and')} % of maximum"


def moved_words(drawing: Drawing) -> str:
    """Return the effect of the regions of the map on the probability."""
    return "lowered the probability" if drawing.against else "raised the probability"


def rendering_sentence(film: Radiograph, drawing: Drawing) -> str | None:
    """Return which window `film` is displayed with by `drawing`, None for the window of the assessment.

    Windows are numbered: their explanation in the file is free text and may identify the patient.
    """
    if not drawing.rendering:
        return None
    return f"Displayed with window {drawing.rendering + 1} of {len(film.renderings)}; assessed with window 1."


def lungs_sentence(anatomy: Anatomy, frame: Frame | None) -> str:
    """Return whether the lungs in `anatomy` were found, and what was read: by `frame`, or the whole image without."""
    if not anatomy.is_found:
        return "Two lungs were not found."
    found = "Lungs found with doubt" if anatomy.is_doubtful else "Lungs found"
    read = "the whole image" if frame is None else "the whole thorax" if anatomy.is_doubtful else "them alone"
    return f"{found}; the classifier read {read}."


def lungs_words(assessment: Assessment) -> str | None:
    """Return `lungs_sentence` for an assessment; None where nobody looked for the lungs."""
    if assessment.anatomy is None:
        return None
    return lungs_sentence(assessment.anatomy, assessment.heatmap.frame if assessment.heatmap else None)


def group_sentences(assessment: Assessment) -> tuple[str, ...]:
    """Return what validation measured on radiographs of this one's age and projection; empty where that is unknown."""
    said = tuple(f"{words[0].upper()}{words[1:]}." for words in map(group_words, assessment.groups))
    return (
        (f"Validation radiographs of this group, at the default operating point: {said[0]}", *said[1:]) if said else ()
    )


def evidence_sentence(regions: EvidenceRegions, drawing: Drawing | None = None) -> str:
    """Return the zones with the most evidence for pneumonia in `regions` and its share outside the thorax.

    Where `drawing` shows the map against pneumonia, the sentence says that this evidence is not shown.
    """
    words = region_words(regions)
    if not regions.is_found:
        return f"{words}."
    if drawing is not None and drawing.against:
        words = f"Evidence for pneumonia, not shown: {words[0].lower()}{words[1:]}"
    return f"{words} (patient's sides; estimated zones)."


def neighbours_sentence(population: Population) -> str | None:
    """Return labels and distances of the nearest training cases, nearest first; None without any."""
    if not population.neighbours:
        return None
    labels = [f"{one.label.lower().replace('_', ' ')} {one.distance:.2f}" for one in population.neighbours]
    return f"Nearest training cases (distance): {_joined(labels, 'and')}."


def decides_words(assessment: Assessment) -> str:
    """Return why a film beyond the limit of the distance gets a finding; "" for others."""
    is_far = assessment.population is not None and assessment.population.is_outside
    decided = is_far and assessment.prediction is not None and not assessment.is_outside
    return " Performance was measured on this group, which decides." if decided else ""


def population_sentence(assessment: Assessment) -> str | None:
    """Return the distribution distance, its limit scaled to 1; None where it is not known or not finite."""
    population = assessment.population
    if population is None:
        return None
    share = population.distance / population.threshold if population.threshold else math.nan
    if not math.isfinite(share):
        return None
    return f"Distribution distance {share:.2f} (limit 1.00).{decides_words(assessment)}"


def warnings(assessment: Assessment) -> tuple[str, ...]:
    """Return all warnings except the one that is printed with the finding."""
    said = [
        issue.message
        for issue in assessment.issues
        if not issue.blocking and not (issue.code == "OUTSIDE_POPULATION" and assessment.prediction)
    ]
    beside = evidence_warning(assessment)
    return (*said, beside) if beside else tuple(said)


def evidence_warning(assessment: Assessment) -> str | None:
    """Return a warning when most of the evidence is outside the thorax, otherwise None."""
    prediction = assessment.prediction
    if assessment.regions is None or prediction is None:
        return None
    return outside_warning(assessment.regions, prediction.finding == "PNEUMONIA" or prediction.is_near)


def corrections_sentence(corrections: tuple[str, ...]) -> str:
    """Return the corrections that preceded the assessment."""
    return f"Corrected before the assessment: {', '.join(corrections)}."


def header_words(header: FilmHeader) -> str | None:
    """Return age, sex, view position and body part from the DICOM header; None without any of them."""
    age = None if header.age_years is None else format_age(header.age_years)
    view = header.view_position and f"{header.view_position} view"
    facts = (age, _SEXES.get(header.sex or ""), view, header.body_part and header.body_part.lower())
    return ", ".join(fact for fact in facts if fact) or None


def has_reading(reading: Reading | None) -> bool:
    """Whether there is a verdict or a remark."""
    return reading is not None and (reading.verdict is not None or bool(reading.remarks.strip()))


def _joined(parts: list[str] | tuple[str, ...], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"

"""What a report says, in sentences: one wording for the printed page and for the DICOM report."""

from __future__ import annotations

import math

from core.formatting import format_age, format_percentage, format_probability, format_probability_range
from imaging.film import FilmHeader, Radiograph
from model.assessment import Assessment, EvidenceRegions, Population, Prediction, Reading, Verdict
from model.card import ModelCard
from model.lung_zones import outside_warning, region_words
from model.operating import operating_point
from model.stability import crossing
from reports.drawing import Drawing

NOT_A_DIAGNOSIS = "Decision support, not a diagnosis."
_NOT_AN_OUTLINE = (
    "The influence map shows which regions {moved} the probability, scaled to the strongest of them. "
    "It is not the outline of a lesion."
)
NOT_AN_OUTLINE = _NOT_AN_OUTLINE.format(moved="raised")
NOT_AN_OUTLINE_AGAINST = _NOT_AN_OUTLINE.format(moved="lowered")
SAYS_LITTLE = (
    "On a film unlike those the classifier has learned from, this figure says little, and the classifier's "
    "validation figures do not hold."
)
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
    """Say on which side of the operating point the probability lies."""
    point = prediction.operating_point
    side = "above" if prediction.probability > point else "at" if prediction.probability == point else "below"
    return (
        f"Probability of pneumonia {format_probability(prediction.probability)}, {side} the operating point "
        f"{point_words(prediction)}"
    )


def near_sentence(prediction: Prediction, card: ModelCard) -> str:
    """Say within which band the finding may change; raises ClassifierError if the card lacks the purpose."""
    point = operating_point(card, prediction.purpose)
    return (
        f"Between {point.near_low:.2f} and {point.near_high:.2f}, small changes to the picture can move the "
        "finding to the other side."
    )


def stability_sentence(assessment: Assessment) -> str | None:
    """Say how far the probability moved and, where there is a finding, whether it held; None if nobody measured."""
    stability, prediction = assessment.stability, assessment.prediction
    if stability is None or prediction is None:
        return None
    span = f"{format_probability_range(stability.low, stability.high)} under small changes of this radiograph"
    over = crossing(stability, prediction)
    kept = (
        ""
        if assessment.is_outside
        else "; the finding stays the same"
        if not over
        else f"; it crosses the operating point when the film is {_joined(over, 'or')}"
    )
    return f"{span[0].upper()}{span[1:]}{kept}."


def map_name(drawing: Drawing) -> str:
    """Return what the map is called."""
    return f"Influence map{' against pneumonia' if drawing.against else ''}"


def map_words(drawing: Drawing) -> str:
    """Return how the map is drawn."""
    if drawing.mode == "overlay":
        return f"opacity {format_percentage(drawing.opacity)}"
    if not drawing.levels:
        return "no lines chosen"
    return f"lines at {_joined([f'{100 * level:.0f}' for level in sorted(drawing.levels)], 'and')} %"


def moved_words(drawing: Drawing) -> str:
    """Return what the regions of the map did to the probability."""
    return "lowered the probability" if drawing.against else "raised the probability"


def rendering_sentence(film: Radiograph, drawing: Drawing) -> str | None:
    """Say which of the film's renderings the greys follow; None where it is the one that the classifier read.

    By its number, since what a file calls it is free text, which could hold anything.
    """
    if not drawing.rendering:
        return None
    return f"Shown by window {drawing.rendering + 1} of {len(film.renderings)}; the classifier read it by the first."


def evidence_sentence(regions: EvidenceRegions, drawing: Drawing | None = None) -> str:
    """Say where the influence lies, the strongest zones first, and how much of it falls outside the thorax.

    Or that the thorax was not found. It always speaks of what raised the probability, and says so where `drawing` is of
    what lowered it.
    """
    words = region_words(regions)
    if not regions.is_found:
        return f"{words}."
    if drawing is not None and drawing.against:
        words = f"Of what raised the probability, not shown here: {words[0].lower()}{words[1:]}"
    return f"{words} (the patient's sides; zones are estimated)."


def neighbours_sentence(population: Population) -> str | None:
    """Say what the most similar training radiographs are labelled, nearest first; None where they are not known."""
    if not population.neighbours:
        return None
    labels = [f"{one.label.lower().replace('_', ' ')} {one.distance:.2f}" for one in population.neighbours]
    return f"Most similar training radiographs, with their distance: {_joined(labels, 'and')}."


def population_sentence(population: Population) -> str | None:
    """Say how far the film lies from the training population; None where that is not a number."""
    share = population.distance / population.threshold if population.threshold else math.nan
    if not math.isfinite(share):
        return None
    return f"This film lies at {share:.2f} times the distance from which films count as unlike the training population."


def warnings(assessment: Assessment) -> tuple[str, ...]:
    """Return what the reader is warned of, beside what outweighs the finding and stands with it."""
    said = [
        issue.message
        for issue in assessment.issues
        if not issue.blocking and not (issue.code == "OUTSIDE_POPULATION" and assessment.prediction)
    ]
    beside = evidence_warning(assessment)
    return (*said, beside) if beside else tuple(said)


def evidence_warning(assessment: Assessment) -> str | None:
    """Return a warning when most of the influence falls outside the thorax, None else."""
    prediction = assessment.prediction
    if assessment.regions is None or prediction is None:
        return None
    return outside_warning(assessment.regions, prediction.finding == "PNEUMONIA" or prediction.is_near)


def corrections_sentence(corrections: tuple[str, ...]) -> str:
    """Say what was done to the radiograph before it was assessed."""
    return f"Before it was assessed, the radiograph was {_joined(corrections, 'and')}."


def header_words(header: FilmHeader) -> str | None:
    """Return what the file's header says of the film and cannot identify the patient; None if that is nothing."""
    age = None if header.age_years is None else format_age(header.age_years)
    view = header.view_position and f"{header.view_position} view"
    facts = (age, _SEXES.get(header.sex or ""), view, header.body_part and header.body_part.lower())
    return ", ".join(fact for fact in facts if fact) or None


def has_reading(reading: Reading | None) -> bool:
    """Whether the reader has said anything."""
    return reading is not None and (reading.verdict is not None or bool(reading.remarks.strip()))


def _joined(parts: list[str] | tuple[str, ...], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"

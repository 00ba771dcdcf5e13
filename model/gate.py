"""Input gate: whether a file shows a frontal radiograph of a chest that can be assessed.

Checked in turn: the header, the grey values (`model.gate_measures`), and what a network says: the lungs, where a
version frames films by them (`model.gate_by_lungs`), else the distance from the training population
(`model.population`). The answers are issues, blocking or not; each message states what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.formatting import format_age, format_percentage
from imaging.film import FOR_PROCESSING, Radiograph
from model.assessment import InputIssue
from model.card import ModelCard
from model.gate_measures import GreyMeasures, measure_greys, subsample
from model.population import Judgement

SMALLEST_PX = 200
UNIFORM_SPREAD = 6.0
# One in a thousand of 1,500 training radiographs has a smaller spread; at half their contrast half of them do.
LOW_SPREAD = 100.0
CLIPPED_SHARE = 1 / 3
# A collimated radiograph may fill a small part of the image, but no collimator leaves less than this.
SMALLEST_FIELD = 0.15
# An arrow or a line of coloured text covers the first share; above the second the image is no annotated radiograph.
ANNOTATED_SHARE, COLOUR_SHARE = 0.002, 0.35
ADULT = 18.0
OUTSIDE = "OUTSIDE_POPULATION"
_EXPORT = "Export the radiograph itself from the viewer, without anything around it, and upload that file."


@dataclass(frozen=True, slots=True)
class TrainingAges:
    """Ages of a training population in completed years, both included, and whom it shows in words."""

    youngest: float
    oldest: float
    words: str


# The versions whose card does not describe their data were trained on these children.
GUANGZHOU = TrainingAges(1, 5, "children aged 1–5 years at one hospital")


def training_ages(card: ModelCard) -> TrainingAges | None:
    """Return the ages of the training population of a version; None where its card says that they are not known.

    Parameters
    ----------
    card
        The card; older ones do not describe their data.
    """
    described = card.data.get("description")
    if not isinstance(described, Mapping):
        return GUANGZHOU
    match described.get("intended_ages"):
        case [int() | float() as youngest, int() | float() as oldest]:
            words = str(described.get("intended_population") or "")
            whole = GUANGZHOU.words if words and GUANGZHOU.words.startswith(words) else words
            return TrainingAges(float(youngest), float(oldest), whole)
    return None


def check(radiograph: Radiograph, ages: TrainingAges | None = GUANGZHOU) -> tuple[InputIssue, ...]:
    """Check header, size, grey values and colour of a radiograph; return the issues, blocking ones first.

    Parameters
    ----------
    radiograph
        The radiograph.
    ages
        Of the training population; None where they are not known, and the patient's age cannot be outside them.
    """
    greys = measure_greys(subsample(radiograph))
    return sort_issues(
        (*_size(radiograph), *_greys(greys), *_colour(radiograph), *_intent(radiograph), *_age(radiograph, ages))
    )


def check_population(judgement: Judgement, ages: TrainingAges | None = GUANGZHOU) -> tuple[InputIssue, ...]:
    """Check the features of an upright radiograph; return the issues, blocking ones first.

    Parameters
    ----------
    judgement
        What the features say.
    ages
        As in `check`.
    """
    if judgement.is_not_chest:
        return (
            InputIssue(
                "NOT_A_CHEST_RADIOGRAPH",
                True,
                "This image does not look like a frontal chest radiograph and was not assessed. Upload a single "
                "frontal chest radiograph, not a photograph of a screen, a figure, a collage or another body part.",
            ),
        )
    issues = []
    if judgement.population.is_outside:
        issues.append(
            InputIssue(
                OUTSIDE,
                False,
                unlike_words(ages),
            )
        )
    if judgement.is_cropped:
        issues.append(cropped_issue())
    return tuple(issues)


def cropped_issue() -> InputIssue:
    """Return the warning for a radiograph of which a lung is cut off."""
    return InputIssue(
        "CROPPED",
        False,
        "Part of the chest appears to be cut off. Only the visible part was assessed. Upload the whole radiograph with "
        "both lungs, from the apices to the diaphragm.",
    )


def span_words(ages: TrainingAges) -> str:
    """Return the ages of a training population in words."""
    return "1–5 years" if ages == GUANGZHOU else f"{ages.youngest:g}–{ages.oldest:g} years"


def unlike_words(ages: TrainingAges | None, *, calls_adults: bool = True) -> str:
    """Return what is said of a radiograph far from the training population.

    Parameters
    ----------
    ages
        As in `check`.
    calls_adults
        Whether a version whose data its card does not describe was measured to call most adults pneumonia.
    """
    if ages == GUANGZHOU and calls_adults:
        return (
            f"This radiograph is unlike the training population, {GUANGZHOU.words}. It may show an adult, an older "
            "child, another view or another exposure. The probability is unreliable for such radiographs, and most "
            "adults are called pneumonia. Read the radiograph without it."
        )
    whom = f", {ages.words}" if ages and ages.words else ""
    return (
        f"This radiograph is unlike the training population{whom}. It may show a patient of another age, another view "
        "or another exposure. The probability is unreliable for such radiographs. Read the radiograph without it."
    )


def inverted_issue(radiograph: Radiograph) -> InputIssue:
    """Return the warning for a radiograph whose grayscale was inverted before it was assessed."""
    stored = radiograph.header.photometric if radiograph.header else None
    if stored in ("MONOCHROME1", "MONOCHROME2"):
        cause = (
            f"The header says {stored}, which is probably wrong for these pixels. Report it to the PACS administrator."
        )
    else:
        cause = "The file was probably exported with inverted grayscale."
    return InputIssue(
        "INVERTED", False, f"Grayscale was inverted; corrected. {cause} Check that the image looks right now."
    )


def rotated_issue(turn: int) -> InputIssue:
    """Return the warning for a radiograph that a clockwise rotation by `turn` degrees would bring upright."""
    seen = {90: "on its side", 180: "upside down", 270: "on its side"}[turn]
    return InputIssue(
        "ROTATED",
        False,
        f"Image appears rotated ({seen}). The finding is not valid until the image is upright. Rotate {turn}° "
        "clockwise and re-assess.",
    )


def sort_issues(issues: Iterable[InputIssue]) -> tuple[InputIssue, ...]:
    """Sort issues for the reader: blocking ones, then the training population, then the others."""
    return tuple(sorted(issues, key=lambda issue: (not issue.blocking, issue.code != OUTSIDE)))


def merge_issues(checked: Iterable[InputIssue], looks: Iterable[InputIssue]) -> tuple[InputIssue, ...]:
    """Merge the issues of a radiograph, sorted for the reader.

    Parameters
    ----------
    checked
        Issues of `check`. If the header says that the patient is an adult, only this reason for being outside the
        training population is kept.
    looks
        Issues of `check_population`.

    Returns
    -------
    tuple of InputIssue
        As `sort_issues` sorts them.
    """
    checked = tuple(checked)
    is_outside = any(issue.code == OUTSIDE for issue in checked)
    return sort_issues((*(issue for issue in looks if not (is_outside and issue.code == OUTSIDE)), *checked))


def _size(radiograph: Radiograph) -> Iterable[InputIssue]:
    if min(radiograph.height, radiograph.width) < SMALLEST_PX:
        yield InputIssue(
            "TOO_SMALL",
            True,
            f"The image has {radiograph.width} × {radiograph.height} pixels. Below {SMALLEST_PX} on the short side "
            "faint opacities are lost. Export the radiograph at full size and upload it again.",
        )


def _greys(greys: GreyMeasures) -> Iterable[InputIssue]:
    if greys.spread < UNIFORM_SPREAD:
        yield InputIssue(
            "NEARLY_UNIFORM",
            True,
            "The image is nearly uniform, so there is nothing to assess. Check the export settings of the viewer and "
            "upload the radiograph again.",
        )
    elif greys.field < SMALLEST_FIELD:
        yield InputIssue("CLIPPED", True, f"Only {format_percentage(greys.field)} of the image is not black. {_EXPORT}")
    elif greys.clipped > CLIPPED_SHARE:
        where = "black" if greys.black >= greys.white else "white"
        yield InputIssue(
            "CLIPPED",
            True,
            f"{format_percentage(greys.clipped)} of the image is clipped to {where}, and structures there are lost. "
            "Export the radiograph with a wider window or another exposure, and upload it again.",
        )
    elif greys.spread < LOW_SPREAD:
        yield InputIssue(
            "LOW_CONTRAST",
            False,
            "Low contrast reduces what the classifier can detect. Export the radiograph with the viewer's chest "
            "window if possible, and interpret the finding with caution.",
        )


def _colour(radiograph: Radiograph) -> Iterable[InputIssue]:
    if radiograph.is_tinted or radiograph.colour_share < ANNOTATED_SHARE:
        return
    if radiograph.colour_share >= COLOUR_SHARE:
        yield InputIssue(
            "NOT_A_CHEST_RADIOGRAPH",
            True,
            "The image is in colour, which a radiograph is not. It looks like a photograph, a screenshot or a colour "
            f"map and was not assessed. {_EXPORT}",
        )
    else:
        yield InputIssue(
            "ANNOTATED",
            False,
            "The image has coloured annotations, which the classifier treats as part of the chest. Upload the "
            "radiograph without annotations if possible.",
        )


def _intent(radiograph: Radiograph) -> Iterable[InputIssue]:
    if radiograph.header is not None and radiograph.header.presentation_intent == FOR_PROCESSING:
        yield InputIssue(
            "FOR_PROCESSING",
            False,
            "By its header the file holds raw detector data (PresentationIntentType FOR PROCESSING), whose contrast "
            "differs from that of the training radiographs. Export the processed image (FOR PRESENTATION) from the "
            "modality or the PACS and upload that file.",
        )


def _age(radiograph: Radiograph, ages: TrainingAges | None) -> Iterable[InputIssue]:
    age = None if radiograph.header is None else radiograph.header.age_years
    if age is None or ages is None:
        return
    if age >= ADULT > ages.oldest:
        # Measured for Guangzhou's classifier: nearly every adult is called pneumonia, so the probability does not help.
        why = (
            "The classifier calls nearly every adult radiograph pneumonia."
            if ages == GUANGZHOU
            else "There were no adults in the training data."
        )
        yield InputIssue(
            OUTSIDE,
            False,
            f"The patient is an adult according to the age in the header. {why} Read the radiograph without it.",
        )
    if not ages.youngest <= age < ages.oldest + 1:
        yield InputIssue(
            "AGE_OUTSIDE",
            False,
            f"The patient is {format_age(age)} old according to the header. The training population is aged "
            f"{span_words(ages)}; the probability is unreliable for this patient.",
        )

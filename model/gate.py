"""Is this a frontal radiograph of a child's chest, fit to be read? Answers in issues, blocking or not.

Three things are asked in turn: what the header says, what the grey values say, and how the picture looks beside the
radiographs that the classifier has learned from (`model.population`). Each message says what was seen and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.formatting import format_age, format_percentage
from imaging.film import Radiograph
from model.assessment import InputIssue
from model.gate_measures import GreyMeasures, measure_greys, thinned
from model.population import Judgement

SMALLEST_PX = 200
UNIFORM_SPREAD = 6.0
# One in a thousand of 1,500 films of the training population spreads less; at half their contrast half of them do.
LOW_SPREAD = 100.0
CLIPPED_SHARE = 1 / 3
# A collimated film may fill little of a picture; below this the rest is more than any collimator leaves.
SMALLEST_FIELD = 0.15
# An arrow or a line of coloured text covers this much; a picture of which more is in colour is not a film with marks.
ANNOTATED_SHARE, COLOUR_SHARE = 0.002, 0.35
YOUNGEST, OLDEST = 1.0, 6.0
# From here on nearly every film is called pneumonia, so that no probability helps whoever reads it.
ADULT = 18.0
_OUTSIDE = "OUTSIDE_POPULATION"
_EXPORT = "Export the radiograph itself from its viewer, without anything around it, and upload that file."


def check(radiograph: Radiograph) -> tuple[InputIssue, ...]:
    """Return what the header and the grey values say against reading this picture, blocking issues first."""
    greys = measure_greys(thinned(radiograph))
    return blocking_first((*_size(radiograph), *_greys(greys), *_colour(radiograph), *_age(radiograph)))


def check_population(judgement: Judgement) -> tuple[InputIssue, ...]:
    """Return what the picture's features say against reading it, as it would stand upright, blocking issues first."""
    if judgement.is_not_chest:
        return (
            InputIssue(
                "NOT_A_CHEST_RADIOGRAPH",
                True,
                "This picture does not look like a frontal chest radiograph, so nothing "
                "was assessed. Upload one frontal chest film by itself: no photograph of a screen, no figure or "
                "collage, no other body part or view.",
            ),
        )
    issues = []
    if judgement.population.is_outside:
        issues.append(
            InputIssue(
                _OUTSIDE,
                False,
                "This film does not look like those the classifier has learned from, children "
                "aged 1–5 years at one hospital. It may show an adult, an older child, another view or another kind of "
                "exposure. On such films the probability means little, and most adults are called pneumonia: read the "
                "film without it.",
            )
        )
    if judgement.is_cropped:
        issues.append(
            InputIssue(
                "CROPPED",
                False,
                "Part of the chest seems to be cut off. What lies outside the picture was not assessed; "
                "upload the whole film with both lungs, from the apices to the diaphragm.",
            )
        )
    return tuple(issues)


def inverted_issue(radiograph: Radiograph) -> InputIssue:
    """Return the warning that goes with a film whose greys were exchanged before it was assessed."""
    stored = radiograph.header.photometric if radiograph.header else None
    if stored == "MONOCHROME1":
        cause = (
            "Its header says MONOCHROME1, which is probably wrong for these pixels; report it to whoever runs the "
            "archive."
        )
    elif stored == "MONOCHROME2":
        cause = (
            "Its header says MONOCHROME2, which is probably wrong for these pixels; report it to whoever runs the "
            "archive."
        )
    else:
        cause = "It was probably exported with inverted greys."
    return InputIssue(
        "INVERTED",
        False,
        f"Black and white were exchanged in this file: bone was dark and air bright. {cause} The "
        "film was inverted before it was assessed; check that it looks right now.",
    )


def rotated_issue(turn: int) -> InputIssue:
    """Return the warning that goes with a film that should be turned clockwise by `turn` degrees to stand upright."""
    seen = {90: "on its side", 180: "upside down", 270: "on its side"}[turn]
    return InputIssue(
        "ROTATED",
        False,
        f"The film seems to lie {seen}. It was assessed as it lies, for which the classifier was not "
        f"made: turn it by {turn}° clockwise and read it again.",
    )


def blocking_first(issues: Iterable[InputIssue]) -> tuple[InputIssue, ...]:
    """Return the issues in the order in which a reader needs them: what blocks, then the population, then the rest."""
    return tuple(sorted(issues, key=lambda issue: (not issue.blocking, issue.code != _OUTSIDE)))


def together(checked: Iterable[InputIssue], looks: Iterable[InputIssue]) -> tuple[InputIssue, ...]:
    """Return the issues of `check` and of the picture's looks, in the order in which a reader needs them.

    Of an adult's film, which lies outside by its header, the header is the reason given: its looks only suspect.
    """
    checked = tuple(checked)
    is_outside = any(issue.code == _OUTSIDE for issue in checked)
    return blocking_first((*(issue for issue in looks if not (is_outside and issue.code == _OUTSIDE)), *checked))


def _size(radiograph: Radiograph) -> Iterable[InputIssue]:
    if min(radiograph.height, radiograph.width) < SMALLEST_PX:
        yield InputIssue(
            "TOO_SMALL",
            True,
            f"The picture has {radiograph.width} × {radiograph.height} pixels. Below {SMALLEST_PX} "
            "on the short side faint opacities are lost; export the radiograph at full size and upload it again.",
        )


def _greys(greys: GreyMeasures) -> Iterable[InputIssue]:
    if greys.spread < UNIFORM_SPREAD:
        yield InputIssue(
            "NEARLY_UNIFORM",
            True,
            "The picture is nearly one single grey, so there is nothing to assess. "
            "Check the export settings of the viewer and upload the radiograph again.",
        )
    elif greys.field < SMALLEST_FIELD:
        yield InputIssue(
            "CLIPPED", True, f"Only {format_percentage(greys.field)} of the picture is anything but black. {_EXPORT}"
        )
    elif greys.clipped > CLIPPED_SHARE:
        where = "black" if greys.black >= greys.white else "white"
        yield InputIssue(
            "CLIPPED",
            True,
            f"{format_percentage(greys.clipped)} of the picture is pure {where}, so what lay there cannot be "
            "seen. Choose a wider window or another exposure when you export the radiograph, and upload it again.",
        )
    elif greys.spread < LOW_SPREAD:
        yield InputIssue(
            "LOW_CONTRAST",
            False,
            "The film has little contrast, which lowers what the classifier can see. Export it "
            "with the viewer's own window for chest films if you can, and read the film with care.",
        )


def _colour(radiograph: Radiograph) -> Iterable[InputIssue]:
    if radiograph.is_tinted or radiograph.colour_share < ANNOTATED_SHARE:
        return
    if radiograph.colour_share >= COLOUR_SHARE:
        yield InputIssue(
            "NOT_A_CHEST_RADIOGRAPH",
            True,
            "The picture is in colour, and a radiograph is not: this looks like a "
            f"photograph, a screenshot or a coloured map, so nothing was assessed. {_EXPORT}",
        )
    else:
        yield InputIssue(
            "ANNOTATED",
            False,
            "Something in colour is drawn or written on the film. The classifier takes it for part "
            "of the chest; upload the film without annotations if you can.",
        )


def _age(radiograph: Radiograph) -> Iterable[InputIssue]:
    age = None if radiograph.header is None else radiograph.header.age_years
    if age is not None and age >= ADULT:
        yield InputIssue(
            _OUTSIDE,
            False,
            "The patient is an adult by the age in the file's header. The classifier calls nearly "
            "every adult's film pneumonia, whatever it shows: read the film without it.",
        )
    if age is not None and not YOUNGEST <= age < OLDEST:
        yield InputIssue(
            "AGE_OUTSIDE",
            False,
            f"By its header the patient is {format_age(age)} old. The classifier has learned from children "
            "aged 1–5 years only; for this patient its probability means little.",
        )

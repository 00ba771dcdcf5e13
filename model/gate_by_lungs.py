"""Gate of versions that frame films by their lungs: what has no two lungs is refused, and measured groups are inside.

No film is refused for its distance from the training population, and that distance only decides where the card has no
figures for the film's group (`model.measured_groups`).
"""

from __future__ import annotations

from core.formatting import format_age
from imaging.film import FilmHeader
from model.anatomy import Anatomy
from model.assessment import InputIssue
from model.gate import OUTSIDE, TrainingAges, cropped_issue, span_words, unlike_words
from model.measured_groups import GroupStanding, group_words, is_good
from model.networks.architectures import ANATOMY_PX
from model.population import Judgement

# Share of an edge of the picture that lung touches where a lung is cut off. Of 170 whole normal films of children none
# reaches it, and of copies cut by a quarter at one side 0.86 do.
CUT_SHARE = 0.05


def check_anatomy(anatomy: Anatomy) -> tuple[InputIssue, ...]:
    """Check the lungs that were found in an upright radiograph; return the issues, blocking ones first.

    Parameters
    ----------
    anatomy
        Of the radiograph.
    """
    if not anatomy.is_found:
        return (
            InputIssue(
                "NOT_A_CHEST_RADIOGRAPH",
                True,
                "Two lungs side by side were not found in this image, and it was not assessed. Upload a single frontal "
                "chest radiograph (PA or AP), not a lateral view, another body part, a photograph or a collage.",
            ),
        )
    doubt = (_doubt(),) if anatomy.is_doubtful else ()
    return (*doubt, cropped_issue()) if _touches_edge(anatomy) else doubt


def _touches_edge(anatomy: Anatomy) -> bool:
    lungs = anatomy.outline(ANATOMY_PX, ANATOMY_PX)
    return max(float(edge.mean()) for edge in (lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1])) >= CUT_SHARE


def _doubt() -> InputIssue:
    return InputIssue(
        "LUNGS_UNCERTAIN",
        False,
        "The outlines of the lungs were found with doubt, as in a lateral view or where disease hides them, so the "
        "whole thorax was assessed instead of the lungs alone. Check the view, and that the evidence is in the lungs, "
        "before you use the finding.",
    )


def check_group(
    standing: GroupStanding, judgement: Judgement | None, header: FilmHeader | None, ages: TrainingAges | None
) -> tuple[InputIssue, ...]:
    """Check whether a version may give a finding for the group of a radiograph.

    Where its performance on the group was measured, that decides. Elsewhere an age outside those of the training data
    is outside the training population, and so is a radiograph that is far from it.

    Parameters
    ----------
    standing
        What the card measured on the group.
    judgement
        Distance from the training population; None where it is not known.
    header
        Of the radiograph; None without one.
    ages
        As in `model.gate.check`.
    """
    if standing.is_inside:
        return ()
    if standing.is_inside is False:
        bad = next(one for one in standing.groups if not is_good(one))
        words = group_words(bad)
        return (
            InputIssue(
                OUTSIDE,
                False,
                f"The classifier performs poorly on radiographs of this group. {words[0].upper()}{words[1:]}. Read the "
                "radiograph without it.",
            ),
        )
    age = header.age_years if header else None
    if age is not None and ages is not None and not ages.youngest <= age < ages.oldest + 1:
        return (
            InputIssue(
                OUTSIDE,
                False,
                f"The patient is {format_age(age)} old according to the header. The classifier was not measured on "
                f"enough patients of this age, and the training population is aged {span_words(ages)}. Read the "
                "radiograph without it.",
            ),
        )
    if judgement is not None and judgement.population.is_outside:
        return (InputIssue(OUTSIDE, False, unlike_words(ages, calls_adults=False)),)
    return ()

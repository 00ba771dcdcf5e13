"""Groups of patients and projections on which a version was measured, and whether a film belongs to one that it reads.

A version that was measured on adults at another hospital may give a finding for an adult, however far the film is from
the training population; one that was not, or that calls most of their normal films pneumonia, may not. The groups are
those of the card's validation: bands of age, projections, and both together.

>>> standing = group_standing(card, FilmHeader(age_years=41.0, view_position="PA"))
>>> standing.is_inside, [group_name(one) for one in standing.groups]
(True, ['18 years and over, PA'])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.formatting import format_estimate
from imaging.film import FilmHeader
from model.card import GroupResult, Measure, ModelCard
from model.operating import Rates

AGE, VIEW, AGE_AND_VIEW = "age", "view", "age and view"
AGES = ((1, "under 1 year"), (6, "1–5 years"), (13, "6–12 years"), (18, "13–17 years"), (math.inf, "18 years and over"))
# With fewer radiographs of a class, the interval of its rate is wider than ±0.18 at best.
MIN_NORMAL = MIN_PNEUMONIA = 30
# At both lower ends a finding still tells more than chance: Youden's index is 0.1.
LEAST_SPECIFICITY, LEAST_SENSITIVITY = 0.6, 0.5
_VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """What a card says of the group of one film.

    Attributes
    ----------
    groups
        Results measured on enough radiographs of the film's age, projection or both, the narrowest first.
    is_inside
        True where the performance on the film's age group is good, False where that or the one on its projection is
        bad; None where the card does not tell, and the distance from the training population decides.
    """

    groups: tuple[GroupResult, ...] = ()
    is_inside: bool | None = None


def age_band(years: float) -> str:
    """Return the band of an age in `years`, such as "1–5 years"."""
    return next(name for end, name in AGES if years < end)


def age_and_view(band: str, view: str) -> str:
    """Return the name of the group of an age `band` and a projection, the `view`, together."""
    return f"{band}, {view}"


def group_standing(card: ModelCard, header: FilmHeader | None) -> GroupStanding:
    """Return what the card measured on the group of a film, and whether the film is inside it.

    Parameters
    ----------
    card
        The card; its validation has results by group.
    header
        Of the film; without age and projection its group is not known.
    """
    found = card.evaluations.get(_VALIDATION)
    results = {(one.kind, one.name): one for one in (found.groups if found else ())}
    band = age_band(header.age_years) if header and header.age_years is not None else None
    view = header.view_position if header else None
    narrow = results.get((AGE_AND_VIEW, age_and_view(band, view))) if band and view else None
    by_age, by_view = results.get((AGE, band or "")), results.get((VIEW, view or ""))
    of_age = next((one for one in (narrow, by_age) if one is not None and is_measured(one)), None)
    of_view = by_view if by_view is not None and is_measured(by_view) else None
    # The narrow group has the projection in it.
    of_view = of_view if of_age is None or of_age is not narrow else None
    groups = tuple(one for one in (of_age, of_view) if one is not None)
    if any(not is_good(one) for one in groups):
        return GroupStanding(groups, False)
    return GroupStanding(groups, True if of_age is not None else None)


def is_measured(group: GroupResult) -> bool:
    """Whether a group has enough radiographs without pneumonia: what is unknown of others' patients is false alarms."""
    return group.tn + group.fp >= MIN_NORMAL and not math.isnan(group.specificity.low)


def is_good(group: GroupResult) -> bool:
    """Whether findings help in a measured group, even at the lower ends of the intervals.

    The sensitivity counts where at least `MIN_PNEUMONIA` radiographs with pneumonia were measured.
    """
    knows_sensitivity = group.tp + group.fn >= MIN_PNEUMONIA and not math.isnan(group.sensitivity.low)
    return group.specificity.low >= LEAST_SPECIFICITY and (
        not knows_sensitivity or group.sensitivity.low >= LEAST_SENSITIVITY
    )


def group_rates(groups: Sequence[GroupResult]) -> Rates | None:
    """Return sensitivity and specificity of the first of a film's groups that has both; None where none has.

    Parameters
    ----------
    groups
        As `GroupStanding.groups`.
    """
    for one in groups:
        positive, negative = one.tp + one.fn, one.tn + one.fp
        if positive >= MIN_PNEUMONIA and negative >= MIN_NORMAL and not math.isnan(one.sensitivity.low):
            return Rates(one.sensitivity, one.specificity, positive, negative)
    return None


def group_name(group: GroupResult) -> str:
    """Return the name of a group for the reader."""
    return f"{group.name} view" if group.kind == VIEW else group.name


def group_words(group: GroupResult) -> str:
    """Return the figures of a group: specificity and sensitivity with their intervals and numbers of radiographs."""
    said = [_rate("specificity", group.specificity, group.tn + group.fp, "normal")]
    ill = group.tp + group.fn
    said.append(_rate("sensitivity", group.sensitivity, ill, "pneumonia") if ill else "sensitivity not measured")
    return f"{group_name(group)}: {'; '.join(said)}"


def _rate(name: str, rate: Measure, n: int, label: str) -> str:
    if math.isnan(rate.value):
        return f"{name} not measured, n = {n} {label}"
    return f"{name} {format_estimate(rate)}, n = {n} {label}"

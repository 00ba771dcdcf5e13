"""Results by group: acquisition style, source, X-ray unit, age, projection, and both, the worst first.

A classifier that relies on how a film was made is right where style and label go together and wrong elsewhere; one
figure for all films does not show it (Zech et al. 2018, doi 10.1371/journal.pmed.1002683).

>>> [group.name for group in worst_first(results) if group.kind == "style"]
['22', '3', '1']
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from core.formatting import format_estimate
from core.printable import printable
from model.area_intervals import auroc_interval
from model.card import GroupResult, Measure, ModelCard
from model.intervals import members, proportion
from model.measured_groups import AGE, AGE_AND_VIEW, VIEW, age_and_view
from model.measured_groups import age_band as age_band
from training.data.sample import Sample
from training.data.split import groups_of
from training.data.style_features import StyleFeatures
from training.data.styles import assign, style_model_from_values

KINDS = ("style", "source", "unit", AGE, VIEW, AGE_AND_VIEW)
# With fewer radiographs of a class, its rate can not be told from that of the others.
MIN_FILMS = 10
TOO_FEW = "too few to tell"
_UNKNOWN = "unknown"
_UNDEFINED = Measure(math.nan, math.nan, math.nan)


def memberships(samples: Sequence[Sample], styles: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the group of each radiograph, by kind of group.

    Parameters
    ----------
    samples
        The n radiographs.
    styles
        (n,): the style of each; empty where styles are unknown.

    Returns
    -------
    dict of str to list
        (n,) for each of `KINDS` that the data tell of at least one radiograph.
    """
    found = {
        "style": list(styles),
        "source": [s.source for s in samples],
        "unit": [s.unit for s in samples],
        AGE: ["" if s.age_years is None else age_band(s.age_years) for s in samples],
        VIEW: [s.view for s in samples],
        AGE_AND_VIEW: [
            "" if s.age_years is None or not s.view else age_and_view(age_band(s.age_years), s.view) for s in samples
        ],
    }
    return {kind: [name or _UNKNOWN for name in names] for kind, names in found.items() if any(names)}


def styles_of(card: ModelCard, features: Sequence[StyleFeatures]) -> list[str]:
    """Return the acquisition style of radiographs under the style model of a card; empty where it has none.

    Parameters
    ----------
    card
        The card.
    features
        Of the radiographs, as `training.evaluation.evaluate.score_samples` collects them.

    Raises
    ------
    DatasetError
        If the card's style model is damaged.
    """
    return assign(style_model_from_values(card.styles), features) if card.styles else []


def with_validation_groups(
    card: ModelCard,
    samples: Sequence[Sample],
    styles: Sequence[str],
    p: npt.NDArray[np.float64],
    cuts: npt.NDArray[np.float64] | None = None,
    together: Sequence[str] = (),
) -> ModelCard:
    """Return a card whose evaluation on validation has the results by group.

    Parameters
    ----------
    card
        The card.
    samples
        The n radiographs of the evaluation.
    styles
        (n,): the style of each; empty where styles are unknown.
    p
        (n,), float64 in [0, 1]: their probabilities.
    cuts
        (n,), float64 in [0, 1]: the point at which each is read, where they differ by fold; None for the card's.
    together
        (n,): the group of each that counts as one patient; empty joins patients that share a file.
    """
    labels, patients = np.array([s.label for s in samples]), together or groups_of(samples)
    point = card.operating_point.probability if cuts is None else cuts
    found = group_results(memberships(samples, styles), labels, p, point, patients)
    validation = replace(card.evaluations["validation"], groups=found)
    return replace(card, evaluations={**card.evaluations, "validation": validation})


def group_results(
    groups: Mapping[str, Sequence[str]],
    labels: npt.NDArray[np.int_],
    probabilities: npt.NDArray[np.float64],
    operating_point: float | npt.NDArray[np.float64],
    patients: Sequence[str],
) -> tuple[GroupResult, ...]:
    """Return the results of every group, the kinds in the order of `KINDS`, the worst group of each first.

    Parameters
    ----------
    groups
        From `memberships`.
    labels
        (n,), int in {0, 1}.
    probabilities
        (n,), float64 in [0, 1].
    operating_point
        Probability from which a radiograph counts as pneumonia, in [0, 1]; (n,) where each has its own.
    patients
        (n,): the intervals allow for several radiographs of one patient.
    """
    points = np.broadcast_to(np.asarray(operating_point, np.float64), np.shape(labels))
    results = []
    for kind in KINDS:
        names = np.array(groups.get(kind, ()))
        mine = []
        for name in sorted(set(names.tolist())):
            here = np.flatnonzero(names == name)
            own = [patients[int(i)] for i in here]
            mine.append(_result(kind, name, labels[here], probabilities[here], points[here], own))
        results += worst_first(mine)
    return tuple(results)


def worst_first(results: Sequence[GroupResult]) -> list[GroupResult]:
    """Return groups of one kind by the lower of sensitivity and specificity, those too small to tell at the end.

    The upper end of the interval counts, so that no small group is the worst by chance alone.
    """

    def key(one: GroupResult) -> tuple[bool, float, str]:
        ends = [m.high for m in (one.sensitivity, one.specificity) if not math.isnan(m.high)]
        return one.too_few, min(ends, default=math.inf), one.name

    return sorted(results, key=key)


def _result(
    kind: str,
    name: str,
    y: npt.NDArray[np.int_],
    p: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    patients: Sequence[str],
) -> GroupResult:
    called = p >= points
    tp, fn = int((called & (y == 1)).sum()), int((~called & (y == 1)).sum())
    fp, tn = int((called & (y == 0)).sum()), int((~called & (y == 0)).sum())
    enough = tp + fn >= MIN_FILMS, tn + fp >= MIN_FILMS
    area = auroc_interval(y, p, members(patients, len(y))) if all(enough) else _UNDEFINED
    sensitivity, specificity = (
        _rate(called[y == label] == (label == 1), [patients[int(i)] for i in np.flatnonzero(y == label)])
        for label in (1, 0)
    )
    return GroupResult(kind, name, len(y), tp, fp, tn, fn, area, sensitivity, specificity, not any(enough))


def _rate(right: npt.NDArray[np.bool_], patients: Sequence[str]) -> Measure:
    return proportion(right, patients) if len(right) >= MIN_FILMS else _UNDEFINED


def groups_to_text(results: Sequence[GroupResult]) -> str:
    """Return the results by group as tables for a terminal; "" without any."""
    lines = []
    for kind in dict.fromkeys(one.kind for one in results):
        lines.append(f"  by {kind}, worst first{'':<8}{'n':>6}  {'sensitivity':<22}{'specificity':<22}AUROC")
        lines += [
            printable(f"    {one.name:<24}{one.n:>6}  {_cells(one)}").rstrip() for one in results if one.kind == kind
        ]
    return "\n".join(lines)


def _cells(one: GroupResult) -> str:
    if one.too_few:
        return f"{TOO_FEW}: {one.tp + one.fn} with and {one.tn + one.fp} without pneumonia"
    figures = (one.sensitivity, one.specificity, one.auroc)
    return "".join(f"{'–' if math.isnan(m.value) else format_estimate(m, 3):<22}" for m in figures)


def rows_of(results: Sequence[GroupResult]) -> list[dict[str, Any]]:
    """Return the results by group as rows for JSON; a rate of too few radiographs is null there."""
    from dataclasses import asdict

    return [asdict(one) for one in results]

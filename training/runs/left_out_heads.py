"""Groups left out in turn: the head refitted without each style, source and unit, and read on their held-out films.

One pass of the network serves all: its pooled features are those that the fit of the training population computes.
The backbone has seen the films of the group, the head has not, so a small drop does not show that a version is free of
what marks the group; a training without it (`train --leave-out`) does.

>>> left_out = leave_out_in_turn(pooled, loaded.samples, loaded.held_out, memberships(loaded.samples, styles))
>>> left_out[0].without.name
'21'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from model.card import GroupResult, LeftOutGroup, Measure
from training.data.sample import Sample
from training.data.split import groups_of
from training.evaluation.compare import Scores, delong, group_differences
from training.evaluation.groups import MIN_FILMS, group_results, worst_first
from training.fitting.population import PooledFeatures

KINDS = ("style", "source", "unit")
# Both classes count the same, so that this is the point of the best balanced accuracy that the head expects.
POINT = 0.5
NOT_MEASURED = (
    "Leaving groups out in turn was not measured: it needs a head that is linear on pooled features, the training "
    "population, and a style, source or unit with enough held-out films."
)
MEASURED = (
    "For each group in turn the head was refitted on training patients without its films and read the group's films "
    "of held-out patients, at a probability of 0.5 with both classes counting the same; the drop is against the head "
    "refitted with all groups. The backbone has seen films of the group, the head has not: a large drop shows a "
    "shortcut, a small one does not exclude it."
)
# Inverse regularisation (scikit-learn's C) of a head on standardised features.
_FREEDOM = 0.01


def leave_out_in_turn(
    pooled: PooledFeatures,
    samples: Sequence[Sample],
    held_out: npt.NDArray[np.bool_],
    groups: Mapping[str, Sequence[str]],
) -> tuple[LeftOutGroup, ...]:
    """Refit the head without each group in turn, and measure it on the group's held-out radiographs.

    Parameters
    ----------
    pooled
        Features of radiographs of training and of held-out patients.
    samples
        The N radiographs of the dataset.
    held_out
        (N,), bool: True for validation.
    groups
        (N,) names for each kind, from `training.evaluation.groups.memberships`.

    Returns
    -------
    tuple of LeftOutGroup
        The kinds in the order of `KINDS`, the worst group of each first. Groups with fewer than `MIN_FILMS` held-out
        radiographs of both classes, without films in training, or without which a class has too few, are not measured.
    """
    labels = np.array([samples[int(i)].label for i in pooled.index])
    together = groups_of(samples)
    patients = [together[int(i)] for i in pooled.index]
    val = held_out[pooled.index]
    spread = pooled.features[~val].std(0) + 1e-6
    x = (pooled.features - pooled.features[~val].mean(0)) / spread
    if min(np.bincount(labels[~val], minlength=2)) < MIN_FILMS:
        return ()
    reference = _refitted(x, labels, ~val)
    found: list[LeftOutGroup] = []
    for kind in KINDS:
        names = np.array(groups.get(kind, [""] * len(samples)))[pooled.index]
        mine = []
        for name in sorted(set(names.tolist()) - {"", "unknown"}):
            of_group = names == name
            here, rest = np.flatnonzero(of_group & val), ~val & ~of_group
            most = max(np.bincount(labels[here], minlength=2))
            if (
                most < MIN_FILMS
                or not (of_group & ~val).any()
                or min(np.bincount(labels[rest], minlength=2)) < MIN_FILMS
            ):
                continue
            y, who = labels[here], [patients[int(i)] for i in here]
            p, q = _refitted(x, labels, rest)[here], reference[here]
            group = {kind: [name] * len(here)}
            without, with_ = (group_results(group, y, one, POINT, who)[0] for one in (p, q))
            counts = np.bincount(labels[of_group & ~val], minlength=2)
            mine.append(
                LeftOutGroup(
                    without, with_, (int(counts[0]), int(counts[1])), _differences(group, y, who, p, q, without)
                )
            )
        order = worst_first([one.without for one in mine])
        found += sorted(mine, key=lambda one: order.index(one.without))
    return tuple(found)


def _refitted(
    x: npt.NDArray[np.float32], labels: npt.NDArray[np.int_], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Fit a head to the `chosen` radiographs, and return its probabilities of all."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=_FREEDOM, class_weight="balanced", max_iter=300).fit(x[chosen], labels[chosen])
    return np.asarray(head.predict_proba(x)[:, 1], np.float64)


def _differences(
    group: Mapping[str, Sequence[str]],
    y: npt.NDArray[np.int_],
    patients: Sequence[str],
    p: npt.NDArray[np.float64],
    q: npt.NDArray[np.float64],
    without: GroupResult,
) -> dict[str, Measure]:
    scores = Scores("without", p, POINT), Scores("with", q, POINT)
    found = {one.rate: one.difference for one in group_differences(group, y, patients, *scores)}
    if not math.isnan(without.auroc.value):
        areas = delong(y, p, q, patients)
        found["auroc"] = Measure(areas.difference, areas.low, areas.high)
    return found

"""The audit's part on acquisition styles: groups of films with pictures and class balance, and styles of one class.

A style with films of one class only lets a classifier learn the unit in place of the disease. Whether that is chance is
decided by patients, since films of one child are of one unit and mostly of one label.

>>> found = audit_styles(samples, features, folder.name_of)
>>> [words for words in one_class_sentences(found.groups)]
['Every film of style 20 …']
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.formatting import format_count
from training.data.sample import CLASSES, Sample
from training.data.shortcut import baseline_auroc
from training.data.style_features import StyleFeatures
from training.data.styles import FEWEST_FILMS, OTHER, StyleModel, assign, coordinates_of, distances, fit_styles

EXAMPLES = 8
# Chance of calling a balanced dataset's style one-sided, over all of its styles together.
_CHANCE = 0.05
# A style counts as nearly of one class when no more of its films than this are of the other. It takes in films that
# a unit did not make: in a dataset of some hundred films, one or two of them would else hide a unit of one class.
_NEARLY = 0.1


@dataclass(frozen=True, slots=True)
class StyleGroup:
    """One style of a dataset.

    Attributes
    ----------
    name, words
        Its neutral name, such as "3", and what marks its films apart.
    counts
        Films by split and class.
    patients
        Patients in the train split by class.
    examples
        Files of the train split nearest to the centre, of different patients, as the audit names files.
    chance
        Probability that so many patients or more are of the commoner class by chance, in [0, 1], before the correction
        for the number of styles.
    one_class
        The class that every film of the train split has, "" where both occur or chance explains it.
    nearly_one_class
        The class that all but one film in ten at most have, under the same condition.
    """

    name: str
    words: str
    counts: Mapping[str, Mapping[str, int]]
    patients: Mapping[str, int]
    examples: tuple[str, ...]
    chance: float
    one_class: str = ""
    nearly_one_class: str = ""


@dataclass(frozen=True, slots=True)
class StyleAudit:
    """Styles of a dataset: the model that tells them, the groups, the AUROC of the label, the style of each file."""

    fitted: StyleModel
    groups: tuple[StyleGroup, ...]
    auroc: float
    style_of: Mapping[str, str]


def audit_styles(
    samples: Sequence[Sample],
    parts: Sequence[str],
    features: Sequence[StyleFeatures],
    name_of: Callable[[Sample], str],
) -> StyleAudit | None:
    """Find the styles of the train split, and count the films of every split by style.

    Parameters
    ----------
    samples
        The n readable films.
    parts
        (n,): the split of each, "train", "val" or "test".
    features
        (n,): the features of each.
    name_of
        Names a file in the audit.

    Returns
    -------
    StyleAudit or None
        None with fewer than 40 films in the train split.
    """
    train = [i for i, part in enumerate(parts) if part == "train"]
    if len(train) < FEWEST_FILMS:
        return None
    fitted = fit_styles([features[i] for i in train])
    styles = assign(fitted, features)
    apart = distances(fitted, features)
    groups = tuple(
        _group(name, fitted, styles, samples, parts, train, apart, name_of)
        for name in (*fitted.names, *([OTHER] if OTHER in styles else []))
    )
    return StyleAudit(
        fitted,
        _judged(groups),
        style_auroc(fitted, [features[i] for i in train], samples, train),
        dict(zip(map(name_of, samples), styles, strict=True)),
    )


def style_auroc(
    fitted: StyleModel, features: Sequence[StyleFeatures], samples: Sequence[Sample], chosen: Sequence[int]
) -> float:
    """Return the AUROC of the label from style features alone, cross-validated by patient.

    Parameters
    ----------
    fitted
        Reduces the marks to coordinates. It was made without labels.
    features
        (m,): of the chosen samples.
    samples, chosen
        All samples, and the (m,) indices of those that are used.

    Returns
    -------
    float
        In [0, 1]; nan with fewer than ten patients of a class.
    """
    matrix = np.hstack(
        (
            coordinates_of(fitted, features),
            np.stack([one.picture() for one in features]),
            np.stack([one.file for one in features]),
            _mark_bands(features),
        )
    )
    return baseline_auroc(matrix, np.array([samples[i].label for i in chosen]), [samples[i].patient for i in chosen])


def _mark_bands(features: Sequence[StyleFeatures]) -> Any:
    """Return the marks of n films by row and by column of the film, float (n, 28)."""
    marks = np.stack([one.marks for one in features])
    return np.hstack((marks.sum(1), marks.sum(2)))


def _group(
    name: str,
    fitted: StyleModel,
    styles: Sequence[str],
    samples: Sequence[Sample],
    parts: Sequence[str],
    train: Sequence[int],
    apart: np.ndarray[Any, Any],
    name_of: Callable[[Sample], str],
) -> StyleGroup:
    members = [i for i in range(len(samples)) if styles[i] == name]
    counts = {
        part: {c: sum(parts[i] == part and samples[i].label == k for i in members) for k, c in enumerate(CLASSES)}
        for part in dict.fromkeys(parts)
    }
    mine = [i for i in train if styles[i] == name]
    patients = {c: len({samples[i].patient for i in mine if samples[i].label == k}) for k, c in enumerate(CLASSES)}
    at = fitted.names.index(name) if name in fitted.names else None
    nearest = sorted(mine, key=lambda i: float(apart[i].min() if at is None else apart[i, at]))
    first = {samples[i].patient: i for i in reversed(nearest)}
    examples = [i for i in nearest if first[samples[i].patient] == i][:EXAMPLES]
    words = "unlike the other styles" if at is None else fitted.words[at]
    return StyleGroup(name, words, counts, patients, tuple(name_of(samples[i]) for i in examples), 1.0)


def _judged(groups: Sequence[StyleGroup]) -> tuple[StyleGroup, ...]:
    """Return the groups with the chance of their balance, and the class of those that have one only."""
    from scipy.stats import binom

    total: Counter[str] = Counter()
    for group in groups:
        total.update(group.patients)
    everybody = sum(total.values())
    judged = []
    for group in groups:
        films = group.counts.get("train", {})
        n, patients = sum(films.values()), sum(group.patients.values())
        if not n or not everybody:
            judged.append(group)
            continue
        common = max(CLASSES, key=lambda c: films[c])
        chance = float(binom.sf(group.patients[common] - 1, patients, total[common] / everybody))
        real = chance * len(groups) < _CHANCE
        share = 1 - films[common] / n
        judged.append(
            replace(
                group,
                chance=chance,
                one_class=common if real and share == 0 else "",
                nearly_one_class=common if real and 0 < share <= _NEARLY else "",
            )
        )
    return tuple(judged)


def one_class_sentences(groups: Sequence[StyleGroup]) -> list[str]:
    """Return a sentence for each of the `groups` whose films of the train split are all of one class."""
    return [
        f"Every film of style {group.name} ({format_count(group.counts['train'][group.one_class], 'film')} of "
        f"{format_count(group.patients[group.one_class], 'patient')}: {group.words}) is {group.one_class}: a "
        "classifier will learn the unit. Add films of the other class that were made in the same way, or leave these "
        "out."
        for group in groups
        if group.one_class
    ]


def nearly_one_class_sentence(groups: Sequence[StyleGroup]) -> str:
    """Return a sentence on the `groups` of which at most 2 % are of the other class, "" where there are none."""
    found = [
        f"style {group.name} ({group.counts['train'][group.nearly_one_class]} of {sum(group.counts['train'].values())} "
        f"{group.nearly_one_class}: {group.words})"
        for group in groups
        if group.nearly_one_class
    ]
    return (
        f"Nearly every film of {'; '.join(found)} is of one class. Compare the figures by style before the version is "
        "used."
        if found
        else ""
    )


def group_from_values(values: Mapping[str, Any]) -> StyleGroup:
    """Read a group from the `values` of an audit's JSON."""
    return StyleGroup(
        str(values["name"]),
        str(values["words"]),
        {str(part): {str(c): int(n) for c, n in counts.items()} for part, counts in values["counts"].items()},
        {str(c): int(n) for c, n in values["patients"].items()},
        tuple(map(str, values["examples"])),
        float(values["chance"]),
        str(values["one_class"]),
        str(values["nearly_one_class"]),
    )

"""The audit of a drawn split: what its two sides share, how large they are, and what separates them without lungs.

>>> split = audit_split(samples, held_out, groups, names, same_names)
>>> split.patients_on_both_sides, split.groups_on_both_sides
((), ())
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_count
from model.metrics import auroc
from training.data.sample import CLASSES, Sample
from training.data.split import Same, groups_of, hold_out

SIDES = ("train", "validation")
# What is known of a loaded radiograph without its lungs; a subset of `training.data.shortcut.FEATURES`.
FEATURES = ("bytes", "mean", "contrast", "sharpness")
# Fewest held-out patients of a class for which an interval says something, and for which a version may be promoted.
FEW_PATIENTS = 30
# Fewest radiographs of a class that can teach anything.
FEW_FILMS = 30
# Below this number of held-out patients of a class there is nothing to calibrate on.
LEAST_PATIENTS = 2
DUPLICATE_ON_BOTH_SIDES, PATIENT_ON_BOTH_SIDES = "DUPLICATE_ON_BOTH_SIDES", "PATIENT_ON_BOTH_SIDES"
ONE_HELD_OUT_PATIENT, FEW_HELD_OUT_PATIENTS = "ONE_HELD_OUT_PATIENT", "FEW_HELD_OUT_PATIENTS"
# Code, whether it blocks a training, and the sentence.
Finding = tuple[str, bool, str]


@dataclass(frozen=True, slots=True)
class SplitSide:
    """One side of a split: radiographs and patients by class, and medians of `FEATURES` by class.

    Patients with the same picture count as one.
    """

    radiographs: Mapping[str, int]
    patients: Mapping[str, int]
    medians: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """Audit of a drawn split.

    Attributes
    ----------
    sides
        By name, "train" and "validation".
    patients_on_both_sides
        Names of patients with radiographs on both sides.
    groups_on_both_sides
        Names of the files of each group of the same pictures that is on both sides.
    shortcut_auroc
        AUROC on the validation side of boosted trees on `FEATURES` that were fitted to the training side, in [0, 1];
        nan with fewer than ten radiographs of a class on one side.
    """

    sides: Mapping[str, SplitSide]
    patients_on_both_sides: tuple[str, ...] = ()
    groups_on_both_sides: tuple[tuple[str, ...], ...] = ()
    shortcut_auroc: float = math.nan


def audit_split(
    samples: Sequence[Sample],
    held_out: npt.NDArray[np.bool_],
    groups: Sequence[str],
    names: Sequence[str],
    same_names: Sequence[Sequence[str]],
    features: npt.NDArray[np.float64] | None = None,
) -> SplitAudit:
    """Audit a drawn split.

    Parameters
    ----------
    samples
        (n,)
    held_out
        (n,), bool: validation.
    groups
        (n,), the group of each sample as `training.data.split.groups_of` returns it; () where only patients are known.
    names
        (n,), the name of each file in `same_names`.
    same_names
        Groups of files with the same picture, as the audit of the folder found them, apart from the split's own groups.
    features
        (n, len(FEATURES)), as `side_features` returns them; None for a split without its pictures.
    """
    out = np.asarray(held_out, bool)
    labels = np.array([s.label for s in samples])
    counted = np.array(groups if groups else [s.patient for s in samples], dtype=object)
    sides = {}
    for side, inside in zip(SIDES, (~out, out), strict=True):
        members = {name: inside & (labels == label) for label, name in enumerate(CLASSES)}
        sides[side] = SplitSide(
            {name: int(mask.sum()) for name, mask in members.items()},
            {name: len(set(counted[mask])) for name, mask in members.items()},
            {name: _medians(features[mask]) for name, mask in members.items() if mask.any()}
            if features is not None
            else {},
        )
    where: dict[str, set[bool]] = defaultdict(set)
    for sample, held in zip(samples, out, strict=True):
        where[sample.patient].add(bool(held))
    side_of = dict(zip(names, out.tolist(), strict=True))
    split_groups = (tuple(name for name in group if name in side_of) for group in same_names)
    return SplitAudit(
        sides,
        tuple(sorted(patient for patient, found in where.items() if len(found) > 1)),
        tuple(group for group in split_groups if len({side_of[name] for name in group}) > 1),
        math.nan if features is None else _transferred_auroc(features, labels, out),
    )


def side_features(samples: Sequence[Sample], pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return `FEATURES` of loaded radiographs.

    Parameters
    ----------
    samples
        (n,), whose files give the size.
    pictures
        (n, px, px), uint8.

    Returns
    -------
    ndarray
        (n, len(FEATURES)), float64; the size of a file that has gone is 0.
    """
    rows = []
    for sample, picture in zip(samples, pictures, strict=True):
        try:
            size = sample.path.stat().st_size
        except OSError:
            size = 0
        rows.append((size, picture.mean(), picture.std(), cv2.Laplacian(picture, cv2.CV_32F).var()))
    return np.array(rows, np.float64).reshape(len(samples), len(FEATURES))


def _medians(features: npt.NDArray[np.float64]) -> dict[str, float]:
    return {name: round(float(np.median(features[:, k])), 4) for k, name in enumerate(FEATURES)}


def _transferred_auroc(
    features: npt.NDArray[np.float64], labels: npt.NDArray[np.int_], out: npt.NDArray[np.bool_]
) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier

    if min(int(((out == side) & (labels == label)).sum()) for side in (False, True) for label in (0, 1)) < 10:
        return math.nan
    trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
    return auroc(labels[out], trees.fit(features[~out], labels[~out]).predict_proba(features[out])[:, 1])


def findings(split: SplitAudit) -> tuple[Finding, ...]:
    """Return the findings of a drawn split in words: leaks, and sides that are too small."""
    found: list[Finding] = []
    if n := len(split.patients_on_both_sides):
        found.append(
            (
                PATIENT_ON_BOTH_SIDES,
                True,
                f"{format_count(n, 'patient')} {'has' if n == 1 else 'have'} radiographs both in training and in "
                "validation.",
            )
        )
    if n := len(split.groups_on_both_sides):
        found.append(
            (
                DUPLICATE_ON_BOTH_SIDES,
                False,
                f"{format_count(n, 'group')} of duplicate radiographs {'is' if n == 1 else 'are'} both in training and "
                "in validation. The validation figures are overestimated.",
            )
        )
    patients = split.sides["validation"].patients
    fewest = min(patients.values())
    held = f"{patients[CLASSES[1]]} patients with and {patients[CLASSES[0]]} without pneumonia"
    if fewest < LEAST_PATIENTS:
        found.append((ONE_HELD_OUT_PATIENT, True, f"Held out: {held}. {_needed(LEAST_PATIENTS)}"))
    elif fewest < FEW_PATIENTS:
        found.append((FEW_HELD_OUT_PATIENTS, False, f"Held out: {held}. {_needed(FEW_PATIENTS)}"))
    return tuple(found)


def _needed(least: int) -> str:
    return (
        f"Validation needs at least {least} patients of each class"
        + (", below which its intervals are wide and no version is promoted" if least == FEW_PATIENTS else "")
        + ". Add radiographs of more patients, or hold out a larger share for validation."
    )


def few_to_hold_out(
    train: Sequence[Sample], val: Sequence[Sample], fraction: float, same: Same = (), seed: int = 0
) -> Finding | None:
    """Return what is to be said of a dataset with few patients, before it is split.

    Parameters
    ----------
    train, val
        Samples of both splits; their patients alone count.
    fraction
        Share of the patients that will be held out, in (0, 1).
    same
        Places in [*train, *val] of each group of radiographs that are the same picture; such patients count once.
    seed
        Of the draw.

    Returns
    -------
    Finding or None
        Blocking where a class has too few patients to hold out `LEAST_PATIENTS` at any share; None where at least
        `FEW_PATIENTS` of each class will be held out.
    """
    samples, out = [*train, *val], hold_out(train, val, fraction, seed, same)
    groups = groups_of(samples, same)

    def patients(chosen: Sequence[bool]) -> dict[str, int]:
        kept = [(g, s.label) for g, s, inside in zip(groups, samples, chosen, strict=True) if inside]
        return {name: len({g for g, own in kept if own == label}) for label, name in enumerate(CLASSES)}

    held, everybody = patients(out.tolist()), patients([True] * len(samples))
    if (fewest := min(held.values())) >= FEW_PATIENTS:
        return None
    least = LEAST_PATIENTS if fewest < LEAST_PATIENTS else FEW_PATIENTS
    more = " and ".join(
        f"{format_count(math.ceil(missing / fraction), 'more patient')} of class {name}"
        for name, n in held.items()
        if (missing := least - n) > 0
    )
    message = (
        f"At a share of {100 * fraction:g} %, validation holds {format_count(held[CLASSES[1]], 'patient')} with and "
        f"{held[CLASSES[0]]} without pneumonia; it needs at least {least} of each class"
        + ("" if least == LEAST_PATIENTS else " for narrow intervals and for a promotion")
        + f". Add radiographs of about {more}, or hold out a larger share for validation."
    )
    if least == LEAST_PATIENTS:
        return ONE_HELD_OUT_PATIENT, min(everybody.values()) <= LEAST_PATIENTS, message
    return FEW_HELD_OUT_PATIENTS, False, message


def few_films(counts: Mapping[str, int]) -> Finding | None:
    """Return what is to be said of a folder with few radiographs.

    Parameters
    ----------
    counts
        Readable radiographs by class.
    """
    if min(counts.values()) >= FEW_FILMS:
        return None
    n = " and ".join(f"{count} {name}" for name, count in counts.items())
    return (
        "FEW_RADIOGRAPHS",
        False,
        f"{n} radiographs are too few to train or to judge a classifier; with fewer than {FEW_FILMS} of a class every "
        "figure is mostly chance. Add radiographs.",
    )


def to_json(split: SplitAudit) -> dict[str, Any]:
    """Return the audit of a split as JSON values; an AUROC that is not defined is null."""
    return {
        "sides": {
            name: {
                "radiographs": dict(side.radiographs),
                "patients": dict(side.patients),
                "medians": dict(side.medians),
            }
            for name, side in split.sides.items()
        },
        "patients_on_both_sides": list(split.patients_on_both_sides),
        "groups_on_both_sides": [list(group) for group in split.groups_on_both_sides],
        "shortcut_auroc": split.shortcut_auroc if math.isfinite(split.shortcut_auroc) else None,
    }


def from_json(values: Mapping[str, Any]) -> SplitAudit:
    """Read what `to_json` returns.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a value is missing or has another form.
    """
    area = values["shortcut_auroc"]
    return SplitAudit(
        {
            side: SplitSide(
                {name: int(n) for name, n in one["radiographs"].items()},
                {name: int(n) for name, n in one["patients"].items()},
                {name: {k: float(v) for k, v in medians.items()} for name, medians in one["medians"].items()},
            )
            for side, one in values["sides"].items()
        },
        tuple(map(str, values["patients_on_both_sides"])),
        tuple(tuple(map(str, group)) for group in values["groups_on_both_sides"]),
        math.nan if area is None else float(area),
    )


def to_text(split: SplitAudit) -> list[str]:
    """Return the audit of a split as lines for a terminal."""
    lines = []
    for name, side in split.sides.items():
        lines.append(
            f"  {name}: "
            + ", ".join(f"{side.radiographs[c]} {c} of {side.patients[c]} patients" for c in side.radiographs)
        )
        lines += [
            f"    {c} medians: " + ", ".join(f"{feature} {value:.4g}" for feature, value in medians.items())
            for c, medians in side.medians.items()
        ]
    if math.isfinite(split.shortcut_auroc):
        lines.append(f"  shortcut baseline fitted on train: AUROC {split.shortcut_auroc:.3f} on validation")
    return lines

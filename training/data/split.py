"""The split of a dataset by patient.

What stays together is a group: all radiographs of a patient, and of every patient who has the same file or, where the
caller knows them, the same or nearly the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from training.data.sample import Sample

Same = Sequence[Sequence[int]]
# Key of a card's data: whether the version's split keeps the same pictures together, as it does since 0.2.0.
DUPLICATES_TOGETHER = "duplicates_kept_together"
# Since 0.2.0: how the patients were found, and the digest of the held-out radiographs.
PATIENT_RULES, HELD_OUT_DIGEST = "patient_rules", "validation_digest"


def split_by_patient(samples: Sequence[Sample], fraction: float, seed: int, same: Same = ()) -> npt.NDArray[np.bool_]:
    """Hold out a share of the patients of each class.

    No patient is in both parts, and neither are byte-identical files of two patients, nor the radiographs of a group in
    `same`. Groups that join patients do not change which others are drawn, so a dataset without such groups is split as
    if there were no fingerprints.

    Parameters
    ----------
    samples
        (n,); their order does not matter.
    fraction
        Share of the patients, in (0, 1).
    seed
        Of the draw.
    same
        Places in `samples` of each group of radiographs that are the same picture.

    Returns
    -------
    npt.NDArray[np.bool_]
        (n,), True for held-out samples.

    Raises
    ------
    ValueError
        Unless 0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction between 0 and 1. Received: {fraction}")
    unit, group = _joined(samples), _joined(samples, same)
    held_out: set[str] = set()
    positive = {unit[s.patient] for s in samples if s.label}
    joins_positive = {group[name] for name in positive}
    for members in (positive, set(unit.values()) - positive):
        ordered = sorted(members)
        np.random.default_rng(seed).shuffle(ordered)
        # A group with both classes is drawn with the positive ones.
        free = [name for name in ordered if members is positive or group[name] not in joins_positive]
        held_out.update(_drawn(free, group, max(1, round(fraction * len(ordered)))))
    return np.array([group[s.patient] in held_out for s in samples], dtype=bool)


def _drawn(ordered: Sequence[str], group: dict[str, str], wanted: int) -> list[str]:
    """Return the first groups whose units number no more than `wanted`; at least one, and never all."""
    units: dict[str, int] = defaultdict(int)
    for name in ordered:
        units[group[name]] += 1
    if len(units) < 2:
        return []
    chosen: list[str] = []
    n = 0
    for name, size in units.items():
        if n + size <= wanted and len(chosen) < len(units) - 1:
            chosen.append(name)
            n += size
    return chosen or [min(units, key=lambda name: units[name])]


def _joined(samples: Sequence[Sample], same: Same = ()) -> dict[str, str]:
    """Map each patient to the first name of its group; patients that share a file or a picture share a group."""
    parent = {s.patient: s.patient for s in samples}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    seen: dict[str, str] = {}
    for sample in samples:
        if sample.sha256:
            join(seen.setdefault(sample.sha256, sample.patient), sample.patient)
    for members in same:
        for i in members[1:]:
            join(samples[members[0]].patient, samples[i].patient)
    return {name: root(name) for name in parent}


def groups_of(samples: Sequence[Sample], same: Same = ()) -> list[str]:
    """Return the group of each sample, which a split keeps on one side: the first name of its patients.

    Parameters
    ----------
    samples, same
        As in `split_by_patient`.
    """
    group = _joined(samples, same)
    return [group[s.patient] for s in samples]


def hold_out(
    train: Sequence[Sample], val: Sequence[Sample], fraction: float, seed: int, same: Same = ()
) -> npt.NDArray[np.bool_]:
    """Mark the radiographs of validation.

    They are those of groups held out from `train`, all of `val`, which may be 16 radiographs, and those in `train` of
    groups in `val`.

    Parameters
    ----------
    train, val
        Samples of both splits.
    fraction, seed
        As in `split_by_patient`.
    same
        Places in [*train, *val] of each group of radiographs that are the same picture.

    Returns
    -------
    ndarray
        (len(train) + len(val),), bool, in the order [*train, *val].
    """
    group = groups_of([*train, *val], same)
    inside = [members for all_members in same if len(members := [i for i in all_members if i < len(train)]) > 1]
    drawn = split_by_patient(train, fraction, seed, inside)
    chosen = {name for name, out in zip(group, drawn, strict=False) if out} | set(group[len(train) :])
    return np.array([name in chosen for name in group], dtype=bool)


def same_by_group(groups: Iterable[str]) -> Same:
    """Return the places of each group of two or more, from the group of each sample as `groups_of` returns them."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(groups):
        places[name].append(i)
    return [members for members in places.values() if len(members) > 1]

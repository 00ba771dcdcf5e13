"""What a dataset folder hides: damaged files, duplicates, contradictions, leaks, and how far one gets without lungs.

Linear in the number of files: each is read and decoded once, in threads; duplicates are found through hashes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from core.progress import Tick
from imaging.radiograph import decode_radiograph, squash, to_uint8
from model.metrics import auroc
from training.data.dataset import CLASSES, DatasetFolder, Sample

FEATURES = ("bytes", "width", "height", "aspect", "mean", "contrast", "sharpness")
THUMBNAIL_PX = 32
# Hamming distance up to which two 64-bit hashes are compared more closely.
NEAR_BITS = 3
BANDS = 6
NEAR_CORRELATION = 0.985
MOST_NEIGHBOURS = 200
FEW_VALIDATION = 50
HIGH_BASELINE = 0.75
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing about the folder that whoever trains must know; a blocking one means that training must not start."""

    code: str
    blocking: bool
    message: str


@dataclass(frozen=True, slots=True)
class Group:
    """Files that show the same picture, as paths below the folder, with the labels and parts they lie under."""

    files: tuple[str, ...]
    labels: tuple[str, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found. Paths are below the dataset folder; `shortcut_auroc` is nan when it cannot be estimated."""

    n: int
    unreadable: tuple[tuple[str, str], ...]
    exact_duplicate_groups: tuple[Group, ...]
    near_duplicate_groups: tuple[Group, ...]
    label_conflicts: tuple[Group, ...]
    patients_in_two_splits: tuple[str, ...]
    unknown_patients: int
    class_counts: dict[str, dict[str, int]]
    sizes: dict[str, dict[str, list[float]]]
    shortcut_auroc: float
    shortcut_features: dict[str, float]
    issues: tuple[Issue, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether training must not start on this folder."""
        return any(issue.blocking for issue in self.issues)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What one decoding left of a file: a digest of its pixels, a 64-bit hash, a thumbnail, and `FEATURES`."""

    digest: str
    phash: int
    thumbnail: npt.NDArray[np.uint8]
    features: tuple[float, ...]


def audit_folder(folder: DatasetFolder, tick: Tick | None = None, workers: int = 2) -> Audit:
    """Audit a scanned folder; `tick` is called with 1 after each file."""
    parts = {"train": folder.train, "val": folder.val, "test": folder.test}
    samples = [sample for part in parts.values() for sample in part]
    part_of = [name for name, part in parts.items() for _ in part]

    def one(sample: Sample) -> _Seen | str:
        try:
            return _look(sample.path)
        except (OSError, RadiographError) as error:
            return str(error)
        finally:
            if tick is not None:
                tick(1)

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(one, samples))
    readable = [i for i, result in enumerate(results) if not isinstance(result, str)]
    seen = {i: result for i, result in enumerate(results) if not isinstance(result, str)}

    def group(members: Iterable[int]) -> Group:
        order = sorted(members)
        return Group(
            tuple(_name(samples[i], folder) for i in order),
            tuple(CLASSES[samples[i].label] for i in order),
            tuple(part_of[i] for i in order),
        )

    exact = [members for members in _by(readable, lambda i: seen[i].digest) if len(members) > 1]
    near = _near_duplicates(seen, exact)
    conflicts = [members for members in exact if len({samples[i].label for i in members}) > 1]
    shared = _patients_in_two_splits(samples, part_of)
    labels = np.array([samples[i].label for i in readable])
    features = np.array([seen[i].features for i in readable]).reshape(len(readable), len(FEATURES))
    train = np.array([part_of[i] == "train" for i in readable], dtype=bool)
    baseline = _shortcut_baseline(
        features[train], labels[train], [samples[i].patient for i in readable if part_of[i] == "train"]
    )
    counts = {
        name: {c: sum(s.label == k for s in part) for k, c in enumerate(CLASSES)}
        for name, part in parts.items()
        if part
    }
    facts: dict[str, Any] = {
        "unreadable": tuple(
            (_name(samples[i], folder), result) for i, result in enumerate(results) if isinstance(result, str)
        ),
        "label_conflicts": tuple(map(group, conflicts)),
        "exact_duplicate_groups": tuple(map(group, exact)),
        "near_duplicate_groups": tuple(map(group, near)),
        "patients_in_two_splits": shared,
        "unknown_patients": sum(not s.patient_known for s in samples),
        "class_counts": counts,
    }
    readable_train = {CLASSES[label]: int((labels[train] == label).sum()) for label in (0, 1)}
    return Audit(
        n=len(samples),
        **facts,
        sizes=_sizes(features, labels),
        shortcut_auroc=baseline,
        shortcut_features={
            name: _either_way(auroc(labels[train], features[train, k])) for k, name in enumerate(FEATURES)
        },
        issues=_issues(facts, readable_train, baseline),
    )


def _name(sample: Sample, folder: DatasetFolder) -> str:
    return sample.path.relative_to(folder.root).as_posix()


def _look(path: Path) -> _Seen:
    data = path.read_bytes()
    radiograph = decode_radiograph(data)
    grey = to_uint8(radiograph)
    small = squash(radiograph, 128)
    thumbnail = cv2.resize(small, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)
    # The perceptual hash: signs of the 64 lowest frequencies about their median (Zauner 2010).
    low = np.asarray(cv2.dct(thumbnail.astype(np.float32)))[:8, :8].ravel()
    bits = low > np.median(low[1:])
    sharpness = float(cv2.Laplacian(small, cv2.CV_32F).var())
    digest = hashlib.sha256(repr(grey.shape).encode() + np.ascontiguousarray(grey).tobytes()).hexdigest()
    return _Seen(
        digest,
        int("".join("1" if bit else "0" for bit in bits), 2),
        thumbnail,
        (
            float(len(data)),
            float(radiograph.width),
            float(radiograph.height),
            radiograph.width / radiograph.height,
            float(small.mean()),
            float(small.std()),
            sharpness,
        ),
    )


def _by(items: Iterable[int], key: Callable[[int], Any]) -> list[list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _near_duplicates(seen: dict[int, _Seen], exact: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group files whose hashes are close and whose thumbnails correlate; pixel-identical ones count once."""
    spare = {i for members in exact for i in members[1:]}
    candidates = [i for i in seen if i not in spare]
    parent = {i: i for i in candidates}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    # Few files ever get as far as this, and all of them would take gigabytes.
    flat = cache(lambda i: _standardised(seen[i].thumbnail))
    for mask in _masks():
        for members in _by(candidates, lambda i, mask=mask: seen[i].phash & mask):  # type: ignore[misc]
            for position, i in enumerate(members):
                # Bounded, so that a folder of ten thousand blank films does not take ten thousand times as long.
                for j in members[position + 1 : position + 1 + MOST_NEIGHBOURS]:
                    if (
                        (seen[i].phash ^ seen[j].phash).bit_count() <= NEAR_BITS
                        and root(i) != root(j)
                        and float(flat(i) @ flat(j)) >= NEAR_CORRELATION
                    ):
                        parent[root(j)] = root(i)
    return [members for members in _by(candidates, root) if len(members) > 1]


def _masks() -> list[int]:
    """Return every choice of three of six bands of a 64-bit hash, as masks.

    Three flipped bits leave at least three bands alone, so two near hashes agree under one of the masks; and 32 bits
    are rarely shared by chance, as 16 bits of a hundred thousand chest films are.
    """
    edges = [round(64 * band / BANDS) for band in range(BANDS + 1)]
    bands = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
    return [sum(chosen) for chosen in combinations(bands, BANDS - NEAR_BITS)]


def _standardised(thumbnail: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    # Without the low frequencies that all chest films share, so that a correlation means the same child's same film.
    grey = thumbnail.astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 4)
    return np.asarray((detail / (np.linalg.norm(detail) + 1e-6)).ravel(), np.float32)


def _patients_in_two_splits(samples: Sequence[Sample], part_of: Sequence[str]) -> tuple[str, ...]:
    where: dict[str, set[str]] = defaultdict(set)
    for sample, part in zip(samples, part_of, strict=True):
        if sample.patient_known:
            where[sample.patient].add(part)
    return tuple(sorted(patient for patient, parts in where.items() if len(parts) > 1))


def _sizes(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int_]) -> dict[str, dict[str, list[float]]]:
    """Return the 5th, 50th and 95th percentile of every feature, by class."""
    return {
        c: {
            name: [round(float(v), 4) for v in np.percentile(features[labels == k, f], (5, 50, 95))]
            for f, name in enumerate(FEATURES)
        }
        for k, c in enumerate(CLASSES)
        if (labels == k).any()
    }


def _either_way(area: float) -> float:
    return max(area, 1 - area)


def _shortcut_baseline(
    features: npt.NDArray[np.float64], labels: npt.NDArray[np.int_], patients: Sequence[str]
) -> float:
    """Cross-validate boosted trees on `FEATURES`, by patient; return their AUROC, nan with too few patients."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min((len({p for p, y in zip(patients, labels, strict=True) if y == label}) for label in (0, 1)), default=0)
    if fewest < 2 * FOLDS:
        return float("nan")
    scores = np.zeros(len(labels))
    for fitted, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, labels, patients):
        trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
        scores[held_out] = trees.fit(features[fitted], labels[fitted]).predict_proba(features[held_out])[:, 1]
    return auroc(labels, scores)


def _issues(facts: dict[str, Any], readable_train: dict[str, int], baseline: float) -> tuple[Issue, ...]:
    """Say what was found in words, blocking issues first."""
    issues = []

    def say(code: str, blocking: bool, message: str) -> None:
        issues.append(Issue(code, blocking, message))

    for name, n in readable_train.items():
        if n == 0:
            say("CLASS_MISSING", True, f"No readable radiograph of {name} to train on. Add some to the folder {name}.")
    if facts["label_conflicts"]:
        n = len(facts["label_conflicts"])
        say(
            "LABEL_CONFLICT",
            True,
            f"{n} picture{'s lie' if n > 1 else ' lies'} under both labels. Decide which label "
            "is right and remove the other copy.",
        )
    across = [g for g in (*facts["exact_duplicate_groups"], *facts["near_duplicate_groups"]) if len(set(g.parts)) > 1]
    if across:
        say(
            "DUPLICATE_ACROSS_SPLITS",
            False,
            f"{len(across)} groups of the same picture lie in more than one split; "
            "figures on those splits are too good.",
        )
    if facts["patients_in_two_splits"]:
        say(
            "PATIENT_IN_TWO_SPLITS",
            False,
            f"{len(facts['patients_in_two_splits'])} patient ids occur in more than "
            "one split. If the ids mean the same child, figures on those splits are too good; if each split counts its "
            "patients anew, they do not. File names cannot tell.",
        )
    if facts["unreadable"]:
        n = len(facts["unreadable"])
        say(
            "UNREADABLE",
            False,
            f"{n} file{'s' if n > 1 else ''} cannot be read and {'are' if n > 1 else 'is'} left out.",
        )
    for key, code, what in (
        ("exact_duplicate_groups", "EXACT_DUPLICATES", "pixel-identical"),
        ("near_duplicate_groups", "NEAR_DUPLICATES", "nearly identical"),
    ):
        if facts[key]:
            n = len(facts[key])
            say(code, False, f"{n} group{'s' if n > 1 else ''} of {what} radiographs.")
    if facts["unknown_patients"]:
        say(
            "UNKNOWN_PATIENTS",
            False,
            f"{facts['unknown_patients']} file names name no patient; each counts as one "
            "patient, so one child's films may lie on both sides of the split.",
        )
    validation = facts["class_counts"].get("val")
    if validation and sum(validation.values()) < FEW_VALIDATION:
        say(
            "SMALL_VALIDATION",
            False,
            f"The validation split has only {sum(validation.values())} radiographs. It is "
            "added to patients held out from the training split.",
        )
    if baseline >= HIGH_BASELINE:
        say(
            "SEES_NO_LUNGS",
            False,
            f"File size, dimensions, brightness and sharpness alone tell the classes apart "
            f"with AUROC {baseline:.2f}. Part of any classifier's figure on this data may come from there.",
        )
    return tuple(sorted(issues, key=lambda issue: not issue.blocking))


def audit_to_json(audit: Audit) -> str:
    """Return the audit as JSON; a baseline that could not be estimated is null."""
    values = dataclasses.asdict(audit) | {"is_blocked": audit.is_blocked}
    values["sees_no_lungs_auroc"] = _or_none(values.pop("shortcut_auroc"))
    values["sees_no_lungs_features"] = {name: _or_none(v) for name, v in values.pop("shortcut_features").items()}
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False, default=str)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def audit_from_json(text: str) -> Audit:
    """Read what `audit_to_json` wrote; raises ValueError when it is something else."""

    def groups(key: str) -> tuple[Group, ...]:
        return tuple(Group(*(tuple(one[name]) for name in ("files", "labels", "parts"))) for one in values[key])

    def number(value: float | None) -> float:
        return float("nan") if value is None else float(value)

    try:
        values = json.loads(text)
        return Audit(
            n=int(values["n"]),
            unreadable=tuple((path, reason) for path, reason in values["unreadable"]),
            exact_duplicate_groups=groups("exact_duplicate_groups"),
            label_conflicts=groups("label_conflicts"),
            near_duplicate_groups=groups("near_duplicate_groups"),
            unknown_patients=int(values["unknown_patients"]),
            patients_in_two_splits=tuple(values["patients_in_two_splits"]),
            class_counts=values["class_counts"],
            sizes=values["sizes"],
            shortcut_auroc=number(values["sees_no_lungs_auroc"]),
            shortcut_features={k: number(v) for k, v in values["sees_no_lungs_features"].items()},
            issues=tuple(Issue(one["code"], bool(one["blocking"]), one["message"]) for one in values["issues"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected an audit as JSON. Received: {error!r}") from error


def audit_to_text(audit: Audit) -> str:
    """Return the audit for a terminal, worst first."""
    lines = [f"{audit.n} files"]
    lines += [
        f"  {part}: " + ", ".join(f"{n} {c}" for c, n in counts.items()) for part, counts in audit.class_counts.items()
    ]
    lines += [f"{'BLOCKING' if issue.blocking else 'note':<9}{issue.code}: {issue.message}" for issue in audit.issues]
    lines += [f"  {path}: {reason}" for path, reason in audit.unreadable[:10]]
    for group in (*audit.label_conflicts, *audit.exact_duplicate_groups)[:10]:
        lines.append("  same picture: " + ", ".join(group.files))
    if not math.isnan(audit.shortcut_auroc):
        lines.append(
            f"sees no lungs: AUROC {audit.shortcut_auroc:.3f} from "
            + ", ".join(f"{name} {area:.2f}" for name, area in audit.shortcut_features.items())
            + " (each alone)"
        )
    return "\n".join(lines)

"""An audit of a dataset folder: damaged files, duplicates, label conflicts, leaks between splits, shortcut
baseline, acquisition styles.

Linear in the number of files: each is read and decoded once, in threads.

>>> audit = audit_folder(scan_folder(Path("chest_xray")))
>>> [issue.code for issue in audit.issues if issue.blocking]
[]
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.json_text import json_with_names, parse_json
from core.printable import printable
from core.progress import Tick
from imaging.radiograph import DETAIL_PX, decode_radiograph, squash, to_uint8
from training.data import audit_split
from training.data.audit_split import Finding, SplitAudit
from training.data.dataset import DatasetFolder
from training.data.duplicates import Fingerprint, exact_duplicates, fingerprint, near_duplicates
from training.data.patient_preview import PatientPreview, concerns, preview, preview_from_values
from training.data.sample import CLASSES, Sample
from training.data.shortcut import FEATURES, baseline_auroc, feature_aurocs, file_features
from training.data.split import groups_of
from training.data.style_audit import (
    StyleAudit,
    StyleGroup,
    audit_styles,
    group_from_values,
    nearly_one_class_sentence,
    one_class_sentences,
)
from training.data.style_features import StyleFeatures, style_features
from training.data.styles import StyleModel, style_model_from_values

FEW_VALIDATION = 50
HIGH_BASELINE = 0.75
# Share of the patients that a training holds out unless it is told otherwise, as in `training.fitting.config`.
USUAL_FRACTION = 0.12


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding about the folder; training must not start while there is a blocking one."""

    code: str
    blocking: bool
    message: str


@dataclass(frozen=True, slots=True)
class Group:
    """Files with the same radiograph: paths below the folder, and the label and split of each."""

    files: tuple[str, ...]
    labels: tuple[str, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Result of an audit.

    Paths are below their source, after its name where there are several. `class_counts` holds radiographs by split and
    class, `sizes` the 5th, 50th and 95th percentile of each of `training.data.shortcut.FEATURES` by class.
    `shortcut_auroc` is nan where it cannot be estimated, `shortcut_features` are the AUROCs of each feature alone.
    `split` is the audit of the split that a run has drawn, whose findings are among the `issues`.
    `data` says how patients were found and what was skipped; None in audits of before 0.2.0.
    `style_auroc` is the AUROC of the label from style alone, `styles` are the groups of films that were made alike and
    `style_model` tells the style of a new film, `style_of` that of each file;
    nan, empty and None where they are unknown, as in earlier audits.
    """

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
    split: SplitAudit | None = None
    data: PatientPreview | None = None
    style_auroc: float = math.nan
    styles: tuple[StyleGroup, ...] = ()
    style_model: StyleModel | None = None
    style_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_blocked(self) -> bool:
        """Whether training must not start on this folder."""
        return any(issue.blocking for issue in self.issues)


@dataclass(frozen=True, slots=True, eq=False)
class _FileFacts:
    """Fingerprint, `training.data.shortcut.FEATURES` and style features of one readable file."""

    fingerprint: Fingerprint
    features: tuple[float, ...]
    style: StyleFeatures


def audit_folder(folder: DatasetFolder, tick: Tick | None = None, workers: int = 2) -> Audit:
    """Audit a scanned folder.

    Parameters
    ----------
    folder
        All splits are read, the test split included.
    tick
        Called with 1 after each file.
    workers
        Threads that read and decode.
    """
    parts = {"train": folder.train, "val": folder.val, "test": folder.test}
    samples = [sample for part in parts.values() for sample in part]
    part_of = [name for name, part in parts.items() for _ in part]

    def one(sample: Sample) -> _FileFacts | str:
        try:
            return _read(sample.path)
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
            tuple(folder.name_of(samples[i]) for i in order),
            tuple(CLASSES[samples[i].label] for i in order),
            tuple(part_of[i] for i in order),
        )

    fingerprints = {i: facts.fingerprint for i, facts in seen.items()}
    exact = exact_duplicates(fingerprints)
    near = near_duplicates(fingerprints, exact)
    conflicts = [members for members in exact if len({samples[i].label for i in members}) > 1]
    shared = _patients_in_two_splits(samples, part_of)
    labels = np.array([samples[i].label for i in readable])
    features = np.array([seen[i].features for i in readable]).reshape(len(readable), len(FEATURES))
    train = np.array([part_of[i] == "train" for i in readable], dtype=bool)
    # Copies under other names count as one patient: else each is judged by its own copy, and a film twice as two. Where
    # patients are known, nearly identical films of two are two.
    patients = groups_of(samples, [*exact, *(one for one in near if not all(samples[i].patient_known for i in one))])
    baseline = baseline_auroc(features[train], labels[train], [patients[i] for i in readable if part_of[i] == "train"])
    counts = {
        name: {c: sum(s.label == k for s in part) for k, c in enumerate(CLASSES)}
        for name, part in parts.items()
        if part
    }
    facts: dict[str, Any] = {
        "unreadable": tuple(
            (folder.name_of(samples[i]), result) for i, result in enumerate(results) if isinstance(result, str)
        ),
        "label_conflicts": tuple(map(group, conflicts)),
        "exact_duplicate_groups": tuple(map(group, exact)),
        "near_duplicate_groups": tuple(map(group, near)),
        "patients_in_two_splits": shared,
        "unknown_patients": sum(not s.patient_known for s in samples),
        "class_counts": counts,
    }
    data = preview(folder)
    styled = audit_styles(
        [dataclasses.replace(samples[i], patient=patients[i]) for i in readable],
        [part_of[i] for i in readable],
        [seen[i].style for i in readable],
        folder.name_of,
    )
    readable_train = {CLASSES[label]: int((labels[train] == label).sum()) for label in (0, 1)}
    return Audit(
        n=len(samples),
        **facts,
        sizes=_sizes(features, labels),
        shortcut_auroc=baseline,
        shortcut_features=feature_aurocs(features[train], labels[train]),
        issues=_in_order(
            [
                *_issues(facts, readable_train, baseline, styled),
                *_few(samples, part_of, [*exact, *near], readable_train),
                *(Issue(code, False, sentence) for code, sentence in concerns(data)),
            ]
        ),
        data=data,
        style_auroc=math.nan if styled is None else styled.auroc,
        styles=() if styled is None else styled.groups,
        style_model=None if styled is None else styled.fitted,
        style_of={} if styled is None else styled.style_of,
    )


def with_split(audit: Audit, split: SplitAudit) -> Audit:
    """Return the audit of a run: `audit`, that of its folder, with that of the split it has drawn, `split`."""
    # What the folder's audit expects of the usual split is replaced by what was drawn.
    expected = {audit_split.FEW_HELD_OUT_PATIENTS, audit_split.ONE_HELD_OUT_PATIENT}
    found = [issue for issue in audit.issues if issue.code not in expected]
    return dataclasses.replace(audit, split=split, issues=_in_order([*found, *_said(audit_split.findings(split))]))


def _few(
    samples: Sequence[Sample], part_of: Sequence[str], same: Sequence[Sequence[int]], readable_train: dict[str, int]
) -> list[Issue]:
    """Return what is to be said of few radiographs and patients; a class without any is said elsewhere."""
    if not all(readable_train.values()):
        return []
    order = [i for part in ("train", "val") for i, own in enumerate(part_of) if own == part]
    place = {i: position for position, i in enumerate(order)}
    train, val = ([samples[i] for i in order if part_of[i] == part] for part in ("train", "val"))
    groups = [[place[i] for i in members if i in place] for members in same]
    found = (
        audit_split.few_films(readable_train),
        audit_split.few_to_hold_out(train, val, USUAL_FRACTION, [members for members in groups if members]),
    )
    return _said([one for one in found if one is not None])


def _said(findings: Iterable[Finding]) -> list[Issue]:
    return [Issue(*one) for one in findings]


def _in_order(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    return tuple(sorted(issues, key=lambda issue: not issue.blocking))


def _read(path: Path) -> _FileFacts:
    data = path.read_bytes()
    radiograph = decode_radiograph(data)
    small = squash(radiograph, 128)
    # The fingerprint is that of loading, so that a split keeps together what the audit finds.
    return _FileFacts(
        fingerprint(to_uint8(radiograph), squash(radiograph, DETAIL_PX)),
        file_features(len(data), radiograph, small),
        style_features(radiograph, data),
    )


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


def _issues(
    facts: dict[str, Any], readable_train: dict[str, int], baseline: float, styled: StyleAudit | None
) -> tuple[Issue, ...]:
    """Return the findings in words, blocking ones first."""
    issues = []

    def add(code: str, blocking: bool, message: str) -> None:
        issues.append(Issue(code, blocking, message))

    for name, n in readable_train.items():
        if n == 0:
            add("CLASS_MISSING", True, f"No readable radiograph of class {name}. Add radiographs to the folder {name}.")
    if n := len(facts["label_conflicts"]):
        add(
            "LABEL_CONFLICT",
            True,
            f"{n} radiograph{'s have' if n > 1 else ' has'} both labels. Decide which label is correct and remove the "
            "other copy.",
        )
    across = [g for g in (*facts["exact_duplicate_groups"], *facts["near_duplicate_groups"]) if len(set(g.parts)) > 1]
    if n := len(across):
        add(
            "DUPLICATE_ACROSS_SPLITS",
            False,
            f"{n} group{'s' if n > 1 else ''} of duplicate radiographs span{'' if n > 1 else 's'} more than one split. "
            "Performance on these splits is overestimated.",
        )
    if n := len(facts["patients_in_two_splits"]):
        add(
            "PATIENT_IN_TWO_SPLITS",
            False,
            f"{n} patient ID{'s occur' if n > 1 else ' occurs'} in more than one split. If equal IDs mean the same "
            "child, performance on these splits is overestimated; if each split numbers its own patients, it is not. "
            "File names do not show which.",
        )
    if n := len(facts["unreadable"]):
        add(
            "UNREADABLE",
            False,
            f"{n} file{'s' if n > 1 else ''} cannot be read and {'are' if n > 1 else 'is'} excluded.",
        )
    for key, code, kind in (
        ("exact_duplicate_groups", "EXACT_DUPLICATES", "pixel-identical"),
        ("near_duplicate_groups", "NEAR_DUPLICATES", "nearly identical"),
    ):
        if n := len(facts[key]):
            add(code, False, f"{n} group{'s' if n > 1 else ''} of {kind} radiographs.")
    if n := facts["unknown_patients"]:
        add(
            "UNKNOWN_PATIENTS",
            False,
            f"{n} file{'s are' if n > 1 else ' is'} of unknown patients. Each such file counts as its own patient: the "
            "split is by file, so radiographs of one child may be on both sides of it.",
        )
    validation = facts["class_counts"].get("val")
    if validation and (n := sum(validation.values())) < FEW_VALIDATION:
        add(
            "SMALL_VALIDATION",
            False,
            f"The validation split has only {n} radiographs. Patients held out from training are added to it.",
        )
    if baseline >= HIGH_BASELINE:
        add(
            "SEES_NO_LUNGS",
            False,
            f"Shortcut baseline (no lung content): file size, dimensions, brightness and sharpness alone separate the "
            f"classes with AUROC {baseline:.2f}. Part of a classifier's performance on this data may come from them.",
        )
    if styled is not None:
        for sentence in one_class_sentences(styled.groups):
            add("ONE_CLASS_STYLE", False, sentence)
        if nearly := nearly_one_class_sentence(styled.groups):
            add("NEARLY_ONE_CLASS_STYLE", False, nearly)
        if styled.auroc >= HIGH_BASELINE:
            add(
                "STYLE_PREDICTS_LABEL",
                False,
                f"Shortcut baseline (no lung content): how a film was made, outside the lungs, separates the classes "
                f"with AUROC {styled.auroc:.2f}. Compare the figures by style before the version is used.",
            )
    return _in_order(issues)


def audit_to_json(audit: Audit) -> str:
    """Return the audit as JSON; a baseline that could not be estimated is null."""
    values = dataclasses.asdict(audit) | {"is_blocked": audit.is_blocked}
    values["split"] = None if audit.split is None else audit_split.to_json(audit.split)
    values["sees_no_lungs_auroc"] = _or_none(values.pop("shortcut_auroc"))
    values["sees_no_lungs_features"] = {name: _or_none(v) for name, v in values.pop("shortcut_features").items()}
    values["style_auroc"] = _or_none(values["style_auroc"])
    return json_with_names(values)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def audit_from_json(text: str) -> Audit:
    """Read an audit that `audit_to_json` wrote.

    Raises
    ------
    ValueError
        If the text is not an audit.
    """

    def groups(key: str) -> tuple[Group, ...]:
        return tuple(Group(*(tuple(one[name]) for name in ("files", "labels", "parts"))) for one in values[key])

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    try:
        values = parse_json(text)
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
            style_auroc=number(values.get("style_auroc")),
            styles=tuple(map(group_from_values, values.get("styles", ()))),
            style_model=None if values.get("style_model") is None else style_model_from_values(values["style_model"]),
            style_of={str(name): str(style) for name, style in values.get("style_of", {}).items()},
            issues=tuple(Issue(one["code"], bool(one["blocking"]), one["message"]) for one in values["issues"]),
            split=audit_split.from_json(values["split"]) if values.get("split") else None,
            data=preview_from_values(values["data"]) if values.get("data") else None,
        )
    except (KeyError, TypeError, AttributeError, DatasetError) as error:
        raise ValueError(f"expected an audit as JSON. Received: {error!r}") from error


def audit_to_text(audit: Audit) -> str:
    """Return the audit as lines for a terminal, blocking findings first."""
    lines = [f"{audit.n} files"]
    lines += [
        f"  {part}: " + ", ".join(f"{n} {c}" for c, n in counts.items()) for part, counts in audit.class_counts.items()
    ]
    lines += [f"{'BLOCKING' if issue.blocking else 'note':<9}{issue.code}: {issue.message}" for issue in audit.issues]
    if audit.data is not None:
        lines.append(f"split {audit.data.split}")
    lines += [printable(f"  {path}: {reason}") for path, reason in audit.unreadable[:10]]
    for group in (*audit.label_conflicts, *audit.exact_duplicate_groups)[:10]:
        lines.append(printable("  same radiograph: " + ", ".join(group.files)))
    if not math.isnan(audit.shortcut_auroc):
        lines.append(
            f"shortcut baseline (no lung content): AUROC {audit.shortcut_auroc:.3f} from "
            + ", ".join(f"{name} {area:.2f}" for name, area in audit.shortcut_features.items())
            + " (each alone)"
        )
    if audit.split is not None:
        lines += ["drawn split", *audit_split.to_text(audit.split)]
    if not math.isnan(audit.style_auroc):
        lines.append(
            f"shortcut baseline (no lung content): AUROC {audit.style_auroc:.3f} from marks, tone, noise, borders and "
            "encoding outside the lungs (style model)"
        )
    if audit.styles:
        lines.append(f"{'style':<7}" + "".join(f"{c:>10}" for c in CLASSES) + "  (train split)")
    for style in audit.styles:
        counts = style.counts.get("train", {})
        lines.append(f"{style.name:<7}" + "".join(f"{counts.get(c, 0):>10}" for c in CLASSES) + f"  {style.words}")
    return "\n".join(lines)

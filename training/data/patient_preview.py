"""What a dataset will be split by: its patients, how they were found, its sources and what was skipped.

>>> preview(scan(Path("chest_xray"))).split
'by patient: 5,216 radiographs of 2,635 patients'
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.printable import printable
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder
from training.data.patient_pattern import PatientPattern
from training.data.patients import FILE, PATTERN, split_in_words, suggested_pattern
from training.data.sample import CLASSES, Sample

EXAMPLES = 4
_MOST_SKIPPED = 12


@dataclass(frozen=True, slots=True)
class PatientPreview:
    """Patients, sources and skipped files of a dataset.

    Attributes
    ----------
    n, patients
        Number of radiographs, and of patients among them; a file of an unknown patient is one.
    split
        Whether the split is by patient or by file, in a sentence with numbers.
    rules
        Number of files whose patient was found by each rule.
    examples
        (file, patient) of some files.
    pattern, pattern_patients
        A `--patient-pattern` that fits the names of files of unknown patients, and how many patients it makes; "" and
        0 for none.
    skipped
        Number of files that are no radiographs of the dataset, by kind.
    sources
        Radiographs of each source by class; one source is called as the folder is.
    shared_names
        Number of patients whose name occurs in several sources, where they count as different ones.
    unmatched_pattern
        The pattern that was asked for, where it fits no file name; else "".
    """

    n: int
    patients: int
    split: str
    rules: Mapping[str, int]
    examples: tuple[tuple[str, str], ...]
    pattern: str = ""
    pattern_patients: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    shared_names: int = 0
    unmatched_pattern: str = ""


def preview(folder: DatasetFolder) -> PatientPreview:
    """Return the preview of a scanned dataset, all of its splits included; no radiograph is read."""
    samples = [*folder.train, *folder.val, *folder.test]
    unknown = [Path(s.path.name).stem for s in samples if not s.patient_known]
    pattern = suggested_pattern(unknown) if folder.request.patient_rule == "auto" else ""
    sources: dict[str, dict[str, int]] = {}
    for sample in samples:
        name = printable(sample.source or folder.request.title)
        sources.setdefault(name, dict.fromkeys(CLASSES, 0))[CLASSES[sample.label]] += 1
    return PatientPreview(
        len(samples),
        len({s.patient for s in samples}),
        split_in_words(samples),
        dict(folder.patient_rules),
        _examples(folder, samples),
        pattern,
        len({PatientPattern(pattern).patient(stem) or stem for stem in unknown}) if pattern else 0,
        {printable(kind): n for kind, n in folder.skipped.items()},
        sources,
        _shared_names(folder.request, samples),
        "" if folder.patient_rules.get(PATTERN) else folder.request.patient_pattern,
    )


def _examples(folder: DatasetFolder, samples: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Return files from all over the dataset, those of patients with several files first."""
    films = Counter(sample.patient for sample in samples)
    step = max(1, len(samples) // EXAMPLES)
    chosen = [
        max(samples[start : start + step], key=lambda sample: min(films[sample.patient], 2))
        for start in range(0, len(samples), step)
    ]
    return tuple((printable(folder.name_of(sample)), printable(sample.patient)) for sample in chosen[:EXAMPLES])


def _shared_names(request: DataRequest, samples: Sequence[Sample]) -> int:
    """Count the patients whose name, without that of the source before it, occurs in several sources."""
    if len(request.sources) == 1:
        return 0
    places: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.patient_known:
            for name in request.names:
                if sample.patient.startswith(f"{name}: "):
                    places[sample.patient.removeprefix(f"{name}: ")].add(name)
    return sum(len(names) > 1 for names in places.values())


def concerns(found: PatientPreview) -> tuple[tuple[str, str], ...]:
    """Return what is to be said of a preview, as (code, sentence).

    Parameters
    ----------
    found
        The preview.
    """
    said = []
    if found.unmatched_pattern:
        said.append(
            (
                "PATTERN_WITHOUT_MATCH",
                f"No file name is as --patient-pattern '{found.unmatched_pattern}' says. It has to match the whole "
                "name without its ending, with the patient in parentheses.",
            )
        )
    if found.rules.get(FILE, 0) and found.pattern:
        said.append(
            (
                "PATIENT_PATTERN",
                f"File names look as if they were numbered within patients. The patient pattern {found.pattern} makes "
                f"{found.pattern_patients:,} patients of these {found.rules[FILE]:,} files.",
            )
        )
    if len(found.sources) > 1:
        for name, counts in found.sources.items():
            present = [label for label, n in counts.items() if n]
            if len(present) == 1:
                said.append(
                    (
                        "SOURCE_OF_ONE_CLASS",
                        f"Every radiograph of source {name} is {present[0]}: a classifier can learn the source "
                        "instead, and no order of the epochs prevents it. Add radiographs of the other class from it.",
                    )
                )
    if n := found.shared_names:
        said.append(
            (
                "PATIENT_NAMES_IN_TWO_SOURCES",
                f"{n:,} patient name{'s occur' if n > 1 else ' occurs'} in more than one source and count"
                f"{'' if n > 1 else 's'} as different patients. If they are the same, put the sources into one folder "
                "or one table.",
            )
        )
    if found.skipped:
        said.append(("SKIPPED", f"Skipped: {skipped_in_words(found.skipped)}."))
    return tuple(said)


def skipped_in_words(skipped: Mapping[str, int]) -> str:
    """Return the numbers of skipped files by kind, the largest first."""
    kinds = sorted(skipped.items(), key=lambda one: -one[1])
    words = [f"{kind} ({n:,})" for kind, n in kinds[:_MOST_SKIPPED]]
    if rest := kinds[_MOST_SKIPPED:]:
        words.append(f"others ({sum(n for _, n in rest):,})")
    return printable(", ".join(words))


def preview_to_values(found: PatientPreview) -> dict[str, Any]:
    """Return the values of a preview for JSON."""
    return dataclasses.asdict(found)


def preview_from_values(values: Mapping[str, Any]) -> PatientPreview:
    """Return the preview of values that `preview_to_values` returned.

    Raises
    ------
    KeyError, TypeError
        If a value is missing.
    """
    without_it = {"unmatched_pattern": ""}
    known = {one.name: (without_it | dict(values))[one.name] for one in dataclasses.fields(PatientPreview)}
    return PatientPreview(**known | {"examples": tuple((file, patient) for file, patient in known["examples"])})


def preview_to_text(found: PatientPreview) -> str:
    """Return a preview as lines for a terminal."""
    lines = [f"{found.n:,} radiographs, {found.patients:,} patients", f"split {found.split}"]
    lines += [f"  {n:>7,}  {rule}" for rule, n in sorted(found.rules.items(), key=lambda one: -one[1])]
    lines += ["for example"] + [f"  {file} → {patient}" for file, patient in found.examples]
    if len(found.sources) > 1:
        lines.append("sources")
        lines += [
            f"  {name}: " + ", ".join(f"{n:,} {label}" for label, n in counts.items())
            for name, counts in found.sources.items()
        ]
    lines += [f"note     {code}: {sentence}" for code, sentence in concerns(found)]
    return "\n".join(printable(line) for line in lines)

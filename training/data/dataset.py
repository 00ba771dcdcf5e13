"""A dataset folder: its labelled radiographs by split.

>>> folder = scan_folder(Path("chest_xray"))
>>> folder.train[0].patient
'IM-115'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from core.errors import DatasetError
from training.data.data_request import DataRequest
from training.data.sample import CLASSES, Sample

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
Part = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """The samples of a dataset by split.

    Attributes
    ----------
    request
        Its sources.
    train, val, test
        The samples.
    skipped
        Number of files that are no radiographs of the dataset, by kind, such as {"text files": 3}.
    patient_rules
        Number of files whose patient was found by each rule, such as {"file name (Kermany)": 5216}.
    """

    request: DataRequest
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    patient_rules: Mapping[str, int] = field(default_factory=dict)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folder above the radiographs of each source."""
        return self.request.roots

    def name_of(self, sample: Sample) -> str:
        """Return the sample's path below its source, after the source's name where there are several."""
        return self.request.name_of(sample.path)


def patient_of(name: str) -> tuple[str, bool]:
    """Return the patient of a file name.

    "person12_bacteria_47" is patient person12. "IM-0115-0001" and "NORMAL2-IM-0115-0001" count as one patient: whether
    they are is unknown, and holding both out together is harmless.

    Returns
    -------
    tuple of (str, bool)
        The patient, and whether the name has a known form; an unknown name is its own patient.
    """
    if match := re.match(r"person(\d+)_", name):
        return f"person{int(match[1])}", True
    if match := re.search(r"IM-(\d+)", name):
        return f"IM-{int(match[1])}", True
    return Path(name).stem, False


def scan(data: Path | DataRequest) -> DatasetFolder:
    """List the radiographs of a dataset.

    Parameters
    ----------
    data
        One folder, or the sources of a dataset.

    Raises
    ------
    DatasetError
        If a source or a class is missing.
    """
    request = DataRequest.of(data)
    several = len(request.sources) > 1 or bool(request.given_names)
    parts: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for source, name in zip(request.sources, request.names, strict=True):
        found = scan_folder(source)
        for part, samples in parts.items():
            mine: tuple[Sample, ...] = getattr(found, part)
            samples += [replace(s, source=name, patient=f"{name} {s.patient}") if several else s for s in mine]
    return DatasetFolder(request, tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]))


def scan_folder(root: Path) -> DatasetFolder:
    """List the radiographs of a dataset folder.

    Parameters
    ----------
    root
        Holds NORMAL/ and PNEUMONIA/, or train/ and optionally val/ and test/ with these in each.

    Raises
    ------
    DatasetError
        If the folder or a class is missing.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder. Received: {root}", advice="Name a folder that exists on this machine.")
    if (root / "train").is_dir():
        found = {part: _scan_part(root / part) for part in ("train", "val", "test") if (root / part).is_dir()}
    else:
        found = {"train": _scan_part(root)}
    counts = {name: sum(s.label == label for s in found["train"]) for label, name in enumerate(CLASSES)}
    if not all(counts.values()):
        raise DatasetError(
            f"expected radiographs in {' and '.join(CLASSES)}. Received: {counts} in {root}",
            advice="Put the radiographs into two sub-folders called NORMAL and PNEUMONIA.",
        )
    return DatasetFolder(DataRequest.of(root), found["train"], found.get("val", ()), found.get("test", ()))


def _scan_part(folder: Path) -> tuple[Sample, ...]:
    samples = []
    for label, name in enumerate(CLASSES):
        if not (folder / name).is_dir():
            continue
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                patient, known = patient_of(path.name)
                pathogen: Literal["bacteria", "virus", ""] = (
                    "bacteria" if "_bacteria_" in path.name else "virus" if "_virus_" in path.name else ""
                )
                samples.append(Sample(path, label, patient, known, pathogen))
    return tuple(samples)

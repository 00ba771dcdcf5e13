"""The patient of each radiograph: by a pattern, a table, a DICOM header, a known form of file names, or a folder.

Where none of them says whose a radiograph is, it counts as its own patient, and the dataset is split by file. A wrong
guess would put two films of one child on both sides of a split, or make one patient of many.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from core.errors import DatasetError
from core.files import locked, make_folder, write_atomically
from imaging.intake import SUFFIXES
from training.data.data_request import AS_BEFORE, DataRequest
from training.data.layout import class_of, split_of
from training.data.patient_pattern import PatientPattern
from training.data.sample import Sample

# Rules, as they are said of files.
PATTERN, TABLE, HEADER = "--patient-pattern", "column patient of the table", "PatientID in the DICOM header (hashed)"
FOLDER, FILE, BEFORE_0_2 = "folder of the patient", "none: each file its own patient", "file name, as before 0.2.0"

_KERMANY = "file name (Kermany: person12_bacteria_47, IM-0115-0001)"
_MENDELEY = "file name (Mendeley: BACTERIA-1008087-0001)"
_NIH = "file name (NIH: 00000061_012)"
_NAMES = (
    # The same number after IM and NORMAL2-IM, or with bacteria and virus, may be two children; held out together they
    # do no harm.
    (re.compile(r"person(\d{1,6})_(?:bacteria|virus)_\d{1,6}(?:_\d{1,3})?"), "person{}", _KERMANY),
    (re.compile(r"(?:NORMAL2-)?IM-(\d{4})-\d{4}(?:-\d{4}){0,2}"), "IM-{}", _KERMANY),
    (re.compile(r"(?:BACTERIA|VIRUS|NORMAL)-(\d{3,9})-\d{4}"), "Mendeley {}", _MENDELEY),
    # Below 30,805; 20240102_001 is a date.
    (re.compile(r"(000[0-3]\d{4})_\d{3}"), "NIH {}", _NIH),
)
_PATIENT_FOLDER = re.compile(r"(?:patient|pat|pt|subject|sub|case|p)[ _-]?\d{1,12}", re.IGNORECASE)
_NO_PATIENT = frozenset({"images", "image", "img", "films", "pictures", "dicom"})
_NUMBERED = re.compile(r"(.*\d.*?)([_-])\d{1,4}")
_KEY_BYTES = 32


def read_patient_key(path: Path) -> bytes:
    """Return the secret key with which patient IDs are hashed; it is made where there is none.

    Parameters
    ----------
    path
        The file, readable by its owner alone.

    Raises
    ------
    DatasetError
        If the file does not hold a key.
    """
    make_folder(path.parent)
    with locked(path):
        if not path.exists():
            write_atomically(path, secrets.token_hex(_KEY_BYTES))
        text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}", text):
        raise DatasetError(
            f"expected the key of patient IDs in {path}. Received: {len(text)} other characters",
            advice="Restore the file from a backup; without it, splits by DICOM patient ID cannot be repeated.",
        )
    return bytes.fromhex(text)


@cache
def key_of_this_process() -> bytes:
    """Return a key that is lost with the process, for callers without an installation."""
    return secrets.token_bytes(_KEY_BYTES)


def with_patient(
    sample: Sample, below: Sequence[str], request: DataRequest, hashed: str = "", scope: str = ""
) -> tuple[Sample, str]:
    """Return a sample with its patient, and the rule that found it.

    Parameters
    ----------
    sample
        Its patient is the table's, or "".
    below
        Folders below the source, and the file's name.
    request
        The rule and the pattern.
    hashed
        Hash of the DICOM patient ID, "" where there is none.
    scope
        Name of the source where there are several: patients of two sources are only one by hashed ID.

    Returns
    -------
    tuple of (Sample, str)
        The sample and one of the rules in this module's constants.
    """
    patient, rule = _found(sample, below, request, hashed)
    if scope and rule != HEADER:
        patient = f"{scope}: {patient}"
    known = patient_before_0_2(below[-1])[1] if rule == BEFORE_0_2 else rule != FILE
    return replace(sample, patient=patient, patient_known=known), rule


def _found(sample: Sample, below: Sequence[str], request: DataRequest, hashed: str) -> tuple[str, str]:
    stem = _stem(below[-1])
    if request.patient_rule == AS_BEFORE:
        return patient_before_0_2(below[-1])[0], BEFORE_0_2
    if request.patient_pattern and (named := _pattern(request.patient_pattern).patient(stem)):
        return f"pattern {named}", PATTERN
    if sample.patient:
        return sample.patient, TABLE
    if request.patient_rule == "auto":
        if hashed:
            return f"ID {hashed}", HEADER
        if known := _by_name(stem):
            return known
        if folder := next((name for name in reversed(below[:-1]) if _PATIENT_FOLDER.fullmatch(name)), ""):
            return f"folder {folder}", FOLDER
    if request.patient_rule == "folder" and (folder := _folder(below[:-1])):
        return f"folder {folder}", FOLDER
    return f"file {'/'.join(below)}", FILE


def patient_of_name(name: str) -> tuple[str, bool]:
    """Return the patient of a file by its name alone, and whether the name has a known form; else its own patient.

    Parameters
    ----------
    name
        Name of a file, or its path below a folder, which makes it unique.
    """
    known = _by_name(_stem(Path(name).name))
    return (f"file {name}", False) if known is None else (known[0], True)


def _by_name(stem: str) -> tuple[str, str] | None:
    """Return the patient and the rule of a name that has the form of a public set."""
    for form, name, rule in _NAMES:
        if match := form.fullmatch(stem):
            return name.format(match[1] if rule == _NIH else int(match[1])), rule
    return None


def _stem(name: str) -> str:
    """Return a name without its ending; a DICOM file may have none, or a UID whose last part is no ending."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def _folder(folders: Sequence[str]) -> str:
    """Return the folder of the patient: one that is called so, or the first that is no split, class or images/."""
    named = [name for name in folders if _PATIENT_FOLDER.fullmatch(name)]
    others = [
        name
        for name in folders
        if split_of(name) is None and class_of(name) is None and name.casefold() not in _NO_PATIENT
    ]
    return named[-1] if named else others[0] if others else ""


@cache
def _pattern(text: str) -> PatientPattern:
    return PatientPattern(text)


def patient_before_0_2(name: str) -> tuple[str, bool]:
    """Return the patient of a file name as versions before 0.2.0 found it, and whether the name had a known form."""
    if match := re.match(r"person(\d+)_", name):
        return f"person{int(match[1])}", True
    if match := re.search(r"IM-(\d+)", name):
        return f"IM-{int(match[1])}", True
    return Path(name).stem, False


def split_in_words(samples: Sequence[Sample]) -> str:
    """Return whether a dataset can be split by patient, in a sentence with the numbers.

    Parameters
    ----------
    samples
        All samples that are split.
    """
    known = [sample for sample in samples if sample.patient_known]
    patients = len({sample.patient for sample in known})
    by_patient = f"{len(known):,} radiographs of {patients:,} {'patient' if patients == 1 else 'patients'}"
    if patients == 1 and len(known) == len(samples) > 1:
        return f"{len(known):,} radiographs are all of one patient: nothing can be held out"
    if len(known) == len(samples):
        return f"by patient: {by_patient}"
    if not known:
        return f"by file: the patients of the {len(samples):,} radiographs are unknown"
    return f"by patient for {by_patient}; by file for the other {len(samples) - len(known):,} radiographs"


def suggested_pattern(stems: Sequence[str]) -> str:
    """Return a pattern for file names that look as if they were numbered within patients, such as P0012_1; "" for none.

    Parameters
    ----------
    stems
        Names without their ending, of files whose patients are unknown.
    """
    matches = [match for stem in stems if (match := _NUMBERED.fullmatch(stem))]
    groups = {match[1] for match in matches}
    separators = {match[2] for match in matches}
    # Not where one beginning is shared by most files: that is the name of a set, not a patient's.
    if len(separators) != 1 or len(matches) < 0.9 * len(stems) or not 1.1 * len(groups) < len(stems) < 20 * len(groups):
        return ""
    return rf"(.*){separators.pop()}\d+"

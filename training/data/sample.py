"""Labelled radiographs: one record for each file, and the digest of a set of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CLASSES = ("NORMAL", "PNEUMONIA")
Pathogen = Literal["bacteria", "virus", ""]
PATHOGENS: dict[str, Pathogen] = {"bacteria": "bacteria", "virus": "virus"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled file.

    Parameters
    ----------
    path
        The file.
    label
        1 for pneumonia, 0 for normal.
    patient, patient_known
        Name of the patient, unique in the dataset, and whether it is known; else the file counts as its own patient.
    pathogen
        "bacteria", "virus" or "" where unknown.
    sha256
        Of the file; "" before it is read.
    source
        Where the radiograph comes from, a hospital or a dataset; "" where the dataset has one source.
    unit
        The X-ray unit, as the data name it; "" where unknown.
    age_years
        Age of the patient in years, None where unknown.
    sex
        "M", "F" or "" where unknown.
    view
        Projection, such as "PA" or "AP"; "" where unknown.
    """

    path: Path
    label: int
    patient: str
    patient_known: bool
    pathogen: Pathogen = ""
    sha256: str = ""
    source: str = ""
    unit: str = ""
    age_years: float | None = None
    sex: str = ""
    view: str = ""


def digest(samples: Iterable[Sample]) -> str:
    """Return the digest of a set of samples: sha256 over the sorted (file digest, label) pairs."""
    lines = sorted(f"{s.sha256} {s.label}" for s in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

"""What a DICOM header says of patient and acquisition, for datasets: pseudonym, age, sex, view, X-ray unit.

The patient ID is hashed here with a secret key, so that no caller can keep, print or write it.

>>> read_acquisition(head, key).patient                          # doctest: +SKIP
'3f9c2e41d07ab855'
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import RadiographError
from imaging.dicom.elements import DataSet, DicomFile, Tag, is_dicom, read_beginning
from imaging.dicom.header import read_header, refuse_modality, refuse_part_and_view

# PS3.6. Not in `elements.Tag`, whose elements every reader sees.
_PATIENT_ID, _ISSUER = 0x00100020, 0x00100021
_MANUFACTURER, _MODEL = 0x00080070, 0x00081090
_ALSO = frozenset({_PATIENT_ID, _ISSUER, _MANUFACTURER, _MODEL})
# What anonymising programs leave instead of an ID; many patients would become one.
_NO_ID = frozenset(
    {"anon", "anonymous", "anonymized", "anonymised", "deidentified", "na", "nan", "noid", "none", "null", "patient"}
    | {"patientid", "removed", "test", "unknown", "x"}
)
_LONGEST_UNIT = 64


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Patient and acquisition of one radiograph.

    Attributes
    ----------
    patient
        Keyed hash of PatientID and IssuerOfPatientID, 16 hexadecimal digits; "" without an ID.
    unit
        Manufacturer and ManufacturerModelName; "" without either.
    age_years
        In years, None where unknown.
    sex
        "M", "F" or "".
    view
        "PA", "AP" …, "" where unknown.
    refused
        Code of the refusal by header, NOT_FRONTAL or NOT_A_CHEST_RADIOGRAPH; "" for none.
    """

    patient: str = ""
    unit: str = ""
    age_years: float | None = None
    sex: str = ""
    view: str = ""
    refused: str = ""


def read_acquisition(head: bytes, key: Callable[[], bytes]) -> Acquisition | None:
    """Read patient and acquisition from the first bytes of a DICOM file.

    Parameters
    ----------
    head
        The beginning of the file, or all of it.
    key
        Returns the secret key of the hash, at least 16 bytes; called where there is an ID.

    Returns
    -------
    Acquisition or None
        None for a file that is not DICOM, and where `head` ends before the pixel data.
    """
    dataset = read_beginning(head, _ALSO) if is_dicom(head) else None
    if dataset is None:
        return None
    file = DicomFile(dataset, dataset.text(Tag.TransferSyntaxUID), None)
    header = read_header(file)
    return Acquisition(
        _pseudonym(dataset, key),
        _unit(dataset),
        header.age_years,
        header.sex if header.sex in ("M", "F") else "",
        header.view_position or "",
        _refusal(file),
    )


def _pseudonym(dataset: DataSet, key: Callable[[], bytes]) -> str:
    identifier = dataset.text(_PATIENT_ID)
    plain = "".join(char for char in identifier.lower() if char.isalnum())
    if plain.strip("0x") == "" or plain in _NO_ID:
        return ""
    # The length separates the two, so that "1" of "23" is not "12" of "3".
    message = f"{len(identifier)}:{identifier}{dataset.text(_ISSUER)}".encode()
    return hmac.new(key(), message, hashlib.sha256).hexdigest()[:16]


def _unit(dataset: DataSet) -> str:
    words = " ".join(dataset.text(tag) for tag in (_MANUFACTURER, _MODEL))
    printable = "".join(char if unicodedata.category(char)[0] != "C" else " " for char in words)
    return " ".join(printable.split())[:_LONGEST_UNIT]


def _refusal(file: DicomFile) -> str:
    try:
        refuse_modality(file)
        refuse_part_and_view(file)
    except RadiographError as error:
        return error.code
    return ""

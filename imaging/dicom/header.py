"""The DICOM header of a radiograph: what it says of the image, and the files that it is enough to refuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from core.errors import RadiographError
from imaging.dicom.elements import DataSet, DicomFile, Tag
from imaging.dicom.terms import (
    DOCUMENTS,
    MODALITIES,
    SOP_MODALITIES,
    is_supported,
    is_video,
    other_body_part,
    sop_class_name,
    view_of_code,
    view_position,
)
from imaging.film import FOR_PRESENTATION, FOR_PROCESSING, FilmHeader
from imaging.limits import EXPORT

_OLDEST = 130
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # Digital X-Ray Image Storage - For Processing (PS3.4 B.5)
_LATERAL = {"LL": "a lateral view", "RL": "a lateral view", "LATERAL": "a lateral view", "OBLIQUE": "an oblique view"}
_CHEST = "upload a frontal chest radiograph (PA or AP)."


def read_header(file: DicomFile) -> FilmHeader:
    """Return what the header says of the image; invalid values are left out."""
    dataset = file.dataset
    orientation = [value.upper() for value in dataset.texts(Tag.PatientOrientation)]
    laterality = dataset.text(Tag.ImageLaterality) or dataset.text(Tag.Laterality)
    sex = dataset.text(Tag.PatientSex).upper()
    return FilmHeader(
        modality=_term(dataset.text(Tag.Modality)),
        view_position=_view(dataset),
        body_part=_body_part(dataset),
        laterality=laterality.upper() if laterality.upper() in ("L", "R") else None,
        age_years=_age(dataset),
        sex=sex if sex in ("F", "M", "O") else None,
        photometric=_term(dataset.text(Tag.PhotometricInterpretation)),
        orientation=(orientation[0], orientation[1]) if _are_directions(orientation) else None,
        pixel_mm=_spacing(dataset),
        transfer_syntax=file.syntax if file.syntax.replace(".", "").isdecimal() else None,
        presentation_intent=_presentation_intent(dataset),
    )


def refuse_unsupported(file: DicomFile) -> None:
    """Refuse documents, directories, videos and unsupported compressions.

    Raises
    ------
    RadiographError
        With the code UNSUPPORTED.
    """
    dataset = file.dataset
    sop_class = dataset.text(Tag.SOPClassUID) or dataset.text(Tag.MediaStorageSOPClassUID)
    if is_video(file.syntax):
        raise _unsupported("a video")
    if Tag.DirectoryRecordSequence in dataset or sop_class.startswith("1.2.840.10008.1.3.10"):
        raise _unsupported(DOCUMENTS["1.2.840.10008.1.3.10"])
    if Tag.PixelData not in dataset:
        if Tag.EncapsulatedDocument in dataset:
            raise _unsupported(sop_class_name(sop_class, DOCUMENTS) or "an encapsulated document")
        if Tag.FloatPixelData in dataset or Tag.DoubleFloatPixelData in dataset:
            raise _unsupported("pixels in floating point")
        raise _unsupported(sop_class_name(sop_class, DOCUMENTS) or "a file without a picture")
    if not is_supported(file.syntax):
        raise RadiographError(
            "expected a supported compression. Received: an unsupported transfer syntax",
            code="UNSUPPORTED",
            advice=f"The compression of the picture is not supported; {EXPORT}",
        )


def refuse_modality(file: DicomFile) -> None:
    """Refuse other modalities than projection radiography, by Modality or SOP class.

    Raises
    ------
    RadiographError
        With the code NOT_A_CHEST_RADIOGRAPH.
    """
    sop_class = file.dataset.text(Tag.SOPClassUID) or file.dataset.text(Tag.MediaStorageSOPClassUID)
    for modality in (file.dataset.text(Tag.Modality).upper(), sop_class_name(sop_class, SOP_MODALITIES) or ""):
        if modality in MODALITIES:
            raise RadiographError(
                f"expected a chest radiograph. Received: {MODALITIES[modality]}",
                code="NOT_A_CHEST_RADIOGRAPH",
                advice=f"By its header this is {MODALITIES[modality]}; {_CHEST}",
            )


def refuse_part_and_view(file: DicomFile) -> None:
    """Refuse other parts of the body and lateral or oblique views, where the header is clear about it.

    SeriesDescription and ProtocolName count only where the coded elements are empty. StudyDescription never counts: it
    names what was requested, not what this image shows.

    Raises
    ------
    RadiographError
        With the codes NOT_A_CHEST_RADIOGRAPH or NOT_FRONTAL.
    """
    dataset = file.dataset
    coded = [
        dataset.text(Tag.BodyPartExamined),
        *(item.text(Tag.CodeMeaning) for item in dataset.items.get(Tag.AnatomicRegionSequence, [])),
    ]
    part = other_body_part(*(coded if any(coded) else _descriptions(dataset)))
    if part is not None:
        raise RadiographError(
            f"expected a chest radiograph. Received: a radiograph of {part}",
            code="NOT_A_CHEST_RADIOGRAPH",
            advice=f"By its header this radiograph shows {part}; {_CHEST}",
        )
    view = _view(dataset)
    if view is None and view_position(" ".join(_descriptions(dataset)).upper()) == "LATERAL":
        view = "LATERAL"
    if view is None and _is_sagittal(dataset):
        view = "LATERAL"
    if view in _LATERAL:
        raise RadiographError(
            f"expected a frontal view. Received: {_LATERAL[view]}",
            code="NOT_FRONTAL",
            advice=f"By its header this radiograph is {_LATERAL[view]}; {_CHEST}",
        )


def _descriptions(dataset: DataSet) -> list[str]:
    return [dataset.text(Tag.SeriesDescription), dataset.text(Tag.ProtocolName)]


def _body_part(dataset: DataSet) -> str | None:
    """BodyPartExamined, or else the meaning of the Anatomic Region Sequence (PS3.3 C.7.3.1, section 10.5)."""
    items = dataset.items.get(Tag.AnatomicRegionSequence, [])
    texts = [dataset.text(Tag.BodyPartExamined), *(item.text(Tag.CodeMeaning) for item in items)]
    return next((term for text in texts if (term := _term(text)) is not None), None)


def _presentation_intent(dataset: DataSet) -> str | None:
    """PresentationIntentType (PS3.3 C.8.11.1), or else what the SOP class says."""
    intent = dataset.text(Tag.PresentationIntentType).upper()
    if intent in (FOR_PROCESSING, FOR_PRESENTATION):
        return intent
    sop_class = dataset.text(Tag.SOPClassUID) or dataset.text(Tag.MediaStorageSOPClassUID)
    return FOR_PROCESSING if sop_class == _DX_FOR_PROCESSING else None


def _view(dataset: DataSet) -> str | None:
    """ViewPosition, or else the View Code Sequence (PS3.3 C.8.11.5)."""
    view = view_position(dataset.text(Tag.ViewPosition).upper())
    for item in dataset.items.get(Tag.ViewCodeSequence, []):
        view = view or view_of_code(item.text(Tag.CodeValue), item.text(Tag.CodeMeaning))
    return view


def _is_sagittal(dataset: DataSet) -> bool:
    """Whether rows run from front to back and columns from head to feet, as in a lateral view (PS3.3 C.7.6.1.1.1)."""
    directions = [value.upper() for value in dataset.texts(Tag.PatientOrientation)]
    return _are_directions(directions) and {directions[0][0], directions[1][0]} in (
        {"A", "F"},
        {"A", "H"},
        {"P", "F"},
        {"P", "H"},
    )


def _are_directions(values: list[str]) -> bool:
    return len(values) == 2 and all(value and len(value) <= 3 and set(value) <= set("LRAPHF") for value in values)


def _term(text: str) -> str | None:
    """Return a coded term in capitals, None for longer or other text, which might name a person."""
    term = text.upper()
    return term if 0 < len(term) <= 32 and all(char.isalnum() or char in " _-,/" for char in term) else None


def _spacing(dataset: DataSet) -> tuple[float, float] | None:
    for tag in (Tag.PixelSpacing, Tag.ImagerPixelSpacing):
        values = dataset.numbers(tag)
        if len(values) == 2 and all(0.01 <= value <= 10 for value in values):
            return values[0], values[1]
    return None


def _age(dataset: DataSet) -> float | None:
    """Return the age in years from PatientAge (PS3.5 section 6.2, AS), or from the dates of birth and study.

    A number without its unit is taken as years, as many public sets have it.
    """
    text = dataset.text(Tag.PatientAge).upper()
    unit = text[-1:] if not text[-1:].isdecimal() else ""
    digits = text.removesuffix(unit)
    if unit in _AGE_UNITS and digits.isdecimal() and len(digits) <= 4:
        years = _AGE_UNITS[unit](int(digits))
        if years > 0 or not dataset.texts(Tag.PatientBirthDate):
            return years if years <= _OLDEST else None
    born = _date(dataset.text(Tag.PatientBirthDate))
    taken = _date(dataset.text(Tag.AcquisitionDate)) or _date(dataset.text(Tag.StudyDate))
    if born is None or taken is None or taken < born:
        return None
    years = _years_between(born, taken)
    return years if years <= _OLDEST else None


def _years_between(born: date, taken: date) -> float:
    """Return the age by the calendar: a whole number of months, so also of years, on the day that completes it."""
    months = 12 * (taken.year - born.year) + taken.month - born.month - (taken.day < born.day)
    year, month = divmod(12 * born.year + born.month - 1 + months, 12)
    # A child born on the 31st completes a month of 30 days on the next 1st.
    begun = date(year, month + 1, 1) + timedelta(days=born.day - 1)
    return (months + max(0, (taken - begun).days) / 31) / 12


def _years_of_days(days: int) -> float:
    """Return the age in years of a patient of so many completed days, as of one born on 1 January after a leap year."""
    return _years_between(_FIRST_DAY, _FIRST_DAY + timedelta(days=days))


def _date(text: str) -> date | None:
    """Read a DA value, or the form with full stops of ACR-NEMA (PS3.5 section 6.2)."""
    digits = text.replace(".", "").replace("-", "")
    if len(digits) != 8 or not digits.isdecimal() or not digits.isascii():
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


_FIRST_DAY = date(2001, 1, 1)
# A number of completed weeks stands for its last day, so that 052W is a year and 013W a quarter of one.
_AGE_UNITS: dict[str, Callable[[int], float]] = {
    "D": _years_of_days,
    "W": lambda weeks: _years_of_days(7 * weeks + 6),
    "M": lambda months: months / 12,
    "Y": float,
    "": float,
}


def _unsupported(received: str) -> RadiographError:
    return RadiographError(
        f"expected a DICOM file with one radiograph. Received: {received}",
        code="UNSUPPORTED",
        advice=f"The file is {received}; {EXPORT}",
    )

"""DICOM objects of an assessment in the radiograph's own study: a structured report and a picture of the evidence map.

The structured report follows TID 1500 "Measurement Report" (PS3.16) and the picture is a Secondary Capture (PS3.3
A.8.1); both are written with highdicom (Bridge et al. 2022, doi 10.1007/s10278-022-00683-y).

The SOP Instance UID is a digest of the object's content. The same report stored twice is therefore the same object,
which an archive stores once; a report with another verdict, map or classifier is another object in the same series.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, tzinfo

import numpy as np
import numpy.typing as npt
from highdicom.base import SOPClass
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sc import SCImage
from highdicom.sr import ComprehensiveSR
from pydicom import config, dcmwrite
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from core.errors import RadiographError
from model.assessment import Assessment, Reading
from model.card import ModelCard
from reports.dicom.content import SCHEME, measurement_report, plain
from reports.dicom.picture import MOST_PX, captured
from reports.dicom.source import Source, read_source
from reports.drawing import Drawing
from reports.wording import NOT_AN_OUTLINE, NOT_AN_OUTLINE_AGAINST, map_name, map_words, rendering_sentence

NAME = "PneumoLens"
_NAMESPACE = uuid.UUID("5c2ad0a9-60f1-5d0b-8d36-7a2f9f3c1f20")
_AS_FIRST_SHOWN = Drawing()
_REPORT_SERIES, _PICTURE_SERIES = 9901, 9902
_UNICODE = "ISO_IR 192"
_TEXTS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}


def report_sr(
    source: bytes, assessment: Assessment, card: ModelCard, reading: Reading | None = None, *, zone: tzinfo = UTC
) -> bytes:
    """Return the report as a DICOM Comprehensive SR of the source's study, a complete DICOM file.

    The same arguments give the same bytes. A refused assessment gives a report with the reason and no number.

    Parameters
    ----------
    source
        The uploaded DICOM file. Patient and study are copied from it, and it is referenced as evidence.
    card
        The card of the version that assessed the radiograph.
    zone
        Time zone of the content's date and time where the source states none.

    Raises
    ------
    RadiographError
        If `source` is not DICOM or lacks the identifiers of its study.
    ValueError
        For the card of another version.

    References
    ----------
    PS3.16 TID 1500, Measurement Report.
    """
    _check(assessment, card)
    with config.disable_value_validation():  # its warnings repeat the value, and an identifier must not reach a log
        return _report(read_source(source), assessment, card, reading, zone)


def _report(origin: Source, assessment: Assessment, card: ModelCard, reading: Reading | None, zone: tzinfo) -> bytes:
    device = _uid("device", NAME, card.sha256)
    content = measurement_report(assessment, card, reading, origin, device, _uid("finding", origin.instance))
    seen = assessment.assessed_at.astimezone(origin.zone or zone)
    made = ComprehensiveSR(
        evidence=[_evidence(origin)],
        content=content[0],
        is_complete=True,
        series_instance_uid=_uid("report series", origin.instance, card.version),
        series_number=_REPORT_SERIES,
        sop_instance_uid=_uid("to come"),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=_version(card),
        series_description=f"{NAME} report",
        content_date=seen.date(),
        content_time=seen.time(),
        specific_character_set=None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[
            CodingSchemeIdentificationItem(SCHEME, name=f"{NAME} private codes", responsible_organization=NAME)
        ],
    )
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    evidence.ReferencedSOPSequence[0].ReferencedSOPClassUID = origin.sop_class
    return _finished(made, origin)


def report_sc(
    source: bytes, assessment: Assessment, card: ModelCard, *, drawing: Drawing = _AS_FIRST_SHOWN, zone: tzinfo = UTC
) -> bytes:
    """Return radiograph and evidence map as a DICOM Secondary Capture of the source's study, in colour.

    A band below the image names it. The long side has at most `MOST_PX` pixels; the derivation description states the
    scaling.

    Parameters
    ----------
    source, card, zone
        As for `report_sr`.
    drawing
        How radiograph and evidence map were displayed.

    Raises
    ------
    RadiographError
        As `report_sr`, and for an assessment without an evidence map.
    ValueError
        For the card of another version, or a map against the finding without its cells.
    IndexError
        If the radiograph has no such rendering.

    References
    ----------
    PS3.3 A.8.1, Secondary Capture Image.
    """
    _check(assessment, card)
    if assessment.radiograph is None or assessment.heatmap is None:
        raise RadiographError(
            "expected an assessment with an evidence map. Received: one that was refused",
            advice="This radiograph was not assessed and has no evidence map; the DICOM report states the reason.",
            code="UNSUPPORTED",
        )
    pixels, drawn_px = captured(assessment, card, drawing)
    with config.disable_value_validation():
        return _picture(
            read_source(source), assessment, pixels, _derivation(assessment, card, drawing, drawn_px), card, zone
        )


def _picture(
    origin: Source,
    assessment: Assessment,
    pixels: npt.NDArray[np.uint8],
    derivation: str,
    card: ModelCard,
    zone: tzinfo,
) -> bytes:
    seen = assessment.assessed_at.astimezone(origin.zone or zone)
    made = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=origin.study,
        series_instance_uid=_uid("picture series", origin.instance, card.version),
        series_number=_PICTURE_SERIES,
        sop_instance_uid=_uid("to come"),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=_version(card),
        series_description=f"{NAME} evidence map",
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    # Type 2C: empty where it is not known.
    made.PatientOrientation = list(_orientation(assessment, origin))
    made.ConversionType = "SYN"
    made.ContentDate = made.DateOfSecondaryCapture = DA(seen.date())
    made.ContentTime = made.TimeOfSecondaryCapture = TM(seen.time())
    made.DerivationDescription = derivation
    made.SourceImageSequence = [_reference(origin, "121322", "Source image for image processing operation")]
    if origin.body_part:
        made.BodyPartExamined = origin.body_part
    else:
        made.Laterality = ""  # type 2C unless the body part is known not to be one of a pair
    # The drawing identifies nobody; whether the radiograph itself does is stated by its own header.
    if origin.is_annotated:
        made.BurnedInAnnotation = origin.is_annotated
    if origin.lossy:
        made.LossyImageCompression = "01"
        made.LossyImageCompressionRatio = origin.lossy[0].split("\\")
        made.LossyImageCompressionMethod = origin.lossy[1].split("\\")
    return _finished(made, origin)


def _check(assessment: Assessment, card: ModelCard) -> None:
    if assessment.classifier_version != card.version:
        raise ValueError(f"expected the card of version {assessment.classifier_version}. Received: {card.version}")


def _evidence(origin: Source) -> Dataset:
    """Return the source as highdicom requires it; patient and study are added by `_finished`.

    Its SOP class is one that highdicom accepts, whatever the source's is.
    """
    evidence = Dataset()
    evidence.StudyInstanceUID, evidence.SeriesInstanceUID = origin.study, origin.series
    evidence.SOPInstanceUID, evidence.SOPClassUID = origin.instance, ComputedRadiographyImageStorage
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
    ):
        setattr(evidence, keyword, None)
    return evidence


def _orientation(assessment: Assessment, origin: Source) -> tuple[str, ...]:
    """Return the directions of the drawn film's rows and columns: its decoded header's, which follow a turn."""
    header = assessment.radiograph.header if assessment.radiograph else None
    if header is not None and header.orientation is not None:
        return header.orientation
    is_turned = any(correction.startswith("turned") for correction in assessment.corrections)
    return () if is_turned or origin.orientation is None else origin.orientation


def _reference(origin: Source, code: str, meaning: str) -> Dataset:
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = origin.sop_class, origin.instance
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code, "DCM", meaning
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _derivation(assessment: Assessment, card: ModelCard, drawing: Drawing, drawn_px: tuple[int, int]) -> str:
    film = assessment.radiograph
    size = f"{film.width} × {film.height} px" if film else ""
    scaled = (
        ""
        if film and drawn_px == (film.width, film.height)
        else (f" Scaled from {size} to {drawn_px[0]} × {drawn_px[1]} px (long side at most {MOST_PX} px).")
    )
    shown = film and rendering_sentence(film, drawing)
    shown = f" {shown}" if shown else ""
    corrected = f" Corrected before: {', '.join(assessment.corrections)}." if assessment.corrections else ""
    return plain(
        f"{map_name(drawing)} of {NAME} classifier {card.version} over the radiograph, {map_words(drawing)}"
        f".{scaled}{shown}{corrected} {NOT_AN_OUTLINE_AGAINST if drawing.against else NOT_AN_OUTLINE} "
        f"Assessed at {assessment.assessed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
    )[:1024]


def _version(card: ModelCard) -> str:
    return f"classifier {card.version}"[:64]


def _finished(made: SOPClass, origin: Source) -> bytes:
    """Add patient and study, derive the SOP Instance UID from the content, and write the object."""
    for element in origin.identity:
        made[element.tag] = element
    # Not the time of writing, which would make every file another object.
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in made:
            delattr(made, keyword)
    for equipment in made.get("ContributingEquipmentSequence", []):
        equipment.pop("ContributionDateTime", None)
    charset = _charset(_texts(made), origin.charset)
    if charset:
        made.SpecificCharacterSet = charset
    named = _uid("instance", hashlib.sha256(_written(made)).hexdigest())
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = named
    return _written(made)


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXTS and element.value:
            yield str(element.value)


def _charset(texts: Iterable[str], source: str | None) -> str | None:
    """Return the least character set that holds the texts: ASCII, the one that the archive already copes with, Unicode.

    None stands for ASCII, the default repertoire (PS3.5 6.1.2.1).
    """
    said = "".join(texts)
    if said.isascii():
        return None
    try:
        said.encode(python_encoding[source or ""])
    except (KeyError, UnicodeEncodeError):
        return _UNICODE
    return source


def _written(dataset: Dataset) -> bytes:
    target = io.BytesIO()
    dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


def _uid(*parts: str) -> UID:
    """Return a UID derived from a UUID (PS3.5 B.2) that is made from its parts: the same for the same parts."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}", validation_mode=config.IGNORE)

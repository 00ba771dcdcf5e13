"""Patient, study and references of a DICOM file, as another object of the same study repeats them.

A wrong value would file the new object under another patient, or the archive would refuse it. A value that is
malformed, or cannot be decoded with the file's character set, is therefore left empty, which type 2 allows. Values are
read raw, because pydicom's conversion warns and its warnings repeat the value.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

from pydicom import config, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from core.errors import RadiographError
from imaging.dicom.charset import decode_text, defined_terms

# Keyword → value representation (PS3.6), of the Patient, General Study and Patient Study modules (PS3.3 C.7.1.1,
# C.7.2.1, C.7.2.2). Empty values are written where the standard requires the element.
_TYPE_2 = {
    "PatientName": "PN",
    "PatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "ReferringPhysicianName": "PN",
    "StudyID": "SH",
    "AccessionNumber": "SH",
}
_TYPE_3 = {
    "IssuerOfPatientID": "LO",
    "StudyDescription": "LO",
    "PatientAge": "AS",
    "PatientSize": "DS",
    "PatientWeight": "DS",
    "TimezoneOffsetFromUTC": "SH",
}
_PATTERNS = {
    "AS": r"\d{3}[DWMY]",
    "DS": r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?",
    "DA": r"\d{8}",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "PatientSex": "[MFO]",
    "TimezoneOffsetFromUTC": r"[-+](0\d|1[0-4])[0-5]\d",
}
_LONGEST = {"SH": 16, "LO": 64, "PN": 324, "DS": 16}
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_LOSSY = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A radiograph's place in the archive. `identity` are elements of patient and study, in Unicode.

    `orientation`, `body_part` and `is_annotated` ("YES", "NO") are what the file says of its picture, None where it
    says nothing valid. `lossy` are (ratio, method) of lossy compression that its pixels went through, as written.
    `zone` is the time zone of its dates, None where it is not stated, and `charset` its character set where that is a
    single one.
    """

    study: UID
    series: UID
    instance: UID
    sop_class: UID
    identity: tuple[DataElement, ...]
    orientation: tuple[str, str] | None
    body_part: str | None
    is_annotated: str | None
    lossy: tuple[str, str] | None
    zone: tzinfo | None
    charset: str | None


def read_source(data: bytes) -> Source:
    """Read patient, study and references from a DICOM file without decoding its pixels.

    Raises
    ------
    RadiographError
        With the code UNSUPPORTED if it is not DICOM, or lacks one of the identifiers by which an archive finds the
        study: SOP class, SOP instance, study, series.
    """
    try:
        return _source(data)
    except RadiographError:
        raise
    except Exception as error:  # pydicom raises various exceptions on damaged bytes, some when a value is accessed
        raise _not_dicom("bytes that cannot be parsed as one") from error


def _source(data: bytes) -> Source:
    dataset = dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    values = _Values(dataset)
    uids = [
        values.uid(keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    ]
    names = ("Study Instance UID", "Series Instance UID", "SOP Instance UID", "SOP Class UID")
    missing = [name for name, uid in zip(names, uids, strict=True) if uid is None]
    if len(missing) == len(names):
        raise _not_dicom("bytes that hold none of a DICOM object's identifiers")
    if missing:
        raise RadiographError(
            f"expected a DICOM file with its identifiers. Received: one without a valid {', '.join(missing)}",
            advice="This file lacks what the archive needs to file a result beside it; export the radiograph again "
            "from the archive, or use the report as PDF or JSON.",
            code="UNSUPPORTED",
        )
    study, series, instance, sop_class = (uid for uid in uids if uid is not None)
    identity = (
        *(
            DataElement(_tag(keyword), vr, values.of(keyword, vr) or None, validation_mode=config.IGNORE)
            for keyword, vr in _TYPE_2.items()
        ),
        *(
            DataElement(_tag(keyword), vr, value, validation_mode=config.IGNORE)
            for keyword, vr in _TYPE_3.items()
            if (value := values.of(keyword, vr))
        ),
    )
    offset = values.of("TimezoneOffsetFromUTC", "SH")
    directions, part, annotated = (
        values.of(keyword, "CS") for keyword in ("PatientOrientation", "BodyPartExamined", "BurnedInAnnotation")
    )
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    return Source(
        study,
        series,
        instance,
        sop_class,
        identity,
        orientation=_orientation(directions),
        body_part=part if re.fullmatch("[A-Z0-9 _]{1,16}", part) else None,
        is_annotated=annotated if annotated in ("YES", "NO") else None,
        lossy=_lossy(values, syntax, len(data)),
        zone=_zone(offset) if offset else None,
        charset=values.charset,
    )


def _orientation(words: str) -> tuple[str, str] | None:
    directions = words.split("\\")
    if len(directions) != 2 or not all(re.fullmatch("[LRAPHF]{1,3}", one) for one in directions):
        return None
    return directions[0], directions[1]


def _not_dicom(received: str) -> RadiographError:
    return RadiographError(
        f"expected a DICOM file. Received: {received}",
        code="UNSUPPORTED",
        advice=(
            "Only a DICOM file has a study to belong to; load the radiograph as DICOM from the archive, or use the "
            "report as PDF or JSON."
        ),
    )


class _Values:
    """The values of a data set as text; a class because the character set belongs to all of them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.terms = defined_terms(self._bytes("SpecificCharacterSet"))
        self.charset = self.terms[0] if len(self.terms) == 1 else None

    def of(self, keyword: str, vr: str) -> str:
        """Return a value, "" where it is absent, undecodable or not of its representation."""
        text = self._decoded(self._bytes(keyword), vr)
        if text is None or not text or any(ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in text):
            return ""
        if vr in ("SH", "LO", "PN") and ("\\" in text or len(text) > _LONGEST[vr]):
            return ""
        pattern = _PATTERNS.get(keyword, _PATTERNS.get(vr))
        if pattern and (not re.fullmatch(pattern, text) or len(text) > _LONGEST.get(vr, 99)):
            return ""
        return text if vr != "DA" or _is_date(text) else ""

    def uid(self, keyword: str) -> UID | None:
        """Return a UID; one that the standard forbids (PS3.5 9.1) is none, since readers refuse references to it."""
        text = self._bytes(keyword).decode("ascii", "replace").strip("\0 ")
        return UID(text, validation_mode=config.IGNORE) if _UID.fullmatch(text) and len(text) <= 64 else None

    def _bytes(self, keyword: str) -> bytes:
        try:
            element = self.dataset.get_item(_tag(keyword))
        except KeyError:
            return b""
        value = element.value if isinstance(element, RawDataElement) else _as_text(element)
        return value.encode("utf-8") if isinstance(value, str) else bytes(value or b"")

    def _decoded(self, value: bytes, vr: str) -> str | None:
        text = decode_text(value.rstrip(b"\0 "), self.terms, b"^=\\" if vr == "PN" else b"\\")
        return None if text is None or "\ufffd" in text else text.strip()


def _as_text(element: DataElement | RawDataElement | None) -> str:
    """Return the value of an element that pydicom has converted while reading, as it was stored."""
    value = None if element is None else element.value
    if value is None:
        return ""
    return (
        "\\".join(str(one) for one in value)
        if isinstance(value, list | tuple) or hasattr(value, "append")
        else str(value)
    )


def _lossy(values: _Values, syntax: str, size: int) -> tuple[str, str] | None:
    """Return ratio and method of lossy compression before or in this file (PS3.3 C.7.6.1.1.5), None without any."""
    ratio, method = (
        values.of(keyword, "CS") for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
    )
    if values.of("LossyImageCompression", "CS") != "01" and syntax not in _LOSSY:
        return None
    if not all(re.fullmatch(_PATTERNS["DS"], one.strip()) for one in ratio.split("\\")):
        raw = 1
        for keyword in ("Rows", "Columns", "BitsAllocated"):
            number = values.dataset.get_item(_tag(keyword)) if keyword in values.dataset else None
            stored = number.value if number is not None else b""
            raw *= stored if isinstance(stored, int) else int.from_bytes(bytes(stored or b"")[:2], "little")
        ratio = f"{max(1.0, raw / 8 / max(1, size)):.2f}"
    if not re.fullmatch(r"[A-Z0-9_ \\]+", method):
        method = _LOSSY.get(syntax, "ISO_10918_1")
    return ratio, method


def _zone(offset: str) -> tzinfo:
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)) if minutes else UTC


def _is_date(text: str) -> bool:
    try:
        return datetime.strptime(text, "%Y%m%d").date() > date(1800, 1, 1)
    except ValueError:
        return False


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"expected a keyword of DICOM's dictionary. Received: {keyword}")
    return tag

"""Reader of the elements of a DICOM file that a radiograph needs (PS3.5 section 7, PS3.10 section 7).

All other elements are skipped and never kept, so that no name and no identifier can reach a message or a log. Its work
is bounded: a fixed number of elements, no copies of values, no recursion, one inflation of limited size. It gives no
warnings and raises only RadiographError.

>>> read_elements(data).dataset.text(Tag.Modality)               # doctest: +SKIP
'DX'
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from core.errors import RadiographError
from core.formatting import format_size
from imaging.dicom.charset import decode_text, defined_terms
from imaging.limits import DAMAGED, LIMITS, too_large


class Tag(IntEnum):
    """The elements that are read, by their keywords (PS3.6)."""

    MediaStorageSOPClassUID = 0x00020002
    TransferSyntaxUID = 0x00020010
    DirectoryRecordSequence = 0x00041220
    SpecificCharacterSet = 0x00080005
    SOPClassUID = 0x00080016
    StudyDate = 0x00080020
    AcquisitionDate = 0x00080022
    Modality = 0x00080060
    PresentationIntentType = 0x00080068
    CodeValue = 0x00080100
    CodeMeaning = 0x00080104
    StudyDescription = 0x00081030
    SeriesDescription = 0x0008103E
    AnatomicRegionSequence = 0x00082218
    PatientBirthDate = 0x00100030
    PatientSex = 0x00100040
    PatientAge = 0x00101010
    BodyPartExamined = 0x00180015
    ProtocolName = 0x00181030
    ImagerPixelSpacing = 0x00181164
    ViewPosition = 0x00185101
    PatientOrientation = 0x00200020
    Laterality = 0x00200060
    ImageLaterality = 0x00200062
    SamplesPerPixel = 0x00280002
    PhotometricInterpretation = 0x00280004
    NumberOfFrames = 0x00280008
    Rows = 0x00280010
    Columns = 0x00280011
    PixelSpacing = 0x00280030
    BitsAllocated = 0x00280100
    BitsStored = 0x00280101
    HighBit = 0x00280102
    PixelRepresentation = 0x00280103
    PixelPaddingValue = 0x00280120
    PixelPaddingRangeLimit = 0x00280121
    WindowCenter = 0x00281050
    WindowWidth = 0x00281051
    RescaleIntercept = 0x00281052
    RescaleSlope = 0x00281053
    WindowCenterWidthExplanation = 0x00281055
    VOILUTFunction = 0x00281056
    ModalityLUTSequence = 0x00283000
    LUTDescriptor = 0x00283002
    LUTExplanation = 0x00283003
    LUTData = 0x00283006
    VOILUTSequence = 0x00283010
    EncapsulatedDocument = 0x00420011
    ViewCodeSequence = 0x00540220
    FloatPixelData = 0x7FE00008
    DoubleFloatPixelData = 0x7FE00009
    PixelData = 0x7FE00010


_SEQUENCES = frozenset({Tag.AnatomicRegionSequence, Tag.ModalityLUTSequence, Tag.VOILUTSequence, Tag.ViewCodeSequence})
_IN_ITEMS = frozenset({Tag.CodeValue, Tag.CodeMeaning, Tag.LUTDescriptor, Tag.LUTExplanation, Tag.LUTData})
_INHERITED = (Tag.SpecificCharacterSet,)
_WANTED = frozenset(Tag) - _IN_ITEMS
# Binary by the dictionary, for files in implicit VR; all other wanted numbers are text.
_BINARY = frozenset(
    {
        Tag.SamplesPerPixel,
        Tag.Rows,
        Tag.Columns,
        Tag.BitsAllocated,
        Tag.BitsStored,
        Tag.HighBit,
        Tag.PixelRepresentation,
        Tag.PixelPaddingValue,
        Tag.PixelPaddingRangeLimit,
        Tag.LUTDescriptor,
    }
)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FD",
    b"FL",
    b"IS",
    b"LO",
    b"LT",
    b"PN",
    b"SH",
    b"SL",
    b"SS",
    b"ST",
    b"TM",
    b"UI",
    b"UL",
    b"US",
}
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H", "OB": "H"}
_OPEN = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MAX_TEXT = 10_240


@dataclass(frozen=True, slots=True)
class Element:
    """One element as stored; `vr` is "" in implicit VR."""

    vr: str
    value: memoryview
    is_little: bool


@dataclass(frozen=True, slots=True)
class DataSet:
    """The wanted elements of a data set or an item; `items` are the items of its wanted sequences."""

    elements: dict[int, Element] = field(default_factory=dict)
    items: dict[int, list[DataSet]] = field(default_factory=dict)

    def __contains__(self, tag: int) -> bool:
        """Whether the element is present, even if empty."""
        return tag in self.elements or tag in self.items

    def texts(self, tag: int) -> list[str]:
        """Return the values of a text element without their padding; [] where it is absent or empty."""
        element = self.elements.get(tag)
        if element is None or not element.value:
            return []
        charset = self.elements.get(Tag.SpecificCharacterSet)
        terms = () if charset is None else defined_terms(bytes(charset.value[:_MAX_TEXT]))
        words = _decoded(element.value, terms)
        values = [value.strip("\0 \t\r\n") for value in words.split("\\")]
        return values if any(values) else []

    def text(self, tag: int) -> str:
        """Return the first value of a text element, or ""."""
        return next(iter(self.texts(tag)), "")

    def numbers(self, tag: int, *, signed: bool = False) -> list[float]:
        """Return the finite values of a numeric element, whatever its VR; [] where there is no valid one.

        `signed` reads binary values of 16 bits as signed.
        """
        element = self.elements.get(tag)
        if element is None or len(element.value) > _MAX_TEXT:
            return []
        kind = _NUMBERS.get(element.vr)
        if kind is None and not (element.vr in ("", "UN") and tag in _BINARY):
            return list(_decimals(self.texts(tag)))
        kind = "h" if signed and kind in ("H", None) else kind or "H"
        count = len(element.value) // struct.calcsize(kind)
        values = struct.unpack_from(f"{'<' if element.is_little else '>'}{count}{kind}", element.value)
        return [float(value) for value in values if math.isfinite(value)]

    def whole(self, tag: int, *, signed: bool = False) -> int | None:
        """Return the first value as a whole number, or None."""
        values = self.numbers(tag, signed=signed)
        return int(values[0]) if values and abs(values[0]) < 2**53 and values[0] == int(values[0]) else None


@dataclass(frozen=True, slots=True)
class DicomFile:
    """The wanted elements of a file.

    Attributes
    ----------
    dataset
        Its elements, those of the file meta information included.
    syntax
        The transfer syntax UID, "" where the file names none.
    fragments
        The fragments of encapsulated pixel data without the offset table; None where the pixels are native.
    """

    dataset: DataSet
    syntax: str
    fragments: tuple[memoryview, ...] | None


@dataclass(frozen=True, slots=True)
class _Coding:
    is_little: bool
    is_implicit: bool


def damaged(received: str) -> RadiographError:
    """Return the refusal of a file that is incomplete or contradicts itself."""
    return RadiographError(f"expected a complete DICOM file. Received: {received}", advice=DAMAGED)


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does, with its preamble or without (PS3.10 section 7.1)."""
    if data[128:132] == b"DICM" or data[:4] == b"DICM":
        return True
    # Without a preamble: group 0002 or 0008 with a low element number, in either byte order (PS3.5 section 7.1).
    return len(data) > 8 and ((data[:2] in (b"\x02\0", b"\x08\0") and data[3] == 0) or data[:3] == b"\0\x08\0")


def read_elements(data: bytes) -> DicomFile:
    """Read the wanted elements up to the pixel data.

    Explicit or implicit VR and the byte order are found from the data set itself, because transfer syntaxes are often
    wrong.

    Parameters
    ----------
    data
        The bytes of the file, with its preamble and file meta information or without.

    Raises
    ------
    RadiographError
        With the codes UNREADABLE or TOO_LARGE.
    """
    view = memoryview(data)
    budget = iter(range(LIMITS.dicom_elements))
    dataset = DataSet()
    position = _read_meta(view, dataset, budget)
    syntax = dataset.text(Tag.TransferSyntaxUID)
    if syntax == _DEFLATED:
        view, position = memoryview(_inflated(view[position:])), 0
    fragments = _read(view, position, _coding_at(view, position), dataset, _WANTED, budget)
    return DicomFile(dataset, syntax, fragments)


def read_beginning(head: bytes, also: frozenset[int] = frozenset()) -> DataSet | None:
    """Read the wanted elements from the first bytes of a file, without its pixel data.

    Parameters
    ----------
    head
        The beginning of the file, or all of it.
    also
        Tags of further elements, for a caller that may see identifiers.

    Returns
    -------
    DataSet or None
        None where the bytes end, or are damaged, before the pixel data, and where the data set is deflated.
    """
    view, dataset = memoryview(head), DataSet()
    budget = iter(range(LIMITS.dicom_elements))
    try:
        position = _read_meta(view, dataset, budget)
        if dataset.text(Tag.TransferSyntaxUID) == _DEFLATED:
            return None
        _read(view, position, _coding_at(view, position), dataset, _WANTED | also, budget, is_whole=False)
    except RadiographError:
        # Fragments of pixel data that are cut are no damage here.
        return dataset if Tag.PixelData in dataset else None
    return dataset if Tag.PixelData in dataset else None


def _read_meta(view: memoryview, dataset: DataSet, budget: Iterator[int]) -> int:
    """Read the file meta information into `dataset`; return where the data set begins."""
    position = 132 if bytes(view[128:132]) == b"DICM" else 4 if bytes(view[:4]) == b"DICM" else 0
    coding = _coding_at(view, position)
    for tag, vr, start, end, _ in _elements(view, position, coding, budget, last_group=2):
        dataset.elements.setdefault(tag, Element(vr, view[start:end], coding.is_little))
        position = end
    return position


def _read(
    view: memoryview,
    position: int,
    coding: _Coding,
    dataset: DataSet,
    wanted: frozenset[int],
    budget: Iterator[int],
    is_whole: bool = True,
) -> tuple[memoryview, ...] | None:
    """Read what is wanted into `dataset`, up to the pixel data, whose fragments are returned if it has any."""
    for tag, vr, start, end, is_open in _elements(view, position, coding, budget, is_whole=is_whole):
        if tag == Tag.PixelData and is_open:
            dataset.elements[tag] = Element(vr, view[:0], coding.is_little)
            return tuple(view[first:last] for first, last in _items(view[:end], start, coding, budget))[1:]
        if tag in wanted and tag in _SEQUENCES:
            inner = _Coding(coding.is_little, coding.is_implicit or vr == "UN")
            items = dataset.items.setdefault(tag, [])
            for first, last in _items(view[:end], start, inner, budget):
                items.append(DataSet({key: dataset.elements[key] for key in _INHERITED if key in dataset.elements}))
                _read(view[:last], first, inner, items[-1], _IN_ITEMS, budget)
        elif tag in wanted:
            dataset.elements.setdefault(tag, Element(vr, view[start:end], coding.is_little))
        if tag == Tag.PixelData:
            break
    return None


def _elements(
    view: memoryview,
    position: int,
    coding: _Coding,
    budget: Iterator[int],
    last_group: int = 0xFFFD,
    is_whole: bool = True,
) -> Iterator[tuple[int, str, int, int, bool]]:
    """Yield (tag, VR, start of the value, its end, whether its length is left open), element by element.

    Pixel data may be cut where the view is not that of a whole file.
    """
    while position + 8 <= len(view):
        tag, vr, start, length = _header(view, position, coding, budget)
        if tag >> 16 > last_group:
            return  # beyond 0xFFFD: the end of an item
        if tag == Tag.PixelData and length == _OPEN:
            end = position = len(view)
        elif length == _OPEN:
            end, position = _closing(view, start, _Coding(coding.is_little, coding.is_implicit or vr == "UN"), budget)
        else:
            end = position = start + length
        if end > len(view) and tag == Tag.PixelData and not is_whole:
            end = len(view)
        if end > len(view):
            raise damaged("an element that extends beyond the end of the file")
        yield tag, vr, start, end, length == _OPEN


def _header(view: memoryview, position: int, coding: _Coding, budget: Iterator[int]) -> tuple[int, str, int, int]:
    """Return (tag, VR or "", start of the value, its length) of the element at `position`."""
    if next(budget, None) is None:
        raise damaged(f"more than {LIMITS.dicom_elements:,} elements")
    if position + 8 > len(view):
        raise damaged("a file that ends within an element")
    order = "<" if coding.is_little else ">"
    group, element = struct.unpack_from(f"{order}HH", view, position)
    tag = group << 16 | element
    vr = bytes(view[position + 4 : position + 6])
    if group == 0xFFFE or coding.is_implicit or not _is_vr(vr):  # some writers change to implicit VR half-way
        return tag, "", position + 8, struct.unpack_from(f"{order}I", view, position + 4)[0]
    # A VR that is not known here has the long form (PS3.5 section 7.1.2) unless its reserved bytes hold a length.
    if vr in _LONG or (vr not in _SHORT and bytes(view[position + 6 : position + 8]) == b"\0\0"):
        if position + 12 > len(view):
            raise damaged("a file that ends within an element")
        return tag, vr.decode("ascii"), position + 12, struct.unpack_from(f"{order}I", view, position + 8)[0]
    return tag, vr.decode("ascii"), position + 8, struct.unpack_from(f"{order}H", view, position + 6)[0]


def _items(view: memoryview, position: int, coding: _Coding, budget: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Yield where each item of a sequence begins and ends, up to the delimiter or the end of `view`."""
    while position + 8 <= len(view):
        tag, _, start, length = _header(view, position, coding, budget)
        if tag != _ITEM:
            return
        end, position = _closing(view, start, coding, budget) if length == _OPEN else (start + length, start + length)
        if end > len(view):
            raise damaged("an item that extends beyond the end of the file")
        yield start, end


def _closing(view: memoryview, position: int, coding: _Coding, budget: Iterator[int]) -> tuple[int, int]:
    """Return where a value of open length ends and where the next element begins; nested items are skipped."""
    nested = [coding]
    while True:
        tag, vr, start, length = _header(view, position, nested[-1], budget)
        if tag in (_ITEM_END, _SEQUENCE_END):
            nested.pop()
            if not nested:
                return position, start
            position = start
        elif length == _OPEN:
            # What has an unknown VR and an open length is a sequence in implicit VR (PS3.5 section 6.2.2).
            nested.append(_Coding(coding.is_little, nested[-1].is_implicit or vr == "UN"))
            position = start
        else:
            position = start + length


def _coding_at(view: memoryview, position: int) -> _Coding:
    """Find byte order and VR from the first element: group numbers begin low, and a VR is two capital letters."""
    head = bytes(view[position : position + 6])
    return _Coding(int.from_bytes(head[:2], "little") <= int.from_bytes(head[:2], "big"), not _is_vr(head[4:6]))


def _is_vr(two: bytes) -> bool:
    return len(two) == 2 and two.isalpha() and two.isupper()


def _inflated(packed: memoryview) -> bytes:
    """Inflate a data set (PS3.5 section A.5), up to the size that the largest radiograph has."""
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(packed, LIMITS.inflated_bytes)
    except zlib.error as error:
        raise damaged("a deflated data set that cannot be inflated") from error
    if unpacker.unconsumed_tail:
        raise too_large("a deflated file that inflates to more", f"at most {format_size(LIMITS.inflated_bytes)}")
    if not unpacker.eof:
        raise damaged("an incomplete deflated data set")
    return data


def _decoded(value: memoryview, terms: tuple[str, ...]) -> str:
    """Decode the beginning of a value, in the character set of the file or, as devices leave it, whatever they name."""
    raw = bytes(value[:_MAX_TEXT])
    # What is cut may end within a character, which has up to four bytes.
    ends = range(len(raw), len(raw) - (4 if len(value) > len(raw) else 1), -1)
    for character_set in (terms, ()):
        for end in ends:
            if (text := decode_text(raw[:end], character_set)) is not None:
                return text
    return raw.decode("latin-1")


def _decimals(texts: list[str]) -> Iterator[float]:
    """Yield the texts that are finite numbers; a decimal comma, which some devices write, is not accepted."""
    for text in texts:
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            yield value

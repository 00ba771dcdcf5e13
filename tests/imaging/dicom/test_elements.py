"""Stepping through the elements of a file, against pydicom's reader and against files that mean harm."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.errors import RadiographError
from imaging.dicom import elements as under_test
from imaging.dicom.elements import Tag, is_dicom, read_elements
from imaging.dicom.pixels import pixel_module, stored_words
from imaging.limits import LIMITS, Limits
from imaging.radiograph import decode_radiograph
from tests.dicoms import SYNTAXES, as_file, code, phantom_dicom
from tests.phantoms import as_jpeg, as_png, chest

SIZE = (40, 48)
PREAMBLE = bytes(128) + b"DICM"
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit VR, little endian."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, size) + value
    return head + struct.pack("<H", size) + value


META = explicit(Tag.TransferSyntaxUID, b"UI", b"1.2.840.10008.1.2.1\0")


def refusal(data: bytes) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        decode_radiograph(data)
    return caught.value


# --- Against pydicom -------------------------------------------------------------------------------------------------

GREY = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "JPEG2000.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "693_J2KI.dcm",
    "examples_overlay.dcm",
    "image_dfl.dcm",
)


@pytest.mark.parametrize("name", GREY)
def test_the_words_of_pydicoms_own_samples_are_those_that_pydicom_reads(name):
    data = (SAMPLES / name).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(SAMPLES / name)
        expected = dataset.pixel_array.astype(np.int64) & (2**dataset.BitsStored - 1)
    file = read_elements(data)
    words, module = stored_words(file, pixel_module(file.dataset))
    values = (words.astype(np.int64) >> (module.high_bit + 1 - module.stored)) & (2**module.stored - 1)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_wanted_element_reads_as_in_pydicom(syntax):
    data = phantom_dicom(
        size=SIZE,
        syntax=syntax,
        bits=8,
        WindowCenter=[100.5, 90],
        WindowWidth=[200, 1e2],
        PixelPaddingValue=3,
        RescaleSlope=-1.5,
        AnatomicRegionSequence=code("816094009"),
        SeriesDescription="a description",
        NumberOfFrames=1,
    )
    dataset = pydicom.dcmread(io.BytesIO(data))
    found = read_elements(data).dataset
    read = 0
    for tag in Tag:
        element = dataset.get(int(tag), dataset.file_meta.get(int(tag)))
        assert (element is None) == (tag not in found), tag
        if element is None or element.VR in ("SQ", "OB", "OW"):
            continue
        values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
        if element.VR in ("US", "SS", "DS", "IS"):
            assert found.numbers(tag) == [float(value) for value in values]
        else:
            assert found.texts(tag) == [str(value) for value in values]
        read += 1
    assert read > 25
    assert found.items[Tag.AnatomicRegionSequence][0].text(Tag.CodeValue) == "816094009"


# --- What is stepped over --------------------------------------------------------------------------------------------


def nested(depth: int) -> Dataset:
    inner = Dataset()
    inner.PatientName = "Geheimrat"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([inner, Dataset()])
        outer["ReferencedSeriesSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        inner = outer
    return inner


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big endian", "deflated"])
def test_sequences_of_open_length_are_stepped_over_however_deep(syntax):
    data = phantom_dicom(
        1,
        size=SIZE,
        syntax=syntax,
        ReferencedStudySequence=Sequence([nested(40), nested(2)]),
        ReferencedImageSequence=Sequence(),
    )
    plain = phantom_dicom(1, size=SIZE, syntax=syntax)
    assert len(data) > len(plain)
    np.testing.assert_array_equal(decode_radiograph(data).deep, decode_radiograph(plain).deep)


def test_an_icon_within_the_header_is_not_the_picture():
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.BitsStored, icon.HighBit = 8, 8, 8, 8, 7
    icon.add_new(Tag.PixelData, "OB", bytes(64))
    for is_open in (False, True):
        sequence = Sequence([icon])
        data = phantom_dicom(1, size=SIZE, IconImageSequence=sequence)
        if is_open:
            dataset = pydicom.dcmread(io.BytesIO(data))
            dataset["IconImageSequence"].is_undefined_length = True
            data = as_file(dataset)
        assert decode_radiograph(data).pixels.shape == SIZE


def test_a_sequence_written_as_unknown_is_read_in_implicit_vr():
    item = struct.pack("<HHI", 8, 0x104, 6) + b"Knee  "
    sequence = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    for value in (
        explicit(Tag.AnatomicRegionSequence, b"UN", sequence),
        explicit(Tag.AnatomicRegionSequence, b"UN", sequence + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF),
    ):
        data = PREAMBLE + META + explicit(Tag.Modality, b"CS", b"CR") + value + explicit(Tag.Rows, b"US", b"\1\0")
        found = read_elements(data).dataset
        assert found.items[Tag.AnatomicRegionSequence][0].text(Tag.CodeMeaning) == "Knee"
        assert found.whole(Tag.Rows) == 1


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        (b"US", b"\x28\0"),
        (b"UL", b"\x28\0\0\0"),
        (b"SS", b"\x28\0"),
        (b"IS", b"40"),
        (b"DS", b" 40 "),
        (b"LO", b"40"),
        (b"UN", b"\x28\0"),
        (b"FD", struct.pack("<d", 40)),
        (b"FL", struct.pack("<f", 40)),
        (b"ZZ", b"40"),
        (b"OW", b"\x28\0"),
    ],
)
def test_a_number_is_read_whatever_its_vr(vr, value):
    data = PREAMBLE + META + explicit(Tag.Rows, vr, value) + explicit(Tag.Columns, b"US", b"\1\0")
    found = read_elements(data).dataset
    assert found.whole(Tag.Rows) == 40 and found.whole(Tag.Columns) == 1


def test_an_element_in_implicit_vr_among_explicit_ones_is_read():
    data = PREAMBLE + META + explicit(Tag.Modality, b"CS", b"CR") + struct.pack("<HHI", 0x28, 0x10, 2) + b"\x28\0"
    assert read_elements(data).dataset.whole(Tag.Rows) == 40


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (b"1\\2", [1, 2]),
        (b"", []),
        (b"\\", []),
        (b"1\\\\3", [1, 3]),
        (b"nan\\4", [4]),
        (b"inf ", []),
        (b"1,5 ", []),
        (b"\xff\xfe", []),
        (b"1e2 ", [100]),
        (b" -7\0", [-7]),
        (b"1_0 ", [10]),
        (b"9" * 400, []),
    ],
)
def test_decimal_strings(value, numbers):
    data = PREAMBLE + META + explicit(Tag.WindowCenter, b"DS", value)
    assert read_elements(data).dataset.numbers(Tag.WindowCenter) == numbers


def test_the_first_of_two_elements_with_one_tag_counts():
    data = PREAMBLE + META + explicit(Tag.Rows, b"US", b"\1\0") + explicit(Tag.Rows, b"US", b"\2\0")
    assert read_elements(data).dataset.whole(Tag.Rows) == 1


# --- What is a DICOM file --------------------------------------------------------------------------------------------


def test_pictures_are_not_taken_for_dicom():
    film = chest(0, SIZE)
    for data in (as_png(film), as_jpeg(film), b"", b"DIC", b"%PDF-1.7", bytes(1000), b"PK\3\4", b"BM" + bytes(200)):
        assert not is_dicom(data)
    assert is_dicom(b"II*\0" + bytes(124) + b"DICM") and is_dicom(phantom_dicom(size=SIZE, meta=False))


@pytest.mark.parametrize(
    "data",
    [
        PREAMBLE,
        PREAMBLE + b"\x02",
        PREAMBLE + META,
        PREAMBLE + META[:20],
        b"DICM" + META,
        PREAMBLE + bytes(8),
        PREAMBLE + bytes(4000),
        PREAMBLE + b"\xff" * 4000,
        b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
        b"\x02\0\x10\0UI\x12\x001.2.840.10008.1.2",
        b"\0\x08\0\x05CS\0\x0aISO_IR 100",
        PREAMBLE + b"A" * 4000,
    ],
    ids=range(12),
)
def test_a_file_without_anything_is_refused(data):
    assert is_dicom(data) and refusal(data).code in ("UNREADABLE", "UNSUPPORTED")


# --- What means harm -------------------------------------------------------------------------------------------------


def test_an_inflation_bomb_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(under_test, "LIMITS", Limits(pixels=1_000))
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(bytes(50_000_000)) + packer.flush()
    meta = META.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99").replace(b"UI\x14\0", b"UI\x16\0")
    assert len(packed) < 100_000
    assert refusal(PREAMBLE + meta + packed).code == "TOO_LARGE"


def test_the_limit_on_inflation_holds_the_largest_film():
    assert 2 * LIMITS.pixels < LIMITS.inflated_bytes < 2 * LIMITS.pixels + 50_000_000


@pytest.mark.parametrize(
    "tiny",
    [
        explicit(0x00090001, b"LO", b""),
        explicit(0x00090001, b"SQ", b"", 0xFFFFFFFF),
        struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF),
    ],
)
def test_a_file_of_countless_elements_is_refused(monkeypatch, tiny):
    monkeypatch.setattr(under_test, "LIMITS", Limits(dicom_elements=2_000))
    opening = explicit(0x00090001, b"SQ", b"", 0xFFFFFFFF)
    assert refusal(PREAMBLE + META + opening + tiny * 5_000).code == "UNREADABLE"


@pytest.mark.parametrize("length", [1, 2, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("tag", [Tag.PixelData, Tag.VOILUTSequence, Tag.Rows, 0x00091001])
def test_a_length_that_is_a_lie_is_refused(tag, length):
    data = phantom_dicom(size=SIZE, PixelData=None)
    for vr in (b"SQ", b"OW", b"UN"):
        assert refusal(data + explicit(tag, vr, b"\1\0", length)).code in ("UNREADABLE", "UNSUPPORTED")

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset

from core.errors import RadiographError
from reports.dicom.source import Source, read_source
from tests.dicoms import SYNTAXES, phantom_dicom
from tests.phantoms import as_jpeg, as_png, chest

SIZE = (60, 72)
# Only the header is read, so that is where bytes are changed.
MUTATED = [
    phantom_dicom(4, size=SIZE, syntax=syntax, LossyImageCompression="01")[:1500]
    for syntax in ("explicit", "implicit", "big endian", "JPEG 2000")
]


def identity(source: Source) -> Dataset:
    dataset = Dataset()
    for element in source.identity:
        dataset.add(element)
    return dataset


def source(**changes: object) -> Source:
    with config.disable_value_validation():  # to write what is malformed
        data = phantom_dicom(4, size=SIZE, **changes)
    return read_source(data)


def test_place_and_patient_are_read():
    read = source(
        TimezoneOffsetFromUTC="+0800", BurnedInAnnotation="NO", PatientWeight="14.5", StudyDescription="Thorax"
    )
    root = "1.2.826.0.1.3680043.8.498.20261121.4"
    assert (read.study, read.series, read.instance) == (f"{root}.1", f"{root}.2", f"{root}.3")
    assert read.sop_class.name == "Computed Radiography Image Storage"
    assert read.orientation == ("L", "F") and read.body_part == "CHEST" and read.is_annotated == "NO"
    assert read.zone == timezone(timedelta(hours=8)) and read.charset == "ISO_IR 100" and read.lossy is None
    patient = identity(read)
    assert patient.PatientName == "Phantom^Chest" and patient.PatientID == "PHANTOM-4" and patient.PatientSex == "F"
    assert patient.PatientBirthDate == "20230501" and patient.PatientAge == "003Y" and patient.AccessionNumber == "A4"
    assert patient.StudyDate == "20261121" and patient.StudyTime == "101500" and patient.StudyID == "1"
    assert patient.PatientWeight == 14.5 and patient.StudyDescription == "Thorax"
    assert "TimezoneOffsetFromUTC" in patient and "PatientSize" not in patient


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_is_read(syntax):
    read = source(syntax=syntax)
    assert read.instance.endswith(".4.3") and identity(read).PatientName == "Phantom^Chest"
    assert (read.lossy is not None) == (syntax in {"JPEG baseline", "JPEG extended", "JPEG-LS near", "JPEG 2000"})


@pytest.mark.parametrize("how", [{"preamble": False}, {"meta": False}, {"meta": False, "syntax": "implicit"}])
def test_files_without_preamble_or_meta_information_are_read(how):
    assert identity(source(**how)).PatientID == "PHANTOM-4"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люксембург^Иван"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 126", "Διονυσίου^Έλλη"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Nguyễn^Văn=阮^文"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 166", "นาม^ไทย"),
    ],
)
def test_names_of_every_character_set_come_out_as_they_are(charset, name):
    assert str(identity(source(SpecificCharacterSet=charset, PatientName=name)).PatientName) == name


@pytest.mark.parametrize("charset", [None, "ISO_IR 192"])
def test_what_cannot_be_decoded_is_left_empty_rather_than_wrong(charset):
    patient = identity(source(SpecificCharacterSet=charset, PatientName=b"\xff\xfe\xd0^X", PatientID="A-1"))
    assert not patient.PatientName and patient.PatientID == "A-1"


@pytest.mark.parametrize(
    ("spelled", "name", "known"),
    [(b"ISO IR 100", "Müller^Jörg", True), (b"ISO-IR 100", "Müller^Jörg", True), (b"ISO_IR 999", "", False)],
)
@pytest.mark.filterwarnings("ignore:.*(ncoding|Character Set)")  # pydicom names the character set and no value
def test_character_sets_are_known_by_their_common_misspellings_and_by_no_others(spelled, name, known):
    data = phantom_dicom(4, size=SIZE, PatientName="Müller^Jörg").replace(b"ISO_IR 100", spelled)
    read = read_source(data)
    assert str(identity(read).PatientName or "") == name and read.charset == ("ISO_IR 100" if known else None)


def test_unicode_without_its_character_set_is_still_unicode():
    patient = identity(source(SpecificCharacterSet=None, PatientName="Łukasz^Żak".encode()))
    assert patient.PatientName == "Łukasz^Żak"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "2026.11.21"),
        ("StudyDate", "20261399"),
        ("StudyTime", "25:61"),
        ("PatientBirthDate", "unknown"),
        ("PatientSex", "WEIBLICH"),
        ("PatientID", "X" * 65),
        ("StudyID", "much longer than it may be"),
        ("AccessionNumber", "A\x1b1"),
        ("PatientSex", ""),
        ("StudyDate", None),
        ("PatientID", None),
        ("PatientName", None),
    ],
)
def test_what_is_malformed_or_missing_is_left_empty(keyword, value):
    patient = identity(source(**{keyword: value}))
    assert keyword in patient and not patient[keyword].value
    assert len(patient) >= 9


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientAge", "3"), ("TimezoneOffsetFromUTC", "CET"), ("StudyDescription", "")]
)
def test_optional_values_that_are_malformed_are_left_out(keyword, value):
    read = source(**{keyword: value})
    assert keyword not in identity(read) and read.zone is None


def test_a_weight_that_is_no_number_is_left_out():
    data = phantom_dicom(4, size=SIZE, PatientWeight="14.525").replace(b"14.525", b"heavy ")
    assert "PatientWeight" not in identity(read_source(data))


@pytest.mark.parametrize(
    ("keyword", "named"),
    [
        ("StudyInstanceUID", "Study Instance UID"),
        ("SOPInstanceUID", "SOP Instance UID"),
        ("SeriesInstanceUID", "Series Instance UID"),
        ("SOPClassUID", "SOP Class UID"),
    ],
)
@pytest.mark.parametrize("value", [None, "", "not a UID", "1." * 40 + "1", "1.2.003.4"])
def test_a_file_without_its_identifiers_is_refused_by_name_and_with_advice(keyword, named, value):
    with pytest.raises(RadiographError, match=f"without a valid {named}") as caught:
        source(**{keyword: value}, meta=False)
    assert caught.value.code == "UNSUPPORTED" and "export the radiograph again" in caught.value.advice
    assert "PHANTOM" not in str(caught.value) and "Chest" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        bytes(132) + b"DICM",
        as_png(chest(1, SIZE)),
        as_jpeg(chest(1, SIZE)),
        b"\x08\0\x05\0" * 50,
        phantom_dicom(4, size=SIZE)[:200],
    ],
)
def test_what_is_not_dicom_is_refused_with_advice(data):
    with pytest.raises(RadiographError) as caught:
        read_source(data)
    assert caught.value.code == "UNSUPPORTED" and "PDF or JSON" in caught.value.advice


def test_lossy_compression_is_read_from_the_header_or_the_encoding():
    read = source(
        LossyImageCompression="01", LossyImageCompressionRatio="12.5", LossyImageCompressionMethod="ISO_15444_1"
    )
    assert read.lossy == ("12.5", "ISO_15444_1")
    ratio, method = source(syntax="JPEG baseline").lossy
    assert method == "ISO_10918_1" and float(ratio) >= 1


@pytest.mark.parametrize(("offset", "hours"), [("-0500", -5), ("+0530", 5.5), ("+0000", 0), ("-0000", 0)])
def test_time_zones_are_read(offset, hours):
    assert source(TimezoneOffsetFromUTC=offset).zone == (timezone(timedelta(hours=hours)) if hours else UTC)


@pytest.mark.filterwarnings("ignore")  # whatever pydicom says of damaged bytes
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data):
    intact = bytearray(MUTATED[data.draw(st.integers(0, len(MUTATED) - 1))])
    for _ in range(data.draw(st.integers(1, 12))):
        intact[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = read_source(bytes(intact[: data.draw(st.integers(100, len(intact)))]))
    except RadiographError as error:
        assert error.code == "UNSUPPORTED" and "Phantom" not in str(error)
    else:
        assert read.study.is_valid and read.instance.is_valid and len(read.identity) >= 9

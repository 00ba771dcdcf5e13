"""What a header says of a film, and which films and files it refuses alone."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from core.errors import RadiographError
from imaging.dicom.terms import other_body_part, view_position
from imaging.film import FilmHeader
from imaging.radiograph import decode_radiograph
from tests.dicoms import as_file, code, dx_dicom, phantom_dicom

SIZE = (40, 48)
STORAGE = "1.2.840.10008.5.1.4.1.1."


def header(**changes: object) -> FilmHeader:
    film = decode_radiograph(phantom_dicom(size=SIZE, **changes))
    assert film.header is not None
    return film.header


def refusal(data: bytes) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        decode_radiograph(data)
    error = caught.value
    assert str(error).startswith("expected ") and "Received: " in str(error)
    assert error.advice.endswith(".") and error.advice.count(". ") == 0  # one sentence
    return error


def test_a_header_is_read():
    assert header() == FilmHeader(
        modality="CR",
        view_position="PA",
        body_part="CHEST",
        laterality=None,
        age_years=3.0,
        sex="F",
        photometric="MONOCHROME2",
        orientation=("L", "F"),
        pixel_mm=(0.15, 0.15),
        transfer_syntax="1.2.840.10008.1.2.1",
    )
    film = decode_radiograph(dx_dicom(size=SIZE))
    assert film.header.modality == "DX" and film.renderings[0].name == "CHEST"


def test_a_silent_header_says_nothing():
    keywords = (
        "Modality",
        "ViewPosition",
        "BodyPartExamined",
        "PatientAge",
        "PatientSex",
        "PatientBirthDate",
        "PhotometricInterpretation",
        "PatientOrientation",
        "PixelSpacing",
        "SOPClassUID",
    )
    for value in (None, ""):
        assert header(**dict.fromkeys(keywords, value)) == FilmHeader(transfer_syntax="1.2.840.10008.1.2.1")


# --- Age -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "years"),
    [
        ("003Y", 3.0),
        ("018M", 1.5),
        ("026W", (6 + 7 / 31) / 12),
        ("051W", (11 + 29 / 31) / 12),
        ("052W", (12 + 5 / 31) / 12),
        ("010D", 10 / 31 / 12),
        ("364D", (11 + 30 / 31) / 12),
        ("365D", 1.0),
        ("2190D", 5 + (11 + 30 / 31) / 12),
        ("2191D", 6.0),
        ("054", 54.0),
        ("54", 54.0),
        ("5y", 5.0),
        ("130Y", 130.0),
        ("131Y", None),
        ("999Y", None),
        ("Y", None),
        ("three", None),
        ("-3Y", None),
        ("1.5Y", None),
        ("003X", None),
        ("", None),
        ("²Y", None),
        ("00000003Y", None),
    ],
)
def test_the_age_is_read_with_its_unit(age, years):
    assert header(PatientAge=age, PatientBirthDate=None).age_years == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(
    ("changes", "years"),
    [
        ({"PatientAge": None, "PatientBirthDate": "20230501", "StudyDate": "20261121"}, 3.5 + 20 / 31 / 12),
        ({"PatientAge": "", "PatientBirthDate": "2023.05.01", "StudyDate": "20261121"}, 3.5 + 20 / 31 / 12),
        ({"PatientAge": "000Y", "PatientBirthDate": "20260821", "StudyDate": "20261121"}, 0.25),
        ({"PatientAge": None, "AcquisitionDate": "20230502", "StudyDate": "20261121"}, 1 / 31 / 12),
        ({"PatientAge": None, "PatientBirthDate": "20201121", "StudyDate": "20261121"}, 6.0),  # the sixth birthday
        ({"PatientAge": None, "PatientBirthDate": "20201122", "StudyDate": "20261121"}, 5 + (11 + 30 / 31) / 12),
        ({"PatientAge": None, "PatientBirthDate": "20200229", "StudyDate": "20210228"}, (11 + 30 / 31) / 12),
        ({"PatientAge": None, "PatientBirthDate": "20200229", "StudyDate": "20210301"}, 1.0),
        ({"PatientAge": None, "PatientBirthDate": "20260131", "StudyDate": "20260301"}, 1 / 12),
        ({"PatientAge": "002Y", "PatientBirthDate": "19500101"}, 2.0),  # what the department wrote comes first
        ({"PatientAge": None, "PatientBirthDate": "20270101"}, None),  # born after the study
        ({"PatientAge": None, "PatientBirthDate": "18000101"}, None),
        ({"PatientAge": None, "PatientBirthDate": ""}, None),
        ({"PatientAge": None, "PatientBirthDate": "20231341"}, None),
        ({"PatientAge": None, "StudyDate": None}, None),
        ({"PatientAge": None, "PatientBirthDate": "²0230501"}, None),
        ({"PatientAge": "000Y", "PatientBirthDate": ""}, 0),
    ],
)
def test_the_age_follows_from_the_dates_where_it_is_not_given(changes, years):
    assert header(**changes).age_years == (None if years is None else pytest.approx(years))


# --- The other values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"PatientSex": "m"}, "sex", "M"),
        ({"PatientSex": "O"}, "sex", "O"),
        ({"PatientSex": "WEIBLICH"}, "sex", None),
        ({"ViewPosition": "AP"}, "view_position", "AP"),
        ({"ViewPosition": "ap "}, "view_position", "AP"),
        ({"ViewPosition": "P.A."}, "view_position", "PA"),
        ({"ViewPosition": "LLD"}, "view_position", "LLD"),
        ({"ViewPosition": "UPRIGHT"}, "view_position", None),
        ({"ViewPosition": None, "ViewCodeSequence": code("399348003")}, "view_position", "AP"),
        ({"ViewPosition": None, "ViewCodeSequence": code("R-10214", "SRT")}, "view_position", "PA"),
        ({"ViewPosition": "", "ViewCodeSequence": code("9", "99LOCAL", "postero-anterior")}, "view_position", "PA"),
        ({"ViewPosition": "AP", "ViewCodeSequence": code("272479007")}, "view_position", "AP"),
        ({"ImageLaterality": "L"}, "laterality", "L"),
        ({"Laterality": "R"}, "laterality", "R"),
        ({"ImageLaterality": "U"}, "laterality", None),
        ({"BodyPartExamined": "thorax "}, "body_part", "THORAX"),
        (
            {"BodyPartExamined": None, "AnatomicRegionSequence": code("816094009", meaning="Chest")},
            "body_part",
            "CHEST",
        ),
        ({"BodyPartExamined": "x" * 200}, "body_part", None),
        ({"PatientOrientation": ["L"]}, "orientation", None),
        ({"PatientOrientation": ["R", "FA"]}, "orientation", ("R", "FA")),
        ({"PatientOrientation": ["X", "Y"]}, "orientation", None),
        ({"PresentationIntentType": "FOR PROCESSING"}, "presentation_intent", "FOR PROCESSING"),
        ({"PresentationIntentType": "for presentation "}, "presentation_intent", "FOR PRESENTATION"),
        ({"PresentationIntentType": "RAW"}, "presentation_intent", None),
        ({"SOPClassUID": f"{STORAGE}1.1.1"}, "presentation_intent", "FOR PROCESSING"),
        ({"SOPClassUID": f"{STORAGE}1.1"}, "presentation_intent", None),
        (
            {"SOPClassUID": f"{STORAGE}1.1.1", "PresentationIntentType": "FOR PRESENTATION"},
            "presentation_intent",
            "FOR PRESENTATION",
        ),
        ({"PixelSpacing": [0, 0]}, "pixel_mm", None),
        ({"PixelSpacing": [0.1]}, "pixel_mm", None),
        ({"PixelSpacing": [0.1, 0.2]}, "pixel_mm", (0.1, 0.2)),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.2]}, "pixel_mm", (0.2, 0.2)),
        ({"PixelSpacing": b"nan\\inf "}, "pixel_mm", None),
        ({"Modality": "RG"}, "modality", "RG"),
        ({"Modality": ["CR", "CT"]}, "modality", "CR"),
    ],
)
def test_a_value_is_read_or_left_out(changes, field, value):
    assert getattr(header(**changes), field) == value


# --- Refused by what it is -------------------------------------------------------------------------------------------


def document(sop_class: str, **elements: object) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), UID("1.2.3")
    return as_file(dataset, **elements)


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (document(f"{STORAGE}104.1", Modality="DOC", EncapsulatedDocument=b"%PDF-1.7"), "an encapsulated PDF document"),
        (document(f"{STORAGE}104.2", EncapsulatedDocument=b"<a/>"), "an encapsulated document"),
        (document(f"{STORAGE}88.33", Modality="SR"), "a structured report"),
        (document(f"{STORAGE}88.59", Modality="KO"), "a structured report"),
        (document(f"{STORAGE}11.1", Modality="PR"), "a presentation state"),
        (document(f"{STORAGE}9.1.1", Modality="ECG"), "a waveform"),
        (document(f"{STORAGE}481.5", Modality="RTPLAN"), "a radiotherapy object"),
        (document("1.2.840.10008.1.3.10", DirectoryRecordSequence=Sequence()), "a DICOMDIR"),
        (document(f"{STORAGE}7"), "a file without a picture"),
        (document("1.2.3.4"), "a file without a picture"),
        (phantom_dicom(size=SIZE, NumberOfFrames=12), "multi-frame file of 12 pictures"),
        (phantom_dicom(size=SIZE, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "a colour picture"),
        (phantom_dicom(size=SIZE, PhotometricInterpretation="PALETTE COLOR"), "a colour picture"),
        (phantom_dicom(size=SIZE, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422"), "a colour picture"),
        (phantom_dicom(size=SIZE, PixelData=None, FloatPixelData=bytes(4 * 40 * 48)), "pixels in floating point"),
    ],
)
def test_what_holds_no_single_grey_picture_is_refused_by_name(data, received):
    error = refusal(data)
    assert error.code == "UNSUPPORTED" and received in str(error)


@pytest.mark.parametrize(
    ("uid", "received"),
    [
        ("1.2.840.10008.1.2.4.100", "a video"),
        ("1.2.840.10008.1.2.4.102", "a video"),
        ("1.2.840.10008.1.2.4.107", "a video"),
        ("1.2.840.10008.1.2.4.201", "an unsupported transfer syntax"),
        ("1.2.840.113619.5.2", "an unsupported transfer syntax"),
        ("nonsense", "an unsupported transfer syntax"),
    ],
)
def test_what_is_compressed_in_ways_that_are_not_read_is_refused_by_name(uid, received):
    data = phantom_dicom(size=SIZE)
    own = b"1.2.840.10008.1.2.1\0"
    at = data.index(b"\x02\0\x10\0UI")
    value = uid.encode() + b"\0" * (len(uid) % 2)
    assert data[at + 8 : at + 28] == own
    error = refusal(data[: at + 6] + len(value).to_bytes(2, "little") + value + data[at + 28 :])
    assert error.code == "UNSUPPORTED" and received in str(error)


@pytest.mark.parametrize(
    ("modality", "received"),
    [
        ("CT", "computed tomography (CT)"),
        ("MR", "magnetic resonance (MR)"),
        ("US", "ultrasound"),
        ("NM", "nuclear medicine"),
        ("PT", "positron emission"),
        ("MG", "a mammogram"),
        ("XA", "angiography"),
        ("IO", "dental"),
        ("PX", "dental"),
        ("ES", "endoscopy"),
        ("SM", "microscope"),
        ("RTIMAGE", "radiotherapy"),
    ],
)
def test_other_modalities_are_refused_by_name(modality, received):
    for data in (
        phantom_dicom(size=SIZE, Modality=modality),
        phantom_dicom(size=SIZE, Modality=modality.lower()),
        phantom_dicom(size=SIZE, Modality=modality, NumberOfFrames=30),
    ):
        error = refusal(data)
        assert error.code == "NOT_A_CHEST_RADIOGRAPH" and received in str(error) and received in error.advice


@pytest.mark.parametrize(
    ("sop_class", "received"),
    [
        ("2", "computed tomography"),
        ("2.1", "computed tomography"),
        ("4", "magnetic resonance"),
        ("6.1", "ultrasound"),
        ("3.1", "ultrasound"),
        ("1.2", "a mammogram"),
        ("1.2.1", "a mammogram"),
        ("12.1", "angiography"),
        ("1.3", "dental"),
        ("77.1.1", "endoscopy"),
        ("128", "positron"),
    ],
)
def test_the_sop_class_tells_the_modality_where_the_header_does_not(sop_class, received):
    error = refusal(phantom_dicom(size=SIZE, Modality=None, SOPClassUID=STORAGE + sop_class))
    assert error.code == "NOT_A_CHEST_RADIOGRAPH" and received in str(error)


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "RF", "OT", "HC", "SC", "", "DR", "XX", None])
@pytest.mark.parametrize("sop_class", ["1", "1.1", "1.1.1", "7", "12.2", "20000"])
def test_projection_radiography_and_what_is_unclear_are_left_to_the_picture(modality, sop_class):
    data = phantom_dicom(size=SIZE, Modality=modality, SOPClassUID=STORAGE + sop_class)
    assert decode_radiograph(data).pixels.shape == SIZE


# --- Refused by part and view ----------------------------------------------------------------------------------------

CHESTS = [
    "CHEST",
    "Chest",
    "THORAX",
    "THORAX AP",
    "TORAX",
    "TÓRAX",
    "TORACE",
    "LUNG",
    "LUNGS",
    "PULMON",
    "POUMONS",
    "BRUSTKORB",
    "BRUST",
    "RIBS",
    "RIB",
    "STERNUM",
    "CLAVICLE",
    "HEART",
    "CHESTABDOMEN",
    "CHEST_ABDOMEN",
    "CHEST_TO_PELVIS",
    "NECKCHESTABDOMEN",
    "BABYGRAM",
    "WHOLEBODY",
    "TRUNK",
    "BODY",
    "UNKNOWN",
    "1",
    "CXR",
    "THORACIC",
    "MEDIASTINUM",
    "HANDHELD",
    "SHOULDERCHEST",
    "CHEST, SHOULDER",
]
OTHERS = {
    "SKULL": "head",
    "HEAD": "head",
    "SCHÄDEL": "head",
    "JAW": "jaw",
    "TEETH": "teeth",
    "NECK": "neck",
    "CSPINE": "spine",
    "TSPINE": "spine",
    "LSPINE": "spine",
    "THORACIC SPINE": "spine",
    "T_SPINE": "spine",
    "LUMBAR_SPINE": "spine",
    "HAND": "hand",
    "WRIST": "hand",
    "UP_EXM": "hand",
    "SHOULDER": "shoulder",
    "ABDOMEN": "abdomen",
    "PELVIS": "pelvis",
    "HÜFTE": "hip",
    "HIP": "hip",
    "KNEE": "leg",
    "FOOT": "foot",
    "Fuß": "foot",
    "ANKLE": "leg",
    "RODILLA": "leg",
    "GENOU": "leg",
    "BREAST": "breast",
    "EXTREMITY": "hand",
}


@pytest.mark.parametrize("part", CHESTS)
def test_no_word_for_the_chest_and_no_unknown_word_refuses_a_film(part):
    assert other_body_part(part) is None
    assert decode_radiograph(phantom_dicom(size=SIZE, SpecificCharacterSet="ISO_IR 192", BodyPartExamined=part))


@pytest.mark.parametrize(("part", "named"), OTHERS.items())
def test_another_part_of_the_body_is_refused_by_name(part, named):
    for changes in (
        {"BodyPartExamined": part},
        {"BodyPartExamined": None, "SeriesDescription": f"{part} 2 views"},
        {"BodyPartExamined": None, "AnatomicRegionSequence": code("0", "99LOCAL", part)},
        {"BodyPartExamined": "", "ProtocolName": part},
    ):
        error = refusal(phantom_dicom(size=SIZE, SpecificCharacterSet="ISO_IR 192", **changes))
        assert error.code == "NOT_A_CHEST_RADIOGRAPH" and named in str(error) and named in error.advice


def test_free_descriptions_never_overrule_coded_elements_and_the_study_never_counts():
    for changes in (
        {"BodyPartExamined": "CHEST", "SeriesDescription": "KNEE"},
        {"BodyPartExamined": None, "StudyDescription": "KNEE"},
        {"BodyPartExamined": None, "SeriesDescription": "SHOULDER and CHEST"},
        {"BodyPartExamined": "BODY", "ProtocolName": "KNEE"},
    ):
        assert decode_radiograph(phantom_dicom(size=SIZE, **changes))


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "RL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"ViewPosition": "LAT"}, "lateral"),
        ({"ViewPosition": "RLO"}, "oblique"),
        ({"ViewPosition": "LAO"}, "oblique"),
        ({"ViewPosition": "PA OBLIQUE"}, "oblique"),
        ({"ViewPosition": None, "ViewCodeSequence": code("399067008")}, "lateral"),
        ({"ViewPosition": None, "ViewCodeSequence": code("R-10236", "SRT")}, "lateral"),
        ({"ViewPosition": None, "ViewCodeSequence": code("1", "99X", "left lateral")}, "lateral"),
        ({"ViewPosition": "", "SeriesDescription": "Chest Lat."}, "lateral"),
        ({"ViewPosition": "", "ProtocolName": "Thorax seitlich"}, "lateral"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "lateral"),
        ({"ViewPosition": "", "PatientOrientation": ["PL", "FA"]}, "lateral"),
    ],
)
def test_a_view_from_the_side_is_refused_by_name(changes, received):
    error = refusal(phantom_dicom(size=SIZE, **changes))
    assert error.code == "NOT_FRONTAL" and received in str(error) and received in error.advice


@pytest.mark.parametrize(
    "changes",
    [
        {"ViewPosition": "AP"},
        {"ViewPosition": "LLD"},
        {"ViewPosition": "RLD"},
        {"ViewPosition": "AP LAT DECUB"},
        {"ViewPosition": "LATERAL DECUBITUS"},
        {"ViewPosition": "PA LAT"},
        {"ViewPosition": "", "SeriesDescription": "PA/LAT"},
        {"ViewPosition": "", "SeriesDescription": "Thorax a.p. + lat."},
        {"ViewPosition": "PA", "SeriesDescription": "LAT"},
        {"ViewPosition": "", "SeriesDescription": "bilateral"},
        {"ViewPosition": "PA", "PatientOrientation": ["A", "F"]},
        {"ViewPosition": "", "PatientOrientation": ["R", "F"]},
        {"ViewPosition": "", "SeriesDescription": "LL"},
    ],
)
def test_a_view_from_the_front_and_an_unclear_one_are_left_to_the_picture(changes):
    assert decode_radiograph(phantom_dicom(size=SIZE, **changes)).pixels.shape == SIZE


def test_views_in_words():
    assert [view_position(word) for word in ("PA", "POSTERO-ANTERIOR", "FRONTAL", "LL", "AP PA", "", "XYZ")] == [
        "PA",
        "PA",
        "FRONTAL",
        "LL",
        None,
        None,
        None,
    ]


def test_a_refusal_by_header_comes_before_the_pixels_are_decoded():
    broken = phantom_dicom(size=SIZE, Modality="CT", syntax="JPEG 2000").replace(b"\xff\x4f\xff\x51", bytes(4))
    assert refusal(broken).code == "NOT_A_CHEST_RADIOGRAPH"

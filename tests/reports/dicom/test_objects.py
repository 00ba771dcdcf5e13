from __future__ import annotations

import io
import shutil
import subprocess
import tracemalloc
from dataclasses import replace
from datetime import timedelta, timezone

import cv2
import highdicom
import numpy as np
import pytest
from pydicom import Dataset, config, dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from core.errors import RadiographError
from imaging.film import Radiograph, Rendering
from model.assessment import Heatmap, Reading
from model.explanation import evidence_map
from model.lung_zones import NOT_FOUND
from model.overlay import contour, overlay
from reports.dicom.objects import report_sc, report_sr
from reports.dicom.picture import line_picture
from reports.drawing import Drawing
from tests.assessments import (
    CARD,
    HEADER,
    OUTSIDE,
    both_sides,
    framed_assessment,
    full_assessment,
    make_assessment,
    refused_assessment,
)
from tests.dicoms import dx_dicom, phantom_dicom
from tests.phantoms import as_png, chest

SOURCE = phantom_dicom(4, size=(150, 180))
REMARKS = "Zagęszczenia w dolnym płacie.\n左下肺野。 التهاب رئوي – β, “µ”"


def read(data: bytes) -> Dataset:
    """As an archive reads it: from the whole file, with its meta information."""
    assert data[128:132] == b"DICM"
    return dcmread(io.BytesIO(data))


def texts(dataset: Dataset) -> dict[str, list[str]]:
    """Code value of the concept → what is said of it, from the qualitative evaluations."""
    said: dict[str, list[str]] = {}
    for item in dataset.ContentSequence[-1].ContentSequence:
        value = item.get("TextValue") or item.ConceptCodeSequence[0].CodeValue
        said.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(value)
    return said


def group(data: bytes):
    document = highdicom.sr.srread(io.BytesIO(data))
    found = document.content.get_image_measurement_groups()
    assert len(found) == 1
    return found[0]


def numbers(data: bytes) -> dict[str, float]:
    found = group(data).get_measurements()
    assert all(one.unit.value == "1" and one.unit.scheme_designator == "UCUM" for one in found)
    return {one.name.value: one.value for one in found}


def evaluation(data: bytes) -> tuple[str, str, str, str]:
    (found,) = group(data).get_qualitative_evaluations()
    return found.name.value, found.name.scheme_designator, found.value.value, found.value.scheme_designator


def test_lungs_and_group_are_said_in_the_structured_report():
    said = texts(read(report_sr(SOURCE, framed_assessment(), CARD)))
    assert said["LUNGS"] == ["Lungs found; the classifier read them alone."]
    (group,) = said["GROUP"]
    assert "18 years and over, PA: specificity 0.88 (0.81-0.93), n = 120 normal" in group
    assert not {"LUNGS", "GROUP"} & texts(read(report_sr(SOURCE, full_assessment(), CARD))).keys()


def test_the_structured_report_is_a_measurement_report_with_the_probability_as_a_measurement():
    data = report_sr(SOURCE, full_assessment(), CARD, Reading("disagree", REMARKS))
    document = read(data)
    assert document.SOPClassUID == ComprehensiveSRStorage and document.Modality == "SR"
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert document.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert numbers(data) == {
        "PROBABILITY": 0.87,
        "OPERATING_POINT": 0.41,
        "LOWEST": 0.81,
        "HIGHEST": 0.93,
        "DISTANCE": 0.62,
        "DISTANCE_LIMIT": 1.0,
    }
    assert evaluation(data) == ("233604007", "SCT", "410592001", "SCT")
    assert group(data).finding_type is None  # no viewer can show "pneumonia" without its qualification
    assert document.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99PNEUMOLENS"
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )


def test_the_algorithm_and_the_observing_device_are_named():
    data = report_sr(SOURCE, full_assessment(), CARD)
    parts = {}
    for item in read(data).ContentSequence[-2].ContentSequence[0].ContentSequence:
        if "TextValue" in item:
            parts.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(item.TextValue)
    assert parts["111001"] == ["PneumoLens"] and parts["111003"] == [CARD.version]
    assert f"sha256={CARD.sha256}" in parts["111002"] and "operating_point_purpose=default" in parts["111002"]
    (observer,) = highdicom.sr.srread(io.BytesIO(data)).content.get_observer_contexts()
    assert observer.observer_type.value == "121007"
    assert observer.observer_identifying_attributes.model_name == f"classifier {CARD.version}"


def test_what_is_said_in_words_is_in_the_report_and_remarks_are_whole():
    said = texts(read(report_sr(SOURCE, full_assessment(), CARD, Reading("disagree", REMARKS))))
    assert said["NOTICE"][0] == "Decision support, not a diagnosis."
    assert said["FINDING_WORDS"] == [
        "Pneumonia likely",
        "Probability of pneumonia 0.87, above the operating point 0.41.",
    ]
    assert said["STABILITY"] == ["Perturbation test: 0.81-0.93; the finding does not change."]
    assert said["WARNING"] == ["Black and white were exchanged."]
    assert said["CORRECTION"] == ["Corrected before the assessment: inverted, turned by 90 degrees."]
    assert said["INFLUENCE"][0].startswith("Right lower zone 60 %") and said["SIMILAR"] and said["DISTANCE"]
    assert said["VERDICT"] == ["DISAGREE", "The reader disagrees with the finding."]
    assert said["121106"] == [REMARKS]
    assert said["ASSESSED_AT"] == ["2026-11-21 08:01:30 UTC"]
    assert said["LIMITATION"] == ["Not for adults.", "One hospital only."]
    assert said["INTENDED_USE"] == ["Frontal chest radiographs of children of 1-5 years."]


def test_a_thorax_that_was_not_found_is_said():
    said = texts(read(report_sr(SOURCE, full_assessment(regions=NOT_FOUND), CARD)))
    assert said["INFLUENCE"] == ["The thorax was not found, so the evidence was not localised."]


@pytest.mark.parametrize(
    ("assessment", "value"),
    [
        (make_assessment(0.94), "410592001"),
        (make_assessment(0.07), "410593006"),
        (make_assessment(0.42, near=True), "NEAR"),
        (make_assessment(0.99, issues=(OUTSIDE,)), "OUTSIDE"),
        (refused_assessment(decoded=True), "NOT_ASSESSED"),
        (refused_assessment(), "NOT_ASSESSED"),
    ],
)
def test_pneumonia_is_never_named_without_its_qualification(assessment, value):
    data = report_sr(SOURCE, assessment, CARD)
    assert evaluation(data)[::2] == ("233604007", value)
    said = texts(read(data))
    if assessment.prediction is None:
        assert not numbers(data) and said["FINDING_WORDS"][0].startswith("Not assessed: The file is damaged")
    elif assessment.is_outside:
        assert said["FINDING_WORDS"][0] == "Outside the training population"
        assert said["WARNING"][0] == "This film is unlike those of children of 1-5 years."
        assert "the probability is unreliable" in said["WARNING"][1]
    elif assessment.prediction.is_near:
        assert "0.32 and 0.50" in said["WARNING"][0]


@pytest.mark.parametrize("make", [report_sr, report_sc])
def test_objects_belong_to_the_source_s_study_and_reference_it(make):
    document, origin = read(make(SOURCE, full_assessment(), CARD)), read(SOURCE)
    for keyword in (
        "StudyInstanceUID",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
    ):
        assert document[keyword].value == origin[keyword].value, keyword
    assert document.ReferringPhysicianName == ""
    assert document.SeriesInstanceUID != origin.SeriesInstanceUID and document.SOPInstanceUID != origin.SOPInstanceUID
    assert document.file_meta.MediaStorageSOPInstanceUID == document.SOPInstanceUID
    assert document.SOPInstanceUID.is_valid and document.SeriesInstanceUID.is_valid
    assert document.Manufacturer == "PneumoLens" and document.SoftwareVersions == f"classifier {CARD.version}"
    if make is report_sr:
        evidence = document.CurrentRequestedProcedureEvidenceSequence[0]
        referenced = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert evidence.StudyInstanceUID == origin.StudyInstanceUID
        assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == origin.SeriesInstanceUID
    else:
        referenced = document.SourceImageSequence[0]
    assert referenced.ReferencedSOPInstanceUID == origin.SOPInstanceUID
    assert referenced.ReferencedSOPClassUID == origin.SOPClassUID


@pytest.mark.parametrize("make", [report_sr, report_sc])
def test_the_same_report_is_the_same_object_and_another_one_is_another_in_the_same_series(make):
    assessment, later = (
        full_assessment(),
        replace(full_assessment(), assessed_at=full_assessment().assessed_at + timedelta(seconds=1)),
    )
    first, again, other = (
        make(SOURCE, assessment, CARD),
        make(SOURCE, assessment, CARD),
        read(make(SOURCE, later, CARD)),
    )
    assert first == again
    assert other.SOPInstanceUID != read(first).SOPInstanceUID
    assert other.SeriesInstanceUID == read(first).SeriesInstanceUID
    newer = replace(CARD, version="2026.12.01-1")
    assert read(make(SOURCE, replace(assessment, classifier_version=newer.version), newer)).SeriesInstanceUID != (
        other.SeriesInstanceUID
    )
    elsewhere = read(make(phantom_dicom(5, size=(150, 180)), assessment, CARD))
    assert elsewhere.SeriesInstanceUID != other.SeriesInstanceUID


def test_a_verdict_makes_another_report_and_another_map_another_picture():
    verdicts = [
        report_sr(SOURCE, full_assessment(), CARD, Reading(verdict, "")) for verdict in (None, "agree", "unsure")
    ]
    shown = [
        report_sc(SOURCE, full_assessment(heatmap=both_sides(150, 180)), CARD, drawing=drawing)
        for drawing in (
            Drawing(),
            Drawing(opacity=0.2),
            Drawing("contour"),
            Drawing("contour", levels=(0.5,)),
            Drawing(against=True),
        )
    ]
    assert len({read(one).SOPInstanceUID for one in (*verdicts, *shown)}) == 8
    assert len({read(one).SeriesInstanceUID for one in (*verdicts, *shown)}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"StudyDate": None, "StudyTime": None},
        {"PatientID": "", "PatientName": ""},
        {"PatientSex": "X"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люксембург^Иван"},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
        {"PatientName": "Cher"},
        {"preamble": False},
        {"meta": False},
        {"syntax": "deflated"},
        {"syntax": "big endian"},
        {"syntax": "implicit"},
        {"SpecificCharacterSet": None},
        {"PatientOrientation": None},
        {"BodyPartExamined": "???"},
        {"Modality": None},
        {"PatientOrientation": ["", ""]},
        {"SOPClassUID": "1.2.3.4"},
    ],
)
@pytest.mark.parametrize("make", [report_sr, report_sc])
def test_odd_sources_work_and_keep_their_patient(make, changes):
    with config.disable_value_validation():  # to write and read what is malformed
        origin = phantom_dicom(4, size=(60, 72), **changes)
    data = make(origin, full_assessment(), CARD)
    with config.disable_value_validation():
        document = read(data)
        assert str(document.PatientName) == changes.get("PatientName", "Phantom^Chest")
        assert document.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.20261121.4.1"
        referenced = (
            document.SourceImageSequence[0]
            if make is report_sc
            else document.CurrentRequestedProcedureEvidenceSequence[0]
            .ReferencedSeriesSequence[0]
            .ReferencedSOPSequence[0]
        )
        assert referenced.ReferencedSOPClassUID == changes.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1")
        if make is report_sr:
            assert numbers(data)["PROBABILITY"] == 0.87


@pytest.mark.parametrize(
    ("charset", "name", "remarks", "written"),
    [
        ("ISO_IR 100", "Phantom^Chest", "", None),
        ("ISO_IR 100", "Müller^Jörg", "Süd", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jörg", "płuco", "ISO_IR 192"),
        (None, "Phantom^Chest", "płuco", "ISO_IR 192"),
        ("ISO_IR 144", "Люксембург^Иван", "Инфильтрация", "ISO_IR 144"),
    ],
)
def test_the_archive_s_own_character_set_is_kept_as_long_as_it_holds_what_is_said(charset, name, remarks, written):
    origin = phantom_dicom(4, size=(60, 72), SpecificCharacterSet=charset, PatientName=name)
    document = read(report_sr(origin, full_assessment(), CARD, Reading(None, remarks)))
    assert document.get("SpecificCharacterSet") == written
    assert document.PatientName == name and texts(document).get("121106", [""]) == [remarks]


@pytest.mark.parametrize(
    ("offset", "zone", "day", "time"),
    [
        (None, None, "20261121", "080130"),
        ("+0800", None, "20261121", "160130"),
        ("-0930", None, "20261120", "223130"),
        (None, timezone(timedelta(hours=-10)), "20261120", "220130"),
        ("+0100", timezone(timedelta(hours=-10)), "20261121", "090130"),
    ],
)
@pytest.mark.parametrize("make", [report_sr, report_sc])
def test_times_are_the_assessment_s_in_the_study_s_time_zone(make, offset, zone, day, time):
    origin = phantom_dicom(4, size=(60, 72), TimezoneOffsetFromUTC=offset)
    document = read(make(origin, full_assessment(), CARD, **({"zone": zone} if zone else {})))
    assert str(document.ContentDate) == day and str(document.ContentTime).split(".")[0] == time
    assert document.get("TimezoneOffsetFromUTC") == offset
    if make is report_sc:
        assert str(document.DateOfSecondaryCapture) == day and "08:01:30 UTC" in document.DerivationDescription


@pytest.mark.parametrize("make", [report_sr, report_sc])
def test_other_files_than_dicom_and_other_cards_are_refused(make):
    with pytest.raises(RadiographError) as caught:
        make(as_png(chest(1, (60, 72))), full_assessment(), CARD)
    assert "load the radiograph as DICOM" in caught.value.advice
    with pytest.raises(ValueError, match="expected the card of version"):
        make(SOURCE, full_assessment(), replace(CARD, version="other"))


def test_remarks_may_hold_anything():
    odd = "\x00\x1b[0m tab\t\ud83d \\ ^ = 🫁 \u202e\n"
    said = texts(read(report_sr(SOURCE, full_assessment(), CARD, Reading("agree", odd))))["121106"]
    assert said == ["[0m tab\t \\ ^ = 🫁 \u202e\n".rstrip(" ")]
    long = "word " * 20_000
    assert texts(read(report_sr(SOURCE, full_assessment(), CARD, Reading(None, long))))["121106"] == [long.rstrip()]


def test_the_picture_is_the_film_with_its_map_and_words_below_it():
    assessment = make_assessment(size=(1100, 1300))
    document = read(report_sc(dx_dicom(4, size=(110, 130)), assessment, CARD, drawing=Drawing(opacity=0.7)))
    assert document.SOPClassUID == SecondaryCaptureImageStorage and document.Modality == "OT"
    assert (document.PhotometricInterpretation, document.SamplesPerPixel, document.BitsStored) == ("RGB", 3, 8)
    pixels = document.pixel_array
    assert pixels.shape == (document.Rows, 1300, 3) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[:1100], overlay(assessment.radiograph.pixels, assessment.heatmap.values, 0.7))
    band = pixels[1100:]
    assert 0.03 < band.shape[0] / 1100 < 0.25 and (band > 200).any(axis=(1, 2)).sum() > 40
    assert document.ImageType == ["DERIVED", "SECONDARY", "OTHER"] and document.ConversionType == "SYN"
    assert document.DerivationDescription.startswith(
        f"Evidence map of PneumoLens classifier {CARD.version} over the radiograph, opacity 70 %."
    )
    assert "not the outline of a lesion" in document.DerivationDescription
    assert "BurnedInAnnotation" not in document and "LossyImageCompression" not in document
    assert list(document.PatientOrientation) == ["L", "F"] and document.BodyPartExamined == "CHEST"


def test_lines_of_equal_influence_are_drawn_when_the_reader_had_them():
    assessment = make_assessment(size=(1100, 1300))
    document = read(report_sc(SOURCE, assessment, CARD, drawing=Drawing("contour")))
    np.testing.assert_array_equal(
        document.pixel_array[:1100], contour(assessment.radiograph.pixels, assessment.heatmap.values)
    )
    assert "contours at 40, 60 and 80 % of maximum" in document.DerivationDescription


def test_an_empty_map_leaves_the_film_grey():
    document = read(report_sc(SOURCE, make_assessment(0.05, evidence=-1.0, size=(1100, 1300)), CARD))
    assert np.ptp(document.pixel_array.astype(int), axis=2).max() == 0


@pytest.mark.parametrize(
    ("size", "drawn"),
    [((3000, 4000), (2048, 1536)), ((150, 180), (1024, 853)), ((2001, 401), (401, 2001)), ((90, 400), (1024, 230))],
)
def test_large_films_are_scaled_down_and_small_ones_up_and_the_description_tells(size, drawn):
    assessment = make_assessment(size=(150, 180))
    film = Radiograph(np.full(size, 90, np.uint8), "ab" * 32, "DICOM")
    assessment = replace(assessment, radiograph=film, heatmap=Heatmap(np.zeros((8, 8), np.float32), "mixed10", True))
    document = read(report_sc(SOURCE, assessment, CARD))
    assert document.Columns == max(drawn[0], 512) and document.Rows > drawn[1]
    assert (document.pixel_array[: drawn[1], : drawn[0]] == 90).all()
    scaled = f"Scaled from {size[1]} x {size[0]} px to {drawn[0]} x {drawn[1]} px"
    assert (scaled in document.DerivationDescription) == (drawn != size[::-1])


def test_a_film_of_sixteen_million_pixels_costs_little_memory():
    rows = columns = 4000
    pixels = np.tile(np.arange(columns, dtype=np.uint16), (rows, 1))
    assessment = make_assessment(size=(150, 180))
    map_of_its_size = cv2.resize(assessment.heatmap.values, (columns, rows))
    assessment = replace(
        assessment,
        radiograph=Radiograph(pixels, "ab" * 32, "DICOM", 12),
        heatmap=Heatmap(map_of_its_size, "mixed10", False),
    )
    tracemalloc.start()
    try:
        data = report_sc(SOURCE, assessment, CARD)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6 and len(data) < 20e6
    assert read(data).Columns == 2048


def test_a_turned_film_has_the_orientation_that_it_was_turned_to_or_none():
    turned = full_assessment()
    film = replace(turned.radiograph, header=replace(HEADER, orientation=("H", "L")))
    document = read(report_sc(SOURCE, replace(turned, radiograph=film), CARD))
    assert list(document.PatientOrientation) == ["H", "L"]
    assert "Corrected before: inverted, turned by 90 degrees." in document.DerivationDescription
    unknown = replace(turned, radiograph=replace(film, header=None))
    assert not read(report_sc(SOURCE, unknown, CARD)).PatientOrientation
    inverted = replace(unknown, corrections=("inverted",))
    assert list(read(report_sc(SOURCE, inverted, CARD)).PatientOrientation) == ["L", "F"]


def test_burned_in_annotation_and_lossy_compression_are_kept():
    origin = phantom_dicom(4, size=(60, 72), syntax="JPEG baseline", BurnedInAnnotation="YES")
    document = read(report_sc(origin, full_assessment(), CARD))
    assert document.BurnedInAnnotation == "YES" and document.LossyImageCompression == "01"
    assert document.LossyImageCompressionMethod == "ISO_10918_1" and document.LossyImageCompressionRatio >= 1


@pytest.mark.parametrize("assessment", [refused_assessment(), refused_assessment(decoded=True)])
def test_a_refusal_has_no_picture(assessment):
    with pytest.raises(RadiographError) as caught:
        report_sc(SOURCE, assessment, CARD)
    assert "the DICOM report states the reason" in caught.value.advice


def test_a_map_against_pneumonia_is_drawn_and_called_so():
    heatmap = both_sides(1100, 1300)
    assessment = replace(make_assessment(size=(1100, 1300)), heatmap=heatmap)
    document = read(report_sc(SOURCE, assessment, CARD, drawing=Drawing("contour", levels=(0.5, 0.9), against=True)))
    against = evidence_map(heatmap.cells, (1100, 1300), against=True)
    np.testing.assert_array_equal(
        document.pixel_array[:1100], contour(assessment.radiograph.pixels, against, (0.5, 0.9))
    )
    assert document.DerivationDescription.startswith(
        f"Evidence map against pneumonia of PneumoLens classifier {CARD.version} over the radiograph, contours at "
        "50 and 90 % of maximum."
    )
    assert "regions that lowered the probability" in document.DerivationDescription
    assert "raised" not in document.DerivationDescription


def test_the_words_below_the_picture_follow_the_side(monkeypatch):
    said = []
    monkeypatch.setattr(
        "reports.dicom.picture.line_picture", lambda words, size: said.append(words) or np.zeros((size, size), np.uint8)
    )
    for assessment, drawing in (
        (make_assessment(), Drawing()),
        (make_assessment(0.1, evidence=-1.0), Drawing(against=True)),
        (make_assessment(), Drawing(against=True)),
    ):
        report_sc(SOURCE, assessment, CARD, drawing=drawing)
    # Words are measured before they are set, so each is said more than once.
    assert {words for words in said if "map" in words.lower()} >= {
        "Evidence map: regions that raised the probability. Not the outline of a lesion.",
        "Evidence map against pneumonia: regions that lowered the probability. Not the outline of a lesion.",
        "The evidence map against pneumonia is empty: no region lowered the probability.",
    }


def test_a_line_below_the_picture_is_as_wide_as_its_letters():
    short, long = (line_picture("illness " * count + "|", 22) for count in (1, 12))
    for ink in (short, long):
        assert ink[:, -1].max() == 0 and ink[:, -9:].max() > 200, "the last letter is whole, and nothing follows it"
    assert line_picture("płuco 肺", 40).max() > 200


def test_the_greys_are_those_of_the_chosen_rendering_and_the_description_says_which():
    curves = [np.full(4096, value, np.uint16) for value in (9000, 52000)]
    film = Radiograph(
        np.full((1100, 1300), 9000, np.uint16),
        "ab" * 32,
        "DICOM",
        16,
        deep=np.zeros((1100, 1300), np.uint16),
        renderings=tuple(Rendering("A", one) for one in curves),
    )
    assessment = replace(make_assessment(0.05, evidence=-1.0, size=(1100, 1300)), radiograph=film)
    first, second = (read(report_sc(SOURCE, assessment, CARD, drawing=Drawing(rendering=k))) for k in (0, 1))
    assert (first.pixel_array[:1100] == round(9000 / 257)).all()
    assert (second.pixel_array[:1100] == round(52000 / 257)).all()
    assert "Displayed with window 2 of 2; assessed with window 1." in (second.DerivationDescription)
    assert "Displayed with" not in first.DerivationDescription


def test_files_are_read_by_dcmtk_without_a_word_of_complaint(tmp_path):
    """DCMTK is another implementation; where it is not installed, highdicom's and pydicom's reading stands alone."""
    report, picture = tmp_path / "report.dcm", tmp_path / "picture.dcm"
    report.write_bytes(report_sr(SOURCE, full_assessment(), CARD, Reading("agree", "Left lower zone.")))
    picture.write_bytes(report_sc(SOURCE, full_assessment(), CARD))
    assert highdicom.sr.srread(report).content.get_image_measurement_groups()
    pixels = dcmread(picture).pixel_array
    if shutil.which("dsrdump"):
        done = subprocess.run(["dsrdump", "+Pc", "+Pl", str(report)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert '(PROBABILITY,99PNEUMOLENS,"Calibrated probability of pneumonia")="0.87" (1,UCUM,"no units")' in (
            done.stdout
        )
        assert '(233604007,SCT,"Pneumonia")=(410592001,SCT,"Probably present")' in done.stdout
    if shutil.which("dcmj2pnm"):
        done = subprocess.run(
            ["dcmj2pnm", "+op", str(picture), str(tmp_path / "picture.ppm")], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        shown = cv2.cvtColor(cv2.imread(str(tmp_path / "picture.ppm")), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(shown, pixels)


def test_real_files_are_referenced_whatever_they_hold(test_data):
    files = sorted((test_data / "dicom").rglob("*.dcm"))
    assert len(files) > 5
    for file in files:
        source = file.read_bytes()
        with config.disable_value_validation():
            origin = dcmread(io.BytesIO(source), stop_before_pixels=True)
            for make in (report_sr, report_sc):
                if not origin.SOPInstanceUID.is_valid:
                    with pytest.raises(RadiographError, match="without a valid SOP Instance UID"):
                        make(source, full_assessment(), CARD)
                    continue
                document = read(make(source, full_assessment(), CARD))
                assert document.StudyInstanceUID == origin.StudyInstanceUID
                assert document.get("PatientID", "") == origin.get("PatientID", "")

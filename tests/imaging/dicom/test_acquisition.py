from __future__ import annotations

import pytest

from imaging.dicom.acquisition import Acquisition, read_acquisition
from imaging.dicom.elements import read_elements
from tests.dicoms import dx_dicom

KEY = b"0123456789abcdef"


def no_key() -> bytes:
    raise AssertionError("the key is asked for without an ID")


def test_patient_unit_age_sex_and_view_are_read_and_the_id_is_not() -> None:
    data = dx_dicom(
        PatientID="MRN-1", PatientAge="018M", PatientSex="M", ViewPosition="PA", Manufacturer="A\\B", StationName="ward"
    )
    known = read_acquisition(data, lambda: KEY)
    assert known is not None and (known.age_years, known.sex, known.view) == (1.5, "M", "PA")
    assert "MRN" not in repr(known) and len(known.patient) == 16
    assert 0x00100020 not in read_elements(data).dataset, "readers that assess a radiograph do not see the ID"


def test_the_beginning_of_a_file_is_enough_and_its_end_is_not_read() -> None:
    data = dx_dicom(PatientID="7")
    whole = read_acquisition(data, lambda: KEY)
    assert read_acquisition(data[:4000], lambda: KEY) == whole and whole is not None
    assert read_acquisition(data[:300], lambda: KEY) is None
    assert read_acquisition(b"\xff\xd8\xff" + bytes(200), no_key) is None


def test_hashes_differ_by_key_and_by_issuer() -> None:
    def hashed(key: bytes = KEY, **header: str) -> str:
        known = read_acquisition(dx_dicom(**header), lambda: key)
        assert known is not None
        return known.patient

    assert hashed(PatientID="7") == hashed(PatientID="7 ") != hashed(PatientID="8")
    assert hashed(PatientID="7") != hashed(b"another key 0123", PatientID="7")
    assert hashed(PatientID="12", IssuerOfPatientID="3") != hashed(PatientID="1", IssuerOfPatientID="23")


@pytest.mark.parametrize("identifier", ["", "00", "Anonymous", "unknown"])
def test_placeholders_are_no_patients(identifier: str) -> None:
    known = read_acquisition(dx_dicom(PatientID=identifier), no_key)
    assert known is not None and known.patient == ""


def test_laterals_and_other_parts_are_named() -> None:
    lateral = read_acquisition(dx_dicom(ViewPosition="LL"), lambda: KEY)
    hand = read_acquisition(dx_dicom(BodyPartExamined="HAND"), lambda: KEY)
    assert isinstance(lateral, Acquisition) and lateral.refused == "NOT_FRONTAL"
    assert isinstance(hand, Acquisition) and hand.refused == "NOT_A_CHEST_RADIOGRAPH"

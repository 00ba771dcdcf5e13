from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetError
from tests.dicoms import dx_dicom
from tests.phantoms import as_png, chest
from training.__main__ import main
from training.data.data_request import DataRequest
from training.data.dataset import scan
from training.data.patient_preview import concerns, preview, preview_from_values
from training.data.patients import read_patient_key, split_in_words, suggested_pattern
from training.data.sample import Sample
from training.data.split import split_by_patient

PICTURE = as_png(chest(1, (60, 70)))


def films(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURE)
    return root


def patients(root: Path, *names: str, pattern: str = "", rule: str = "auto") -> dict[str, Sample]:
    folder = scan(DataRequest((films(root, *names),), patient_pattern=pattern, patient_rule=rule))
    return {folder.name_of(s): s for s in folder.train}


@pytest.mark.parametrize(
    ("name", "patient", "known"),
    [
        ("person12_bacteria_47.jpeg", "person12", True),
        ("person1954_virus_4886.jpeg", "person1954", True),
        ("person124_virus_247_1.jpeg", "person124", True),
        ("IM-0115-0001.jpeg", "IM-115", True),
        ("IM-0115-0001-0002.jpeg", "IM-115", True),
        ("NORMAL2-IM-0115-0001.jpeg", "IM-115", True),  # the same number without proof: held out together
        ("BACTERIA-1008087-0001.jpeg", "Mendeley 1008087", True),
        ("NORMAL-28501-0001.jpeg", "Mendeley 28501", True),
        ("00000061_012.png", "NIH 00000061", True),
        ("scan_7.png", "file NORMAL/scan_7.png", False),
        ("personal_7.png", "file NORMAL/personal_7.png", False),
        ("TRIM-2024-0001.png", "file NORMAL/TRIM-2024-0001.png", False),
        ("person12_copy.png", "file NORMAL/person12_copy.png", False),
        ("20240131_001.png", "file NORMAL/20240131_001.png", False),  # a date
    ],
)
def test_patient_is_read_from_public_names_alone(tmp_path: Path, name: str, patient: str, known: bool) -> None:
    sample = patients(tmp_path, f"NORMAL/{name}", "PNEUMONIA/x.png")[f"NORMAL/{name}"]
    assert (sample.patient, sample.patient_known) == (patient, known)


def test_equal_names_of_two_classes_are_two_patients(tmp_path: Path) -> None:
    seen = patients(tmp_path, "NORMAL/0001.png", "PNEUMONIA/0001.png", "PNEUMONIA/0001.jpg")
    assert len({s.patient for s in seen.values()}) == 3


def test_a_patients_folder_is_the_patient_and_a_study_is_not(tmp_path: Path) -> None:
    names = [
        f"{c}/patient{n:05}/study{s}/view1_frontal.png" for n, c in ((1, "NORMAL"), (2, "PNEUMONIA")) for s in "12"
    ]
    seen = patients(tmp_path, *names)
    assert {s.patient for s in seen.values()} == {"folder patient00001", "folder patient00002"}
    assert all(s.patient_known for s in seen.values())


def test_any_folder_is_a_patient_where_that_is_asked(tmp_path: Path) -> None:
    names = ("NORMAL/Ann/1.png", "NORMAL/Ann/second/2.png", "PNEUMONIA/Bob/1.png", "PNEUMONIA/images/3.png")
    assert not any(s.patient_known for s in patients(tmp_path, *names).values())
    seen = patients(tmp_path, *names, rule="folder")
    assert [s.patient for s in seen.values()] == [
        "folder Ann",
        "folder Ann",
        "folder Bob",
        "file PNEUMONIA/images/3.png",
    ]
    known = patients(tmp_path / "b", "NORMAL/IM-0115-0001.png", "PNEUMONIA/person1_virus_6.png", rule="file")
    assert not any(s.patient_known for s in known.values())


def test_numbered_names_are_split_by_file_and_said_so_and_by_patient_with_a_pattern(tmp_path: Path) -> None:
    names = [f"{'NORMAL' if n % 2 else 'PNEUMONIA'}/P{n:04}_{k}.jpeg" for n in range(80) for k in (1, 2, 3)]

    def leaked(pattern: str) -> tuple[int, int, str]:
        samples = list(patients(tmp_path, *names, pattern=pattern).values())
        out = split_by_patient(samples, 0.2, 1)
        child = [s.path.name.split("_")[0] for s in samples]
        held = {c for c, o in zip(child, out, strict=True) if o}
        return len(held & {c for c, o in zip(child, out, strict=True) if not o}), len(held), split_in_words(samples)

    shared, held, words = leaked("")
    assert shared > 0.9 * held and words == "by file: the patients of the 240 radiographs are unknown"
    assert suggested_pattern([Path(name).stem for name in names]) == r"(.*)_\d+"
    shared, held, words = leaked(r"(.*)_\d+")
    assert (shared, held) == (0, 16) and words == "by patient: 240 radiographs of 80 patients"


@pytest.mark.parametrize(
    "names",
    [
        [f"scan_{n}" for n in range(40)],  # numbers of a set
        [f"img2024_{n}" for n in range(40)],
        [f"P{n}_1" for n in range(40)],  # one film each
        [f"P{n}_1" for n in range(20)] + [f"Q{n}-1" for n in range(20)],
    ],
)
def test_no_pattern_is_suggested_for_names_that_say_nothing(names: list[str]) -> None:
    assert suggested_pattern(names) == ""


def test_mixed_rules_are_counted_and_said(tmp_path: Path) -> None:
    films(tmp_path, "NORMAL/IM-0115-0001.png", "NORMAL/IM-0115-0002.png", "PNEUMONIA/x.png", "PNEUMONIA/y.png")
    folder = scan(tmp_path)
    assert sorted(folder.patient_rules.values()) == [2, 2]
    assert split_in_words(folder.train) == (
        "by patient for 2 radiographs of 1 patient; by file for the other 2 radiographs"
    )


def dicoms(root: Path, *ids: tuple[str, str]) -> Path:
    for seed, (name, patient) in enumerate(ids):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        header = {"PatientID": patient, "PatientAge": "003Y", "PatientSex": "F", "ViewPosition": "AP"}
        made = {"Manufacturer": "Maker", "ManufacturerModelName": "DX 1"}
        (root / name).write_bytes(dx_dicom(seed, **header, **made))
    return root


def test_dicom_patients_are_keyed_hashes_and_the_rest_of_the_header_is_kept(tmp_path: Path) -> None:
    root = dicoms(tmp_path / "films", ("NORMAL/a.dcm", "MRN-77"), ("PNEUMONIA/b", "MRN-77"), ("PNEUMONIA/c.dcm", "8"))
    key = tmp_path / "home" / "patient.key"
    folder = scan(DataRequest((root,), key_file=key))
    first, second, third = folder.train
    assert first.patient == second.patient != third.patient and first.patient_known
    assert "MRN" not in first.patient and len(first.patient) == len("ID ") + 16
    assert (first.unit, first.age_years, first.sex, first.view) == ("Maker DX 1", 3.0, "F", "AP")
    assert key.stat().st_mode & 0o777 == 0o600
    again = scan(DataRequest((root,), key_file=key)).train
    assert [s.patient for s in again] == [s.patient for s in folder.train]
    other = scan(DataRequest((root,), key_file=tmp_path / "elsewhere" / "patient.key")).train
    assert other[0].patient != first.patient


@pytest.mark.parametrize("identifier", ["", "0", "000", "ANONYMOUS", "anon", "Unknown", "XXXX"])
def test_a_placeholder_is_no_patient(tmp_path: Path, identifier: str) -> None:
    root = dicoms(tmp_path, ("NORMAL/a.dcm", identifier), ("PNEUMONIA/b.dcm", identifier))
    assert [s.patient for s in scan(root).train] == ["file NORMAL/a.dcm", "file PNEUMONIA/b.dcm"]


def test_patients_of_two_sources_are_one_by_dicom_id_alone(tmp_path: Path) -> None:
    for ward in ("a", "b"):
        dicoms(tmp_path / ward, ("NORMAL/a.dcm", "77"), ("PNEUMONIA/b.dcm", "8"))
        films(tmp_path / ward, "NORMAL/IM-0115-0001.png")
    samples = scan(DataRequest.of(tmp_path / "a", tmp_path / "b")).train
    assert len({s.patient for s in samples if s.path.suffix == ".dcm"}) == 2
    assert {s.patient for s in samples if s.path.suffix == ".png"} == {"a: IM-115", "b: IM-115"}


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "patient.key").write_text("secret")
    with pytest.raises(DatasetError, match="the key of patient IDs"):
        read_patient_key(tmp_path / "patient.key")


def test_every_name_of_the_public_training_split_has_a_known_form(test_data: Path) -> None:
    folder = scan(test_data / "kermany" / "train")
    assert all(s.patient_known for s in folder.train)
    assert len({s.patient for s in folder.train}) > 2000
    assert 0.1 < np.mean(split_by_patient(folder.train, 0.12, 2026)) < 0.14


def test_the_preview_says_how_many_patients_a_pattern_would_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{'NORMAL' if n % 2 else 'PNEUMONIA'}/P{n:04}_{k}.jpeg" for n in range(20) for k in (1, 2)]
    films(tmp_path / "films", *names, "NORMAL/masks/P0001_1.png")
    assert main(["patients", "--data", str(tmp_path / "films"), "--json", str(tmp_path / "p.json")]) == 0
    said = capsys.readouterr().out
    assert "40 radiographs, 40 patients\nsplit by file" in said and "NORMAL/P0001_1.jpeg → file NORMAL" in said
    assert r"The patient pattern (.*)_\d+ makes 20 patients of these 40 files" in said and "Skipped: masks (1)." in said
    values = json.loads((tmp_path / "p.json").read_text())
    assert preview_from_values(values) == preview(scan(tmp_path / "films")) and values["pattern_patients"] == 20
    assert main(["patients", "--data", str(tmp_path / "films"), "--patient-pattern", r"(.*)_\d+"]) == 0
    assert "40 radiographs, 20 patients\nsplit by patient" in capsys.readouterr().out


def test_a_source_of_one_class_and_names_in_two_sources_are_said(tmp_path: Path) -> None:
    films(tmp_path / "a", "NORMAL/IM-0115-0001.png", "PNEUMONIA/person1_virus_6.png")
    films(tmp_path / "b", "NORMAL/IM-0115-0001.png")
    said = dict(concerns(preview(scan(DataRequest.of(tmp_path / "a", tmp_path / "b")))))
    assert said["SOURCE_OF_ONE_CLASS"].startswith("Every radiograph of source b is NORMAL")
    assert said["PATIENT_NAMES_IN_TWO_SOURCES"].startswith("1 patient name occurs in more than one source")


def test_a_pattern_that_fits_no_whole_name_is_said(tmp_path: Path) -> None:
    for name in ("NORMAL/P0012_1.png", "PNEUMONIA/P0013_1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(PICTURE)
    said = {
        pattern: [code for code, _ in concerns(preview(scan(DataRequest((tmp_path,), patient_pattern=pattern))))]
        for pattern in ("", r"P(\d+)", r"P(\d+)_\d+")
    }
    assert said == {"": [], r"P(\d+)": ["PATTERN_WITHOUT_MATCH"], r"P(\d+)_\d+": []}


def test_a_table_that_names_one_patient_for_all_films_says_that_nothing_can_be_held_out() -> None:
    samples = [Sample(Path(f"{i}.png"), i % 2, "anonymous", patient_known=True) for i in range(4)]
    assert split_in_words(samples) == "4 radiographs are all of one patient: nothing can be held out"
    mixed = [*samples, Sample(Path("5.png"), 1, "5.png", patient_known=False)]
    assert "4 radiographs of 1 patient;" in split_in_words(mixed)

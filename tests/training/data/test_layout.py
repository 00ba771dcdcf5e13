from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import DatasetError
from tests.dicoms import dx_dicom
from tests.phantoms import as_png, chest
from training.data.data_request import DataRequest
from training.data.dataset import DatasetFolder, scan

PICTURE = as_png(chest(1, (60, 70)))


def folder_of(root: Path, *names: str, data: bytes = PICTURE) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def found(folder: DatasetFolder) -> dict[str, list[str]]:
    return {
        part: sorted(f"{'NP'[s.label]} {folder.name_of(s)}" for s in getattr(folder, part))
        for part in ("train", "val", "test")
        if getattr(folder, part)
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Normal/a.png", "Pneumonia/b.png"), {"train": ["N Normal/a.png", "P Pneumonia/b.png"]}),
        (
            ("normal/a.png", "Viral Pneumonia/b.png", "Bacterial_Pneumonia/c.png"),
            {"train": ["N normal/a.png", "P Bacterial_Pneumonia/c.png", "P Viral Pneumonia/b.png"]},
        ),
        (
            ("train/NORMAL/a.png", "train/PNEUMONIA/b.png", "valid/NORMAL/c.png", "validation/PNEUMONIA/d.png"),
            {
                "train": ["N train/NORMAL/a.png", "P train/PNEUMONIA/b.png"],
                "val": ["N valid/NORMAL/c.png", "P validation/PNEUMONIA/d.png"],
            },
        ),
        (
            ("chest_xray/train/NORMAL/a.png", "chest_xray/train/PNEUMONIA/b.png", "chest_xray/test/NORMAL/c.png"),
            {
                "train": ["N chest_xray/train/NORMAL/a.png", "P chest_xray/train/PNEUMONIA/b.png"],
                "test": ["N chest_xray/test/NORMAL/c.png"],
            },
        ),
        (
            ("x/chest_xray/NORMAL/images/a.png", "x/chest_xray/NORMAL/masks/a.png", "x/chest_xray/PNEUMONIA/b.png"),
            {"train": ["N x/chest_xray/NORMAL/images/a.png", "P x/chest_xray/PNEUMONIA/b.png"]},
        ),
        (
            ("NORMAL/a.png", "PNEUMONIA/BACTERIA/b.png", "PNEUMONIA/VIRUS/c.png"),
            {"train": ["N NORMAL/a.png", "P PNEUMONIA/BACTERIA/b.png", "P PNEUMONIA/VIRUS/c.png"]},
        ),
    ],
)
def test_layouts_of_public_sets_are_understood(
    tmp_path: Path, names: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    assert found(scan(folder_of(tmp_path, *names))) == expected


def test_pathogens_are_read_from_folders_and_names(tmp_path: Path) -> None:
    names = ("PNEUMONIA/VIRUS/a.png", "PNEUMONIA/BACTERIA-1008087-0001.png", "Bacterial Pneumonia/c.png")
    folder = scan(folder_of(tmp_path, "NORMAL/x_virus_1.png", "PNEUMONIA/d.png", *names))
    assert {s.path.name: s.pathogen for s in folder.train} == {
        "x_virus_1.png": "",
        "a.png": "virus",
        "BACTERIA-1008087-0001.png": "bacteria",
        "c.png": "bacteria",
        "d.png": "",
    }


def test_what_is_skipped_is_counted_by_kind(tmp_path: Path) -> None:
    folder_of(tmp_path, "NORMAL/a.png", "PNEUMONIA/b.png", "OTHER/c.png", "OTHER/deep/d.png", "e.png")
    folder_of(tmp_path, "NORMAL/.hidden.png", "NORMAL/masks/a.png", "NORMAL/b_mask.png", "NORMAL/notes.txt", "t.csv")
    folder_of(tmp_path, "PNEUMONIA/view2_lateral.png", "PNEUMONIA/more.zip", "PNEUMONIA/plain", data=b"plain")
    assert scan(tmp_path).skipped == {
        "hidden files": 1,
        "masks": 2,
        "lateral views": 1,
        "archives": 1,
        "files that are no pictures": 3,
        "files in OTHER/": 2,
        "pictures outside the class folders": 1,
    }


def test_dicom_files_are_data_with_or_without_an_ending(tmp_path: Path) -> None:
    folder_of(tmp_path, "NORMAL/IM00001", "PNEUMONIA/1.2.840.10008.5", data=dx_dicom(1, PatientID="7"))
    folder_of(tmp_path, "PNEUMONIA/side.dcm", data=dx_dicom(2, ViewPosition="LL"))
    folder_of(tmp_path, "PNEUMONIA/hand.dcm", data=dx_dicom(3, BodyPartExamined="HAND"))
    folder = scan(tmp_path)
    assert found(folder) == {"train": ["N NORMAL/IM00001", "P PNEUMONIA/1.2.840.10008.5"]}
    assert folder.skipped == {
        "lateral and oblique views, by DICOM header": 1,
        "other modalities and parts of the body, by DICOM header": 1,
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("healthy/a.png", "sick/b.png"), "folders healthy, sick"),
        (("a/NORMAL/1.png", "a/PNEUMONIA/2.png", "b/NORMAL/3.png"), "Received: a, b in the folder"),
        (("NORMAL/a.png",), "'PNEUMONIA': 0"),
        (("NORMAL/a.png", "COVID/b.png"), r"skipped: files in COVID/ \(1\)"),
        (("films.png",), "folders none"),
    ],
)
def test_other_layouts_are_refused_with_what_was_found(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        scan(folder_of(tmp_path, *names))


def test_a_source_may_have_one_class_where_another_has_both(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", "NORMAL/a.png", "PNEUMONIA/b.png")
    folder_of(tmp_path / "b", "NORMAL/c.png")
    assert len(scan(DataRequest.of(tmp_path / "a", tmp_path / "b")).train) == 3


def test_a_run_from_before_reads_the_files_that_it_read(tmp_path: Path) -> None:
    folder_of(tmp_path, "train/NORMAL/a.png", "train/PNEUMONIA/b.png", "valid/NORMAL/c.png", "train/NORMAL/IM-1_x.png")
    shutil.copy(tmp_path / "train/NORMAL/a.png", tmp_path / "train/NORMAL/g.gif")
    folder = scan(DataRequest((tmp_path,), patient_rule="before_0_2"))
    assert sorted((s.path.name, s.patient) for s in (*folder.train, *folder.val)) == [
        ("IM-1_x.png", "IM-1"),
        ("a.png", "a"),
        ("b.png", "b"),
    ]

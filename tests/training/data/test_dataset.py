from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetError
from tests.phantoms import as_jpeg, as_png, chest, write_dataset
from training.data.dataset import scan_folder
from training.data.loading import load_folder, read_samples
from training.data.manifest import read_manifest_rows, write_manifest
from training.data.sample import Sample, digest
from training.data.split import groups_of, hold_out, split_by_patient

samples_of_patients = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 40), st.integers(0, 60)),
    min_size=1,
    max_size=120,
).map(
    lambda rows: [
        Sample(Path(f"{i}.png"), label, f"p{patient}", True, "", f"sha{sha}")
        for i, (label, patient, sha) in enumerate(rows)
    ]
)


@given(samples_of_patients, st.floats(0.05, 0.6), st.integers(0, 5))
def test_no_patient_and_no_file_lies_on_both_sides(samples: list[Sample], fraction: float, seed: int) -> None:
    out = split_by_patient(samples, fraction, seed)
    held = [s for s, o in zip(samples, out, strict=True) if o]
    kept = [s for s, o in zip(samples, out, strict=True) if not o]
    assert {s.patient for s in held}.isdisjoint(s.patient for s in kept)
    assert {s.sha256 for s in held}.isdisjoint(s.sha256 for s in kept)


@given(samples_of_patients, st.randoms())
def test_split_does_not_depend_on_the_order_of_files(samples: list[Sample], random: object) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = {s.path for s, o in zip(samples, split_by_patient(samples, 0.3, 1), strict=True) if o}
    second = {s.path for s, o in zip(shuffled, split_by_patient(shuffled, 0.3, 1), strict=True) if o}
    assert first == second


def test_split_takes_the_asked_share_of_each_class_and_another_with_another_seed() -> None:
    samples = [Sample(Path(f"{i}"), int(i >= 300), f"p{i}", True, "", f"s{i}") for i in range(1000)]
    out = split_by_patient(samples, 0.12, 1)
    labels = np.array([s.label for s in samples])
    assert out[labels == 0].sum() == 36
    assert out[labels == 1].sum() == 84
    assert (split_by_patient(samples, 0.12, 2) != out).any()


def test_small_val_folder_joins_validation_with_its_patients_films_from_train() -> None:
    train = [Sample(Path(f"t{i}"), i % 2, f"p{i // 2}", True, "", f"s{i}") for i in range(200)]
    val = [replace(train[0], path=Path("v0"), sha256="v0"), Sample(Path("v1"), 1, "p900", True, "", "v1")]
    out = hold_out(train, val, 0.1, 1)
    assert out[0], "the film in train of a patient of val must be held out"
    assert out[-2:].all()
    assert 10 < out.sum() < 40


def test_folder_layouts(tmp_path: Path) -> None:
    write_dataset(tmp_path / "flat", 3)
    write_dataset(tmp_path / "parts" / "train", 3)
    write_dataset(tmp_path / "parts" / "val", 1)
    write_dataset(tmp_path / "parts" / "test", 2)
    (tmp_path / "flat" / "NORMAL" / ".hidden.png").write_bytes(b"")
    (tmp_path / "flat" / "NORMAL" / "notes.txt").write_text("x")
    assert [len(getattr(scan_folder(tmp_path / "flat"), part)) for part in ("train", "val", "test")] == [6, 0, 0]
    assert [len(getattr(scan_folder(tmp_path / "parts"), part)) for part in ("train", "val", "test")] == [6, 2, 4]
    assert {s.pathogen for s in scan_folder(tmp_path / "flat").train} == {"", "bacteria", "virus"}


def test_missing_folder_or_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected a folder"):
        scan_folder(tmp_path / "nowhere")
    (tmp_path / "NORMAL").mkdir()
    with pytest.raises(DatasetError, match=r"PNEUMONIA.*0"):
        scan_folder(tmp_path)


def test_unreadable_files_are_reported_and_left_out(tmp_path: Path) -> None:
    write_dataset(tmp_path, 3)
    (tmp_path / "NORMAL" / "broken.png").write_bytes(b"not a picture")
    samples = scan_folder(tmp_path).train
    kept, pictures, failures = read_samples(samples, 64)
    assert pictures.shape == (6, 64, 64) and pictures.dtype == np.uint8
    assert [path.name for path, _ in failures] == ["broken.png"]
    assert all(len(s.sha256) == 64 for s in kept)


def test_digest_names_content_and_label_not_paths() -> None:
    one = [Sample(Path("a"), 0, "p", True, "", "1"), Sample(Path("b"), 1, "q", True, "", "2")]
    assert digest(one) == digest([replace(s, path=Path("elsewhere")) for s in reversed(one)])
    assert digest(one) != digest([replace(s, label=1 - s.label) for s in one])


def test_manifest_says_which_side_each_file_is_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", 2)
    folder = scan_folder(tmp_path / "data")
    samples = [replace(s, unit="AGFA, 1", age_years=3.5, sex="F", view="AP") for s in folder.train]
    write_manifest(tmp_path / "split.csv", samples, np.array([True, False, False, True]), folder)
    rows = (tmp_path / "split.csv").read_text().splitlines()
    assert rows[0].startswith("path,label,patient,patient_known,sha256,part,"), (
        "the columns that others read come first"
    )
    assert rows[1].startswith("NORMAL/IM-")
    read = read_manifest_rows(tmp_path / "split.csv")
    assert [row.part for row in read] == ["validation", "train", "train", "validation"]
    assert [replace(row.sample, path=tmp_path / "data" / row.sample.path) for row in read] == samples


@given(samples_of_patients, st.floats(0.05, 0.6), st.integers(0, 5), st.randoms())
def test_no_picture_lies_on_both_sides_and_none_without_copies_moves(
    samples: list[Sample], fraction: float, seed: int, random: object
) -> None:
    places = list(range(len(samples)))
    random.shuffle(places)  # type: ignore[attr-defined]
    same = [members for start in range(0, len(places) // 2, 3) if len(members := places[start : start + 3]) > 1]
    out = split_by_patient(samples, fraction, seed, same)
    assert all(len({bool(out[i]) for i in members}) == 1 for members in same)
    sides: dict[str, set[bool]] = {}
    for sample, held in zip(samples, out, strict=True):
        sides.setdefault(sample.patient, set()).add(bool(held))
    assert all(len(side) == 1 for side in sides.values())
    plain = split_by_patient(samples, fraction, seed)
    within = [[i, j] for i, s in enumerate(samples) for j, t in enumerate(samples[:i]) if s.patient == t.patient]
    assert (split_by_patient(samples, fraction, seed, within) == plain).all(), "copies within a patient change nothing"


def films_under_names(folder: Path, films: int, names: int) -> None:
    """Write `films` drawn radiographs of each class, each under `names` names of unknown patients."""
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        (folder / name).mkdir(parents=True)
        for film in range(films):
            picture = chest(2 * film + label, (120, 140), bool(label))
            copies = (
                as_png(picture),
                as_jpeg(picture, 95),
                as_png(np.clip(picture.astype(int) + 3, 0, 255).astype("u1")),
            )
            for copy, data in enumerate(copies[:names]):
                (folder / name / f"{chr(97 + copy)}{film}-{'xyz'[copy]}.png").write_bytes(data)


def test_films_under_three_names_stay_on_one_side(tmp_path: Path) -> None:
    films_under_names(tmp_path, 8, 3)

    def leaked(keeps_duplicates: bool) -> tuple[int, int]:
        loaded = load_folder(tmp_path, 64, 0.25, 1, keeps_duplicates=keeps_duplicates)
        film = [(s.label, s.path.name[1:].split("-")[0]) for s in loaded.samples]
        trained = {one for one, out in zip(film, loaded.held_out, strict=True) if not out}
        held = [one for one, out in zip(film, loaded.held_out, strict=True) if out]
        return sum(one in trained for one in held), len(held)

    assert leaked(True) == (0, 12), "two films of each class, each under its three names"
    copies, held = leaked(False)
    assert held == 12 and copies > 6, "by file names alone, most of what is held out was trained on"


def test_a_split_needs_two_pictures_of_each_class_not_two_names(tmp_path: Path) -> None:
    films_under_names(tmp_path, 1, 3)
    with pytest.raises(DatasetError, match="1 NORMAL, 1 PNEUMONIA") as refused:
        load_folder(tmp_path, 64, 0.2, 1)
    assert "Copies of a radiograph count once" in refused.value.advice


def test_manifest_keeps_the_groups_of_a_split_that_knows_them(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", 2)
    folder = scan_folder(tmp_path / "data")
    groups = groups_of(folder.train, [[0, 3]])
    write_manifest(tmp_path / "split.csv", folder.train, np.zeros(4, bool), folder, groups)
    rows = read_manifest_rows(tmp_path / "split.csv")
    assert [row.group for row in rows] == list(groups) and len(set(groups)) == 1


def test_manifest_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    old = "path,label,patient,patient_known,sha256,part\nval/NORMAL/a.png,NORMAL,IM-1,1,ab,validation\n"
    (tmp_path / "split.csv").write_text(old + "train/NORMAL/b.png,NORMAL,b,0,cd,train\n")
    rows = read_manifest_rows(tmp_path / "split.csv")
    assert [(row.split, row.part, row.root) for row in rows] == [("val", "validation", 0), ("train", "train", 0)]
    assert rows[0].sample == Sample(Path("val/NORMAL/a.png"), 0, "IM-1", True, sha256="ab")


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for_and_links_are_said(tmp_path: Path) -> None:
    write_dataset(tmp_path / "films", 2)
    normal = tmp_path / "films" / "NORMAL"
    os.mkfifo(normal / "pipe.jpeg")
    os.mkfifo(normal / "pipe")
    (normal / "gone.jpeg").symlink_to("nowhere")
    write_dataset(tmp_path / "elsewhere", 1)
    (normal / "more").symlink_to(tmp_path / "elsewhere" / "NORMAL")
    (normal / "loop").symlink_to("..")
    folder = scan_folder(tmp_path / "films")
    assert len(folder.train) == 4
    assert folder.skipped == {
        "links to nothing, pipes and devices": 3,
        "links to folders, which are not followed": 2,
    }

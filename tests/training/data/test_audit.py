from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.phantoms import as_jpeg, as_png, chest, write_dataset
from training.data.audit import Audit, audit_folder, audit_from_json, audit_to_json, audit_to_text
from training.data.dataset import scan_folder
from training.data.duplicates import NEAR_BITS, Fingerprint, hash_masks, near_duplicates


def audit(folder: Path) -> Audit:
    return audit_folder(scan_folder(folder))


# A dozen drawn films are few, which has tests of its own.
FEW = {"FEW_RADIOGRAPHS", "ONE_HELD_OUT_PATIENT"}


def codes(result: Audit) -> dict[str, bool]:
    return {issue.code: issue.blocking for issue in result.issues if issue.code not in FEW}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_dataset(tmp_path, 6, size=(200, 240))
    return tmp_path


def test_a_clean_folder_has_nothing_to_say(films: Path) -> None:
    result = audit(films)
    assert codes(result) == {} and not result.is_blocked
    assert result.class_counts == {"train": {"NORMAL": 6, "PNEUMONIA": 6}}
    assert math.isnan(result.shortcut_auroc), "three patients a class are too few for five folds"
    assert json.loads(audit_to_json(result))["sees_no_lungs_auroc"] is None


def test_identical_pixels_are_found_behind_other_bytes(films: Path) -> None:
    original = next((films / "NORMAL").iterdir())
    from imaging.radiograph import decode_radiograph

    pixels = decode_radiograph(original.read_bytes()).pixels
    (films / "NORMAL" / "IM-0900-0001.png").write_bytes(as_png(pixels))
    result = audit(films)
    (group,) = result.exact_duplicate_groups
    assert set(group.files) == {f"NORMAL/{original.name}", "NORMAL/IM-0900-0001.png"}
    assert result.near_duplicate_groups == () and result.label_conflicts == ()
    assert codes(result) == {"EXACT_DUPLICATES": False}


def test_copies_under_other_names_do_not_judge_themselves(tmp_path: Path) -> None:
    write_dataset(tmp_path, 20, size=(96, 96))
    for copy in ("a", "b"):
        for path in list(tmp_path.glob("*/*[0-9].jpeg")):
            shutil.copy(path, path.with_name(f"{copy}{path.stem}{copy}.jpeg"))
    result = audit(tmp_path)
    assert len(result.exact_duplicate_groups) == 40
    assert 20 <= sum(sum(style.patients.values()) for style in result.styles) <= 40, "of 120 files of 20 patients"


def test_one_picture_under_both_labels_blocks(films: Path) -> None:
    shutil.copy(next((films / "NORMAL").iterdir()), films / "PNEUMONIA" / "person900_virus_1.jpeg")
    result = audit(films)
    assert codes(result)["LABEL_CONFLICT"] is True and result.is_blocked
    assert result.issues[0].code == "LABEL_CONFLICT", "the worst comes first"
    assert result.label_conflicts[0].labels == ("NORMAL", "PNEUMONIA")
    assert audit_to_text(result).splitlines()[2].startswith("BLOCKING")


def test_a_saved_again_and_resized_copy_is_a_near_duplicate(films: Path) -> None:
    import cv2

    film = chest(77, (400, 480))
    (films / "NORMAL" / "IM-0800-0001.png").write_bytes(as_png(film))
    small = cv2.resize(film, (240, 200), interpolation=cv2.INTER_AREA)
    brighter = np.clip(small.astype(int) + 4, 0, 255).astype(np.uint8)
    (films / "NORMAL" / "IM-0801-0001.jpeg").write_bytes(as_jpeg(brighter, 70))
    result = audit(films)
    (group,) = result.near_duplicate_groups
    assert set(group.files) == {"NORMAL/IM-0800-0001.png", "NORMAL/IM-0801-0001.jpeg"}


def test_leaks_between_splits_are_named(tmp_path: Path) -> None:
    for part, n in (("train", 6), ("val", 2), ("test", 4)):
        write_dataset(tmp_path / part, n, size=(200, 240))
    result = audit(tmp_path)
    found = codes(result)
    assert {"DUPLICATE_ACROSS_SPLITS", "PATIENT_IN_TWO_SPLITS", "SMALL_VALIDATION"} <= set(found)
    assert "person1" in result.patients_in_two_splits
    assert not result.is_blocked
    assert any(set(group.parts) == {"train", "val", "test"} for group in result.exact_duplicate_groups)


def test_unreadable_files_and_unknown_patients_are_counted(films: Path) -> None:
    (films / "NORMAL" / "broken.png").write_bytes(b"no picture")
    (films / "NORMAL" / "scan.png").write_bytes(as_png(chest(50, (200, 240))))
    result = audit(films)
    assert [path for path, _ in result.unreadable] == ["NORMAL/broken.png"]
    assert result.unknown_patients == 2
    assert {"UNREADABLE", "UNKNOWN_PATIENTS"} <= set(codes(result)) and not result.is_blocked


def test_a_class_without_readable_films_blocks(films: Path) -> None:
    for path in (films / "PNEUMONIA").iterdir():
        path.write_bytes(b"")
    assert codes(audit(films))["CLASS_MISSING"] is True


def test_a_class_that_is_told_by_its_format_raises_the_baseline(tmp_path: Path) -> None:
    """The same drawings in both classes; only the width differs, and it tells nearly all."""
    rng = np.random.default_rng(0)
    for label, name, width in ((0, "NORMAL", 200), (1, "PNEUMONIA", 170)):
        (tmp_path / name).mkdir()
        for i in range(40):
            film = chest(100 + 40 * label + i, (160, int(width + rng.normal(0, 6))))
            stem = f"IM-{i:04d}-0001" if label == 0 else f"person{i}_virus_{i}"
            (tmp_path / name / f"{stem}.jpeg").write_bytes(as_jpeg(film))
    result = audit(tmp_path)
    assert result.shortcut_auroc > 0.9
    assert result.shortcut_features["width"] > 0.95
    assert "SEES_NO_LUNGS" in codes(result)


def test_the_public_dataset(test_data: Path, tmp_path: Path) -> None:
    """A tenth of the real folder, with the pairs that are known to be the same picture."""
    source = test_data / "kermany" / "train"
    pairs = ("person124_virus_246", "person124_virus_247", "person1343_bacteria_3413", "person1343_bacteria_3414")
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / name).mkdir()
        files = sorted((source / name).iterdir())
        for path in {*files[::10], *(p for p in files if p.stem in pairs)}:
            shutil.copy(path, tmp_path / name)
    result = audit(tmp_path)
    found = {tuple(sorted(Path(f).stem for f in group.files)) for group in result.exact_duplicate_groups}
    assert {pairs[:2], pairs[2:]} <= found
    assert result.label_conflicts == () and result.unreadable == ()
    assert result.shortcut_auroc > 0.75


def test_hashes_that_differ_in_three_bits_agree_under_one_of_thehash_masks() -> None:
    masks = hash_masks()
    assert len(masks) == 20 and all(28 <= mask.bit_count() <= 36 for mask in masks)
    rng = np.random.default_rng(0)
    for _ in range(500):
        flipped = sum(1 << int(bit) for bit in rng.choice(64, NEAR_BITS, replace=False))
        assert any(not flipped & mask for mask in masks)


def test_near_duplicates_are_found_among_thousands_that_share_most_of_their_hash() -> None:
    rng = np.random.default_rng(0)
    seen = {}
    for i in range(3000):  # the upper half of the hash says nothing, as where all films are alike
        thumbnail = rng.integers(0, 256, (32, 32)).astype(np.uint8)
        seen[i] = Fingerprint(str(i), int(rng.integers(2**32)), thumbnail)
    seen[2999] = Fingerprint("copy", seen[7].phash ^ (1 << 3 | 1 << 20 | 1 << 50), seen[7].thumbnail)
    assert near_duplicates(seen, []) == [[7, 2999]]


def test_names_that_are_not_utf8_survive_the_audit(films: Path) -> None:
    first = next((films / "NORMAL").iterdir())
    odd = Path(os.fsdecode(os.fsencode(first.parent) + b"/\xd0\xd8.png"))
    shutil.copy(first, odd)
    result = audit(films)
    written = audit_to_json(result).encode("utf-8")
    assert odd.name in {Path(name).name for group in result.exact_duplicate_groups for name in group.files}
    assert audit_from_json(written.decode()).exact_duplicate_groups == result.exact_duplicate_groups

"""Films with drawn lungs: sides, devices, patients, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.errors import DatasetError
from tests.phantoms import as_png, chest
from training.data.lung_masks import BESIDE, LEFT, PX, RIGHT, UNKNOWN, label_lungs, read_lung_films

Mask = np.ndarray[Any, Any]


def drawn(*lungs: tuple[int, int]) -> Mask:
    """A mask of ellipses, each at a column with a half width."""
    mask = np.zeros((200, 200), np.uint8)
    for column, half in lungs:
        cv2.ellipse(mask, (column, 100), (half, 70), 0, 0, 360, 255, -1)
    return mask


def test_each_lung_gets_its_side() -> None:
    labels = label_lungs(drawn((60, 25), (140, 25)))
    assert (labels[100, 60], labels[100, 140], labels[100, 100]) == (LEFT, RIGHT, BESIDE)


def test_an_island_belongs_to_the_nearer_lung() -> None:
    mask = drawn((60, 25), (140, 25))
    mask[5:15, 150:160] = 255
    assert label_lungs(mask)[10, 155] == RIGHT


def test_lungs_in_one_piece_are_cut_where_it_is_least_high() -> None:
    mask = drawn((60, 25), (146, 30))
    mask[90:110, 60:146] = 255
    labels = label_lungs(mask)
    assert (labels[100, 84], labels[100, 120]) == (LEFT, RIGHT)
    assert not (labels[mask > 0] == BESIDE).any()


@pytest.mark.parametrize(("column", "side"), [(60, LEFT), (140, RIGHT)])
def test_one_drawn_lung_is_not_halved(column: int, side: int) -> None:
    labels = label_lungs(drawn((column, 30)))
    assert set(np.unique(labels)) == {BESIDE, side}


def test_a_device_is_neither_lung_nor_beside_it() -> None:
    mask = drawn((60, 25), (140, 25))
    mask[80:120, 50:70] = 127
    assert (label_lungs(mask)[80:120, 50:70] == UNKNOWN).all()


def write_pairs(data: Path, masks: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        for folder, pixels in ((data, chest(seed, (160, 200))), (masks, drawn((60, 25), (140, 25)))):
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_png(pixels))


def test_films_come_with_patient_and_class_and_a_test_set_is_left_out(tmp_path: Path) -> None:
    names = ("train/NORMAL/IM-0001-0001", "train/PNEUMONIA/person7_virus_3", "test/NORMAL/IM-0009-0001")
    write_pairs(tmp_path / "films", tmp_path / "masks", *names)
    read = read_lung_films(tmp_path / "films", tmp_path / "masks")
    assert read.names == tuple(f"{name}.png" for name in names[:2])
    assert (read.patients, read.classes, read.patients_known) == (("IM-1", "person7"), ("NORMAL", "PNEUMONIA"), True)
    assert read.left_out == {"films of a test set": 1}
    assert read.films.shape == read.labels.shape == (2, PX, PX)
    one = read.at([1])
    assert (one.names, one.patients, one.sha256) == (read.names[1:], ("person7",), read.sha256[1:])
    assert np.array_equal(one.films[0], read.films[1])


def test_rows_of_a_doubtful_match_and_empty_masks_are_left_out(tmp_path: Path) -> None:
    write_pairs(tmp_path / "films", tmp_path / "masks", "a", "b", "c")
    (tmp_path / "masks" / "c.png").write_bytes(as_png(np.zeros((50, 50), np.uint8)))
    (tmp_path / "masks" / "masks.csv").write_text("file,match_corr\na.png,0.93\nb.png,0.5\nc.png,0.99\n")
    read = read_lung_films(tmp_path / "films", tmp_path / "masks")
    assert read.names == ("a.png",)
    assert sum(read.left_out.values()) == 2
    assert not read.patients_known


def test_opacities_in_a_mask_are_lung_too(tmp_path: Path) -> None:
    write_pairs(tmp_path / "films", tmp_path / "masks", "a")
    mask = np.where(drawn((60, 25), (140, 25)) > 0, 128, 0).astype(np.uint8)
    mask[100:150, 130:150] = np.where(mask[100:150, 130:150] > 0, 255, 0)
    (tmp_path / "masks" / "a.png").write_bytes(as_png(mask))
    labels = read_lung_films(tmp_path / "films", tmp_path / "masks").labels[0]
    middle = round(120 / 200 * PX)
    assert (labels[middle, round(60 / 200 * PX)], labels[middle, round(140 / 200 * PX)]) == (LEFT, RIGHT)
    assert not (labels == UNKNOWN).any()


def test_masks_without_lungs_are_no_data(tmp_path: Path) -> None:
    write_pairs(tmp_path / "films", tmp_path / "masks", "a")
    (tmp_path / "masks" / "a.png").write_bytes(as_png(np.zeros((50, 50), np.uint8)))
    with pytest.raises(DatasetError, match="drawn lungs"):
        read_lung_films(tmp_path / "films", tmp_path / "masks")

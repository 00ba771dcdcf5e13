"""Evidence maps over regions whose place is known."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.errors import DatasetError
from core.settings import Settings
from model import engine
from model.engine import load_classifier
from model.intervals import wilson
from model.pipeline import assess
from tests.fake_classifier import ROWS, fake_card, fake_classifier
from tests.phantoms import as_png, chest, write_dataset
from training.__main__ import main
from training.data.dataset import scan_folder
from training.data.regions import MarkedFilms, read_boxes, read_masks
from training.data.sample import CLASSES, digest
from training.data.split import split_by_patient
from training.evaluation.localisation import FIGURES, drawn, localisation_to_json, localisation_to_text, localise, only
from training.runs.held_out import held_out_sha256

SIDE = 200
CARD = fake_card(input_px=200)
EVERYWHERE = np.ones((ROWS, ROWS))
LEFT = np.zeros((SIDE, SIDE), np.uint8)
LEFT[:, :50] = 255


def only_at(row: int, column: int) -> np.ndarray[Any, Any]:
    cells = np.zeros((ROWS, ROWS))
    cells[row, column] = 1
    return cells


def write(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_png(pixels))
    return path


def write_films(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write(root / f"{name}.png", chest(seed, (SIDE, SIDE)))


def write_boxes(path: Path, *rows: tuple[object, ...], columns: str = "file,x,y,w,h") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return path


def measured(marked: MarkedFilms, shown: np.ndarray[Any, Any]) -> dict[str, Any]:
    result, failures = localise(fake_classifier(CARD, shown=shown), marked)
    assert not failures
    values: dict[str, Any] = json.loads(localisation_to_json(result))
    return values


def test_an_even_map_has_the_energy_of_the_area(tmp_path: Path) -> None:
    write_films(tmp_path / "films", "NORMAL/IM-0001-0001", "PNEUMONIA/person2_virus_1")
    write(tmp_path / "masks/NORMAL/IM-0001-0001.png", LEFT)
    write(tmp_path / "masks/PNEUMONIA/person2_virus_1.png", LEFT.T)
    found = measured(read_masks(tmp_path / "films", tmp_path / "masks"), EVERYWHERE)
    assert found["n"] == 2 and found["marks"] == "lungs" and found["patients_known"]
    assert found["energy_in_lungs"] == pytest.approx(0.25) == found["lung_area"]
    assert found["energy_in_lungs_ci"] == pytest.approx([0.25, 0.25])
    for name in ("energy_in_opacity", "opacity_area", "pointing_game", "pointing_game_centre"):
        assert found[name] is None and found[f"{name}_ci"] is None
        assert found["missing"][name] == "the masks outline lungs, not opacities"


def test_a_mask_of_another_size_lies_over_the_whole_film_and_a_device_is_no_lung(tmp_path: Path) -> None:
    write_films(tmp_path / "films", "a")
    mask = np.zeros((240, 300), np.uint8)
    mask[:, 150:], mask[:60, 150:] = 255, 127
    write(tmp_path / "masks/a.png", mask)
    found = measured(read_masks(tmp_path / "films", tmp_path / "masks"), EVERYWHERE)
    assert found["lung_area"] == pytest.approx(0.375) == found["energy_in_lungs"]
    right = measured(read_masks(tmp_path / "films", tmp_path / "masks"), only_at(7, 8))
    left = measured(read_masks(tmp_path / "films", tmp_path / "masks"), only_at(7, 1))
    assert right["energy_in_lungs"] > 0.99 and left["energy_in_lungs"] < 0.01


def test_boxes_are_hit_by_the_maximum_alone(tmp_path: Path) -> None:
    write_films(tmp_path / "films", "one", "two")
    # Cells are 20 px wide: the maximum of the cell (2, 7) is about x 150, y 50. `two` has its box elsewhere.
    boxes = write_boxes(
        tmp_path / "boxes.csv",
        ("one.png", 145, 45, 10, 10),
        ("one.png", 0, 180, 20, 20),
        ("two.png", 95, 95, 10, 10),
    )
    found = measured(read_boxes(tmp_path / "films", boxes), only_at(2, 7))
    assert (found["n"], found["n_opacity"], found["n_empty"]) == (2, 2, 0)
    assert found["pointing_game"] == 0.5 and found["pointing_game_ci"] == pytest.approx(wilson(1, 2), abs=1e-6)
    assert found["pointing_game_centre"] == 0.5  # the middle of the film is in the box of `two`
    assert found["opacity_area"] == pytest.approx((500 + 100) / 2 / SIDE**2)
    assert found["missing"] == dict.fromkeys(("energy_in_lungs", "lung_area"), "boxes do not outline the lungs")
    even = measured(read_boxes(tmp_path / "films", boxes), EVERYWHERE)
    assert even["energy_in_opacity"] == pytest.approx(even["opacity_area"])
    assert even["pointing_game"] == pytest.approx(even["opacity_area"]), "equal maxima count by their share"


def test_a_patient_counts_once_in_the_interval(tmp_path: Path) -> None:
    names = [f"film{n}" for n in range(6)]
    write_films(tmp_path / "films", *names)
    rows = [(f"{name}.png", 145 if n < 3 else 0, 45, 10, 10, "ABC"[n // 2]) for n, name in enumerate(names)]
    boxes = write_boxes(tmp_path / "boxes.csv", *rows, columns="file,x,y,w,h,patient")
    found = measured(read_boxes(tmp_path / "films", boxes), only_at(2, 7))
    assert found["n_patients"] == 3 and found["pointing_game"] == 0.5
    # Of patient A both are hit, of C none: more than three independent films, fewer than six.
    low, high = found["pointing_game_ci"]
    assert wilson(1.5, 3)[0] < low < wilson(3, 6)[0] and high == pytest.approx(1 - low, abs=1e-6)


def test_all_hit_is_not_certain(tmp_path: Path) -> None:
    write_films(tmp_path / "films", "a", "b")
    boxes = write_boxes(tmp_path / "boxes.csv", ("a.png", 145, 45, 10, 10), ("b.png", 145, 45, 10, 10))
    found = measured(read_boxes(tmp_path / "films", boxes), only_at(2, 7))
    assert found["pointing_game"] == 1 and found["pointing_game_ci"][0] < 0.4


def test_an_empty_map_points_nowhere_and_is_counted(tmp_path: Path) -> None:
    write_films(tmp_path / "films", "a", "b")
    boxes = write_boxes(tmp_path / "boxes.csv", ("a.png", 0, 0, 200, 200), ("b.png", 0, 0, 200, 200))
    marked = read_boxes(tmp_path / "films", boxes)
    result, _ = localise(fake_classifier(CARD, shown=-EVERYWHERE), marked)
    assert result.n_empty == 2 and result.figures["pointing_game"].value == 0
    assert result.missing["energy_in_opacity"] == "every map is empty"
    assert "2 maps are empty" in localisation_to_text(result, "films")


def test_the_lung_prior_is_made_of_other_patients_alone(tmp_path: Path) -> None:
    """Each patient's opacity fills the own lung; the lung of the other patient is on the other side."""
    write_films(tmp_path / "films", "person1_virus_1", "person1_virus_2", "person2_virus_1")
    for name, columns in (
        ("person1_virus_1", slice(0, 100)),
        ("person1_virus_2", slice(0, 100)),
        ("person2_virus_1", slice(100, 200)),
    ):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, columns] = 255
        mask[:20, columns] = 128
        write(tmp_path / f"masks/{name}.png", mask)
    apart = measured(read_masks(tmp_path / "films", tmp_path / "masks"), EVERYWHERE)
    assert apart["marks"] == "opacities" and apart["pointing_game_lung_prior"] == pytest.approx(0, abs=1e-6)
    assert apart["energy_in_lungs"] == pytest.approx(0.5) and apart["opacity_area"] == pytest.approx(0.45)
    write(tmp_path / "masks/person2_virus_1.png", cv2.flip(mask, 1))
    alike = measured(read_masks(tmp_path / "films", tmp_path / "masks"), EVERYWHERE)
    assert alike["pointing_game_lung_prior"] == pytest.approx(0.9, abs=0.01)
    for name in ("person1_virus_1", "person1_virus_2"):
        (tmp_path / f"masks/{name}.png").unlink()
    alone = measured(read_masks(tmp_path / "films", tmp_path / "masks"), EVERYWHERE)
    assert alone["missing"]["pointing_game_lung_prior"] == "a lung prior needs films of at least two patients"


def test_the_table_of_masks_pairs_and_refuses(tmp_path: Path) -> None:
    write_films(tmp_path / "data/kermany", "val/NORMAL/a", "val/NORMAL/b", "train/NORMAL/a")
    for name in ("val/NORMAL/a", "val/NORMAL/b", "train/NORMAL/a"):
        write(tmp_path / f"data/masks/{name}.png", LEFT)
    write_boxes(
        tmp_path / "data/masks/masks.csv",
        ("val/NORMAL/a.png", 0.97),
        ("val/NORMAL/b.png", 0.79),
        ("train/NORMAL/a.png", 0.9),
        ("../../outside.png", 1),
        columns="file,match_corr",
    )
    whole = read_masks(tmp_path / "data/kermany", tmp_path / "data/masks")
    assert [film.path.parts[-3] for film in whole.films] == ["train", "val"]
    assert whole.left_out == {"masks whose match with the film is below 0.80": 1, "masks without their film": 1}
    part = read_masks(tmp_path / "data/kermany/val", tmp_path / "data/masks/val")
    assert [film.mask for film in part.films] == [tmp_path / "data/masks/val/NORMAL/a.png"]
    with pytest.raises(DatasetError, match="Received: none that belongs"):
        read_masks(tmp_path / "data/masks", write(tmp_path / "others/x.png", LEFT).parent)


def test_boxes_that_are_no_opacity_or_beside_the_film(tmp_path: Path) -> None:
    write_films(tmp_path / "films", "a")
    columns = "file,finding,x,y,w,h"
    boxes = write_boxes(
        tmp_path / "boxes.csv",
        ("a.png", "Lung Opacity", 10, 10, 30, 30),
        ("a.png", "Cardiomegaly", 50, 50, 90, 90),
        ("missing.png", "Pneumonia", 0, 0, 10, 10),
        columns=columns,
    )
    marked = read_boxes(tmp_path / "films", boxes)
    assert [len(film.boxes) for film in marked.films] == [1]
    assert marked.left_out == {"boxes of a finding that is no opacity": 1, "boxes without their film": 1}
    too_far = write_boxes(tmp_path / "far.csv", ("a.png", "Opacity", 150, 0, 90, 10), columns=columns)
    with pytest.raises(DatasetError, match="expected boxes on a film of 200 × 200 pixels"):
        localise(fake_classifier(CARD), read_boxes(tmp_path / "films", too_far))
    for bad in (("a.png", "Opacity", 1, 1, 0, 5), ("a.png", "Opacity", "x", 1, 5, 5)):
        with pytest.raises(DatasetError, match="x, y, w and h"):
            read_boxes(tmp_path / "films", write_boxes(tmp_path / "bad.csv", bad, columns=columns))
    with pytest.raises(DatasetError, match="no column y"):
        read_boxes(tmp_path / "films", write_boxes(tmp_path / "bad.csv", ("a.png", 1), columns="file,x"))


def test_a_limit_is_drawn_and_counted(tmp_path: Path) -> None:
    write_films(tmp_path / "films", *"abcd")
    for name in "abcd":
        write(tmp_path / f"masks/{name}.png", LEFT)
    marked = read_masks(tmp_path / "films", tmp_path / "masks")
    assert drawn(marked, 4) is marked
    few = drawn(marked, 2)
    assert len(few.films) == 2 and few.left_out == {"films beyond the limit": 2}


def test_the_served_map_on_real_films(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's figures are those of the map that `assess` returns, divided by hand."""
    films, masks = test_data / "kermany" / "val", test_data / "kermany_lung_masks" / "val"
    if not masks.is_dir():
        pytest.skip("no masks of lungs")
    loaded = []
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(engine, "load_classifier", lambda *a, **k: loaded.append(load_classifier(*a, **k)) or loaded[0])
    words = ("--data", str(films), "--masks", str(masks), "--limit", "3", "--json", str(tmp_path / "lungs.json"))
    assert main(["localisation", *words]) == 0
    found = json.loads((tmp_path / "lungs.json").read_text())
    assert set(FIGURES) <= set(found) and found["n"] + found["n_refused"] == 3
    shares = []
    for film in drawn(read_masks(films, masks), 3).films:
        heatmap = assess(film.path.read_bytes(), loaded[0]).heatmap
        if heatmap is not None and not heatmap.is_empty:
            assert film.mask is not None
            lung = cv2.imread(str(film.mask), cv2.IMREAD_GRAYSCALE) == 255
            shares.append(heatmap.values[lung].sum() / heatmap.values.sum())
    assert found["energy_in_lungs"] == pytest.approx(np.mean(shares), abs=1e-4)


def test_held_out_patients_are_found_again(tmp_path: Path) -> None:
    write_dataset(tmp_path / "films", 8)
    samples = [
        dataclasses.replace(one, sha256=hashlib.sha256(one.path.read_bytes()).hexdigest())
        for one in scan_folder(tmp_path / "films").train
    ]
    out = split_by_patient(samples, 0.3, 7)
    held = {one.sha256 for one, is_out in zip(samples, out, strict=True) if is_out}
    counts = {name: sum(s.label == label and s.sha256 in held for s in samples) for label, name in enumerate(CLASSES)}
    card = fake_card(
        data={"digest": digest(samples), "validation": counts}, training={"validation_fraction": 0.3, "seed": 7}
    )
    assert held_out_sha256(Settings(tmp_path / "data"), card, tmp_path / "films") == held
    for sample in samples:
        write(tmp_path / "masks" / sample.path.relative_to(tmp_path / "films").with_suffix(".png"), LEFT)
    marked = only(read_masks(tmp_path / "films", tmp_path / "masks"), held)
    assert len(marked.films) == len(held)
    assert marked.left_out == {"films of patients that the version learned from": len(samples) - len(held)}
    with pytest.raises(DatasetError, match="marked radiographs of held-out patients"):
        only(marked, set())
    samples[0].path.unlink()
    with pytest.raises(DatasetError, match="or its run"):
        held_out_sha256(Settings(tmp_path / "data"), card, tmp_path / "films")

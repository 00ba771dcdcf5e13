from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import AppError, DatasetError
from core.settings import Settings
from imaging.radiograph import enlarge
from model.anatomy import AnatomyFinder
from model.framing import framed, pairs_of
from tests.lungs import ellipses, find_drawn
from tests.phantoms import chest, write_dataset
from training.commands.preview import add_commands
from training.data.augment import augment
from training.data.augment_framed import Donors, augment_framed
from training.data.dataset import scan_folder
from training.data.preview import contact_sheet, in_words, pick_films
from training.data.recipes import FINETUNE, LUNGS, PLAIN, RECIPES, STRONG, resolve

PX = 64


def pictures(n: int) -> np.ndarray:
    return np.stack([chest(seed, (96, 96)) for seed in range(n)])


def tiles_at(sheet: np.ndarray, tile: np.ndarray) -> list[tuple[int, int]]:
    """Where a tile lies on a sheet, pixel for pixel, as (row, column)."""
    near = np.argwhere(cv2.matchTemplate(sheet, tile, cv2.TM_SQDIFF) < 1e4)  # its float32 sums are not exact
    height, width = tile.shape
    return [(int(y), int(x)) for y, x in near if (sheet[y : y + height, x : x + width] == tile).all()]


def run(*arguments: str, settings: Settings | None = None) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    options = parser.parse_args(["preview-augmentation", *arguments])
    return int(options.act(options, settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_dataset(root, 3, size=(80, 96))
    return root


def test_rows_show_the_picture_as_the_network_gets_it_and_then_its_changed_copies() -> None:
    films = pictures(2)
    sheet = contact_sheet(films, ["one", "two"], [STRONG], 3, 7, PX)
    assert sheet.ndim == 2 and sheet.dtype == np.uint8
    corners = []
    for row, film in enumerate(films):
        changed = [augment(film, np.random.default_rng((7, row, copy)), STRONG, PX) for copy in range(3)]
        found = [tiles_at(sheet, tile) for tile in (enlarge(film, PX), *changed)]
        assert all(len(places) == 1 for places in found)
        corners.append([places[0] for places in found])
        assert len({y for y, _ in corners[row]}) == 1, "one row"
        assert np.diff([x for _, x in corners[row]]).min() > PX, "side by side, apart"
    assert corners[1][0][0] > corners[0][0][0] + PX
    assert [x for _, x in corners[0]] == [x for _, x in corners[1]]


def test_recipes_stand_below_each_other_and_change_by_the_same_random_numbers() -> None:
    films = pictures(1)
    both = contact_sheet(films, ["one"], [STRONG, FINETUNE], 2, 0, PX)
    alone = [contact_sheet(films, ["one"], [recipe], 2, 0, PX) for recipe in (STRONG, FINETUNE)]
    assert both.shape[1] == alone[0].shape[1] == alone[1].shape[1]
    assert len(tiles_at(both, enlarge(films[0], PX))) == 2
    for sheet in alone:
        assert any((both[top : top + len(sheet)] == sheet).all() for top in range(len(both) - len(sheet) + 1))


def test_recipes_for_the_lungs_are_shown_on_framed_films_with_the_look_of_the_other_class() -> None:
    films, labels = pictures(3), np.array([0, 1, 0])
    pairs = np.stack([np.dstack((film, *ellipses(96))) for film in films])
    sheet = contact_sheet(films, ["", "", ""], [LUNGS, STRONG], 4, 7, PX, pairs, labels)
    assert all(len(tiles_at(sheet, framed(pair, PX)[..., 0])) == 1 for pair in pairs)
    assert all(len(tiles_at(sheet, enlarge(film, PX))) == 1 for film in films), "the other recipe is as before"
    for row, among in ((0, [1]), (1, [0, 2]), (2, [1])):
        for copy in range(4):
            rng = np.random.default_rng((7, row, copy))
            donor = Donors(np.array(among)).draw(rng)
            assert donor is not None
            assert len(tiles_at(sheet, augment_framed(pairs[row], rng, LUNGS, PX, pairs[donor])[..., 0])) == 1


def test_command_finds_the_lungs_only_for_recipes_that_need_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def load(path: Path, sha256: str) -> AnatomyFinder:
        looked.append((path.name, len(sha256)))
        return find_drawn

    monkeypatch.setattr("model.anatomy_files.load_anatomy_finder", load)
    monkeypatch.setattr("training.commands.preview.start_tensorflow", lambda **_: None)
    arguments = ("--data", str(folder), "--films", "2", "--copies", "1", "--out", str(tmp_path / "sheet.png"))
    run(*arguments, "--recipe", "strong", "jitter")
    assert not looked
    run(*arguments, "--recipe", "another_unit", settings=Settings(tmp_path))
    assert looked == [("anatomy.npz", 64)]
    sheet = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    films, _, _ = pick_films(scan_folder(folder).train, 2, 0, fills_border=True)
    assert all(len(tiles_at(sheet, framed(pair, 224)[..., 0])) == 1 for pair in pairs_of(films, find_drawn))


def test_captions_are_dark_on_light_and_lie_beside_the_pictures() -> None:
    films = pictures(1)
    with_name, without = (contact_sheet(films, [name], [PLAIN], 1, 0, PX) for name in ("Film 1\nNORMAL", ""))
    (y, x), *_ = tiles_at(without, enlarge(films[0], PX))
    changed = np.argwhere(with_name != without)
    assert len(changed) > 100 and with_name[with_name != without].min() < 60 and np.median(with_name[y:, :x]) > 240
    assert changed[:, 1].max() < x - 4 and changed[:, 0].min() >= y
    assert (without[:y] < 60).any(), "a header above the pictures"


@pytest.mark.parametrize("recipe", [*RECIPES.values(), *(resolve(name, 2) for name in RECIPES)], ids=lambda r: r.name)
@pytest.mark.parametrize("copies", [1, 6])
def test_no_word_of_any_header_runs_out_of_the_sheet(recipe: object, copies: int) -> None:
    sheet = contact_sheet(pictures(1), [""], [recipe], copies, 0, 224)  # type: ignore[list-item]
    assert (sheet[:, -20:] > 200).all() and (sheet[:, :20] > 200).all() and (sheet[-20:] > 200).all()


def test_recipe_in_words_names_what_is_varied_and_nothing_else() -> None:
    assert in_words(PLAIN) == "no changes"
    assert in_words(resolve("keras_notebook")) == "crop's sides ×0.80–1.20, shift ±10 %, rotation ±30°, 50 % mirrored"
    words = in_words(STRONG)
    for part in ("crop of 15–100 % of the area", "aspect ×0.70–1.43", "35 % JPEG of quality 30–95", "25 % with a rect"):
        assert part in words
    assert "shift" not in words and "sides" not in words and "margins" not in words
    assert in_words(replace(STRONG, fills_border=True)) == f"{words}, margins continued over black borders"


def test_borders_are_shown_as_a_training_fills_them_unless_it_is_asked_not_to(tmp_path: Path) -> None:
    """Films on a black ground: the sheet must be what the network learns from, not what the files show."""
    framed = [cv2.copyMakeBorder(chest(seed, (90, 90)), 12, 12, 12, 12, cv2.BORDER_CONSTANT) for seed in range(2)]
    for film, name in zip(framed, ("NORMAL", "PNEUMONIA"), strict=True):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / f"{name}.png"), film)
    dark = {}
    for how in ("--fills-border", "--no-fills-border"):
        run(
            "--data",
            str(tmp_path),
            "--recipe",
            "keras_notebook",
            "--films",
            "2",
            how,
            "--out",
            str(tmp_path / f"{how}.png"),
        )
        sheet = cv2.imread(str(tmp_path / f"{how}.png"), cv2.IMREAD_GRAYSCALE)
        dark[how] = (sheet < 3).mean()
    assert dark["--fills-border"] < 0.02 < 0.2 < dark["--no-fills-border"]
    run("--data", str(tmp_path), "--recipe", "keras_notebook", "--films", "2", "--out", str(tmp_path / "default.png"))
    assert (tmp_path / "default.png").read_bytes() == (tmp_path / "--fills-border.png").read_bytes()


@pytest.mark.parametrize(
    ("n", "names", "recipes", "copies"),
    [(0, [], [PLAIN], 1), (2, ["one"], [PLAIN], 1), (1, ["one"], [], 1), (1, ["one"], [PLAIN], 0)],
)
def test_empty_sheet_is_refused(n: int, names: list[str], recipes: list, copies: int) -> None:
    with pytest.raises(ValueError, match=f"{n} pictures, {len(names)} names, {len(recipes)} recipes, {copies}"):
        contact_sheet(np.zeros((n, 96, 96), np.uint8), names, recipes, copies, 0, PX)


def test_films_are_drawn_from_both_classes_and_named_without_their_files(folder: Path) -> None:
    films, names, labels = pick_films(scan_folder(folder).train, 5, seed=1)
    assert films.shape == (5, 224, 224) and films.dtype == np.uint8
    assert names == ["Film 1\nNORMAL", "Film 2\nPNEUMONIA", "Film 3\nNORMAL", "Film 4\nPNEUMONIA", "Film 5\nNORMAL"]
    assert labels.tolist() == [0, 1, 0, 1, 0] and len({film.tobytes() for film in films}) == 5
    again, other = (pick_films(scan_folder(folder).train, 5, seed=s)[0] for s in (1, 2))
    assert (again == films).all() and (other != films).any()


def test_damaged_films_are_passed_over_and_too_few_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, 2, size=(64, 64))
    next((tmp_path / "NORMAL").iterdir()).write_bytes(b"no picture")
    assert pick_films(scan_folder(tmp_path).train, 3, seed=0)[1] == [
        "Film 1\nNORMAL",
        "Film 2\nPNEUMONIA",
        "Film 3\nPNEUMONIA",
    ]
    with pytest.raises(DatasetError, match=r"expected 4 readable radiographs\. Received: 3"):
        pick_films(scan_folder(tmp_path).train, 4, seed=0)


def test_command_writes_a_png_and_says_where(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        run(
            "--data",
            str(folder),
            "--recipe",
            "strong",
            "keras_notebook",
            "--strength",
            "0.5",
            "--films",
            "2",
            "--copies",
            "1",
        )
        == 0
    )
    sheet = cv2.imdecode(np.fromfile(tmp_path / "augmentation.png", np.uint8), cv2.IMREAD_UNCHANGED)
    films, names, _ = pick_films(scan_folder(folder).train, 2, 0, fills_border=True)
    recipes = [replace(resolve(name, 0.5), fills_border=True) for name in ("strong", "keras_notebook")]
    assert (sheet == contact_sheet(films, names, recipes, 1, 0, 224)).all()
    assert capsys.readouterr().out == (
        "augmentation.png: 2 radiographs, 1 augmented copy of each with strong×0.50, keras_notebook×0.50\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["augmentation.png"], "nothing temporary is left"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "strange"], "strange"),
        (["--strength", "2.5"], "from 0 to 2. Received: 2.5"),
        (["--strength", "nan"], "from 0 to 2. Received: nan"),
        (["--films", "0"], "from 1 to 20. Received: 0"),
        (["--copies", "many"], "whole number from 1 to 12. Received: many"),
        (["--seed", "-1"], "Received: -1"),
        (["--out", "sheet.jpg"], "ends in .png. Received: sheet.jpg"),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_expected(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("--data", str(folder), *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_folders_that_are_not_there_are_refused_before_anything_is_drawn(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="expected a folder to write into"):
        run("--data", str(folder), "--out", str(tmp_path / "no" / "sheet.png"))
    with pytest.raises(DatasetError, match=r"expected a folder\. Received"):
        run("--data", str(tmp_path / "no"), "--out", str(tmp_path / "sheet.png"))


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    shown = capsys.readouterr().out
    assert "python -m training preview-augmentation --data chest_xray" in shown and "augmentation.png" in shown

"""What each change does to a film, and what is said of a classifier whose weaknesses are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import training.evaluation.evaluate
from core.errors import DatasetError
from imaging.radiograph import decode_radiograph, network_input, squash
from tests.fake_classifier import fake_card, fake_classifier
from tests.phantoms import as_png, chest
from training.data.dataset import scan_folder
from training.data.sample import Sample
from training.evaluation import robustness as room
from training.evaluation.evaluate import evaluate_samples
from training.evaluation.robustness import PERTURBATIONS, Perturbation, robustness, rows_for_card, variants

RNG = np.random.default_rng(0)
TABLE = {one.name: one for one in PERTURBATIONS}
FILM = chest(3, (300, 360))


def changed(name: str, picture: np.ndarray) -> np.ndarray:
    result = TABLE[name].apply(picture, np.random.default_rng(7))
    assert result.dtype == np.uint8 and result.ndim == 2
    return result


def test_the_table_holds_what_is_aimed_at() -> None:
    assert len(TABLE) == len(PERTURBATIONS)
    assert {one.name for one in PERTURBATIONS if one.mild} == {
        "brightness -20 %",
        "brightness +20 %",
        "contrast -20 %",
        "contrast +20 %",
        "JPEG 50",
        "blur 1 px",
        "rotation -10°",
        "rotation +10°",
    }
    assert {
        "gamma 0.7",
        "gamma 1.4",
        "blur 2 px",
        "noise 8 levels",
        "JPEG 20",
        "crop to 90 %",
        "crop to 80 %",
        "inverted",
        "all 224 px, JPEG 75",
    } <= set(TABLE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brightness -20 %", [0, 80, 160, 204]),
        ("brightness +20 %", [0, 120, 240, 255]),
        ("brightness -51 levels", [0, 49, 149, 204]),
        ("brightness +51 levels", [51, 151, 251, 255]),
        ("inverted", [255, 155, 55, 0]),
        # About the mean of 138.75.
        ("contrast -20 %", [28, 108, 188, 232]),
        ("contrast +20 %", [0, 92, 212, 255]),
        # 255 · (100 / 255)^0.7 = 132.4
        ("gamma 0.7", [0, 132, 215, 255]),
        ("gamma 1.4", [0, 69, 181, 255]),
    ],
)
def test_grey_values_by_hand(name: str, expected: list[int]) -> None:
    picture = np.array([[0, 100], [200, 255]], np.uint8)
    assert changed(name, picture).ravel().tolist() == expected
    assert picture.ravel().tolist() == [0, 100, 200, 255]


@pytest.mark.parametrize(("name", "sigma"), [("blur 1 px", 1.0), ("blur 2 px", 2.0)])
def test_blur_is_as_wide_as_it_says_once_the_film_is_a_square_of_299(name: str, sigma: float) -> None:
    # A point on a film twice as wide as high: in pixels of the square, the blur is the same along both sides.
    point = np.zeros((299, 598), np.uint8)
    point[149, 298:300] = 255
    blurred = changed(name, point).astype(float)
    for axis, scale in ((0, 1.0), (1, 0.5)):
        profile = blurred.sum(1 - axis)
        place = np.arange(len(profile)) * scale
        middle = (profile * place).sum() / profile.sum()
        assert np.sqrt((profile * (place - middle) ** 2).sum() / profile.sum()) == pytest.approx(sigma, rel=0.12)


def test_noise_is_as_strong_as_it_says_and_repeats() -> None:
    grey = np.full((200, 200), 120, np.uint8)
    grain = changed("noise 8 levels", grey).astype(float) - 120
    assert grain.std() == pytest.approx(8, rel=0.03) and abs(grain.mean()) < 0.2
    assert np.array_equal(changed("noise 8 levels", grey), changed("noise 8 levels", grey))


def test_jpeg_loses_more_at_a_lower_quality() -> None:
    loss = {name: np.abs(changed(name, FILM).astype(float) - FILM).mean() for name in ("JPEG 50", "JPEG 20")}
    assert 0.5 < loss["JPEG 50"] < 0.8 * loss["JPEG 20"] < 10


def test_a_film_turns_about_its_centre_and_keeps_its_proportions() -> None:
    film = np.full((101, 201), 10, np.uint8)
    film[48:53, 178:183] = 250  # 80 px right of the centre
    for name, sign in (("rotation +10°", -1), ("rotation -10°", 1)):  # anticlockwise moves it up
        turned = changed(name, film)
        assert turned.shape == film.shape and turned[0, 0] == 0
        row, column = (np.mean(where) for where in np.nonzero(turned > 150))
        assert row == pytest.approx(50 + sign * 80 * np.sin(np.deg2rad(10)), abs=0.6)
        assert column == pytest.approx(100 + 80 * np.cos(np.deg2rad(10)), abs=0.6)


def test_crops_keep_the_middle() -> None:
    film = np.arange(200 * 100, dtype=np.uint32).reshape(200, 100).astype(np.uint8)
    assert np.array_equal(changed("crop to 80 %", film), film[20:180, 10:90])
    assert changed("crop to 90 %", film).shape == (180, 90)


def test_reencoding_gives_every_film_one_size() -> None:
    assert changed("all 224 px, JPEG 75", chest(1, (300, 500))).shape == (224, 224)
    again = changed("all 224 px, JPEG 75", FILM).astype(float)
    assert np.abs(again - squash(decode_radiograph(as_png(FILM)), 224)).mean() < 3


def test_the_network_sees_the_film_as_it_is_and_then_each_change() -> None:
    classifier = fake_classifier()
    large = decode_radiograph(as_png(chest(3, (600, 720))))
    seen = variants(large, classifier, PERTURBATIONS)
    assert seen.shape == (1 + len(PERTURBATIONS), 40, 40) and seen.dtype == np.uint8
    assert np.array_equal(seen[0], network_input(large, 40, 40))
    untouched = variants(large, classifier, [Perturbation("nothing", False, lambda picture, _: picture)])
    # Reducing in two steps instead of one is no change of its own.
    assert np.abs(untouched[1].astype(float) - untouched[0]).max() <= 3
    for one, picture in zip(PERTURBATIONS, seen[1:], strict=True):
        assert (
            one.name.startswith(("JPEG", "noise", "blur", "all")) or np.abs(picture.astype(float) - seen[0]).mean() > 3
        ), one.name
        assert not np.array_equal(picture, seen[0]), one.name


def test_changes_are_made_at_one_size_whatever_the_file_s() -> None:
    shapes: list[tuple[int, ...]] = []
    look = Perturbation("look", False, lambda picture, _: shapes.append(picture.shape) or picture)
    for size in ((600, 720), (1200, 1440), (120, 140)):
        variants(decode_radiograph(as_png(chest(3, size))), fake_classifier(), [look])
    assert shapes == [(299, 359), (299, 359), (120, 140)]  # a small film is not enlarged


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    """Flat films, dark ones healthy: 40, 60 … 120 and 140, 160 … 220 with one ill film at 120."""
    for label, levels in (("NORMAL", range(40, 121, 20)), ("PNEUMONIA", (120, 140, 160, 180, 200))):
        (tmp_path / label).mkdir()
        for i, level in enumerate(levels):
            (tmp_path / label / f"person{i + 10 * (label > 'O')}_x.png").write_bytes(
                as_png(np.full((64, 80), level, np.uint8))
            )
    return scan_folder(tmp_path).train


def test_rows_say_what_each_change_costs(samples: tuple[Sample, ...]) -> None:
    rows, failures = robustness(fake_classifier(cut=115), samples, resamples=100)
    by_name = {row.name: row for row in rows}
    assert failures == [] and [row.name for row in rows] == ["clean", *TABLE]
    clean = by_name["clean"]
    # From 115 on a film is called ill: the healthy one at 120 is wrong.
    assert (clean.n, clean.accuracy.value, clean.sensitivity.value, clean.specificity.value) == (10, 0.9, 1.0, 0.8)
    assert (clean.accuracy_change.value, clean.accuracy_change.low, clean.mild) == (0, 0, True)
    # 120, 140 · 0.8 fall below 115: two ill films missed, the healthy one right.
    darker = by_name["brightness -20 %"]
    assert (darker.sensitivity.value, darker.specificity.value) == (0.6, 1.0)
    assert darker.accuracy_change.value == pytest.approx(-0.1) and not darker.holds
    assert darker.auroc_change.value == 0  # the ranking does not mind
    # Inverted, dark is bright: films up to 140 are called ill.
    assert by_name["inverted"].sensitivity.value == 0.4 and by_name["inverted"].specificity.value == 0.0
    assert by_name["inverted"].auroc_change.value == pytest.approx(2 * 0.02 - 1)
    for name in ("contrast -20 %", "JPEG 50", "blur 1 px", "crop to 80 %"):  # nothing to lose on flat films
        assert by_name[name].accuracy.value == 0.9 and by_name[name].holds, name


def test_the_clean_row_is_the_evaluation(samples: tuple[Sample, ...]) -> None:
    classifier = fake_classifier(cut=115)
    clean = robustness(classifier, samples, ())[0][0]
    whole, _ = evaluate_samples(classifier, samples, "x")
    for name in ("auroc", "accuracy", "sensitivity", "specificity"):
        assert getattr(clean, name).value == whole.measures[name].value


def test_films_are_decoded_once_and_order_does_not_matter(
    samples: tuple[Sample, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded, done = [], []
    decode = training.evaluation.evaluate.decode_radiograph
    monkeypatch.setattr(
        training.evaluation.evaluate, "decode_radiograph", lambda data: decoded.append(1) or decode(data)
    )
    runs: dict[bytes, np.ndarray] = {}
    classifier = fake_classifier(cut=115)
    noisy = (TABLE["noise 8 levels"], TABLE["JPEG 50"])
    for order in (samples, samples[::-1]):
        for sample in order:
            seen = variants(decode(sample.path.read_bytes()), classifier, noisy)
            assert np.array_equal(runs.setdefault(sample.path.read_bytes() + bytes(sample.label), seen), seen)
    robustness(classifier, samples, noisy, done.append, resamples=10)
    # Each film has grain of its own: the same everywhere, it would move all scores alike.
    grain = [
        np.subtract(*variants(decode(s.path.read_bytes()), classifier, noisy)[1::-1].astype(int)) for s in samples[:2]
    ]
    assert not np.array_equal(*grain)
    assert len(decoded) == len(samples) == sum(done)


@pytest.mark.usefixtures("samples")
def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "NORMAL" / "broken.png").write_bytes(b"")
    rows, failures = robustness(fake_classifier(), scan_folder(tmp_path).train, (), resamples=10)
    assert rows[0].n == 10 and [path.name for path, _ in failures] == ["broken.png"]
    with pytest.raises(DatasetError, match="readable"):
        robustness(fake_classifier(), [s for s in scan_folder(tmp_path).train if s.path.name == "broken.png"])


def test_what_is_said_of_the_aim(samples: tuple[Sample, ...]) -> None:
    weak, _ = robustness(fake_classifier(fake_card("v-1"), cut=115), samples, resamples=20)
    text = room.robustness_to_text(weak, "v-1", "test")
    assert text.splitlines()[0] == "Robustness to perturbations, test: n = 10, classifier v-1"
    assert text.splitlines()[-1].startswith(
        "accuracy within 5 points of clean under every mild perturbation: no (bright"
    )
    firm, _ = robustness(fake_classifier(cut=50), samples, [TABLE["JPEG 50"], TABLE["inverted"]], resamples=20)
    assert room.robustness_to_text(firm, "v-1", "test").endswith("every mild perturbation: yes")
    assert max(map(len, text.splitlines()[:-1])) <= 110
    assert "\n  clean " in text and "\n* JPEG 50 " in text and "\n  JPEG 20 " in text


def test_rows_fit_on_a_card(samples: tuple[Sample, ...]) -> None:
    ill = [s for s in samples if s.label]  # one class: the area is not defined
    rows, _ = robustness(fake_classifier(cut=115), ill, [TABLE["inverted"]], resamples=20)
    kept = rows_for_card(rows, "films")
    assert kept[1]["name"] == "inverted" and kept[1]["auroc"]["value"] is None
    read = json.loads(room.robustness_to_json(rows, "v-1", "films"))
    assert [{k: v for k, v in row.items() if k != "holds"} for row in read["rows"]] == list(kept)
    assert read["rows"][1]["holds"] is False and read["classifier_version"] == "v-1"

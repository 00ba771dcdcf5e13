from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.film import FilmHeader
from model.assessment import EvidenceRegions
from model.lung_zones import (
    MEDIASTINUM,
    NOT_FOUND,
    ZONES,
    is_mirrored,
    locate_evidence,
    outside_warning,
    region_words,
)
from model.thorax import find_lungs, fit_thorax
from tests import phantoms
from tests.phantoms import COLUMNS, ROWS, chest

SIZE = (300, 360)
# Columns and rows of a phantom's canvas that lie in the middle of each zone of its lungs.
PLACES = {
    f"{side} {level} zone": (column, row)
    for side, column in (("right", 225), ("left", 500))
    for level, row in (("upper", 160), ("middle", 260), ("lower", 385))
}


def true_lungs(seed: int) -> np.ndarray:
    """Where a phantom's lungs were drawn, apart from its tilt of at most 2.5 degrees."""
    rng = np.random.default_rng((seed, 20261121))
    return phantoms._lungs(rng, rng.uniform(0.93, 1.06)) > 0.3


def spot(column: float, row: float, spread: float = 18) -> np.ndarray:
    """Evidence around a place on a phantom's canvas, float32 (ROWS, COLUMNS)."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    return np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * spread**2)).astype(np.float32)


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((found & true).sum() / (found | true).sum())


def shares(regions: EvidenceRegions | None) -> dict[str, float]:
    assert regions is not None
    found = dict(regions.shares) | {"outside": regions.outside}
    assert sum(found.values()) == pytest.approx(1, abs=1e-6) and min(found.values()) >= 0
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pneumonia", [False, True])
def test_the_lungs_of_a_phantom_are_found(seed: int, pneumonia: bool) -> None:
    lungs = fit_thorax(chest(seed, SIZE, pneumonia))[0].lungs(ROWS, COLUMNS)
    assert overlap(lungs, true_lungs(seed)) > 0.78


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_white_lung_is_found_by_what_is_around_it(seed: int, side: str) -> None:
    pixels, half = chest(seed, (ROWS, COLUMNS)), true_lungs(seed)
    half[:, slice(COLUMNS // 2, None) if side == "right" else slice(0, COLUMNS // 2)] = False
    white = cv2.GaussianBlur(half.astype(np.float32), (0, 0), 6)
    pixels = (pixels + white * np.clip(185.0 - pixels, 0, None)).astype(np.uint8)
    thorax = fit_thorax(pixels)[0]
    assert (thorax.mask(ROWS, COLUMNS) & half).sum() > 0.95 * half.sum()
    assert overlap(thorax.lungs(ROWS, COLUMNS), true_lungs(seed)) > 0.4
    zone = f"{side} middle zone"
    assert shares(locate_evidence(pixels, spot(*PLACES[zone])))[zone] > 0.7


@pytest.mark.parametrize("seed", range(4))
def test_of_two_white_lungs_no_zone_is_named(seed: int) -> None:
    pixels = chest(seed, (ROWS, COLUMNS))
    white = cv2.GaussianBlur(true_lungs(seed).astype(np.float32), (0, 0), 6)
    pixels = (pixels + white * np.clip(185.0 - pixels, 0, None)).astype(np.uint8)
    assert find_lungs(pixels) is None
    found = locate_evidence(pixels, spot(*PLACES["right middle zone"]))
    assert found is NOT_FOUND and found.shares == () and not found.is_found
    assert region_words(found) == "The thorax was not found, so the evidence was not localised"
    assert outside_warning(found, is_likely=True) is None
    assert 0.35 < fit_thorax(pixels)[0].middle < 0.65, "the usual framing, which is not said"


@pytest.mark.parametrize(
    "pixels", [np.full((100, 100), 255, np.uint8), np.zeros((1, 1), np.uint8), np.full((3, 400), 7, np.uint8)]
)
def test_without_a_chest_no_zone_is_named(pixels: np.ndarray) -> None:
    assert find_lungs(pixels) is None and locate_evidence(pixels, np.ones((8, 8), np.float32)) is NOT_FOUND


@pytest.mark.parametrize("degrees", [-12, 12])
def test_a_leaning_child_is_followed(degrees: float) -> None:
    turn = cv2.getRotationMatrix2D((COLUMNS / 2, ROWS / 2), degrees, 1.0)
    pixels = cv2.warpAffine(chest(3, (ROWS, COLUMNS)), turn, (COLUMNS, ROWS))
    true = cv2.warpAffine(true_lungs(3).astype(np.uint8), turn, (COLUMNS, ROWS)) > 0
    assert overlap(fit_thorax(pixels)[0].lungs(ROWS, COLUMNS), true) > 0.7


def test_an_unusual_framing_is_followed() -> None:
    """The child small in a wide field, and moved to one side."""
    canvas = np.zeros((ROWS, COLUMNS), np.uint8)
    canvas[60:540, 20:596] = cv2.resize(chest(4, (ROWS, COLUMNS)), (576, 480), interpolation=cv2.INTER_AREA)
    true = np.zeros((ROWS, COLUMNS), bool)
    true[60:540, 20:596] = cv2.resize(true_lungs(4).astype(np.uint8), (576, 480)) > 0
    assert overlap(fit_thorax(canvas)[0].lungs(ROWS, COLUMNS), true) > 0.7


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((100, 100), 128, np.uint8),
        np.zeros((1, 1), np.uint8),
        np.random.default_rng(0).integers(0, 256, (200, 90)).astype(np.uint8),
    ],
)
def test_without_a_chest_the_usual_framing_stands(pixels: np.ndarray) -> None:
    thorax = fit_thorax(pixels)[0]
    assert 0.35 < thorax.middle < 0.65 and 0.2 < thorax.left < 0.5 and 0.2 < thorax.right < 0.5
    mask = thorax.mask(64, 64)
    assert 0.2 < mask.mean() < 0.8 and thorax.lungs(64, 64).sum() < mask.sum()


def test_the_thorax_holds_both_lungs_and_what_lies_between() -> None:
    thorax = fit_thorax(chest(0, SIZE))[0]
    lungs, mask = thorax.lungs(ROWS, COLUMNS), thorax.mask(ROWS, COLUMNS)
    assert (mask & lungs).sum() == lungs.sum()
    assert mask[300, 360] and not lungs[300, 360], "the heart is thorax and no lung"
    for row, column in ((20, 20), (20, 700), (590, 360), (30, 360)):
        assert not mask[row, column], "corners, abdomen and neck are no thorax"


@pytest.mark.parametrize("zone", list(PLACES))
def test_evidence_is_named_by_the_patients_side_and_zone(zone: str) -> None:
    found = shares(locate_evidence(chest(1, SIZE), spot(*PLACES[zone])))
    assert max(found, key=lambda name: found[name]) == zone and found[zone] > 0.8


@pytest.mark.parametrize("zone", list(PLACES))
def test_sides_change_places_on_a_mirrored_film(zone: str) -> None:
    other = zone.replace("right", "x").replace("left", "right").replace("x", "left")
    found = shares(locate_evidence(chest(1, SIZE), spot(*PLACES[zone]), is_mirrored=True))
    assert found[other] > 0.8


def test_evidence_between_the_lungs_and_outside() -> None:
    pixels = chest(1, SIZE)
    assert shares(locate_evidence(pixels, spot(360, 250)))[MEDIASTINUM] > 0.8
    for column, row in ((40, 40), (680, 60), (60, 560), (640, 330), (360, 20)):
        assert shares(locate_evidence(pixels, spot(column, row)))["outside"] > 0.9


def test_every_grid_of_the_map_says_the_same() -> None:
    pixels, wide = chest(2, SIZE), spot(225, 260, 60)
    small = cv2.resize(wide, (256, 256), interpolation=cv2.INTER_AREA)
    byte = np.round(255 * small).astype(np.uint8)
    whole, reduced, stored = (shares(locate_evidence(pixels, one)) for one in (wide, small, byte))
    for name in whole:
        assert reduced[name] == pytest.approx(whole[name], abs=0.01)
        assert stored[name] == pytest.approx(whole[name], abs=0.02)


def test_no_evidence_has_no_place() -> None:
    assert locate_evidence(chest(0, SIZE), np.zeros((8, 8), np.float32)) is None


@pytest.mark.parametrize("end", [0, -1])
def test_evidence_on_a_marker_at_the_chest_wall_is_outside(end: int) -> None:
    plain = chest(5, (ROWS, COLUMNS))
    wall = int(np.flatnonzero(fit_thorax(plain)[0].mask(ROWS, COLUMNS)[290])[end])
    marked = plain.copy()
    cv2.rectangle(marked, (wall - 8, 282), (wall + 8, 298), 255, -1)
    before, after = (shares(locate_evidence(pixels, spot(wall, 290)))["outside"] for pixels in (plain, marked))
    assert before < 0.5 and after > 0.8


def test_a_bright_spot_in_the_lung_is_no_marker() -> None:
    pixels = chest(5, (ROWS, COLUMNS))
    cv2.circle(pixels, PLACES["left middle zone"], 9, 255, -1)
    assert shares(locate_evidence(pixels, spot(*PLACES["left middle zone"])))["left middle zone"] > 0.8


@pytest.mark.parametrize(
    ("orientation", "mirrored"),
    [
        (None, False),
        (("L", "F"), False),
        (("R", "F"), True),
        (("LP", "F"), False),
        (("RA", "FP"), True),
        (("P", "F"), False),
        (("", ""), False),
    ],
)
def test_the_header_says_which_side_is_which(orientation: tuple[str, str] | None, mirrored: bool) -> None:
    assert is_mirrored(FilmHeader(orientation=orientation)) is mirrored
    assert is_mirrored(None) is False


def regions(outside: float, **named: float) -> EvidenceRegions:
    given = {name.replace("_", " "): share for name, share in named.items()}
    return EvidenceRegions(tuple((name, given.get(name, 0.0)) for name in (*ZONES, MEDIASTINUM)), outside)


def test_words_name_the_largest_shares_first() -> None:
    assert region_words(regions(0.1, right_lower_zone=0.6, mediastinum=0.3)) == (
        "Right lower zone 60 %, mediastinum 30 %; outside the thorax 10 %"
    )
    spread = dict.fromkeys((name.replace(" ", "_") for name in (*ZONES, MEDIASTINUM)), 0.08)
    assert region_words(regions(0.44, **spread)) == "No zone above 10 %; outside the thorax 44 %"
    assert region_words(regions(0.8, mediastinum=0.2)) == "Outside the thorax 80 %, mediastinum 20 %"
    assert region_words(regions(0.95, mediastinum=0.05)) == "Outside the thorax 95 %, no zone above 10 %"


def test_most_of_the_evidence_outside_is_a_warning() -> None:
    assert outside_warning(regions(0.5, mediastinum=0.5), is_likely=True) is None
    warning = outside_warning(regions(0.634, mediastinum=0.366), is_likely=True)
    assert warning is not None and warning.startswith("63 % of the evidence is outside the thorax")
    assert "Do not rely on it" in warning
    little = outside_warning(regions(0.9, mediastinum=0.1), is_likely=False)
    assert little is not None and little.startswith("90 % of the evidence is") and "Do not rely" not in little


def test_lungs_of_real_films_are_darker_than_what_surrounds_them(test_data: Path) -> None:
    files = sorted((test_data / "kermany" / "val").glob("*/*"))
    darker = []
    for file in files:
        pixels = cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (256, 256), interpolation=cv2.INTER_AREA)
        thorax = fit_thorax(pixels)[0]
        lungs, mask = thorax.lungs(256, 256), thorax.mask(256, 256)
        darker.append(float(pixels[mask & ~lungs].mean() - pixels[lungs].mean()))
        assert 0.25 < mask.mean() < 0.75 and 0.4 < thorax.middle < 0.6
    assert len(files) >= 16 and min(darker) > 5, "grey levels"

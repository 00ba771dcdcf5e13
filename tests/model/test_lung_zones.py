from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from imaging.film import FilmHeader
from model.anatomy import Anatomy
from model.assessment import EvidenceRegions
from model.lung_zones import (
    MEDIASTINUM,
    NOT_FOUND,
    ZONES,
    is_mirrored,
    locate_evidence,
    outside_warning,
    region_words,
    zone_map,
)
from model.networks.architectures import ANATOMY_PX, POSES
from tests import phantoms
from tests.phantoms import COLUMNS, ROWS

# Columns and rows of a phantom's canvas that lie in the middle of each zone of its lungs.
PLACES = {
    f"{side} {level} zone": (360 + sign * aside, row)
    for side, sign in (("right", -1), ("left", 1))
    for level, aside, row in (("upper", 112, 165), ("middle", 135, 285), ("lower", 135, 400))
}


def true_lungs(seed: int) -> np.ndarray:
    """Where a phantom's lungs were drawn, apart from its tilt of at most 2.5 degrees."""
    rng = np.random.default_rng((seed, 20261121))
    return phantoms._lungs(rng, rng.uniform(0.93, 1.06)) > 0.3


def spot(column: float, row: float, spread: float = 14) -> np.ndarray:
    """Evidence around a place on a phantom's canvas, float32 (ROWS, COLUMNS)."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    return np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * spread**2)).astype(np.float32)


def shares(regions: EvidenceRegions | None) -> dict[str, float]:
    assert regions is not None
    found = dict(regions.shares) | {"outside": regions.outside}
    assert sum(found.values()) == pytest.approx(1, abs=1e-6) and min(found.values()) >= 0
    return found


def anatomy_of(lungs: np.ndarray) -> Anatomy:
    """The anatomy of a picture whose lungs are known, bool (ROWS, COLUMNS)."""
    halves = [lungs & (np.arange(COLUMNS) < COLUMNS // 2), lungs & (np.arange(COLUMNS) >= COLUMNS // 2)]
    side = (ANATOMY_PX, ANATOMY_PX)
    drawn = [cv2.resize(half.astype(np.float32), side, interpolation=cv2.INTER_AREA) for half in halves]
    pose = np.eye(len(POSES), dtype=np.float32)[0]
    return Anatomy(np.stack([np.round(250 * half).astype(np.uint8) for half in drawn]), pose, 0.0)


CHEST = anatomy_of(true_lungs(1))


def turned(anatomy: Anatomy, degrees: float) -> tuple[Anatomy, np.ndarray]:
    """The same chest leaning to one side, and how its pixels moved, (2, 3) on the phantom's canvas."""
    canvas = cv2.getRotationMatrix2D((COLUMNS / 2, ROWS / 2), degrees, 1.0)
    lungs = cv2.warpAffine(true_lungs(1).astype(np.uint8), canvas, (COLUMNS, ROWS)) > 0
    return replace(anatomy, lungs=anatomy_of(lungs).lungs), canvas


def test_zones_of_a_lung_are_thirds_of_its_height() -> None:
    zones, lungs = zone_map(CHEST, ROWS, COLUMNS), true_lungs(1)
    for first, half in ((1, np.s_[:, : COLUMNS // 2]), (4, np.s_[:, COLUMNS // 2 :])):
        rows = np.flatnonzero(lungs[half].any(1))
        edges = [np.flatnonzero((zones[half] == first + level) & lungs[half])[0] // (COLUMNS // 2) for level in (1, 2)]
        heights = np.diff([rows[0], *edges, rows[-1]]) / (rows[-1] - rows[0])
        np.testing.assert_allclose(heights, 1 / 3, atol=0.06)


def test_the_thorax_holds_both_lungs_and_what_lies_between() -> None:
    zones, lungs = zone_map(CHEST, ROWS, COLUMNS), true_lungs(1)
    assert (zones[lungs] > 0).all()
    assert zones[250, 360] == 7, "the spine and the great vessels are mediastinum"
    for row, column in ((20, 20), (20, 700), (590, 360), (30, 360)):
        assert zones[row, column] == 0, "corners, abdomen and neck are no thorax"


def test_below_the_dome_of_the_diaphragm_is_no_mediastinum() -> None:
    lungs = np.zeros((ROWS, COLUMNS), np.uint8)
    for column in (220, 500):
        cv2.rectangle(lungs, (column - 90, 100), (column + 90, 480), 1, -1)
        inner = column + (40 if column < 360 else -40)
        cv2.ellipse(lungs, (inner, 480), (110, 110), 0, 0, 360, 0, -1)
    zones = zone_map(anatomy_of(lungs > 0), ROWS, COLUMNS)
    assert (zones[300, 360], zones[440, 360]) == (7, 7)
    assert (zones[440, 260], zones[440, 460]) == (3, 6)


@pytest.mark.parametrize("degrees", [-15, 15])
@pytest.mark.parametrize("zone", list(PLACES))
def test_a_leaning_child_is_followed(zone: str, degrees: float) -> None:
    anatomy, moved = turned(CHEST, degrees)
    column, row = moved @ np.array([*PLACES[zone], 1.0])
    assert shares(locate_evidence(anatomy, spot(column, row)))[zone] > 0.7


@pytest.mark.parametrize(
    "anatomy",
    [None, replace(CHEST, no_chest=0.9), replace(CHEST, lungs=np.zeros_like(CHEST.lungs))],
    ids=["not looked for", "no chest", "no lungs"],
)
def test_without_lungs_no_zone_is_named(anatomy: Anatomy | None) -> None:
    found = locate_evidence(anatomy, np.ones((8, 8), np.float32))
    assert found is NOT_FOUND and found.shares == () and not found.is_found
    assert region_words(found) == "The thorax was not found, so the evidence was not localised"
    assert outside_warning(found, is_likely=True) is None


@pytest.mark.parametrize("zone", list(PLACES))
def test_evidence_is_named_by_the_patients_side_and_zone(zone: str) -> None:
    found = shares(locate_evidence(CHEST, spot(*PLACES[zone])))
    assert max(found, key=lambda name: found[name]) == zone and found[zone] > 0.8


@pytest.mark.parametrize("zone", list(PLACES))
def test_sides_change_places_on_a_mirrored_film(zone: str) -> None:
    other = zone.replace("right", "x").replace("left", "right").replace("x", "left")
    found = shares(locate_evidence(CHEST, spot(*PLACES[zone]), is_mirrored=True))
    assert found[other] > 0.8


def test_evidence_between_the_lungs_and_outside() -> None:
    assert shares(locate_evidence(CHEST, spot(360, 250)))[MEDIASTINUM] > 0.8
    for column, row in ((40, 40), (680, 60), (60, 560), (640, 330), (360, 20)):
        assert shares(locate_evidence(CHEST, spot(column, row)))["outside"] > 0.9


def test_every_grid_of_the_map_says_the_same() -> None:
    wide = spot(225, 260, 60)
    small = cv2.resize(wide, (256, 256), interpolation=cv2.INTER_AREA)
    byte = np.round(255 * small).astype(np.uint8)
    whole, reduced, stored = (shares(locate_evidence(CHEST, one)) for one in (wide, small, byte))
    for name in whole:
        assert reduced[name] == pytest.approx(whole[name], abs=0.01)
        assert stored[name] == pytest.approx(whole[name], abs=0.02)


def test_no_evidence_has_no_place() -> None:
    assert locate_evidence(CHEST, np.zeros((8, 8), np.float32)) is None


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

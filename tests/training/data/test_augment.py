from __future__ import annotations

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.radiograph import enlarge
from tests.phantoms import chest
from training.data.augment import augment
from training.data.recipes import BOUNDS, JITTER, KERAS_NOTEBOOK, PLAIN, RECIPES, STRONG, Augmentation, resolve, scaled

PAIRS = ("area", "aspect", "zoom", "contrast", "gamma", "blur_sigma", "jpeg_quality", "noise")
names = st.sampled_from(sorted(RECIPES))


@cache
def picture() -> np.ndarray:
    return chest(seed=3, size=(224, 224))


@st.composite
def recipes(draw: st.DrawFn) -> Augmentation:
    """Any recipe that may exist."""
    values: dict[str, object] = {}
    for name, (smallest, largest, _) in BOUNDS.items():
        if draw(st.booleans()):
            number = st.integers(smallest, largest) if name == "jpeg_quality" else st.floats(smallest, largest)
            values[name] = tuple(sorted(draw(st.tuples(number, number)))) if name in PAIRS else draw(number)
    if values.get("p_blur", 0) + values.get("p_sharpen", 0) > 1:
        del values["p_blur"], values["p_sharpen"]
    return Augmentation(draw(st.text(min_size=1, max_size=60)), **values)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_every_recipe_returns_a_picture_of_the_asked_size(recipe: Augmentation) -> None:
    for seed in range(20):
        changed = augment(picture(), np.random.default_rng(seed), recipe, 96)
        assert changed.shape == (96, 96) and changed.dtype == np.uint8
        assert changed.std() > 2, "a picture without contrast teaches nothing"


def test_plain_changes_nothing_and_strong_does_repeatably() -> None:
    assert (augment(picture(), np.random.default_rng(0), PLAIN, 224) == picture()).all()
    one, same, other = (augment(picture(), np.random.default_rng(s), STRONG, 224) for s in (5, 5, 6))
    assert (one == same).all()
    assert (one != other).any()
    assert (one != picture()).any()


def test_flip_alone_is_an_exact_mirror() -> None:
    mirror = Augmentation("mirror", p_flip=1.0, area=(1.0, 1.0))
    changed = augment(picture(), np.random.default_rng(0), mirror, 224)
    assert (changed == picture()[:, ::-1]).all()


def test_crop_is_resampled_about_its_own_centre() -> None:
    """A quarter of the area, enlarged to full size, shows each source pixel over two output pixels."""
    ramp = np.tile(np.arange(0, 128, dtype=np.uint8), (128, 1))
    quarter = Augmentation("quarter", area=(0.25, 0.25))
    for seed in range(30):
        row = augment(ramp, np.random.default_rng(seed), quarter, 128)[64].astype(float)
        assert row[100] - row[28] == pytest.approx(36, abs=1.5)
        assert row.min() >= 0 and row.max() <= 127


def test_jitter_changes_little() -> None:
    base = picture().astype(float)
    jitter = Augmentation("s", **{f: getattr(JITTER, f) for f in ("area", "aspect", "contrast", "brightness", "gamma")})
    difference = [np.abs(augment(picture(), np.random.default_rng(s), jitter, 224) - base).mean() for s in range(10)]
    assert np.mean(difference) < 15


def test_noise_of_an_even_picture_has_the_asked_strength() -> None:
    grainy = Augmentation("grainy", p_noise=1.0, noise=(5.0, 5.0))
    changed = augment(np.full((128, 128), 128, np.uint8), np.random.default_rng(0), grainy, 128)
    assert changed.std() == pytest.approx(5, abs=0.5)


@settings(deadline=None, max_examples=60)
@given(recipes(), st.integers(0, 9), st.sampled_from([(64, 75), (96, 96), (128, 80)]))
def test_any_recipe_returns_a_picture_of_the_asked_size_and_is_repeatable(
    recipe: Augmentation, seed: int, sizes: tuple[int, int]
) -> None:
    base = enlarge(picture(), sizes[0])
    before = base.copy()
    changed, again = (augment(base, np.random.default_rng(seed), recipe, sizes[1]) for _ in range(2))
    assert changed.shape == (sizes[1], sizes[1]) and changed.dtype == np.uint8
    assert (changed == again).all()
    assert (base == before).all(), "the kept pictures serve every epoch"


@settings(deadline=None, max_examples=40)
@given(names, st.floats(0, 2), st.integers(0, 9))
def test_every_strength_of_every_recipe_can_be_drawn(name: str, strength: float, seed: int) -> None:
    changed = augment(picture(), np.random.default_rng(seed), resolve(name, strength), 96)
    assert changed.shape == (96, 96) and changed.dtype == np.uint8


@settings(deadline=None, max_examples=30)
@given(recipes(), st.integers(0, 9), st.sampled_from([75, 224, 250]))
def test_no_strength_is_the_plain_picture(recipe: Augmentation, seed: int, output_px: int) -> None:
    unchanged = augment(picture(), np.random.default_rng(seed), scaled(recipe, 0), output_px)
    assert (unchanged == augment(picture(), np.random.default_rng(seed), PLAIN, output_px)).all()


@given(recipes(), st.lists(st.floats(0, 2), min_size=2, max_size=2).map(sorted))
def test_a_stronger_recipe_contains_the_weaker_one(recipe: Augmentation, strengths: list[float]) -> None:
    weak, strong = (asdict(scaled(recipe, strength)) for strength in strengths)
    for name, (_, _, neutral) in BOUNDS.items():
        if name in {"p_blur", "p_sharpen"}:  # share one random number, so one may make room for the other
            continue
        for a, b in zip(*(np.ravel(side[name]) for side in (weak, strong)), strict=True):
            near, far = (abs(np.log(v) if name in {"aspect", "gamma"} else v - neutral) for v in (a, b))
            assert near <= far + 1e-9, name


def test_strength_scales_from_nothing_over_the_recipe_to_beyond_and_says_so() -> None:
    assert resolve("strong") is STRONG
    half, double = resolve("strong", 0.5), resolve("strong", 2)
    assert (half.name, double.name) == ("strong×0.50", "strong×2.00")
    assert half.area == pytest.approx((0.575, 1.0)) and half.degrees == 5 and half.p_flip == 0.25
    assert half.aspect == pytest.approx((0.7**0.5, 1.43**0.5)) and half.contrast == pytest.approx((0.75, 1.3))
    assert half.jpeg_quality == (65, 98) and half.noise == (0.5, 5.0)
    assert double.p_erase == 0.5 and double.p_flip == 0.5 and double.area == (0.08, 1.0), "as far as the bounds go"
    assert double.contrast == pytest.approx((0.2, 2.2))


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan"), True])
def test_strength_outside_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 2\. Received: "):
        scaled(STRONG, strength)


def test_unknown_recipe_is_answered_with_the_names_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"jitter, keras_notebook, lungs, .*, plain, strong\. Received: 'strange'"):
        resolve("strange")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"area": (0.5, 1.2)}, r"area as two numbers, the smaller first, from 0\.08 to 1\. Received: \(0\.5, 1\.2\)"),
        ({"aspect": (1.2, 0.8)}, "aspect as two numbers, the smaller first"),
        ({"gamma": (1.0,)}, "gamma as two numbers"),
        ({"zoom": 1.2}, "zoom as two numbers"),
        ({"degrees": "10"}, "degrees as a number from 0 to 180. Received: '10'"),
        ({"degrees": (0, 10)}, "degrees as a number"),
        ({"brightness": float("nan")}, "brightness as a number from 0 to 100. Received: nan"),
        ({"p_flip": True}, "p_flip as a number from 0 to 1. Received: True"),
        ({"p_noise": -0.1}, "p_noise as a number"),
        ({"jpeg_quality": (30.5, 95)}, "jpeg_quality as two whole numbers"),
        ({"p_blur": 0.7, "p_sharpen": 0.4}, r"at most 1\. Received: 0\.7 \+ 0\.4"),
        ({"name": ""}, "name of 1 to 60 characters. Received: ''"),
    ],
)
def test_recipe_that_makes_no_sense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**{"name": "mine", **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("plain", 0.1286),
        ("strong", 0.9962),
        ("finetune", 0.0400),
        ("domain_shift", 0.7408),
        ("jitter", 0.2581),
        ("keras_notebook", 0.3143),
    ],
)
def test_recipes_keep_drawing_what_they_drew(name: str, drawn: float) -> None:
    """A resumed run must draw what the interrupted one would have; one more random number would shift all others."""
    rng = np.random.default_rng(11)
    for _ in range(5):
        augment(picture(), rng, RECIPES[name], 96)
    assert rng.random() == pytest.approx(drawn, abs=1e-4)


def test_zooming_out_shows_black_beyond_the_border_and_nothing_is_lost() -> None:
    grey = np.full((100, 100), 200, np.uint8)
    out = augment(grey, np.random.default_rng(0), Augmentation("out", zoom=(2.0, 2.0)), 100)
    assert (out[26:74, 26:74] == 200).all() and (out[:24] == 0).all() and (out[:, 76:] == 0).all()


def test_zoom_is_drawn_for_each_side_and_shift_moves_the_picture() -> None:
    grey = np.full((100, 100), 200, np.uint8)
    sides = []
    for seed in range(40):
        shown = augment(grey, np.random.default_rng(seed), Augmentation("out", zoom=(1.25, 2.0)), 100) > 100
        sides.append((shown.any(axis=1).sum(), shown.any(axis=0).sum()))
    high, wide = np.array(sides).T
    assert high.min() >= 49 and high.max() <= 81 and wide.min() >= 49 and wide.max() <= 81
    assert np.abs(high - wide).max() > 10
    edges = [(augment(grey, np.random.default_rng(s), Augmentation("s", shift=0.1), 100) < 100) for s in range(40)]
    lost = [int(edge.all(axis=1).sum()) for edge in edges]
    assert 7 <= max(lost) <= 10


def test_keras_notebook_turns_by_up_to_thirty_degrees_about_the_middle() -> None:
    """A bright line through the middle, seen at the angle at which it lies afterwards."""
    line = np.zeros((201, 201), np.uint8)
    line[98:103] = 255
    angles = []
    for seed in range(60):
        ys, xs = np.nonzero(augment(line, np.random.default_rng(seed), KERAS_NOTEBOOK, 201) > 128)
        angles.append(np.degrees(np.arctan(np.polyfit(xs, ys, 1)[0])))
    # Zoom stretches the sides by up to 1.2/0.8 after the turn.
    assert 20 < max(np.abs(angles)) < np.degrees(np.arctan(1.5 * np.tan(np.radians(30)))) + 1
    assert min(angles) < -15 and max(angles) > 15

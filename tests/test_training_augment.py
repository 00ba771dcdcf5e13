from __future__ import annotations

import numpy as np
import pytest

from tests.phantoms import chest
from training.augment import PLAIN, RECIPES, SLIGHT, STRONG, Augmentation, augment


def picture() -> np.ndarray:
    return chest(seed=3, size=(224, 224))


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


def test_slight_changes_are_slight() -> None:
    base = picture().astype(float)
    slight = Augmentation("s", **{f: getattr(SLIGHT, f) for f in ("area", "aspect", "contrast", "brightness", "gamma")})
    difference = [np.abs(augment(picture(), np.random.default_rng(s), slight, 224) - base).mean() for s in range(10)]
    assert np.mean(difference) < 15


def test_noise_of_an_even_picture_has_the_asked_strength() -> None:
    grainy = Augmentation("grainy", p_noise=1.0, noise=(5.0, 5.0))
    changed = augment(np.full((128, 128), 128, np.uint8), np.random.default_rng(0), grainy, 128)
    assert changed.std() == pytest.approx(5, abs=0.5)

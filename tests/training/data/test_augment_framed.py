"""Augmentation of films framed by their lungs: another look, the same anatomy, nothing beside the thorax."""

from __future__ import annotations

import numpy as np
import pytest

from model.framing import BESIDE, framed
from tests.lungs import pair
from training.data.augment_framed import Donors, augment_framed, framed_film, with_amplitudes, with_histogram
from training.data.input_pipeline import batches
from training.data.recipes import ANOTHER_UNIT, LUNGS, LUNGS_FINETUNE, PLAIN, resolve


@pytest.mark.parametrize("recipe", [LUNGS, LUNGS_FINETUNE, ANOTHER_UNIT, resolve("lungs", 2)], ids=lambda r: r.name)
def test_every_recipe_gives_a_film_and_its_lungs(recipe):
    for seed in range(12):
        film, lungs = np.moveaxis(augment_framed(pair(1), np.random.default_rng(seed), recipe, 80, pair(2)), -1, 0)
        assert film.shape == (80, 80) and film.dtype == np.uint8
        assert (lungs >= 128).mean() > 0.05, "the crop shows lung"
        assert film.std() > 2


def test_plain_is_what_is_served_and_every_seed_repeats():
    assert (augment_framed(pair(1), np.random.default_rng(0), PLAIN, 80) == framed(pair(1), 80)).all()
    one, same, other = (augment_framed(pair(1), np.random.default_rng(s), LUNGS, 80, pair(2)) for s in (5, 5, 6))
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize("change", [with_amplitudes, with_histogram])
def test_the_look_is_taken_over_and_the_anatomy_stays(change):
    rng = np.random.default_rng(3)
    own = framed_film(pair(1), 96, np.random.default_rng(1))
    pale = pair(2)
    pale[..., 0] = 140 + pale[..., 0] // 4
    other = framed_film(pale, 96, np.random.default_rng(1))
    changed = change(*own, *other, rng)
    inside = own[1] > 250
    before, after, look = (float(one[inside].std()) for one in (own[0], changed, other[0]))
    assert look < before and after < before - 0.1 * (before - look)
    fine = [one.astype(float) - np.roll(one, 1, 1) for one in (own[0], changed)]
    assert np.corrcoef(fine[0][inside], fine[1][inside])[0, 1] > 0.7, "edges stay where they are"


def test_rare_looks_are_lent_as_often_as_common_ones():
    looks = np.array([0] * 95 + [1] * 5)
    donors, rng = Donors(np.arange(100), looks), np.random.default_rng(4)
    drawn = [donors.draw(rng) for _ in range(400)]
    assert 150 < sum(looks[one] for one in drawn) < 250
    assert Donors(np.zeros(0, np.int_)).draw(rng) is None


def test_batches_hold_two_channels_and_lend_looks_of_the_other_class():
    pictures = np.stack([pair(i, 64, pneumonia=bool(i % 2)) for i in range(6)])
    labels = np.arange(6) % 2
    drawn = list(batches(pictures, labels, np.arange(6), LUNGS, 48, 4, 1, looks=np.zeros(6, np.int_)))
    assert [one.shape for one, _ in drawn] == [(4, 48, 48, 2), (2, 48, 48, 2)]
    assert (drawn[0][0][0, 0, 0] == (BESIDE, 0)).all()

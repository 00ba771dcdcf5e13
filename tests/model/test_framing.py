"""The frame of the lungs: where they lie in it, what is shown beside them, and that a squashed film looks the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.framing import BESIDE, MARGIN, MEAN, WHOLE, find_frame, framed, network_pictures, pair_of, shown
from tests.lungs import anatomy, ellipses, find_drawn
from tests.lungs import pair as drawn_pair
from tests.phantoms import chest


@pytest.mark.parametrize("drawn", [{}, {"scale": 0.7}, {"tilt": 12.0, "scale": 0.8}, {"aspect": 0.75}])
def test_the_lungs_fill_the_same_part_of_every_frame(drawn):
    px = 200
    pair = np.dstack((chest(1, (px, px)), *ellipses(px, (0.46, 0.55), **drawn)))
    lungs = framed(pair, 150)[..., 1] >= 128
    rows, columns = np.nonzero(lungs)
    for low, high in ((rows.min(), rows.max()), (columns.min(), columns.max())):
        assert low / 150 == pytest.approx(MARGIN, abs=0.03)
        assert high / 150 == pytest.approx(1 - MARGIN, abs=0.03)


def test_tilt_is_found_and_removed():
    found = find_frame(ellipses(224, tilt=10.0, scale=0.8))
    assert np.degrees(found.tilt) == pytest.approx(10, abs=1)
    assert (found.x, found.y) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.5, abs=0.01))


def test_a_film_and_the_same_film_squashed_look_alike():
    film, lungs = chest(2, (224, 224)), ellipses(224, scale=0.9)
    squashed = [cv2.resize(one, (160, 224)) for one in (film, *lungs)]
    narrow = [cv2.copyMakeBorder(one, 0, 0, 32, 32, cv2.BORDER_REPLICATE) for one in squashed]
    own, other = framed(np.dstack((film, *lungs)), 128), framed(np.dstack(narrow), 128)
    both = (own[..., 1] > 250) & (other[..., 1] > 250)
    assert np.abs(own[both, 0].astype(int) - other[both, 0]).mean() < 4
    assert ((own[..., 1] >= 128) == (other[..., 1] >= 128)).mean() > 0.98


def test_nothing_beside_the_thorax_is_shown():
    pair = drawn_pair(3, 224)
    marked = pair.copy()
    marked[:30, :30, 0] = 255  # a marker in the corner
    assert (framed(pair, 160) == framed(marked, 160)).all()
    assert (framed(pair, 160)[0, 0, 0], framed(pair, 160)[0, 0, 1]) == (BESIDE, 0)


def test_exposure_does_not_matter_inside_the_thorax():
    pair = drawn_pair(4, 224)
    pale = pair.copy()
    pale[..., 0] = 90 + pair[..., 0] // 3
    one, other = framed(pair, 160), framed(pale, 160)
    seen = one[..., 1] > 250
    assert np.abs(one[seen, 0].astype(int) - other[seen, 0]).mean() < 6
    assert one[seen, 0].mean() == pytest.approx(MEAN, abs=40)


def test_without_lungs_the_whole_film_is_shown_and_counts_as_lung():
    film = chest(5, (96, 96))
    nothing = np.zeros((96, 96), np.uint8)
    assert find_frame(nothing) == WHOLE
    seen = shown(film, nothing)
    assert (seen[..., 1] == 255).all()
    assert np.corrcoef(seen[..., 0].ravel(), film.ravel())[0, 1] > 0.99


def test_network_pictures_finds_lungs_only_where_asked():
    squares = np.stack([chest(i, (96, 96)) for i in range(3)])
    assert network_pictures(squares, 64).shape == (3, 64, 64)
    both = network_pictures(squares, 64, find_drawn)
    assert both.shape == (3, 64, 64, 2)
    assert (both[0] == framed(pair_of(squares[0], anatomy()), 64)).all()
    assert (network_pictures(both, 64) == both).all(), "what is framed already stays"

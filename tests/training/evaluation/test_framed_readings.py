"""Films framed by their lungs, where maps are measured: what is exchanged, and what that does to the answer."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.radiograph import decode_radiograph
from model.anatomy import Anatomy
from model.framing import framed, pair_with
from model.pipeline import assess
from tests.fake_classifier import PX, fake_card, framed_classifier
from tests.lungs import anatomy, ellipses
from tests.phantoms import as_png, chest, write_dataset
from training.data.dataset import scan_folder
from training.evaluation.faithfulness import (
    CELLS,
    MAP_PX,
    OURS,
    Films,
    choose_films,
    evidence_maps,
    exchanges,
    trace,
)
from training.evaluation.readings import aligned, exchanged, film_of, heatmaps, reading_of, with_film
from training.evaluation.robustness import PERTURBATIONS, robustness

SIDE = 2 * PX


def reading(level: int = 60, spot: bool = False, scale: float = 1.0, middle: tuple[float, float] = (0.5, 0.5)):
    """A grey body with lungs of another grey value, and a bright spot in the left one."""
    lungs = ellipses(SIDE, middle, scale)
    film = np.where(lungs.max(0) > 0, level, 150).astype(np.uint8)
    if spot:
        cv2.circle(film, (round((middle[0] - 0.19 * scale) * SIDE), round(middle[1] * SIDE)), 7, 220, -1)
    return pair_with(film, lungs)


def test_a_reading_holds_the_film_and_its_lungs_and_gives_the_served_map() -> None:
    looked: list[int] = []

    def find(square: np.ndarray) -> Anatomy:
        looked.append(len(square))
        return anatomy()

    card = fake_card(preprocessing={"input_px": SIDE, "detail_px": 224, "frame": "lungs"})
    classifier, data = framed_classifier(find, card), as_png(chest(2, (300, 340), pneumonia=True))
    own = reading_of(classifier, decode_radiograph(data))
    assert own.shape == (224, 224, 3) and looked == [224]
    assert np.array_equal(own[..., 1:], pair_with(own[..., 0], anatomy().lungs)[..., 1:])
    served = assess(data, classifier).heatmap
    (found,) = heatmaps(classifier, own[None], (300, 340))
    assert served is not None and served.values.any()
    # But for the rim of the outline, which is resampled once more.
    assert np.corrcoef(found.values.ravel(), served.values.ravel())[0, 1] > 0.999


def test_a_part_of_the_film_is_exchanged_and_framed_by_the_lungs_of_the_unchanged_one() -> None:
    own, other = reading(spot=True), reading(90, scale=0.7)
    where = np.zeros((SIDE, SIDE), bool)
    where[:, :40] = True
    mixed = exchanged(own, other, where)
    assert np.array_equal(mixed[..., 1:], own[..., 1:])
    assert np.array_equal(film_of(mixed)[:, :40], film_of(other)[:, :40])
    assert np.array_equal(film_of(mixed)[:, 40:], film_of(own)[:, 40:])
    seen: list[np.ndarray] = []
    classifier = framed_classifier(pictures_seen=seen)
    trace(classifier, own, with_film(own, film_of(other)), np.arange(CELLS * CELLS))
    assert all(np.array_equal(one[..., 1], framed(own, SIDE)[..., 1]) for one in seen), "one outline for all"
    assert np.array_equal(seen[0], framed(own, SIDE)) and len(seen) == 20


def test_lungs_of_a_substitute_come_to_the_place_of_those_they_replace() -> None:
    own, other = reading(), reading(scale=0.75, middle=(0.45, 0.55))
    before = (film_of(own) != film_of(other)).mean()
    assert (np.abs(aligned(other, own).astype(int) - film_of(own)) > 40).mean() < before / 5
    assert np.array_equal(aligned(film_of(other), film_of(own)), film_of(other)), "whole films stay"


def test_a_map_of_the_lungs_is_faithful() -> None:
    """The classifier adds up brightness over the lungs, so the spot is what raises its logit."""
    card = fake_card(preprocessing={"input_px": SIDE, "detail_px": SIDE, "frame": "lungs"}, point=0.5)
    classifier = framed_classifier(card=card, bias=-1.2)
    films = Films(
        np.stack([reading(60 + i, spot=True, scale=0.9 + 0.02 * i) for i in range(3)]),
        np.stack([reading(58 + i) for i in range(3)]),
    )
    maps = evidence_maps(classifier, films.pneumonia)
    assert maps.shape == (3, MAP_PX, MAP_PX) and (maps[:, :, : MAP_PX // 2].sum() > maps[:, :, MAP_PX // 2 :].sum())
    done: list[int] = []
    by_healthy, by_blur = exchanges(classifier, films, tick=done.append)
    assert sum(done) == 6 and by_blur.substitute == "the radiograph, heavily blurred"
    assert by_healthy.probability_film > by_healthy.probability_substitute
    rows = {row.name: row for row in by_healthy.orderings}
    for name in ("random", "centre first"):
        assert rows[name].deletion_gain.value > 0 and rows[name].insertion_gain.value > 0
    assert rows[OURS].deletion_curve[-1] == pytest.approx(rows["random"].deletion_curve[-1])


def test_films_are_chosen_and_perturbed_by_their_lungs(tmp_path: Path) -> None:
    write_dataset(tmp_path, 2, size=(90, 100))
    samples = scan_folder(tmp_path).train
    chosen, failures = choose_films(framed_classifier(bias=0.0), samples)
    assert not failures and (chosen.pneumonia.shape, chosen.healthy.shape) == ((4, SIDE, SIDE, 3), (0, SIDE, SIDE, 3))
    looked: list[int] = []

    def find(square: np.ndarray) -> Anatomy:
        looked.append(int(square.mean()))
        return anatomy()

    rows, _ = robustness(framed_classifier(find), samples, PERTURBATIONS[:2], resamples=20)
    assert [row.n for row in rows] == [4, 4, 4] and len(looked) == 4 * 3, "the lungs are found in each perturbed film"
    assert len(set(looked)) > 4


def test_maps_of_a_randomised_framed_network_are_compared() -> None:
    keras = pytest.importorskip("keras")
    from model.engine import wrap_network
    from tests.model.networks.small_network import lung_network
    from training.evaluation.sanity_checks import compare_with_randomised, randomised_stages

    keras.utils.set_random_seed(1)
    network = lung_network(SIDE)
    card = fake_card(preprocessing={"input_px": SIDE, "detail_px": SIDE, "frame": "lungs"})
    films = np.stack([reading(60 + i, spot=bool(i % 2)) for i in range(4)])
    trained = wrap_network(network, card)
    others, rows = compare_with_randomised(trained, films, randomised_stages(network, card, films))
    assert rows[-1].name == "all 4 layers" and others is not None
    assert all(row.empty < 4 and row.rank_correlation.value < 0.999 for row in rows[1:])

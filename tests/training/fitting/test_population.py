"""The population fitted to drawn films, with filters in place of a network: what it flags and what it leaves alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from model.card import card_to_json
from model.networks.architectures import POSES
from model.population import HEADS, PARTS, TrainingPopulation, from_arrays, softmax, to_arrays
from model.registry import file_sha256, read_card
from tests.fake_classifier import fake_card
from tests.phantoms import as_png, chest
from training.fitting import population as fitting
from training.fitting.population import PooledFeatures, choose_limits, fit_population, population_pictures
from training.fitting.synthetic_outliers import KINDS, draw_synthetic_outliers

PX = 48
CHANNELS = 18
Pictures = npt.NDArray[np.uint8]


def extract(pictures: Pictures) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Filter a picture with 18 fixed random kernels at two scales: parts of the finer, all of the coarser, and both."""
    kernels = np.random.default_rng(5).normal(0, 1, (CHANNELS, 5, 5)).astype(np.float32)
    kernels -= kernels.mean((1, 2), keepdims=True) * (np.arange(CHANNELS) % 3 > 0)[:, None, None]
    gate_features, last = [], []
    for picture in pictures:
        grey = picture.astype(np.float32) / 255
        fine = np.stack([np.maximum(cv2.filter2D(grey, -1, k), 0) for k in kernels], -1)
        small = cv2.resize(grey, (PX // 2, PX // 2), interpolation=cv2.INTER_AREA)
        coarse = np.stack([np.maximum(cv2.filter2D(small, -1, k), 0) for k in kernels], -1)
        parts = fine.reshape(3, PX // 3, 3, PX // 3, CHANNELS).mean((1, 3))
        gate_features.append(np.concatenate((parts.ravel(), coarse.mean((0, 1)))))
        last.append(coarse.max((0, 1)))
    return np.stack(gate_features).astype(np.float32), np.stack(last).astype(np.float32)


@pytest.fixture(scope="module")
def films() -> Pictures:
    return np.stack([chest(seed, (PX, PX), pneumonia=bool(seed % 2)) for seed in range(110)])


@pytest.fixture(scope="module")
def population(films: Pictures) -> TrainingPopulation:
    labels, held_out = np.arange(len(films)) % 2, np.arange(len(films)) >= 80
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MIN_FILMS": 60, "MIN_HELD_OUT": 20, "OUTLIERS": 80, "POSED": 140}.items():
            patch.setattr(fitting, name, value)
        found = fit_population(extract, ("fine", "coarse"), CHANNELS, films, labels, held_out, seed=3)
    assert found is not None
    return found


def judged(population: TrainingPopulation, pictures: Pictures) -> list:
    return [population.judge(one, last) for one, last in zip(*extract(pictures), strict=True)]


def test_held_out_films_lie_within_and_upright(population: TrainingPopulation, films: Pictures) -> None:
    found = judged(population, films[80:])
    assert sum(one.population.is_outside for one in found) <= 2
    assert not any(one.is_not_chest for one in found)
    assert sum(one.orientation == (0, False) for one in found) >= 28
    assert sum(one.is_inverted or one.is_turned for one in found) <= 1


def test_the_limit_is_where_both_shares_are_kept(
    population: TrainingPopulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = {name: np.zeros((40, 1)) for name in ("held_out_varied", "outliers")}
    features |= {"held_out": np.linspace(0, 1, 40)[:, None], "held_out_recoded": np.linspace(0.5, 2, 40)[:, None]}
    monkeypatch.setattr(TrainingPopulation, "distances", lambda _, features: features[:, 0].astype(float))
    monkeypatch.setattr(TrainingPopulation, "scores", lambda _, features: np.zeros((len(features), len(HEADS))))
    labels = np.arange(40) % 2
    # Of forty films 1 % is none and 10 % are four.
    outside = choose_limits(population, features, labels).outside
    assert (features["held_out_recoded"] >= outside).sum() == 4 and (features["held_out"] >= outside).sum() == 0
    features["held_out"] = features["held_out"] * 3
    outside = choose_limits(population, features, labels).outside
    assert outside > 2 and (features["held_out"] >= outside).sum() == 0


def test_synthetic_outliers_are_refused(population: TrainingPopulation, films: Pictures) -> None:
    found = judged(population, draw_synthetic_outliers(60, films[:80], seed=99))
    assert np.mean([one.is_not_chest for one in found]) > 0.8


@pytest.mark.parametrize("pose", range(1, len(POSES)))
def test_films_that_lie_or_are_inverted_are_found(pose: int, population: TrainingPopulation, films: Pictures) -> None:
    quarters, is_inverted = POSES[pose]
    lying = np.stack([np.rot90(film, -quarters) for film in films[80:]])
    found = judged(population, 255 - lying if is_inverted else lying)
    assert np.mean([one.orientation == (quarters, is_inverted) for one in found]) > 0.8
    assert np.mean([one.is_inverted for one in found]) > 0.8 or not is_inverted


def test_a_mirrored_film_is_not_said_to_lie(population: TrainingPopulation, films: Pictures) -> None:
    found = judged(population, films[80:, :, ::-1])
    assert sum(one.is_turned or one.is_inverted for one in found) <= 2


def test_the_nearest_film_to_one_that_was_learned_from_is_itself(
    population: TrainingPopulation, films: Pictures
) -> None:
    for one in judged(population, films[:5]):
        first, second = one.population.neighbours[:2]
        # References are kept in steps of 1/24, half of which at most is lost along each axis.
        assert first.distance < 1 / 24 < second.distance


def test_what_is_chosen_is_chosen_with_the_file_s_own_numbers(population: TrainingPopulation) -> None:
    again = from_arrays(to_arrays(population))
    assert again.limits == population.limits
    assert all(np.array_equal(a, b) for a, b in zip(again.whole, population.whole, strict=True))


def test_the_same_films_and_seed_give_the_same_file(
    population: TrainingPopulation, films: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MIN_FILMS": 60, "MIN_HELD_OUT": 20, "OUTLIERS": 80, "POSED": 140}.items():
        monkeypatch.setattr(fitting, name, value)
    held_out = np.arange(len(films)) >= 80
    again = fit_population(extract, ("fine", "coarse"), CHANNELS, films, np.arange(len(films)) % 2, held_out, seed=3)
    assert again is not None and again.limits == population.limits
    assert np.array_equal(again.references, population.references)


def test_too_few_films_have_no_population(films: Pictures) -> None:
    asked = []

    def never(pictures: Pictures) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        asked.append(len(pictures))
        raise AssertionError

    held_out = np.arange(len(films)) >= 80
    assert fit_population(never, ("a",), 1, films, np.zeros(len(films), int), held_out, seed=0) is None
    assert not asked and population_pictures(80, 30) == 0


def test_as_many_pictures_are_looked_at_as_was_said(films: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MIN_FILMS", 10)
    monkeypatch.setattr(fitting, "MIN_HELD_OUT", 10)
    seen = []

    def counting(pictures: Pictures) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        seen.append(len(pictures))
        return extract(pictures)

    held_out = np.arange(40) >= 25
    kept: list[PooledFeatures] = []
    labels = np.arange(40) % 2
    fitted = fit_population(counting, ("a", "b"), CHANNELS, films[:40], labels, held_out, seed=0, keep=kept.append)
    assert fitted is not None
    assert sum(seen) == population_pictures(25, 15), "features are kept without another pass"
    (pooled,) = kept
    assert sorted(pooled.index) == list(range(40))
    assert np.array_equal(pooled.features, extract(films[pooled.index])[1])


def test_every_kind_of_outlier_is_drawn_and_none_is_blank(films: Pictures) -> None:
    drawn = draw_synthetic_outliers(2 * len(KINDS), films[:10], seed=1)
    assert drawn.shape == (2 * len(KINDS), PX, PX) and drawn.dtype == np.uint8
    assert min(picture.std() for picture in drawn) > 4
    assert len({picture.tobytes() for picture in drawn}) == len(drawn)
    assert np.array_equal(drawn, draw_synthetic_outliers(2 * len(KINDS), films[:10], seed=1))
    assert not np.array_equal(drawn, draw_synthetic_outliers(2 * len(KINDS), films[:10], seed=2))
    assert draw_synthetic_outliers(0, films, seed=1).shape == (0, PX, PX)


def test_parts_and_probabilities_agree_with_what_is_fitted(population: TrainingPopulation, films: Pictures) -> None:
    features = population.features(extract(films[:2])[0])
    assert features.shape[1] == population.whole[1].shape[1] + PARTS * population.part[1].shape[1]
    assert softmax(population.scores(features)[:, : len(POSES)]).sum(1) == pytest.approx([1, 1])


def test_a_version_brings_its_population_and_is_judged_by_it(
    films: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a network and a folder in memory to a version on disk, and back to an assessment with neighbours."""
    keras = pytest.importorskip("keras")
    from core.errors import ClassifierError
    from model.engine import load_classifier
    from model.networks.build import build_network
    from model.networks.weights import save_network
    from model.pipeline import assess
    from model.population import POPULATION, save_population
    from model.registry import add_version
    from training.data.data_request import DataRequest
    from training.data.dataset import DatasetFolder
    from training.data.loading import LoadedFolder
    from training.data.sample import Sample
    from training.fitting.population import learn_population

    monkeypatch.setattr(fitting, "MIN_FILMS", 30)
    monkeypatch.setattr(fitting, "MIN_HELD_OUT", 10)
    keras.utils.set_random_seed(4)
    network = build_network("cnn_2_1", PX)
    samples = [Sample(Path(f"{i}.png"), i % 2, f"p{i}", True) for i in range(48)]
    folder = DatasetFolder(DataRequest.of(tmp_path), tuple(samples), (), ())
    loaded = LoadedFolder(folder, samples, films[:48], np.arange(48) >= 34, 0)
    done: list[int] = []
    known = learn_population(network, "cnn_2_1", PX, loaded, seed=1, tick=done.append)
    assert known is not None and known.layers == ("pool1", "pool2")
    assert sum(done) == population_pictures(34, 14)
    card = fake_card("2026.11.2-1", PX, architecture="cnn_2_1")
    folder = add_version(
        tmp_path, card, lambda path: save_network(network, path), lambda path: save_population(known, path)
    )
    assert (folder / POPULATION).stat().st_size < 1_000_000
    classifier = load_classifier(folder)
    answer = assess(as_png(chest(3, (300, 300))), classifier)
    assert answer.population is not None and len(answer.population.neighbours) == 3
    assert answer.population.threshold == known.limits.outside
    np.savez(folder / POPULATION, **(to_arrays(known) | {"labels": np.zeros(1, np.uint8)}))
    with pytest.raises(ClassifierError, match="sha256"):
        load_classifier(folder)
    replaced = dataclasses.replace(read_card(folder), population_sha256=file_sha256(folder / POPULATION))
    (folder / "card.json").write_text(card_to_json(replaced))
    with pytest.raises(ClassifierError, match="population"):
        load_classifier(folder)

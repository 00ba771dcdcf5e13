from __future__ import annotations

import numpy as np
import pytest

from model.calibration import probabilities
from model.framing import network_pictures
from tests.lungs import pair
from tests.phantoms import chest
from training.data.recipes import ANOTHER_UNIT, DOMAIN_SHIFT, PLAIN
from training.fitting import calibrate as module
from training.fitting.calibrate import calibrate, choose_operating_point, class_balance, logits_by_copy, perturbed


def sample(n: int = 3000, share: float = 0.74) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < share).astype(int)
    logits = 8.0 * labels - 4 + rng.normal(0, 2.5, n)
    return labels, logits, rng.normal(0, 1, (2, n)) + logits


def test_classes_weigh_the_same() -> None:
    labels = np.array([0] * 10 + [1] * 90)
    weights = class_balance(labels)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights.mean() == pytest.approx(1)


def test_probability_of_one_half_is_where_balanced_classes_are_equally_likely() -> None:
    labels, logits, shifted = sample()
    calibration = calibrate(labels, logits, shifted)
    assert -calibration.bias * calibration.temperature == pytest.approx(0, abs=0.35)


def test_operating_point_moves_up_with_films_that_score_too_high_elsewhere() -> None:
    labels, logits, shifted = sample()
    calibration = calibrate(labels, logits, shifted)
    slight = shifted * 0 + logits
    clean = choose_operating_point(labels, logits, np.stack((logits, logits)), slight, calibration)
    high = choose_operating_point(labels, logits, shifted + 1.5, slight, calibration)
    assert high.probability > clean.probability


@pytest.mark.parametrize("moved", [-1.5, 0.0, 3.0])
def test_sensitivity_over_clean_and_shifted_pictures_is_kept(moved: float) -> None:
    labels, logits, shifted = sample()
    calibration = calibrate(labels, logits, shifted)
    point = choose_operating_point(labels, logits, shifted + moved, shifted, calibration, min_sensitivity=0.97)
    both = [
        (probabilities(values[..., labels == 1], calibration) >= point.probability).mean()
        for values in (logits, shifted + moved)
    ]
    assert sum(both) / 2 >= 0.969


def test_near_band_lies_about_the_point_and_grows_with_instability() -> None:
    labels, logits, shifted = sample()
    calibration = calibrate(labels, logits, shifted)
    calm = choose_operating_point(labels, logits, shifted, logits + 0.1 * (shifted - logits), calibration)
    shaky = choose_operating_point(labels, logits, shifted, shifted, calibration)
    for point in (calm, shaky):
        assert point.near_low < point.probability < point.near_high
    assert shaky.near_high - shaky.near_low > calm.near_high - calm.near_low


def test_copies_of_framed_films_are_resampled_once_as_in_service(monkeypatch: pytest.MonkeyPatch) -> None:
    films, labels = np.stack([pair(seed, pneumonia=bool(seed % 2)) for seed in range(3)]), np.array([0, 1, 0])
    seen: list[np.ndarray] = []

    def predict(pictures: np.ndarray) -> np.ndarray:
        seen.append(pictures)
        return pictures.mean((1, 2, 3))

    monkeypatch.setattr(module, "_FRAMED_AT_ONCE", 4)
    for recipe in (PLAIN, ANOTHER_UNIT):
        seen.clear()
        logits = logits_by_copy(predict, films, recipe, 2, 7, labels, 64)
        shown = np.concatenate(seen)
        assert [len(some) for some in seen] == [4, 2] and logits.shape == (2, 3)
        assert np.array_equal(shown, perturbed(films, recipe, 2, 7, labels, 64)) and shown.shape == (6, 64, 64, 2)
        assert logits.ravel() == pytest.approx(shown.mean((1, 2, 3)))
        served = np.tile(network_pictures(films, 64), (2, 1, 1, 1))
        assert np.array_equal(shown, served) is (recipe is PLAIN)


def test_perturbed_copies_come_copy_by_copy_and_repeat() -> None:
    pictures = np.stack([chest(seed, (64, 64)) for seed in range(3)])
    changed = perturbed(pictures, DOMAIN_SHIFT, 2, 7)
    assert changed.shape == (6, 64, 64)
    assert (changed == perturbed(pictures, DOMAIN_SHIFT, 2, 7)).all()
    assert (changed[:3] != changed[3:]).any()
    assert np.corrcoef(changed[0].mean(0), pictures[0].mean(0))[0, 1] ** 2 > 0.1

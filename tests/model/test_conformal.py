"""Conformal sets against MAPIE and by their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from model.conformal import conformal_sets, in_sets


class Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier whose probabilities are its input."""

    def __init__(self) -> None:
        self.classes_ = np.array([0, 1])

    def fit(self, *_: np.ndarray) -> Given:
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.column_stack((1 - x[:, 0], x[:, 0]))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return (x[:, 0] >= 0.5).astype(int)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def sample(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.7).astype(int)
    return y, 1 / (1 + np.exp(-(3 * y - 1.5 + rng.normal(size=n))))


# MAPIE is given one class at a time, since it has no class-conditional sets.
@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset")
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_sets_of_each_class_are_mapies(alpha: float) -> None:
    y, p = sample(1)
    sets = conformal_sets(y, p, alpha, np.arange(300))
    new = np.linspace(0.001, 0.999, 500)
    for label in (0, 1):
        oracle = SplitConformalClassifier(Given(), confidence_level=1 - alpha, prefit=True)
        oracle.conformalize(p[y == label][:, None], y[y == label])
        assert (in_sets(new, sets)[:, label] == oracle.predict_set(new[:, None])[1][:, label, 0]).all()


def test_each_class_is_covered_however_many_films_a_patient_has() -> None:
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        member = np.repeat(np.arange(150), rng.integers(1, 5, 150))
        ill = np.arange(150) < 100
        score = (ill * 2 - 1 + rng.normal(size=150))[member] + 0.5 * rng.normal(size=len(member))
        y, p = ill[member].astype(int), 1 / (1 + np.exp(-score))
        half = member % 2 == 0
        rows = in_sets(p[~half], conformal_sets(y[half], p[half], 0.1, member[half]))
        covered.append([rows[y[~half] == label, label].mean() for label in (0, 1)])
    assert (np.mean(covered, 0) > 0.89).all() and (np.mean(covered, 0) < 0.96).all()


def test_a_class_with_too_few_patients_is_in_every_set() -> None:
    y, p = sample(2, 30)
    y[:] = 0
    y[:8] = 1
    sets = conformal_sets(y, p, 0.1, np.arange(30))
    assert sets.pneumonia_from == 0 and sets.normal_up_to < 1
    assert in_sets(np.array([0.0, 1.0]), sets)[:, 1].all()

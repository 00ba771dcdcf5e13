from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.phantoms import write_dataset
from training.data.data_request import DataRequest
from training.data.epoch import drawn_counts, epoch_order
from training.data.loading import load_folder
from training.fitting.config import default_config
from training.fitting.fit import balance


def test_epoch_draws_all_of_the_smaller_class_and_new_ones_of_the_larger() -> None:
    labels = np.array([0] * 20 + [1] * 100)
    first = epoch_order(labels, 1.5, np.random.default_rng(1))
    second = epoch_order(labels, 1.5, np.random.default_rng(2))
    assert sorted(first[labels[first] == 0]) == list(range(20))
    assert (labels[first] == 1).sum() == 30
    assert len(set(first)) == len(first)
    assert set(first[labels[first] == 1]) != set(second[labels[second] == 1])


def two_sources() -> tuple[np.ndarray, np.ndarray]:
    """A source with 300 normal and 100 pneumonia, and one with 40 and 160."""
    labels = np.repeat([0, 1, 0, 1], [300, 100, 40, 160])
    return labels, np.repeat([0, 0, 1, 1], [300, 100, 40, 160])


def test_no_source_is_a_label() -> None:
    labels, sources = two_sources()
    order = epoch_order(labels, 1.5, np.random.default_rng(1), sources)
    share = [labels[order][sources[order] == source].mean() for source in (0, 1)]
    assert share[0] == pytest.approx(share[1], abs=0.01)
    assert len(set(order)) == len(order) == drawn_counts(labels, 1.5, sources).sum() > 200
    plain = epoch_order(labels, 1.5, np.random.default_rng(1))
    assert abs(np.subtract(*[labels[plain][sources[plain] == source].mean() for source in (0, 1)])) > 0.4


def test_every_batch_has_its_share_of_each_source_and_class() -> None:
    labels, sources = two_sources()
    order = epoch_order(labels, 1.5, np.random.default_rng(1), sources)
    kinds = 2 * sources[order] + labels[order]
    whole = np.bincount(kinds, minlength=4) / len(kinds)
    for start in range(0, len(kinds) - 32, 32):
        assert np.bincount(kinds[start : start + 32], minlength=4) / 32 == pytest.approx(whole, abs=0.1)


def test_a_source_of_one_class_stays_within_the_ratio_of_the_epoch() -> None:
    labels = np.repeat([0, 1, 0], [100, 100, 5000])
    sources = np.repeat([0, 0, 1], [100, 100, 5000])
    assert drawn_counts(labels, 1.5, sources).tolist() == [[100, 100], [50, 0]]
    apart = np.repeat([0, 1], [100, 100])
    assert drawn_counts(apart, 1.5, apart).tolist() == [[100, 100]], "no order can help: as one source"


def test_the_weights_of_the_loss_follow_what_is_drawn() -> None:
    labels, sources = two_sources()
    weights, n = balance(labels, default_config("cnn_2_1"), sources)
    normal, pneumonia = drawn_counts(labels, default_config("cnn_2_1").max_class_ratio, sources).sum(axis=0)
    assert n == normal + pneumonia
    assert weights[0] * normal == pytest.approx(weights[1] * pneumonia)


def test_a_dataset_of_two_sources_knows_the_source_of_each_picture(tmp_path: Path) -> None:
    for name in ("ward", "clinic"):
        write_dataset(tmp_path / name, 6, seed=10 if name == "ward" else 30, size=(60, 70))
    loaded = load_folder(DataRequest.of(tmp_path / "ward", tmp_path / "clinic"), 64, 0.3, 1)
    assert [("clinic", "ward")[k] for k in loaded.sources] == [s.source for s in loaded.samples]
    assert set(loaded.sources) == {0, 1}

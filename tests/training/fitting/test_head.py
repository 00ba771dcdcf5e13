"""The head on cached features against the whole network, and starting from a version of one's own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import pneumolens
from core.errors import ClassifierError
from core.progress import Progress, ignore
from core.settings import Settings
from model.networks.build import build_network
from model.networks.graphs import logit_function
from model.networks.layers import POOL_LAYER
from model.networks.weights import save_network
from model.registry import file_sha256
from tests.lungs import ellipses
from tests.model.networks.small_network import lung_network
from training.fitting import head
from training.fitting.config import Stage, TrainingConfig, default_config
from training.fitting.fit import TrainingData
from training.fitting.initial_weights import (
    build_initial_network,
    check_initial_weights,
    choose_initial_weights,
    initial_weights_name,
)
from training.fitting.progress import EpochEnd, FittingStep
from training.fitting.trainer import CHECKPOINT

PX = 32


def small_network() -> keras.Model:
    inputs = keras.Input((PX, PX, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 5, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(x))


def config(epochs: int = 4, **others: Any) -> TrainingConfig:
    return TrainingConfig(
        **{
            "architecture": "my:own",
            "input_px": PX,
            "detail_px": PX,
            "batch_size": 8,
            "augmentation": "plain",
            "cached_copies": 2,
            "dropout": 0.1,
            "warmup_steps": 2,
            "stages": (Stage("head", epochs, PX, POOL_LAYER, 0.1),),
            **others,
        }
    )


@pytest.fixture
def films() -> TrainingData:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(0)

    def side(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n) % 2
        return (rng.integers(0, 150, (n, PX, PX)) + 60 * labels[:, None, None]).astype(np.uint8), labels

    return TrainingData(*side(40), *side(20))


def test_head_learns_and_the_rest_of_the_network_stays_as_it_was(films: TrainingData, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    network = small_network()
    before = [w.numpy() for w in network.weights]
    seen: list[Progress] = []
    rows = head.fit_head(network, config(), films, tmp_path, seen.append)
    assert [one.done for one in seen if one.detail is None][-1] == 100, "two copies of 40 and 20 to validate on"
    assert [one.detail.epoch for one in seen if isinstance(one.detail, FittingStep)] == [1, 2, 3, 4]
    assert [one.detail.row for one in seen if isinstance(one.detail, EpochEnd)] == rows
    assert rows[-1]["val_auroc"] == 1.0 and rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert json.loads((tmp_path / "history.json").read_text()) == rows
    for old, new in zip(before[:-2], network.weights[:-2], strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert not np.array_equal(before[-2], network.weights[-2].numpy())
    # What was validated on cached features is what the whole network says.
    logits = logit_function(network)(films.val_pictures)
    signed = np.where(films.val_labels == 1, -logits, logits)
    assert np.logaddexp(0, signed).mean() == pytest.approx(rows[-1]["val_loss"], abs=1e-4)
    assert not (tmp_path / head.FEATURES).exists(), "the features are not kept"


def test_interrupted_head_goes_on_to_the_same_result(films: TrainingData, tmp_path: Path) -> None:
    def trained(folder: Path, stop_after: int | None) -> list[np.ndarray]:
        keras.utils.set_random_seed(1)
        network = small_network()
        folder.mkdir(exist_ok=True)

        def stop(progress: Progress) -> None:
            if isinstance(progress.detail, EpochEnd) and progress.detail.row["epoch"] == stop_after:
                raise KeyboardInterrupt

        head.fit_head(network, config(dropout=0.4), films, folder, stop)
        return [w.numpy() for w in network.weights]

    whole = trained(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", 2)
    assert (tmp_path / "cut" / head.FEATURES).is_file() and (tmp_path / "cut" / CHECKPOINT).is_file()
    for a, b in zip(whole, trained(tmp_path / "cut", None), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bounded_time_uses_what_was_computed(films: TrainingData, tmp_path: Path) -> None:
    rows = head.fit_head(small_network(), config(budget_minutes=1e-9), films, tmp_path, ignore)
    assert {row["images"] for row in rows} == {8}, "one batch at least"


def test_network_without_pooled_features_is_refused(films: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=POOL_LAYER):
        head.fit_head(build_network("cnn_2_1", PX), config(), films, tmp_path, ignore)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The weights file of a version whose card says as much as starting from it needs."""
    from tests.model.test_registry import card as a_card

    folder = tmp_path / "2026.01.02-1"
    folder.mkdir()
    keras.utils.set_random_seed(3)
    save_network(build_network("cnn_2_1", 32), folder / "classifier.npz")
    card = dataclasses.replace(
        a_card("2026.01.02-1"),
        architecture="cnn_2_1",
        weights_file="classifier.npz",
        sha256=file_sha256(folder / "classifier.npz"),
    )
    from model.card import card_to_json

    (folder / "card.json").write_text(card_to_json(card))
    return folder / "classifier.npz"


def from_version(architecture: str = "cnn_2_1") -> TrainingConfig:
    return TrainingConfig(architecture=architecture, input_px=32, stages=(Stage("fit", 1, 32, "", 1e-3),))


def test_training_starts_from_a_version_with_its_head(version: Path) -> None:
    keras.utils.set_random_seed(3)
    original = build_network("cnn_2_1", 32)
    keras.utils.set_random_seed(4)
    started = build_initial_network(str(version), from_version())
    for a, b in zip(original.weights, started.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-6)
    assert initial_weights_name(str(version)) == "version 2026.01.02-1"
    assert (
        initial_weights_name("/somewhere/inception.h5") == "inception.h5"
        and initial_weights_name("imagenet") == "imagenet"
    )


def test_weights_asked_for_in_vain_are_refused(version: Path, tmp_path: Path) -> None:
    assert choose_initial_weights(None, "imagenet", "cnn_2_1") == "random", "the installation's are for backbones"
    assert choose_initial_weights("random", "imagenet", "inception_v3") == "random"
    assert choose_initial_weights(None, "imagenet", "vgg16") == "imagenet"
    assert choose_initial_weights(version, "imagenet", "cnn_2_1") == str(version)
    for asked in ("imagenet", "/nosuch", tmp_path / "backbone.h5"):
        with pytest.raises(ClassifierError, match="a version of cnn_2_1"):
            choose_initial_weights(asked, "imagenet", "cnn_2_1")
    with pytest.raises(ClassifierError, match="a version of cnn_2_1"):
        pneumolens.train(tmp_path, architecture="cnn_2_1", backbone_weights="/nosuch", settings=Settings(tmp_path))


def test_start_from_a_damaged_version_or_another_architecture_is_refused(version: Path) -> None:
    with pytest.raises(ClassifierError, match="cnn_3_1"):
        check_initial_weights(str(version), from_version("cnn_3_1"))
    with pytest.raises(ClassifierError, match="no_such_file"):
        check_initial_weights("no_such_file.h5", from_version())
    data = bytearray(version.read_bytes())
    data[len(data) // 2] ^= 1
    version.write_bytes(data)
    with pytest.raises(ClassifierError, match="sha256"):
        build_initial_network(str(version), from_version())


def test_the_head_of_a_framed_network_learns_from_films_framed_by_their_lungs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(16) % 2
    # A film with pneumonia has one grey lung, which levelling does not take away.
    pairs = np.stack([_pair(seed, bool(label)) for seed, label in enumerate(labels)])
    looks = np.arange(16) % 3
    films = TrainingData(pairs, labels, pairs[:8], labels[:8], train_looks=looks)
    drawn: list[Any] = []
    batches = head.batches

    def watched(*arguments: Any) -> Any:
        drawn.append(arguments[-1])
        return batches(*arguments)

    monkeypatch.setattr(head, "batches", watched)
    keras.utils.set_random_seed(1)
    network = lung_network(48)
    stage = Stage("head", 30, 48, POOL_LAYER, 0.1)
    chosen = config(input_px=48, detail_px=64, augmentation="lungs_finetune", stages=(stage,))
    history = head.fit_head(network, chosen, films, tmp_path, ignore)
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["images"] == 32
    assert len(drawn) == 1 and np.array_equal(drawn[0], looks), "every style lends its look"


def _pair(seed: int, ill: bool) -> np.ndarray:
    lungs = ellipses(64)
    noise = np.random.default_rng(seed).normal(0, 8, (64, 64))
    film = np.where(lungs.max(0) > 0, 60, 160) + np.where((lungs[seed % 2] > 0) & ill, 70, 0) + noise
    return np.dstack((np.clip(film, 0, 255).astype(np.uint8), *lungs))


def test_a_recipe_for_the_lungs_is_refused_for_a_network_that_sees_whole_films() -> None:
    unfit = dataclasses.replace(default_config("cnn_2_1", input_px=32), augmentation="lungs")
    with pytest.raises(ClassifierError, match=r"plain, strong, .* with cnn_2_1\. Received: lungs"):
        build_initial_network("random", unfit)
    late = dataclasses.replace(unfit.stages[0], augmentation="another_unit")
    with pytest.raises(ClassifierError, match="Received: another_unit"):
        build_initial_network("random", dataclasses.replace(unfit, augmentation="strong", stages=(late,)))
    own = "tests.model.networks.small_network:lung_network"
    build_initial_network("random", default_config(own, input_px=48, augmentation="lungs"))
    build_initial_network("random", default_config(own, input_px=48, augmentation="strong"))

"""Properties of logits, evidence and gate features, on a small network with random weights: they hold for any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from core.errors import ClassifierError  # noqa: E402
from model.engine import Classifier, wrap_network  # noqa: E402
from model.explanation import grad_cam  # noqa: E402
from model.networks.build import build_network  # noqa: E402
from model.networks.graphs import forward_function, logit_function  # noqa: E402
from model.networks.layers import POOL_LAYER, evidence_layer  # noqa: E402
from model.population import TrainingPopulation  # noqa: E402
from tests.model.networks.small_network import (  # noqa: E402
    GATE_LAYERS,
    PX,
    card_for,
    population_for,
    small_network,
)
from tests.phantoms import chest  # noqa: E402

Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def own_network(input_px: int) -> keras.Model:
    """A network of one's own, as a user would write it; its head is not linear on pooled features."""
    inputs = keras.Input((input_px, input_px, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(7)
    return small_network()


@pytest.fixture(scope="module")
def forward(network: keras.Model) -> Forward:
    return forward_function(network, GATE_LAYERS)


@pytest.fixture(scope="module")
def population(network: keras.Model) -> TrainingPopulation:
    return population_for(network, GATE_LAYERS, "last")


@pytest.fixture(scope="module")
def served(network: keras.Model, population: TrainingPopulation) -> dict[bool, Classifier]:
    """Versions of the network: one that sees each film as it is, and one (True) that sees it mirrored as well."""
    return {mirror: wrap_network(network, card_for("small", PX, mirror=mirror), population) for mirror in (False, True)}


def picture(seed: int = 0, px: int = PX) -> np.ndarray:
    return chest(seed, (px, px), pneumonia=True)


def test_evidence_adds_up_to_the_logit(network: keras.Model, forward: Forward) -> None:
    """The head is linear on the pooled features, so the mean of the signed map plus the bias is the logit itself."""
    assert evidence_layer(network) == ("last", True)
    logits, features, weights, _ = forward(picture()[None])
    bias = float(network.get_layer("logit").bias.numpy()[0])
    assert float((features[0] @ weights[0]).mean()) + bias == pytest.approx(float(logits[0]), abs=1e-4)


def test_evidence_map_is_the_gradient_one(network: keras.Model, forward: Forward) -> None:
    """Grad-CAM by automatic differentiation (Selvaraju et al. 2017) gives the map that needs no backward pass."""
    import tensorflow as tf

    both = keras.Model(network.inputs, [network.outputs[0], network.get_layer("last").output])
    head_only = keras.Sequential([network.get_layer(name) for name in (POOL_LAYER, "dropout", "logit")])
    _, features = both(tf.constant(picture()[None, ..., None], tf.float32), training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = head_only(features, training=False)
    weights = tape.gradient(logit, features).numpy()[0].mean((0, 1))
    by_gradient = np.maximum(features.numpy()[0] @ weights, 0)
    _, maps, heads, _ = forward(picture()[None])
    ours = grad_cam(maps[0], heads[0], by_gradient.shape)
    assert ours.values == pytest.approx(by_gradient / by_gradient.max(), abs=1e-4)


def test_head_that_is_not_linear_is_explained_by_its_gradient() -> None:
    """Against finite differences: adding a constant to one channel changes the logit by the weight times the cells."""
    keras.utils.set_random_seed(5)
    network = own_network(24)
    name, is_linear = evidence_layer(network)
    assert not is_linear and network.get_layer(name).output.shape[1:3] == (10, 10)
    logits, features, weights, _ = forward_function(network)(picture(2, 24)[None])
    head = keras.Model(network.get_layer(name).output, network.outputs)
    for channel in range(4):
        moved = features.copy()
        moved[..., channel] += 0.5
        change = float(head(moved).numpy()[0, 0] - logits[0])
        assert change == pytest.approx(0.5 * float(weights[0, channel]) * 100, rel=1e-3, abs=1e-3)


def test_logit_of_an_own_network_is_float32_under_a_mixed_precision_policy() -> None:
    """bfloat16 has steps of 1/256 from 1 on; the last layer's sum must not be rounded to them, nor its type change."""
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        keras.utils.set_random_seed(5)
        network = build_network(f"{__name__}:own_network", 24)
        batch = np.stack([picture(seed, 24) for seed in range(4)])
        logits, (again, features, weights, _) = logit_function(network)(batch), forward_function(network)(batch)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert {one.dtype for one in (logits, again, features, weights)} == {np.dtype(np.float32)}
    assert logits == pytest.approx(again, rel=1e-3)
    dense = network.layers[-1]
    exact = features.reshape(4, -1) @ dense.kernel.numpy()[:, 0] + dense.bias.numpy()[0]
    assert again == pytest.approx(exact, rel=1e-5)


def test_averaging_with_the_mirror_image_does_not_know_left_from_right(
    network: keras.Model, served: dict[bool, Classifier]
) -> None:
    plain, mirrored = served[False], served[True]
    film = np.stack((picture(4), picture(4)[:, ::-1]))
    one, other = mirrored.run(film)
    assert one == pytest.approx(other, abs=1e-5) and one == pytest.approx(plain.run(film).mean(), abs=1e-5)
    logits, features, weights = mirrored.explain(film)
    assert logits[0] == pytest.approx(one, abs=1e-5)
    maps = [grad_cam(features[i], weights[i], (PX, PX)).values for i in (0, 1)]
    assert maps[0] == pytest.approx(maps[1][:, ::-1], abs=1e-3)
    bias = float(network.get_layer("logit").bias.numpy()[0])
    assert float((features[0] @ weights[0]).mean()) + bias == pytest.approx(float(logits[0]), abs=1e-4)


def test_gate_features_come_out_of_the_same_pass(network: keras.Model, forward: Forward) -> None:
    """The first layer's map averaged over nine parts, against cutting it up; the other's average; and the same map."""
    batch = np.stack([picture(seed) for seed in range(2)])
    logits, features, weights, gate_features = forward(batch)
    without = forward_function(network)(batch)
    for ours, alone in zip((logits, features, weights), without[:3], strict=True):
        assert ours == pytest.approx(alone, abs=1e-4)
    early, middle = (
        keras.Model(network.inputs[0], network.get_layer(name).output)(batch[..., None].astype(np.float32))
        for name in GATE_LAYERS
    )
    maps, channels = early.numpy(), early.shape[-1]
    # Three times as fine by repeating cells, every third of the map is a whole number of cells.
    fine = np.repeat(np.repeat(maps, 3, 1), 3, 2)
    side = fine.shape[1] // 3
    parts = fine.reshape(2, 3, side, 3, side, channels).mean((2, 4)).reshape(2, -1)
    assert gate_features == pytest.approx(np.concatenate((parts, middle.numpy().mean((1, 2))), 1), abs=1e-4)
    assert without[3].shape == (2, 0)


def test_a_version_is_judged_in_the_pass_that_explains_it(
    network: keras.Model, forward: Forward, population: TrainingPopulation, served: dict[bool, Classifier]
) -> None:
    film = np.stack((picture(4), picture(4)[:, ::-1]))
    plain = forward(film)
    for classifier in served.values():
        assert classifier.forward is not None and classifier.population is population
        seen = classifier.forward(film)
        assert seen.gate_features == pytest.approx(plain[3], abs=1e-4)
        assert seen.last == pytest.approx(plain[1].mean((1, 2)), abs=1e-4)
        assert seen.logits == pytest.approx(classifier.run(film), abs=1e-4)
        judged = population.judge(seen.gate_features[0], seen.last[0])
        assert judged.population.distance == pytest.approx(
            population.judge(plain[3][0], plain[1][0].mean((0, 1))).population.distance, rel=1e-3
        )
    with pytest.raises(ClassifierError, match="population"):
        wrap_network(network, card_for("small", PX), dataclasses.replace(population, layers=("no", "layer")))


def test_evidence_map_depends_on_the_weights(forward: Forward) -> None:
    """A map that survives random weights explains the picture, not the classifier (Adebayo et al. 2018)."""
    keras.utils.set_random_seed(8)
    maps = []
    for one in (forward, forward_function(small_network())):
        _, features, weights, _ = one(picture()[None])
        maps.append(grad_cam(features[0], weights[0], (PX, PX)).values.ravel())
    assert not np.allclose(maps[0], maps[1], atol=0.05)
    assert abs(np.corrcoef(maps[0], maps[1])[0, 1]) < 0.7

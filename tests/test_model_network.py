"""The real network at its smallest size; random weights, since what is proved holds for any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from model.calibration import sigmoid  # noqa: E402
from model.gradcam import grad_cam  # noqa: E402
from model.network import (  # noqa: E402
    FEATURE_LAYER,
    POOL_LAYER,
    build_inception_v3,
    head_weights,
    load_network,
    save_network,
    serving_function,
    train_after,
)
from tests.phantoms import chest  # noqa: E402

PX = 139


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(7)
    return build_inception_v3(None, input_px=PX)


def picture(seed: int = 0) -> np.ndarray:
    return chest(seed, (PX, PX), pneumonia=True)


def test_network_is_flat_with_rescaling_inside_and_one_logit(network: keras.Model) -> None:
    names = [layer.name for layer in network.layers]
    assert names[1] == "rescaling" and FEATURE_LAYER in names
    assert names[-4:] == [FEATURE_LAYER, POOL_LAYER, "dropout", "logit"]
    assert network.output_shape == (None, 1)
    assert network.get_layer("logit").activation is keras.activations.linear
    # 21,802,784 of InceptionV3 without its top, and 2,048 + 1 of the head.
    assert network.count_params() == 21_802_784 + 2049


def test_influence_adds_up_to_the_logit(network: keras.Model) -> None:
    """The head is linear on the pooled features, so the mean of the signed map plus the bias is the logit itself."""
    logits, features = serving_function(network)(picture()[None])
    head = head_weights(network)
    bias = float(network.get_layer("logit").bias.numpy()[0])
    assert float((features[0] @ head).mean()) + bias == pytest.approx(float(logits[0]), abs=1e-4)


def test_influence_map_is_the_gradient_one(network: keras.Model) -> None:
    """Grad-CAM by automatic differentiation (Selvaraju et al. 2017) gives the map that needs no backward pass."""
    import tensorflow as tf

    both = keras.Model(network.inputs, [network.outputs[0], network.get_layer(FEATURE_LAYER).output])
    head_only = keras.Sequential([network.get_layer(name) for name in (POOL_LAYER, "dropout", "logit")])
    _, features = both(tf.constant(picture()[None, ..., None], tf.float32), training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = head_only(features, training=False)
    weights = tape.gradient(logit, features).numpy()[0].mean((0, 1))
    by_gradient = np.maximum(features.numpy()[0] @ weights, 0)
    ours = grad_cam(features.numpy()[0], head_weights(network), by_gradient.shape)
    assert ours.values == pytest.approx(by_gradient / by_gradient.max(), abs=1e-4)


def test_influence_map_depends_on_the_weights(network: keras.Model) -> None:
    """A map that survives random weights explains the picture, not the classifier (Adebayo et al. 2018)."""
    keras.utils.set_random_seed(8)
    other = build_inception_v3(None, input_px=PX)
    maps = []
    for net in (network, other):
        _, features = serving_function(net)(picture()[None])
        maps.append(grad_cam(features[0], head_weights(net), (PX, PX)).values.ravel())
    assert not np.allclose(maps[0], maps[1], atol=0.05)
    assert abs(np.corrcoef(maps[0], maps[1])[0, 1]) < 0.7


def test_stored_weights_give_the_same_probabilities(network: keras.Model, tmp_path: Path) -> None:
    save_network(network, tmp_path / "w.npz")
    again = load_network(tmp_path / "w.npz", "inception_v3", PX)
    batch = np.stack([picture(seed) for seed in range(4)])
    before, after = (sigmoid(serving_function(net)(batch)[0]) for net in (network, again))
    assert after == pytest.approx(before, abs=1e-3)
    assert (tmp_path / "w.npz").stat().st_size < 60e6


def test_weights_of_another_network_are_refused(network: keras.Model, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="1 arrays"):
        load_network(tmp_path / "w.npz", "inception_v3", PX)
    with pytest.raises(ValueError, match="architecture 'resnet'"):
        load_network(tmp_path / "w.npz", "resnet", PX)


def test_fine_tuning_leaves_batch_normalisation_frozen(network: keras.Model) -> None:
    head = train_after(network, POOL_LAYER)
    assert head == 2049
    upper = train_after(network, "mixed7")
    assert 2049 < upper < network.count_params()
    assert network.get_layer("mixed7").trainable is False
    trainable = [layer for layer in network.layers if layer.trainable]
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in trainable)
    with pytest.raises(ValueError, match="Received: 'mixed99'"):
        train_after(network, "mixed99")

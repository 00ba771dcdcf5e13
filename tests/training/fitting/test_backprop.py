from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

keras = pytest.importorskip("keras")
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from model.network import build_network, train_after  # noqa: E402
from training.fitting import backprop  # noqa: E402
from training.fitting.backprop import blocks, kernel_gradient, quickened  # noqa: E402

without_gpu = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="a GPU keeps its own layers")


def gradients(network: Any, pictures: tf.Tensor, quick: bool) -> list[np.ndarray]:
    """A loss and its gradients by the pictures and by every trainable weight, through a graph as in training."""

    @tf.function(input_signature=[tf.TensorSpec(network.input_shape, tf.float32)])
    def both(x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            if quick:
                with quickened(network):
                    outputs = network(x, training=True)
            else:
                outputs = network(x, training=True)
            loss = tf.reduce_sum(tf.sin(outputs))
        return loss, tape.gradient(loss, [x, *network.trainable_variables])

    loss, found = both(pictures)
    return [loss.numpy(), *(g.numpy() for g in found)]


def assert_same_gradients(network: Any, pictures: tf.Tensor) -> None:
    plain, quick = (gradients(network, pictures, which) for which in (False, True))
    for one, other in zip(plain, quick, strict=True):
        assert one.shape == other.shape and np.abs(one).max() > 0
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=2e-4 * np.abs(one).max())


def varied(network: Any, seed: int = 0) -> Any:
    """Give every BatchNormalization statistics of its own: new ones are the identity, which would hide a mistake."""
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return network


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 7), (7, 1), (5, 5), (2, 4), (5, 3)], ids=str)
def test_gradient_by_the_kernel_is_tensorflows(size: tuple[int, int], padding: str) -> None:
    for rows, columns in ((9, 11), (7, 8), (1, 1)):
        if padding == "VALID" and (rows < size[0] or columns < size[1]):
            continue
        pictures, kernel = normal(2, rows, columns, 5), normal(*size, 5, 6)
        errors = tf.sin(tf.nn.conv2d(pictures, kernel, 1, padding))
        plain = tf.raw_ops.Conv2DBackpropFilter(
            input=pictures, filter_sizes=kernel.shape, out_backprop=errors, strides=[1, 1, 1, 1], padding=padding
        ).numpy()
        quick = kernel_gradient(pictures, errors, size, padding).numpy()
        np.testing.assert_allclose(quick, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())


def test_gradient_by_the_kernel_by_hand() -> None:
    # One picture of one row 1 2 3, errors 1 10 100 at each place: neighbours left, same, right.
    pictures, errors = tf.constant([[[[1.0], [2.0], [3.0]]]]), tf.constant([[[[1.0], [10.0], [100.0]]]])
    found = kernel_gradient(pictures, errors, (1, 3), "SAME").numpy().ravel().tolist()
    assert found == [1 * 10 + 2 * 100, 1 * 1 + 2 * 10 + 3 * 100, 2 * 1 + 3 * 10]


def conv_norm_relu(x: Any, bias: bool = False, **options: Any) -> Any:
    x = keras.layers.Conv2D(40, 3, use_bias=bias, **options)(x)
    return keras.layers.Activation("relu")(keras.layers.BatchNormalization(scale=bias)(x))


@without_gpu
@pytest.mark.parametrize(
    "build",
    [
        lambda x: conv_norm_relu(x, padding="same"),
        lambda x: conv_norm_relu(x, bias=True),
        lambda x: conv_norm_relu(x, strides=2, padding="same", bias=True),
        lambda x: keras.layers.Conv2D(40, 3, activation="relu", bias_initializer="ones")(x),
        lambda x: keras.layers.BatchNormalization()(keras.layers.Conv2D(40, 1, activation="relu")(x)),
        lambda x: keras.layers.Conv2D(40, (1, 5), padding="same", activation="tanh")(x),
        lambda x: keras.layers.Add()(
            [y := keras.layers.Conv2D(40, 3, padding="same")(x), keras.layers.BatchNormalization()(y)]
        ),
    ],
    ids=["norm", "bias and norm", "stride", "own relu", "relu before norm", "tanh", "read twice"],
)
@pytest.mark.parametrize("frozen", [True, False])
def test_joined_blocks_have_the_same_gradients(build: Callable[[Any], Any], frozen: bool) -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, None, 36))
    first = keras.layers.Conv2D(36, 3, padding="same", name="first")(inputs)
    outputs = keras.layers.GlobalAveragePooling2D()(build(first))
    network = varied(keras.Model(inputs, keras.layers.Dense(1)(outputs)))
    for layer in network.layers:
        layer.trainable = not (frozen and isinstance(layer, keras.layers.BatchNormalization))
    kept = [layer.call for layer in network.layers]
    statistics = [v.numpy() for v in network.non_trainable_variables]
    pictures = normal(3, 9, 8, 36)
    assert len(blocks(network)) == 2
    if not frozen:  # statistics of the batch move with every step, so both must start from the same
        assert all(block.norm is None for block in blocks(network))
    plain = gradients(network, pictures, False)
    for variable, value in zip(network.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    for one, other in zip(plain, gradients(network, pictures, True), strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=2e-4 * np.abs(one).max())
    assert [layer.call for layer in network.layers] == kept, "the layers are as before"


@without_gpu
def test_a_frozen_norm_is_joined_and_a_result_that_others_read_is_not() -> None:
    inputs = keras.Input((8, 8, 4))
    shared = keras.layers.Conv2D(4, 3, name="shared")(inputs)
    normed = keras.layers.BatchNormalization(trainable=False)(shared)
    alone = keras.layers.BatchNormalization(trainable=False)(keras.layers.Conv2D(4, 3, name="alone")(normed))
    network = keras.Model(inputs, [shared, keras.layers.Activation("relu")(alone)])
    assert {b.convolution.name: (b.norm is not None, b.relu is not None) for b in blocks(network)} == {
        "shared": (False, False),
        "alone": (True, True),
    }


@without_gpu
def test_other_layers_stay_as_they_are() -> None:
    inputs = x = keras.Input((24, 24, 4))
    for layer in (
        keras.layers.Conv2D(4, 3, dilation_rate=2),
        keras.layers.Conv2D(4, 3, groups=2),
        keras.layers.DepthwiseConv2D(3),
        keras.layers.SeparableConv2D(4, 3),
        keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
    ):
        x = layer(x)
    assert blocks(keras.Model(inputs, x)) == []
    twice = keras.layers.Conv2D(4, 3)
    assert blocks(keras.Model(inputs, twice(twice(inputs)))) == []


@without_gpu
@pytest.mark.parametrize("pay", [True, False])
def test_small_network_from_random_weights_has_the_same_gradients(pay: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backprop, "products_pay", lambda: pay)
    keras.utils.set_random_seed(5)
    network = build_network("cnn_4_2", 32, dropout=0.0)
    train_after(network, "")
    statistics = [v.numpy() for v in network.non_trainable_variables]
    pictures = 255 * tf.random.stateless_uniform((4, 32, 32, 1), (1, 2))
    plain = gradients(network, pictures, False)
    for variable, value in zip(network.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    for one, other in zip(plain, gradients(network, pictures, True), strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=1e-3 * np.abs(one).max() + 1e-6)


@without_gpu
@pytest.mark.slow
def test_inception_has_the_same_gradients_after_the_layer_it_is_trained_from() -> None:
    keras.utils.set_random_seed(7)
    network = varied(build_network("inception_v3", None, dropout=0.0), 7)
    train_after(network, "mixed3")
    found = blocks(network)
    assert len(found) == 94 and all(block.norm and block.relu for block in found)
    assert_same_gradients(network, 255 * tf.random.stateless_uniform((2, 107, 107, 1), (1, 2)))

"""The same step of training sooner, on machines without a GPU: convolutions whose kernels' gradients are products.

oneDNN's kernels for the gradient of a convolution by its weights reach a half of what its matrix products do where
there is no AVX-512. That gradient is a sum of such products, one for each cell of the kernel, of pictures and errors
shifted against each other. And a frozen BatchNormalization after a convolution is a scale and a shift that the kernel
and the bias can carry (Jacob et al. 2018, https://arxiv.org/abs/1712.05877), which saves a pass over every feature map
and one over its gradient. Which sums are formed does not change, so results agree to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

# With fewer channels a product is too narrow to be faster than the convolution's own gradient.
FEWEST_CHANNELS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A convolution and what follows it alone: a frozen BatchNormalization, a ReLU, or neither."""

    convolution: keras.layers.Conv2D
    norm: keras.layers.BatchNormalization | None
    relu: keras.layers.Activation | None


def blocks(network: keras.Model) -> list[Block]:
    """Return the network's float32 convolutions with what can be joined to each as its layers are frozen now.

    None of a network that uses a layer twice.
    """
    readers: dict[Any, list[Any]] = {tensor._keras_history.operation: [None] for tensor in network.outputs}
    for operation in network.operations:
        if len(operation._inbound_nodes) != 1:
            return []
        for tensor in keras.tree.flatten(operation.input):
            readers.setdefault(tensor._keras_history.operation, []).append(operation)

    def next_of(layer: Any) -> Any:
        found = readers.get(layer, [])
        return found[0] if len(found) == 1 else None

    return [_block(layer, next_of) for layer in network.layers if _is_plain(layer)]


def _is_plain(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and tuple(layer.dilation_rate) == (1, 1)
        and layer.compute_dtype == "float32"
        and layer.padding in ("same", "valid")
    )


def _block(convolution: keras.layers.Conv2D, next_of: Any) -> Block:
    last, norm = convolution, None
    if convolution.activation is keras.activations.linear:
        after = next_of(last)
        if (
            type(after) is keras.layers.BatchNormalization
            and not after.trainable
            and after.axis in (-1, 3)
            and after.compute_dtype == "float32"
        ):
            last = norm = after
        after = next_of(last)
        if type(after) is keras.layers.Activation and after.activation is keras.activations.relu:
            return Block(convolution, norm, after)
    return Block(convolution, norm, None)


@contextmanager
def quickened(network: keras.Model) -> Iterator[int]:
    """Let the network's convolutions run as joined blocks while a step's graph is built; give how many do.

    The layers are as before when it ends, and the graph keeps what it saw. On a GPU nothing changes.
    """
    found = [] if tf.config.list_physical_devices("GPU") else blocks(network)
    with ExitStack() as undo:
        for block in found:
            _replace(undo, block.convolution, _call_of(block))
            for layer in (block.norm, block.relu):
                if layer is not None:
                    _replace(undo, layer, _pass_on)
        yield len(found)


def _replace(undo: ExitStack, layer: keras.layers.Layer, call: Any) -> None:
    layer.call = call
    undo.callback(delattr, layer, "call")


def _pass_on(inputs: tf.Tensor, **_: Any) -> tf.Tensor:
    return inputs


def _call_of(block: Block) -> Any:
    layer, norm = block.convolution, block.norm
    relu = block.relu is not None or layer.activation is keras.activations.relu
    step, padding = tuple(layer.strides), layer.padding.upper()

    def call(inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(layer.kernel)
        shift = tf.convert_to_tensor(layer.bias) if layer.use_bias else tf.zeros(kernel.shape[-1])
        if norm is not None:
            scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
            if norm.gamma is not None:
                scale *= norm.gamma
            kernel, shift = kernel * scale, (shift - norm.moving_mean) * scale
            if norm.beta is not None:
                shift += norm.beta
        outputs = convolve(inputs, kernel, shift, step, padding, relu)
        return outputs if relu else layer.activation(outputs)

    return call


def convolve(
    inputs: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor, step: tuple[int, int], padding: str, relu: bool
) -> tf.Tensor:
    """Convolve float32 (n, rows, columns, c) with (k, l, c, d), add `shift` (d,) and cut off below 0 with `relu`.

    `padding` is "SAME" or "VALID"; the result is float32 (n, rows', columns', d).
    """

    def forward(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> Any:
        outputs = tf.nn.bias_add(tf.nn.conv2d(x, w, step, padding), b)
        if relu:
            outputs = tf.nn.relu(outputs)

        def backward(errors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            if relu:
                errors = tf.raw_ops.ReluGrad(gradients=errors, features=outputs)
            strides = [1, *step, 1]
            by_input = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x), filter=w, out_backprop=errors, strides=strides, padding=padding
            )
            if step == (1, 1) and min(w.shape[2:]) >= FEWEST_CHANNELS and products_pay():
                by_kernel = kernel_gradient(x, errors, tuple(w.shape[:2]), padding)
            else:
                by_kernel = tf.raw_ops.Conv2DBackpropFilter(
                    input=x, filter_sizes=w.shape, out_backprop=errors, strides=strides, padding=padding
                )
            return by_input, by_kernel, tf.raw_ops.BiasAddGrad(out_backprop=errors)

        return outputs, backward

    return tf.custom_gradient(forward)(inputs, kernel, shift)


@cache
def products_pay() -> bool:
    """Whether this processor's own gradient of a convolution by its kernel is the slower one: one without AVX-512."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "avx512f" not in cpu.read_text()


def kernel_gradient(inputs: tf.Tensor, errors: tf.Tensor, size: tuple[int, int], padding: str) -> tf.Tensor:
    """Return the gradient by its kernel of a convolution of stride 1: float32 (k, l, c, d), with `size` (k, l).

    inputs is float32 (n, rows, columns, c), errors the gradient by the result, float32 (n, rows', columns', d).
    """
    if size == (1, 1):
        return _product(inputs, errors)[None, None]
    # The direction in which the kernel is longer comes first in memory, where a shifted part needs no copy.
    turned = size[0] > size[1]
    outer, inner = (1, 0) if turned else (0, 1)
    order = (1, 0, 2, 3) if turned else (2, 0, 1, 3)
    rows = []
    for i in range(size[outer]):
        read, written = _overlap(i, size[outer], padding)
        part_x, part_e = (
            (inputs[:, :, read], errors[:, :, written]) if turned else (inputs[:, read], errors[:, written])
        )
        part_x, part_e = tf.transpose(part_x, order), tf.transpose(part_e, order)
        overlaps = [_overlap(j, size[inner], padding) for j in range(size[inner])]
        rows.append(tf.stack([_product(part_x[r], part_e[w]) for r, w in overlaps]))
    return tf.stack(rows, axis=1 if turned else 0)


def _overlap(position: int, size: int, padding: str) -> tuple[slice, slice]:
    """Return which lines of the input and which of the result one line of a kernel of `size` lines connects."""
    if padding == "VALID":
        return slice(position, position - size + 1 or None), slice(None)
    shift = position - (size - 1) // 2
    ahead, behind = slice(abs(shift), None), slice(None, -abs(shift) or None)
    return (ahead, behind) if shift > 0 else (behind, ahead)


def _product(inputs: tf.Tensor, errors: tf.Tensor) -> tf.Tensor:
    return tf.matmul(
        tf.reshape(inputs, (-1, inputs.shape[-1])), tf.reshape(errors, (-1, errors.shape[-1])), transpose_a=True
    )

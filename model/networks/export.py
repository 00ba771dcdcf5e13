"""Networks in the formats of other runtimes: TensorFlow's SavedModel, ONNX and OpenVINO.

Each is read back by its own runtime, so that what is handed over can be measured against the network it came from.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from core.errors import ClassifierError

Pictures = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
# What Keras calls each format, the file that holds the network, and the packages that writing and reading it take.
FORMATS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "saved_model": ("tf_saved_model", "saved_model", ()),
    "onnx": ("onnx", "model.onnx", ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": ("openvino", "model.xml", ("openvino",)),
}


def refuse_missing_packages(kind: str) -> None:
    """Raise ClassifierError unless the packages of the format `kind` are installed."""
    missing = [name for name in FORMATS[kind][2] if importlib.util.find_spec(name) is None]
    if missing:
        raise ClassifierError(
            f"expected the packages that {kind} takes. Received: no {', '.join(missing)}",
            advice='Install them: pip install "pneumolens[export]"',
        )


def export_network(network: keras.Model, folder: Path, kind: str, mirror: bool) -> Path:
    """Write a network in another format.

    Parameters
    ----------
    network
        Pictures, float32 (N, px, px, 1) or (N, px, px, 2) in [0, 255], to one logit (N, 1).
    folder
        Folder for the file or files.
    kind
        A name in `FORMATS`.
    mirror
        Whether the logit is the mean of a picture's and its mirror image's.

    Returns
    -------
    Path
        The file or folder that the runtime opens.
    """
    if mirror:
        pictures = keras.Input(network.input_shape[1:], name="radiograph")
        both = [network(pictures), network(keras.ops.flip(pictures, axis=2))]
        network = keras.Model(pictures, keras.layers.Average(name="logit_mean")(both))
    return _written(network, folder / FORMATS[kind][1], kind, "radiograph")


def export_anatomy(network: keras.Model, folder: Path, kind: str) -> Path:
    """Write an anatomy network in another format, with probabilities in place of logits.

    Parameters
    ----------
    network
        As `model.networks.anatomy.build_anatomy` builds it.
    folder
        Folder for the file or files.
    kind
        A name in `FORMATS`.

    Returns
    -------
    Path
        The file or folder that the runtime opens.
    """
    lungs, pose = network.outputs
    outputs = [
        keras.layers.Activation("sigmoid", name="lung_probabilities")(lungs),
        keras.layers.Softmax(name="pose_probabilities")(pose),
    ]
    path = folder / f"anatomy_{FORMATS[kind][1]}"
    return _written(keras.Model(network.inputs, outputs, name="anatomy"), path, kind, "square")


def _written(network: keras.Model, path: Path, kind: str, entry: str) -> Path:
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name=entry)]
    network.export(str(path), format=FORMATS[kind][0], verbose=False, input_signature=signature)
    return path


def exported_function(path: Path, kind: str) -> Callable[[Pictures], Float]:
    """Open an exported network in its own runtime.

    Parameters
    ----------
    path
        What `export_network` returned.
    kind
        A name in `FORMATS`.

    Returns
    -------
    Callable
        From pictures, uint8 (n, px, px) or (n, px, px, 2), to logits, float32 (n,).
    """
    run = _opened(path, kind)

    def logits(pictures: Pictures) -> Float:
        return run(pictures if pictures.ndim == 4 else pictures[..., None])[0][:, 0]

    return logits


def exported_anatomy(path: Path, kind: str) -> Callable[[Pictures], tuple[Float, Float]]:
    """Open an exported anatomy network in its own runtime.

    Parameters
    ----------
    path
        What `export_anatomy` returned.
    kind
        A name in `FORMATS`.

    Returns
    -------
    Callable
        As `model.networks.anatomy.anatomy_function` returns it.
    """
    run = _opened(path, kind)

    def found(squares: Pictures) -> tuple[Float, Float]:
        # By their dimensions: OpenVINO adds sizes of inner maps to the outputs.
        by_dimensions = {one.ndim: one for one in run(squares[..., None])}
        return np.moveaxis(by_dimensions[4], -1, 1), by_dimensions[2]

    return found


def _opened(path: Path, kind: str) -> Callable[[Pictures], list[Float]]:
    """Return a function from pictures, uint8 (n, px, px, channels), to all outputs of an exported network."""
    if kind == "saved_model":
        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does

        def run(pictures: Float) -> Any:
            return tf.nest.flatten(loaded.serve(pictures))
    elif kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0].name

        def run(pictures: Float) -> Any:
            return session.run(None, {entry: pictures})
    else:
        import openvino

        # Without the hint a processor with bfloat16 would compute in it, and the check would measure that.
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(pictures: Float) -> Any:
            results = compiled(pictures)
            return [results[i] for i in range(len(compiled.outputs))]

    return lambda pictures: [np.asarray(one, np.float32) for one in run(pictures.astype(np.float32))]

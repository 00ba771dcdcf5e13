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
        Grey pictures, float32 (N, px, px, 1) in [0, 255], to one logit (N, 1).
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
    name, file, _ = FORMATS[kind]
    if mirror:
        pictures = keras.Input(network.input_shape[1:], name="radiograph")
        both = [network(pictures), network(keras.ops.flip(pictures, axis=2))]
        network = keras.Model(pictures, keras.layers.Average(name="logit_mean")(both))
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="radiograph")]
    network.export(str(folder / file), format=name, verbose=False, input_signature=signature)
    return folder / file


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
        From pictures, uint8 (n, px, px), to logits, float32 (n,).
    """
    if kind == "saved_model":
        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does

        def run(pictures: Float) -> Any:
            return loaded.serve(pictures)
    elif kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0].name

        def run(pictures: Float) -> Any:
            return session.run(None, {entry: pictures})[0]
    else:
        import openvino

        # Without the hint a processor with bfloat16 would compute in it, and the check would measure that.
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(pictures: Float) -> Any:
            return compiled(pictures)[0]

    return lambda pictures: np.asarray(run(pictures[..., None].astype(np.float32)), np.float32)[:, 0]

"""Networks of one's own under mixed precision, whatever type their last layer has: fitted, resumed, explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from core.progress import Progress, ignore  # noqa: E402
from model.networks.build import build_network  # noqa: E402
from model.networks.graphs import forward_function, logit_function  # noqa: E402
from model.networks.layers import POOL_LAYER, gate_layers  # noqa: E402
from model.networks.weights import load_network, save_network  # noqa: E402
from training.fitting.config import Stage, TrainingConfig  # noqa: E402
from training.fitting.fit import TrainingData, fit  # noqa: E402
from training.fitting.head import fit_head  # noqa: E402
from training.fitting.progress import EpochEnd  # noqa: E402

PX = 32


def _maps(px: int) -> tuple[Any, Any]:
    inputs = keras.Input((px, px, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(
        keras.layers.Rescaling(1 / 255)(inputs)
    )
    x = keras.layers.BatchNormalization()(x)
    return inputs, keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="second")(x)


def flat(px: int) -> Any:
    inputs, x = _maps(px)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def pooled(px: int) -> Any:
    inputs, x = _maps(px)
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(x))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def nested(px: int) -> Any:
    inputs, x = _maps(px)
    end = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    return keras.Model(inputs, end(x))


def reshaped(px: int) -> Any:
    inputs, x = _maps(px)
    return keras.Model(inputs, keras.layers.Reshape((1,))(keras.layers.Dense(1)(keras.layers.Flatten()(x))))


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy(before)


def films() -> TrainingData:
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(40, 80, (12, PX, PX)).astype(np.uint8), np.arange(12) % 2
    pictures[labels == 1] += 100
    return TrainingData(pictures, labels, pictures[::-1], labels[::-1])


def config(name: str, train_after: str = "", **others: Any) -> TrainingConfig:
    return TrainingConfig(
        architecture=name,
        input_px=PX,
        augmentation="plain",
        batch_size=4,
        warmup_steps=1,
        ema_momentum=0.5,
        stages=(Stage("fit", 2, PX, train_after, 1e-2),),
        **others,
    )


@pytest.mark.parametrize(
    ("make", "policy"),
    [(flat, "mixed_bfloat16"), (nested, "mixed_bfloat16"), (reshaped, "mixed_bfloat16"), (pooled, "mixed_float16")],
    ids=lambda one: getattr(one, "__name__", one),
    indirect=["policy"],
)
def test_a_network_of_one_s_own_is_fitted_resumed_stored_and_explained(make: Any, policy: str, tmp_path: Path) -> None:
    name = f"{__name__}:{make.__name__}"
    keras.utils.set_random_seed(1)

    def stop(progress: Progress) -> None:
        if isinstance(progress.detail, EpochEnd):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(build_network(name, PX), config(name), films(), tmp_path, stop)
    network = build_network(name, PX)
    assert network.layers[1].compute_dtype == policy.removeprefix("mixed_")
    history = fit(network, config(name), films(), tmp_path, ignore)
    assert [row["epoch"] for row in history] == [1, 2] and np.isfinite(history[-1]["val_loss"])
    json.dumps(history, allow_nan=False)
    logits = logit_function(network)(films().val_pictures)
    assert logits.dtype == np.float32 and np.isfinite(logits).all()
    _, maps, weights, parts = forward_function(network, gate_layers(network, name))(films().val_pictures)
    for values in (maps, weights, parts):
        assert values.dtype == np.float32 and np.isfinite(values).all()
    save_network(network, tmp_path / "weights.npz")
    keras.mixed_precision.set_global_policy("float32")
    served = load_network(tmp_path / "weights.npz", name, PX, trusted=(name,))
    assert served.output.dtype == "float32"
    np.testing.assert_allclose(logit_function(served)(films().val_pictures), logits, atol=0.1)


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_the_head_alone_is_fitted_on_cached_features(policy: str, tmp_path: Path) -> None:
    name = f"{__name__}:pooled"
    keras.utils.set_random_seed(1)
    network = build_network(name, PX)
    assert network.layers[1].compute_dtype == policy.removeprefix("mixed_")
    history = fit_head(network, config(name, POOL_LAYER, cached_copies=2), films(), tmp_path, ignore)
    logits = logit_function(network)(films().val_pictures)
    signed = np.where(films().val_labels == 1, -logits, logits)
    assert np.logaddexp(0, signed).mean() == pytest.approx(history[-1]["val_loss"], abs=0.02)

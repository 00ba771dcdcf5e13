"""Every network by its name: what it is made of, that its weights survive their file, that it runs and explains.

Random weights at the smallest sizes; each large network is built once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from core.errors import ClassifierError  # noqa: E402
from model.calibration import sigmoid  # noqa: E402
from model.engine import wrap_network  # noqa: E402
from model.explanation import grad_cam  # noqa: E402
from model.networks import build  # noqa: E402
from model.networks.architectures import ARCHITECTURES, find_architecture  # noqa: E402
from model.networks.build import build_network  # noqa: E402
from model.networks.layers import POOL_LAYER, evidence_layer, gate_layers, train_after  # noqa: E402
from model.networks.weights import load_network, read_weights, save_network  # noqa: E402
from model.population import GRID, PARTS  # noqa: E402
from tests.model.networks.small_network import card_for, population_for  # noqa: E402
from tests.phantoms import chest  # noqa: E402
from training.experiments.space import TRAIN_AFTER  # noqa: E402

SMALL = ("simple_cnn", "cnn_2_1", "cnn_4_2", "cnn_3_1", "cnn_77k")
# Without "inception_v3_scratch", which is "inception_v3" from other weights: a test of its own says so.
BACKBONES = ("inception_v3", "vgg16", "resnet50", "densenet121")


def two_convolutions(input_px: int) -> keras.Model:
    """A network of one's own, as a user would write it."""
    inputs = keras.Input((input_px, input_px, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def with_sigmoid(input_px: int) -> keras.Model:
    inputs = keras.Input((input_px, input_px, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))


def in_colour(input_px: int) -> keras.Model:
    inputs = keras.Input((input_px, input_px, 3))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))


OWN = f"{__name__}:{two_convolutions.__name__}"


@pytest.fixture(scope="session")
def built() -> Iterator[Callable[[str], keras.Model]]:
    """Builds a network at `px_of` its name, each once for all tests here; they leave its weights as they are."""
    networks: dict[str, keras.Model] = {}

    def build(name: str) -> keras.Model:
        if name not in networks:
            keras.utils.set_random_seed(3)
            networks[name] = build_network(name, px_of(name))
        return networks[name]

    yield build
    networks.clear()


def px_of(name: str) -> int:
    return 130 if name in SMALL else 80


def picture(seed: int, px: int) -> np.ndarray:
    return chest(seed, (px, px), pneumonia=True)


def test_network_is_flat_with_rescaling_inside_and_one_logit(built: Callable[[str], keras.Model]) -> None:
    network = built("inception_v3")
    names = [layer.name for layer in network.layers]
    assert "rescaling" in names[:3] and "mixed10" in names
    assert names[-4:] == ["mixed10", POOL_LAYER, "dropout", "logit"]
    assert network.output_shape == (None, 1)
    assert network.get_layer("logit").activation is keras.activations.linear
    # 21,802,784 of InceptionV3 without its top, and 2,048 + 1 of the head.
    assert network.count_params() == 21_802_784 + 2049
    assert evidence_layer(network) == ("mixed10", True)


def test_smallest_network_has_exactly_the_published_parameters() -> None:
    network = build_network("cnn_77k", 150)
    assert train_after(network, "") == 77_633
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.count("Conv2D") == kinds.count("MaxPooling2D") == kinds.count("SpatialDropout2D") == 7
    assert kinds.count("Dense") == 3
    assert network.get_layer("pool7").output.shape[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("name", "convolutions", "dense", "norm", "dropout"),
    [
        ("simple_cnn", 4, 2, False, True),
        ("cnn_2_1", 2, 1, False, False),
        ("cnn_4_2", 4, 2, True, True),
        ("cnn_3_1", 3, 1, False, True),
    ],
)
def test_small_networks_are_what_they_are_called(
    name: str, convolutions: int, dense: int, norm: bool, dropout: bool
) -> None:
    kinds = [type(layer).__name__ for layer in build_network(name, 150).layers]
    assert (kinds.count("Conv2D"), kinds.count("Dense")) == (convolutions, dense)
    assert ("BatchNormalization" in kinds) is norm and ("Dropout" in kinds) is dropout


@pytest.mark.parametrize("name", [*SMALL, *BACKBONES])
def test_listed_parameters_are_those_of_the_network(name: str, built: Callable[[str], keras.Model]) -> None:
    # The head of a backbone averages its maps, so the side of the picture makes no difference.
    network = build_network(name, ARCHITECTURES[name].input_px) if name in SMALL else built(name)
    trained = [weight for weight in network.weights if not weight.name.startswith("moving_")]
    assert ARCHITECTURES[name].parameters == sum(int(np.prod(weight.shape)) for weight in trained)
    if name == "inception_v3":
        assert ARCHITECTURES["inception_v3_scratch"].parameters == ARCHITECTURES[name].parameters


@pytest.mark.parametrize("name", [*SMALL, *BACKBONES, OWN])
def test_every_network_stores_loads_runs_and_explains(
    name: str, built: Callable[[str], keras.Model], tmp_path: Path
) -> None:
    """Grad-CAM's first-order property: moving along the weights' direction moves the logit."""
    px, network = px_of(name), built(name)
    layers, names = gate_layers(network, name), [layer.name for layer in network.layers]
    assert names.index(layers[0]) <= names.index(layers[1]) and len(layers) == 2
    if name in ARCHITECTURES:
        assert layers == ARCHITECTURES[name].gate_layers and layers[0] != layers[1]
    population = population_for(network, layers, evidence_layer(network)[0])
    classifier = wrap_network(network, card_for(name, px), population)
    batch = np.stack([picture(seed, px) for seed in range(2)])
    own = classifier.run(batch)
    save_network(network, tmp_path / "w.npz")
    assert (tmp_path / "w.npz").stat().st_size < 60e6
    if name in BACKBONES:  # these take seconds to build
        for variable in network.weights:
            variable.assign(variable.value * 0)
        read_weights(network, tmp_path / "w.npz")
    else:
        classifier = wrap_network(
            load_network(tmp_path / "w.npz", name, px, trusted=(OWN,)), card_for(name, px), population
        )
    assert classifier.forward is not None
    seen = classifier.forward(batch)
    assert seen.logits == pytest.approx(classifier.run(batch), abs=1e-4)
    assert sigmoid(seen.logits) == pytest.approx(sigmoid(own), abs=2e-3)
    assert seen.features.shape[0] == 2 and seen.weights.shape == (2, seen.features.shape[-1])
    assert np.abs(seen.weights).max() > 0
    heatmap = grad_cam(seen.features[0], seen.weights[0], (200, 160), layer=classifier.layer)
    assert heatmap.values.shape == (200, 160) and heatmap.layer == classifier.layer
    channels = [network.get_layer(layer).output.shape[-1] for layer in layers]
    assert seen.gate_features.shape == (2, PARTS * channels[0] + channels[1]) and GRID**2 == PARTS


def test_inception_from_scratch_is_the_same_network_without_imagenet(
    built: Callable[[str], keras.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    inception, asked = built("inception_v3"), []

    def note(name: str, weights: object, **others: object) -> keras.Model:
        asked.append((name, weights, others["input_px"]))
        return inception

    monkeypatch.setattr(build, "build_on_backbone", note)
    assert build_network("inception_v3_scratch", 80) is inception and asked == [("inception_v3", None, 80)]
    assert (
        ARCHITECTURES["inception_v3_scratch"].gate_layers == ARCHITECTURES["inception_v3"].gate_layers
        and not ARCHITECTURES["inception_v3_scratch"].is_transfer
    )


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "densenet121"])
def test_backbones_get_the_preprocessing_that_imagenet_weights_expect(
    name: str, built: Callable[[str], keras.Model]
) -> None:
    prepare = {
        "vgg16": keras.applications.vgg16,
        "resnet50": keras.applications.resnet,
        "densenet121": keras.applications.densenet,
    }[name].preprocess_input
    grey = picture(1, px_of(name)).astype(np.float32)[None, ..., None]
    network = built(name)
    ours = keras.Model(network.inputs[0], network.get_layer("rescaling").output)(grey).numpy()
    assert ours == pytest.approx(prepare(np.repeat(grey, 3, -1).copy()), abs=1e-3)
    assert evidence_layer(network)[1]
    assert train_after(network, ARCHITECTURES[name].train_after) > train_after(network, POOL_LAYER)


@pytest.mark.parametrize("name", sorted(TRAIN_AFTER))
def test_every_layer_that_tuning_may_thaw_after_is_one(name: str, built: Callable[[str], keras.Model]) -> None:
    layers = [layer.name for layer in built(name).layers]
    positions = [layers.index(layer) for layer in TRAIN_AFTER[name]]
    assert positions == sorted(positions) and ARCHITECTURES[name].train_after in TRAIN_AFTER[name]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="1 arrays"):
        load_network(tmp_path / "w.npz", "cnn_2_1", 130)
    with pytest.raises(ClassifierError, match="'resnet'"):
        load_network(tmp_path / "w.npz", "resnet", 130)


def test_a_card_cannot_call_a_function_that_the_installation_does_not_trust(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    for name in (OWN, "os:system", "shutil:rmtree"):
        with pytest.raises(ClassifierError) as refused:
            load_network(tmp_path / "w.npz", name, 32)
        assert "PNEUMOLENS_ARCHITECTURES" in refused.value.advice
    with pytest.raises(ValueError, match="1 arrays"):
        load_network(tmp_path / "w.npz", OWN, 32, trusted=(OWN,))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (f"{__name__}:with_sigmoid", "Remove the last layer's activation"),
        (f"{__name__}:in_colour", "one grey input channel"),
        (f"{__name__}:not_there", "function's name"),
        ("no_such_package.nets:build", "function's name"),
        ("builtins:str", "one grey input channel"),
    ],
)
def test_a_function_that_does_not_fit_is_refused_with_what_to_do(name: str, advice: str) -> None:
    with pytest.raises(ClassifierError) as refused:
        build_network(name, 32)
    assert advice in refused.value.advice


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ClassifierError, match="cnn_77k"):
        find_architecture("alexnet")
    assert find_architecture(OWN).is_transfer is False


def test_fine_tuning_leaves_batch_normalisation_frozen(built: Callable[[str], keras.Model]) -> None:
    network = built("inception_v3")
    head = train_after(network, POOL_LAYER)
    assert head == 2049
    upper = train_after(network, "mixed7")
    assert 2049 < upper < network.count_params()
    assert network.get_layer("mixed7").trainable is False
    trainable = [layer for layer in network.layers if layer.trainable]
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in trainable)
    with pytest.raises(ValueError, match="Received: 'mixed99'"):
        train_after(network, "mixed99")
    assert train_after(network, "") > upper
    assert any(isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in network.layers)

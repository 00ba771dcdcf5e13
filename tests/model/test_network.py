"""The real networks at their smallest sizes; random weights, since what is proved holds for any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from core.errors import ClassifierError  # noqa: E402
from model import network as networks  # noqa: E402
from model.architectures import ARCHITECTURES, find_architecture  # noqa: E402
from model.calibration import sigmoid  # noqa: E402
from model.card import ModelCard  # noqa: E402
from model.engine import Classifier, wrap_network  # noqa: E402
from model.explanation import grad_cam  # noqa: E402
from model.network import (  # noqa: E402
    GRID,
    POOL_LAYER,
    build_network,
    build_on_backbone,
    evidence_layer,
    explaining_function,
    forward_function,
    gate_layers,
    load_network,
    save_network,
    train_after,
)
from model.population import HEADS, PARTS, Limits, TrainingPopulation  # noqa: E402
from model.small_networks import CNN_77K_PARAMETERS  # noqa: E402
from tests.pages.performance.test_performance import a_card  # noqa: E402
from tests.phantoms import chest  # noqa: E402
from training.experiments.space import TRAIN_AFTER  # noqa: E402

PX = 139
Explain = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
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


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(7)
    return build_network("inception_v3", PX)


@pytest.fixture(scope="module")
def explain(network: keras.Model) -> Explain:
    """What explains the network; it becomes a graph at its first picture, which takes seconds."""
    return explaining_function(network)


@pytest.fixture(scope="module")
def extract(network: keras.Model) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """The same with what the gate senses."""
    return forward_function(network, gate_layers(network, "inception_v3"))


@pytest.fixture(scope="module")
def known(network: keras.Model) -> TrainingPopulation:
    """A population that this network can be held against."""
    layers = gate_layers(network, "inception_v3")
    first, second, last = (network.get_layer(name).output.shape[-1] for name in (*layers, "mixed10"))
    return a_population(layers, first, PARTS * first + second, last)


@pytest.fixture(scope="module")
def served(network: keras.Model, known: TrainingPopulation) -> dict[bool, Classifier]:
    """Versions of the network: one that sees each film as it is, and one (True) that sees it mirrored as well."""
    return {
        mirror: wrap_network(network, card_for("inception_v3", PX, mirror=mirror), known) for mirror in (False, True)
    }


@pytest.fixture(scope="module")
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


def picture(seed: int = 0, px: int = PX) -> np.ndarray:
    return chest(seed, (px, px), pneumonia=True)


def card_for(architecture: str, px: int, **preprocessing: object) -> ModelCard:
    import dataclasses

    return dataclasses.replace(
        a_card(), architecture=architecture, preprocessing={"input_px": px, "detail_px": 224, **preprocessing}
    )


def test_network_is_flat_with_rescaling_inside_and_one_logit(network: keras.Model) -> None:
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
    assert train_after(network, "") == CNN_77K_PARAMETERS == 77_633
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


@pytest.mark.parametrize("name", [*SMALL, *BACKBONES, OWN])
def test_every_network_stores_loads_runs_and_explains(
    name: str, built: Callable[[str], keras.Model], tmp_path: Path
) -> None:
    """Grad-CAM's first-order property: moving along the weights' direction moves the logit."""
    px, network = px_of(name), built(name)
    save_network(network, tmp_path / "w.npz")
    assert (tmp_path / "w.npz").stat().st_size < 60e6
    classifier = wrap_network(load_network(tmp_path / "w.npz", name, px, trusted=(OWN,)), card_for(name, px))
    batch = np.stack([picture(seed, px) for seed in range(2)])
    logits, features, weights = classifier.explain(batch)
    assert logits == pytest.approx(classifier.run(batch), abs=1e-4)
    own = network(batch[..., None].astype(np.float32), training=False).numpy()[:, 0]
    assert sigmoid(logits) == pytest.approx(sigmoid(own), abs=2e-3)
    assert features.shape[0] == 2 and weights.shape == (2, features.shape[-1])
    assert np.abs(weights).max() > 0
    heatmap = grad_cam(features[0], weights[0], (200, 160), layer=classifier.layer)
    assert heatmap.values.shape == (200, 160) and heatmap.layer == classifier.layer


def test_inception_from_scratch_is_the_same_network_without_imagenet(
    built: Callable[[str], keras.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    inception, asked = built("inception_v3"), []

    def note(name: str, weights: object, **others: object) -> keras.Model:
        asked.append((name, weights, others["input_px"]))
        return inception

    monkeypatch.setattr(networks, "build_on_backbone", note)
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


def test_evidence_adds_up_to_the_logit(network: keras.Model, explain: Explain) -> None:
    """The head is linear on the pooled features, so the mean of the signed map plus the bias is the logit itself."""
    logits, features, weights = explain(picture()[None])
    bias = float(network.get_layer("logit").bias.numpy()[0])
    assert float((features[0] @ weights[0]).mean()) + bias == pytest.approx(float(logits[0]), abs=1e-4)


def test_evidence_map_is_the_gradient_one(network: keras.Model, explain: Explain) -> None:
    """Grad-CAM by automatic differentiation (Selvaraju et al. 2017) gives the map that needs no backward pass."""
    import tensorflow as tf

    both = keras.Model(network.inputs, [network.outputs[0], network.get_layer("mixed10").output])
    head_only = keras.Sequential([network.get_layer(name) for name in (POOL_LAYER, "dropout", "logit")])
    _, features = both(tf.constant(picture()[None, ..., None], tf.float32), training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = head_only(features, training=False)
    weights = tape.gradient(logit, features).numpy()[0].mean((0, 1))
    by_gradient = np.maximum(features.numpy()[0] @ weights, 0)
    _, maps, heads = explain(picture()[None])
    ours = grad_cam(maps[0], heads[0], by_gradient.shape)
    assert ours.values == pytest.approx(by_gradient / by_gradient.max(), abs=1e-4)


def test_head_that_is_not_linear_is_explained_by_its_gradient() -> None:
    """Against finite differences: adding a constant to one channel changes the logit by the weight times the cells."""
    keras.utils.set_random_seed(5)
    network = two_convolutions(24)
    name, is_linear = evidence_layer(network)
    assert not is_linear and network.get_layer(name).output.shape[1:3] == (10, 10)
    logits, features, weights = explaining_function(network)(picture(2, 24)[None])
    head = keras.Model(network.get_layer(name).output, network.outputs)
    for channel in range(4):
        moved = features.copy()
        moved[..., channel] += 0.5
        change = float(head(moved).numpy()[0, 0] - logits[0])
        assert change == pytest.approx(0.5 * float(weights[0, channel]) * 100, rel=1e-3, abs=1e-3)


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


def test_what_the_gate_senses_comes_out_of_the_same_pass(
    network: keras.Model, explain: Explain, extract: Callable[[np.ndarray], tuple[np.ndarray, ...]]
) -> None:
    """The first layer's map averaged over nine parts, against cutting it up; the other's average; and the same map."""
    layers = gate_layers(network, "inception_v3")
    assert layers == ("mixed3", "mixed6")
    batch = np.stack([picture(seed) for seed in range(2)])
    logits, features, weights, gate_features = extract(batch)
    for ours, alone in zip((logits, features, weights), explain(batch), strict=True):
        assert ours == pytest.approx(alone, abs=1e-4)
    early, middle = (
        keras.Model(network.inputs[0], network.get_layer(name).output)(batch[..., None].astype(np.float32))
        for name in layers
    )
    maps, channels = early.numpy(), early.shape[-1]
    # Three times as fine by repeating cells, every third of the map is a whole number of cells.
    fine = np.repeat(np.repeat(maps, 3, 1), 3, 2)
    side = fine.shape[1] // 3
    parts = fine.reshape(2, 3, side, 3, side, channels).mean((2, 4)).reshape(2, -1)
    assert gate_features == pytest.approx(np.concatenate((parts, middle.numpy().mean((1, 2))), 1), abs=1e-4)
    assert forward_function(network)(batch)[3].shape == (2, 0)


@pytest.mark.parametrize("name", [*SMALL, *BACKBONES, OWN])
def test_every_network_has_an_early_and_a_later_layer_to_sense_with(
    name: str, built: Callable[[str], keras.Model]
) -> None:
    px, network = px_of(name), built(name)
    layers = gate_layers(network, name)
    names = [layer.name for layer in network.layers]
    assert names.index(layers[0]) <= names.index(layers[1]) and len(layers) == 2
    if name in ARCHITECTURES:
        assert layers == ARCHITECTURES[name].gate_layers and layers[0] != layers[1]
    gate_features = forward_function(network, layers)(picture(1, px)[None])[3]
    channels = [network.get_layer(layer).output.shape[-1] for layer in layers]
    assert gate_features.shape == (1, PARTS * channels[0] + channels[1]) and GRID**2 == PARTS


def test_a_version_is_judged_in_the_pass_that_explains_it(
    network: keras.Model,
    extract: Callable[[np.ndarray], tuple[np.ndarray, ...]],
    known: TrainingPopulation,
    served: dict[bool, Classifier],
) -> None:
    film = np.stack((picture(4), picture(4)[:, ::-1]))
    plain = extract(film)
    for classifier in served.values():
        assert classifier.forward is not None and classifier.population is known
        seen = classifier.forward(film)
        assert seen.gate_features == pytest.approx(plain[3], abs=1e-4)
        assert seen.last == pytest.approx(plain[1].mean((1, 2)), abs=1e-4)
        assert seen.logits == pytest.approx(classifier.run(film), abs=1e-4)
        judged = known.judge(seen.gate_features[0], seen.last[0])
        assert judged.population.distance == pytest.approx(
            known.judge(plain[3][0], plain[1][0].mean((0, 1))).population.distance, rel=1e-3
        )
    with pytest.raises(ClassifierError, match="population"):
        wrap_network(network, card_for("inception_v3", PX), dataclasses.replace(known, layers=("no", "layer")))


def a_population(layers: tuple[str, ...], channels: int, width: int, last: int) -> TrainingPopulation:
    rng = np.random.default_rng(1)

    def axes(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(n, np.float32), rng.normal(0, 1, (n, k)).astype(np.float32)

    heads = axes(4 + PARTS * 2, len(HEADS))[::-1]
    return TrainingPopulation(
        layers,
        axes(channels, 2),
        axes(width - (PARTS - 1) * channels, 4),
        axes(last, 3),
        (heads[0], np.zeros(len(HEADS), np.float32)),
        Limits(1, 2, 0.5, 0.5, 0.5),
        rng.normal(0, 1, (5, 7)).astype(np.float32),
        np.array([0, 1, 0, 1, 1]),
    )


def test_evidence_map_depends_on_the_weights(explain: Explain) -> None:
    """A map that survives random weights explains the picture, not the classifier (Adebayo et al. 2018)."""
    keras.utils.set_random_seed(8)
    maps = []
    for one in (explain, explaining_function(build_on_backbone("inception_v3", None, input_px=PX))):
        _, features, weights = one(picture()[None])
        maps.append(grad_cam(features[0], weights[0], (PX, PX)).values.ravel())
    assert not np.allclose(maps[0], maps[1], atol=0.05)
    assert abs(np.corrcoef(maps[0], maps[1])[0, 1]) < 0.7


def test_weights_of_another_network_are_refused(network: keras.Model, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="1 arrays"):
        load_network(tmp_path / "w.npz", "cnn_2_1", PX)
    with pytest.raises(ClassifierError, match="'resnet'"):
        load_network(tmp_path / "w.npz", "resnet", PX)


def test_a_card_cannot_call_a_function_that_the_installation_does_not_trust(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    for name in (OWN, "os:system", "shutil:rmtree"):
        with pytest.raises(ClassifierError) as refused:
            load_network(tmp_path / "w.npz", name, PX)
        assert "PNEUMOLENS_ARCHITECTURES" in refused.value.advice
    with pytest.raises(ValueError, match="1 arrays"):
        load_network(tmp_path / "w.npz", OWN, PX, trusted=(OWN,))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (f"{__name__}:with_sigmoid", "Leave out the last layer's activation"),
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
    assert train_after(network, "") > upper
    assert any(isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in network.layers)

"""Exchanging regions and drawing weights anew, where it is known what a faithful map must show."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import DatasetError
from model.calibration import probabilities
from tests.fake_classifier import PX, ROWS, fake_card, fake_classifier
from tests.phantoms import as_png
from training.data.dataset import scan_folder
from training.evaluation.faithfulness import (
    CELLS,
    MAP_PX,
    OURS,
    SHARES,
    Faithfulness,
    Films,
    cells,
    choose_films,
    evidence_maps,
    exchanges,
    faithfulness_to_json,
    faithfulness_to_text,
    mean_over_films,
    orders,
    trace,
)
from training.evaluation.sanity_checks import (
    alike,
    compare_with_randomised,
    randomise_layers,
    randomised_stages,
    recompute_batch_statistics,
    ssim,
)

# The classifier looks at the upper left corner alone, a quarter of the picture.
CORNER = np.zeros((ROWS, ROWS))
CORNER[:5, :5] = 1
ELSEWHERE = CORNER[::-1, ::-1]
RNG = np.random.default_rng(0)


def films(n: int = 6) -> Films:
    """Bright films, which the fake classifier calls pneumonia, and dark ones, with some structure of their own."""
    structure = RNG.normal(0, 12, (2 * n, PX, PX))
    bright, dark = (
        np.clip(level + some, 0, 255).astype(np.uint8) for level, some in ((180, structure[:n]), (70, structure[n:]))
    )
    return Films(bright, dark)


class Dark:
    """A healthy substitute whose grey values are not matched, so that what is exchanged is known."""

    film, black = np.full((PX, PX), 188, np.uint8), np.full((PX, PX), 68, np.uint8)


def test_cells_are_the_map_s_means() -> None:
    shown = np.arange(ROWS * ROWS, dtype=float).reshape(ROWS, ROWS)
    maps = evidence_maps(fake_classifier(shown=shown), films(2).pneumonia)
    assert maps.shape == (2, MAP_PX, MAP_PX) and maps.dtype == np.float32
    assert np.array_equal(np.argsort(cells(maps)[0]), np.arange(CELLS * CELLS))
    assert cells(maps)[0, 55] == pytest.approx(maps[0, 40:48, 40:48].mean())


def test_orders_are_what_they_are_called() -> None:
    marked = cells(evidence_maps(fake_classifier(where=CORNER), films(1).pneumonia))[0]
    by_name = orders(marked, np.random.default_rng(1))
    assert list(by_name) == [OURS, "random", "centre first"]
    for order in by_name.values():
        assert sorted(order) == list(range(CELLS * CELLS))
    assert {(i // CELLS < 5, i % CELLS < 5) for i in by_name[OURS][:25]} == {(True, True)}
    assert {divmod(int(i), CELLS) for i in by_name["centre first"][:4]} == {(4, 4), (4, 5), (5, 4), (5, 5)}
    # Cells without influence come in no order of their own.
    assert list(by_name[OURS][40:]) != sorted(by_name[OURS][40:])


def test_a_trace_by_hand() -> None:
    # The corner is a quarter of the film: after 20 % all but five of its cells are black, after 30 % all of them.
    classifier = fake_classifier(where=CORNER, slope=0.05)
    order = orders(CORNER.ravel(), np.random.default_rng(0))[OURS]
    deletion, insertion = trace(classifier, Dark.film, Dark.black, order)

    def logit(black_cells: int) -> float:
        return 0.05 * (188 - 120 * black_cells / 25 - 128)

    calibration = classifier.card.calibration
    assert deletion == pytest.approx(
        probabilities(np.array([logit(n) for n in (0, 10, 20, *[25] * 8)]), calibration), abs=1e-6
    )
    assert insertion == pytest.approx(
        probabilities(np.array([logit(25 - n) for n in (0, 10, 20, *[25] * 8)]), calibration), abs=1e-6
    )


def by_name(result: Any) -> dict[str, Any]:
    return {row.name: row for row in result.orderings}


def test_a_faithful_map_beats_chance_and_a_lying_one_loses() -> None:
    some = films()
    # Pictures of one kind with the same grey values would be no substitute for each other, so the corner must differ.
    some.healthy[:, : PX // 2, : PX // 2] //= 2
    faithful, blurred = exchanges(fake_classifier(where=CORNER, cut=170, slope=0.2), some)
    lying, _ = exchanges(fake_classifier(where=CORNER, shown=ELSEWHERE, cut=170, slope=0.2), some)
    assert (faithful.substitute, blurred.substitute) == ("a NORMAL radiograph", "the radiograph, heavily blurred")
    assert faithful.probability_film > faithful.probability_substitute + 0.5
    for name in ("random", "centre first"):
        assert by_name(faithful)[name].deletion_gain.low > 0.05, name
        assert by_name(faithful)[name].insertion_gain.low > 0.05, name
        assert by_name(lying)[name].deletion_gain.high < -0.05, name
        assert by_name(lying)[name].insertion_gain.high < -0.05, name
    ours = by_name(faithful)[OURS]
    assert ours.deletion_gain.value == ours.insertion_gain.value == 0
    assert ours.deletion.value == pytest.approx(np.trapezoid(ours.deletion_curve, SHARES))
    assert ours.deletion_curve[0] == pytest.approx(ours.insertion_curve[-1])
    assert ours.deletion.low <= ours.deletion.value <= ours.deletion.high


def test_a_substitute_that_scores_like_the_film_is_called_useless() -> None:
    result = exchanges(fake_classifier(cut=100), Films(films(3).pneumonia, np.zeros((0, PX, PX), np.uint8)))
    assert [one.substitute for one in result] == ["the radiograph, heavily blurred"]
    text = faithfulness_to_text(Faithfulness("v", 3, result, None, ()), "test")
    assert "orders cannot be separated" in text and "randomised networks" not in text


def test_results_repeat_and_progress_counts_films() -> None:
    some, done = films(3), []
    classifier = fake_classifier(where=CORNER)
    assert exchanges(classifier, some, 1, done.append) == exchanges(classifier, some, 1)
    assert done == [1] * 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, levels in (("NORMAL", (30, 40, 50, 60, 190)), ("PNEUMONIA", (90, 150, 160, 170, 180))):
        (tmp_path / label).mkdir()
        for i, level in enumerate(levels):
            (tmp_path / label / f"{level}_{i}.png").write_bytes(as_png(np.full((PX, PX), level, np.uint8)))
    (tmp_path / "NORMAL" / "broken.png").write_bytes(b"")
    return tmp_path


def test_films_called_pneumonia_are_chosen_whatever_their_label(folder: Path) -> None:
    done: list[int] = []
    chosen, failures = choose_films(fake_classifier(), scan_folder(folder).train, 30, tick=done.append)
    assert sorted(chosen.pneumonia[:, 0, 0].tolist()) == [150, 160, 170, 180, 190]
    assert sorted(chosen.healthy[:, 0, 0].tolist()) == [30, 40, 50, 60]  # an ill film that is missed is not healthy
    assert [path.name for path, _ in failures] == ["broken.png"] and sum(done) == 5


def test_a_few_films_are_drawn_and_not_the_first(folder: Path) -> None:
    samples = scan_folder(folder).train
    draws = {seed: choose_films(fake_classifier(), samples, 2, seed)[0] for seed in range(5)}
    assert all(len(one.pneumonia) == len(one.healthy) == 2 for one in draws.values())
    assert len({tuple(sorted(one.pneumonia[:, 0, 0])) for one in draws.values()}) > 1
    again = choose_films(fake_classifier(), samples, 2, 3)[0]
    assert np.array_equal(again.pneumonia, draws[3].pneumonia)


def test_films_without_a_map_are_counted_and_none_at_all_is_refused_for_its_own_reason(folder: Path) -> None:
    samples = scan_folder(folder).train
    with pytest.raises(DatasetError, match="an empty map for each of the 5 that the classifier calls pneumonia"):
        choose_films(fake_classifier(shown=np.zeros((ROWS, ROWS))), samples)
    with pytest.raises(DatasetError, match=r"calls pneumonia\. Received: none"):
        choose_films(fake_classifier(cut=250), samples)
    classifier = fake_classifier()
    explain = classifier.explain

    def bright_alone(pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        logits, features, weights = explain(pictures)
        return logits, features * (pictures.mean((1, 2)) > 165)[:, None, None, None], weights

    chosen, _ = choose_films(replace(classifier, explain=bright_alone), samples)
    assert sorted(chosen.pneumonia[:, 0, 0].tolist()) == [170, 180, 190] and chosen.without_map == 2
    text = faithfulness_to_text(Faithfulness("v", 3, (), None, (), chosen.without_map), "test")
    assert "2 more left out, whose map is empty" in text


def test_an_empty_map_is_neither_alike_nor_different() -> None:
    some = films(4).pneumonia
    trained = fake_classifier(where=CORNER)
    _, (none,) = compare_with_randomised(trained, some, [("no map", fake_classifier(shown=np.zeros((ROWS, ROWS))))])
    assert none.empty == 4 and math.isnan(none.rank_correlation.value) and math.isnan(none.ssim.value)
    result = Faithfulness("v", 4, (), None, (none,))
    assert json.loads(faithfulness_to_json(result))["randomised"][0]["rank_correlation"]["value"] is None
    assert "(4 of 4 left out: empty map)" in faithfulness_to_text(result, "test")
    explain = trained.explain

    def first_alone(pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        logits, features, weights = explain(pictures)
        return logits, features * (np.arange(len(pictures)) == 0)[:, None, None, None], weights

    _, (one,) = compare_with_randomised(trained, some, [("a map", replace(trained, explain=first_alone))])
    assert one.empty == 3 and one.rank_correlation.value == pytest.approx(1)


def test_a_mean_has_the_interval_of_its_films() -> None:
    values = RNG.normal(0.5, 0.2, 100)
    mean = mean_over_films(values)
    assert mean.value == pytest.approx(values.mean())
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)


def some_map(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((CELLS, CELLS)), np.ones((8, 8))).astype(np.float32)


def test_how_alike_maps_are() -> None:
    a, b = some_map(1), some_map(2)
    assert alike(a, a) == pytest.approx((1, 1))
    assert alike(a, a**3)[0] == pytest.approx(1) and alike(a, a**3)[1] < 0.95  # ranks stay, structure does not
    assert alike(a, 1 - a)[0] == pytest.approx(-1) and alike(a, 1 - a)[1] < 0
    assert abs(alike(a, b)[0]) < 0.3 and alike(a, b)[1] < 0.5
    even = np.zeros_like(a)
    assert alike(a, even)[0] == 0 and alike(even, even) == pytest.approx((1, 1))


def test_structural_similarity_of_even_pictures_by_hand() -> None:
    a, b = (np.full((30, 30), level, np.float32) for level in (0.2, 0.8))
    assert ssim(a, b) == pytest.approx((2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4), rel=1e-4)


def test_randomised_maps_are_compared_with_the_trained_one_s() -> None:
    some = films(4).pneumonia
    trained = fake_classifier(where=CORNER)
    stages = [("same", trained), ("other corner", fake_classifier(shown=ELSEWHERE))]
    done: list[int] = []
    others, (same, different) = compare_with_randomised(trained, some, stages, done.append)
    assert (same.name, same.rank_correlation.value) == ("same", pytest.approx(1)) and same.ssim.value > 0.999
    assert different.rank_correlation.value < 0 and different.ssim.value < 0.5
    assert others is not None and others.rank_correlation.value == pytest.approx(1)  # the fake's maps are all alike
    assert done == [1, 1] and compare_with_randomised(trained, some[:1], [])[0] is None


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


def tiny(keras: Any) -> Any:
    """A small real network with a nested block, BatchNormalization and a head like the product's."""
    keras.utils.set_random_seed(0)
    block = keras.Sequential(
        [
            keras.Input((20, 20, 4)),
            keras.layers.Conv2D(6, 3, strides=2, name="second"),
            keras.layers.BatchNormalization(name="second_bn"),
            keras.layers.ReLU(),
        ]
    )
    inputs = keras.Input((PX, PX, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="first")(x)
    x = keras.layers.BatchNormalization(name="first_bn")(x)
    x = block(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(x))


def state(network: Any) -> dict[str, np.ndarray]:
    return {f"{variable.path.split('/')[-2]}/{variable.name}": variable.numpy().copy() for variable in network.weights}


def differing(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_the_last_layers_lose_their_weights_and_no_others(keras: Any) -> None:
    network = tiny(keras)
    start = state(network)
    randomise_layers(network, 1, 0)
    head = state(network)
    assert differing(start, head) == {"logit/kernel"}
    randomise_layers(network, 2, 0)
    two = state(network)
    assert differing(start, two) == {"logit/kernel", "second/kernel"}
    assert differing(head, two) == {"second/kernel"}  # a layer gets the same values at every stage
    assert two["second/kernel"].std() == pytest.approx(np.sqrt(2 / 36), rel=0.2)
    again = tiny(keras)
    randomise_layers(again, 99, 0)
    assert differing(start, state(again)) == {"logit/kernel", "second/kernel", "first/kernel"}
    assert np.array_equal(state(again)["second/kernel"], two["second/kernel"])
    randomise_layers(again, 99, 1)
    assert not np.array_equal(state(again)["second/kernel"], two["second/kernel"])


def test_statistics_above_the_new_layers_are_estimated_anew(keras: Any) -> None:
    network, pictures = tiny(keras), films(8).pneumonia
    start = state(network)
    recompute_batch_statistics(network, 1, pictures)
    assert differing(start, state(network)) == set()  # nothing normalises above the head
    randomise_layers(network, 2, 0)
    recompute_batch_statistics(network, 2, pictures)
    assert {name for name in differing(start, state(network)) if "moving" in name} == {
        "second_bn/moving_mean",
        "second_bn/moving_variance",
    }
    inner = next(layer for layer in network.layers if getattr(layer, "layers", None))
    seen = keras.Model(network.input, network.layers[4].output)(pictures[..., None].astype(np.float32))
    convolved = inner.layers[0](seen).numpy()
    assert state(network)["second_bn/moving_mean"] == pytest.approx(convolved.mean((0, 1, 2)), rel=1e-3, abs=1e-4)


def test_a_network_that_loses_its_weights_changes_its_map(keras: Any) -> None:
    network, pictures = tiny_served(keras), films(6).pneumonia
    from model.engine import wrap_network
    from model.networks.graphs import logit_function

    before = logit_function(network)(pictures)
    names, logits, alive = [], [], []
    for name, classifier in randomised_stages(network, fake_card(), pictures):
        names.append(name)
        logits.append(classifier.run(pictures))
        alive.append(any(evidence_maps(classifier, pictures)[i].any() for i in range(6)))
    assert names == ["last 1 of 3 layers", "last 2 of 3 layers", "all 3 layers"]
    assert not any(np.allclose(a, b) for a, b in zip([before, *logits[:-1]], logits, strict=True))
    assert wrap_network(network, fake_card()).run(pictures) == pytest.approx(logits[-1], abs=1e-5)
    assert any(alive)


def tiny_served(keras: Any) -> Any:
    """The same without the nesting, which the product's own networks do not have."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((PX, PX, 1))
    for filters in (4, 6):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def test_a_result_in_json_and_on_a_terminal() -> None:
    some = films(4)
    classifier = fake_classifier(fake_card("v-1"), where=CORNER)
    others, rows = compare_with_randomised(classifier, some.pneumonia, [("last 1 of 9 layers", fake_classifier())])
    result = Faithfulness("v-1", 4, exchanges(classifier, some), others, rows)
    values = json.loads(faithfulness_to_json(result), parse_constant=pytest.fail)
    assert values["shares"] == list(SHARES) and values["randomised"][0]["name"] == "last 1 of 9 layers"
    assert len(values["exchanges"][0]["orderings"][0]["deletion_curve"]) == len(SHARES)
    text = faithfulness_to_text(result, "test")
    assert text.startswith("test: 4 radiographs called pneumonia, classifier v-1")
    for words in (
        "by a NORMAL radiograph",
        OURS,
        "random",
        "centre first",
        "last 1 of 9 layers",
        "map of another radiograph",
    ):
        assert words in text
    assert "nan" not in text and max(map(len, text.splitlines())) <= 115

"""Distances, heads and neighbours on numbers that can be followed by hand; the file, whole, small and damaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from model.population import (
    HEADS,
    PARTS,
    POSES,
    Limits,
    TrainingPopulation,
    from_arrays,
    ood_score,
    read_population,
    save_population,
    softmax,
    to_arrays,
)

LIMITS = Limits(outside=2.0, ood_score=3.0, inverted=0.6, turned=0.6, cropped=0.7)


def by_hand(**changes: object) -> TrainingPopulation:
    """Two channels in nine parts and one more over all; the last map has three channels.

    Axes halve every number. The heads look at the first part alone: its first channel speaks for pose 6, its second
    for an outlier. Five references look like the middle of all and a sixth is 4 away along the last axis of appearance.
    """

    def halved(mean: float, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(n, mean, np.float32), np.eye(n, dtype=np.float32) / 2

    weights, bias = np.zeros((3 + PARTS * 2, len(HEADS)), np.float32), np.zeros(len(HEADS), np.float32)
    weights[3, 6], weights[4, HEADS.index("outlier")] = 4.0, 1.0
    bias[0], bias[-1] = 2.0, -3.0
    last = (np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[:, :2])
    references = np.zeros((7, 5), np.float32)
    references[:6, 3] = [0, 1, 2, 3, 4, 0]
    references[5, 2] = 4
    values: dict[str, object] = {
        "layers": ("early", "middle"),
        "part": halved(1.0, 2),
        "whole": halved(1.0, 3),
        "last": last,
        "heads": (weights, bias),
        "limits": LIMITS,
        "references": references,
        "labels": np.array([0, 1, 1, 0, 0, 1]),
    }
    return TrainingPopulation(**{**values, **changes})  # type: ignore[arg-type]


def test_distance_is_that_of_the_five_nearest_by_looks() -> None:
    gate_features = np.ones(2 * PARTS + 1, np.float32)
    assert by_hand().judge(gate_features, np.zeros(3, np.float32)).population.distance == 0
    gate_features[-1] += 6
    found = by_hand().judge(gate_features, np.zeros(3, np.float32)).population
    # One of three axes is 6 / 2 from the five in the middle and 1 from the sixth, which takes the place of one.
    assert found.distance == pytest.approx(((4 * 9 + 1) / 3 / 5) ** 0.5)
    assert found.threshold == 2 and not found.is_outside
    gate_features[0] += 9 * 10
    # The first channel's mean over nine parts is 10 away, so its axis 5 from all of them.
    further = by_hand().judge(gate_features, np.zeros(3, np.float32)).population
    assert further.distance == pytest.approx(((5 * 25 + 4 * 9 + 1) / 3 / 5) ** 0.5) and further.is_outside


def test_heads_see_the_parts() -> None:
    gate_features = np.ones(2 * PARTS + 1, np.float32)
    upright = by_hand().judge(gate_features, np.zeros(3, np.float32))
    assert (
        upright.orientation == (0, False)
        and not upright.is_inverted
        and not upright.is_turned
        and not upright.is_cropped
    )
    gate_features[0] += 4
    lying = by_hand().judge(gate_features, np.zeros(3, np.float32))
    assert lying.orientation == (2, True) == POSES[6]
    scores = np.array([2.0, 0, 0, 0, 0, 0, 8.0, 0])
    assert lying.pose == pytest.approx(np.exp(scores) / np.exp(scores).sum())
    assert lying.is_inverted and lying.is_turned
    assert lying.cropped == pytest.approx(1 / (1 + np.exp(3.0)))


def test_the_ood_score_adds_what_was_drawn_and_how_far_it_lies() -> None:
    scores = np.zeros((2, len(HEADS)))
    scores[1, -2] = 1.5
    assert ood_score(scores, np.array([2.0, 5.0]), outside=2.0) == pytest.approx([0.0, 1.5 + 2 * 1.5])
    gate_features = np.ones(2 * PARTS + 1, np.float32)
    gate_features[1] += 2 * 6  # a score of 6 in the first part, the whole only 6 / 9 off
    near = by_hand().judge(gate_features, np.zeros(3, np.float32))
    assert near.ood_score > LIMITS.ood_score and not near.is_not_chest, "it is within the population"
    gate_features[-1] += 20
    assert by_hand().judge(gate_features, np.zeros(3, np.float32)).is_not_chest


def test_a_head_says_no_more_far_away_than_near() -> None:
    gate_features = np.ones(2 * PARTS + 1, np.float32)
    gate_features[1] = 1e6
    assert by_hand().scores(by_hand().features(gate_features[None]))[0, -2] == 8


def test_neighbours_are_the_nearest_films_by_looks_and_finding() -> None:
    gate_features = np.ones(2 * PARTS + 1, np.float32)
    nearest = by_hand().judge(gate_features, np.zeros(3, np.float32)).population.neighbours
    # The seventh reference is nobody's film. Of two axes of the finding one is 0, 1 or 2 away, and it counts half.
    assert [one.label for one in nearest] == ["NORMAL", "PNEUMONIA", "PNEUMONIA"]
    assert [one.distance for one in nearest] == pytest.approx([0, 0.5, 1])
    moved = by_hand().judge(gate_features, np.array([3, 0, 0], np.float32)).population.neighbours
    assert (moved[0].label, moved[0].distance) == ("NORMAL", 0)
    # A version that averages a film with its mirror image has the film's own channels first.
    assert by_hand().judge(gate_features, np.array([3, 0, 0, 9, 9, 9], np.float32)).population.neighbours == moved
    gate_features[-1] += 8
    looks = by_hand().judge(gate_features, np.zeros(3, np.float32)).population.neighbours
    assert looks[0].label == "PNEUMONIA" and looks[0].distance == 0, "the sixth looks exactly so"


def test_features_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="early and middle"):
        by_hand().judge(np.ones(7, np.float32), np.zeros(3, np.float32))


def test_probabilities_add_up_and_do_not_overflow() -> None:
    found = softmax(np.array([[1e4, 0.0], [0.0, 0.0]]))
    assert found.sum(1) == pytest.approx([1, 1]) and found[1].tolist() == [0.5, 0.5]


def test_the_file_keeps_what_matters(tmp_path: Path) -> None:
    save_population(by_hand(), tmp_path / "p.npz")
    read = read_population(tmp_path / "p.npz")
    assert read.layers == ("early", "middle") and read.limits.outside == LIMITS.outside
    gate_features = np.linspace(0, 2, 2 * PARTS + 1).astype(np.float32)
    one, other = (p.judge(gate_features, np.ones(3, np.float32)) for p in (by_hand(), read))
    assert one.population.distance == pytest.approx(other.population.distance, rel=1e-3)
    assert one.pose == pytest.approx(other.pose, abs=1e-3)
    assert [n.label for n in one.population.neighbours] == [n.label for n in other.population.neighbours]
    again = from_arrays(to_arrays(read))
    assert np.array_equal(again.references, read.references), "what was rounded once stays"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole_axes", np.zeros((4, 3), np.float16)),
        ("heads_weights", np.zeros((3, 3), np.float32)),
        ("labels", np.array([0, 1], np.uint8)),
        ("labels", np.array([0, 1, 2, 0], np.uint8)),
        ("limits", np.zeros(3, np.float32)),
        ("references", np.zeros((7, 3), np.int8)),
        ("references", np.zeros((5, 5), np.int8)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        from_arrays(to_arrays(by_hand()) | {name: value})


def test_a_file_that_lacks_an_array_or_holds_objects_is_refused(tmp_path: Path) -> None:
    arrays = to_arrays(by_hand())
    np.savez(tmp_path / "less.npz", **{name: value for name, value in arrays.items() if name != "labels"})
    with pytest.raises(KeyError):
        read_population(tmp_path / "less.npz")
    np.savez(tmp_path / "pickled.npz", **(arrays | {"layers": np.array([{}], object)}), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_population(tmp_path / "pickled.npz")


def test_limits_come_back_in_their_places() -> None:
    other = Limits(1.0, 2.0, 0.25, 0.5, 0.75)
    assert from_arrays(to_arrays(dataclasses.replace(by_hand(), limits=other))).limits == other


def test_axes_beyond_half_precision_are_kept() -> None:
    """Those of a small network whose channels hardly vary; infinite axes would leave the gate without a limit."""
    mean, axes = by_hand().whole
    large = dataclasses.replace(by_hand(), whole=(mean, axes * np.float32(1e6)))
    assert np.abs(large.whole[1]).max() > 65504
    again = from_arrays(to_arrays(large))
    np.testing.assert_array_equal(again.whole[1], large.whole[1])
    assert to_arrays(by_hand())["whole_axes"].dtype == np.float16

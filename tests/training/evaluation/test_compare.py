"""Paired comparison: DeLong against its definition and a bootstrap, McNemar by hand, and what is said of both."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import training.evaluation.evaluate
from model.intervals import wilson
from model.metrics import auroc, evaluate
from tests.fake_classifier import fake_card, fake_classifier
from tests.phantoms import as_png
from training.data.dataset import scan_folder
from training.evaluation.compare import (
    COMPARED,
    Scores,
    compare_classifiers,
    compare_scores,
    comparison_to_json,
    comparison_to_text,
    delong,
    mcnemar,
)


def slow_delong(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """The definition: every pair of a positive and a negative film, and the covariance of the films' own shares."""
    shares = []
    for scores in (a, b):
        pairs = np.array([[(i > w) + 0.5 * (i == w) for w in scores[y == 0]] for i in scores[y == 1]])
        shares.append((pairs.mean(1), pairs.mean(0)))
    (positive_a, negative_a), (positive_b, negative_b) = shares
    s_positive, s_negative = np.cov(positive_a, positive_b), np.cov(negative_a, negative_b)
    contrast = np.array([1, -1])
    variance = contrast @ (s_positive / len(positive_a) + s_negative / len(negative_a)) @ contrast
    return float(positive_a.mean()), float(positive_b.mean()), math.sqrt(max(0.0, float(variance)))


def two_scores(seed: int, n: int = 150, better: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 > 0).astype(int)
    shared = rng.normal(size=n)
    return y, y * (1 + better) + shared + rng.normal(size=n), y + shared + rng.normal(size=n)


def test_delong_by_hand() -> None:
    # a ranks all pairs right, b one of four wrong. Shares of a are 1; of b ½ and 1 in both classes, so each class adds
    # var(½, 0) / 2 = 1/16 to the variance.
    d = delong(np.array([0, 0, 1, 1]), np.array([1, 2, 3, 4]), np.array([1, 3, 2, 4]))
    assert (d.auroc_a, d.auroc_b, d.difference) == (1.0, 0.75, 0.25)
    assert d.standard_error == pytest.approx(math.sqrt(1 / 8))
    assert d.z == pytest.approx(0.25 / math.sqrt(1 / 8))
    assert d.p == pytest.approx(0.4795, abs=1e-4)
    assert (d.low, d.high) == pytest.approx((0.25 - 1.959964 * d.standard_error, 0.25 + 1.959964 * d.standard_error))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40))
def test_delong_agrees_with_its_definition_ties_included(rows: list[tuple[int, int, int]]) -> None:
    y, a, b = (np.array(column) for column in zip(*rows, strict=True))
    d = delong(y, a, b)
    if min((y == 0).sum(), (y == 1).sum()) < 2:
        assert math.isnan(d.p) or d.difference == 0
        return
    area_a, area_b, error = slow_delong(y, a, b)
    assert (d.auroc_a, d.auroc_b) == pytest.approx((area_a, area_b))
    assert d.auroc_a == pytest.approx(auroc(y, a))
    if math.isnan(d.p):
        assert error == pytest.approx(0, abs=1e-7) and d.difference != 0
    else:
        assert d.standard_error == pytest.approx(error, abs=1e-7)
        back = delong(y, b, a)
        assert (back.difference, back.z, back.p) == pytest.approx((-d.difference, -d.z, d.p))


def test_delong_s_error_is_what_resampling_films_shows() -> None:
    y, a, b = two_scores(3)
    rng = np.random.default_rng(0)
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    differences = []
    for _ in range(1000):
        drawn = np.concatenate((rng.choice(positive, len(positive)), rng.choice(negative, len(negative))))
        differences.append(auroc(y[drawn], a[drawn]) - auroc(y[drawn], b[drawn]))
    assert delong(y, a, b).standard_error == pytest.approx(np.std(differences), rel=0.1)


def test_delong_calls_equals_different_one_time_in_twenty_and_sees_a_difference() -> None:
    alarms = np.mean([delong(*two_scores(seed)).p < 0.05 for seed in range(300)])
    assert 0.02 < alarms < 0.09
    assert np.mean([delong(*two_scores(seed, better=1.5)).p < 0.05 for seed in range(20)]) > 0.9


def test_scores_that_rank_alike_do_not_differ() -> None:
    y, a, _ = two_scores(1)
    d = delong(y, a, np.exp(a))
    assert (d.difference, d.standard_error, d.low, d.high, d.z, d.p) == (0, 0, 0, 0, 0, 1)


def test_what_delong_does_not_define_is_nan() -> None:
    opposite = delong(np.array([0, 0, 1, 1]), np.array([1, 2, 3, 4]), np.array([3, 4, 1, 2]))
    assert (opposite.auroc_a, opposite.auroc_b, opposite.difference) == (1, 0, 1)
    assert math.isnan(opposite.p) and math.isnan(opposite.z) and math.isnan(opposite.low)
    single = delong(np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([1, 3, 2]))
    assert single.difference == 0.5 and math.isnan(single.standard_error) and math.isnan(single.p)
    assert math.isnan(delong(np.ones(3), np.arange(3), np.arange(3)).auroc_a)


def test_mcnemar_by_hand() -> None:
    a = np.array([True] * 5 + [True] * 8 + [False] * 2 + [False] * 3)
    b = np.array([True] * 5 + [False] * 8 + [True] * 2 + [False] * 3)
    m = mcnemar(a, b)
    assert (m.both, m.only_a, m.only_b, m.neither) == (5, 8, 2, 3)
    assert m.p == pytest.approx(2 * (1 + 10 + 45) / 2**10)  # two-sided: 0, 1 or 2 of ten, twice
    assert mcnemar(b, a).p == m.p
    assert mcnemar(a, a).p == 1 and mcnemar(np.zeros(0), np.zeros(0)).p == 1
    assert mcnemar(np.ones(5), np.zeros(5)).p == pytest.approx(2 / 2**5)


def scores(name: str, p: np.ndarray, point: float = 0.5) -> Scores:
    return Scores(name, np.asarray(p, np.float64), point)


LABELS = np.array([0, 0, 0, 1, 1, 1])
A, B = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), np.array([0.1, 0.6, 0.3, 0.4, 0.8, 0.95])
PATIENTS = ["a", "b", "c", "d", "e", "e"]


def test_a_comparison_holds_each_side_at_its_own_operating_point() -> None:
    c = compare_scores(LABELS, PATIENTS, scores("new", A), scores("old", B, 0.35), resamples=200)
    assert (c.n, c.n_pneumonia, c.n_patients, c.a.version, c.b.operating_point) == (6, 3, 5, "new", 0.35)
    assert (c.mcnemar.both, c.mcnemar.only_a, c.mcnemar.only_b, c.mcnemar.neither) == (5, 1, 0, 0)
    assert c.delong == delong(LABELS, A, B, PATIENTS)
    whole = evaluate("", LABELS, B, 0.35, PATIENTS)
    assert c.b.figures == {name: whole.measures[name] for name in COMPARED}
    for name in COMPARED:
        assert c.differences[name].value == pytest.approx(c.a.figures[name].value - c.b.figures[name].value)
    assert [film.index for film in c.disagreeing] == [1, 3, 5]  # by 0.4, 0.3 and 0.05; the others do not differ
    assert (c.disagreeing[0].probability_a, c.disagreeing[0].probability_b, c.disagreeing[0].label) == (0.2, 0.6, 0)


def test_pairs_tell_more_than_two_intervals_side_by_side() -> None:
    y, a, _ = two_scores(5, n=400)
    p = 1 / (1 + np.exp(0.5 - a))
    other = np.where(np.arange(400) % 40 == 0, 1 - p, p)  # wrong where the first is right, on one film in forty
    c = compare_scores(y, [str(i) for i in range(400)], scores("a", p), scores("b", other), resamples=500)
    paired, own = c.differences["accuracy"], c.a.figures["accuracy"]
    assert paired.low <= paired.value <= paired.high
    assert paired.high - paired.low < 0.5 * (own.high - own.low)


def test_patients_and_not_films_are_drawn() -> None:
    y, a, b = two_scores(6, n=60)
    pa, pb = (1 / (1 + np.exp(0.5 - s)) for s in (a, b))
    quadruple = [np.repeat(one, 4) for one in (y, pa, pb)]
    width = {}
    for name, patients in (("patients", [str(i // 4) for i in range(240)]), ("films", [str(i) for i in range(240)])):
        c = compare_scores(quadruple[0], patients, scores("a", quadruple[1]), scores("b", quadruple[2]), resamples=300)
        width[name] = c.differences["auroc"].high - c.differences["auroc"].low
    assert width["patients"] > 1.5 * width["films"]


def test_no_film_that_tells_them_apart_is_not_certainty() -> None:
    c = compare_scores(LABELS, PATIENTS, scores("a", A), scores("b", A), resamples=100)
    unseen = wilson(0, 9 / 5)[1]  # two films of one patient and one of another: Kish's effective number
    assert (c.differences["sensitivity"].low, c.differences["sensitivity"].high) == pytest.approx((-unseen, unseen))
    assert c.mcnemar.p == c.delong.p == 1 and c.disagreeing == ()


def test_json_is_strict_and_names_the_films() -> None:
    c = compare_scores(np.ones(6), PATIENTS, scores("a", A), scores("b", B), resamples=50)  # one class: areas undefined

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(comparison_to_json(c, list("uvwxyz")), parse_constant=refuse)
    assert read["delong"]["p"] is None and read["differences"]["specificity"]["value"] is None
    assert [film["path"] for film in read["disagreeing"]] == ["v", "x", "z"]
    assert "–" in comparison_to_text(c, list("uvwxyz"), "x") and "nan" not in comparison_to_text(c, list("uvwxyz"), "x")


def test_the_text_says_who_is_who() -> None:
    c = compare_scores(LABELS, PATIENTS, scores("2026.11.22-1", A), scores("2026.11.21-2", B), resamples=50)
    text = comparison_to_text(c, [f"film{i}.png" for i in range(6)], "test")
    first, second = text.splitlines()[:2]
    assert first == "test: n = 6, 3 with pneumonia, 5 patients"
    assert second.index("A 2026.11.22-1") < second.index("B 2026.11.21-2") < second.index("A − B")
    assert "both correct 4, only A 2, only B 0, neither 0; p = 0.50" in text
    assert text.index("film1.png") < text.index("film3.png") and "film0.png" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_two_classifiers_see_each_film_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label, levels in (("NORMAL", (40, 90, 135)), ("PNEUMONIA", (120, 180, 200))):
        (tmp_path / label).mkdir()
        for i, level in enumerate(levels):
            (tmp_path / label / f"person{i}_{label}.png").write_bytes(as_png(np.full((50, 60), level, np.uint8)))
    (tmp_path / "NORMAL" / "broken.png").write_bytes(b"no picture")
    decoded = []
    decode = training.evaluation.evaluate.decode_radiograph
    monkeypatch.setattr(
        training.evaluation.evaluate, "decode_radiograph", lambda data: decoded.append(1) or decode(data)
    )
    done: list[int] = []
    a, b = fake_classifier(fake_card("a")), fake_classifier(fake_card("b", input_px=80), cut=110)
    c, used, failures = compare_classifiers(a, b, scan_folder(tmp_path).train, done.append)
    assert (len(decoded), sum(done), len(used), [path.name for path, _ in failures]) == (7, 7, 6, ["broken.png"])
    # a calls 135, 180 and 200 pneumonia; b also 120.
    assert (c.a.figures["sensitivity"].value, c.a.figures["specificity"].value) == pytest.approx((2 / 3, 2 / 3))
    assert (c.b.figures["sensitivity"].value, c.b.figures["specificity"].value) == pytest.approx((1.0, 2 / 3))
    assert (c.mcnemar.only_a, c.mcnemar.only_b) == (0, 1)

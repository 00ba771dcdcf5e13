"""Cross-fitting, and what purposes promise to new patients."""

from __future__ import annotations

import numpy as np

from model.calibration import fit_calibration, probabilities
from model.card import OperatingPoint
from model.decision import operating_points_by_purpose, prevalence_by_em
from training.fitting.cross_fit import Scale, conformal_levels, cross_fit, patient_folds


def sample(seed: int, patients: int = 600, distance: float = 3.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    ill = rng.permutation(np.arange(patients) < 0.7 * patients)
    member = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    logits = distance * (ill[member] - 0.5) + rng.normal(size=patients)[member] + 0.7 * rng.normal(size=len(member))
    return ill[member].astype(int), logits, [f"p{one}" for one in member]


def test_no_patient_is_in_two_folds_and_each_fold_has_both_classes() -> None:
    y, _, patients = sample(1, 60)
    fold = patient_folds(y, patients)
    assert len(set(zip(patients, fold, strict=True))) == 60
    for one in range(5):
        assert set(y[fold == one]) == {0, 1}
    assert patient_folds(np.array([0, 1, 1]), ["a", "b", "c"]).tolist() == [0, 0, 0]


def test_a_choice_is_never_measured_on_its_own_patients() -> None:
    y, logits, patients = sample(2, 80)
    seen: list[np.ndarray] = []

    def choose(mask: np.ndarray) -> Scale:
        seen.append(mask)
        calibration = fit_calibration(y[mask], logits[mask])
        # A threshold that tells which radiographs it was chosen on: only what was left out is called pneumonia.
        point = OperatingPoint(0.5, 0.4, 0.6, "")
        score = probabilities(logits[mask], calibration)
        who = [one for one, kept in zip(patients, mask, strict=True) if kept]
        purposes = operating_points_by_purpose(y[mask], score, None, "", who, 0.95)
        return Scale(calibration, point, purposes, conformal_levels(y[mask], score, who))

    final = choose(np.ones(len(y), bool))
    result = cross_fit(y, logits, patients, choose, final, shifted=np.stack((logits, logits - 1)))
    masks = seen[1:]
    assert len(masks) == result.record["folds"] == 5
    assert (np.sum([~mask for mask in masks], 0) == 1).all(), "each radiograph is left out once"
    for mask in masks:
        assert not {p for p, kept in zip(patients, mask, strict=True) if kept} & {
            p for p, kept in zip(patients, mask, strict=True) if not kept
        }
    assert result.evaluation.n == len(y) and result.record["patients"] == {"normal": 24, "pneumonia": 56}
    assert [one["alpha"] for one in result.record["conformal"]] == [0.05, 0.1]
    by_hand = np.empty(len(y))
    for mask in masks:
        by_hand[~mask] = probabilities(logits[~mask], fit_calibration(y[mask], logits[mask]))
    assert result.evaluation.tp == int(((by_hand >= 0.5) & (y == 1)).sum())
    copies = [by_hand, np.empty(len(y))]
    for mask in masks:
        copies[1][~mask] = probabilities(logits[~mask] - 1, fit_calibration(y[mask], logits[mask]))
    assert result.shifted is not None and result.shifted.n == 2 * len(y)
    assert result.shifted.tp == sum(int(((one >= 0.5) & (y == 1)).sum()) for one in copies)
    assert result.operating_point.probability == 0.5
    for point in (result.operating_point, *result.purposes):
        assert point.chosen.endswith("its rates are cross-fitted")


def test_a_promise_of_sensitivity_is_kept_on_the_other_half() -> None:
    kept = {None: 0, 0.95: 0}
    for seed in range(40):
        y, logits, patients = sample(seed)
        p = 1 / (1 + np.exp(-logits))
        half = np.array([int(one[1:]) % 2 == 0 for one in patients])
        for confidence in kept:
            who = [one for one, first in zip(patients, half, strict=True) if first]
            screening = operating_points_by_purpose(y[half], p[half], None, "", who, confidence)[0]
            kept[confidence] += bool((p[~half & (y == 1)] >= screening.probability).mean() >= 0.98)
    assert kept[0.95] >= 36, kept
    assert kept[None] <= 30, kept


def test_too_few_patients_are_promised_nothing() -> None:
    y, logits, patients = sample(3, 60)
    p = 1 / (1 + np.exp(-logits))
    screening, _, rule_in = operating_points_by_purpose(y, p, None, "60 patients", patients, 0.95)
    assert "sensitivity ≥ 0.98 cannot be promised with 42 patients" in screening.chosen and "149" in screening.chosen
    assert screening.sensitivity == 1
    assert "cannot be promised with 18 patients" in rule_in.chosen and rule_in.specificity == 1


def test_prevalence_is_found_without_labels() -> None:
    rng = np.random.default_rng(5)
    y = (rng.random(20_000) < 0.2).astype(int)
    p = 1 / (1 + np.exp(-(2 * (2 * y - 1) + 2 * rng.normal(size=20_000))))
    assert abs(prevalence_by_em(p, 0.5) - 0.2) < 0.015

"""The gate: each rule passes and blocks, and a version as good as the one in use is not held back for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.card import GroupResult
from model.metrics import evaluate
from model.promotions import promotions
from model.registry import active_version
from tests.comparisons import (
    LABELS,
    NEW,
    OLD,
    PATIENTS,
    N,
    a_card,
    a_result,
    a_run,
    an_audit,
    install,
    well_calibrated,
    write_result,
)
from training.__main__ import main
from training.data.audit import Issue
from training.evaluation.compare import Scores, compare_scores, group_differences
from training.evaluation.groups import group_results
from training.runs.candidate_result import CandidateComparison, result_from_json, result_to_json
from training.runs.held_out import TrainingOverlap
from training.runs.promotion import LIMITS, Limits, Rule, broken, check, is_blocked, is_reason

OWN, OTHER = a_card(NEW, sha256="new"), a_card(OLD, sha256="old")
AUDIT = an_audit(Issue("UNREADABLE", False, "One file."))
NAMES = (
    "Compared with the classifier in use",
    "Same held-out radiographs",
    "Radiographs not used for training",
    "Sample size",
    "Sensitivity not lower",
    "AUROC not lower",
    "Calibration",
    "Worst group",
    "Out-of-distribution gate",
    "Data audit",
    "No duplicates across splits",
)


def rules(**changes: object) -> dict[str, Rule]:
    """Check a candidate that is as good as the one in use, but for what is changed."""
    values: dict[str, object] = {"candidate": OWN, "in_use": OTHER, "audit": AUDIT}
    values["comparison"] = changes.pop("comparison", None) or a_result(
        OWN,
        OTHER,
        **{
            key: changes.pop(key)
            for key in ("p_own", "p_other", "labels", "patients", "learned", "split")
            if key in changes
        },
    )
    return {rule.name: rule for rule in check(**{**values, **changes})}  # type: ignore[arg-type]


def test_a_candidate_as_good_as_the_one_in_use_passes_every_rule() -> None:
    found = rules()
    assert tuple(found) == NAMES
    assert not is_blocked(tuple(found.values())), broken(tuple(found.values()))
    for rule in found.values():
        assert rule.sentence.endswith(".") and "nan" not in rule.sentence, rule
    assert "120 radiographs" in found[NAMES[0]].sentence
    assert "60 radiographs of 60 patients with pneumonia and 60 of 60 without" in found[NAMES[3]].sentence
    assert "at most 0.08" in found[NAMES[6]].sentence


def test_a_candidate_does_not_take_the_gate_away() -> None:
    """Films of adults are told from children's by it, so without it a better AUROC is no reason to promote."""
    name, knows = "Out-of-distribution gate", dataclasses.replace(OTHER, population_sha256="p")
    blocked = rules(in_use=knows)
    assert broken(tuple(blocked.values())) == (name,)
    assert (
        f"recalibrate --data chest_xray --classifier {NEW}" in blocked[name].sentence and OLD in blocked[name].sentence
    )
    candidate = dataclasses.replace(OWN, population_sha256="q")
    assert not is_blocked(tuple(rules(candidate=candidate, in_use=knows).values()))
    assert not is_blocked(tuple(rules(candidate=candidate).values()))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.001, 0.999), min_size=N, max_size=N))
def test_equal_scores_are_never_lower_and_calibration_is_judged_by_itself(scores: list[float]) -> None:
    p = np.array(scores)
    compared = compare_scores(LABELS, PATIENTS, Scores(NEW, p, 0.5), Scores(OLD, p, 0.5), resamples=20)
    own = evaluate("", LABELS, p, 0.5, PATIENTS)
    result = dataclasses.replace(EQUAL, comparison=compared, evaluation=own, evaluation_against=own)
    found = rules(comparison=result)
    assert found["Sensitivity not lower"].passed and found["AUROC not lower"].passed
    assert own.calibration is not None
    assert found["Calibration"].passed == (own.calibration.ece.low <= LIMITS.ece)
    old = dataclasses.replace(own, calibration=None)
    for earlier in (
        dataclasses.replace(result, evaluation=old),
        dataclasses.replace(result, evaluation_against=old),
    ):
        plain = rules(comparison=earlier)["Calibration"]
        assert plain.passed == (compared.a.figures["ece"].value <= LIMITS.ece) and "Debiased" not in plain.sentence


EQUAL = a_result(OWN, OTHER)


def missing(share: float) -> np.ndarray:
    """Scores that rank as before but call a share of the pneumonia normal."""
    p = well_calibrated()
    ill = np.flatnonzero(LABELS)
    p[ill[: int(share * len(ill))]] = 0.45
    return p


def test_lower_sensitivity_beyond_its_interval_blocks_and_a_few_films_do_not() -> None:
    blocked = rules(p_own=missing(0.3))["Sensitivity not lower"]
    assert not blocked.passed
    assert "Sensitivity 0.700 against 1.000, difference −0.300 (" in blocked.sentence
    assert ": significantly lower" in blocked.sentence
    assert rules(p_own=missing(0.02))["Sensitivity not lower"].passed
    assert rules(p_other=missing(0.3))["Sensitivity not lower"].passed, "higher is no reason to block"
    assert rules(p_own=missing(0.3))["AUROC not lower"].passed, "the ranking is as before"


def test_lower_auroc_beyond_its_interval_blocks() -> None:
    worse = well_calibrated()
    worse[:20], worse[60:80] = 0.95, 0.05
    found = rules(p_own=worse)["AUROC not lower"]
    assert not found.passed and "significantly lower than that of the classifier in use" in found.sentence
    assert rules(p_other=worse)["AUROC not lower"].passed


def test_what_is_not_defined_does_not_pass() -> None:
    found = rules(labels=np.ones(N, int))
    for name in ("Sensitivity not lower", "AUROC not lower", "Sample size"):
        assert found[name].passed is (name == "Sensitivity not lower"), name
    assert "not defined" in found["AUROC not lower"].sentence


def test_calibration_error_above_its_limit_blocks() -> None:
    vague = np.where(LABELS == 1, 0.75, 0.25)
    found = rules(p_own=vague)["Calibration"]
    assert not found.passed and "error 0.250 (" in found.sentence and "significantly above 0.08" in found.sentence
    assert rules(p_other=vague)["Calibration"].passed, "it is the candidate's that counts"
    loose = check(OWN, OTHER, a_result(OWN, OTHER, vague), AUDIT, Limits(ece=0.3))
    assert broken(loose) == ()
    # The probabilities are right: on so few films the plain error is above 0.08 by chance alone.
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.98, N)
    honest = a_result(OWN, OTHER, p, labels=(rng.random(N) < p).astype(int))
    found = rules(comparison=honest)["Calibration"]
    assert found.passed and honest.comparison.a.figures["ece"].value > LIMITS.ece, found.sentence


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (dataclasses.replace(EQUAL, against="2025.01.01-1"), "is in use now; compare again"),
        (dataclasses.replace(EQUAL, candidate="2025.01.01-1"), "compare again"),
        (dataclasses.replace(EQUAL, against_sha256="other"), "weights"),
        (dataclasses.replace(EQUAL, candidate_sha256="other"), "weights"),
    ],
)
def test_a_comparison_of_something_else_blocks_everything_that_rests_on_it(comparison: object, words: str) -> None:
    found = rules(comparison=comparison)
    assert words in found[NAMES[0]].sentence
    assert broken(tuple(found.values())) == NAMES[:8]


def test_without_a_comparison_or_an_audit_nothing_passes() -> None:
    found = check(OWN, dataclasses.replace(OTHER, population_sha256="p"), None, None)
    assert broken(found) == NAMES and is_blocked(found) and is_blocked(())


def test_another_test_split_blocks() -> None:
    found = rules(split="test")["Same held-out radiographs"]
    assert not found.passed and "test split" in found.sentence
    own = a_card(NEW, split="test", sha256="new")
    assert rules(candidate=own, split="test")["Same held-out radiographs"].passed
    fewer = rules(
        labels=LABELS[:100], patients=PATIENTS[:100], p_own=well_calibrated()[:100], p_other=well_calibrated()[:100]
    )["Same held-out radiographs"]
    assert not fewer.passed and "40 pneumonia and 60 normal" in fewer.sentence and "60 and 60" in fewer.sentence


def test_films_that_the_candidate_has_learned_from_block() -> None:
    found = rules(learned=TrainingOverlap(17))["Radiographs not used for training"]
    assert not found.passed and found.sentence.startswith("17 of the 120 radiographs")
    assert rules(learned=TrainingOverlap(0, ("2025.01.01-1",)))["Radiographs not used for training"].passed


@pytest.mark.parametrize(
    ("labels", "patients", "passes"),
    [
        (np.repeat((0, 1), (91, 29)), PATIENTS, False),
        (np.repeat((0, 1), (90, 30)), PATIENTS, True),
        (np.repeat((0, 1), (29, 91)), PATIENTS, False),
        (LABELS, [f"patient{i // 3}" for i in range(N)], False),  # 60 films, but of 20 children
    ],
)
def test_too_few_films_or_patients_block(labels: np.ndarray, patients: list[str], passes: bool) -> None:
    assert rules(labels=labels, patients=patients)["Sample size"].passed is passes


def test_an_audit_with_blocking_findings_or_pictures_on_both_sides_blocks() -> None:
    conflict = Issue("LABEL_CONFLICT", True, "One picture lies under both labels.")
    found = rules(audit=an_audit(conflict))
    assert found["Data audit"] == Rule("Data audit", False, conflict.message)
    assert found["No duplicates across splits"].passed
    across = Issue("DUPLICATE_ACROSS_SPLITS", False, "2 groups lie in more than one split.")
    found = rules(audit=an_audit(across))
    assert found["No duplicates across splits"] == Rule("No duplicates across splits", False, across.message)
    assert found["Data audit"].passed


@pytest.mark.parametrize(
    ("text", "enough"),
    [
        ("", False),
        ("because", False),
        ("x" * 19, False),
        ("x" * 20, True),
        ("a" + " " * 40 + "b", False),
        ("The new scanner needs it.", True),
    ],
)
def test_a_reason_has_words_in_it(text: str, enough: bool) -> None:
    assert is_reason(text) is enough


def test_command_promotes_what_meets_all_rules_without_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = install(tmp_path)
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path))
    run = a_run(made)
    assert main(["promote", NEW]) == 1 and active_version(made) == OLD, "not compared yet"
    assert f"{NEW} has not been compared with {OLD}" in capsys.readouterr().err
    write_result(made, run)
    assert main(["promote", NEW]) == 0, capsys.readouterr().err
    assert active_version(made) == NEW and promotions(made)[-1].overruled == ()
    assert main(["promote", NEW]) == 0, "what is in service already breaks no rule"


def by_unit(p: np.ndarray, patients: Sequence[str] = PATIENTS) -> tuple[GroupResult, ...]:
    """Return the results of two units of 60 films each."""
    units = ["old" if i % 2 else "new" for i in range(N)]
    return group_results({"unit": units}, np.asarray(LABELS), p, 0.5, patients)


def with_groups(own: tuple[GroupResult, ...], other: tuple[GroupResult, ...]) -> CandidateComparison:
    return dataclasses.replace(
        EQUAL,
        evaluation=dataclasses.replace(EQUAL.evaluation, groups=own),
        evaluation_against=dataclasses.replace(EQUAL.evaluation_against, groups=other),
    )


def called(new_normals: float) -> np.ndarray:
    """Scores that are right but for a share of the normals of the new unit."""
    p = np.where(np.asarray(LABELS) == 1, 0.9, 0.1)
    normals = [i for i in range(0, N, 2) if not LABELS[i]]
    p[normals[: round(new_normals * len(normals))]] = 0.9
    return p


def test_a_candidate_that_is_clearly_worse_in_one_unit_is_blocked_by_its_name() -> None:
    good, bad = by_unit(called(0.0)), by_unit(called(0.5))
    blocked = rules(comparison=with_groups(bad, good))["Worst group"]
    assert not blocked.passed and "In unit new the specificity is 0.5" in blocked.sentence
    assert "clearly lower" in blocked.sentence
    assert rules(comparison=with_groups(good, bad))["Worst group"].passed, "better is no reason to block"
    assert rules(comparison=with_groups(good, good))["Worst group"].passed
    assert rules(comparison=with_groups(by_unit(called(0.05)), good))["Worst group"].passed, "within the interval"


def test_a_group_that_both_versions_read_wrong_blocks_too() -> None:
    poor = by_unit(called(0.95))
    blocked = rules(comparison=with_groups(poor, poor))["Worst group"]
    assert not blocked.passed and "unit new, specificity" in blocked.sentence and "0.50" in blocked.sentence
    assert rules(comparison=with_groups(poor, poor), limits=Limits(group_rate=0.0))["Worst group"].passed


def test_groups_survive_the_file_of_a_comparison() -> None:
    result = with_groups(by_unit(called(0.5)), by_unit(called(0.0)))
    back = result_from_json(result_to_json(result))
    assert [group.name for group in back.evaluation.groups] == ["new", "old"]
    assert not rules(comparison=back)["Worst group"].passed


def paired(own: np.ndarray, other: np.ndarray, patients: Sequence[str] = PATIENTS) -> CandidateComparison:
    """Both versions on the same films of two units, with the paired differences."""
    units = {"unit": ["new" if i % 2 == 0 else "old" for i in range(N)]}
    found = group_differences(units, LABELS, patients, Scores(NEW, own, 0.5), Scores(OLD, other, 0.5))
    result = with_groups(*(group_results(units, np.asarray(LABELS), p, 0.5, patients) for p in (own, other)))
    return dataclasses.replace(result, comparison=dataclasses.replace(result.comparison, group_differences=found))


def test_a_loss_on_the_same_films_of_a_group_blocks_where_independent_rates_would_not() -> None:
    # Of 30 normals of the unit both call 9 pneumonia, the candidate 8 others too: 0.433 against 0.700.
    before, after = called(0.3), called(0.567)
    result = paired(after, before)
    loss = next(d for d in result.comparison.group_differences if (d.name, d.rate) == ("new", "specificity"))
    assert loss.difference.value == pytest.approx(-8 / 30) and loss.difference.high < -0.05
    blocked = rules(comparison=result)["Worst group"]
    assert not blocked.passed and "In unit new the specificity is 0.433" in blocked.sentence
    assert "against 0.700" in blocked.sentence
    unpaired = with_groups(result.evaluation.groups, result.evaluation_against.groups)
    assert rules(comparison=unpaired, limits=Limits(group_rate=0.0))["Worst group"].passed
    back = result_from_json(result_to_json(result))
    assert rules(comparison=back)["Worst group"] == blocked, "the differences survive the comparison's file"


def test_a_difference_by_chance_in_a_group_does_not_block() -> None:
    before, after = called(0.3), called(0.3)
    normals = [i for i in range(0, N, 2) if not LABELS[i]]
    after[normals[:3]], after[normals[-5:]] = 0.1, 0.9  # 5 lost, 3 gained
    assert rules(comparison=paired(after, before))["Worst group"].passed
    # The ten lost films of five patients say less than those of ten.
    few = [f"patient{i // 4}" for i in range(N)]
    alone, shared = (
        next(
            d.difference
            for d in paired(called(0.63), called(0.3), who).comparison.group_differences
            if (d.name, d.rate) == ("new", "specificity")
        )
        for who in (PATIENTS, few)
    )
    assert shared.high > alone.high

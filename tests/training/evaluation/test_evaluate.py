"""Scoring, evaluation, the closer look at it, and the commands that print them, with a classifier known by heart."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model.engine
import model.promotions
import model.registry
from core.errors import DatasetError
from core.settings import Settings
from model.calibration import probabilities
from model.card import Calibration, ConformalSets, PurposePoint
from model.decision import at_prevalence, decision_curve
from model.intervals import wilson
from model.metrics import ppv_npv, predictive_values
from model.operating import operating_point, rates_at
from tests.assessments import VALIDATION
from tests.fake_classifier import fake_card, fake_classifier
from tests.phantoms import as_png
from training.commands import evaluate
from training.data.dataset import scan_folder
from training.data.sample import Sample
from training.evaluation.evaluate import (
    detail_to_json,
    detail_to_text,
    evaluate_folder,
    evaluate_samples,
    evaluation_to_json,
    evaluation_to_text,
    look_closer,
    plain,
    score_samples,
)

JSON_KEYS = [
    "n",
    "accuracy",
    "accuracy_ci",
    "auroc",
    "auroc_ci",
    "auprc",
    "auprc_ci",
    "sensitivity",
    "sensitivity_ci",
    "specificity",
    "specificity_ci",
    "ppv",
    "ppv_ci",
    "npv",
    "npv_ci",
    "f1",
    "f1_ci",
    "brier",
    "brier_ci",
    "ece",
    "ece_ci",
    "tp",
    "fp",
    "tn",
    "fn",
    "classifier_version",
]
CALIBRATION_KEYS = [
    "calibration_prevalence",
    "calibration_intercept",
    "calibration_intercept_ci",
    "calibration_slope",
    "calibration_slope_ci",
    "ece_debiased",
    "ece_debiased_ci",
]
# Flat films: (file, grey level). Called pneumonia from 128 on.
FILMS = {
    "NORMAL": [
        ("IM-0001-0001.png", 40),
        ("IM-0001-0002.png", 60),
        ("IM-0002-0001.png", 100),
        ("IM-0003-0001.png", 135),
    ],
    "PNEUMONIA": [
        ("person1_bacteria_1.png", 120),
        ("person1_bacteria_2.png", 150),
        ("person2_virus_3.png", 160),
        ("person3_virus_4.png", 180),
        ("person4_virus_5.png", 110),
        ("person5_6.png", 200),
    ],
}
LEVELS = [level for films in FILMS.values() for _, level in films]
CARD = fake_card(
    calibration=Calibration(2.0, 0.3, 0.4),
    point=0.5,
    purposes=(PurposePoint("screening", 0.4, 0.99, 0.6, "x"), PurposePoint("rule_in", 0.8, 0.7, 0.96, "x")),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "clinic"
    for label, films in FILMS.items():
        (root / label).mkdir(parents=True)
        for name, level in films:
            (root / label / name).write_bytes(as_png(np.full((64, 80), level, np.uint8)))
    return root


def test_logits_belong_to_the_samples_beside_them(folder: Path) -> None:
    (folder / "NORMAL" / "IM-0002-0000.png").write_bytes(b"no picture")
    gone = folder / "NORMAL" / "gone.png"
    gone.write_bytes(b"deleted after the folder was listed")
    samples = scan_folder(folder).train
    gone.unlink()
    done: list[int] = []
    used, logits, failures = score_samples(fake_classifier(), samples, done.append)
    assert [s.path.name for s in used] == [name for films in FILMS.values() for name, _ in films]
    assert logits.dtype == np.float32 and logits == pytest.approx([0.1 * (level - 128) for level in LEVELS])
    assert sorted(path.name for path, _ in failures) == ["IM-0002-0000.png", "gone.png"]
    assert sum(done) == 12


def test_more_films_than_one_batch_keep_their_order(folder: Path) -> None:
    samples = list(scan_folder(folder).train) * 4
    sizes: list[int] = []
    classifier = fake_classifier()
    watched = replace(classifier, run=lambda pictures: sizes.append(len(pictures)) or classifier.run(pictures))
    used, logits, _ = score_samples(watched, samples)
    assert [s.path for s in used] == [s.path for s in samples] and logits == pytest.approx(
        np.tile([0.1 * (level - 128) for level in LEVELS], 4)
    )
    assert sizes == [16, 16, 8]


def test_a_folder_without_a_readable_film_is_refused(folder: Path) -> None:
    broken = Sample(folder / "nothing.png", 1, "p", True)
    with pytest.raises(DatasetError, match="readable") as caught:
        score_samples(fake_classifier(), [broken])
    assert "JPEG, PNG" in caught.value.advice


def test_evaluation_by_hand_and_its_json(folder: Path) -> None:
    evaluation, failures = evaluate_folder(fake_classifier(), folder)
    assert (evaluation.split, evaluation.tp, evaluation.fn, evaluation.tn, evaluation.fp) == ("clinic", 4, 2, 3, 1)
    assert failures == [] and evaluation.unit == "patient"
    values = json.loads(evaluation_to_json(evaluation, "v-1"))
    assert list(values) == [*JSON_KEYS, *CALIBRATION_KEYS]
    assert (values["n"], values["accuracy"], values["classifier_version"]) == (10, 0.7, "v-1")
    # 135 outranks 120 and 110: 22 of 24 pairs are right.
    assert values["auroc"] == pytest.approx(22 / 24, abs=1e-6) and len(values["auroc_ci"]) == 2
    assert "4 true positives, 2 false negatives, 3 true negatives, 1 false positives" in evaluation_to_text(
        evaluation, "v-1"
    )


def test_an_undefined_figure_is_null_in_json(folder: Path) -> None:
    ill = [s for s in scan_folder(folder).train if s.label]
    evaluation, _ = evaluate_samples(fake_classifier(), ill, "ill")
    values = json.loads(evaluation_to_json(evaluation, "v"), parse_constant=pytest.fail)
    assert values["specificity"] is None and values["auroc_ci"] == [None, None] and list(values) == JSON_KEYS


def test_plain_goes_all_the_way_down() -> None:
    assert plain({"a": (float("nan"), 1, "text", None, True), "b": {"c": [1 / 3, float("-inf")]}}) == {
        "a": [None, 1, "text", None, True],
        "b": {"c": [0.333333, None]},
    }


def closer(folder: Path, **options: Any) -> Any:
    used, logits, _ = score_samples(fake_classifier(CARD), scan_folder(folder).train)
    return look_closer(CARD, used, logits, "clinic", **options)


def test_a_closer_look_by_class_and_pathogen(folder: Path) -> None:
    # With temperature 2 and bias 0.3, 0.5 is crossed at a logit of −0.6: a grey level of 122.
    detail = closer(folder)
    counts = {name: (rate.right, rate.n) for name, rate in detail.rates.items()}
    assert counts == {"NORMAL": (3, 4), "PNEUMONIA": (4, 6), "bacteria": (1, 2), "virus": (2, 3)}
    assert (detail.rates["virus"].share.low, detail.rates["virus"].share.high) == pytest.approx(wilson(2, 3))
    assert (detail.split, detail.version, detail.n, detail.operating_point) == ("clinic", "fake-1", 10, 0.5)
    assert detail.pathogen_auroc.value == pytest.approx(2 / 6), "120 and 150 are above 110, not above 160 and 180"
    assert "bacterial above viral pneumonia: AUROC 0.333" in detail_to_text(detail)


def test_pathogens_are_left_out_where_names_do_not_tell(folder: Path) -> None:
    for path in sorted((folder / "PNEUMONIA").glob("*_virus_*")):
        path.rename(path.with_name(path.name.replace("_virus_", "_")))
    assert set(closer(folder).rates) == {"NORMAL", "PNEUMONIA", "bacteria"}
    assert closer(folder).pathogen_auroc is None


def test_the_card_s_purposes_are_applied_to_this_set(folder: Path) -> None:
    screening, rule_in = closer(folder).purposes
    # 0.4 lies at logit 2 · (ln(0.4 / 0.6) − 0.3) = −1.41, grey 113.9; 0.8 at +2.17, grey 149.7.
    assert (screening.sensitivity.right, screening.specificity.right) == (5, 3)
    stricter = replace(CARD, purposes=(PurposePoint("screening", 0.17, 1.0, 0.5, "x"),))  # grey 90.1
    used, logits, _ = score_samples(fake_classifier(CARD), scan_folder(folder).train)
    assert look_closer(stricter, used, logits, "x").purposes[0].specificity.right == 2
    assert (rule_in.sensitivity.right, rule_in.sensitivity.n, rule_in.specificity.right) == (4, 6, 4)
    assert rule_in.point == CARD.purposes[1]


def test_purposes_that_are_out_of_order_on_the_card_are_measured_where_they_are_read(folder: Path) -> None:
    swapped = replace(
        CARD, purposes=(PurposePoint("screening", 0.8, 0.99, 0.9, "x"), PurposePoint("rule_in", 0.4, 0.9, 0.96, "x"))
    )
    used, logits, _ = score_samples(fake_classifier(CARD), scan_folder(folder).train)
    screening, rule_in = look_closer(swapped, used, logits, "x").purposes
    for result in (screening, rule_in):
        assert result.point.probability == operating_point(swapped, result.point.purpose).probability
        assert "moved from" in result.point.chosen
    assert (screening.point.probability, rule_in.point.probability) == (0.4, 0.8)
    assert (screening.sensitivity.right, screening.specificity.right) == (5, 3), "as at 0.4 on a card in order"
    evaluated = replace(swapped, evaluations={"validation": VALIDATION})
    served = look_closer(evaluated, used, logits, "x").purposes[0].point
    assert served.sensitivity == rates_at(VALIDATION, 0.4).sensitivity.value < 0.99, "the rates belong to 0.4"


def test_conformal_sets_of_the_card_are_measured_by_class(folder: Path) -> None:
    card = replace(CARD, conformal=(ConformalSets(0.1, 0.7, 0.4),))
    used, logits, _ = score_samples(fake_classifier(CARD), scan_folder(folder).train)
    detail = look_closer(card, used, logits, "x")
    (sets,) = detail.sets
    p = probabilities(logits, card.calibration)
    labels = np.array([s.label for s in used])
    assert sets.coverage_normal.value == (p[labels == 0] <= 0.7).mean()
    assert sets.coverage_pneumonia.value == (p[labels == 1] >= 0.4).mean()
    assert sets.single.value == pytest.approx(((p <= 0.7) != (p >= 0.4)).mean())
    assert sets.both.value + sets.single.value + sets.empty.value == pytest.approx(1)
    assert "conformal sets, α = 0.1: hold NORMAL" in detail_to_text(detail)
    assert json.loads(detail_to_json(detail))["sets"][0]["alpha"] == 0.1


def test_predictive_values_and_net_benefit_at_each_prevalence(folder: Path) -> None:
    assert [one.prevalence for one in closer(folder).prevalences] == [0.05, 0.2, 0.5]
    (one,) = closer(folder, prevalences=[0.1]).prevalences
    assert (one.ppv.value, one.npv.value) == pytest.approx(ppv_npv(4 / 6, 3 / 4, 0.1))
    shares = closer(folder).rates
    assert (one.ppv, one.npv) == predictive_values(shares["PNEUMONIA"].share, shares["NORMAL"].share, 0.1)
    assert one.ppv.low < one.ppv.value < one.ppv.high and one.npv.low < one.npv.value < one.npv.high
    # The card's probabilities hold at a prevalence of 0.4 and are carried to 0.1 before they are compared with costs.
    logits = np.array([0.1 * (level - 128) for level in LEVELS])
    carried = at_prevalence(1 / (1 + np.exp(-(logits / 2 + 0.3))), 0.4, 0.1)
    expected = decision_curve(np.repeat([0, 1], [4, 6]), carried, prevalence=0.1)
    assert one.curve.prevalence == 0.1
    assert one.curve.classifier == pytest.approx(expected.classifier)


def test_one_class_has_no_closer_look(folder: Path) -> None:
    ill = [s for s in scan_folder(folder).train if s.label]
    with pytest.raises(DatasetError, match="both classes"):
        look_closer(CARD, ill, np.zeros(len(ill), np.float32), "x")


def test_a_closer_look_in_json_and_on_a_terminal(folder: Path) -> None:
    detail = closer(folder, prevalences=[0.2])
    values = json.loads(detail_to_json(detail), parse_constant=pytest.fail)
    assert values["rates"]["bacteria"] == {
        "right": 1,
        "n": 2,
        "share": plain({"value": 0.5, "low": wilson(0.6, 1.2)[0], "high": wilson(0.6, 1.2)[1]}),
    }
    assert values["purposes"][0]["point"]["purpose"] == "screening"
    assert len(values["prevalences"][0]["curve"]["classifier"]) == 99
    text = detail_to_text(detail)
    for words in ("bacteria        1 of 2", "screening     0.400", "rule_in", "0.2 "):
        assert words in text
    assert max(map(len, text.splitlines())) <= 110
    assert "purpose" not in detail_to_text(replace(detail, purposes=()))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run `python -m training …` with fake versions "a" and "b", of which "a" is in use."""
    versions = {"a": fake_classifier(replace(CARD, version="a")), "b": fake_classifier(fake_card("b"), cut=115)}
    monkeypatch.setattr(evaluate, "start_tensorflow", lambda **_: None)
    monkeypatch.setattr(model.engine, "load_classifier", lambda folder, **_: versions[folder.name])
    monkeypatch.setattr(model.registry, "active_version", lambda _: "a")
    monkeypatch.setattr(model.promotions, "verified", lambda _, version: (tmp_path / version, {}))

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        evaluate.add_commands(parser.add_subparsers(required=True))
        options = parser.parse_args(words)
        return int(options.act(options, Settings(tmp_path)))

    return run


def test_evaluate_prints_and_writes(
    command: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "NORMAL" / "broken.png").write_bytes(b"")
    assert command("evaluate", "--data", str(folder), "--json", str(tmp_path / "out.json")) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("clinic: n = 10, classifier a, operating point 0.500")
    assert "skipped" in printed.err and "broken.png" in printed.err
    assert "bacteria" not in printed.out
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written) == [*JSON_KEYS, *CALIBRATION_KEYS, "training_overlap"]
    assert written["training_overlap"]["unknown"] == ["a"] and "of a are not on record" in printed.out


def test_evaluate_looks_closer_when_asked(
    command: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        command(
            "evaluate",
            "--data",
            str(folder),
            "--classifier",
            "a",
            "--detail",
            str(tmp_path / "d.json"),
            "--prevalence",
            "0.1",
            "--prevalence",
            "0.3",
        )
        == 0
    )
    values = json.loads((tmp_path / "d.json").read_text())
    assert [one["prevalence"] for one in values["prevalences"]] == [0.1, 0.3]
    assert "bacteria" in capsys.readouterr().out


def test_compare_names_both_versions(
    command: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("compare", "--data", str(folder), "--with", "b", "--json", str(tmp_path / "c.json")) == 0
    values = json.loads((tmp_path / "c.json").read_text())
    assert (values["a"]["version"], values["b"]["version"], values["mcnemar"]["only_b"]) == ("a", "b", 1)
    assert values["disagreeing"][0]["path"].startswith(("NORMAL/", "PNEUMONIA/"))
    assert "A − B" in capsys.readouterr().out


def test_robustness_writes_rows(
    command: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("robustness", "--data", str(folder), "--classifier", "b", "--json", str(tmp_path / "r.json")) == 0
    values = json.loads((tmp_path / "r.json").read_text())
    assert values["classifier_version"] == "b" and values["rows"][0]["name"] == "clean"
    assert "inverted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate",),
        ("evaluate", "--data", ".", "--json", "no/such/folder/x.json"),
        ("evaluate", "--data", ".", "--detail", "."),
        ("evaluate", "--data", ".", "--prevalence", "1"),
        ("evaluate", "--data", ".", "--prevalence", "many"),
        ("compare", "--data", "."),
        ("faithfulness", "--data", ".", "--films", "0"),
    ],
)
def test_wrong_arguments_end_with_two(command: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(*words)
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["evaluate", "compare", "robustness", "faithfulness"])
def test_help_shows_an_example(command: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(name, "--help")
    assert caught.value.code == 0
    assert f"python -m training {name} --data" in capsys.readouterr().out


def test_a_missing_folder_fails_before_anything_is_loaded(command: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="folder"):
        command("evaluate", "--data", str(tmp_path / "nowhere"))

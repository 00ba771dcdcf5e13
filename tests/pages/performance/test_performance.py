from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.errors import ClassifierError
from core.settings import Settings
from model.card import Calibration, Evaluation, ModelCard, OperatingPoint, PurposePoint
from model.engine import Classifier
from model.metrics import evaluate
from model.promotions import promote
from model.registry import add_version
from pages.shared.measures import split_name
from pages.shared.predictive_values import predictive_values
from records.test_sets import add_test_set, record_look
from tests import ROOT

PERFORMANCE = "pages/performance/performance.py"


@cache
def an_evaluation(split: str = "validation", shift: float = 0.0) -> Evaluation:
    rng = np.random.default_rng(7)
    labels = np.repeat((0, 1), (60, 140))
    scores = np.clip(rng.normal(np.where(labels == 1, 0.8 - shift, 0.2 + shift), 0.15), 0.001, 0.999)
    return evaluate(split, labels, scores, 0.4)


def a_card(version: str = "2026.01.02-1", **changes: object) -> ModelCard:
    card = ModelCard(
        version=version,
        parent=None,
        created_at="2026-01-02T03:04:05+00:00",
        weights_file="classifier.npz",
        sha256="",
        architecture="inception_v3",
        parameters=21_802_784,
        intended_use="For children with a cough & a film.",
        limitations=("Not for adults.", "One hospital <only>."),
        data={"source": "drawn", "audit": ["Two films <twice>."], "train": {"NORMAL": 60}},
        preprocessing={"input_px": 299, "detail_px": 224},
        training={},
        history=(
            {"epoch": 1, "stage": "head", "loss": 0.6, "train_auroc": 0.7, "val_auroc": 0.8, "val_loss": 0.5},
            {"epoch": 2, "stage": "fine", "loss": 0.4, "train_auroc": 0.8, "val_auroc": 0.9, "val_loss": 0.3},
        ),
        calibration=Calibration(1.0),
        operating_point=OperatingPoint(0.4, 0.3, 0.5, "chosen for this test"),
        evaluations={"validation": an_evaluation()},
        libraries={"numpy": "2"},
    )
    return dataclasses.replace(card, **changes)


def install(card: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Put a version into use whose weights nobody can load, and point the app at it; return its settings."""
    settings = Settings(folder)
    add_version(settings.versions_dir, card, lambda path: path.write_bytes(b"weights"))
    promote(settings, card.version, who="a test")
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(folder))
    monkeypatch.delenv("PNEUMOLENS_CLASSIFIER", raising=False)
    monkeypatch.setattr("pages.shared.classifiers.load_classifier", refuse_to_load)
    return settings


def refuse_to_load(folder: Path, _architectures: tuple[str, ...]) -> Classifier:
    raise ClassifierError(f"expected weights. Received: none in {folder.name}", advice="The weights are missing.")


def open_performance() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return app.switch_page(PERFORMANCE).run()


def text(app: AppTest) -> str:
    """Everything that the page says in words."""
    return "\n".join(
        [
            *(one.proto.body for one in app.html),
            *(one.value for one in app.markdown),
            *(one.value for one in app.caption),
        ]
    )


def charts(app: AppTest) -> str:
    return "\n".join(chart.proto.spec for chart in app.get("plotly_chart"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppTest]:
    """The page of one version, opened once; its settings hold as long as this module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        install(a_card(), tmp_path_factory.mktemp("shown"), patch)
        app = open_performance()
        assert not app.exception
        yield app


def test_the_card_is_on_the_page(shown: AppTest) -> None:
    said, app = text(shown), shown
    for words in (
        "Decision support, not a diagnosis",
        "Classifier 2026.01.02-1",
        "One hospital &lt;only&gt;.",
        "For children with a cough &amp; a film.",
        "Not for adults.",
        "Two films &lt;twice&gt;.",
        "prevalence 50 %",
        "21.8 million parameters",
        "chosen for this test",
        "Validation, n = 200 (140 pneumonia, 60 normal)",
    ):
        assert words in said
    drawn = charts(app)
    for title in (
        "ROC curve",
        "Precision-recall curve",
        "Reliability diagram",
        "Score distributions",
        "Confusion matrix",
        "Predictive values",
        "Learning curves: AUROC",
        "Learning curves: loss",
    ):
        assert f'"{title}"' in drawn
    assert drawn.count("Validation, n = 200") == 6


def test_every_measure_has_its_interval(shown: AppTest) -> None:
    table = next(one.proto.body for one in shown.html if "pl-table" in one.proto.body)
    for measure in an_evaluation().measures.values():
        assert f"{measure.value:.3f} <span>({measure.low:.3f}–{measure.high:.3f})</span>" in table


def test_a_set_outside_the_population_can_be_chosen_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = an_evaluation("outside_nih_adult_A", shift=0.3)
    install(a_card(evaluations={"outside_nih_adult_A": outside, "validation": an_evaluation()}), tmp_path, monkeypatch)
    app = open_performance()
    selector = app.segmented_control[0]
    assert selector.options == ["Validation", "NIH adult A (outside)"]
    assert selector.value == "validation" and "must not be used" not in re.sub(r"\s+", " ", text(app))
    app = selector.set_value("outside_nih_adult_A").run()
    assert not app.exception
    assert "Outside the intended population" in text(app)
    assert charts(app).count("NIH adult A (outside), n = 200") == 6
    assert f"<strong>{outside.measures['auroc'].value:.3f}</strong>" in text(app)


def test_prevalence_moves_the_predictive_values(shown: AppTest) -> None:
    app, measures = shown, an_evaluation().measures
    for percent in (20, 70):
        app = app.slider(key="prevalence").set_value(percent).run()
        values = predictive_values(measures["sensitivity"], measures["specificity"], percent / 100)
        assert f"{values.ppv.value:.2f} <span>({values.ppv.low:.2f}–{values.ppv.high:.2f})" in text(app)
        assert f"{values.npv.value:.2f} <span>({values.npv.low:.2f}–{values.npv.high:.2f})" in text(app)


def test_a_version_without_evaluation_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(a_card(evaluations={}, history=()), tmp_path, monkeypatch)
    app = open_performance()
    assert not app.exception and "Do not rely on it" in text(app)


def test_a_damaged_card_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = install(a_card("2026.01.02-9"), tmp_path, monkeypatch)
    (settings.versions_dir / "2026.01.02-9" / "card.json").write_text("{")
    app = open_performance()
    assert not app.exception
    assert "The classifier's card is damaged; install the version again." in text(app)
    assert "Decision support, not a diagnosis" in text(app)


def test_a_page_without_its_frame_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(a_card(), tmp_path, monkeypatch)
    for page in (PERFORMANCE, "pages/reading/read.py"):
        app = AppTest.from_file(str(ROOT / page), default_timeout=60).run()
        assert not app.exception
        assert "start page" in text(app)
        assert not app.html and not app.get("plotly_chart") and not app.get("file_uploader")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("validation", "Validation"),
        ("validation_shifted", "Validation, shifted"),
        ("test_half", "Test, half"),
        ("outside_nih_adult_A", "NIH adult A (outside)"),
        ("outside", "Outside (outside)"),
    ],
)
def test_splits_have_names(key: str, words: str) -> None:
    assert split_name(key) == words


def test_predictive_values_follow_bayes() -> None:
    evaluation = an_evaluation()
    sensitivity, specificity = (evaluation.measures[key].value for key in ("sensitivity", "specificity"))
    values = predictive_values(evaluation.measures["sensitivity"], evaluation.measures["specificity"], 0.25)
    assert values.ppv.value == pytest.approx(sensitivity * 0.25 / (sensitivity * 0.25 + (1 - specificity) * 0.75))
    assert values.npv.value == pytest.approx(specificity * 0.75 / (specificity * 0.75 + (1 - sensitivity) * 0.25))


def test_purposes_and_robustness_are_shown_where_the_card_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    row = {
        "split": "test_half",
        "name": "JPEG <50>",
        "mild": True,
        "n": 200,
        "accuracy_change": {"value": -0.031, "low": 0, "high": 0},
        **dict.fromkeys(("auroc", "accuracy", "sensitivity", "specificity"), figure),
    }
    card = a_card(
        purposes=(PurposePoint("screening", 0.12, 0.985, 0.8, "highest of sensitivity ≥ 0.98"),),
        robustness=(row, {**row, "name": "inverted", "mild": False, "auroc": {"value": None}}),
    )
    install(card, tmp_path, monkeypatch)
    shown = text(open_performance())
    assert "Screening (high sensitivity)" in shown and "0.120" in shown and "0.985" in shown
    assert "JPEG &lt;50&gt;" in shown and "−3.1" in shown and "strong" in shown
    install(a_card("2026.01.02-2"), tmp_path, monkeypatch)
    plain = text(open_performance())
    assert "Alternative operating points" not in plain and "Robustness to perturbations" not in plain


def test_purposes_out_of_order_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = a_card(
        purposes=(PurposePoint("screening", 0.12, 0.985, 0.8, "a"), PurposePoint("rule_in", 0.1, 0.9, 0.9, "b"))
    )
    install(card, tmp_path, monkeypatch)
    assert "keep the purposes in order: screening 0.100, rule in 0.400." in text(open_performance())


def test_the_page_says_what_is_missing_and_how_often_a_test_set_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = install(a_card(), tmp_path, monkeypatch)
    files = [("a" * 64, 0), ("b" * 64, 1)]
    add_test_set(settings, "ward 2026", files, "ann")
    for version in ("2026.01.02-1", "v2"):
        record_look(settings, files, (version,), "evaluate", "test", "ann")
    said = text(open_performance())
    assert "<tr><th>Not stated</th><td>licence, population, ages, sex, projections, X-ray units, period" in said
    assert "<tr><th>Source</th><td>drawn</td></tr>" in said
    looked = "looked at twice, by 2 versions; figures on it are optimistic"
    assert f"<tr><th>ward 2026, n = 2</th><td>{looked}</td></tr>" in said

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from model.anatomy import Anatomy
from model.assessment import Assessment, InputIssue, Neighbour, Population, Reading, Stability
from model.card import GroupResult, Measure, PurposePoint
from model.lung_zones import NOT_FOUND
from model.operating import operating_point, rates_at
from model.pipeline import assess as really_assess
from pages.reading import evidence
from pages.reading.films import Film
from pages.shared.predictive_values import predictive_values
from tests import ROOT
from tests.dicoms import phantom_dicom
from tests.fake_classifier import fake_card, fake_classifier, usual_lungs
from tests.pages.performance.test_performance import a_card, charts, install, text
from tests.pages.reading.test_read import StandIn, a_film, column, drop, installed, open_read
from tests.pages.reading.test_read import stand_in as stand_in

PURPOSES = (
    PurposePoint("screening", 0.2, 0.99, 0.8, "a"),
    PurposePoint("balanced", 0.5, 0.95, 0.9, "b"),
    PurposePoint("rule_in", 0.9, 0.8, 0.97, "c"),
)


pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture(scope="module")
def network_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with installed(a_card(purposes=PURPOSES), tmp_path_factory.mktemp("installation")) as network:
        yield network


def answering(monkeypatch: pytest.MonkeyPatch, *issues: InputIssue, **changes: Any) -> None:
    """Let every film be assessed as it is, with these issues and changes on top."""

    def assess(data: bytes, classifier: Any, **how: Any) -> Assessment:
        found = really_assess(data, classifier, **how)
        return replace(found, issues=(*found.issues, *issues), **changes)

    monkeypatch.setattr("model.pipeline.assess", assess)


def panel(app: AppTest) -> str:
    """Everything that the page says in words, without its style sheet."""
    return re.sub(r"<style>.*?</style>", "", text(app), flags=re.S)


def film_shown(app: AppTest) -> Film:
    film = app.session_state["read.films"].on_screen
    assert film is not None
    return film


def pressed(app: AppTest, key: str) -> AppTest:
    app = app.button(key=key).click().run()
    assert not app.exception
    return app


OUTSIDE = InputIssue("OUTSIDE_POPULATION", False, "This film does not look like a child's.")


def test_a_film_from_outside_the_population_says_so_first_and_nothing_else_in_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = (Neighbour("PNEUMONIA", 31.5), Neighbour("PNEUMONIA", 32.0), Neighbour("NORMAL", 33.25))
    answering(monkeypatch, OUTSIDE, population=Population(30.2, 12.5, near))
    app = drop(open_read(), ("adult.png", a_film()))
    assert not app.exception
    said = panel(app)
    assert said.index("Outside the training population</h2>") < said.index("Probability 0.88")
    assert 'class="pl-finding pl-outside"' in said and OUTSIDE.message in said.replace("&#x27;", "'")
    assert "likely" not in said.lower() and "near the operating point:" not in said.lower()
    assert "<strong>0.88" not in said, "the probability is small"
    for words in ("Sensitivity", "PPV", "Stability", "pl-above", "pl-near", "pl-below"):
        assert words not in said
    assert "Pneumonia 31.50, pneumonia 32.00, normal 33.25. Distribution distance 30.20" in said
    assert "(limit 12.50)." in said
    assert "{" not in said
    assert not app.selectbox and "#e0a458" not in charts(app) and "#7fb7a3" not in charts(app)


def test_an_adult_by_the_header_is_outside_and_the_page_says_why() -> None:
    app = drop(open_read(), ("adult.dcm", phantom_dicom(PatientAge="045Y", PatientBirthDate=None)))
    assert not app.exception
    said = panel(app)
    assert "Outside the training population</h2>" in said and "<strong>0.88" not in said
    assert "The patient is an adult according to the age in the header" in said.replace("&#x27;", "'")
    assert "The patient is 45 years old" in said
    assert "#e0a458" not in charts(app) and not app.selectbox
    kept = film_shown(app).kept
    assert kept.is_outside and kept.prediction is not None and kept.prediction.finding == "PNEUMONIA"


def test_a_schoolchild_is_warned_of_and_keeps_the_finding() -> None:
    app = drop(open_read(), ("child.dcm", phantom_dicom(PatientAge="012Y", PatientBirthDate=None)))
    said = panel(app)
    assert "pl-above" in said and "pl-outside" not in said and "The patient is 12 years old" in said


def test_the_outside_words_are_the_largest_on_the_page() -> None:
    style = (ROOT / "assets" / "style.css").read_text()
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", style)}
    assert f".pl-outside h2 {{ font-size: {max(sizes):.0f}px" in style and sorted(sizes)[-2] < max(sizes)


def test_a_film_inside_has_its_colour() -> None:
    app = drop(open_read(), ("film.png", a_film()))
    said = panel(app)
    assert "pl-above" in said and "pl-outside" not in said and "#e0a458" in charts(app)


@pytest.mark.parametrize(
    ("purpose", "words"),
    [
        ("screening", "Pneumonia likely"),
        ("rule_in", "Borderline (near the threshold)"),
        ("balanced", "Pneumonia likely"),
    ],
)
def test_the_purpose_moves_finding_rates_and_predictive_values(stand_in: StandIn, purpose: str, words: str) -> None:
    card = a_card(purposes=PURPOSES)
    app = drop(open_read(), ("film.png", a_film()))
    app = app.selectbox(key="read.purpose").set_value(purpose).run()
    assert not app.exception
    said, cut = panel(app), operating_point(card, purpose).probability
    rates = rates_at(card.evaluations["validation"], cut)
    values = predictive_values(rates.sensitivity, rates.specificity, 0.2)
    assert f"<h2>{words}" in said and "<strong>0.88</strong>" in said
    assert f"operating point, {cut:.2f} ({purpose.replace('_', ' ')})" in said
    for measure in (rates.sensitivity, rates.specificity, values.ppv, values.npv):
        assert f"{measure.value:.2f} <span>({measure.low:.2f}–{measure.high:.2f})" in said
    assert stand_in.asked == 1, "another operating point needs no network"


def test_the_purpose_holds_for_every_film_and_across_pages(stand_in: StandIn) -> None:
    stand_in.logits = [2.0, -1.0]
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", a_film(2)))
    app = app.selectbox(key="read.purpose").set_value("screening").run()
    assert column(app, "finding") == ["Pneumonia likely", "Borderline"]
    app = app.button(key="read.next").click().run()
    assert app.selectbox(key="read.purpose").value == "screening" and "0.20 (screening)" in panel(app)
    app = app.switch_page("pages/performance/performance.py").run().switch_page("pages/reading/read.py").run()
    assert app.selectbox(key="read.purpose").value == "screening" and "0.20 (screening)" in panel(app)


def test_the_site_sets_purpose_and_prevalence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOLENS_PURPOSE", "rule_in")
    monkeypatch.setenv("PNEUMOLENS_PREVALENCE", "35")
    app = drop(open_read(), ("film.png", a_film()))
    assert app.selectbox(key="read.purpose").value == "rule_in" and app.slider(key="prevalence").value == 35
    assert "0.90 (rule in)" in panel(app)
    app = app.selectbox(key="read.purpose").set_value("default").run()
    assert "operating point, 0.40</span>" in panel(app), "the reader has the last word"


def test_a_version_without_the_sites_purpose_speaks_at_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = a_card("2026.01.04-1")
    install(card, tmp_path, monkeypatch)
    monkeypatch.setattr("pages.shared.classifiers.load_classifier", StandIn(card).load)
    monkeypatch.setenv("PNEUMOLENS_PURPOSE", "rule_in")
    app = drop(open_read(), ("film.png", a_film()))
    assert not app.exception and not app.selectbox
    assert "operating point, 0.40</span>" in panel(app)


def test_evidence_is_assigned_to_zones_and_kept_with_the_film() -> None:
    app = drop(open_read(), ("film.png", a_film()))
    film = film_shown(app)
    assert film.regions is not None
    assert sum(share for _, share in film.regions.shares) + film.regions.outside == pytest.approx(1)
    # The stand-in marks rows 2 and 3, columns 5 and 6 of eight: on the picture's right, which is the patient's left.
    assert film.regions.shares[3][0] == "left upper zone"
    assert film.regions.shares[3][1] + film.regions.shares[4][1] > 0.5
    assert "Evidence for pneumonia</span> Left " in panel(app) and "outside the thorax" in panel(app)


def test_a_mirrored_dicom_film_has_its_sides_exchanged() -> None:
    usual, mirrored = (
        film_shown(drop(open_read(), ("a.dcm", phantom_dicom(PatientOrientation=list(rows + "F"))))) for rows in "LR"
    )
    assert usual.regions is not None and mirrored.regions is not None
    assert [share for _, share in usual.regions.shares[:3]] == [share for _, share in mirrored.regions.shares[3:6]]


def test_where_the_thorax_was_not_found_no_zone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(evidence, "locate_evidence", lambda *_, **__: asked.append(1) or NOT_FOUND)
    app = drop(open_read(), ("film.png", a_film()))
    said = panel(app.run())
    assert "The thorax was not found, so the evidence was not localised.</p>" in said
    assert not any(words in said for words in ("zones are estimated", "nan", "no region raised")) and asked == [1]


def test_most_of_the_evidence_outside_the_thorax_is_a_warning(stand_in: StandIn) -> None:
    features = np.zeros((1, 8, 8, 2), np.float32)
    features[0, 0, 0] = 1  # the corner, where a marker would lie
    stand_in.explain = lambda _pictures: (  # type: ignore[method-assign]
        np.array([2.0], np.float32),
        features,
        np.ones((1, 2), np.float32),
    )
    said = panel(drop(open_read(), ("film.png", a_film())))
    assert "of the evidence is outside the thorax. The probability depends on something other" in said
    assert "pl-warning" in said


def test_without_a_map_no_region_is_named(stand_in: StandIn) -> None:
    stand_in.evidence = 0.0
    app = drop(open_read(), ("film.png", a_film()))
    assert "None: no region raised the probability." in panel(app) and film_shown(app).regions is None


def test_stability_is_waited_for_and_then_said(stand_in: StandIn) -> None:
    app = drop(open_read(), ("film.png", a_film()))
    assert "Perturbation test running" in panel(app)
    assert stand_in.asked == 1, "the finding must not wait for it"
    film_shown(app).notes.stability = Stability(0.31, 0.9, (("mirrored", 0.87), ("cropped", 0.31)))
    said = panel(app.run())
    assert (
        "Unstable: 0.31–0.90; crosses the operating point, 0.40, when cropped; largest change when cropped, to 0.31."
        in said
    )
    assert "Perturbation test running" not in said


def test_a_measured_range_holds_what_the_panel_shows() -> None:
    app = drop(open_read(), ("film.png", a_film()))
    film = film_shown(app)
    prediction = film.kept.prediction
    assert film.kept.radiograph is not None and prediction is not None
    evidence.measure(film, film.kept.radiograph, prediction, fake_classifier(fake_card()))
    assert film.stability is not None and len(film.stability.changes) == 8
    assert film.stability.low <= prediction.probability <= film.stability.high


def test_a_film_on_its_side_offers_the_turn_and_takes_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def assess(data: bytes, classifier: Any, *, turn: int = 0, **how: Any) -> Assessment:
        asked.append(turn)
        found = really_assess(data, classifier, turn=turn, **how)
        lies = InputIssue("ROTATED", False, "The film seems to lie on its side.")
        return found if turn else replace(found, issues=(*found.issues, lies), turn=90)

    monkeypatch.setattr("model.pipeline.assess", assess)
    app = drop(open_read(), ("film.png", a_film()))
    said = panel(app)
    assert "The film seems to lie on its side." in said and "once the image is upright" in said
    assert app.button(key="read.turn").label == "Rotate 90° clockwise and re-assess"
    app = pressed(app, "read.turn")
    assert asked == [0, 90]
    assert "Rotated 90° clockwise for display and assessment." in panel(app) and "on its side" not in panel(app)
    assert film_shown(app).turn == 90 and film_shown(app).size == (240, 288)
    app = pressed(app, "read.turn_back")
    assert asked == [0, 90, 0] and "on its side" in panel(app)


def test_warnings_stand_in_one_box_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(
        monkeypatch,
        InputIssue("INVERTED", False, "Black <and> white were exchanged."),
        InputIssue("LOW_CONTRAST", False, "Little contrast."),
    )
    said = panel(drop(open_read(), ("film.png", a_film())))
    assert (
        '<section class="pl-warning"><p>Black &lt;and&gt; white were exchanged.</p><p>Little contrast.</p></section>'
    ) in said


def test_a_verdict_stays_with_its_film_and_can_be_taken_back() -> None:
    app = drop(open_read(), ("a.png", a_film(1)), ("b.png", a_film(2)))
    app = pressed(app, "read.disagree")
    app = app.text_area[0].set_value("  Looks clear to me.  ").run()
    assert film_shown(app).reading == Reading("disagree", "Looks clear to me.")
    assert "Your verdict: disagree" in panel(app)
    app = pressed(app, "read.next")
    assert film_shown(app).reading == Reading() and app.text_area[0].value == ""
    assert not [button for button in app.button if button.key == "read.undo"], "the other film's change"
    app = pressed(app, "read.previous")
    assert app.text_area[0].value == "Looks clear to me."
    app = pressed(app, "read.undo")
    assert film_shown(app).reading == Reading("disagree", "") and app.text_area[0].value == ""
    app = pressed(app, "read.agree")
    app = pressed(app, "read.agree")
    assert film_shown(app).reading.verdict is None, "pressed again, a verdict is taken back"
    assert not [button for button in app.button if button.key == "read.undo"] or pressed(app, "read.undo")


def test_verdict_keys_do_not_collide_with_others() -> None:
    app = drop(open_read(), ("a.png", a_film(1)))
    ours = {button.proto.shortcut.upper() for button in app.button if button.proto.shortcut}
    assert {"Y", "D", "U", "N", "P"} <= ours
    keys = (ROOT / "pages" / "reading" / "viewer_component" / "keys.js").read_text()
    bound = keys.split("const KEYS = {")[1].split("};")[0]
    assert not [key for key in ours if f'"{key.lower()}":' in bound]


def test_downloads_of_a_picture_and_of_a_dicom_file() -> None:
    def downloads(app: AppTest) -> dict[str, bool]:
        return {
            one.proto.label: one.proto.disabled
            for one in app.get("download_button")
            if one.proto.label in ("PDF", "JSON", "DICOM SR", "DICOM SC")
        }

    app = drop(open_read(), ("Doe^Jane.png", a_film()))
    assert downloads(app) == {"PDF": False, "JSON": False, "DICOM SR": True, "DICOM SC": True}
    assert "DICOM SR and SC are available for DICOM files only" in panel(app)
    app = drop(open_read(), ("Doe^Jane.dcm", phantom_dicom()))
    assert not app.exception
    assert downloads(app) == {"PDF": False, "JSON": False, "DICOM SR": False, "DICOM SC": False}
    assert all("Doe" not in str(one.proto) for one in app.get("download_button"))
    film_shown(app).source.data = None
    app = app.run()
    assert downloads(app)["DICOM SR"] and "Add the file again for DICOM" in panel(app)


def test_the_figures_of_the_films_group_stand_beside_the_answer_and_give_the_predictive_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sensitivity, specificity = Measure(0.8, 0.66, 0.89), Measure(0.9, 0.83, 0.94)
    group = GroupResult(
        "age", "18 years and over", 170, 40, 12, 108, 10, Measure(0.9, 0.8, 0.95), sensitivity, specificity, False
    )
    anatomy = Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.01)
    answering(monkeypatch, groups=(group,), anatomy=anatomy)
    said = panel(drop(open_read(), ("adult.png", a_film())))
    assert "18 years and over: specificity 0.90 (0.83–0.94), n = 120 normal; sensitivity 0.80 (0.66–0.89)" in said
    assert said.index("This group on validation") < said.index("Sensitivity")
    expected = predictive_values(sensitivity, specificity, 0.2)
    assert f"{expected.ppv.value:.2f}" in said and "computed from the rates of this group." in said
    assert "Lungs found; the classifier read the whole image." in said
    answering(monkeypatch, groups=(replace(group, tp=0, fn=0, sensitivity=Measure(np.nan, np.nan, np.nan)),))
    said = panel(drop(open_read(), ("adult.png", a_film(1))))
    assert "sensitivity not measured" in said and "of all validation radiographs, not of this group alone" in said


def test_a_group_that_is_read_badly_is_said_once_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Measure(np.nan, np.nan, np.nan)
    group = GroupResult("view", "AP", 60, 0, 30, 30, 0, nothing, nothing, Measure(0.5, 0.38, 0.62), False)
    answering(monkeypatch, OUTSIDE, groups=(group,))
    said = panel(drop(open_read(), ("bedside.png", a_film())))
    assert "Outside the training population</h2>" in said and "This group on validation" not in said

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache

import numpy as np
import pytest

from model.assessment import Assessment, InputIssue, Prediction
from model.card import Calibration, Evaluation, Measure, ModelCard, OperatingPoint
from model.gradcam import grad_cam
from model.radiograph import Radiograph, decode_radiograph
from model.report import report_json, report_pdf
from tests.phantoms import as_png, chest

SEEN_AT = datetime(2026, 11, 21, 8, 1, 30, tzinfo=UTC)
NORMAL = (150, 20, 9, 5, 3, 2, 1, 1, 5, 3)
ILL = (2, 3, 2, 2, 5, 6, 12, 30, 60, 290)
VALIDATION = Evaluation(
    "validation", 611, 403, 18, 181, 9, 0.41,
    {"sensitivity": Measure(0.978, 0.96, 0.99), "specificity": Measure(0.91, 0.862, 0.946),
     "auroc": Measure(0.991, 0.985, 0.996)},
    ((0.0, 0.0), (1.0, 1.0)), ((0.0, 1.0), (1.0, 0.5)), (), NORMAL, ILL)
CARD = ModelCard(
    version="2026.11.21-1", parent=None, created_at="2026-11-21T05:00:00+00:00", weights_file="weights.npz",
    sha256="0123456789abcdef" * 4, architecture="inception_v3", parameters=21_802_784,
    intended_use="Frontal chest radiographs of children of 1–5 years.",
    limitations=("Not for adults.", "One hospital only."), data={}, preprocessing={"input_px": 299, "detail_px": 224},
    training={}, history=(), calibration=Calibration(1.3), operating_point=OperatingPoint(0.41, 0.32, 0.5, "Youden"),
    evaluations={"validation": VALIDATION}, libraries={})


@cache
def film_of(size: tuple[int, int]) -> Radiograph:
    return decode_radiograph(as_png(chest(5, size, pneumonia=True)))


def assessment(probability: float = 0.94, *, near: bool = False, issues: tuple[InputIssue, ...] = (),
               influence: float = 1.0, size: tuple[int, int] = (150, 180)) -> Assessment:
    features = np.zeros((8, 8, 1), np.float32)
    features[3, 2] = influence
    heatmap = grad_cam(features, np.ones(1, np.float32), size)
    prediction = Prediction(2.5, probability, 0.41, near)
    return Assessment(film_of(size), issues, prediction, heatmap, CARD.version, SEEN_AT, 0.4)


def refusal(*, decoded: bool = False) -> Assessment:
    film = film_of((150, 180)) if decoded else None
    issue = InputIssue("UNREADABLE", True, "The file is damaged or incomplete. Export it again.")
    return Assessment(film, (issue,), None, None, CARD.version, SEEN_AT, 0.1)


def lines(pdf: bytes) -> list[str]:
    """What is printed, one entry for each line: the operands of the text operator in the page's content stream."""
    streams = re.findall(rb"/FlateDecode.{0,80}?stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    drawn = b"\n".join(s for s in (_inflated(stream) for stream in streams) if b" Tj" in s)
    texts = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", drawn)
    return [re.sub(rb"\\(.)", rb"\1", text).decode("cp1252") for text in texts]


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def printed(pdf: bytes) -> str:
    return " ".join(lines(pdf))


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def pictures(pdf: bytes) -> int:
    return len(re.findall(rb"/Filter /DCTDecode", pdf))


def test_the_page_says_what_was_found_and_what_it_is_worth():
    pdf = report_pdf(assessment(), CARD)
    text = printed(pdf)
    assert pdf.startswith(b"%PDF-")
    assert pages(pdf) == 1
    assert pictures(pdf) == 2
    for words in (
        "Pneumonia likely", "Probability of pneumonia 0.94, above the operating point 0.41",
        "this radiograph 0.94", "operating point 0.41", "n = 412", "n = 199",
        "0.98 (95 % interval 0.96–0.99)", "403 of 412 radiographs with pneumonia",
        "0.91 (95 % interval 0.86–0.95)", "181 of 199 radiographs without", "0.991 (95 % interval 0.985–0.996)",
        # 0.978·0.2 / (0.978·0.2 + 0.09·0.8) = 0.731;  0.91·0.8 / (0.91·0.8 + 0.022·0.2) = 0.994
        "0.73 and 0.99", "if 20 % of the children have pneumonia",
        "2026-11-21 08:01 UTC", "Classifier 2026.11.21-1 (inception_v3) of 2026-11-21, sha256 0123456789abcdef…",
        "Decision support, not a diagnosis.", "It is not the outline of a lesion.", "Influence map, opacity 50 %",
        "children of 1–5 years", "Not for adults.", "One hospital only.", "180 × 150 px, PNG, 8 bit"):
        assert words in text
    assert f"File sha256 {assessment().radiograph.sha256[:16]}…" in text
    assert "Warnings" not in text


@pytest.mark.parametrize(("probability", "near", "words"), [
    (0.07, False, ("Pneumonia unlikely", "Probability of pneumonia 0.07, below the operating point 0.41")),
    (0.41, False, ("Pneumonia likely", "Probability of pneumonia 0.41, at the operating point 0.41")),
    (0.45, True, ("Near the operating point: read with care", "Between 0.32 and 0.50, small changes")),
    (0.9994, False, ("Probability of pneumonia above 0.99", "this radiograph above 0.99")),
    (0.0004, False, ("Probability of pneumonia below 0.01",)),
    (1.0, False, ("above 0.99",)), (0.0, False, ("below 0.01",)),
])
def test_the_finding_is_said_in_the_words_of_the_screen(probability, near, words):
    text = printed(report_pdf(assessment(probability, near=near), CARD))
    assert all(part in text for part in words)
    assert "positive" not in text and "negative" not in text
    assert "1.00," not in text  # no certainty that rounding made up


@pytest.mark.parametrize("decoded", [False, True])
def test_a_refused_file_gives_a_page_that_says_why_and_no_number(decoded):
    pdf = report_pdf(refusal(decoded=decoded), CARD)
    text = printed(pdf)
    assert pages(pdf) == 1 and pictures(pdf) == int(decoded)
    assert "Not assessed" in text and "The file is damaged or incomplete." in text
    assert "Probability" not in text and "Influence map" not in text and "influence map" not in text
    assert "Sensitivity" not in text
    assert ("The file could not be read" in text) == (not decoded)


def test_the_same_assessment_gives_the_same_bytes_and_another_one_others():
    first = report_pdf(assessment(), CARD)
    assert report_pdf(assessment(), CARD) == first
    assert report_pdf(assessment(0.95), CARD) != first
    assert b"D:20261121080130" in first


def test_the_time_is_printed_in_utc_wherever_it_was_taken():
    elsewhere = replace(assessment(), assessed_at=SEEN_AT.astimezone(timezone(timedelta(hours=8))))
    assert "2026-11-21 08:01 UTC" in printed(report_pdf(elsewhere, CARD))
    assert json.loads(report_json(elsewhere, CARD))["assessed_at"] == "2026-11-21T08:01:30+00:00"


def test_the_influence_map_is_drawn_as_it_was_on_the_screen():
    plain, faint, lined = (report_pdf(assessment(), CARD, **how) for how in (
        {}, {"opacity": 0.1}, {"mode": "contour"}))
    assert len({plain, faint, lined}) == 3
    assert "Influence map, opacity 10 %" in printed(faint)
    assert "Influence map, lines at 40, 60 and 80 %" in printed(lined)


def test_an_empty_influence_map_is_said_to_be_empty():
    pdf = report_pdf(assessment(0.07, influence=-1.0), CARD)
    assert "Influence map: empty, since no region raised the probability." in printed(pdf)
    assert "high influence" not in printed(pdf)


def test_warnings_stand_on_the_page_and_before_the_limits():
    issue = InputIssue("COLOUR", False, "The picture is in colour, so it may not be a radiograph.")
    text = printed(report_pdf(assessment(issues=(issue,)), CARD))
    assert text.index("Warnings") < text.index(issue.message) < text.index("Limits")


@pytest.mark.parametrize("size", [(400, 80), (80, 400), (150, 180), (33, 33)])
def test_a_page_stays_one_page_and_within_its_borders_whatever_it_is_given(size):
    many = tuple(InputIssue(f"CODE{i}", False, f"Warning {i}: " + "what a reader must know " * 8) for i in range(20))
    card = replace(CARD, limitations=tuple(f"Limit {i}: " + "something it cannot do " * 8 for i in range(30)),
                   intended_use="A very long purpose " * 40)
    pdf = report_pdf(assessment(0.45, near=True, issues=many, size=size), card)
    assert pages(pdf) == 1
    assert "Warning 0" in printed(pdf)
    assert re.search(r"and \d+ more, in the JSON report", printed(pdf))
    streams = re.findall(rb"/FlateDecode.{0,80}?stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    drawn = b"\n".join(_inflated(stream) for stream in streams)
    heights = [float(y) for y in re.findall(rb"BT [\d.-]+ ([\d.-]+) Td", drawn)]
    assert len(heights) > 20
    assert min(heights) > 25 and max(heights) < 842 - 25  # points; A4 is 842 high
    assert min(h for h, t in zip(heights, lines(pdf), strict=True) if t.startswith(("Warn", "and "))) > max(
        h for h, t in zip(heights, lines(pdf), strict=True) if t == "Patient")


def test_a_card_without_validation_figures_still_gives_a_page():
    bare = replace(CARD, evaluations={})
    assert "Sensitivity" not in printed(report_pdf(assessment(), bare))
    assert json.loads(report_json(assessment(), bare))["validation"] is None


def test_what_a_sample_does_not_define_is_not_printed_as_a_number():
    nan = float("nan")
    measures = {"sensitivity": Measure(nan, nan, nan), "specificity": Measure(0.9, nan, nan)}
    card = replace(CARD, evaluations={"validation": replace(VALIDATION, measures=measures)})
    text = printed(report_pdf(assessment(), card))
    assert "not defined" in text and "nan" not in text and "PPV" not in text
    validation = json.loads(report_json(assessment(), card))["validation"]
    assert validation["sensitivity"] == {"value": None, "low": None, "high": None}
    assert validation["specificity"] == {"value": 0.9, "low": None, "high": None}
    assert validation["auroc"] is None


def test_characters_that_the_core_fonts_lack_are_replaced_and_others_kept():
    card = replace(CARD, limitations=("Age ≥ 1 and ≤ 5, ±2 × 3 · § – “quoted” − Łódź – 肺 – fi\u202fx (a\\b)",))
    text = printed(report_pdf(assessment(), card))
    assert "Age at least 1 and at most 5, ±2 × 3 · § – “quoted” - ?ódz – ? – fi x (a\\b)" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("arguments", [{"mode": "jet"}, {"opacity": 1.5}, {"opacity": -0.1}])
def test_an_unknown_way_of_drawing_is_refused_even_where_nothing_is_drawn(arguments):
    with pytest.raises(ValueError, match="Received"):
        report_pdf(refusal(), CARD, **arguments)


@pytest.mark.parametrize("write", [report_pdf, report_json])
def test_the_card_of_another_version_is_refused(write):
    with pytest.raises(ValueError, match="expected the card of version 2026.11.21-1. Received: other"):
        write(assessment(), replace(CARD, version="other"))


def test_json_says_the_same_and_its_keys_are_these():
    issue = InputIssue("COLOUR", False, "In colour.")
    seen = assessment(issues=(issue,))
    content = json.loads(report_json(seen, CARD))
    assert content == {
        "schema": "pneumolens.report", "schema_version": 1, "status": "assessed", "words": "Pneumonia likely",
        "finding": "PNEUMONIA", "probability": 0.94, "operating_point": 0.41, "is_near": False, "logit": 2.5,
        "issues": [{"code": "COLOUR", "blocking": False, "message": "In colour."}],
        "radiograph": {"sha256": seen.radiograph.sha256, "width": 180, "height": 150, "bits": 8, "source_format": "PNG",
                       "is_colour": False},
        "influence_map": {"layer": "mixed10", "is_empty": False},
        "classifier": {"version": "2026.11.21-1", "sha256": "0123456789abcdef" * 4, "architecture": "inception_v3",
                       "created_at": "2026-11-21T05:00:00+00:00"},
        "validation": {"split": "validation", "n": 611, "n_pneumonia": 412, "n_normal": 199, "unit": "patient",
                       "operating_point": 0.41, "sensitivity": {"value": 0.978, "low": 0.96, "high": 0.99},
                       "specificity": {"value": 0.91, "low": 0.862, "high": 0.946},
                       "auroc": {"value": 0.991, "low": 0.985, "high": 0.996}},
        "assessed_at": "2026-11-21T08:01:30+00:00", "seconds": 0.4,
        "intended_use": "Frontal chest radiographs of children of 1–5 years.",
        "limitations": ["Not for adults.", "One hospital only."],
        "notices": ["Decision support, not a diagnosis.",
                    "The influence map shows which regions raised the probability, scaled to the strongest of them. "
                    "It is not the outline of a lesion."]}


def test_every_key_of_the_json_is_explained():
    content = json.loads(report_json(assessment(), CARD))
    nested = [key for value in content.values() if isinstance(value, dict) for key in value]
    for key in [*content, *nested]:
        assert re.search(rf"\b{key}\b", report_json.__doc__), key


def test_json_of_a_refusal_has_the_same_keys_without_numbers():
    content = json.loads(report_json(refusal(), CARD))
    assert content.keys() == json.loads(report_json(assessment(), CARD)).keys()
    assert content["status"] == "refused"
    assert content["words"] == "Not assessed: The file is damaged or incomplete. Export it again."
    assert all(content[key] is None for key in (
        "finding", "probability", "operating_point", "is_near", "logit", "radiograph", "influence_map"))


def test_a_probability_of_zero_and_a_finding_that_is_not_near_are_not_null():
    content = json.loads(report_json(assessment(0.0), CARD))
    assert content["probability"] == 0.0 and content["is_near"] is False

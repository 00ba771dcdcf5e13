from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import timedelta, timezone

import cv2
import jsonschema
import numpy as np
import pytest
from pypdf import PdfReader

from imaging.film import Rendering
from model.assessment import EvidenceRegions, InputIssue, Neighbour, Population, Prediction, Reading
from model.card import Measure
from model.lung_zones import NOT_FOUND
from reports.drawing import Drawing
from reports.json_report import report_json, report_pdf
from tests import ROOT
from tests.assessments import (
    CARD,
    NEIGHBOURS,
    OUTSIDE,
    SEEN_AT,
    VALIDATION,
    both_sides,
    drawn,
    film_of,
    framed_assessment,
    full_assessment,
    make_assessment,
    pages,
    pictures,
    printed,
    refused_assessment,
    typed,
)
from tests.fake_classifier import usual_lungs

SCHEMA = json.loads((ROOT / "reports" / "report_schema.json").read_text(encoding="utf-8"))


def test_the_page_says_what_was_found_and_what_it_is_worth():
    pdf = report_pdf(make_assessment(), CARD)
    text = printed(pdf)
    assert pdf.startswith(b"%PDF-")
    assert pages(pdf) == 1
    assert pictures(pdf) == 2
    for words in (
        "Pneumonia likely",
        "Probability of pneumonia 0.94, above the operating point 0.41",
        "this radiograph 0.94",
        "operating point 0.41",
        "n = 412",
        "n = 199",
        "0.98 (95 % interval 0.96–0.99)",
        "403 of 412 radiographs with pneumonia",
        "0.91 (95 % interval 0.86–0.95)",
        "181 of 199 radiographs without",
        "0.991 (95 % interval 0.985–0.996)",
        # 0.978·0.2 / (0.978·0.2 + 0.09·0.8) = 0.731;  0.91·0.8 / (0.91·0.8 + 0.022·0.2) = 0.994
        "0.73 and 0.99",
        "at a prevalence of 20 %",
        "2026-11-21 08:01 UTC",
        "Classifier 2026.11.21-1 (inception_v3) of 2026-11-21.",
        f"Classifier sha256 {CARD.sha256}",
        "Decision support, not a diagnosis.",
        "It is not the outline of a lesion.",
        "Evidence map, opacity 50 %",
        "children of 1–5 years",
        "Not for adults.",
        "One hospital only.",
        "180 × 150 px, PNG, 8 bit",
    ):
        assert words in text
    assert f"File sha256 {make_assessment().radiograph.sha256}" in text
    assert "Warnings" not in text


@pytest.mark.parametrize(
    ("probability", "near", "words"),
    [
        (0.07, False, ("Pneumonia unlikely", "Probability of pneumonia 0.07, below the operating point 0.41")),
        (0.41, False, ("Pneumonia likely", "Probability of pneumonia 0.41, at the operating point 0.41")),
        (0.45, True, ("Borderline (near the threshold)", "Between 0.32 and 0.50, a small change")),
        (0.9994, False, ("Probability of pneumonia > 0.99", "this radiograph > 0.99")),
        (0.0004, False, ("Probability of pneumonia < 0.01",)),
        (1.0, False, ("> 0.99",)),
        (0.0, False, ("< 0.01",)),
    ],
)
def test_the_finding_is_said_in_the_words_of_the_screen(probability, near, words):
    text = printed(report_pdf(make_assessment(probability, near=near), CARD))
    assert all(part in text for part in words)
    assert "positive" not in text and "negative" not in text
    assert "1.00," not in text  # no certainty that rounding made up


@pytest.mark.parametrize("decoded", [False, True])
def test_a_refused_file_gives_a_page_that_says_why_and_no_number(decoded):
    pdf = report_pdf(refused_assessment(decoded=decoded), CARD)
    text = printed(pdf)
    assert pages(pdf) == 1 and pictures(pdf) == int(decoded)
    assert "Not assessed" in text and "The file is damaged or incomplete." in text
    assert "Probability" not in text and "Evidence map" not in text and "evidence map" not in text
    assert "Sensitivity" not in text
    assert ("The file could not be read" in text) == (not decoded)


def test_the_same_assessment_gives_the_same_bytes_and_another_one_others():
    first = report_pdf(make_assessment(), CARD)
    assert report_pdf(make_assessment(), CARD) == first
    assert report_pdf(make_assessment(0.95), CARD) != first
    assert b"D:20261121080130" in first


def test_the_time_is_printed_in_utc_wherever_it_was_taken():
    elsewhere = replace(make_assessment(), assessed_at=SEEN_AT.astimezone(timezone(timedelta(hours=8))))
    assert "2026-11-21 08:01 UTC" in printed(report_pdf(elsewhere, CARD))
    assert json.loads(report_json(elsewhere, CARD))["assessed_at"] == "2026-11-21T08:01:30+00:00"


def test_the_influence_map_is_drawn_as_it_was_on_the_screen():
    plain, faint, lined, chosen, bare = (
        report_pdf(make_assessment(), CARD, drawing=drawing)
        for drawing in (
            Drawing(),
            Drawing(opacity=0.1),
            Drawing("contour"),
            Drawing("contour", levels=(0.2, 0.9)),
            Drawing("contour", levels=()),
        )
    )
    assert len({plain, faint, lined, chosen, bare}) == 5
    assert "Evidence map, opacity 10 %" in printed(faint)
    assert "Evidence map, contours at 40, 60 and 80 % of maximum" in printed(lined)
    assert "Evidence map, contours at 20 and 90 % of maximum" in printed(chosen) and "no contours" in printed(bare)


def test_a_map_against_pneumonia_says_lowered_wherever_it_is_spoken_of():
    assessment = full_assessment(heatmap=both_sides(150, 180))
    text = printed(report_pdf(assessment, CARD, drawing=Drawing(against=True)))
    assert "Evidence map against pneumonia (regions that lowered the probability), opacity 50 %." in text
    assert "The evidence map shows the regions that lowered the probability, scaled to its maximum." in text
    assert "Evidence for pneumonia, not shown: right lower zone 60 %" in text
    assert "raised the probability" not in text
    assert report_pdf(assessment, CARD, drawing=Drawing(against=True)) != report_pdf(assessment, CARD)
    # On the map's own numbers the JSON stays what it was: its keys speak of the map for the finding.
    assert json.loads(report_json(assessment, CARD))["influence_map"]["is_empty"] is False


def test_a_film_on_which_nothing_lowered_the_probability_says_so():
    text = printed(report_pdf(make_assessment(), CARD, drawing=Drawing(against=True)))
    assert "Evidence map against pneumonia: empty; no region lowered the probability." in text
    assert "high evidence" not in text and "raised" not in text


def test_what_speaks_for_nothing_may_speak_against():
    assessment = make_assessment(0.07, evidence=-1.0)
    assert assessment.heatmap.is_empty
    text = printed(report_pdf(assessment, CARD, drawing=Drawing("contour", against=True)))
    assert (
        "Evidence map against pneumonia (regions that lowered the probability), contours at 40, 60 and 80 % of maximum."
        in text
    )
    assert "high evidence" in text


def test_the_greys_are_those_of_the_chosen_rendering_and_the_caption_says_which():
    dark, bright = (
        Rendering(name, np.full(4096, value, np.uint16)) for name, value in (("Doe^Jane", 9000), ("Smith^John", 52000))
    )
    film = replace(film_of((150, 180)), deep=np.zeros((150, 180), np.uint16), renderings=(dark, bright), bits=8)
    assessment = replace(make_assessment(), radiograph=film)
    first, second = report_pdf(assessment, CARD), report_pdf(assessment, CARD, drawing=Drawing(rendering=1))
    assert "Displayed with window" not in printed(first)
    assert "Displayed with window 2 of 2; assessed with window 1." in printed(second)
    assert "Smith" not in printed(second), "what a file calls its windows is free text"
    levels = [
        np.asarray(page.images[0].image.convert("L")).mean()
        for page in (PdfReader(io.BytesIO(pdf)).pages[0] for pdf in (first, second))
    ]
    assert levels[1] == pytest.approx(52000 / 257, abs=2) and levels[0] != pytest.approx(levels[1], abs=20)
    with pytest.raises(IndexError):
        report_pdf(assessment, CARD, drawing=Drawing(rendering=2))


def test_an_empty_influence_map_is_said_to_be_empty():
    pdf = report_pdf(make_assessment(0.07, evidence=-1.0), CARD)
    assert "Evidence map: empty; no region raised the probability." in printed(pdf)
    assert "high evidence" not in printed(pdf)


def test_warnings_stand_on_the_page_and_before_the_limits():
    issue = InputIssue("COLOUR", False, "The picture is in colour, so it may not be a radiograph.")
    text = printed(report_pdf(make_assessment(issues=(issue,)), CARD))
    assert text.index("Warnings") < text.index(issue.message) < text.index("Limitations")


@pytest.mark.parametrize("size", [(400, 80), (80, 400), (150, 180), (33, 33)])
def test_a_page_stays_one_page_and_within_its_borders_whatever_it_is_given(size):
    many = tuple(InputIssue(f"CODE{i}", False, f"Warning {i}: " + "what a reader must know " * 8) for i in range(20))
    card = replace(
        CARD,
        limitations=tuple(f"Limit {i}: " + "something it cannot do " * 8 for i in range(30)),
        intended_use="A very long purpose " * 40,
    )
    pdf = report_pdf(make_assessment(0.45, near=True, issues=many, size=size), card)
    assert pages(pdf) == 1
    assert "Warning 0" in printed(pdf)
    assert re.search(r"and \d+ more, in the JSON report", printed(pdf))
    heights = [line.baseline for line in typed(pdf)]
    assert len(heights) > 20
    assert min(heights) > 25 and max(heights) < 842 - 25  # points; A4 is 842 high
    assert min(line.baseline for line in typed(pdf) if line.text.startswith(("Warn", "and "))) > max(
        line.baseline for line in typed(pdf) if line.text == "Patient"
    )


def test_a_card_without_validation_figures_still_gives_a_page():
    bare = replace(CARD, evaluations={})
    assert "Sensitivity" not in printed(report_pdf(make_assessment(), bare))
    assert json.loads(report_json(make_assessment(), bare))["validation"] is None


def test_what_a_sample_does_not_define_is_not_printed_as_a_number():
    nan = float("nan")
    measures = {"sensitivity": Measure(nan, nan, nan), "specificity": Measure(0.9, nan, nan)}
    card = replace(CARD, evaluations={"validation": replace(VALIDATION, measures=measures)})
    text = printed(report_pdf(make_assessment(), card))
    assert "not defined" in text and "nan" not in text and "PPV" not in text
    validation = json.loads(report_json(make_assessment(), card))["validation"]
    assert validation["sensitivity"] == {"value": None, "low": None, "high": None}
    assert validation["specificity"] == {"value": 0.9, "low": None, "high": None}
    assert validation["auroc"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "jet"},
        {"opacity": 1.5},
        {"opacity": -0.1},
        {"opacity": float("nan")},
        {"levels": (0.0, 0.5)},
        {"levels": (1.1,)},
        {"rendering": -1},
    ],
)
def test_an_unknown_way_of_drawing_is_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        Drawing(**arguments)


def test_a_map_against_needs_the_cells_that_it_is_drawn_from():
    assessment = make_assessment()
    assessment = replace(assessment, heatmap=replace(assessment.heatmap, cells=None))
    assert report_pdf(assessment, CARD)
    with pytest.raises(ValueError, match=r"expected an evidence map with its cells\. Received: one without"):
        report_pdf(assessment, CARD, drawing=Drawing(against=True))


@pytest.mark.parametrize("write", [report_pdf, report_json])
def test_the_card_of_another_version_is_refused(write):
    with pytest.raises(ValueError, match=r"expected the card of version 2026\.11\.21-1\. Received: other"):
        write(make_assessment(), replace(CARD, version="other"))


def test_the_page_holds_everything_beside_the_finding():
    pdf = report_pdf(full_assessment(), CARD, reading=Reading("disagree", "Looks like atelectasis to me."))
    text = printed(pdf)
    assert pages(pdf) == 1
    for words in (
        "Perturbation test: 0.81–0.93; the finding does not change.",
        "DICOM header: 3 years, female, PA view, chest.",
        "Black and white were exchanged.",
        "Corrected before the assessment: inverted, turned by 90°.",
        "Right lower zone 60 %, left upper zone 28 %; outside the thorax 12 % (patient's sides; estimated zones).",
        "Distribution distance 0.62 (limit 1.00).",
        "Nearest training cases (distance): pneumonia 3.11, pneumonia 3.40 and normal 3.90.",
        "The reader disagrees with the finding.",
        "Looks like atelectasis to me.",
        "Signature",
    ):
        assert words in text
    assert "in the JSON report" not in text


def test_a_film_outside_the_population_is_said_to_be_so_before_its_probability_and_without_colour():
    pdf = report_pdf(full_assessment(), CARD)
    outside = report_pdf(
        replace(full_assessment(population=Population(1.84, 1.0, NEIGHBOURS)), issues=(OUTSIDE,)), CARD
    )
    text = printed(outside)
    assert (
        text.index("Outside the training population")
        < text.index("This film is unlike those")
        < (text.index("Probability of pneumonia 0.87"))
    )
    assert "the probability is unreliable" in text and "Distribution distance 1.84 (limit 1.00)" in text
    assert not any(
        words in text
        for words in (
            "Pneumonia likely",
            "this radiograph 0.87",
            "Sensitivity",
            "PPV",
            "the finding does not change",
            "Warnings",
        )
    )
    sizes = {line.text: line.size for line in typed(outside)}
    assert max(sizes, key=sizes.get) == "Outside the training population"
    assert sizes[next(line for line in sizes if line.startswith("Probability of pneumonia"))] <= 8.5
    amber = b"0.7451 0.4784 0.1412 rg"  # what stands for pneumonia on paper
    assert amber in drawn(pdf) and amber not in drawn(outside)


def test_a_purpose_moves_the_operating_point_and_the_figures_that_belong_to_it():
    screened = replace(make_assessment(), prediction=Prediction(0.1, 0.3, 0.2, False, "screening"))
    text = printed(report_pdf(screened, CARD))
    assert "Probability of pneumonia 0.30, above the operating point 0.20 (for screening)" in text
    assert "On validation patients at the operating point 0.20 (for screening)" in text
    # 150 + 20 of 199 normal films lie in the two tenths below 0.2; 2 + 3 of 415 of the ill ones do.
    assert "0.85 (95 % interval" in text and "from the histogram of 199 without" in text
    assert "0.99 (95 % interval" in text and "181 of 199" not in text
    content = json.loads(report_json(screened, CARD))
    assert content["purpose"] == "screening" and content["validation"]["operating_point"] == 0.41
    here = content["validation"]["at_this_operating_point"]
    assert here["operating_point"] == 0.2 and here["specificity"]["value"] == pytest.approx(170 / 199)


def test_predictive_values_follow_the_prevalence():
    text = printed(report_pdf(make_assessment(), CARD, prevalence=0.5))
    # 0.978 / (0.978 + 0.09) = 0.916;  0.91 / (0.91 + 0.022) = 0.976
    assert "0.92 and 0.98" in text and "at a prevalence of 50 %" in text
    here = json.loads(report_json(make_assessment(), CARD, prevalence=0.5))["validation"]["at_this_operating_point"]
    assert here["prevalence"] == 0.5 and here["ppv"] == pytest.approx(0.978 / 1.068)


def test_long_remarks_end_where_the_page_does_and_say_where_the_rest_is():
    remarks = " ".join(f"word{i}" for i in range(3000))
    pdf = report_pdf(full_assessment(), CARD, reading=Reading("agree", remarks))
    text = printed(pdf)
    assert pages(pdf) == 1 and "… (the rest is in the JSON report)" in text
    assert "word0 word1 word2" in text and "word2999" not in text
    assert json.loads(report_json(full_assessment(), CARD, Reading("agree", remarks)))["reading"]["remarks"] == remarks


def test_a_warning_of_influence_outside_the_thorax_is_a_warning():
    text = printed(report_pdf(full_assessment(regions=EvidenceRegions((("right lower zone", 0.3),), 0.7)), CARD))
    assert text.index("Warnings") < text.index("70 % of the evidence is outside the thorax") < text.index("Limitations")


def test_a_thorax_that_was_not_found_is_said_and_no_zone_is():
    assessment = full_assessment(regions=NOT_FOUND)
    for drawing in (Drawing(), Drawing(against=True)):
        text = printed(report_pdf(assessment, CARD, drawing=drawing))
        assert "The thorax was not found, so the evidence was not localised." in text
        assert not any(words in text for words in ("zones", "nan %", "outside the thorax", "not shown here"))
    content = json.loads(report_json(assessment, CARD))
    assert content["influence_map"]["regions"] == {"outside": None, "warning": None, "shares": []}
    jsonschema.Draft202012Validator(SCHEMA).validate(content)


def test_json_says_the_same_and_its_keys_are_these():
    seen = full_assessment()
    content = json.loads(report_json(seen, CARD, Reading("unsure", "Check again.")))
    measures = {name: {"value": m.value, "low": m.low, "high": m.high} for name, m in VALIDATION.measures.items()}
    assert content == {
        "schema": "pneumolens.report",
        "schema_version": 2,
        "status": "assessed",
        "words": "Pneumonia likely",
        "finding": "PNEUMONIA",
        "probability": 0.87,
        "operating_point": 0.41,
        "purpose": "default",
        "is_near": False,
        "logit": 2.5,
        "stability": {
            "low": 0.81,
            "high": 0.93,
            "changes": [{"change": "mirrored", "probability": 0.81}, {"change": "darker", "probability": 0.93}],
        },
        "population": {
            "distance": 0.62,
            "threshold": 1.0,
            "is_outside": False,
            "neighbours": [
                {"label": "PNEUMONIA", "distance": 3.114},
                {"label": "PNEUMONIA", "distance": 3.4},
                {"label": "NORMAL", "distance": 3.9},
            ],
        },
        "groups": [],
        "lungs": None,
        "issues": [{"code": "INVERTED", "blocking": False, "message": "Black and white were exchanged."}],
        "corrections": ["inverted", "turned by 90°"],
        "turn": 0,
        "radiograph": {
            "sha256": seen.radiograph.sha256,
            "width": 180,
            "height": 150,
            "bits": 8,
            "source_format": "PNG",
            "is_colour": False,
            "header": {
                "modality": "CR",
                "view_position": "PA",
                "body_part": "CHEST",
                "laterality": None,
                "age_years": 3.2,
                "sex": "F",
                "photometric": "MONOCHROME2",
                "orientation": ["L", "F"],
                "pixel_mm": [0.15, 0.15],
            },
        },
        "influence_map": {
            "layer": "mixed10",
            "is_empty": False,
            "frame": None,
            "regions": {
                "outside": 0.12,
                "warning": None,
                "shares": [{"zone": "right lower zone", "share": 0.6}, {"zone": "left upper zone", "share": 0.28}],
            },
        },
        "reading": {"verdict": "unsure", "remarks": "Check again."},
        "classifier": {
            "version": "2026.11.21-1",
            "sha256": "0123456789abcdef" * 4,
            "architecture": "inception_v3",
            "created_at": "2026-11-21T05:00:00+00:00",
        },
        "validation": {
            "split": "validation",
            "n": 611,
            "n_pneumonia": 412,
            "n_normal": 199,
            "unit": "patient",
            "operating_point": 0.41,
            **measures,
            "at_this_operating_point": {
                "operating_point": 0.41,
                "sensitivity": measures["sensitivity"],
                "specificity": measures["specificity"],
                "prevalence": 0.2,
                "ppv": pytest.approx(0.1956 / 0.2676),
                "npv": pytest.approx(0.728 / 0.7324),
            },
        },
        "assessed_at": "2026-11-21T08:01:30+00:00",
        "seconds": 0.4,
        "intended_use": "Frontal chest radiographs of children of 1–5 years.",
        "limitations": ["Not for adults.", "One hospital only."],
        "notices": [
            "Decision support, not a diagnosis.",
            "The evidence map shows the regions that raised the probability, scaled to its maximum. "
            "It is not the outline of a lesion.",
        ],
    }


def test_lungs_frame_and_group_stand_in_json_and_on_the_page():
    seen = framed_assessment()
    content = json.loads(report_json(seen, CARD))
    (group,) = content["groups"]
    assert (group["name"], group["n_normal"], group["is_good"]) == ("18 years and over, PA", 120, True)
    assert group["specificity"] == {"value": 0.88, "low": 0.81, "high": 0.93}
    assert group["sensitivity"]["value"] is None
    assert content["lungs"]["found"] and not content["lungs"]["in_doubt"]
    assert content["lungs"]["share_of_image"] == pytest.approx(2 * np.pi * 0.14 * 0.3, rel=0.05)
    frame = content["influence_map"]["frame"]
    assert (frame["x"], frame["y"], frame["tilt_degrees"]) == pytest.approx((0.5, 0.45, 0), abs=0.01)
    text = printed(report_pdf(seen, CARD))
    assert "Lungs found; the classifier read them alone." in text
    assert "18 years and over, PA: specificity 0.88 (0.81–0.93), n = 120 normal; sensitivity not measured" in text
    doubtful = replace(seen, anatomy=replace(seen.anatomy, lungs=usual_lungs(probability=220)))
    assert json.loads(report_json(doubtful, CARD))["lungs"]["in_doubt"]
    assert "Lungs found with doubt; the classifier read the whole thorax." in printed(report_pdf(doubtful, CARD))
    whole = replace(make_assessment(), anatomy=seen.anatomy)
    assert "Lungs found; the classifier read the whole image." in printed(report_pdf(whole, CARD))


def test_the_outline_of_the_lungs_is_drawn_where_the_screen_shows_it_and_the_caption_says_so():
    seen, lungs = framed_assessment(), Drawing(lungs=True)
    plain, outlined = (
        [
            np.asarray(one.image)
            for one in PdfReader(io.BytesIO(report_pdf(seen, CARD, drawing=drawing))).pages[0].images
        ]
        for drawing in (Drawing(), lungs)
    )
    assert np.array_equal(plain[0], outlined[0]), "the radiograph stays as it is"
    changed = np.abs(plain[1].astype(int) - outlined[1]).max(2) > 60
    rows, columns = changed.shape
    inside = cv2.resize(usual_lungs().max(0), (columns, rows)) > 127
    edge, wide = inside.astype(np.uint8), np.ones((25, 25))
    ring = cv2.dilate(edge, wide) > cv2.erode(edge, wide)
    assert changed.any() and not changed[~ring].any()
    assert "Dashed: the lungs as the classifier found them." in printed(report_pdf(seen, CARD, drawing=lungs))
    assert "Dashed" not in printed(report_pdf(make_assessment(), CARD, drawing=lungs)), "nobody looked for them"


def test_a_film_beyond_the_limit_that_gets_a_finding_says_why():
    far = Population(1.3, 1.0, NEIGHBOURS)
    inside = replace(framed_assessment(), population=far)
    why = "Distribution distance 1.30 (limit 1.00). Performance was measured on this group, which decides."
    assert why in printed(report_pdf(inside, CARD))
    outside = replace(make_assessment(issues=(OUTSIDE,)), population=far)
    for other in (outside, replace(refused_assessment(decoded=True), population=far)):
        assert "which decides" not in printed(report_pdf(other, CARD))


def test_json_calls_no_film_outside_the_population_likely_or_unlikely():
    content = json.loads(report_json(make_assessment(issues=(OUTSIDE,)), CARD))
    assert content["status"] == "outside" and content["finding"] is None and content["probability"] == 0.94
    assert content["words"] == "Outside the training population"


def test_the_schema_holds_and_is_strict():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    valid = jsonschema.Draft202012Validator(SCHEMA)
    reports = [
        report_json(full_assessment(), CARD, Reading("agree", "x")),
        report_json(make_assessment(), CARD),
        report_json(refused_assessment(), CARD),
        report_json(refused_assessment(decoded=True), replace(CARD, evaluations={})),
        report_json(make_assessment(0.45, near=True, issues=(OUTSIDE,)), CARD),
        report_json(framed_assessment(), CARD),
    ]
    for report in reports:
        valid.validate(json.loads(report))
    content = json.loads(reports[0])
    for wrong in (
        {"file_name": "Doe_John.dcm"},
        {"finding": "POSITIVE"},
        {"probability": 1.2},
        {"status": "refused"},
        {"assessed_at": "2026-11-21 08:01"},
        {"schema_version": 1},
        {"radiograph": {**content["radiograph"], "patient": "Doe"}},
    ):
        assert not valid.is_valid({**content, **wrong}), wrong
    assert all(not valid.is_valid({k: v for k, v in content.items() if k != key}) for key in content)


def test_every_object_of_the_schema_is_closed_and_names_what_it_requires():
    def objects(part):
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                yield part
            for value in part.values():
                yield from objects(value)
        elif isinstance(part, list):
            for value in part:
                yield from objects(value)

    found = list(objects(SCHEMA))
    assert len(found) >= 12
    for one in found:
        assert one["additionalProperties"] is False and set(one["required"]) == set(one["properties"])


def test_json_holds_no_number_that_json_lacks_and_no_half_characters():
    odd = replace(
        full_assessment(population=Population(float("nan"), float("inf"), (Neighbour("NORMAL", float("nan")),)))
    )
    text = report_json(replace(odd, seconds=float("inf")), CARD, Reading(None, "half \ud83d of a pair"))
    content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert content["population"]["distance"] is None and content["seconds"] is None
    assert text.encode("utf-8")
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    assert pages(report_pdf(odd, CARD)) == 1


def test_json_of_a_refusal_has_the_same_keys_without_numbers():
    content = json.loads(report_json(refused_assessment(), CARD))
    assert content.keys() == json.loads(report_json(make_assessment(), CARD)).keys()
    assert content["status"] == "refused"
    assert content["words"] == "Not assessed: The file is damaged or incomplete. Export it again."
    assert all(
        content[key] is None
        for key in (
            "finding",
            "probability",
            "operating_point",
            "purpose",
            "is_near",
            "logit",
            "radiograph",
            "influence_map",
            "stability",
            "population",
            "reading",
        )
    )


def test_a_probability_of_zero_and_a_finding_that_is_not_near_are_not_null():
    content = json.loads(report_json(make_assessment(0.0), CARD))
    assert content["probability"] == 0.0 and content["is_near"] is False

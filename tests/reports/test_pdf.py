from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.assessment import EvidenceRegions, InputIssue, Neighbour, Population, Prediction, Reading, Stability
from model.card import OperatingPoint
from reports.drawing import Drawing
from reports.json_report import report_json, report_pdf
from reports.typefaces import REPLACEMENT
from tests.assessments import (
    CARD,
    HEADER,
    OUTSIDE,
    drawn,
    full_assessment,
    make_assessment,
    pages,
    printed,
    refused_assessment,
    typed,
)

_IMAGE = re.compile(rb"q ([\d.-]+) 0 0 ([\d.-]+) ([\d.-]+) ([\d.-]+) cm /I\d+ Do Q")
# A4 in points, and the margin that the page keeps.
_WIDTH, _HEIGHT, _MARGIN = 595.3, 841.9, 28.0


def boxes(pdf: bytes) -> list[tuple[float, float, float, float]]:
    """(left, bottom, right, top) of every line of text and every picture, in points."""
    found = [
        (one.left, one.baseline - 0.25 * one.size, one.right, one.baseline + 0.75 * one.size) for one in typed(pdf)
    ]
    for wide, tall, x, y in _IMAGE.findall(drawn(pdf)):
        low = min(float(y), float(y) + float(tall))
        found.append((float(x), low, float(x) + float(wide), low + abs(float(tall))))
    return found


SAID = st.text(st.characters(codec="utf-8"), max_size=600)
WORDS = st.one_of(
    SAID, st.sampled_from(["", "x" * 400, "肺炎の疑い。" * 80, "word " * 300, "Zażółć\n" * 40, "التهاب رئوي"])
)
SHARE = st.floats(0, 1)


@given(
    remarks=WORDS,
    verdict=st.sampled_from([None, "agree", "disagree", "unsure"]),
    messages=st.lists(WORDS, max_size=6),
    corrections=st.lists(SAID, max_size=3).map(tuple),
    probability=SHARE,
    near=st.booleans(),
    outside=st.booleans(),
    low=SHARE,
    limits=st.lists(WORDS, max_size=5).map(tuple),
    use=WORDS,
    shares=st.lists(st.tuples(st.text(min_size=1, max_size=30), SHARE), max_size=7).map(tuple),
    beyond=SHARE,
    distances=st.lists(st.floats(), max_size=3),
    size=st.sampled_from([(150, 180), (90, 400), (400, 90)]),
    architecture=st.sampled_from(["inception_v3", "a_package.of_ours:a_network_with_a_long_name_" * 3]),
    mode=st.sampled_from(["overlay", "contour"]),
    against=st.booleans(),
    levels=st.lists(st.floats(0.01, 1), max_size=20).map(tuple),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_page_stays_one_and_nothing_leaves_it_whatever_is_said(
    remarks,
    verdict,
    messages,
    corrections,
    probability,
    near,
    outside,
    low,
    limits,
    use,
    shares,
    beyond,
    distances,
    size,
    architecture,
    mode,
    against,
    levels,
):
    issues = tuple(InputIssue("CROPPED", False, message) for message in messages)
    assessment = make_assessment(
        probability,
        near=near,
        issues=(*issues, *((OUTSIDE,) if outside else ())),
        size=size,
        corrections=corrections,
        stability=Stability(low, max(low, probability), (("mirrored", low),)),
        population=Population(distances[0], 1.0, tuple(Neighbour("NORMAL", d) for d in distances))
        if distances
        else None,
        regions=EvidenceRegions(shares, beyond),
    )
    assessment = replace(assessment, radiograph=replace(assessment.radiograph, header=HEADER))
    card = replace(CARD, limitations=limits, intended_use=use, architecture=architecture)
    pdf = report_pdf(
        assessment, card, reading=Reading(verdict, remarks), drawing=Drawing(mode, against=against, levels=levels)
    )
    assert pages(pdf) == 1
    everywhere = boxes(pdf)
    assert len(everywhere) > 15
    assert min(left for left, *_ in everywhere) >= _MARGIN and min(box[1] for box in everywhere) >= _MARGIN - 4
    assert max(box[2] for box in everywhere) <= _WIDTH - _MARGIN and max(box[3] for box in everywhere) <= _HEIGHT - 25
    assert report_json(assessment, card, Reading(verdict, remarks))


@given(st.lists(WORDS, min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_a_refusal_stays_one_page_whatever_the_reasons(reasons):
    assessment = replace(
        refused_assessment(decoded=True), issues=tuple(InputIssue("NOT_FRONTAL", True, reason) for reason in reasons)
    )
    pdf = report_pdf(assessment, CARD, reading=Reading(None, "Seen."))
    assert pages(pdf) == 1 and min(box[1] for box in boxes(pdf)) >= _MARGIN - 4


def test_lines_do_not_run_into_each_other_with_everything_present():
    pdf = report_pdf(full_assessment(), CARD, reading=Reading("agree", "Left lower zone. " * 12))
    lines = sorted((box for box in boxes(pdf) if box[3] - box[1] < 30), key=lambda box: box[1])
    for one in lines:
        for other in lines:
            if one is not other and one[0] < other[2] and other[0] < one[2]:
                height = min(one[3] - one[1], other[3] - other[1])
                assert min(one[3], other[3]) - max(one[1], other[1]) < 0.45 * height, (one, other)


def test_pictures_give_way_to_words_and_not_further_than_needed():
    few, many = (
        max(box[3] - box[1] for box in boxes(report_pdf(assessment, CARD, reading=said)))
        for assessment, said in (
            (make_assessment(), None),
            (full_assessment(), Reading("agree", "A long remark. " * 80)),
        )
    )
    assert few > 80 * 2.5 and 140 < many < few


@pytest.mark.parametrize(
    ("remarks", "shown"),
    [
        ("Hello 🫁🫁", f"Each {REPLACEMENT} above stands for a character that cannot be printed here (2 in all)"),
        ("Zagęszczenia w dolnym płacie", None),
        ("التهاب رئوي", None),
    ],
)
def test_characters_without_a_glyph_are_counted_below_the_remarks(remarks, shown):
    text = printed(report_pdf(full_assessment(), CARD, reading=Reading(None, remarks)))
    assert ("cannot be printed" in text) == (shown is not None) == (REPLACEMENT in text)
    assert shown is None or shown in text


@pytest.mark.parametrize("point", [0.03, 0.13, 0.41, 0.9, 0.99])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.16, 0.28, 0.45, 0.88, 0.97, 1.0])
def test_the_label_of_the_operating_point_is_crossed_by_no_line(point, probability):
    assessment = replace(make_assessment(), prediction=Prediction(0.1, probability, point, False))
    pdf = report_pdf(assessment, replace(CARD, operating_point=OperatingPoint(point, point, point, "")))
    label = next(line for line in typed(pdf) if line.text == f"operating point {point:.2f}")
    x, end = label.left, label.right
    assert x > 42 and end < _WIDTH - 42
    left, across = (15 + 27) * 72 / 25.4, (180 - 27 - 2) * 72 / 25.4
    assert all(not x < left + value * across < end for value in (probability, point))
    if point < 0.8 and probability != point:  # there is room on one side of its own line
        assert min(abs(x - left - point * across), abs(end - left - point * across)) < 5

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from pypdf import PdfReader

from imaging.film import Radiograph
from model.assessment import Assessment, InputIssue, Prediction
from reports.json_report import report_pdf
from reports.pdf_collection import Entry, collection
from tests.fake_classifier import fake_card

CARD = fake_card()
OUTSIDE = InputIssue("OUTSIDE_POPULATION", False, "Unlike the films that the classifier has learned from.")


def an_assessment(number: int, *issues: InputIssue) -> Assessment:
    radiograph = Radiograph(np.full((60, 70), number, np.uint8), f"{number:064x}", "PNG")
    prediction = None if any(issue.blocking for issue in issues) else Prediction(1.0, 0.83, 0.5, False)
    return Assessment(
        radiograph, issues, prediction, None, CARD.version, datetime(2026, 11, 21, 12, number % 60, tzinfo=UTC), 0.1
    )


def whole(*assessments: Assessment, numbers: tuple[int, ...] | None = None) -> PdfReader:
    entries = [
        Entry(number, one.radiograph.sha256 if one.radiograph else "", one)
        for number, one in zip(numbers or range(1, len(assessments) + 1), assessments, strict=True)
    ]
    begun = collection(entries)
    for one in assessments:
        begun.add(report_pdf(one, CARD))
    return PdfReader(io.BytesIO(begun.content()))


def test_a_table_stands_before_a_page_for_each_film() -> None:
    pdf = whole(
        an_assessment(1),
        an_assessment(2, OUTSIDE),
        an_assessment(3, InputIssue("CLIPPED", True, "Clipped.")),
        numbers=(7, 8, 9),
    )
    assert len(pdf.pages) == 4
    table = pdf.pages[0].extract_text()
    for words in (
        "3 radiographs",
        "Decision support, not a diagnosis.",
        "Outside the training population",
        "Not assessed",
        "Pneumonia likely",
        f"{1:064x}"[:16],
        "2026-11-21 12:01 UTC",
    ):
        assert words in table
    assert table.count("0.83") == 1, "only the film inside the population has its probability in the table"
    assert [
        page.extract_text().count(f"{number:064x}") for number, page in zip((1, 2, 3), pdf.pages[1:], strict=True)
    ] == [1, 1, 1]
    assert [one.title.split(",")[0] for one in pdf.outline] == [
        "All radiographs",
        "Radiograph 7",
        "Radiograph 8",
        "Radiograph 9",
    ]


def test_the_tables_page_numbers_are_right_when_it_takes_several_pages() -> None:
    films = [an_assessment(number) for number in range(90)]
    begun = collection([Entry(k, f"{k:064x}", one) for k, one in enumerate(films)])
    page = report_pdf(films[0], CARD)
    for _ in films:
        begun.add(page)
    pdf = PdfReader(io.BytesIO(begun.content()))
    front = len(pdf.pages) - 90
    assert front == 3
    text = " ".join(one.extract_text() for one in pdf.pages[:front]).split()
    assert str(front + 1) in text and str(front + 90) in text and str(front + 91) not in text
    assert sum(one.extract_text().count("Pneumonia likely") for one in pdf.pages[:front]) == 90


def test_a_collection_is_whole_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="at least one radiograph"):
        collection([])
    begun = collection([Entry(1, "ab" * 32, an_assessment(1)), Entry(2, "cd" * 32, an_assessment(2))])
    begun.add(report_pdf(an_assessment(1), CARD))
    with pytest.raises(ValueError, match=r"expected 2 pages\. Received: 1"):
        begun.content()

from __future__ import annotations

import csv
import io
import json
import time

import pytest
from pypdf import PdfReader

from model.assessment import InputIssue, Reading
from model.listing import ASIDE
from pages.reading.exports import ReportContext, films_csv, films_json, printing, seen
from pages.reading.films import Film, annotate
from pages.reading.queue import PROBABILITY, FilmQueue
from reports.drawing import Drawing
from tests.pages.performance.test_performance import a_card
from tests.pages.reading.test_films import nothing_held as nothing_held
from tests.pages.reading.test_queue import LIKE_NONE, filled, film

CONTEXT = ReportContext(a_card, "default", lambda: 0.2)
PATIENT = "Doe^Jane 2021-01-01.png"


@pytest.fixture
def queue() -> FilmQueue:
    films = filled(
        film(PATIENT, 0.3, seed=1),
        film("=cmd|' /C calc'!A0", 0.9, LIKE_NONE, seed=2),
        film("bad", None),
        film("d", 0.9, InputIssue("LOW_CONTRAST", False, "Flat."), seed=3),
    )
    films.order = PROBABILITY
    annotate(films.films[0], reading=Reading("disagree", '=HYPERLINK("http://x")'))
    return films


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_calls_films_by_number_and_checksum(queue: FilmQueue) -> None:
    text = films_csv(queue.ordered(), CONTEXT)
    assert "Doe" not in text and "cmd" not in text and "bad" not in text
    found = rows(text)
    assert [row["number"] for row in found] == ["4", "1", "2", "3"], "in the shown order"
    assert [row["finding"] for row in found] == ["PNEUMONIA", "NO_PNEUMONIA", "", ""]
    assert [row["status"] for row in found] == ["assessed", "assessed", "outside", "refused"]
    assert [row["probability"] for row in found] == ["0.9", "0.3", "", ""] and found[2][ASIDE] == "0.9"
    assert [row["sha256"] for row in found] == [one.sha256 for one in queue.ordered()], "of unreadable files, too"
    assert found[1]["verdict"] == "disagree" and found[1]["reader_remarks"].startswith("'=")


def test_file_names_come_in_only_when_asked_for_and_never_as_a_formula(queue: FilmQueue) -> None:
    found = rows(films_csv(queue.ordered(), CONTEXT, with_names=True))
    assert [row["file"] for row in found] == ["d", PATIENT, "'=cmd|' /C calc'!A0", "bad"]


def test_the_json_holds_each_films_report(queue: FilmQueue) -> None:
    text = films_json(queue.ordered(), CONTEXT)
    assert "Doe" not in text
    content = json.loads(text)
    assert content["schema"] == "pneumolens.reports" and [one["number"] for one in content["films"]] == [4, 1, 2, 3]
    reports = [one["report"] for one in content["films"]]
    assert [report["status"] for report in reports] == ["assessed", "assessed", "outside", "refused"]
    assert reports[2]["finding"] is None and reports[1]["reading"]["verdict"] == "disagree"
    assert (reports[0]["radiograph"]["width"], reports[0]["radiograph"]["height"]) == (70, 60)


def test_findings_follow_the_chosen_operating_point(queue: FilmQueue) -> None:
    from model.card import PurposePoint

    card = a_card("v-1", purposes=(PurposePoint("screening", 0.05, 0.99, 0.5, "by hand"),))
    assert (
        rows(films_csv(queue.films, ReportContext(lambda _: card, "screening", lambda: 0.2)))[0]["finding"]
        == "PNEUMONIA"
    )
    assert (
        rows(films_csv(queue.films, ReportContext(lambda _: card, "rule_in", lambda: 0.2)))[0]["purpose"] == "default"
    )


def test_the_pdf_is_printed_page_by_page(queue: FilmQueue) -> None:
    made = printing(queue.ordered(), CONTEXT, Drawing(rendering=3))
    assert made.seconds_left() is None
    while made.content is None:
        before = made.done
        made.print_until(CONTEXT, until=time.monotonic() - 1)
        assert made.done == before + 1, "one page, since there is no time for more"
    pdf = PdfReader(io.BytesIO(made.content))
    assert len(pdf.pages) == 5 and made.seconds_left() == 0
    text = " ".join(page.extract_text() for page in pdf.pages)
    assert "Doe" not in text and queue.films[2].sha256[:16] in text


def test_a_pdf_of_something_else_is_told_apart(queue: FilmQueue) -> None:
    before = seen(queue.ordered(), CONTEXT)
    assert before == seen(queue.ordered(), CONTEXT)
    assert before != seen(queue.films, CONTEXT), "another order"
    assert before != seen(queue.ordered(), ReportContext(CONTEXT.card_of, "screening", lambda: 0.2))
    assert before != seen(queue.ordered(), ReportContext(CONTEXT.card_of, "default", lambda: 0.3))
    annotate(queue.films[3], reading=Reading("agree"))
    assert before != seen(queue.ordered(), CONTEXT)
    queue.add(film("e", seed=4))
    assert isinstance(queue.films[-1], Film) and len(seen(queue.ordered(), CONTEXT)) == len(before) + 1

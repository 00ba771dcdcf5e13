from __future__ import annotations

import re

import numpy as np
import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.pdf_text import line_picture, printable, set_lines, shortened, text, unprintable, width_of, wrapped
from tests.assessments import lines, pictures


def page() -> FPDF:
    pdf = FPDF(format="A4")
    pdf.core_fonts_encoding = "cp1252"
    pdf.set_auto_page_break(False)
    pdf.add_page()
    return pdf


def images(pdf: bytes) -> list[bytes]:
    return re.findall(rb"/Subtype /Image", pdf)


@pytest.mark.parametrize(
    "words",
    [
        "Zagęszczenia w dolnym płacie",
        "Sağ alt zonda şüpheli infiltrasyon",
        "Инфильтрация слева",
        "Πύκνωση αριστερά",
        "左下肺野见斑片状影",
        "右下葉に浸潤影がある",
        "좌하엽 폐렴 의심",
        "Viêm phổi thùy dưới",
        "5–3 “quoted” …",
    ],
)
def test_what_a_font_holds_is_printed_as_it_is(words):
    assert printable(words) == words and unprintable(words) == 0


@pytest.mark.parametrize(
    ("words", "set_as", "lost"),
    [
        ("التهاب", "??????", 6),
        ("דלקת", "????", 4),
        ("น่าน", "????", 4),
        ("ok 🫁", "ok ?", 1),
        ("a\x00b\u200bc", "abc", 0),
        ("≥ 1 and ≤ 5", "at least 1 and at most 5", 0),
        ("fi\u202fx\t y", "fi\u00a0x y", 0),
        ("e\u0301", "é", 0),
        ("(a\\b)", "(a\\b)", 0),
        ("\ud83d", "?", 1),
    ],
)
def test_what_no_font_holds_is_replaced_and_counted(words, set_as, lost):
    assert re.sub(" +", " ", printable(words)) == set_as
    assert unprintable(words) == lost


def test_other_scripts_are_pictures_with_their_text_and_latin_text_stays_text():
    plain, other = page(), page()
    text(plain, 20, 20, "Consolidation", 8.5)
    text(other, 20, 20, "Zagęszczenia", 8.5)
    plain, other = bytes(plain.output()), bytes(other.output())
    assert lines(plain) == ["Consolidation"] and not images(plain)
    assert not lines(other) and len(images(other)) == 1 and pictures(other) == 0
    assert b"/Alt" in other


def test_a_line_of_every_script_leaves_ink_and_no_two_the_same():
    drawn = [line_picture(words, 40) for words in ("płuco", "плпло", "πνεύμ", "肺肺肺", "폐폐폐", "?????")]
    assert all(one.max() > 200 and one.min() == 0 for one in drawn)
    widths = {one.shape[1] for one in drawn}
    assert len({one.tobytes() for one in drawn}) == 6 and len(widths) > 3


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.sampled_from([30.0, 87.0, 153.0]))
@settings(max_examples=150, deadline=None)
def test_lines_are_never_wider_than_their_column_and_lose_nothing(words, width):
    pdf = page()
    broken = wrapped(words, width, 8.5, most=10_000)
    assert all(width_of(pdf, line, 8.5) <= width + 0.8 for line in broken)
    assert "".join("".join(broken).split()) == "".join(printable(words, keep_breaks=True).split())
    set_lines(pdf, 20, 20, broken, 8.5)
    assert pdf.page == 1


def test_words_longer_than_a_line_are_broken_and_breaks_are_kept():
    assert len(wrapped("x" * 300, 87, 8.5)) > 4
    assert wrapped("one\ntwo\r\n\r\nthree  ", 87, 8.5) == ["one", "two", "", "three"]
    assert wrapped("", 87, 8.5) == [""]


def test_a_line_does_not_begin_with_closing_punctuation():
    broken = wrapped("肺野に浸潤影。" * 30, 60, 8.5)
    assert len(broken) > 5 and not any(line.startswith("。") for line in broken)


def test_wrapping_stops_at_the_line_limit_even_within_one_word():
    assert len(wrapped("x" * 1_000_000, 87, 8.5, most=20)) == 21
    assert len(wrapped("word " * 200_000, 87, 8.5, most=20)) == 21


def test_a_shortened_text_says_so_within_its_width():
    pdf = page()
    cut = shortened(pdf, 87, wrapped("a word and another " * 40, 87, 8.5)[:3], 8.5, "… (the rest elsewhere)")
    assert len(cut) == 3 and cut[-1].endswith("… (the rest elsewhere)")
    assert all(width_of(pdf, line, 8.5) <= 87 for line in cut)


def test_bold_type_is_wider_in_both_fonts():
    pdf = page()
    for words in ("Remarks", "Uwagi: płuco"):
        assert width_of(pdf, words, 10, True) > width_of(pdf, words, 10)
    assert np.count_nonzero(line_picture("płuco", 40, bold=True) > 128) > np.count_nonzero(
        line_picture("płuco", 40) > 128
    )

from __future__ import annotations

import io
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from reports.pdf_text import INK, new_page, set_lines, shortened, text, width_of, wrapped
from reports.typefaces import printable
from tests.assessments import lines, pages, typed

SENTENCES = {
    "Polish": "Zagęszczenia w dolnym płacie",
    "Turkish": "Sağ alt zonda şüpheli infiltrasyon",
    "Russian": "Инфильтрация слева, Сидорова Анна",
    "Greek": "Πύκνωση αριστερά",
    "Chinese": "王小明 左下肺野见斑片状影",
    "Japanese": "山田太郎 右下葉に浸潤影がある",
    "Korean": "김철수 좌하엽 폐렴 의심",
    "Vietnamese": "Viêm phổi thùy dưới",
    "Arabic": "محمد علي التهاب رئوي",
    "Persian": "ذات\u200cالریه سمت چپ",
    "Hebrew": "דלקת ריאות",
    "Thai": "สมชาย ปอดอักเสบ",
    "Hindi": "निमोनिया दाहिना फेफड़ा",
    "symbols": "5–3 “quoted” … ≥ 1 → ≤ 5 − 2",
}
# A viewer may add a space where one syllable takes several glyphs.
SYLLABLES = {"Hindi"}
RIGHT_TO_LEFT = {"Arabic", "Persian", "Hebrew"}


def page() -> FPDF:
    return new_page("A page", datetime(2026, 12, 1, tzinfo=UTC))


def one_line(words: str) -> bytes:
    pdf = page()
    text(pdf, 20, 20, words, 8.5)
    return bytes(pdf.output())


@pytest.mark.parametrize("language", SENTENCES)
def test_text_of_every_script_is_copied_as_it_was_written(language):
    words = SENTENCES[language]
    pdf = one_line(words)
    found = PdfReader(io.BytesIO(pdf)).pages[0].extract_text()
    if language in RIGHT_TO_LEFT:  # drawn from left to right; a viewer turns each word round
        found = "".join(lines(pdf))[::-1]
        words = words.replace("\u200c", "")
    found = found.replace("\u200c", "")
    if language in SYLLABLES:
        found = "".join(lines(pdf))
    assert sorted(found.split()) == sorted(words.split())
    assert not PdfReader(io.BytesIO(pdf)).pages[0].images


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs poppler's pdftotext, another implementation")
@pytest.mark.parametrize("language", sorted(SENTENCES.keys() - SYLLABLES))
def test_poppler_gives_the_same_text(language, tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(one_line(SENTENCES[language]))
    done = subprocess.run(["pdftotext", tmp_path / "a.pdf", "-"], capture_output=True, text=True, check=True)
    found = done.stdout.translate(dict.fromkeys(map(ord, "\u202a\u202b\u202c\u200c\f")))
    assert found.split() == SENTENCES[language].replace("\u200c", "").split()


def test_only_the_fonts_that_are_needed_are_embedded_and_as_subsets():
    plain, chinese = one_line("Consolidation"), one_line("左下肺野 consolidation")
    names = [
        {
            str(font.get_object()["/BaseFont"])
            for font in PdfReader(io.BytesIO(pdf)).pages[0]["/Resources"]["/Font"].values()
        }
        for pdf in (plain, chinese)
    ]
    assert [len(one) for one in names] == [1, 2] and names[0] < names[1]
    assert all("+" in name for name in names[1]) and len(chinese) < 20_000


def test_a_line_in_several_typefaces_leaves_the_next_line_its_own():
    pdf = page()
    pdf.set_fill_color(*INK)  # as a drawing before it may
    text(pdf, 20, 20, "before", 8.5)
    text(pdf, 20, 30, "肺 محمد", 8.5)
    text(pdf, 20, 40, "after", 8.5)
    first, _, last = typed(bytes(pdf.output()))
    assert (first.text, last.text) == ("before", "after")


def test_arabic_letters_join_and_run_from_right_to_left():
    (line,) = typed(one_line("ببب"))
    apart = 3 * width_of("ب", 8.5) * 72 / 25.4
    assert line.right - line.left < 0.8 * apart, "joined letters are narrower than three alone"
    assert lines(one_line("שלום abc"))[0].startswith("abc") or "".join(lines(one_line("שלום abc")))[-1] == "ש"


def test_every_line_has_the_direction_of_its_paragraph():
    pdf = page()
    broken = wrapped("Name / " + "محمد / " * 30, 40, 8.5)
    set_lines(pdf, 20, 20, 40, broken, 8.5)
    printed = typed(bytes(pdf.output()))
    assert len(printed) > 2 and all(line.left == pytest.approx(20 * 72 / 25.4, abs=0.1) for line in printed)
    assert any(line.startswith("\u200e") for line in broken[1:])


def test_a_line_from_right_to_left_ends_at_the_columns_right_edge():
    pdf = page()
    set_lines(pdf, 20, 20, 100, ["דלקת", "left"], 8.5)
    hebrew, latin = typed(bytes(pdf.output()))
    assert hebrew.right == pytest.approx(120 * 72 / 25.4, abs=0.5) and latin.left == pytest.approx(
        20 * 72 / 25.4, abs=0.1
    )


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.sampled_from([30.0, 87.0, 153.0]))
@settings(max_examples=60, deadline=None)
def test_lines_are_never_wider_than_their_column_and_lose_nothing(words, width):
    broken = wrapped(words, width, 8.5, most=10_000)
    assert all(width_of(line, 8.5) <= width + 0.8 for line in broken)
    kept = "".join(broken).translate(dict.fromkeys(map(ord, "\u200e\u200f")))
    assert "".join(kept.split()) == "".join(printable(words, keep_breaks=True).split())
    pdf = page()
    set_lines(pdf, 20, 20, width, broken, 8.5)
    assert pages(bytes(pdf.output())) == 1


@pytest.mark.parametrize("language", SENTENCES)
def test_a_line_is_as_wide_as_it_was_measured(language):
    words = SENTENCES[language]
    (line,) = typed(one_line(words))
    assert (line.right - line.left) * 25.4 / 72 == pytest.approx(width_of(words, 8.5), rel=0.02, abs=0.3)


def test_words_longer_than_a_line_are_broken_and_breaks_are_kept():
    assert len(wrapped("x" * 300, 87, 8.5)) > 4
    assert wrapped("one\ntwo\r\n\r\nthree  ", 87, 8.5) == ["one", "two", "", "three"]
    assert wrapped("", 87, 8.5) == [""]


def test_no_line_begins_with_a_mark_that_belongs_to_the_letter_before():
    broken = wrapped("น้ำที่" * 60, 40, 8.5)
    assert len(broken) > 3 and not any(line[0] in "\u0e31\u0e34\u0e35\u0e48\u0e49" for line in broken)


def test_a_line_does_not_begin_with_closing_punctuation():
    broken = wrapped("肺野に浸潤影。" * 30, 60, 8.5)
    assert len(broken) > 5 and not any(line.startswith("。") for line in broken)


def test_wrapping_stops_at_the_line_limit_even_within_one_word():
    assert len(wrapped("x" * 1_000_000, 87, 8.5, most=20)) == 21
    assert len(wrapped("word " * 200_000, 87, 8.5, most=20)) == 21


def test_a_shortened_text_says_so_within_its_width():
    cut = shortened(87, wrapped("a word and another " * 40, 87, 8.5)[:3], 8.5, "… (the rest elsewhere)")
    assert len(cut) == 3 and cut[-1].endswith("… (the rest elsewhere)")
    assert all(width_of(line, 8.5) <= 87 for line in cut)


def test_bold_type_is_wider_and_falls_back_to_regular_letters():
    assert width_of("Remarks", 10, True) > width_of("Remarks", 10)
    pdf = page()
    text(pdf, 20, 20, "Uwagi: płuco", 10, bold=True)
    assert "".join(lines(bytes(pdf.output()))) == "Uwagi: płuco"

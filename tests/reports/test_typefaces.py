from __future__ import annotations

import re

import pytest

from reports.typefaces import REPLACEMENT, count_missing, em_width, printable, runs


@pytest.mark.parametrize(
    ("words", "shown", "missing"),
    [
        ("ok 🫁", f"ok {REPLACEMENT}", 1),
        ("a\x00b\u200bc", "abc", 0),
        ("\u202eevil", "evil", 0),
        ("fi\u202fx\t y", "fi\u00a0x y", 0),
        ("e\u0301", "é", 0),
        ("(a\\b)", "(a\\b)", 0),
        ("\ud83d", REPLACEMENT, 1),
        ("a\u200cb", "ab", 0),
        ("ذات\u200cالریه", "ذات\u200cالریه", 0),
        ("  many   spaces ", "many spaces", 0),
        (f"already {REPLACEMENT}", f"already {REPLACEMENT}", 0),
    ],
)
def test_a_character_without_a_glyph_is_replaced_visibly_and_counted(words, shown, missing):
    assert re.sub(" +", " ", printable(words)) == shown
    assert count_missing(words) == missing


def test_a_line_is_split_by_typeface_and_no_latin_word_is():
    assert [(run.typeface.name, run.text) for run in runs("płuco 肺 폐")] == [
        ("NotoSans-Regular", "płuco "),
        ("DroidSansFallback-Common", "肺"),
        ("NotoSans-Regular", " "),
        ("DroidSansFallback-Hangul", "폐"),
    ]
    assert [run.typeface.name for run in runs("lung")] == ["NotoSans-Latin"] and runs("") == []


def test_every_han_character_of_the_basic_plane_has_a_glyph():
    assert count_missing("".join(map(chr, range(0x4E00, 0x9FA6)))) == 0
    assert count_missing("".join(map(chr, range(0xAC00, 0xD7A4)))) == 0


def test_widths_add_up_over_typefaces():
    assert em_width("płuco 肺") == pytest.approx(em_width("płuco ") + em_width("肺")) and em_width("肺") == 1

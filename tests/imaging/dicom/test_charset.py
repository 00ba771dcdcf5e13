"""Text in the character sets of the standard: its own examples, what pydicom writes, and what breaks the rules."""

from __future__ import annotations

import doctest
import struct
import warnings
from pathlib import Path

import pydicom
import pytest

from imaging.dicom import charset
from imaging.dicom.charset import decode_text, defined_terms
from imaging.dicom.elements import Tag, read_elements
from imaging.radiograph import decode_radiograph
from tests.dicoms import code, dx_dicom, phantom_dicom

SIZE = (40, 48)


def test_the_examples_hold() -> None:
    failed, tried = doctest.testmod(charset)
    assert failed == 0 and tried > 0


def as_stored(character_set: bytes, written: bytes) -> list[str]:
    """The values of a description whose bytes stand in the file as they are."""
    padded = character_set + b" " * (len(character_set) % 2)
    head = struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", len(padded)) + padded
    body = struct.pack("<HH2sHI", 0x0018, 0x1030, b"UT", 0, len(written)) + written
    return read_elements(bytes(128) + b"DICM" + head + body).dataset.texts(Tag.ProtocolName)


def series_description(**changes: object) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_elements(phantom_dicom(size=SIZE, **changes)).dataset.text(Tag.SeriesDescription)


@pytest.mark.parametrize(
    ("terms", "written", "text"),
    [
        # PS3.5 H.3.1 and H.3.2: Japanese, with ISO-IR 6 and with ISO-IR 13 first.
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        # PS3.5 I.2: Korean.
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        # PS3.5 J.1, J.3 and K.2: Chinese.
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東="),
        (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
        (b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
        (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
        # Single-byte sets, alone and changed by code extension.
        (b"ISO_IR 144", b"\xbb\xee\xda\xe1\xd5\xdc\xd1\xe3\xe0\xd3", "Люксембург"),
        (b"ISO_IR 13", b"\xb7\xae\xb3\xcc\xde", "ｷｮｳﾌﾞ"),
        (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"R\xf6ntgen \x1b-L\xb3\xe0\xe3\xd4\xec", "Röntgen Грудь"),
        # After a delimiter the first character set is in force again.
        (b"ISO 2022 IR 100\\ISO 2022 IR 126", b"\x1b-F\xc4\xe9\xef^J\xf6rg", "Διο^Jörg"),
        # A stand-alone set takes no others; an escape sequence counts even where its set is not named.
        (b"GB18030\\ISO 2022 IR 87", b"\xd0\xd8\xb2\xbf", "胸部"),
        (b"ISO_IR 100", b"\x1b$B6;It\x1b(B", "胸部"),
        (b"", b"\x1b$B6;It\x1b(B", "胸部"),
    ],
)
def test_text_is_decoded_as_the_standard_encodes_it(terms: bytes, written: bytes, text: str) -> None:
    assert decode_text(written, defined_terms(terms), b"^=\\") == text


@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("GB18030", "胸部正位 儿童"),
        ("GBK", "胸部正位"),
        (["", "ISO 2022 IR 87"], "胸部 正面"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "胸部 正面"),
        (["", "ISO 2022 IR 149"], "흉부 정면"),
        ("ISO_IR 13", "ｷｮｳﾌﾞ"),
        ("ISO_IR 100", "Thorax d'un nourrisson, débout"),
        ("ISO_IR 101", "Klatka piersiowa, przód"),
        ("ISO_IR 126", "Θώρακας"),
        ("ISO_IR 127", "صدر"),
        ("ISO_IR 138", "חזה"),
        ("ISO_IR 144", "Грудная клетка"),
        ("ISO_IR 148", "Göğüs"),
        ("ISO_IR 166", "ทรวงอก"),
        ("ISO_IR 192", "Lồng ngực"),
    ],
)
def test_descriptions_in_a_file_read_as_they_were_written(character_set: str | list[str], text: str) -> None:
    assert series_description(SpecificCharacterSet=character_set, SeriesDescription=text) == text
    item = code("0", "99LOCAL", text)
    data = phantom_dicom(size=SIZE, SpecificCharacterSet=character_set, AnatomicRegionSequence=item)
    (region,) = read_elements(data).dataset.items[Tag.AnatomicRegionSequence]
    assert region.text(Tag.CodeMeaning) == text, "an item inherits the character set of its data set"


def test_the_name_of_a_window_is_shown_in_its_own_script() -> None:
    data = dx_dicom(1, size=SIZE, SpecificCharacterSet="GB18030", WindowCenterWidthExplanation="肺窗")
    assert decode_radiograph(data).renderings[0].name == "肺窗"


@pytest.mark.parametrize(("character_set", "codec"), [(b"GBK", "gbk"), (b"ISO_IR 13", "shift_jis")])
def test_a_backslash_within_a_character_separates_no_values(character_set: bytes, codec: str) -> None:
    text = {"gbk": "乗", "shift_jis": "表"}[codec]
    assert text.encode(codec)[1:] == b"\\"
    assert as_stored(character_set, f"{text}\\PA".encode(codec)) == [text, "PA"]


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        (b"", ()),
        (b"\\", ()),
        (b" \0", ()),
        (b"ISO_IR 100 ", ("ISO_IR 100",)),
        (b"ISO IR 100", ("ISO_IR 100",)),
        (b"ISO-IR 100", ("ISO_IR 100",)),
        (b"iso_ir_192", ("ISO_IR 192",)),
        (b"\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        (b"\\ISO-2022-IR-87 ", ("", "ISO 2022 IR 87")),
        (b"ISO2022IR 149", ("ISO 2022 IR 149",)),
        (b"gb18030", ("GB18030",)),
        (b"ISO_IR 999", ()),
        (b"ISO_IR 100\\Klingon", ()),
        (b"rot13", ()),
        (b"\xff\xfe", ()),
    ],
)
def test_defined_terms_and_their_common_misspellings(value: bytes, terms: tuple[str, ...]) -> None:
    assert defined_terms(value) == terms


@pytest.mark.parametrize(
    ("terms", "written"),
    [
        (("ISO_IR 192",), b"\xff\xfe"),
        ((), b"M\xfcller"),
        (("GB18030",), b"\xcd"),
        (("", "ISO 2022 IR 87"), b"\x1b$B;3E"),
        (("", "ISO 2022 IR 149"), b"\x1b$)C\xff"),
        (("ISO_IR 100",), b"\x1b[31mred"),
        (("ISO_IR 100",), b"red\x1b"),
        (("ISO_IR 100",), b"red\x1b\x1b$B"),
    ],
)
def test_what_is_not_text_of_its_character_set_is_not_decoded(terms: tuple[str, ...], written: bytes) -> None:
    assert decode_text(written, terms) is None


@pytest.mark.parametrize(
    ("character_set", "written", "text"),
    [
        (b"ISO_IR 192", b"D\xe9bout", "Débout"),  # Latin-1 under the name of UTF-8
        (b"GB18030", b"\xd0\xd8\xb2", "ÐØ²"),  # broken off within a character
        (b"ISO_IR 999", "胸部".encode(), "胸部"),  # a set that does not exist, and UTF-8
        (b"", "Grudná".encode(), "Grudná"),
        (b"", b"M\xfcller", "Müller"),
        (b"\\ISO 2022 IR 87", b"\x1b$Q;3", "\x1b$Q;3"),  # an escape sequence that does not exist
        (b"\xff\xff", b"Thorax", "Thorax"),
    ],
)
def test_a_broken_header_is_read_as_well_as_can_be(character_set: bytes, written: bytes, text: str) -> None:
    assert as_stored(character_set, written) == [text]


def test_the_longest_value_is_cut_and_still_decoded() -> None:
    """Only the beginning of a long value is decoded, and that may end within a character."""
    (text,) = as_stored(b"ISO_IR 192", "胸部".encode() * 5_000)
    assert set(text) == set("胸部") and len(text) > 3_000


# Those named "chrSQ…" have no name outside of sequences.
CHARSET_FILES = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("chr[!S]*.dcm"))


@pytest.mark.parametrize("path", CHARSET_FILES, ids=[path.stem for path in CHARSET_FILES])
@pytest.mark.filterwarnings("ignore")  # of pydicom, about sets that are misspelt
def test_names_in_pydicoms_own_files_read_as_pydicom_reads_them(path: Path) -> None:
    named = read_elements(path.read_bytes()).dataset.elements[Tag.SpecificCharacterSet].value
    dataset = pydicom.dcmread(path)
    stored = pydicom.dcmread(path).get_item("PatientName")
    name = decode_text(bytes(stored.value).rstrip(b" "), defined_terms(bytes(named)), b"^=\\")
    assert name is not None and name.rstrip("=") == str(dataset.PatientName)

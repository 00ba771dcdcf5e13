"""From the bytes of a DICOM file to its pixels: every transfer syntax and every kind of grey, mostly by hand."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from PIL import Image

from core.errors import RadiographError
from imaging.radiograph import decode_radiograph, network_input, rendered, to_uint8
from tests.dicoms import LOSSY, SYNTAXES, dx_dicom, lut_item, phantom_dicom, stored_values
from tests.phantoms import as_jpeg, as_png, chest

SIZE = (60, 72)
FILM = chest(1, SIZE)
WHITE = 65535


def row_of(values: list[int], dtype: type = np.uint16) -> np.ndarray:
    """A picture whose first row begins with `values`; the rest is the one in their middle."""
    stored = np.full((32, 40), values[len(values) // 2], dtype)
    stored[0, : len(values)] = values
    return stored


def shown(data: bytes, count: int) -> list[int]:
    return decode_radiograph(data).pixels[0, :count].tolist()


def refusal(data: bytes) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        decode_radiograph(data)
    assert str(caught.value).startswith("expected ") and "Received: " in str(caught.value)
    assert caught.value.advice.endswith(".") and caught.value.advice.count(". ") == 0  # one sentence
    return caught.value


# --- Every transfer syntax -------------------------------------------------------------------------------------------

COMBINATIONS = [
    (syntax, bits, signed, photometric)
    for syntax in SYNTAXES
    for bits in (8, 10, 12, 16)
    for signed in (False, True)
    for photometric in ("MONOCHROME1", "MONOCHROME2")
    if not (signed and syntax in LOSSY)
    and not (bits > 8 and syntax == "JPEG baseline")
    and not (bits not in (8, 12) and syntax == "JPEG extended")
    and (bits, signed) != (10, True)
]


@pytest.mark.parametrize(("syntax", "bits", "signed", "photometric"), COMBINATIONS)
def test_a_film_comes_out_as_it_was_drawn(syntax, bits, signed, photometric):
    data = phantom_dicom(1, size=SIZE, syntax=syntax, bits=bits, signed=signed, photometric=photometric)
    film = decode_radiograph(data)
    drawn = stored_values(FILM, bits)
    off = np.abs(film.deep.astype(int) - drawn)
    assert off.max() == 0 if syntax not in LOSSY else off.mean() < 0.03 * 2**bits
    assert film.deep.dtype == np.uint16 and film.deep.max() < 2**bits
    assert (film.pixels.dtype, film.bits, film.source_format) == (np.uint16, 16, "DICOM")
    assert film.sha256 == hashlib.sha256(data).hexdigest()
    assert film.header.transfer_syntax == SYNTAXES[syntax] and film.header.photometric == photometric
    assert not film.pixels.flags.writeable and not film.deep.flags.writeable


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@pytest.mark.parametrize(("preamble", "meta"), [(False, True), (False, False)])
def test_a_file_without_preamble_or_meta_information_is_read(syntax, preamble, meta):
    data = phantom_dicom(1, size=SIZE, syntax=syntax, preamble=preamble, meta=meta)
    assert b"DICM" not in data[:140]
    film = decode_radiograph(data)
    np.testing.assert_array_equal(film.deep, stored_values(FILM, 12))
    assert film.header.transfer_syntax == (SYNTAXES[syntax] if meta else None)


def test_big_endian_without_meta_information_is_read():
    data = phantom_dicom(1, size=SIZE, syntax="big endian", meta=False)
    np.testing.assert_array_equal(decode_radiograph(data).deep, stored_values(FILM, 12))


@pytest.mark.parametrize(
    ("claimed", "actual"),
    [
        ("implicit", "explicit"),
        ("explicit", "implicit"),
        ("big endian", "explicit"),
        ("explicit", "big endian"),
        ("JPEG lossless", "JPEG-LS"),
        ("JPEG 2000", "JPEG lossless SV1"),
        ("explicit", "JPEG baseline"),
    ],
)
def test_a_wrong_transfer_syntax_does_no_harm(claimed, actual):
    data = phantom_dicom(1, size=SIZE, syntax=actual, bits=8)
    wrong = data.replace(_ui(SYNTAXES[actual]), _ui(SYNTAXES[claimed]), 1)
    assert wrong != data
    np.testing.assert_array_equal(decode_radiograph(wrong).deep, decode_radiograph(data).deep)


def _ui(uid: str) -> bytes:
    """The element Transfer Syntax UID."""
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x02\0\x10\0UI" + len(padded).to_bytes(2, "little") + padded


def test_the_same_jpeg_gives_the_same_network_input_in_dicom_and_alone():
    film = chest(4, (300, 360))
    target = io.BytesIO()
    Image.fromarray(film).save(target, "JPEG", quality=95)
    wrapped = decode_radiograph(phantom_dicom(4, size=(300, 360), syntax="JPEG baseline"))
    alone = decode_radiograph(target.getvalue())
    np.testing.assert_array_equal(to_uint8(wrapped), alone.pixels)
    np.testing.assert_array_equal(network_input(wrapped, 299), network_input(alone, 299))


def test_a_negative_and_its_positive_give_the_same_picture():
    options = {"WindowCenter": 2048, "WindowWidth": 4096, "size": SIZE}
    positive = decode_radiograph(phantom_dicom(1, photometric="MONOCHROME2", **options))
    negative = decode_radiograph(phantom_dicom(1, photometric="MONOCHROME1", **options))
    np.testing.assert_array_equal(to_uint8(positive), FILM)
    np.testing.assert_array_equal(to_uint8(negative), FILM)
    np.testing.assert_array_equal(positive.deep, negative.deep)


# --- Grey, by hand ---------------------------------------------------------------------------------------------------


def test_a_linear_window_by_hand():
    # PS3.3 C.11.2.1.2: from c - 0.5 - (w - 1) / 2 = 90 to 110, so 95 is a quarter.
    data = phantom_dicom(stored=row_of([89, 90, 95, 100, 105, 110, 111]), WindowCenter=100.5, WindowWidth=21)
    assert shown(data, 7) == [0, 0, round(WHITE / 4), round(WHITE / 2), round(WHITE * 0.75), WHITE, WHITE]
    assert decode_radiograph(data).renderings[0].window == (100, 20)


def test_an_exact_linear_window_by_hand():
    # From c - w / 2 = 90 to 110.
    data = phantom_dicom(
        stored=row_of([89, 90, 95, 100, 110]), WindowCenter=100, WindowWidth=20, VOILUTFunction="LINEAR_EXACT"
    )
    assert shown(data, 5) == [0, 0, round(WHITE / 4), round(WHITE / 2), WHITE]


def test_a_sigmoid_window_by_hand():
    data = phantom_dicom(
        stored=row_of([0, 90, 100, 110, 4095]), WindowCenter=100, WindowWidth=40, VOILUTFunction="SIGMOID"
    )
    e = np.exp(1.0)
    values = shown(data, 5)
    assert values[1:4] == [round(WHITE / (1 + e)), round(WHITE / 2), round(WHITE * e / (1 + e))]
    assert values[0] == round(WHITE / (1 + np.exp(10))) and values[4] == WHITE
    assert decode_radiograph(data).renderings[0].window is None


def test_a_window_of_width_one_is_a_threshold():
    data = phantom_dicom(stored=row_of([99, 100, 101] * 10), WindowCenter=100.5, WindowWidth=1)
    assert set(shown(data, 30)) == {0, WHITE} or decode_radiograph(data).renderings[0].name.startswith("Automatic")
    curve = next(r for r in decode_radiograph(data).renderings if not r.name.startswith("Automatic")).curve
    assert curve[[99, 100, 101]].tolist() == [0, 0, WHITE]  # PS3.3: at most c - 0.5 is black


def test_a_window_acts_on_rescaled_values_and_is_told_in_those_of_deep():
    # Output = 2 · stored - 1000, so the window 0 ± 100 is 500 ± 50 stored.
    data = phantom_dicom(
        stored=row_of([450, 475, 500, 550, 600]),
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=0,
        WindowWidth=200,
        VOILUTFunction="LINEAR_EXACT",
    )
    assert shown(data, 5) == [0, round(WHITE / 4), round(WHITE / 2), WHITE, WHITE]
    assert decode_radiograph(data).renderings[0].window == (500, 100)


def test_signed_values_begin_below_zero():
    data = phantom_dicom(stored=row_of([-2048, -1000, 0, 2047], np.int16), WindowCenter=0, WindowWidth=4096)
    film = decode_radiograph(data)
    assert film.deep[0, :4].tolist() == [0, 1048, 2048, 4095]
    assert film.renderings[0].window == (2047.5, 4095)
    assert film.pixels[0, :4].tolist() == [0, round(1048 / 4095 * WHITE), round(2048 / 4095 * WHITE), WHITE]


def test_a_negative_slope_and_monochrome1_cancel_out():
    options = {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 2048, "WindowWidth": 4096}
    falling = decode_radiograph(phantom_dicom(stored=row_of([0, 4095]), **options))
    assert falling.pixels[0, :2].tolist() == [WHITE, 0] and falling.deep[0, :2].tolist() == [4095, 0]
    both = decode_radiograph(phantom_dicom(stored=row_of([0, 4095]), photometric="MONOCHROME1", **options))
    assert both.pixels[0, :2].tolist() == [0, WHITE] and both.deep[0, :2].tolist() == [0, 4095]


def test_a_modality_table_comes_before_the_window():
    # Stored 10 … 13 are 0, 50, 100, 255; below and above stay at the ends (PS3.3 C.11.1.1).
    item = lut_item(np.array([0, 50, 100, 255]), first=10, bits=8)
    data = phantom_dicom(
        stored=row_of([5, 10, 11, 12, 13, 99]),
        ModalityLUTSequence=[item],
        WindowCenter=128,
        WindowWidth=256,
        RescaleSlope=7,
    )
    film = decode_radiograph(data)
    assert film.deep[0, :6].tolist() == [0, 0, 50, 100, 255, 255]
    assert film.pixels[0, :6].tolist() == [0, 0, 50 * 257, 100 * 257, WHITE, WHITE]


def test_a_voi_table_is_apply_lut_and_monochrome1_turns_it_about():
    item = lut_item(np.array([0, 16384, 65535]), first=100, explanation="BONE")
    for photometric, expected in (
        ("MONOCHROME2", [0, 0, 16384, WHITE, WHITE]),
        ("MONOCHROME1", [WHITE, WHITE, WHITE - 16384, 0, 0]),
    ):
        data = phantom_dicom(stored=row_of([7, 100, 101, 102, 400]), VOILUTSequence=[item], photometric=photometric)
        film = decode_radiograph(data)
        assert film.pixels[0, :5].tolist() == expected
        assert film.renderings[0].name == "BONE" and film.renderings[0].window is None


def test_a_voi_table_may_begin_below_zero():
    item = lut_item(np.array([0, 100, 255]), first=-1, bits=8)
    data = phantom_dicom(stored=row_of([-50, -1, 0, 1], np.int16), VOILUTSequence=[item])
    assert shown(data, 4) == [0, 0, 100 * 257, WHITE]


@pytest.mark.parametrize("entries", [256, 65536])
def test_tables_of_full_length_are_read(entries):
    values = np.linspace(0, WHITE, entries).astype(np.uint16)
    data = phantom_dicom(stored=row_of([0, entries // 2, entries - 1]), bits=16, VOILUTSequence=[lut_item(values)])
    assert shown(data, 3) == [0, values[entries // 2], WHITE]


def test_eight_bit_entries_of_a_table_are_read():
    item = lut_item(np.array([0, 50, 100, 255]), bits=8)
    item.LUTData = bytes([0, 50, 100, 255])
    data = phantom_dicom(stored=row_of([0, 1, 2, 3]), VOILUTSequence=[item])
    assert shown(data, 4) == [0, 50 * 257, 100 * 257, WHITE]


# --- Renderings ------------------------------------------------------------------------------------------------------


def test_every_way_of_showing_it_can_be_chosen_and_the_first_is_shown():
    ramp = np.arange(4096, dtype=np.uint16) * 16
    data = phantom_dicom(
        1,
        size=SIZE,
        VOILUTSequence=[lut_item(ramp, explanation="NORMAL"), lut_item(ramp)],
        WindowCenter=[2048, 1000, 900],
        WindowWidth=[4096, 500, 400],
        WindowCenterWidthExplanation=["NORMAL", "LUNG"],
    )
    film = decode_radiograph(data)
    assert [rendering.name for rendering in film.renderings] == [
        "NORMAL (1)",
        "Lookup table 2",
        "NORMAL (2)",
        "LUNG",
        "Window 3",
        "Automatic window",
    ]
    np.testing.assert_array_equal(film.pixels, rendered(film, 0).pixels)
    for k, rendering in enumerate(film.renderings):
        assert rendering.curve.shape == (4096,) and rendering.curve.dtype == np.uint16
        other = rendered(film, k)
        np.testing.assert_array_equal(other.pixels, rendering.curve[film.deep])
        assert other.sha256 == film.sha256 and other.bits == 16 and other.renderings == film.renderings
        assert not other.pixels.flags.writeable and not rendering.curve.flags.writeable
    with pytest.raises(IndexError):
        rendered(film, len(film.renderings))
    with pytest.raises(IndexError):
        rendered(decode_radiograph(as_png(FILM)), 0)


def test_pydicom_shows_the_same():
    for options in (
        {"WindowCenter": [1800, 500], "WindowWidth": [2500, 300]},
        {"WindowCenter": 40, "WindowWidth": 80, "RescaleSlope": 0.02, "RescaleIntercept": -3},
        {"WindowCenter": 1800, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1800, "WindowWidth": 2500, "VOILUTFunction": "LINEAR_EXACT"},
        {"VOILUTSequence": [lut_item(np.arange(4096, dtype=np.uint16)[::-1] * 16)]},
    ):
        data = phantom_dicom(1, size=SIZE, **options)
        dataset = pydicom.dcmread(io.BytesIO(data))
        modality = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
        values = pydicom.pixels.apply_voi_lut(modality, dataset).astype(float)
        if "VOILUTSequence" in options:
            low, high = 0.0, 65535.0
        else:
            low = float(dataset.get("RescaleIntercept", 0))
            high = low + 4095 * float(dataset.get("RescaleSlope", 1))
        np.testing.assert_allclose(decode_radiograph(data).pixels, (values - low) / (high - low) * WHITE, atol=1.01)


@pytest.mark.parametrize(
    ("bits", "low", "high", "name"),
    [
        (12, 1000, 1500, "Automatic window"),
        (16, 100, 60000, "Automatic window"),
        (8, 100, 150, "Automatic window"),
        (8, 10, 250, "As stored"),
    ],
)
def test_without_a_window_the_picture_fills_the_range_and_the_name_says_so(bits, low, high, name):
    stored = np.linspace(low, high, 60 * 72).reshape(60, 72).astype(np.uint8 if bits == 8 else np.uint16)
    stored[0, :4] = 0, 1, 2**bits - 1, 2**bits - 2  # a few wild pixels do not matter
    film = decode_radiograph(phantom_dicom(stored=stored, bits=bits))
    assert [rendering.name for rendering in film.renderings] == [f"{name}: the file names no window"]
    if name == "As stored":
        np.testing.assert_array_equal(to_uint8(film), stored)
    else:
        assert to_uint8(film)[1:].min() < 8 and to_uint8(film)[1:].max() > 247


def test_an_even_picture_without_a_window_is_shown_over_its_whole_range():
    assert set(shown(phantom_dicom(stored=row_of([1024])), 40)) == {round(1024 / 4095 * WHITE)}


@pytest.mark.parametrize(
    ("centre", "width"),
    [(100_000, 50), (-5000, 10), (2048, 0), (2048, -40), (2048, 0.5), ("", ""), (b"CHEST ", b"WIDE"), (1e300, 1e300)],
)
def test_a_window_that_shows_nothing_gives_way_to_an_automatic_one(centre, width):
    film = decode_radiograph(phantom_dicom(1, size=SIZE, WindowCenter=centre, WindowWidth=width))
    assert film.renderings[0].name.startswith("Automatic window: ")
    assert 80 < to_uint8(film).mean() < 170 and np.corrcoef(film.pixels.ravel(), FILM.ravel())[0, 1] > 0.99


def test_a_name_from_the_header_stays_a_name():
    data = dx_dicom(1, size=SIZE, WindowCenterWidthExplanation="a\nb\x1b[31m" + "x" * 200)
    name = decode_radiograph(data).renderings[0].name
    assert name.isprintable() and len(name) <= 64 and name.startswith("ab")


def test_names_in_utf8_are_read():
    data = dx_dicom(1, size=SIZE, SpecificCharacterSet="ISO_IR 192", WindowCenterWidthExplanation="Übersicht")
    assert decode_radiograph(data).renderings[0].name == "Übersicht"


# --- Padding, overlays, odd depths -----------------------------------------------------------------------------------


def padded(value: int, dtype: type = np.uint16) -> np.ndarray:
    """A film of 1,000–3,000 in a frame of padding."""
    stored = np.full((80, 92), value, dtype)
    stored[10:-10, 10:-10] = 1000 + (FILM.astype(int) * 2000 // 255)
    return stored


@pytest.mark.parametrize(
    ("value", "photometric", "dtype", "more"),
    [
        (0, "MONOCHROME2", np.uint16, {}),
        (4095, "MONOCHROME2", np.uint16, {}),
        (0, "MONOCHROME1", np.uint16, {}),
        (4095, "MONOCHROME1", np.uint16, {}),
        (-2000, "MONOCHROME2", np.int16, {}),
        (63536, "MONOCHROME2", np.uint16, {}),  # outside the twelve stored bits
        (20, "MONOCHROME2", np.uint16, {"PixelPaddingValue": 10, "PixelPaddingRangeLimit": 30}),
        (20, "MONOCHROME1", np.uint16, {"PixelPaddingValue": 30, "PixelPaddingRangeLimit": 10}),
    ],
)
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 2000}])
def test_padding_is_black_and_does_not_spoil_the_range(value, photometric, dtype, more, window):
    settings = {"PixelPaddingValue": value, **more, **window}
    film = decode_radiograph(
        phantom_dicom(
            stored=padded(value, dtype), bits=16 if dtype == np.int16 else 12, photometric=photometric, **settings
        )
    )
    frame = np.ones(film.pixels.shape, bool)
    frame[10:-10, 10:-10] = False
    for k in range(len(film.renderings)):
        assert set(rendered(film, k).pixels[frame].tolist()) == {0}
    automatic = rendered(film, len(film.renderings) - 1)
    inside = to_uint8(automatic)[10:-10, 10:-10].astype(int)
    assert inside.min() <= 1 and inside.max() >= 254
    assert automatic.renderings[-1].window[1] < 2000  # of the picture's own 2,000 values
    drawn = FILM if photometric == "MONOCHROME2" else 255 - FILM
    assert np.corrcoef(inside.ravel(), drawn.ravel())[0, 1] > 0.99
    if window:  # 2,000 ± 1,000, so from 1,000 over 1,999 values
        expected = np.clip((FILM.astype(int) * 2000 // 255) / 1999 * 255, 0, 255)
        expected = expected if photometric == "MONOCHROME2" else 255 - expected
        assert np.abs(to_uint8(film)[10:-10, 10:-10] - expected).max() <= 1


def test_a_padding_value_that_frames_nothing_is_a_grey_like_any_other():
    stored = np.full((60, 72), 2000, np.uint16)
    stored[20:40, 20:40] = 4095  # a bright heart, and a careless header
    film = decode_radiograph(phantom_dicom(stored=stored, PixelPaddingValue=4095, WindowCenter=2048, WindowWidth=4096))
    assert set(film.pixels[20:40, 20:40].ravel().tolist()) == {WHITE}


def test_bits_beyond_those_stored_are_no_part_of_the_value():
    stored = stored_values(FILM, 12)
    with_overlay = (stored | 0xF000).astype(np.uint16)
    np.testing.assert_array_equal(decode_radiograph(phantom_dicom(stored=with_overlay)).deep, stored)
    np.testing.assert_array_equal(  # the value in the upper twelve bits of the word
        decode_radiograph(phantom_dicom(stored=(stored << 4 | 5).astype(np.uint16), HighBit=15)).deep, stored
    )
    signed = stored_values(FILM, 12, signed=True)
    masked = (signed.astype(np.int32) & 0x0FFF).astype(np.uint16)  # without the extension of the sign
    film = decode_radiograph(phantom_dicom(stored=masked, PixelRepresentation=1))
    np.testing.assert_array_equal(film.deep, stored)


@pytest.mark.parametrize(
    "changes",
    [
        {"BitsStored": None},
        {"HighBit": None},
        {"HighBit": 3},
        {"HighBit": 99},
        {"BitsStored": 0},
        {"BitsStored": 99},
        {"PixelRepresentation": None},
        {"SamplesPerPixel": None},
        {"PhotometricInterpretation": None},
        {"BitsAllocated": None},
        {"NumberOfFrames": 1},
        {"NumberOfFrames": 0},
        {"NumberOfFrames": ""},
        {"RescaleSlope": 0},
        {"RescaleSlope": b"x ", "RescaleIntercept": b"yy"},
        {"RescaleSlope": [1, 2]},
    ],
)
def test_what_a_sloppy_header_leaves_out_is_made_good(changes):
    stored = stored_values(FILM, 16)
    film = decode_radiograph(phantom_dicom(stored=stored, bits=16, **changes))
    np.testing.assert_array_equal(film.deep, stored)


def test_a_large_film_is_read_to_its_end():
    stored = np.random.default_rng(0).integers(0, 4096, (1537, 733), np.uint16)
    for syntax in ("explicit", "RLE", "JPEG-LS"):
        np.testing.assert_array_equal(decode_radiograph(phantom_dicom(stored=stored, syntax=syntax)).deep, stored)


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "received"),
    [
        ({"Rows": None}, "UNREADABLE", "without its number of rows"),
        ({"Columns": 0}, "UNREADABLE", "rows and columns"),
        ({"Rows": 65000, "Columns": 65000}, "TOO_LARGE", "65000 × 65000 px"),
        ({"Rows": 31}, "TOO_SMALL", "72 × 31 px"),
        ({"Rows": 61}, "UNREADABLE", "fewer pixels"),
        ({"BitsAllocated": 32}, "UNSUPPORTED", "32 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "UNSUPPORTED", "1 bits"),
        ({"PhotometricInterpretation": "NONSENSE"}, "UNREADABLE", "interpretation"),
        ({"SamplesPerPixel": 2}, "UNREADABLE", "interpretation"),
        ({"PixelData": None}, "UNSUPPORTED", "a file without a picture"),
        ({"PixelData": b""}, "UNREADABLE", "fewer"),
    ],
)
def test_a_bad_header_gets_one_clear_refusal(changes, code, received):
    error = refusal(phantom_dicom(1, size=SIZE, **changes))
    assert error.code == code and received in str(error)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_file_that_breaks_off_is_refused_wherever_it_does(syntax):
    data = phantom_dicom(1, size=SIZE, syntax=syntax, bits=8)
    # The delimiter at the very end of compressed pixels and the padding to an even length may be missing.
    spare = 0 if syntax in ("explicit", "implicit", "big endian", "deflated") else 8 + 4
    for cut in np.linspace(133, len(data) - 1 - spare, 25).astype(int):
        assert refusal(data[:cut]).code in ("UNREADABLE", "UNSUPPORTED"), cut


@pytest.mark.parametrize("syntax", [name for name in SYNTAXES if name.startswith("JPEG")])
def test_a_compressed_film_filled_up_with_zeros_is_refused(syntax):
    data = phantom_dicom(1, size=SIZE, syntax=syntax, bits=8)
    for share in (0.4, 0.7, 0.95):
        start = data.rindex(b"\xe0\x7f\x10\0")
        kept = start + int(share * (len(data) - start))
        assert refusal(data[:kept] + bytes(len(data) - kept)).code == "UNREADABLE"


SECRETS = ("Geheimrat", "ZX-4711", "SECRETCLINIC")


def test_nothing_of_the_patient_is_said_or_logged(caplog, capfd):
    said = []
    data = phantom_dicom(
        1,
        size=SIZE,
        PatientName="Geheimrat^Otto",
        PatientID="ZX-4711",
        SeriesDescription=SECRETS[2],
        InstitutionName="SECRETCLINIC",
        WindowCenter=b"ZX-4711 ",
        PatientAge="ZX-4711",
        BodyPartExamined="CHEST",
        PhotometricInterpretation="MONOCHROME2",
        StudyDate="Geheimrat",
    )
    caplog.set_level(logging.DEBUG)
    caplog.clear()  # what the writer has said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film = decode_radiograph(data)
        wrong = [data[:cut] for cut in range(140, len(data), 97)]
        for tag in (b"\x28\0\x04\0", b"\x28\0\x10\0", b"\x28\0\x00\x01", b"\x08\0\x60\0", b"\x18\0\x15\0"):
            at = data.index(tag)
            wrong.append(data[: at + 4] + b"PN" + data[at + 6 :])
            wrong.append(data[: at + 8] + b"Geheimrat" + data[at + 17 :])
        for bad in wrong:
            try:
                decode_radiograph(bad)
            except RadiographError as error:
                said += [str(error), error.advice, repr(error.__cause__), repr(error.__context__)]
    said += [repr(film.header), *(rendering.name for rendering in film.renderings), caplog.text, *capfd.readouterr()]
    assert len(said) > 300
    assert not [text for text in said for secret in SECRETS if secret.lower() in text.lower()]


def test_threads_decode_side_by_side_and_nobodys_settings_change():
    filters = list(warnings.filters)
    files = [phantom_dicom(1, size=SIZE, syntax=syntax, bits=8) for syntax in SYNTAXES] * 2
    alone = [decode_radiograph(data).pixels for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = [film.pixels for film in pool.map(decode_radiograph, files)]
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))
    assert warnings.filters == filters


def test_sixteen_bit_pictures_without_a_header_have_none():
    film = decode_radiograph(as_png(FILM.astype(np.uint16) * 16))
    assert film.header is None and film.deep is None and film.renderings == () and film.bits == 12
    assert decode_radiograph(as_jpeg(FILM)).header is None

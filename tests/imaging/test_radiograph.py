from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin

from core.errors import RadiographError
from imaging import limits
from imaging.limits import LIMITS, Limits
from imaging.radiograph import (
    DETAIL_PX,
    Radiograph,
    decode_radiograph,
    enlarge,
    network_input,
    squash,
    to_uint8,
)
from tests.phantoms import as_jpeg, as_png, chest

CODES = {"EMPTY", "UNREADABLE", "UNSUPPORTED", "TOO_SMALL", "TOO_LARGE", "NOT_A_CHEST_RADIOGRAPH", "NOT_FRONTAL"}
# 40 rows of 48: every value from 0 to 242, and neither symmetric nor square.
RAMP = (np.arange(40)[:, None] * 5 + np.arange(48)).astype(np.uint8)
FILM = chest(1, (150, 180))


def encoded(picture: Image.Image, format_: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format_, **options)
    return target.getvalue()


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values)


def rgb_of(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.repeat(values[..., None], 3, axis=2))


def constant(colour: tuple[int, ...] | int, mode: str) -> Image.Image:
    return Image.new(mode, (48, 40), colour)


def refusal(data: bytes) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        decode_radiograph(data)
    error = caught.value
    assert error.code in CODES
    assert str(error).startswith("expected ") and "Received: " in str(error)
    assert error.advice.endswith(".") and error.advice.count(". ") == 0  # one sentence
    return error


# --- Golden decodes: what comes out, pixel by pixel ------------------------------------------------------------------

LOSSLESS = {
    "grey PNG": as_png(RAMP),
    "RGB PNG with three equal channels": encoded(rgb_of(RAMP), "PNG"),
    "interlaced sizes do not matter, BMP": encoded(grey(RAMP), "BMP"),
    "RGB BMP": encoded(rgb_of(RAMP), "BMP"),
    "uncompressed TIFF": encoded(grey(RAMP), "TIFF"),
    "LZW TIFF": encoded(grey(RAMP), "TIFF", compression="tiff_lzw"),
    "still GIF, which is a palette": encoded(grey(RAMP), "GIF"),
    "lossless WebP": encoded(rgb_of(RAMP), "WEBP", lossless=True),
    "opaque alpha channel": encoded(Image.merge("LA", (grey(RAMP), constant(255, "L"))), "PNG"),
    "opaque RGBA": encoded(rgb_of(RAMP).convert("RGBA"), "PNG"),
}


@pytest.mark.parametrize("data", LOSSLESS.values(), ids=LOSSLESS.keys())
def test_a_lossless_grey_picture_comes_out_as_it_went_in(data):
    film = decode_radiograph(data)
    np.testing.assert_array_equal(film.pixels, RAMP)
    assert film.pixels.dtype == np.uint8 and film.bits == 8 and not film.is_colour
    assert (film.height, film.width) == (40, 48)
    assert film.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        as_jpeg(FILM, 95),  # baseline, one component
        encoded(grey(FILM), "JPEG", quality=95, progressive=True),  # several scans, the same coefficients
        encoded(rgb_of(FILM), "JPEG", quality=95),  # three components with subsampled colour
        encoded(grey(FILM), "JPEG", quality=95, restart_marker_blocks=4),  # markers within the scan
        as_jpeg(FILM, 95) + b"a viewer's own trailer \xff\xda\x00",  # bytes after the end
    ],
    ids=["baseline", "progressive", "colour", "restart markers", "trailer"],
)
def test_a_jpeg_comes_out_as_close_as_its_quality(data):
    film = decode_radiograph(data)
    assert film.source_format == "JPEG" and not film.is_colour
    assert np.abs(film.pixels.astype(int) - FILM).mean() < 2
    assert film.pixels.shape == FILM.shape


def test_progressive_and_baseline_give_the_same_pixels():
    progressive = encoded(grey(FILM), "JPEG", quality=90, progressive=True)
    np.testing.assert_array_equal(decode_radiograph(progressive).pixels, decode_radiograph(as_jpeg(FILM, 90)).pixels)


@pytest.mark.parametrize(
    ("brightest", "bits"),
    [
        (255, 8),
        (256, 10),
        (1023, 10),
        (1024, 12),
        (4095, 12),
        (4096, 14),
        (16383, 14),
        (16384, 15),
        (32768, 16),
        (65535, 16),
    ],
)
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_stay_sixteen_bits(format_, brightest, bits):
    deep = np.zeros((40, 48), np.uint16)
    deep[0, :3] = brightest, brightest // 2, 1
    film = decode_radiograph(encoded(grey(deep), format_))
    assert film.pixels.dtype == np.uint16 and film.bits == bits
    assert film.pixels[0, :4].tolist() == [brightest, brightest // 2, 1, 0]


def tiff16(values: np.ndarray, photometric: int, order: str = "<") -> bytes:
    """A TIFF of one strip, written out by hand because PIL does not write these."""
    height, width = values.shape
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 3, 1, height),
        (279, 4, 1, 2 * values.size),
    ]
    strip = values.astype(f"{order}u2").tobytes()
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(strip))
    entries = b"".join(
        struct.pack(f"{order}HHI", *tag[:3])
        + (struct.pack(f"{order}HH", tag[3], 0) if tag[1] == 3 else struct.pack(f"{order}I", tag[3]))
        for tag in tags
    )
    return head + strip + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0"


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_a_deep_tiff_are_read(order):
    deep = RAMP.astype(np.uint16) * 16
    film = decode_radiograph(tiff16(deep, 1, order))
    np.testing.assert_array_equal(film.pixels, deep)
    assert film.bits == 12


def test_a_deep_tiff_whose_zero_is_white_is_inverted_within_its_depth():
    deep = RAMP.astype(np.uint16) * 16  # up to 3,872: twelve bits, so 4,095 is black
    film = decode_radiograph(tiff16(deep, 0))
    assert film.bits == 12
    np.testing.assert_array_equal(film.pixels, 4095 - deep)


def test_a_shallow_tiff_whose_zero_is_white_is_inverted():
    stored = encoded(grey(RAMP), "TIFF", tiffinfo={262: 0})
    with Image.open(io.BytesIO(stored)) as image:
        assert image.tag_v2[262] == 0
    np.testing.assert_array_equal(decode_radiograph(stored).pixels, RAMP)


def test_a_palette_is_apply_lut():
    picture = grey(255 - RAMP).copy()
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(bytes(v for i in range(256) for v in (255 - i,) * 3))  # a negative, shown right by its palette
    film = decode_radiograph(encoded(picture, "PNG"))
    np.testing.assert_array_equal(film.pixels, RAMP)
    assert not film.is_colour


def test_what_a_palette_makes_transparent_is_black():
    picture = Image.frombytes("P", (48, 40), RAMP.tobytes())
    picture.putpalette(bytes(v for i in range(256) for v in (i,) * 3))
    film = decode_radiograph(encoded(picture, "PNG", transparency=200))
    np.testing.assert_array_equal(film.pixels, np.where(RAMP == 200, 0, RAMP))
    partly = bytes([255] * 100 + [51] + [255] * 155)  # entry 100 is one fifth opaque: 100 / 5 = 20
    film = decode_radiograph(encoded(picture, "PNG", transparency=partly))
    np.testing.assert_array_equal(film.pixels, np.where(RAMP == 100, 20, RAMP))


@pytest.mark.parametrize(
    ("colour", "mode", "expected"),
    [
        ((200, 200, 200, 51), "RGBA", 40),  # one fifth of 200 over black
        ((200, 51), "LA", 40),
        ((255, 255, 255, 0), "RGBA", 0),  # wholly transparent white
        ((255, 0, 0), "RGB", 76),
        ((0, 255, 0), "RGB", 150),
        ((0, 0, 255), "RGB", 29),  # luma 0.299, 0.587, 0.114 of 255
        (1, "1", 255),
        (0, "1", 0),  # one bit
    ],
)
def test_one_colour_becomes_one_grey(colour, mode, expected):
    film = decode_radiograph(encoded(constant(colour, mode), "PNG"))
    assert np.unique(film.pixels).tolist() == [expected]


def test_one_bit_pixels_become_black_and_white():
    film = decode_radiograph(encoded(grey(RAMP > 100), "PNG"))
    np.testing.assert_array_equal(film.pixels, np.where(RAMP > 100, 255, 0))


@pytest.mark.parametrize("depth", [2, 4])
def test_two_and_four_bits_fill_the_range(depth):
    values = (np.arange(40)[:, None] + np.arange(48)) % 2**depth
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(40, -1).astype(np.uint8), axis=1)
    film = decode_radiograph(png_of(48, 40, zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)), depth))
    np.testing.assert_array_equal(film.pixels, values * (255 // (2**depth - 1)))


def test_cmyk_becomes_grey():
    film = decode_radiograph(encoded(constant((0, 0, 0, 55), "CMYK"), "JPEG", quality=100))
    assert np.abs(film.pixels.astype(int) - 200).max() <= 1  # 255 − 55 of black ink
    assert not film.is_colour


# EXIF 2.32, tag 0112: which side of the upright picture the stored first row and first column are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def side(pixels: np.ndarray, name: str) -> np.ndarray:
    return {"top": pixels[0], "bottom": pixels[-1], "left": pixels[:, 0], "right": pixels[:, -1]}[name]


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_made_upright(format_, orientation):
    stored = np.zeros((40, 64), np.uint8)
    stored[:8] = 200  # eight rows and columns, so that JPEG's blocks keep them
    stored[8:, :8] = 100
    options = {"quality": 100, "lossless": True} if format_ == "WEBP" else {"quality": 100} if format_ == "JPEG" else {}
    picture = rgb_of(stored) if format_ == "WEBP" else grey(stored)
    upright = decode_radiograph(encoded(picture, format_, exif=exif_of(orientation), **options)).pixels
    first_row, first_column = SIDES[orientation]
    assert upright.shape == ((40, 64) if first_row in ("top", "bottom") else (64, 40))
    assert np.abs(side(upright, first_row).astype(int) - 200).max() <= 2
    assert np.median(side(upright, first_column)) == pytest.approx(100, abs=2)
    others = {"top", "bottom", "left", "right"} - {first_row, first_column}
    assert all(np.median(side(upright, name)) <= 2 for name in others)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0nonsense and more of it",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 20,
        exif_of(0),
        exif_of(9),
    ],
)
def test_faults_in_the_metadata_do_not_matter_and_draw_no_warning(exif):
    data = as_jpeg(RAMP)
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]
    np.testing.assert_array_equal(decode_radiograph(data).pixels, decode_radiograph(as_jpeg(RAMP)).pixels)


def test_of_a_multi_picture_jpeg_the_first_counts():
    data = encoded(grey(FILM), "MPO", save_all=True, append_images=[grey(255 - FILM)], quality=95)
    assert b"MPF\0" in data
    film = decode_radiograph(data)
    assert film.source_format == "JPEG"
    assert np.abs(film.pixels.astype(int) - FILM).mean() < 2


@pytest.mark.parametrize(
    ("picture", "is_colour"),
    [
        (Image.merge("RGB", (grey(RAMP), grey(RAMP[::-1].copy()), grey(RAMP[:, ::-1].copy()))), True),  # a photograph
        (Image.merge("RGB", (grey(FILM), grey(FILM), grey((FILM * 0.6).astype(np.uint8)))), True),  # a tinted film
        (rgb_of(FILM), False),
    ],
)
@pytest.mark.parametrize(("format_", "options"), [("PNG", {}), ("JPEG", {"quality": 75})])
def test_colour_is_noticed_and_compression_is_not_taken_for_it(picture, is_colour, format_, options):
    assert decode_radiograph(encoded(picture, format_, **options)).is_colour == is_colour


def test_a_small_coloured_mark_on_a_film_is_not_colour():
    marked = np.repeat(FILM[..., None], 3, axis=2).copy()
    marked[5:15, 5:20] = (255, 40, 40)  # 150 of 27,000 pixels
    assert not decode_radiograph(as_png(marked)).is_colour
    marked[5:25, 5:25] = (255, 40, 40)  # 400 of them
    assert decode_radiograph(as_png(marked)).is_colour


def test_a_picture_taller_than_a_band_of_rows_is_read_to_its_end():
    tall = np.random.default_rng(0).integers(0, 256, (600, 40), np.uint8)
    np.testing.assert_array_equal(decode_radiograph(encoded(rgb_of(tall), "PNG")).pixels, tall)
    deep = tall.astype(np.uint16) * 257
    film = decode_radiograph(as_png(deep))
    np.testing.assert_array_equal(film.pixels, deep)
    np.testing.assert_array_equal(to_uint8(film), tall)


# --- What is refused -------------------------------------------------------------------------------------------------


def png_of(width: int, height: int, packed: bytes, depth: int = 8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    data = as_jpeg(RAMP)
    return data.replace(struct.pack(">BHH", 8, 40, 48), struct.pack(">BHH", 8, height, width), 1)


def several(format_: str) -> bytes:
    frames = [rgb_of(FILM), rgb_of(255 - FILM), rgb_of(FILM // 2)]
    return encoded(frames[0], format_, save_all=True, append_images=frames[1:])


REFUSED = {
    "empty": (b"", "EMPTY", "0 bytes"),
    "text renamed to .png": (b"Dear colleague, please find attached", "UNREADABLE", "no known image format"),
    "one byte": (b"\x89", "UNREADABLE", "no known image format"),
    "bytes of zero": (bytes(1000), "UNREADABLE", "no known image format"),
    "signature alone": (b"\x89PNG\r\n\x1a\n", "UNREADABLE", ""),
    "JPEG signature alone": (b"\xff\xd8\xff", "UNREADABLE", ""),
    "RIFF that is no WebP": (b"RIFF\x24\0\0\0WAVEfmt ", "UNREADABLE", ""),
    "animated GIF": (several("GIF"), "UNSUPPORTED", "several"),
    "animated PNG": (several("PNG"), "UNSUPPORTED", "several"),
    "animated WebP": (several("WEBP"), "UNSUPPORTED", "several"),
    "TIFF of three pages": (several("TIFF"), "UNSUPPORTED", "several"),
    "one pixel": (as_png(np.zeros((1, 1), np.uint8)), "TOO_SMALL", "1 × 1 px"),
    "a line": (as_png(np.zeros((LIMITS.short_side - 1, 500), np.uint8)), "TOO_SMALL", "500 × 31 px"),
    "PNG bomb": (png_of(30_000, 30_000, zlib.compress(bytes(1000))), "TOO_LARGE", "30000 × 30000 px"),
    "JPEG bomb": (jpeg_claiming(65_000, 65_000), "TOO_LARGE", "65000 × 65000 px"),
    "GIF bomb": (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + encoded(grey(RAMP), "GIF")[10:], "TOO_LARGE", ""),
    "BMP bomb": (
        encoded(grey(RAMP), "BMP")[:18] + struct.pack("<ii", 30_000, 30_000) + encoded(grey(RAMP), "BMP")[26:],
        "TOO_LARGE",
        "30000 × 30000 px",
    ),
    "TIFF bomb": (
        tiff16(RAMP.astype(np.uint16), 1)
        .replace(struct.pack("<HHIHH", 257, 3, 1, 40, 0), struct.pack("<HHIHH", 257, 3, 1, 60_000, 0))
        .replace(struct.pack("<HHIHH", 256, 3, 1, 48, 0), struct.pack("<HHIHH", 256, 3, 1, 60_000, 0)),
        "TOO_LARGE",
        "",
    ),
    "DICOM without a picture": (bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0\xc2\0\0\0", "UNSUPPORTED", "picture"),
    "DICOM with a TIFF's preamble": (b"II*\0" + bytes(124) + b"DICM", "UNSUPPORTED", "a file without a picture"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "UNSUPPORTED", "PDF"),
    "ZIP": (b"PK\x03\x04\x14\0\0\0\x08\0", "UNSUPPORTED", "ZIP"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "UNSUPPORTED", "HEIC"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "UNSUPPORTED", "JPEG 2000"),
    "floating-point TIFF": (encoded(grey(RAMP.astype(np.float32) / 255), "TIFF"), "UNSUPPORTED", "values outside"),
    "negative values": (encoded(grey(RAMP.astype(np.int32) - 100), "TIFF"), "UNSUPPORTED", "values outside"),
    "more than sixteen bits": (encoded(grey(RAMP.astype(np.int32) * 1000), "TIFF"), "UNSUPPORTED", "values outside"),
    "a PNG whose pixels are no zlib stream": (png_of(48, 40, b"pixels"), "UNREADABLE", ""),
}


@pytest.mark.parametrize(("data", "code", "received"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_file_gets_one_clear_refusal(data, code, received):
    error = refusal(data)
    assert error.code == code
    assert received in str(error).split("Received: ")[1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (REFUSED["DICOM without a picture"][0], "as PNG"),
        (REFUSED["ZIP"][0], "unpack"),
        (REFUSED["HEIC"][0], "as PNG"),
        (REFUSED["text renamed to .png"][0], "not a picture"),
        (REFUSED["one pixel"][0], "too small"),
        (REFUSED["PNG bomb"][0], "too large"),
        (as_png(FILM)[:200], "damaged"),
    ],
    ids=["DICOM", "ZIP", "HEIC", "text", "one pixel", "bomb", "truncated"],
)
def test_the_advice_says_what_to_do(data, words):
    assert words in refusal(data).advice


def test_a_bomb_is_refused_before_its_pixels_are_touched(monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    for name in ("PNG bomb", "JPEG bomb", "BMP bomb", "TIFF bomb"):
        assert refusal(REFUSED[name][0]).code == "TOO_LARGE"


def test_a_file_above_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "LIMITS", Limits(file_bytes=1000))
    error = refusal(as_png(FILM))
    assert error.code == "TOO_LARGE"


def test_a_full_detector_passes_and_the_limit_is_exact():
    assert LIMITS.pixels > 2 * 4000 * 4000
    assert decode_radiograph(as_png(np.zeros((4000, 4000), np.uint8))).pixels.shape == (4000, 4000)
    assert refusal(png_of(6000, LIMITS.pixels // 6000 + 1, b"")).code == "TOO_LARGE"
    assert refusal(png_of(6000, LIMITS.pixels // 6000, b"")).code == "UNREADABLE"  # passes, and then has no pixels


TRUNCATABLE = {
    "PNG": as_png(FILM),
    "16-bit PNG": as_png(FILM.astype(np.uint16) * 257),
    "JPEG": as_jpeg(FILM),
    "progressive JPEG": encoded(grey(FILM), "JPEG", progressive=True),
    "colour JPEG": encoded(rgb_of(FILM), "JPEG"),
    "TIFF": encoded(grey(FILM), "TIFF"),
    "LZW TIFF": encoded(grey(FILM), "TIFF", compression="tiff_lzw"),
    "BMP": encoded(grey(FILM), "BMP"),
    "WebP": encoded(rgb_of(FILM), "WEBP"),
}


@pytest.mark.parametrize("data", TRUNCATABLE.values(), ids=TRUNCATABLE.keys())
def test_a_truncated_file_is_refused_wherever_it_breaks_off(data):
    for cut in {*np.linspace(8, len(data) - 1, 40).astype(int).tolist(), len(data) - 2, len(data) - 13}:
        assert refusal(data[:cut]).code == "UNREADABLE", cut


@pytest.mark.parametrize("name", ["PNG", "16-bit PNG", "JPEG", "progressive JPEG", "colour JPEG", "LZW TIFF"])
def test_a_download_that_broke_off_and_was_filled_up_with_zeros_is_refused(name):
    data = TRUNCATABLE[name]
    for share in (0.2, 0.5, 0.9):
        kept = int(share * len(data))
        # Zeros are valid JPEG code words, so enough of them make a whole picture.
        for zeros in (len(data) - kept, 5 * len(data)):
            assert refusal(data[:kept] + bytes(zeros)).code == "UNREADABLE"


def test_one_changed_bit_among_a_pngs_pixels_is_noticed():
    data = bytearray(as_png(FILM))
    data[len(data) // 2] ^= 4
    assert refusal(bytes(data)).code == "UNREADABLE"


def test_a_broken_checksum_of_metadata_does_not_matter():
    text = b"tEXtComment\0a viewer's own remark"
    chunk = struct.pack(">I", len(text) - 4) + text + b"\0\0\0\0"  # no valid checksum
    data = as_png(RAMP)
    np.testing.assert_array_equal(decode_radiograph(data[:-12] + chunk + data[-12:]).pixels, RAMP)


def test_an_exif_thumbnail_does_not_pass_for_the_end_of_a_jpeg():
    exif = b"Exif\0\0" + as_jpeg(RAMP)  # holds a whole JPEG, end marker included
    data = as_jpeg(FILM)
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]
    assert decode_radiograph(whole).pixels.shape == FILM.shape
    kept = len(whole) * 9 // 10
    assert refusal(whole[:kept] + bytes(5 * len(whole))).code == "UNREADABLE"


# --- Whatever comes --------------------------------------------------------------------------------------------------

SEEDS = [
    *TRUNCATABLE.values(),
    *LOSSLESS.values(),
    several("GIF"),
    several("WEBP"),
    several("TIFF"),
    as_jpeg(FILM)[:2] + as_jpeg(RAMP),
    encoded(grey(RAMP), "JPEG", exif=exif_of(6)),
    encoded(constant((0, 0, 0, 55), "CMYK"), "JPEG"),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 8))):
        # Mostly in the header, where a byte changes how all the others are read.
        last = min(len(data) - 1, draw(st.sampled_from((40, 200, 100_000))))
        data[draw(st.integers(0, last))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


def only_a_refusal_leaves(data: bytes) -> None:
    try:
        film = decode_radiograph(data)
    except RadiographError as error:
        assert error.code in CODES and error.advice.endswith(".")
    else:
        assert min(film.pixels.shape) >= LIMITS.short_side and film.pixels.size <= LIMITS.pixels
        assert to_uint8(film).shape == film.pixels.shape


@pytest.mark.filterwarnings("ignore")  # as in service, where PIL's warnings are not errors
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(damaged())
def test_nothing_but_a_refusal_leaves_on_damaged_files(data):
    only_a_refusal_leaves(data)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 "]
    ),
    st.binary(max_size=300),
)
def test_nothing_but_a_refusal_leaves_on_random_bytes(start, rest):
    only_a_refusal_leaves(start + rest)


def test_threads_decode_side_by_side_and_nobodys_settings_change():
    before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    files = list(TRUNCATABLE.values()) * 4
    alone = [decode_radiograph(data).pixels for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = [film.pixels for film in pool.map(decode_radiograph, files)]
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))
    assert warnings.filters == before and limit == Image.MAX_IMAGE_PIXELS


def test_pils_plain_entrance_is_not_used(monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("Image.open knows formats that have no business here")

    monkeypatch.setattr(Image, "open", never)
    assert decode_radiograph(as_png(RAMP)).source_format == "PNG"


# --- The value -------------------------------------------------------------------------------------------------------


def test_decoded_pixels_cannot_be_changed():
    for data in (as_png(RAMP), encoded(grey(RAMP), "JPEG", exif=exif_of(6)), as_png(RAMP.astype(np.uint16) * 9)):
        film = decode_radiograph(data)
        with pytest.raises(ValueError, match="read-only"):
            film.pixels[0, 0] = 1


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [
        (np.zeros((4, 4, 3), np.uint8), 8),
        (np.zeros((4, 4), np.float32), 8),
        (np.zeros((0, 4), np.uint8), 8),
        (np.zeros((4, 4), np.uint8), 12),
        (np.zeros((4, 4), np.uint16), 0),
        (np.zeros((4, 4), np.uint16), 17),
    ],
)
def test_a_radiograph_is_built_valid_or_not_at_all(pixels, bits):
    with pytest.raises(ValueError, match="Received"):
        Radiograph(pixels, "", "PNG", bits)


@pytest.mark.parametrize(
    ("bits", "values", "expected"),
    [
        (16, (0, 257, 32896, 65535), (0, 1, 128, 255)),
        (12, (0, 16, 2056, 4095), (0, 1, 128, 255)),
        (8, (0, 1, 128, 255), (0, 1, 128, 255)),
    ],
)
def test_a_deep_picture_is_shown_linearly_over_its_depth(bits, values, expected):
    pixels = np.array([values], np.uint16)
    assert to_uint8(Radiograph(pixels, "", "PNG", bits))[0].tolist() == list(expected)


def test_a_shallow_picture_is_shown_as_it_is():
    film = decode_radiograph(as_png(RAMP))
    assert to_uint8(film) is film.pixels or (to_uint8(film) == film.pixels).all()


# --- Network input: what the classifier was trained on, to the byte --------------------------------------------------


def as_trained(pixels: np.ndarray, px: int) -> np.ndarray:
    """The resampling with which the shipped classifier was trained; it may not change while that classifier serves."""
    if pixels.shape == (px, px):
        return pixels
    height, width = pixels.shape
    if height > px:
        pixels = cv2.resize(pixels, (width, px), interpolation=cv2.INTER_AREA)
    if width > px:
        pixels = cv2.resize(pixels, (px, pixels.shape[0]), interpolation=cv2.INTER_AREA)
    if pixels.shape != (px, px):
        pixels = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_LINEAR)
    return pixels


@pytest.mark.parametrize("size", [(384, 474), (150, 180), (224, 224), (600, 100), (100, 600), (1024, 1100), (33, 40)])
@pytest.mark.parametrize("encode", [as_png, as_jpeg])
def test_network_input_is_the_same_to_the_byte_as_in_training(size, encode):
    data = encode(np.random.default_rng(0).integers(0, 256, size, np.uint8))
    with Image.open(io.BytesIO(data)) as image:
        stored = np.array(image)
    film = decode_radiograph(data)
    np.testing.assert_array_equal(film.pixels, stored)
    square = as_trained(stored, 224)
    np.testing.assert_array_equal(squash(film), square)
    for px in (299, 224, 160):
        np.testing.assert_array_equal(enlarge(square, px), as_trained(square, px))
        np.testing.assert_array_equal(network_input(film, px), as_trained(square, px))
        assert network_input(film, px).dtype == np.uint8
    assert DETAIL_PX == 224


def test_network_input_by_hand():
    # 448 × 896 of 2 × 4 px tiles shrinks to the mean of each tile, then 224 → 224 changes nothing.
    tiles = np.random.default_rng(0).integers(0, 250, (224, 224)).astype(np.uint8)
    large = np.repeat(np.repeat(tiles, 2, axis=0), 4, axis=1)
    large[::2] += 4  # the mean of v and v + 4 is v + 2
    film = decode_radiograph(as_png(large))
    np.testing.assert_array_equal(network_input(film, 224), tiles + 2)
    enlarged = network_input(film, 448)
    # Twice as large, bilinear with aligned edges: the first pixel is the first tile's, the second has ¼ of the next.
    row = (tiles[0, :2] + 2).astype(float)
    assert enlarged[0, 0] == row[0]
    assert abs(enlarged[0, 1] - (0.75 * row[0] + 0.25 * row[1])) <= 1


def test_how_sharp_the_file_was_does_not_reach_the_network():
    film = decode_radiograph(as_png(chest(2, (896, 896))))
    soft = decode_radiograph(as_png(squash(film)))
    np.testing.assert_array_equal(network_input(film, 299), network_input(soft, 299))


def test_real_radiographs_decode_to_what_pil_reads(test_data):
    files = sorted((test_data / "kermany" / "val").rglob("*.jpeg"))
    assert len(files) == 16
    for path in files:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode_radiograph(data).pixels, np.array(image.convert("L")))


def test_every_real_chest_film_in_dicom_is_read_and_what_its_header_calls_otherwise_is_refused(test_data):
    chests = sorted((test_data / "dicom" / "chest").rglob("*.dcm"))
    assert len(chests) >= 5
    for path in chests:
        film = decode_radiograph(path.read_bytes())
        assert film.source_format == "DICOM" and film.header.body_part == "CHEST"
        assert film.header.view_position in ("PA", "AP")
        assert to_uint8(film).std() > 20
    others = [path for path in (test_data / "dicom" / "not_chest").rglob("*.dcm") if "testpattern" not in path.name]
    received = {path.name.split("_")[0]: str(refusal(path.read_bytes())).split("Received: ")[1] for path in others}
    assert received == {
        "CT": "computed tomography (CT)",
        "MR": "magnetic resonance (MR)",
        "XA1": "angiography",
        "dental": "a radiograph of the teeth or the jaw",
    }


def test_the_tiff_reader_turns_pictures_itself():
    # decode_radiograph relies on it: were it to stop, TIFF would need what the other formats get.
    data = encoded(grey(RAMP), "TIFF", exif=exif_of(6))
    with TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (40, 48) and not image.info.get("exif")

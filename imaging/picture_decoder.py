"""Decoding of JPEG, PNG, TIFF, BMP, WebP and GIF files into grey pixels.

It runs in a decoder process (`imaging.decoder_process`); everyone else calls `imaging.pictures.decode_picture`.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from core.errors import RadiographError
from imaging.film import Pixels
from imaging.jpeg import JpegFile, check_scans, jpeg_ends
from imaging.limits import DAMAGED, EXPORT, check_picture_size, too_many_pixels

# Chosen by the first bytes and not by Image.open, which knows more formats, some with a history of security bugs, and
# whose size check warns through a process-wide filter that threads cannot change safely.
_OPENERS: tuple[tuple[bytes, Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)
_BAND_ROWS = 256
# How PIL says so (`PIL.ImageFile.ERRORS`, and `_load_libtiff`).
_OUT_OF_MEMORY = "out of memory", "decoder error -9"
# More channel spread than this is colour that compression does not explain; less than the other is none at all.
_COLOURED_SPREAD, _GREY_SPREAD = 24, 6


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes
    ----------
    pixels
        (H, W), uint8 or uint16, upright.
    source_format
        "PNG", "JPEG" …
    bits
        How many bits of a pixel are used.
    coloured_share
        In [0, 1]: the share of pixels that are in colour.
    is_one_hue
        Whether all colours have one hue.
    """

    pixels: Pixels
    source_format: str
    bits: int
    coloured_share: float
    is_one_hue: bool


def read_picture(data: bytes) -> Picture:
    """Decode as `imaging.pictures.decode_picture` describes it, in the process that calls.

    Returns
    -------
    Picture
        Pixels uint8 or uint16 (H, W), and how many of their bits are used.

    Raises
    ------
    RadiographError
        With the codes UNREADABLE, UNSUPPORTED, TOO_SMALL or TOO_LARGE.
    MemoryError
        If the decoder got less memory than it asked for.
    """
    try:
        with _open(data) as image:
            _check_header(image)
            _check_complete(data)
            image.load()
            pixels, bits, hues = _to_grey(image)
            pixels = _turned(pixels, _orientation(image.info.get("exif", b"")))
    except (RadiographError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise too_many_pixels("a picture above PIL's limit") from error
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error, ValueError … on damage
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            raise MemoryError from error
        raise RadiographError(
            f"expected a complete image file. Received: {type(error).__name__} while decoding", advice=DAMAGED
        ) from error
    return Picture(pixels, image.format or "unknown", bits, hues.coloured_share, hues.is_one_hue)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header only."""
    name = _other_format(data)
    if name is None:
        for signature, opener in _OPENERS:
            if data.startswith(signature):
                return opener(io.BytesIO(data))
        raise RadiographError(
            "expected a DICOM, JPEG or PNG file. Received: bytes of no known image format",
            advice=f"This file is not a picture, whatever its name says; {EXPORT}",
        )
    if name == "ZIP":
        advice = "This file is an archive; unpack it and upload the radiographs in it."
    else:
        advice = f"{name} files cannot be read; {EXPORT}"
    raise RadiographError(f"expected a DICOM, JPEG or PNG file. Received: {name}", code="UNSUPPORTED", advice=advice)


def _other_format(data: bytes) -> str | None:
    """Name a format that hospitals and phones export and that is not supported."""
    if data[4:8] == b"ftyp":
        return "HEIC" if data[8:11] in (b"hei", b"hev", b"mif", b"msf") else "Video or AVIF"
    for signature, name in (
        (b"%PDF-", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\x1f\x8b", "Compressed (gzip)"),
        (b"8BPS", "Photoshop"),
        (b"<svg", "SVG"),
    ):
        if data.startswith(signature):
            return name
    return None


def _check_header(image: ImageFile.ImageFile) -> None:
    check_picture_size(*image.size)
    if getattr(image, "is_animated", False):
        raise RadiographError(
            "expected one picture. Received: several in one file",
            code="UNSUPPORTED",
            advice=f"The file holds several pictures; {EXPORT}",
        )


def _check_complete(data: bytes) -> None:
    """Refuse a JPEG without its end or of too many scans, and a PNG whose checksums fail.

    The decoders would fill what is missing with grey.

    An interrupted download often has its full length, filled with zeros.
    """
    if data.startswith(b"\xff\xd8"):
        check_scans(data)
        complete = jpeg_ends(data)
    elif data.startswith(b"\x89PNG"):
        complete = _png_checks(data)
    else:
        return
    if not complete:
        raise RadiographError(
            "expected a complete image file. Received: one that breaks off or fails its checksum", advice=DAMAGED
        )


def _png_checks(data: bytes) -> bool:
    """Whether every critical chunk is there with its checksum, to the last (ISO/IEC 15948, section 5.3)."""
    position = 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        is_critical = not kind[:1].islower()
        if is_critical and zlib.crc32(memoryview(data)[position + 4 : end - 4]).to_bytes(4) != data[end - 4 : end]:
            return False
        if kind == b"IEND":
            return True
        position = end
    return False


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Cut the picture into bands of rows, so that no step holds several full-size copies."""
    for top in range(0, image.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


class _Hues:
    """What colours a picture has, gathered band by band: how many pixels are coloured, and in how many hues."""

    def __init__(self) -> None:
        self.pixels = self.coloured = 0
        self.sampled = self.tinted = 0
        self.length, self.sum = 0.0, np.zeros(2)

    def add(self, rgb: npt.NDArray[np.uint8]) -> None:
        """Count one band, uint8 (H, W, 3)."""
        red, green, blue = cv2.split(rgb)
        spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
        self.pixels += spread.size
        self.coloured += int(np.count_nonzero(spread > _COLOURED_SPREAD))
        # Hue is seen where there is light and the sensor is not saturated; every third row and column suffices.
        sample, spread = rgb[::3, ::3].reshape(-1, 3).astype(np.float32), spread[::3, ::3].reshape(-1)
        light = sample.mean(axis=1)
        is_seen = (light > 40) & (light < 215)
        is_hued = is_seen & (spread > _GREY_SPREAD)
        chroma = sample[is_hued][:, ::2] - sample[is_hued][:, 1:2]  # red and blue beside green: 0 for grey
        self.sampled += int(is_seen.sum())
        self.tinted += int(is_hued.sum())
        self.length += float(np.hypot(*chroma.T).sum())
        self.sum += chroma.sum(axis=0)

    @property
    def coloured_share(self) -> float:
        """The share of all pixels that are in colour."""
        return self.coloured / max(1, self.pixels)

    @property
    def is_one_hue(self) -> bool:
        """Whether most of what could show a hue shows one, and all of it the same."""
        return self.tinted > 0.5 * self.sampled > 0 and float(np.hypot(*self.sum)) > 0.97 * self.length


def _to_grey(image: Image.Image) -> tuple[Pixels, int, _Hues]:
    """Return (pixels, bits used, its colours)."""
    hues = _Hues()
    if image.mode.startswith("I") or image.mode == "F":
        return *_deep_grey(image), hues
    if image.mode in ("1", "L"):
        return np.asarray(image if image.mode == "L" else image.convert("L"), np.uint8), 8, hues
    grey = np.empty((image.height, image.width), np.uint8)
    for rows, band in _bands(image):
        rgb = _flattened(band)
        hues.add(rgb)
        grey[rows] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return grey, 8, hues


def _flattened(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return RGB uint8 (H, W, 3), with transparency composed over black."""
    if image.mode in ("LA", "PA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB"), np.uint8)


def _deep_grey(image: Image.Image) -> tuple[npt.NDArray[np.uint16], int]:
    deep = np.empty((image.height, image.width), np.uint16)
    for rows, band in _bands(image):
        values = np.asarray(band)
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 65535:
            raise RadiographError(
                "expected whole grey values in 0–65535. Received: fractions or values outside",
                code="UNSUPPORTED",
                advice=f"The picture's grey values are not those of a radiograph; {EXPORT}",
            )
        deep[rows] = values
    # Detectors store 10–16 bits in a 16-bit word; the smallest depth that holds the brightest pixel is the scale.
    bits = next(b for b in (8, 10, 12, 14, 15, 16) if int(deep.max()) < 2**b)
    # TIFF's WhiteIsZero (tag 262, the MONOCHROME1 of TIFF): PIL inverts it at 8 bits and not at 16.
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        np.subtract(2**bits - 1, deep, out=deep)
    return deep, bits


def _orientation(exif: bytes) -> int:
    """Return EXIF's orientation, 0 or 1 where there is none; faults elsewhere in the metadata have no effect."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "big" if tiff.startswith(b"MM") else "little"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4) + 2
    entries = range(first, first + 12 * number(first - 2, 2), 12)
    return next((number(entry + 8, 2) for entry in entries if number(entry, 2) == 0x0112), 1)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation from 1 to 8 (CIPA DC-008, tag 0112); any other is none."""
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.T,
        6: lambda p: p.T[:, ::-1],
        7: lambda p: p[::-1, ::-1].T,
        8: lambda p: p.T[::-1],
    }
    return turns[orientation](pixels).copy() if orientation in turns else pixels

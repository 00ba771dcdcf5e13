"""Bytes → `Radiograph`, and `Radiograph` → network input.

Everything that reaches the network passes `network_input`, in training and in service alike.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from model.errors import RadiographError
from model.film import Pixels as Pixels
from model.film import Radiograph as Radiograph

# 6,000 × 6,000: detectors and film scanners stay below 5,000 a side, and decoding stays below 300 MB.
MAX_PIXELS = 36_000_000
MIN_SHORT_SIDE = 32
MAX_BYTES = 200_000_000
DETAIL_PX = 224


class _JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG whose EXIF is left alone: PIL would read a resolution from it and warn of every fault in it."""

    def _read_dpi_from_exif(self) -> None:
        pass


# Opened by their first bytes and not through Image.open, which knows formats that are none of our business and have had
# security bugs, and whose size check warns through a process-wide filter that threads cannot change safely.
_OPENERS: tuple[tuple[bytes, Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", _JpegFile), (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile), (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile), (b"GIF8", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile))
_BAND_ROWS = 256
_EXPORT = "export the radiograph from its viewer as PNG or JPEG and upload that file."
_DAMAGED = f"The file is damaged or incomplete; {_EXPORT}"


def decode_radiograph(data: bytes) -> Radiograph:
    """Decode a JPEG, PNG, TIFF, BMP, WebP or still GIF file into one grey radiograph.

    EXIF orientation is applied, an alpha channel is laid over black, palette and CMYK become grey, 16-bit stays
    16-bit; of a multi-picture JPEG (MPO) the first counts. Nothing is decoded before the header's size has passed
    `MAX_PIXELS`, and nothing that lacks its end or fails its checksum is decoded at all.

    Raises RadiographError with the codes EMPTY, UNREADABLE, UNSUPPORTED, TOO_SMALL or TOO_LARGE.
    """
    if not data:
        raise RadiographError("expected an image file. Received: 0 bytes", code="EMPTY",
                              advice="The file is empty; export the radiograph again and upload the new file.")
    if len(data) > MAX_BYTES:
        raise _too_large(f"{len(data) / 1e6:.0f} MB", f"at most {MAX_BYTES / 1e6:.0f} MB")
    try:
        with _open(data) as image:
            _check_header(image)
            _check_complete(data)
            image.load()
            pixels, bits, coloured = _to_grey(image)
            pixels = _turned(pixels, _orientation(image.info.get("exif", b"")))
    except RadiographError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("a picture above PIL's limit", f"at most {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error, ValueError … on damage
        raise RadiographError(f"expected a complete image file. Received: {type(error).__name__} while decoding",
                              advice=_DAMAGED) from error
    pixels.flags.writeable = False
    return Radiograph(pixels, hashlib.sha256(data).hexdigest(), image.format or "unknown", bits, coloured)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header only."""
    name = _other_format(data)  # asked first: a DICOM file's preamble may be a TIFF header
    if name is None:
        for signature, opener in _OPENERS:
            if data.startswith(signature):
                return opener(io.BytesIO(data))
        raise RadiographError("expected a JPEG or PNG file. Received: bytes of no known image format",
                              advice=f"This file is not a picture, whatever its name says; {_EXPORT}")
    if name == "ZIP":
        advice = "This file is an archive; unpack it and upload the radiographs in it as PNG or JPEG."
    else:
        advice = f"{name} files cannot be read; {_EXPORT}"
    raise RadiographError(f"expected a JPEG or PNG file. Received: {name}", code="UNSUPPORTED", advice=advice)


def _other_format(data: bytes) -> str | None:
    """Name what hospitals and phones export and this reader does not take."""
    if data[128:132] == b"DICM":
        return "DICOM"
    # Without its preamble DICOM begins with group 0002 or 0008 and a low element number (PS3.10, PS3.5 section 7.1).
    if len(data) > 8 and (data[:2] in (b"\x02\0", b"\x08\0") and data[3] == 0 or data[:3] == b"\0\x08\0"):
        return "DICOM"
    if data[4:8] == b"ftyp":
        return "HEIC" if data[8:11] in (b"hei", b"hev", b"mif", b"msf") else "Video or AVIF"
    for signature, name in ((b"%PDF-", "PDF"), (b"PK\x03\x04", "ZIP"), (b"\0\0\0\x0cjP  ", "JPEG 2000"),
                            (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"\x1f\x8b", "Compressed (gzip)"),
                            (b"8BPS", "Photoshop"), (b"<svg", "SVG")):
        if data.startswith(signature):
            return name
    return None


def _check_header(image: ImageFile.ImageFile) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} × {height} px", f"at most {MAX_PIXELS / 1e6:.0f} megapixels")
    if min(width, height) < MIN_SHORT_SIDE:
        raise RadiographError(
            f"expected at least {MIN_SHORT_SIDE} px on the short side. Received: {width} × {height} px",
            code="TOO_SMALL", advice="The picture is too small to show a lung; export the radiograph at full size.")
    if getattr(image, "is_animated", False):
        raise RadiographError("expected one picture. Received: several in one file", code="UNSUPPORTED",
                              advice=f"The file holds several pictures; {_EXPORT}")


def _too_large(received: str, expected: str) -> RadiographError:
    return RadiographError(f"expected {expected}. Received: {received}", code="TOO_LARGE",
                           advice="The picture is too large; export it at the detector's own size or smaller.")


def _check_complete(data: bytes) -> None:
    """Refuse what the decoders would fill with grey: a JPEG without its end, a PNG whose checksums fail.

    A download that broke off often has its full length, in zeros.
    """
    if data.startswith(b"\xff\xd8"):
        complete = _jpeg_ends(data)
    elif data.startswith(b"\x89PNG"):
        complete = _png_checks(data)
    else:
        return
    if not complete:
        raise RadiographError("expected a complete image file. Received: one that breaks off or fails its checksum",
                              advice=_DAMAGED)


def _jpeg_ends(data: bytes) -> bool:
    """Whether an end-of-image marker follows the scan; what lies in the segments before, thumbnails too, is skipped."""
    position = 2
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 3:
        marker = data[position + 1]
        if marker == 0xDA:
            return data.find(b"\xff\xd9", position) >= 0
        has_length = 0xC0 <= marker <= 0xFE and not 0xD0 <= marker <= 0xD9
        position += 2 + int.from_bytes(data[position + 2:position + 4]) if has_length else 1
    return False


def _png_checks(data: bytes) -> bool:
    """Whether every critical chunk is there with its checksum, to the last (ISO/IEC 15948, section 5.3)."""
    position = 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position:position + 4])
        kind = data[position + 4:position + 8]
        is_critical = not kind[:1].islower()
        if is_critical and zlib.crc32(memoryview(data)[position + 4:end - 4]).to_bytes(4) != data[end - 4:end]:
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


def _to_grey(image: Image.Image) -> tuple[Pixels, int, float]:
    """Return (pixels, bits used, share of the picture that is in colour)."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"), dtype=np.uint8), 8, 0.0
    grey = np.empty((image.height, image.width), np.uint8)
    coloured = 0
    for rows, band in _bands(image):
        rgb = _flattened(band)
        red, green, blue = cv2.split(rgb)
        spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
        coloured += int(np.count_nonzero(spread > 24))
        grey[rows] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return grey, 8, coloured / grey.size


def _flattened(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return RGB uint8 (H, W, 3), with what is transparent over black."""
    if image.mode in ("LA", "PA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB"), np.uint8)


def _deep_grey(image: Image.Image) -> tuple[npt.NDArray[np.uint16], int, float]:
    deep = np.empty((image.height, image.width), np.uint16)
    for rows, band in _bands(image):
        values = np.asarray(band)
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 65535:
            raise RadiographError(
                "expected whole grey values in 0–65535. Received: fractions or values outside", code="UNSUPPORTED",
                advice=f"The picture's grey values are not those of a radiograph; {_EXPORT}")
        deep[rows] = values
    # Detectors store 10–16 bits in a 16-bit word; the smallest depth that holds the brightest pixel is the scale.
    bits = next(b for b in (8, 10, 12, 14, 15, 16) if int(deep.max()) < 2**b)
    # TIFF's WhiteIsZero (tag 262, the MONOCHROME1 of TIFF): PIL inverts it at 8 bits and forgets it at 16.
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        np.subtract(2**bits - 1, deep, out=deep)
    return deep, bits, 0.0


def _orientation(exif: bytes) -> int:
    """Return EXIF's orientation, 0 or 1 where there is none; faults elsewhere in the metadata do not matter."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "big" if tiff.startswith(b"MM") else "little"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at:at + size], order)

    first = number(4, 4) + 2
    entries = range(first, first + 12 * number(first - 2, 2), 12)
    return next((number(entry + 8, 2) for entry in entries if number(entry, 2) == 0x0112), 1)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation from 1 to 8 (CIPA DC-008, tag 0112); any other is none."""
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1], 5: lambda p: p.T,
        6: lambda p: p.T[:, ::-1], 7: lambda p: p[::-1, ::-1].T, 8: lambda p: p.T[::-1]}
    return turns[orientation](pixels).copy() if orientation in turns else pixels


def to_uint8(radiograph: Radiograph) -> npt.NDArray[np.uint8]:
    """Return the radiograph as uint8 (H, W) for display and for the network, linear over its bit depth."""
    if radiograph.pixels.dtype == np.uint8:
        return np.asarray(radiograph.pixels, np.uint8)
    shallow = np.empty(radiograph.pixels.shape, np.uint8)
    for top in range(0, radiograph.height, _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        scaled = radiograph.pixels[band].astype(np.float32) * (255.0 / (2**radiograph.bits - 1))
        shallow[band] = np.clip(np.round(scaled), 0, 255)
    return shallow


def network_input(radiograph: Radiograph, input_px: int, detail_px: int = DETAIL_PX) -> npt.NDArray[np.uint8]:
    """Squash the whole radiograph to a square: uint8 (input_px, input_px) in [0, 255].

    The picture first loses whatever is finer than `detail_px` along a side. How sharp a file is depends on the hospital
    and the export, and in the training data it depends on the label as well, so the network must not see it.
    """
    return enlarge(squash(radiograph, detail_px), input_px)


def squash(radiograph: Radiograph, detail_px: int = DETAIL_PX) -> npt.NDArray[np.uint8]:
    """Resample to uint8 (detail_px, detail_px), each pixel the mean of the area it covers."""
    return _resize(to_uint8(radiograph), detail_px)


def enlarge(square: npt.NDArray[np.uint8], input_px: int) -> npt.NDArray[np.uint8]:
    """Resample a square uint8 picture to uint8 (input_px, input_px), bilinear when it grows."""
    return _resize(square, input_px)


def _resize(pixels: npt.NDArray[np.uint8], px: int) -> npt.NDArray[np.uint8]:
    if pixels.shape == (px, px):
        return pixels
    height, width = pixels.shape
    # INTER_AREA only averages when both sides shrink, so each axis gets the filter that suits it.
    if height > px:
        pixels = cv2.resize(pixels, (width, px), interpolation=cv2.INTER_AREA).astype(np.uint8)
    if width > px:
        pixels = cv2.resize(pixels, (px, pixels.shape[0]), interpolation=cv2.INTER_AREA).astype(np.uint8)
    if pixels.shape != (px, px):
        pixels = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return pixels

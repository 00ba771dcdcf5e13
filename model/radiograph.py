"""Bytes → `Radiograph`, and `Radiograph` → network input.

Everything that reaches the network passes `network_input`, in training and in service alike.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import RadiographError

MAX_PIXELS = 64_000_000
MIN_SHORT_SIDE = 32
MAX_BYTES = 200_000_000
DETAIL_PX = 224

# What PIL may open; anything else it knows (PDF, EPS, FITS …) is none of our business and has had security bugs.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "MPO")
_EXPORT = "Export the radiograph from its viewer as PNG or JPEG and upload that file."


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """One decoded radiograph.

    `pixels` is uint8 or uint16 (H, W), larger is brighter (MONOCHROME2), read-only; `bits` is how many of a uint16's
    bits are used. `sha256` is that of the file's bytes, in hexadecimal. `is_colour` tells that the channels differed
    by more than compression explains.
    """

    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    sha256: str
    source_format: str
    bits: int = 8
    is_colour: bool = False

    @property
    def height(self) -> int:
        """Rows of `pixels`."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of `pixels`."""
        return int(self.pixels.shape[1])


def decode_radiograph(data: bytes) -> Radiograph:
    """Decode a JPEG, PNG, TIFF, BMP or WebP file into one grey radiograph.

    EXIF orientation is applied, an alpha channel is laid over black, palette and CMYK become grey, 16-bit stays
    16-bit. Nothing is decoded before the header's size has passed `MAX_PIXELS`.

    Raises RadiographError with the codes EMPTY, UNREADABLE, UNSUPPORTED, TOO_SMALL or TOO_LARGE.
    """
    if not data:
        raise RadiographError("expected an image file. Received: 0 bytes", code="EMPTY",
                              advice="The file is empty. Export the radiograph again and upload the new file.")
    if len(data) > MAX_BYTES:
        raise _too_large(f"{len(data) / 1e6:.0f} MB", f"at most {MAX_BYTES / 1e6:.0f} MB")
    if data[128:132] == b"DICM":
        raise RadiographError("expected JPEG or PNG. Received: DICOM", code="UNSUPPORTED",
                              advice=f"DICOM files cannot be read yet. {_EXPORT}")
    digest = hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                _check_header(image)
                name = image.format or "unknown"
                image.load()
                pixels, bits, is_colour = _to_grey(ImageOps.exif_transpose(image))
    except RadiographError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("a picture above PIL's limit", f"at most {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except UnidentifiedImageError as error:
        raise RadiographError("expected a JPEG or PNG file. Received: bytes of no known image format",
                              advice=f"This file is not a picture, whatever its name says. {_EXPORT}") from error
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error, ValueError … on damage
        raise RadiographError(f"expected a complete image file. Received: {type(error).__name__} while decoding",
                              advice=f"The file is damaged or incomplete. {_EXPORT}") from error
    pixels.flags.writeable = False
    return Radiograph(pixels, digest, name, bits, is_colour)


def _check_header(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} × {height} px", f"at most {MAX_PIXELS / 1e6:.0f} megapixels")
    if min(width, height) < MIN_SHORT_SIDE:
        raise RadiographError(
            f"expected at least {MIN_SHORT_SIDE} px on the short side. Received: {width} × {height} px", code="TOO_SMALL",
            advice="The picture is too small to show a lung. Export the radiograph at full size.")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise RadiographError(f"expected one picture. Received: {getattr(image, 'n_frames', 1)} frames", code="UNSUPPORTED",
                              advice=f"The file holds several pictures. {_EXPORT}")


def _too_large(received: str, expected: str) -> RadiographError:
    return RadiographError(f"expected {expected}. Received: {received}", code="TOO_LARGE",
                           advice="The picture is too large. Export it at the detector's own size or smaller.")


def _to_grey(image: Image.Image) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint16], int, bool]:
    """Return (pixels, bits used, whether it was in colour)."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(np.asarray(image))
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"), dtype=np.uint8), 8, False
    rgb = np.asarray(image.convert("RGB"))
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    # Chroma subsampling colours grey edges a little; a tinted film or a photograph is coloured over areas.
    is_colour = bool((spread > 24).mean() > 0.01)
    grey = rgb[..., 0].copy() if not spread.any() else np.array(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    return grey.astype(np.uint8), 8, is_colour


def _deep_grey(values: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.uint16], int, bool]:
    wide = np.nan_to_num(values.astype(np.float64))
    if wide.min() < 0 or wide.max() > 65535:
        raise RadiographError("expected grey values in 0–65535. Received: values outside", code="UNSUPPORTED",
                              advice=f"The picture's grey values are not those of a radiograph. {_EXPORT}")
    deep = np.round(wide).astype(np.uint16)
    # Detectors store 10–16 bits in a 16-bit word; the smallest depth that holds the brightest pixel is the scale.
    bits = next(b for b in (8, 10, 12, 14, 15, 16) if int(deep.max()) < 2**b)
    return deep, bits, False


def to_uint8(radiograph: Radiograph) -> npt.NDArray[np.uint8]:
    """Return the radiograph as uint8 (H, W) for display and for the network, linear over its bit depth."""
    if radiograph.pixels.dtype == np.uint8:
        return radiograph.pixels.astype(np.uint8, copy=False)
    scaled = radiograph.pixels.astype(np.float32) * (255.0 / (2**radiograph.bits - 1))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


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

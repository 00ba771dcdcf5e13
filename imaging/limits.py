"""Limits of what comes from outside, and the refusals that name them."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import RadiographError
from core.formatting import format_size

# What to do about a file that cannot be used: the end of many pieces of advice.
EXPORT = "export the radiograph from its viewer as PNG or JPEG and upload that file."
DAMAGED = f"The file is damaged or incomplete; {EXPORT}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file, its picture and an archive of files may be.

    Attributes
    ----------
    file_bytes
        Bytes of one file, unpacked.
    pixels
        Pixels of one picture. 6,000 × 6,000: detectors and film scanners stay below 5,000 a side, and decoding stays
        below 300 MB.
    short_side
        The fewest pixels along a picture's short side.
    scans
        Scans of one JPEG. Encoders write ten for a progressive one; each costs a pass over the whole picture.
    decode_seconds
        Processor time for one picture, in seconds. Lossless JPEG 2000 of 4,000 × 4,000 px at 16 bits takes five.
    decode_bytes
        Memory of a decoder for one picture. The largest picture as a progressive JPEG in colour takes two thirds.
    dicom_elements
        Elements of one DICOM file, those in sequences included.
    entries
        Files and folders of one archive.
    total_bytes
        Bytes of all files of an archive, unpacked.
    ratio
        Bytes unpacked over bytes packed, of one file as of all together. It holds from `ratio_from` unpacked bytes on.
    """

    file_bytes: int = 200_000_000
    pixels: int = 36_000_000
    short_side: int = 32
    scans: int = 100
    decode_seconds: int = 10
    decode_bytes: int = 1_000_000_000
    dicom_elements: int = 100_000
    entries: int = 20_000
    total_bytes: int = 40_000_000_000
    ratio: float = 100.0
    ratio_from: int = 16_000_000

    @property
    def inflated_bytes(self) -> int:
        """Bytes of a deflated DICOM data set, inflated: the largest picture at 16 bits, and a header."""
        return 2 * self.pixels + 20_000_000


LIMITS = Limits()


def check_picture_size(width: int, height: int) -> None:
    """Refuse a picture by the `width` and `height` in pixels of its header, before anything is decoded.

    Raises
    ------
    RadiographError
        With the code TOO_LARGE or TOO_SMALL.
    """
    if width * height > LIMITS.pixels:
        raise too_many_pixels(f"{width} × {height} px")
    if min(width, height) < LIMITS.short_side:
        raise RadiographError(
            f"expected at least {LIMITS.short_side} px on the short side. Received: {width} × {height} px",
            code="TOO_SMALL",
            advice="The picture is too small to show a lung; export the radiograph at full size.",
        )


def check_file_size(size: int) -> None:
    """Refuse a file by its number of bytes, before it is read.

    Raises
    ------
    RadiographError
        With the code TOO_LARGE.
    """
    if size > LIMITS.file_bytes:
        raise too_large(format_size(size), f"at most {format_size(LIMITS.file_bytes)}")


def too_many_pixels(received: str) -> RadiographError:
    """Return the refusal of a picture with more pixels than allowed."""
    return too_large(received, f"at most {LIMITS.pixels / 1e6:.0f} megapixels")


def too_large(received: str, expected: str) -> RadiographError:
    """Return the error, with the code TOO_LARGE, for a file of which `received` is beyond the limit `expected`."""
    return RadiographError(
        f"expected {expected}. Received: {received}",
        code="TOO_LARGE",
        advice="The picture is too large; export it at the detector's own size or smaller.",
    )

"""Decoding of compressed frames: JPEG, JPEG-LS and JPEG 2000 as DICOM encapsulates them (PS3.5 section A.4).

The stream itself says which it is, so a wrong transfer syntax does no harm. PIL decodes eight-bit JPEG, as it does in
pictures, and GDCM everything else; both do so in a decoder process (`imaging.worker`).
"""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from imaging import worker
from imaging.dicom.elements import damaged
from imaging.film import Pixels
from imaging.jpeg import check_scans, jpeg_ends
from imaging.limits import EXPORT

# Start of frame (ISO/IEC 10918-1 table B.1, 14495-1) → the transfer syntax that GDCM knows it by; "" is PIL's.
_FRAMES = {
    0xC0: "",
    0xC1: "1.2.840.10008.1.2.4.51",
    0xC2: "",
    0xC3: "1.2.840.10008.1.2.4.57",
    0xF7: "1.2.840.10008.1.2.4.81",
}
_JPEG_2000 = "1.2.840.10008.1.2.4.91"
_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class _Frame:
    """The frame header of a stream; `syntax` is "" where PIL decodes it."""

    rows: int
    columns: int
    components: int
    precision: int
    syntax: str


def decode_stream(stream: bytes, rows: int, columns: int) -> tuple[Pixels, int]:
    """Decode one grey frame.

    Parameters
    ----------
    stream
        The fragments of the frame, joined.
    rows, columns
        What the header says; a stream of another size is refused.

    Returns
    -------
    words
        (rows, columns), uint8 or uint16. Signed values are returned as their bits.
    precision
        Bits of a word that are used.

    Raises
    ------
    RadiographError
        With the codes UNREADABLE, UNSUPPORTED or TOO_LARGE.
    """
    if stream.startswith(b"\xff\xd8"):
        frame, is_complete = _jpeg_frame(stream), jpeg_ends(stream)
    elif (start := stream[:4096].find(_START)) >= 0:  # perhaps within the boxes of a JP2 file
        stream = stream[start:]
        # No marker can occur among the packets of a code stream (ISO/IEC 15444-1 annex A).
        frame, is_complete = _jpeg_2000_frame(stream), b"\xff\xd9" in stream[-1024:]
    else:
        raise damaged("pixel data of no known compression")
    if frame.components != 1:
        raise RadiographError(
            "expected one grey picture. Received: a colour picture",
            code="UNSUPPORTED",
            advice=f"The picture is in colour; {EXPORT}",
        )
    if (frame.rows, frame.columns) != (rows, columns):
        raise damaged("a compressed picture of another size than its header says")
    if not is_complete:
        raise damaged("a compressed picture that breaks off")
    if stream.startswith(b"\xff\xd8"):
        check_scans(stream)
    if not frame.syntax:
        return _decode_with_pil(stream, frame), 8
    return _decode_with_gdcm(stream, frame), frame.precision


def _jpeg_frame(stream: bytes) -> _Frame:
    position = 2
    while 0 <= (position := stream.find(b"\xff", position)) < len(stream) - 18:
        marker, length = struct.unpack_from(">xBH", stream, position)
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, position + 4)
            syntax = _FRAMES.get(marker)
            if precision == 8 and marker == 0xC1:
                syntax = ""
            if syntax is None or not 2 <= precision <= 16 or (not syntax and precision != 8):
                raise _unsupported("a JPEG of a kind that radiographs do not have")
            return _Frame(rows, columns, components, precision, syntax)
        if marker == 0xDA:
            break
        has_length = 0xC0 <= marker <= 0xFE and not 0xD0 <= marker <= 0xD9
        position += 2 + length if has_length else 1
    raise damaged("a JPEG without its frame")


def _jpeg_2000_frame(stream: bytes) -> _Frame:
    """Read the SIZ segment (ISO/IEC 15444-1 section A.5.1)."""
    if len(stream) < 45:
        raise damaged("a JPEG 2000 without its frame")
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    components, depth, across, down = struct.unpack_from(">HBBB", stream, 40)
    precision = (depth & 0x7F) + 1
    if (across, down) != (1, 1) or precision > 16:
        raise _unsupported("a JPEG 2000 of a kind that radiographs do not have")
    return _Frame(bottom - top, right - left, components, precision, _JPEG_2000)


def _decode_with_pil(stream: bytes, frame: _Frame) -> npt.NDArray[np.uint8]:
    pixels = _of_size(worker.decode("jpeg", stream)[0].pixels, frame)
    return np.asarray(pixels, np.uint8)


def _decode_with_gdcm(stream: bytes, frame: _Frame) -> Pixels:
    if importlib.util.find_spec("_gdcm") is None:  # finds it without importing it
        raise _unsupported("a compressed picture, and the library python-gdcm is not installed")
    allocated = 8 if frame.precision <= 8 else 16
    numbers = (frame.rows, frame.columns, allocated, frame.precision, frame.syntax)
    return _of_size(worker.decode("frame", stream, numbers)[0].pixels, frame)


def _of_size(pixels: Pixels, frame: _Frame) -> Pixels:
    if pixels.shape != (frame.rows, frame.columns):
        raise damaged("a compressed picture of another size than its header says")
    return pixels


def _unsupported(received: str) -> RadiographError:
    return RadiographError(
        f"expected a supported compression. Received: {received}",
        code="UNSUPPORTED",
        advice=f"The compression of the picture is not supported; {EXPORT}",
    )

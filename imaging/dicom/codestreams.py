"""Decoding of compressed frames: JPEG, JPEG-LS and JPEG 2000 as DICOM encapsulates them (PS3.5 section A.4).

The stream itself says which it is, so a wrong transfer syntax does no harm. PIL decodes eight-bit JPEG, as it does in
pictures; GDCM decodes everything else in a process of its own (`codec_worker`), because its decoders crash on some
damaged streams.
"""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from imaging.dicom.elements import damaged
from imaging.jpeg import grey_jpeg, jpeg_ends
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
_WORKER = Path(__file__).with_name("codec_worker.py")
_SECONDS = 9  # of processor time; a lossless JPEG 2000 image of 4,000 × 4,000 px at 16 bits takes five
_WAIT = 60.0  # of the clock, on a busy machine


@dataclass(frozen=True, slots=True)
class _Frame:
    """The frame header of a stream; `syntax` is "" where PIL decodes it."""

    rows: int
    columns: int
    components: int
    precision: int
    syntax: str


def decode_stream(stream: bytes, rows: int, columns: int) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint16], int]:
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
        With the codes UNREADABLE or UNSUPPORTED.
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
    try:
        pixels = grey_jpeg(stream)
    except Exception as error:  # PIL's decoders raise many kinds of errors
        raise damaged(f"{type(error).__name__} while decoding") from error
    if pixels.shape != (frame.rows, frame.columns):
        raise damaged("a compressed picture of another size than its header says")
    return pixels


def _decode_with_gdcm(stream: bytes, frame: _Frame) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    found = importlib.util.find_spec("_gdcm")  # finds it without importing it
    if found is None or not found.submodule_search_locations:
        raise _unsupported("a compressed picture, and the library python-gdcm is not installed")
    folder = Path(next(iter(found.submodule_search_locations))).parent
    count = frame.rows * frame.columns
    allocated = 8 if frame.precision <= 8 else 16
    # Decoders need some five copies, the widest with four bytes a pixel.
    numbers = (frame.rows, frame.columns, allocated, frame.precision)
    command = [
        sys.executable,
        "-I",
        "-S",
        str(_WORKER),
        str(folder),
        *map(str, numbers),
        frame.syntax,
        str(300_000_000 + 18 * count),
        str(_SECONDS),
    ]
    try:
        answer = subprocess.run(
            command, input=stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_WAIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise damaged("a compressed picture that takes too long to decode") from error
    if answer.returncode != 0 or len(answer.stdout) != count * allocated // 8:
        raise damaged("a compressed picture that cannot be decoded")
    return np.frombuffer(answer.stdout, np.uint8 if allocated == 8 else "<u2").reshape(frame.rows, frame.columns)


def _unsupported(received: str) -> RadiographError:
    return RadiographError(
        f"expected a supported compression. Received: {received}",
        code="UNSUPPORTED",
        advice=f"The compression of the picture is not supported; {EXPORT}",
    )

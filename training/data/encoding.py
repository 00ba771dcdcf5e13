"""How a picture file is encoded, read from its header alone: format, JPEG tables, sampling, order of the scans.

>>> encoding_of(Path("IM-0115-0001.jpeg").read_bytes()).format
'JPEG'
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
    b"RIFF": "WEBP",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
}
# Start of frame: all but the markers of Huffman tables, arithmetic conditioning and extensions.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoding of a picture file.

    Attributes
    ----------
    format
        "JPEG", "PNG", "TIFF", "BMP", "WEBP", "JPEG 2000", "DICOM" or "other".
    quantisation
        Mean of the first JPEG quantisation table, at least 1: larger is coarser; nan without one.
    components
        Number of JPEG components, 0 if unknown.
    subsampled
        Whether the first JPEG component has a finer grid than another one.
    progressive
        Whether the JPEG file is progressive.
    """

    format: str
    quantisation: float = math.nan
    components: int = 0
    subsampled: bool = False
    progressive: bool = False


def encoding_of(data: bytes) -> Encoding:
    """Read the encoding of a picture file from the `data` of its header; a damaged header leaves defaults."""
    if data[128:132] == b"DICM":
        return Encoding("DICOM")
    kind = next((name for magic, name in FORMATS.items() if data.startswith(magic)), "other")
    return _jpeg(data) if kind == "JPEG" else Encoding(kind)


def _jpeg(data: bytes) -> Encoding:
    quantisation, components, subsampled, progressive = math.nan, 0, False, False
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _WITHOUT_LENGTH or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDB and math.isnan(quantisation) and body:
            size = 2 if body[0] >> 4 else 1
            table = body[1 : 1 + 64 * size]
            if len(table) == 64 * size:
                quantisation = sum(struct.unpack(f">{64}{'H' if size == 2 else 'B'}", table)) / 64
        elif marker in _FRAMES and len(body) >= 6:
            components, progressive = body[5], marker in _PROGRESSIVE
            grids = [body[7 + 3 * k] for k in range(components) if 7 + 3 * k < len(body)]
            subsampled = len(set(grids)) > 1
        elif marker == 0xDA:
            break
        at += 2 + max(2, length)
    return Encoding("JPEG", quantisation, components, subsampled, progressive)

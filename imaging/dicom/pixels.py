"""The Image Pixel module (PS3.3 C.7.6.3): how the pixels are stored, and the stored words."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.errors import RadiographError
from imaging.dicom.codestreams import decode_stream
from imaging.dicom.elements import DataSet, DicomFile, Tag, damaged
from imaging.limits import EXPORT, check_picture_size

Words = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_COLOURS = {
    "RGB",
    "PALETTE COLOR",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
    "YBR_ICT",
    "YBR_RCT",
    "HSV",
    "ARGB",
    "CMYK",
}


@dataclass(frozen=True, slots=True)
class PixelModule:
    """How a grey frame is stored.

    Attributes
    ----------
    rows, columns
        Rows and Columns.
    allocated
        BitsAllocated: 8 or 16.
    stored
        BitsStored: how many bits are used.
    high_bit
        HighBit: the highest of these.
    is_signed
        PixelRepresentation 1.
    is_negative
        MONOCHROME1: the lowest value is white.
    """

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    is_signed: bool
    is_negative: bool


def pixel_module(dataset: DataSet) -> PixelModule:
    """Read how the pixels are stored. Missing or contradictory bit depths get their usual values.

    Raises
    ------
    RadiographError
        UNSUPPORTED for several frames, colour and other bit depths; UNREADABLE, TOO_SMALL or TOO_LARGE.
    """
    frames = dataset.whole(Tag.NumberOfFrames)
    if frames is not None and frames > 1:
        raise _unsupported(f"a multi-frame file of {frames} pictures", "The file holds several pictures")
    samples = dataset.whole(Tag.SamplesPerPixel)
    photometric = dataset.text(Tag.PhotometricInterpretation).upper()
    if photometric in _COLOURS or samples in (3, 4):
        raise _unsupported("a colour picture", "The picture is in colour")
    if samples not in (None, 1) or photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        raise damaged("pixels of no known photometric interpretation")
    rows, columns = dataset.whole(Tag.Rows), dataset.whole(Tag.Columns)
    if rows is None or columns is None or rows < 1 or columns < 1:
        raise damaged("a picture without its number of rows and columns")
    check_picture_size(columns, rows)
    stored = dataset.whole(Tag.BitsStored)
    allocated = dataset.whole(Tag.BitsAllocated) or (16 if stored is not None and stored > 8 else 8)
    if allocated not in (8, 16):
        raise _unsupported(f"{allocated} bits a pixel", "The picture has an unusual bit depth")
    if stored is None or not 1 <= stored <= allocated:
        stored = allocated
    high_bit = dataset.whole(Tag.HighBit)
    if high_bit is None or not stored - 1 <= high_bit < allocated:
        high_bit = stored - 1
    is_signed = dataset.whole(Tag.PixelRepresentation) == 1
    return PixelModule(rows, columns, allocated, stored, high_bit, is_signed, photometric == "MONOCHROME1")


def stored_words(file: DicomFile, module: PixelModule) -> tuple[Words, PixelModule]:
    """Return the stored words of the frame.

    Parameters
    ----------
    file
        The file as `read_elements` returns it.
    module
        What its header says of the pixels.

    Returns
    -------
    words
        (rows, columns), uint8 or uint16.
    module
        The module as the compressed stream has it.

    Raises
    ------
    RadiographError
        With the codes UNREADABLE or UNSUPPORTED.
    """
    if file.fragments is None:
        return _native(file, module), module
    if file.syntax == RLE_LOSSLESS:
        return _run_lengths(b"".join(file.fragments), module), module
    words, precision = decode_stream(b"".join(file.fragments), module.rows, module.columns)
    # A stream of fewer bits than BitsStored has its sign in its own highest bit.
    stored = min(module.stored, precision)
    high_bit = module.high_bit if module.high_bit < precision else stored - 1
    return words, PixelModule(
        module.rows, module.columns, 8 * words.dtype.itemsize, stored, high_bit, module.is_signed, module.is_negative
    )


def _native(file: DicomFile, module: PixelModule) -> Words:
    """View uncompressed pixels without a copy where the byte order is the machine's (PS3.5 section 8.1)."""
    element = file.dataset.elements[Tag.PixelData]
    count = module.rows * module.columns
    if len(element.value) < count * module.allocated // 8:
        raise damaged("fewer pixels than Rows and Columns say")
    shape = module.rows, module.columns
    if module.allocated == 16:
        words = np.frombuffer(element.value, "<u2" if element.is_little else ">u2", count)
        return words.astype(np.uint16, copy=False).reshape(shape)
    pixels = np.frombuffer(element.value, np.uint8)
    if not element.is_little and element.vr == "OW":  # bytes in pairs, each pair turned about (PS3.5 section A.3)
        pixels = pixels[: len(pixels) // 2 * 2].view(">u2").astype("<u2").view(np.uint8)
    if pixels.size < count:
        raise damaged("fewer pixels than Rows and Columns say")
    return pixels[:count].reshape(shape)


def _run_lengths(data: bytes, module: PixelModule) -> Words:
    """Decode RLE (PS3.5 annex G): one PackBits segment for each byte of a word, the high one first."""
    count = module.allocated // 8
    if len(data) < 64 or struct.unpack_from("<I", data)[0] != count:
        raise damaged("run lengths of another depth")
    starts = [*struct.unpack_from(f"<{count}I", data, 4), len(data)]
    if starts != sorted(starts) or starts[0] < 64:
        raise damaged("run lengths beyond the end of the file")
    words = np.zeros((module.rows, module.columns), np.uint8 if count == 1 else np.uint16)
    for start, end in pairwise(starts):
        try:
            # One row as long as the whole picture, since some encoders let runs cross the ends of rows.
            band = Image.frombytes("L", (words.size, 1), data[start:end], "packbits", "L")
        except ValueError as error:
            raise damaged("run lengths that break off") from error
        if count == 2:
            words <<= 8
        words |= np.asarray(band).reshape(words.shape)
    return words


def _unsupported(received: str, fault: str) -> RadiographError:
    return RadiographError(
        f"expected one grey picture. Received: {received}", code="UNSUPPORTED", advice=f"{fault}; {EXPORT}"
    )

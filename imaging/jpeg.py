"""JPEG streams, in files of their own and inside DICOM."""

from __future__ import annotations

import io
import re

import numpy as np
import numpy.typing as npt
from PIL import JpegImagePlugin

from core.errors import RadiographError
from imaging.limits import EXPORT, LIMITS

_SCAN, _END = 0xDA, 0xD9
# A marker among entropy-coded data, where FF 00 stands for FF and FF D0–D7 separate restart intervals.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG whose EXIF is not parsed: PIL would read a resolution from it and warn of every fault in it."""

    def _read_dpi_from_exif(self) -> None:
        pass


def jpeg_ends(data: bytes) -> bool:
    """Whether an end-of-image marker follows the scan; segments before it, thumbnails included, are skipped."""
    position = 2
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 3:
        marker = data[position + 1]
        if marker == 0xDA:
            return data.find(b"\xff\xd9", position) >= 0
        has_length = 0xC0 <= marker <= 0xFE and not 0xD0 <= marker <= 0xD9
        position += 2 + int.from_bytes(data[position + 2 : position + 4]) if has_length else 1
    return False


def check_scans(data: bytes) -> None:
    """Refuse a JPEG of more scans than `Limits.scans`, before any of it is decoded.

    Raises
    ------
    RadiographError
        With the code UNSUPPORTED.
    """
    # Metadata may hold the two bytes by chance, but no marker is missed by counting them all.
    if data.count(b"\xff\xda") > LIMITS.scans and _has_more_scans(data, LIMITS.scans):
        raise RadiographError(
            f"expected a JPEG of at most {LIMITS.scans} scans. Received: more",
            code="UNSUPPORTED",
            advice=f"The picture is stored in far more passes than any radiograph; {EXPORT}",
        )


def _has_more_scans(data: bytes, most: int) -> bool:
    scans, position = 0, 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, position = data[found.start() + 1], found.end()
        if marker == _END:
            return False
        if marker == _SCAN:
            scans += 1
            if scans > most:
                return True
        if marker not in (0x01, 0xD8):  # those stand alone
            position += int.from_bytes(data[position : position + 2])
    return False


def grey_jpeg(stream: bytes) -> npt.NDArray[np.uint8]:
    """Decode a bare JPEG of one component, without applying an orientation.

    Parameters
    ----------
    stream
        The JPEG file.

    Returns
    -------
    ndarray
        (H, W), uint8.

    Raises
    ------
    ValueError
        If it has several components. PIL's exceptions pass through.
    """
    with JpegFile(io.BytesIO(stream)) as image:
        if image.mode != "L":
            raise ValueError(f"expected one component. Received: {image.mode}")
        return np.asarray(image, np.uint8)

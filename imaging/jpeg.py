"""JPEG streams, in files of their own and inside DICOM."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import JpegImagePlugin


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
        return np.array(image, np.uint8)

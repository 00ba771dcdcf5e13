"""Decoding of files into a `Radiograph`, and of a `Radiograph` into network input.

Training and service use the same `network_input`.

>>> radiograph = decode_radiograph(data)                         # doctest: +SKIP
>>> network_input(radiograph, 299).shape                         # doctest: +SKIP
(299, 299)
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from imaging import worker
from imaging.border import fill_border
from imaging.dicom.decode import decode_dicom
from imaging.dicom.elements import is_dicom
from imaging.film import Pixels as Pixels
from imaging.film import Radiograph as Radiograph
from imaging.limits import check_file_size
from imaging.lut import apply_lut
from imaging.pictures import decode_picture
from imaging.resample import eight_bits, resize

DETAIL_PX = 224


def decode_radiograph(data: bytes) -> Radiograph:
    """Decode a DICOM, JPEG, PNG, TIFF, BMP, WebP or still GIF file into one grey radiograph.

    The first bytes decide on the format, never the file's name. DICOM comes first, since its preamble may be the
    header of a TIFF.

    Parameters
    ----------
    data
        The bytes of the file.

    Returns
    -------
    Radiograph
        As `imaging.dicom.decode.decode_dicom` or `imaging.pictures.decode_picture` describes it.

    Raises
    ------
    RadiographError
        With the codes EMPTY, UNREADABLE, UNSUPPORTED, TOO_SMALL or TOO_LARGE and, by a DICOM header,
        NOT_A_CHEST_RADIOGRAPH or NOT_FRONTAL.
    """
    _check_size(data)
    return decode_dicom(data) if is_dicom(data) else decode_picture(data)


def decode_square(data: bytes, detail_px: int = DETAIL_PX) -> tuple[npt.NDArray[np.uint8], str]:
    """Return `squash(decode_radiograph(data), detail_px)` and the file's SHA-256, for whoever reads thousands of files.

    A picture is resampled in the decoder process as well, so that a small square is returned instead of all its pixels.

    Parameters
    ----------
    data
        The file.
    detail_px
        Side of the square in pixels.

    Returns
    -------
    square
        (detail_px, detail_px), uint8.
    sha256
        In hexadecimal digits.

    Raises
    ------
    RadiographError
        As `decode_radiograph` does.
    """
    _check_size(data)
    if is_dicom(data):
        radiograph = decode_dicom(data)
        return squash(radiograph, detail_px), radiograph.sha256
    decoded, digest = worker.decode("square", data, (detail_px,), meanwhile=lambda: hashlib.sha256(data).hexdigest())
    return np.asarray(decoded.pixels, np.uint8), digest


def _check_size(data: bytes) -> None:
    if not data:
        raise RadiographError(
            "expected an image file. Received: 0 bytes",
            code="EMPTY",
            advice="The file is empty; export the radiograph again and upload the new file.",
        )
    check_file_size(len(data))


def rendered(radiograph: Radiograph, k: int) -> Radiograph:
    """Return the radiograph in another rendering.

    Parameters
    ----------
    radiograph
        A DICOM radiograph.
    k
        Index in `Radiograph.renderings`.

    Returns
    -------
    Radiograph
        With new pixels of 16 bits, all else unchanged.

    Raises
    ------
    IndexError
        If there is no such rendering, as in files that are not DICOM.
    """
    rendering = radiograph.renderings[k]
    if radiograph.deep is None:
        raise IndexError("expected a radiograph with deep values. Received: one without")
    pixels = apply_lut(rendering.curve, radiograph.deep)
    pixels.flags.writeable = False
    return dataclasses.replace(radiograph, pixels=pixels, bits=16)


def to_uint8(radiograph: Radiograph) -> npt.NDArray[np.uint8]:
    """Return the radiograph with 8 bits, for display and for the network.

    Returns
    -------
    ndarray
        (H, W), uint8, linear over the bit depth.
    """
    return eight_bits(radiograph.pixels, radiograph.bits)


def network_input(
    radiograph: Radiograph, input_px: int, detail_px: int = DETAIL_PX, fills_border: bool = False
) -> npt.NDArray[np.uint8]:
    """Squash the whole radiograph to the square that the network takes.

    The picture first loses whatever is finer than `detail_px` along a side. How sharp a file is depends on the hospital
    and the export, and in the training data it depends on the label as well, so the network must not see it.

    Parameters
    ----------
    radiograph
        The radiograph as decoded.
    input_px
        The side of the square.
    detail_px
        The side that it is first reduced to.
    fills_border
        Whether the margin continues over black borders (`imaging.border`).

    Returns
    -------
    ndarray
        (input_px, input_px), uint8.
    """
    square = squash(radiograph, detail_px)
    return enlarge(fill_border(square) if fills_border else square, input_px)


def squash(radiograph: Radiograph, detail_px: int = DETAIL_PX) -> npt.NDArray[np.uint8]:
    """Resample a radiograph to a square, whatever its aspect ratio: areas are averaged, a small radiograph is enlarged.

    Parameters
    ----------
    radiograph
        The radiograph.
    detail_px
        Side of the square in pixels.

    Returns
    -------
    ndarray
        (detail_px, detail_px), uint8.
    """
    return resize(to_uint8(radiograph), detail_px)


def enlarge(square: npt.NDArray[np.uint8], input_px: int) -> npt.NDArray[np.uint8]:
    """Resample a square picture to the input size of a network.

    Parameters
    ----------
    square
        (px, px), uint8.
    input_px
        Side of the result in pixels; bilinear when it is larger.

    Returns
    -------
    ndarray
        (input_px, input_px), uint8.
    """
    return resize(square, input_px)

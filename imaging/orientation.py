"""Rotation and grayscale inversion of a radiograph, with its header and all of its renderings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imaging.film import Pixels, Radiograph, Rendering

ROTATIONS = (0, 90, 180, 270)
_BAND_ROWS = 256


def rotate(radiograph: Radiograph, degrees: int) -> Radiograph:
    """Rotate a radiograph clockwise, without resampling.

    Parameters
    ----------
    radiograph
        The radiograph as decoded.
    degrees
        One of `ROTATIONS`.

    Returns
    -------
    Radiograph
        The rotated copy. PatientOrientation and the pixel spacing of its header are rotated as well.

    Raises
    ------
    ValueError
        For another angle.
    """
    if degrees not in ROTATIONS:
        raise ValueError(f"expected a rotation of 0, 90, 180 or 270 degrees. Received: {degrees}")
    if not degrees:
        return radiograph
    quarters = degrees // 90
    pixels, header = _read_only(np.rot90(radiograph.pixels, -quarters)), radiograph.header
    deep = None if radiograph.deep is None else np.asarray(_read_only(np.rot90(radiograph.deep, -quarters)), np.uint16)
    if header is not None:
        directions, size = header.orientation, header.pixel_mm
        for _ in range(quarters):
            # A row of the rotated picture is a column read upwards, and a column is a row.
            directions = None if directions is None else (_opposite(directions[1]), directions[0])
            size = None if size is None else (size[1], size[0])
        header = replace(header, orientation=directions, pixel_mm=size)
    return replace(radiograph, pixels=pixels, deep=deep, header=header)


def invert_grayscale(radiograph: Radiograph) -> Radiograph:
    """Return the radiograph with black and white exchanged, at its own bit depth and in every rendering."""
    top = 2**radiograph.bits - 1
    pixels = _mirrored_greys(radiograph.pixels, top)
    if radiograph.deep is None or not radiograph.renderings:
        return replace(radiograph, pixels=pixels)
    greatest = len(radiograph.renderings[0].curve) - 1
    deep = np.asarray(_mirrored_greys(radiograph.deep, greatest), np.uint16)
    return replace(
        radiograph,
        pixels=pixels,
        deep=deep,
        renderings=tuple(_inverted_rendering(one, greatest) for one in radiograph.renderings),
    )


def _inverted_rendering(rendering: Rendering, greatest: int) -> Rendering:
    curve = (65535 - rendering.curve[::-1].astype(np.int32)).astype(np.uint16)
    curve.flags.writeable = False
    window = rendering.window and (greatest - rendering.window[0], rendering.window[1])
    return replace(rendering, curve=curve, window=window)


def _mirrored_greys(pixels: Pixels, top: int) -> Pixels:
    """Return top − pixels, in the pixels' own type; values above `top` become 0."""
    result = np.empty(pixels.shape, pixels.dtype)
    for start in range(0, len(pixels), _BAND_ROWS):
        band = pixels[start : start + _BAND_ROWS]
        result[start : start + _BAND_ROWS] = top - np.minimum(band, pixels.dtype.type(top))
    result.flags.writeable = False
    return result


def _read_only(pixels: Pixels) -> Pixels:
    copy: Pixels = pixels.copy()
    copy.flags.writeable = False
    return copy


def _opposite(direction: str) -> str:
    """Return the opposite of a PatientOrientation (PS3.3 C.7.6.1.1.1), letter by letter: "L" of "R", "F" of "H"."""
    return direction.translate(str.maketrans("LRAPHF", "RLPAFH"))

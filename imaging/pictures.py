"""Decoding of JPEG, PNG, TIFF, BMP, WebP and GIF files into a `Radiograph`."""

from __future__ import annotations

import hashlib

from imaging import worker
from imaging.film import Radiograph


def decode_picture(data: bytes) -> Radiograph:
    """Decode a JPEG, PNG, TIFF, BMP, WebP or still GIF file into one grey radiograph, in a decoder process.

    EXIF orientation is applied, transparency is composed over black, palette and CMYK become grey, 16 bits stay 16
    bits; of a multi-picture JPEG (MPO) the first counts. The size in the header is checked before anything is decoded,
    and so is that the file is complete and its checksums are right.

    Parameters
    ----------
    data
        The bytes of the file.

    Returns
    -------
    Radiograph
        Without header, `deep` and renderings.

    Raises
    ------
    RadiographError
        With the codes UNREADABLE, UNSUPPORTED, TOO_SMALL or TOO_LARGE.
    """
    # The digest is computed while the decoder works.
    decoded, digest = worker.decode("picture", data, meanwhile=lambda: hashlib.sha256(data).hexdigest())
    pixels, (source_format, bits, coloured_share, is_one_hue) = decoded.pixels, decoded.facts
    pixels.flags.writeable = False
    return Radiograph(pixels, digest, str(source_format), int(bits), float(coloured_share), bool(is_one_hue))

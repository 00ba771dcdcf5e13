"""Decoding of a DICOM file into a `Radiograph`."""

from __future__ import annotations

import hashlib

from core.errors import RadiographError
from imaging.dicom.elements import read_elements
from imaging.dicom.grayscale import to_deep
from imaging.dicom.header import read_header, refuse_modality, refuse_part_and_view, refuse_unsupported
from imaging.dicom.pixels import pixel_module, stored_words
from imaging.film import Radiograph
from imaging.limits import DAMAGED
from imaging.lut import apply_lut


def decode_dicom(data: bytes) -> Radiograph:
    """Decode a DICOM file of one grey frame, in any transfer syntax that radiographs have.

    The header is checked before a pixel is decoded. No message quotes the header, except for numbers of the picture and
    names from our own tables, so that no identifier reaches a log.

    Parameters
    ----------
    data
        The bytes of the file.

    Returns
    -------
    Radiograph
        With header, `deep` and renderings; `pixels` have 16 bits and follow the first rendering.

    Raises
    ------
    RadiographError
        With the codes UNREADABLE, UNSUPPORTED, TOO_SMALL, TOO_LARGE, NOT_A_CHEST_RADIOGRAPH or NOT_FRONTAL.
    """
    try:
        file = read_elements(data)
        refuse_unsupported(file)
        refuse_modality(file)
        module = pixel_module(file.dataset)
        refuse_part_and_view(file)
        words, module = stored_words(file, module)
        deep, renderings = to_deep(words, module, file.dataset)
        header = read_header(file)
    except RadiographError:
        raise
    except Exception as error:  # a damaged header may raise anything; the message does not quote it
        raise RadiographError(
            f"expected a complete DICOM file. Received: {type(error).__name__} while decoding", advice=DAMAGED
        ) from None
    pixels = apply_lut(renderings[0].curve, deep)
    pixels.flags.writeable = False
    return Radiograph(
        pixels, hashlib.sha256(data).hexdigest(), "DICOM", 16, header=header, deep=deep, renderings=renderings
    )

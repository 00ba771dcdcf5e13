"""A DICOM file → `Radiograph`."""

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
    """Decode a DICOM file of one grey frame, in any transfer syntax that radiographs have, into a radiograph.

    `pixels` is uint16 of 16 bits and follows the first of `renderings`; `deep`, `renderings` and `header` are filled.
    What the header alone refuses is refused before a pixel is decoded. No message holds anything of the header but
    numbers of the picture and names from our own tables.

    Raises RadiographError with the codes UNREADABLE, UNSUPPORTED, TOO_SMALL, TOO_LARGE, NOT_A_CHEST_RADIOGRAPH or
    NOT_FRONTAL.
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
    except Exception as error:  # whatever a damaged header leads to that was not thought of; nothing of it is said
        raise RadiographError(
            f"expected a complete DICOM file. Received: {type(error).__name__} while decoding", advice=DAMAGED
        ) from None
    pixels = apply_lut(renderings[0].curve, deep)
    pixels.flags.writeable = False
    return Radiograph(
        pixels, hashlib.sha256(data).hexdigest(), "DICOM", 16, header=header, deep=deep, renderings=renderings
    )

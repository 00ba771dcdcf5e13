"""A decoded radiograph: its pixels, its renderings and what its header says of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

# More channel spread than this is colour; chroma subsampling colours grey edges a little, over less than this share.
COLOURED_SHARE = 0.01
# The values of PresentationIntentType.
FOR_PROCESSING, FOR_PRESENTATION = "FOR PROCESSING", "FOR PRESENTATION"


@dataclass(frozen=True, slots=True)
class FilmHeader:
    """What a DICOM header says of the image, as far as gate and report use it. No name and no identifier.

    Each is None where the header has no valid value.

    Attributes
    ----------
    modality
        "CR", "DX" …
    view_position
        "PA", "AP", "LL" … from ViewPosition or ViewCodeSequence.
    body_part
        BodyPartExamined, or the meaning of AnatomicRegionSequence, in capitals.
    laterality
        "L" or "R".
    age_years
        PatientAge, or the time between PatientBirthDate and the study.
    sex
        "F", "M" or "O".
    photometric
        PhotometricInterpretation as stored.
    orientation
        PatientOrientation: the directions of rows and columns, such as ("L", "F").
    pixel_mm
        PixelSpacing or ImagerPixelSpacing: vertical and horizontal, in millimetres.
    transfer_syntax
        The transfer syntax UID.
    presentation_intent
        PresentationIntentType: "FOR PROCESSING" for raw detector data, "FOR PRESENTATION" for the image that is read.
    """

    modality: str | None = None
    view_position: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    age_years: float | None = None
    sex: str | None = None
    photometric: str | None = None
    orientation: tuple[str, str] | None = None
    pixel_mm: tuple[float, float] | None = None
    transfer_syntax: str | None = None
    presentation_intent: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """One VOI transformation that the file asks for: a window, a lookup table, or an automatic window.

    Attributes
    ----------
    name
        WindowCenterWidthExplanation or LUTExplanation, else a generic name.
    curve
        (levels,), uint16: maps each value of `Radiograph.deep`, all of them below `levels`, to 0–65535.
    window
        (centre, width) in values of `deep` where the rendering is a linear window: black up to centre - width / 2,
        white from centre + width / 2. None where it is a table, a sigmoid or a threshold.
    """

    name: str
    curve: npt.NDArray[np.uint16]
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """One decoded radiograph.

    Attributes
    ----------
    pixels
        (H, W), uint8 or uint16, MONOCHROME2: larger is brighter. Decoding makes it read-only.
    sha256
        Digest of the file's bytes, in hexadecimal.
    source_format
        "DICOM", "PNG", "JPEG" …
    bits
        How many bits of a pixel are used.
    colour_share
        In [0, 1]: the share of pixels whose channels differ by more than compression explains.
    is_tinted
        Whether all colours have one hue, as in a radiograph photographed or scanned in colour.
    header
        What a DICOM file says of the image; None for other formats.
    deep
        (H, W), uint16: the values of a DICOM file before any window, larger is brighter; None for other formats.
    renderings
        The VOI transformations of a DICOM file. `pixels` follow the first.
    """

    pixels: Pixels
    sha256: str
    source_format: str
    bits: int = 8
    colour_share: float = 0.0
    is_tinted: bool = False
    header: FilmHeader | None = None
    deep: npt.NDArray[np.uint16] | None = None
    renderings: tuple[Rendering, ...] = ()

    def __post_init__(self) -> None:
        """Check the shape and type of the pixels, and their bit depth."""
        if self.pixels.ndim != 2 or not self.pixels.size or self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"expected pixels as uint8 or uint16 (H, W). Received: {self.pixels.dtype} {self.pixels.shape}"
            )
        if not 1 <= self.bits <= 8 * self.pixels.dtype.itemsize:
            raise ValueError(f"expected bits that {self.pixels.dtype} holds. Received: {self.bits}")

    @property
    def is_colour(self) -> bool:
        """Whether the picture is in colour."""
        return self.colour_share > COLOURED_SHARE

    @property
    def height(self) -> int:
        """Rows of `pixels`."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of `pixels`."""
        return int(self.pixels.shape[1])

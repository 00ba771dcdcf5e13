"""The values of a decoded radiograph: its pixels, how else they can be shown, and what its header said."""

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
    """What a DICOM header says of the film that the gate and the report use. No name and no identifier.

    Each is None where the header says nothing, or nothing that makes sense: `modality` ("CR", "DX" …), `view_position`
    ("PA", "AP", "LL" …), `body_part` in capitals, `laterality` ("L", "R"), `age_years`, `sex` ("F", "M", "O"),
    `photometric` as stored, `orientation` (PatientOrientation: the directions of rows and columns, e.g. ("L", "F")),
    `pixel_mm` (vertical, horizontal) millimetres a pixel, `presentation_intent` (PresentationIntentType:
    "FOR PROCESSING" for raw detector data, "FOR PRESENTATION" for the image that is read).
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
    """One way in which the file asks to be shown: `curve`, uint16 (levels,), maps `Radiograph.deep` to 0–65535.

    Every value of `deep` is below `levels`, a power of two. `name` is the header's own explanation, or a plain one.
    `window` is (centre, width) in values of `deep` where the rendering is a linear window: black up to centre - width /
    2, white from centre + width / 2. It is None where the rendering is a table, a sigmoid or a threshold.
    """

    name: str
    curve: npt.NDArray[np.uint16]
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """One decoded radiograph.

    `pixels` is uint8 or uint16 (H, W), larger is brighter (MONOCHROME2); decoding makes it read-only. `bits` is how
    many of a pixel's bits are used. `sha256` is that of the file's bytes, in hexadecimal. `colour_share` in [0, 1] is
    how much of the picture has channels that differ by more than compression explains, and `is_tinted` tells that all
    of it has one hue, as a film photographed or scanned in colour has.

    Of a DICOM file, `header` is what it says of the film, `deep` its values before any window, uint16 (H, W), larger
    is brighter, and `renderings` the ways in which it asks to be shown; `pixels` follow the first.
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
        """Refuse pixels of another shape or type, and a depth that they cannot have."""
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

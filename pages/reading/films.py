"""A film of this visit: what is kept of it once it was read, and its full resolution again. Knows no streamlit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from imaging.film import FilmHeader, Radiograph
from imaging.orientation import inverted, turned
from imaging.radiograph import decode_radiograph, to_uint8
from model.assessment import Assessment, EvidenceRegions, Heatmap, Reading, Stability
from model.explanation import evidence_map
from pages.reading import source_cache
from pages.reading.source_cache import Original

DISPLAY_PX = 1000
INFLUENCE_PX = 256
INVERTED = "inverted"  # as the gate's corrections say it


@dataclass(slots=True, eq=False)
class Notes:
    """What comes to be known of a film after it was read; `asked_turn` is set while it waits to be read again."""

    reading: Reading = Reading()
    stability: Stability | None = None
    regions: EvidenceRegions | None = None
    asked_turn: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One file and what was said of it, about 1 MB beside the file itself however large it was.

    `kept` is the assessment with the radiograph, as it was assessed, at display size and without its heat map;
    `evidence` is that map, uint8 (h, w), at a size at which its few cells lose nothing, and `cells` the network's own
    signed grid behind it. `sha256` is that of the file, "" where it gave no bytes. `size` is the (width, height) of the
    picture that was assessed and `bits` the depth of its grey values. `turn` is by how many degrees clockwise the
    reader had the file turned. `number` is its place among all films of this visit, by which exports call it; 0 before
    it has one.
    """

    name: str
    sha256: str
    size: tuple[int, int] | None
    kept: Assessment
    evidence: npt.NDArray[np.uint8] | None
    layer: str = ""
    bits: int = 8
    cells: npt.NDArray[np.float32] | None = None
    turn: int = 0
    number: int = 0
    original: Original = field(default_factory=lambda: Original(None))
    notes: Notes = field(default_factory=Notes)

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """The radiograph at display size, uint8 (H, W), or None when the file could not be decoded."""
        return None if self.kept.radiograph is None else to_uint8(self.kept.radiograph)

    @property
    def data(self) -> bytes | None:
        """The file's bytes, or None once they were let go to stay within the memory for originals."""
        return self.original.data

    @property
    def is_let_go(self) -> bool:
        """Whether the picture can only be shown at display size; dropping the file again brings the rest back."""
        return self.original.data is None and self.kept.radiograph is not None

    @property
    def header(self) -> FilmHeader | None:
        """What a DICOM file says of the film; None for other files."""
        return None if self.kept.radiograph is None else self.kept.radiograph.header

    @property
    def reading(self) -> Reading:
        """The reader's verdict and remarks."""
        return self.notes.reading

    @property
    def stability(self) -> Stability | None:
        """The range of the probability under small changes, None until it was measured."""
        return self.notes.stability

    @property
    def regions(self) -> EvidenceRegions | None:
        """Where the influence lies, None until it was measured."""
        return self.notes.regions

    @property
    def evidence_is_empty(self) -> bool:
        """Whether no region raised the probability."""
        return self.evidence is None or not self.evidence.any()

    def evidence_values(self) -> npt.NDArray[np.float32] | None:
        """Return the influence map on the grid of `pixels`, float32 (H, W) in [0, 1]."""
        pixels = self.pixels
        return None if self.evidence is None or pixels is None else self._evidence_at(pixels.shape)

    def _evidence_at(self, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        if self.cells is not None:  # drawn anew, exactly as it was
            return evidence_map(self.cells, shape)
        values = np.zeros((1, 1), np.float32) if self.evidence is None else self.evidence.astype(np.float32) / 255
        return np.clip(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)

    def assessment(self) -> Assessment:
        """Return the assessment at the file's own size, which a report states; what the display lost stays lost."""
        radiograph, heatmap = self.kept.radiograph, None
        if radiograph is not None and self.size is not None:
            pixels = np.asarray(cv2.resize(to_uint8(radiograph), self.size, interpolation=cv2.INTER_LINEAR), np.uint8)
            radiograph = replace(radiograph, pixels=_deepened(pixels, self.bits), bits=self.bits)
            if self.evidence is not None:
                shape = (self.size[1], self.size[0])
                heatmap = Heatmap(self._evidence_at(shape), self.layer, self.evidence_is_empty, self.cells)
        return self._noted(radiograph, heatmap)

    def figures(self) -> Assessment:
        """Return the assessment for whoever reads figures and sizes alone: blank pixels and map cost no memory."""
        radiograph, heatmap = self.kept.radiograph, None
        if radiograph is not None and self.size is not None:
            size = (self.size[1], self.size[0])
            blank = np.broadcast_to(np.zeros((), np.uint8 if self.bits <= 8 else np.uint16), size)
            radiograph = replace(radiograph, pixels=blank, bits=self.bits)
            if self.evidence is not None:
                nothing = np.broadcast_to(np.zeros((), np.float32), size)
                heatmap = Heatmap(nothing, self.layer, self.evidence_is_empty, self.cells)
        return self._noted(radiograph, heatmap)

    def _noted(self, radiograph: Radiograph | None, heatmap: Heatmap | None) -> Assessment:
        return replace(
            self.kept,
            radiograph=radiograph,
            heatmap=heatmap,
            stability=self.stability or self.kept.stability,
            regions=self.regions or self.kept.regions,
        )


def keep(name: str, data: bytes, assessment: Assessment, turn: int = 0) -> Film:
    """Reduce an assessment to what the page shows, and hold the file's bytes while there is room for them."""
    radiograph, heatmap = assessment.radiograph, assessment.heatmap
    size, bits, small = None, 8, None
    if radiograph is not None:
        size, bits = (radiograph.width, radiograph.height), radiograph.bits
        small = replace(radiograph, pixels=_displayed(radiograph), bits=8, deep=None, renderings=())
    drawn, cells, layer = None, None, ""
    if heatmap is not None:
        drawn = np.round(_small_map(heatmap) * 255).astype(np.uint8)
        cells, layer = heatmap.cells, heatmap.layer
    sha256 = radiograph.sha256 if radiograph is not None else hashlib.sha256(data).hexdigest() if data else ""
    kept = replace(assessment, radiograph=small, heatmap=None)
    return Film(name, sha256, size, kept, drawn, layer, bits, cells, turn, original=source_cache.hold(data, radiograph))


def full(film: Film) -> Radiograph | None:
    """Return the film on the screen at its full size, as it was assessed: turned and inverted where that was done.

    Decoded once while the film is on the screen. None when the file could not be decoded or was let go.
    """
    if film.original.decoded is None:
        film.original.decoded = _decoded(film)
    return film.original.decoded


def as_shown(film: Film) -> Assessment:
    """Return the assessment with the film at its full size and in all its renderings, while its file is in memory.

    For what is taken away of the film on the screen. It may be gone from there, so what is decoded here is not held.
    """
    assessment, radiograph = film.assessment(), film.original.decoded or _decoded(film)
    return assessment if radiograph is None else replace(assessment, radiograph=radiograph)


def _decoded(film: Film) -> Radiograph | None:
    data = film.original.data
    if data is None or film.kept.radiograph is None:
        return None
    try:
        radiograph = turned(decode_radiograph(data), film.turn)
    except RadiographError:  # it was decoded once; a codec that fails the second time leaves the small picture
        return None
    return inverted(radiograph) if INVERTED in film.kept.corrections else radiograph


def remember(
    film: Film,
    *,
    reading: Reading | None = None,
    stability: Stability | None = None,
    regions: EvidenceRegions | None = None,
) -> None:
    """Keep what has come to be known of a film; what is None stays as it was."""
    notes = film.notes
    notes.reading = reading or notes.reading
    notes.stability = stability or notes.stability
    notes.regions = regions or notes.regions


def reassess(film: Film, turn: int) -> None:
    """Ask for the film to be read again, turned clockwise by `turn` degrees from how the file has it.

    The page does it at its next run, so this fits a button's on_click. Raises ValueError for any but a right angle.
    """
    if turn not in (0, 90, 180, 270):
        raise ValueError(f"expected a turn of 0, 90, 180 or 270 degrees. Received: {turn}")
    film.notes.asked_turn = turn


def _displayed(radiograph: Radiograph) -> npt.NDArray[np.uint8]:
    """Return uint8 (H, W) at display size: shrunk first, since most of a large film's cost is in its many pixels."""
    pixels = _at_most(radiograph.pixels, DISPLAY_PX)
    return to_uint8(replace(radiograph, pixels=pixels, deep=None, renderings=()))


def _small_map(heatmap: Heatmap) -> npt.NDArray[np.float32]:
    """Return the influence map at the size at which it is kept, float32 (h, w) in [0, 1]."""
    if heatmap.cells is None or heatmap.is_empty:
        return _at_most(heatmap.values, INFLUENCE_PX)
    height, width = heatmap.values.shape
    scale = min(1.0, INFLUENCE_PX / max(height, width))
    return evidence_map(heatmap.cells, (max(1, round(height * scale)), max(1, round(width * scale))))


def _deepened(pixels: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return uint8 (H, W) over the range of `bits` again."""
    if bits <= 8:
        return pixels
    return np.round(np.arange(256) * ((2**bits - 1) / 255)).astype(np.uint16)[pixels]


def _at_most(pixels: npt.NDArray[Any], px: int) -> npt.NDArray[Any]:
    """Shrink (H, W) until its longer side has at most `px`, in proportion; each pixel is the mean of its area."""
    height, width = pixels.shape
    scale = px / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA), pixels.dtype)

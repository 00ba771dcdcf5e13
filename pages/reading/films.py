"""Films of a visit: what is kept of each one after its assessment, and its full resolution. Does not use Streamlit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import RadiographError
from imaging.film import FilmHeader, Pixels, Radiograph
from imaging.orientation import invert_grayscale, rotate
from imaging.radiograph import decode_radiograph, to_uint8
from model.assessment import Assessment, EvidenceRegions, Heatmap, Reading, Stability
from model.explanation import evidence_map
from model.framing import Frame
from pages.reading import source_cache
from pages.reading.source_cache import Source

DISPLAY_PX = 1000
EVIDENCE_PX = 256
INVERTED = "inverted"  # as in Assessment.corrections


@dataclass(slots=True, eq=False)
class Notes:
    """What is added to a film after its assessment; `requested_turn` is set until it is assessed again, rotated."""

    reading: Reading = field(default_factory=Reading)
    stability: Stability | None = None
    regions: EvidenceRegions | None = None
    requested_turn: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One file and its assessment, about 1 MB beside the file itself, whatever its size.

    Attributes
    ----------
    sha256
        Checksum of the file, "" where it gave no bytes.
    size
        (width, height) of the radiograph that was assessed, in pixels.
    kept
        The assessment, with the radiograph at display size and without its heat map.
    evidence
        (h, w), uint8: the heat map over [0, 255], its longer side at most `EVIDENCE_PX`.
    bits
        Depth of the grey values of the radiograph that was assessed.
    cells
        (rows, columns), float32: the network's own signed grid behind the map.
    turn
        Degrees clockwise by which the reader had the file rotated: 0, 90, 180 or 270.
    number
        Its number among all films of the visit, used by exports; 0 before it has one.
    frame
        The frame of its lungs that the network saw; None where it saw the whole film.
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
    frame: Frame | None = None
    source: Source = field(default_factory=lambda: Source(None))
    notes: Notes = field(default_factory=Notes)

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """The radiograph at display size, uint8 (H, W), None when the file could not be decoded."""
        return None if self.kept.radiograph is None else to_uint8(self.kept.radiograph)

    @property
    def data(self) -> bytes | None:
        """The file's bytes, None once they were released to save memory."""
        return self.source.data

    @property
    def is_released(self) -> bool:
        """Whether only the display size is left; adding the file again restores the rest."""
        return self.source.data is None and self.kept.radiograph is not None

    @property
    def header(self) -> FilmHeader | None:
        """Header of a DICOM file; None for other files."""
        return None if self.kept.radiograph is None else self.kept.radiograph.header

    @property
    def reading(self) -> Reading:
        """The reader's verdict and remarks."""
        return self.notes.reading

    @property
    def stability(self) -> Stability | None:
        """Range of the probability under small perturbations, None until it was measured."""
        return self.notes.stability

    @property
    def regions(self) -> EvidenceRegions | None:
        """Distribution of the evidence over lung zones, None until it was measured."""
        return self.notes.regions

    @property
    def evidence_is_empty(self) -> bool:
        """Whether no region raised the probability."""
        return self.evidence is None or not self.evidence.any()

    def _evidence_at(self, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        if self.cells is not None:  # drawn anew, exactly as it was
            return evidence_map(self.cells, shape)
        if self.evidence is None:
            return np.zeros(shape, np.float32)
        values = self.evidence.astype(np.float32) / 255
        return np.clip(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)

    def assessment(self) -> Assessment:
        """Return the assessment for a report, with the radiograph enlarged from display size to the file's own size."""
        radiograph, heatmap = self.kept.radiograph, None
        if radiograph is not None and self.size is not None:
            pixels = np.asarray(cv2.resize(to_uint8(radiograph), self.size, interpolation=cv2.INTER_LINEAR), np.uint8)
            radiograph = replace(radiograph, pixels=_deepened(pixels, self.bits), bits=self.bits)
            if self.evidence is not None:
                shape = (self.size[1], self.size[0])
                heatmap = Heatmap(
                    self._evidence_at(shape), self.layer, self.evidence_is_empty, self.cells, None, self.frame
                )
        return self._annotated(radiograph, heatmap)

    def assessment_without_pixels(self) -> Assessment:
        """Return the assessment with blank pixels and map, which take no memory, for figures and sizes alone."""
        radiograph, heatmap = self.kept.radiograph, None
        if radiograph is not None and self.size is not None:
            size = (self.size[1], self.size[0])
            zero = np.zeros((), np.uint8 if self.bits <= 8 else np.uint16)
            blank = cast(Pixels, np.broadcast_to(zero, size))
            radiograph = replace(radiograph, pixels=blank, bits=self.bits)
            if self.evidence is not None:
                nothing = np.broadcast_to(np.zeros((), np.float32), size)
                heatmap = Heatmap(nothing, self.layer, self.evidence_is_empty, self.cells, None, self.frame)
        return self._annotated(radiograph, heatmap)

    def _annotated(self, radiograph: Radiograph | None, heatmap: Heatmap | None) -> Assessment:
        return replace(
            self.kept,
            radiograph=radiograph,
            heatmap=heatmap,
            stability=self.stability or self.kept.stability,
            regions=self.regions or self.kept.regions,
        )


def make_film(name: str, data: bytes, assessment: Assessment, turn: int = 0) -> Film:
    """Reduce an assessment to what the page shows, and store the file's bytes while there is memory for them."""
    radiograph, heatmap = assessment.radiograph, assessment.heatmap
    size, bits, small = None, 8, None
    if radiograph is not None:
        size, bits = (radiograph.width, radiograph.height), radiograph.bits
        small = replace(radiograph, pixels=_displayed(radiograph), bits=8, deep=None, renderings=())
    drawn, cells, layer, frame = None, None, "", None
    if heatmap is not None:
        drawn = np.round(_small_map(heatmap) * 255).astype(np.uint8)
        cells, layer, frame = heatmap.cells, heatmap.layer, heatmap.frame
    sha256 = radiograph.sha256 if radiograph is not None else hashlib.sha256(data).hexdigest() if data else ""
    kept = replace(assessment, radiograph=small, heatmap=None)
    source = source_cache.store(data, radiograph)
    return Film(name, sha256, size, kept, drawn, layer, bits, cells, turn, source=source, frame=frame)


def full_size(film: Film) -> Radiograph | None:
    """Return the radiograph on the screen at its full size as it was assessed, rotated and inverted where needed.

    Decoded once while it is on the screen. None when the file could not be decoded or was released.
    """
    if film.source.decoded is None:
        film.source.decoded = _decoded(film)
    return film.source.decoded


def assessment_at_full_size(film: Film) -> Assessment:
    """Return the assessment with the radiograph at full size and in all its renderings, while its file is in memory.

    For downloads, which may be made after the film has left the screen, so the decoded radiograph is not stored.
    """
    assessment, radiograph = film.assessment(), film.source.decoded or _decoded(film)
    return assessment if radiograph is None else replace(assessment, radiograph=radiograph)


def _decoded(film: Film) -> Radiograph | None:
    data = film.source.data
    if data is None or film.kept.radiograph is None:
        return None
    try:
        radiograph = rotate(decode_radiograph(data), film.turn)
    except RadiographError:  # it was decoded once; a codec that fails the second time leaves the small picture
        return None
    return invert_grayscale(radiograph) if INVERTED in film.kept.corrections else radiograph


def annotate(
    film: Film,
    *,
    reading: Reading | None = None,
    stability: Stability | None = None,
    regions: EvidenceRegions | None = None,
) -> None:
    """Add notes to a film; None leaves a note as it is."""
    notes = film.notes
    notes.reading = reading or notes.reading
    notes.stability = stability or notes.stability
    notes.regions = regions or notes.regions


def reassess(film: Film, turn: int) -> None:
    """Request that the page's next run assesses the film again, rotated; suitable for a button's on_click.

    Parameters
    ----------
    turn
        Degrees clockwise from the orientation in the file: 0, 90, 180 or 270.

    Raises
    ------
    ValueError
        If `turn` is none of these.
    """
    if turn not in (0, 90, 180, 270):
        raise ValueError(f"expected a rotation of 0, 90, 180 or 270 degrees. Received: {turn}")
    film.notes.requested_turn = turn


def _displayed(radiograph: Radiograph) -> npt.NDArray[np.uint8]:
    """Return uint8 (H, W) at display size; reduced first, since most of the cost is in the pixels of a large film."""
    pixels = _at_most(radiograph.pixels, DISPLAY_PX)
    return to_uint8(replace(radiograph, pixels=pixels, deep=None, renderings=()))


def _small_map(heatmap: Heatmap) -> npt.NDArray[np.float32]:
    """Return the heat map at the size at which it is kept, float32 (h, w) in [0, 1]."""
    if heatmap.cells is None or heatmap.is_empty:
        return _at_most(heatmap.values, EVIDENCE_PX)
    height, width = heatmap.values.shape
    scale = min(1.0, EVIDENCE_PX / max(height, width))
    return evidence_map(heatmap.cells, (max(1, round(height * scale)), max(1, round(width * scale))))


def _deepened(pixels: npt.NDArray[np.uint8], bits: int) -> Pixels:
    """Return uint8 (H, W) over the range of `bits` again."""
    if bits <= 8:
        return pixels
    table: npt.NDArray[np.uint16] = np.round(np.arange(256) * ((2**bits - 1) / 255)).astype(np.uint16)
    return table[pixels]


def _at_most(pixels: npt.NDArray[Any], px: int) -> npt.NDArray[Any]:
    """Reduce (H, W) in proportion until its longer side has at most `px`; each pixel is the mean of its area."""
    height, width = pixels.shape
    scale = px / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA), pixels.dtype)

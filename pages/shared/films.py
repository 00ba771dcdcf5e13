"""The films of one visit: what is kept of each after it was read, and how many. Knows no streamlit."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.assessment import Assessment, Heatmap
from model.radiograph import to_uint8

MOST_FILMS = 50
DISPLAY_PX = 1000
INFLUENCE_PX = 256


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One file and what was said of it, about 1 MB however large the file was.

    `kept` is the assessment with the radiograph at display size and without its heat map; `influence` is that map,
    uint8 (h, w), at a size at which its few cells lose nothing. `size` is the (width, height) of the file's picture
    and `bits` the depth of its grey values.
    """

    name: str
    sha256: str
    size: tuple[int, int] | None
    kept: Assessment
    influence: npt.NDArray[np.uint8] | None
    layer: str = ""
    bits: int = 8

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """The radiograph at display size, uint8 (H, W), or None when the file could not be decoded."""
        return None if self.kept.radiograph is None else to_uint8(self.kept.radiograph)

    @property
    def influence_is_empty(self) -> bool:
        """Whether no region raised the probability."""
        return self.influence is None or not self.influence.any()

    def influence_values(self) -> npt.NDArray[np.float32] | None:
        """Return the influence map on the grid of `pixels`, float32 (H, W) in [0, 1]."""
        pixels = self.pixels
        if self.influence is None or pixels is None:
            return None
        return _enlarged(self.influence, (pixels.shape[1], pixels.shape[0]))

    def assessment(self) -> Assessment:
        """Return the assessment at the file's own size, which a report states; what the display lost stays lost."""
        radiograph, heatmap = self.kept.radiograph, None
        if radiograph is not None and self.size is not None:
            pixels = np.asarray(Image.fromarray(to_uint8(radiograph)).resize(self.size, Image.Resampling.BILINEAR))
            radiograph = replace(radiograph, pixels=_deepened(pixels, self.bits), bits=self.bits)
            if self.influence is not None:
                heatmap = Heatmap(_enlarged(self.influence, self.size), self.layer, self.influence_is_empty)
        return replace(self.kept, radiograph=radiograph, heatmap=heatmap)


def keep(name: str, data: bytes, assessment: Assessment) -> Film:
    """Reduce an assessment to what the page shows; the file's bytes are not kept."""
    radiograph, heatmap = assessment.radiograph, assessment.heatmap
    size, bits = None, 8
    if radiograph is not None:
        size, bits = (radiograph.width, radiograph.height), radiograph.bits
        radiograph = replace(radiograph, pixels=_at_most(to_uint8(radiograph), DISPLAY_PX), bits=8)
    influence = None
    if heatmap is not None:
        influence = _at_most(np.round(heatmap.values * 255).astype(np.uint8), INFLUENCE_PX)
    return Film(name, hashlib.sha256(data).hexdigest(), size, replace(assessment, radiograph=radiograph, heatmap=None),
                influence, heatmap.layer if heatmap is not None else "", bits)


def _deepened(pixels: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return uint8 (H, W) over the range of `bits` again."""
    if bits <= 8:
        return pixels
    return np.asarray(np.round(pixels * ((2**bits - 1) / 255)), np.uint16)


def _enlarged(influence: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return the stored map as float32 (H, W) in [0, 1] for a `size` of (width, height)."""
    small = Image.fromarray(influence.astype(np.float32) / 255)
    return np.asarray(np.clip(np.asarray(small.resize(size, Image.Resampling.BICUBIC)), 0, 1), np.float32)


def _at_most(pixels: npt.NDArray[np.uint8], px: int) -> npt.NDArray[np.uint8]:
    """Shrink uint8 (H, W) until its longer side has at most `px`, keeping its proportions."""
    height, width = pixels.shape
    scale = px / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
    kernel = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(smaller, kernel))


@dataclass(slots=True)
class Waiting:
    """A file that was dropped and not read yet."""

    name: str
    data: bytes


@dataclass(slots=True)
class Films:
    """The queue of one visit: files that wait, films that were read, and which of them is on the screen.

    Holds `MOST_FILMS` films; the oldest make room for new ones, and `let_go` counts them. `drops` counts how often
    files were dropped, `turned_away` how many of the last drop were more than the queue holds.
    """

    waiting: deque[Waiting] = field(default_factory=deque)
    films: list[Film] = field(default_factory=list)
    shown: int = 0
    drops: int = 0
    let_go: int = 0
    turned_away: int = 0
    _shows_next: bool = False

    def drop(self, files: list[Waiting]) -> None:
        """Put files at the end of the queue, at most as many as it holds."""
        room = MOST_FILMS - len(self.waiting)
        self.waiting.extend(files[:room])
        self.turned_away = max(0, len(files) - room)
        self.drops += 1
        self._shows_next = True

    def find(self, sha256: str, version: str) -> Film | None:
        """Return a film of the same bytes that the same classifier version read."""
        return next((film for film in self.films
                     if film.sha256 == sha256 and film.kept.classifier_version == version), None)

    def add(self, film: Film) -> None:
        """Put a film that was read into the list; the first of each drop is shown."""
        same = next((index for index, one in enumerate(self.films) if one.name == film.name
                     and one.sha256 == film.sha256 and one.kept is film.kept), None)
        if same is None:
            self.films.append(film)
            if len(self.films) > MOST_FILMS:
                del self.films[0]
                self.let_go += 1
                self.shown = max(0, self.shown - 1)
        if self._shows_next:
            self.shown = len(self.films) - 1 if same is None else same
            self._shows_next = False

    def step(self, by: int) -> None:
        """Show the film `by` places on, stopping at either end."""
        self.shown = min(max(0, self.shown + by), max(0, len(self.films) - 1))

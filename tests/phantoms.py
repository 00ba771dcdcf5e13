"""Draws synthetic chest radiographs: nobody's patient, so they may be committed, published and photographed.

A picture is built as the thickness of tissue along each ray, then exposed and given noise. Everything is drawn on one
canvas in its own pixels and resampled at the end, so that every size shows the same child.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

ROWS, COLUMNS = 600, 720
# One column and one row: what depends on one of them alone is computed once for each.
_Y = np.arange(ROWS, dtype=np.float32)[:, None]
_X = np.arange(COLUMNS, dtype=np.float32)[None]
_MIDDLE = 360.0


def chest(seed: int = 0, size: tuple[int, int] = (600, 720), pneumonia: bool = False) -> npt.NDArray[np.uint8]:
    """Draw a frontal chest radiograph: uint8 (H, W), larger is denser; `size` is (H, W).

    `pneumonia` lays a soft consolidation over one lung. The same arguments always give the same picture, and the two
    pictures of one seed differ in nothing but the consolidation.
    """
    return _drawn(int(seed), (int(size[0]), int(size[1])), bool(pneumonia)).copy()


@lru_cache(maxsize=512)
def _drawn(seed: int, size: tuple[int, int], pneumonia: bool) -> npt.NDArray[np.uint8]:
    """Draw it; many tests want the same few children."""
    rng = np.random.default_rng((seed, 20261121))
    wide = rng.uniform(0.93, 1.06)
    lungs = _lungs(rng, wide)
    texture = _texture(rng)
    body = _body(wide)
    tissue = 0.78 * body
    tissue -= lungs * (0.56 - 0.020 * texture)
    tissue += 0.48 * _heart(rng, wide) + 0.13 * _hila(rng, wide) * np.clip(1 + 0.2 * texture, 0, 2)
    tissue += _bones(rng, wide) + 0.10 * _abdomen(rng) * (1 - lungs) * np.clip(2 * body, 0, 1)
    side, row, spread = (-1 if rng.random() < 0.5 else 1), rng.uniform(250, 370), rng.uniform(52, 72)
    density = rng.uniform(0.42, 0.55)
    if pneumonia:
        blob = np.exp(-(((_X - _MIDDLE - side * 148 * wide) / spread) ** 2 + ((_Y - row) / (1.15 * spread)) ** 2))
        tissue += density * blob * np.clip(1 + 0.11 * texture, 0, 2) * cv2.GaussianBlur(lungs, (0, 0), 6)
    exposure = rng.uniform(0.94, 1.06)
    picture = 255 * (1 - np.exp(-1.15 * exposure * np.clip(tissue, 0.015, None)))
    picture = cv2.GaussianBlur(_tilt(picture.astype(np.float32), rng.uniform(-2.5, 2.5)), (0, 0), 0.8)
    height, width = size
    if (height, width) != picture.shape:
        shrinks = height <= ROWS and width <= COLUMNS
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    grain = rng.normal(0, 1, (height, width)).astype(np.float32)
    picture = picture + (1.2 + 0.016 * picture) * grain
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def as_png(pixels: npt.NDArray[np.generic], **pil_save: object) -> bytes:
    """Encode uint8 (H, W) or (H, W, 3|4), or uint16 (H, W), as PNG."""
    return _encode(pixels, "PNG", **pil_save)


def as_jpeg(pixels: npt.NDArray[np.generic], quality: int = 90) -> bytes:
    """Encode uint8 (H, W) or (H, W, 3) as JPEG."""
    return _encode(pixels, "JPEG", quality=quality)


def write_dataset(folder: Path, n_per_class: int, seed: int = 0, size: tuple[int, int] = (120, 140)) -> None:
    """Write `folder`/NORMAL and /PNEUMONIA with `n_per_class` files each, named like the official set's.

    Every patient but perhaps the last has two radiographs; bacteria and virus take turns from patient to patient.
    """
    for name in ("NORMAL", "PNEUMONIA"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(n_per_class):
        patient, pathogen = index // 2 + 1, "bacteria" if index // 2 % 2 == 0 else "virus"
        healthy, ill = (as_jpeg(chest(seed * 100_003 + 2 * index + label, size, bool(label))) for label in (0, 1))
        (folder / "NORMAL" / f"IM-{patient:04d}-{index % 2 + 1:04d}.jpeg").write_bytes(healthy)
        (folder / "PNEUMONIA" / f"person{patient}_{pathogen}_{index + 1}.jpeg").write_bytes(ill)


def _encode(pixels: npt.NDArray[np.generic], format_: str, **pil_save: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format_, **pil_save)
    return target.getvalue()


def _soft(mask: npt.NDArray[np.generic], sigma: float) -> Array:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def _blob(column: float, row: float, half_width: float, half_height: float) -> Array:
    """Thickness of an ellipsoid: 1 in its middle, 0 outside."""
    inside = 1 - ((_X - column) / half_width) ** 2 - ((_Y - row) / half_height) ** 2
    return np.sqrt(np.clip(inside, 0, None)).astype(np.float32)


def _body(wide: float) -> Array:
    """The trunk with shoulders, neck and upper arms."""
    profile = np.interp(np.arange(ROWS), [0, 40, 100, 160, 330, 600], [108, 126, 262, 296, 284, 292]).astype(np.float32)
    half = wide * cv2.GaussianBlur(profile[:, None], (1, 0), sigmaX=0.1, sigmaY=14)
    trunk = np.sqrt(np.clip(1 - ((_X - _MIDDLE) / half) ** 2, 0, None)) ** 0.75
    arms = np.zeros((ROWS, COLUMNS), np.float32)
    for side in (-1, 1):
        line = np.array([[_MIDDLE + side * 235 * wide, 135], [_MIDDLE + side * 450 * wide, 330]], np.int32)
        arms = np.maximum(arms, cv2.polylines(np.zeros_like(arms), [line], False, 0.52, 104))
    head = 0.6 * _blob(_MIDDLE, -55, 150, 110)
    arms[:460] = _soft(arms[:460], 16)  # they and their softness end above
    return _soft(trunk, 4) + head + 0.8 * arms * (1 - 0.75 * trunk)


def _lungs(rng: np.random.Generator, wide: float) -> Array:
    """How much of each ray runs through air: 0–1, rounded at the sides, cut by the domes of the diaphragm."""
    air = np.zeros((ROWS, COLUMNS), np.float32)
    for side, half in ((-1, slice(110, 340)), (1, slice(380, 610))):  # a lung lies between these columns
        dome = rng.uniform(418, 438) + (14 if side == 1 else 0)
        apex, outer = rng.uniform(92, 104), rng.uniform(212, 224) * wide
        height = np.clip((_Y - apex) / (dome - apex), 0, 1.4)
        outside = outer * np.clip(1 - np.clip(1 - height, 0, 1) ** 2.7, 0, 1) ** 0.62
        inside = 40 * wide + 14 * height
        aside = side * (_X[:, half] - _MIDDLE)
        across = (aside - inside) / np.clip(outside - inside, 1, None)
        rounded = np.clip(1 - np.abs(2 * across - 1) ** 3.0, 0, None) ** 0.55 * ((across > 0) & (across < 1))
        below = _Y - (dome + 0.0031 * (aside - 105 * wide) ** 2)
        air[:, half] = rounded * (height > 0) / (1 + np.exp(np.clip(below / 2.2, -40, 40)))
    return _soft(air, 2.5)


def _texture(rng: np.random.Generator) -> Array:
    """Vessel-like mottling around 0, about ±1."""
    total = np.zeros((ROWS, COLUMNS), np.float32)
    for coarse, weight in ((4, 0.5), (10, 0.6), (30, 0.5)):
        noise = rng.normal(0, 1, (ROWS // coarse, COLUMNS // coarse)).astype(np.float32)
        total += weight * cv2.resize(noise, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    return total


def _heart(rng: np.random.Generator, wide: float) -> Array:
    column = _MIDDLE + rng.uniform(24, 34) * wide
    heart = _blob(column, 352, rng.uniform(100, 110) * wide, 112)
    great_vessels = 0.75 * _blob(_MIDDLE + 6, 205, 62 * wide, 120)
    return _soft(np.maximum(heart, great_vessels) ** 0.8, 4)


def _hila(rng: np.random.Generator, wide: float) -> Array:
    """Both hila with vessels that branch outwards, thin out and fade."""
    reach = np.linspace(0, 1, 18)
    paths = []
    for side in (-1, 1):
        for angle in np.linspace(-1.15, 1.2, 9) + rng.normal(0, 0.07, 9):
            length, bend = rng.uniform(85, 135), rng.uniform(-0.3, 0.3)
            columns = _MIDDLE + side * wide * (62 + length * reach * np.cos(angle + bend * reach))
            paths.append(_fixed(columns, 262 + length * reach * np.sin(angle + bend * reach)))
    branches = np.zeros((ROWS, COLUMNS), np.float32)
    near = np.s_[96:432, 128:592]
    corner = np.array([near[1].start, near[0].start]) * 8
    for k in range(17):
        strength = float(1 - 0.85 * reach[k])
        pieces = [path[k : k + 2] - corner for path in paths]
        drawn = strength * _lines(pieces, max(1, round(6 * strength)), (336, 464))
        branches[near] = np.maximum(branches[near], drawn)
    core = sum(_blob(_MIDDLE + side * 72 * wide, 258, 34, 62) for side in (-1, 1))
    return _soft(branches, 1.6) + 0.9 * _soft(core, 7)


def _bones(rng: np.random.Generator, wide: float) -> Array:
    """Ribs, clavicles, scapulae and spine."""
    spacing, first = rng.uniform(40, 43), rng.uniform(100, 108)
    along = np.linspace(0, 1, 60)
    behind, in_front, clavicles, humeri = [], [], [], []
    blades = np.zeros((ROWS, COLUMNS), np.float32)
    for side in (-1, 1):
        for rib in range(11):
            reach = np.interp(rib, [0, 2, 5, 9], [118, 182, 226, 244]) * wide
            columns = side * (24 + (reach - 24) * np.sin(along * np.pi / 2))
            rows = first + rib * spacing - 22 * np.sin(along * np.pi) + (30 + 7 * rib) * along**2.2
            behind.append(_fixed(_MIDDLE + columns, rows))
            if rib < 7:
                ends = reach - (reach - 95 * wide) * along**1.3
                in_front.append(_fixed(_MIDDLE + side * ends, rows[-1] + (52 + 4 * rib) * along))
        clavicles.append(
            _fixed(_MIDDLE + side * wide * (30 + 195 * along), 120 - 40 * along - 9 * np.sin(along * 2 * np.pi))
        )
        humeri.append(_fixed(_MIDDLE + side * wide * (268 + 175 * along), 112 + 205 * along))
        blade = np.array([[196, 100], [262, 120], [240, 268], [222, 256]], np.float32) * [side * wide, 1] + [_MIDDLE, 0]
        near = np.s_[60:310, 40:340] if side < 0 else np.s_[60:310, 380:680]
        filled = cv2.fillPoly(np.zeros((ROWS, COLUMNS), np.float32), [blade.astype(np.int32)], 1.0)
        blades[near] = _soft(filled[near], 5)
    bones = 0.24 * _tubes(behind, 15) + 0.10 * _tubes(in_front, 15) + 0.34 * _tubes(clavicles, 14)
    bones += 0.34 * _tubes(humeri, 26) + 0.10 * blades
    for level in range(15):
        row, half = 18 + level * 41.0, 19 + 0.6 * level
        window = np.s_[max(0, int(row) - 32) : min(ROWS, int(row) + 32), 300:420]
        across, down = np.abs(_X[:, window[1]] - _MIDDLE), np.abs(_Y[window[0]] - row)
        body, rim = (across < half) & (down < 16), (across < half) & (np.abs(down - 14) < 2.5)
        bones[window] += 0.22 * _soft(body, 2.5) + 0.14 * _soft(rim, 1.5) + 0.16 * _soft(np.hypot(across, down) < 6, 2)
    windpipe = (np.abs(_X - _MIDDLE + 3) < 12) & (_Y > 20) & (_Y < 205)
    return bones - 0.26 * _soft(windpipe, 4)


def _fixed(columns: npt.NDArray[np.floating], rows: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """Points for OpenCV with three fractional bits."""
    return np.round(np.stack([columns, rows], axis=1) * 8).astype(np.int32)


def _lines(paths: list[npt.NDArray[np.int32]], thickness: int, size: tuple[int, int] = (ROWS, COLUMNS)) -> Array:
    drawn = cv2.polylines(np.zeros(size, np.uint8), paths, False, 255, thickness, cv2.LINE_AA, 3)
    return drawn.astype(np.float32) / 255


def _tubes(paths: list[npt.NDArray[np.int32]], thickness: int) -> Array:
    """Bones seen from the side: soft bars whose cortex is denser than their marrow."""
    return _soft(_lines(paths, thickness), 1.6) - 0.45 * _soft(_lines(paths, thickness - 5), 1.6)


def _abdomen(rng: np.random.Generator) -> Array:
    """Liver and a gas bubble below the diaphragm."""
    liver = _blob(_MIDDLE - 120, 560, 260, 150)
    bubble = _blob(_MIDDLE + rng.uniform(85, 125), 520, 48, 30)
    return _soft(4.2 * liver - 2.2 * bubble, 6)


def _tilt(picture: Array, degrees: float) -> Array:
    turn = cv2.getRotationMatrix2D((_MIDDLE, ROWS / 2), degrees, 1.0)
    return cv2.warpAffine(picture, turn, (COLUMNS, ROWS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

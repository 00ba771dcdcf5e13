"""Random changes to a training picture that a film may undergo and the finding must survive.

What is varied is what is known to differ between hospitals, exports and the two halves of the public data: framing,
aspect, exposure, contrast curve, sharpness, compression and noise. NumPy and cv2 only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.radiograph import enlarge


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A named recipe. Pairs are ranges, drawn uniformly (area, degrees …) or log-uniformly (aspect, gamma).

    `area` is the share of the picture that the crop keeps, `contrast` a factor about the mean grey, `brightness` grey
    levels, `jpeg_quality` and `noise` (standard deviation in grey levels) apply with probability `p_jpeg`, `p_noise`.
    """

    name: str
    area: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (1.0, 1.0)
    degrees: float = 0.0
    p_flip: float = 0.0
    contrast: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    gamma: tuple[float, float] = (1.0, 1.0)
    p_equalise: float = 0.0
    p_blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.3, 2.0)
    p_sharpen: float = 0.0
    p_jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (30, 95)
    p_noise: float = 0.0
    noise: tuple[float, float] = (1.0, 10.0)
    p_erase: float = 0.0


PLAIN = Augmentation("plain")
STRONG = Augmentation(
    "strong", area=(0.15, 1.0), aspect=(0.7, 1.43), degrees=10.0, p_flip=0.5, contrast=(0.5, 1.6), brightness=50.0,
    gamma=(0.6, 1.7), p_equalise=0.1, p_blur=0.3, p_sharpen=0.2, p_jpeg=0.35, p_noise=0.3, p_erase=0.25)
# What another hospital's films plausibly look like; calibration and the operating point have to hold under it.
SHIFT = Augmentation(
    "shift", area=(0.6, 1.0), aspect=(0.8, 1.25), degrees=5.0, p_flip=0.5, contrast=(0.6, 1.4), brightness=40.0,
    gamma=(0.7, 1.4), p_blur=0.3, blur_sigma=(0.3, 1.2), p_sharpen=0.2, p_jpeg=0.3, p_noise=0.2, noise=(1.0, 6.0))
# Changes that no reader would notice; how far they move the logit says what "near the operating point" means.
SLIGHT = Augmentation(
    "slight", area=(0.92, 1.0), aspect=(0.97, 1.03), degrees=2.0, p_flip=0.5, contrast=(0.93, 1.07), brightness=8.0,
    gamma=(0.94, 1.06))
RECIPES = {recipe.name: recipe for recipe in (PLAIN, STRONG, SHIFT, SLIGHT)}


def augment(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation, output_px: int
) -> npt.NDArray[np.uint8]:
    """Return a changed copy of a square picture: uint8 (px, px) → uint8 (output_px, output_px)."""
    if recipe == PLAIN:
        return enlarge(picture, output_px)
    changed = _frame(picture, rng, recipe, output_px)
    if rng.random() < recipe.p_erase:
        changed = _erase(changed, rng)
    if rng.random() < recipe.p_equalise:
        tiles = int(rng.integers(2, 9))
        changed = cv2.createCLAHE(float(rng.uniform(1, 3)), (tiles, tiles)).apply(changed).astype(np.uint8)
    changed = cv2.LUT(changed, _tone_curve(changed, rng, recipe)).astype(np.uint8)
    softness = rng.random()
    sigma = float(rng.uniform(*recipe.blur_sigma)) * output_px / 224
    if softness < recipe.p_blur:
        changed = cv2.GaussianBlur(changed, (0, 0), sigma).astype(np.uint8)
    elif softness < recipe.p_blur + recipe.p_sharpen:
        soft = cv2.GaussianBlur(changed, (0, 0), sigma)
        amount = float(rng.uniform(0.3, 1.0))
        changed = cv2.addWeighted(changed, 1 + amount, soft, -amount, 0).astype(np.uint8)
    if rng.random() < recipe.p_noise:
        grain = rng.standard_normal(changed.shape, dtype=np.float32) * np.float32(rng.uniform(*recipe.noise))
        changed = np.clip(changed + grain, 0, 255).astype(np.uint8)
    if rng.random() < recipe.p_jpeg:
        quality = int(rng.integers(*recipe.jpeg_quality, endpoint=True))
        _, encoded = cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, quality])
        changed = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return changed


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def _frame(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation, output_px: int
) -> npt.NDArray[np.uint8]:
    """Crop, stretch, turn, flip and resample in a single interpolation."""
    px = picture.shape[0]
    area, aspect = float(rng.uniform(*recipe.area)), _log_uniform(rng, recipe.aspect)
    width, height = min(1.0, (area * aspect) ** 0.5) * px, min(1.0, (area / aspect) ** 0.5) * px
    centre_x, centre_y = rng.uniform(width / 2, px - width / 2), rng.uniform(height / 2, px - height / 2)
    angle = np.deg2rad(rng.uniform(-recipe.degrees, recipe.degrees))
    mirror = -1.0 if rng.random() < recipe.p_flip else 1.0
    # Output pixel → source pixel: scale to the crop, turn about its centre, move there. Pixel centres are at +0.5.
    scale = np.diag((mirror * width / output_px, height / output_px))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ scale
    offset = np.array([centre_x, centre_y]) - 0.5 - linear @ np.full(2, (output_px - 1) / 2)
    choice = rng.random()
    how = cv2.INTER_LINEAR if choice < 0.7 else cv2.INTER_NEAREST if choice < 0.85 else cv2.INTER_CUBIC
    return cv2.warpAffine(picture, np.column_stack((linear, offset + 0.0)), (output_px, output_px),
                          flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT).astype(np.uint8)


def _tone_curve(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation
) -> npt.NDArray[np.uint8]:
    """Draw a look-up table, uint8 (256,): gamma, then contrast about the mean, then brightness."""
    grey = 255 * (np.arange(256) / 255) ** _log_uniform(rng, recipe.gamma)
    mean = float(picture.mean())
    grey = (grey - mean) * rng.uniform(*recipe.contrast) + mean + rng.uniform(-recipe.brightness, recipe.brightness)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _erase(picture: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Paint one rectangle in one grey, so that no single corner marker can carry the finding."""
    px = picture.shape[0]
    height, width = (int(px * rng.uniform(0.08, 0.35)) for _ in range(2))
    top, left = int(rng.integers(0, px - height)), int(rng.integers(0, px - width))
    erased = picture.copy()
    erased[top:top + height, left:left + width] = int(rng.integers(0, 256))
    return erased

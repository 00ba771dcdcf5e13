"""Data augmentation: random changes of framing, exposure, sharpness, compression and noise.

They cover what differs between hospitals, exports and the two halves of the public data.

>>> augmented = augment(picture, np.random.default_rng(1), resolve("strong"), 299)
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import enlarge
from training.data.recipes import Augmentation


def augment(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation, output_px: int
) -> npt.NDArray[np.uint8]:
    """Return an augmented copy of a square picture.

    Parameters
    ----------
    picture
        uint8 (px, px); unchanged.
    rng
        Source of all random numbers.
    recipe
        What to change.
    output_px
        Side of the result.

    Returns
    -------
    npt.NDArray[np.uint8]
        (output_px, output_px).
    """
    if not recipe.changes:
        return enlarge(picture, output_px)
    changed = _frame(picture, rng, recipe, output_px)
    if rng.random() < recipe.p_erase:
        changed = erase(changed, rng)
    if rng.random() < recipe.p_equalise:
        tiles = int(rng.integers(2, 9))
        changed = cv2.createCLAHE(float(rng.uniform(1, 3)), (tiles, tiles)).apply(changed).astype(np.uint8)
    if recipe.changes_tone:
        changed = cv2.LUT(changed, tone_curve(changed, rng, recipe)).astype(np.uint8)
    return encoded_again(changed, rng, recipe)


def encoded_again(
    changed: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation
) -> npt.NDArray[np.uint8]:
    """Return a picture as another file: with another sharpness, noise and compression.

    Parameters
    ----------
    changed
        uint8 (px, px).
    rng
        Source of all random numbers.
    recipe
        What to change.

    Returns
    -------
    npt.NDArray[np.uint8]
        (px, px).
    """
    softness = rng.random()
    sigma = float(rng.uniform(*recipe.blur_sigma)) * changed.shape[0] / 224
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


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return the same as `rng.uniform` for scalars, in a third of the time."""
    return low + (high - low) * rng.random()


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(_uniform(rng, math.log(bounds[0]), math.log(bounds[1])))


def jitter_matrix(px: int, rng: np.random.Generator, recipe: Augmentation, output_px: int) -> npt.NDArray[np.float64]:
    """Draw the crop, stretch, rotation and mirror image of a recipe as one affine map.

    Parameters
    ----------
    px, output_px
        Sides of the picture and of the result.
    rng
        Source of all random numbers.
    recipe
        What to change.

    Returns
    -------
    npt.NDArray[np.float64]
        (2, 3): from a pixel of the result to one of the picture, whose centres are at whole numbers.
    """
    area, aspect = _uniform(rng, *recipe.area), _log_uniform(rng, recipe.aspect)
    width, height = min(1.0, (area * aspect) ** 0.5) * px, min(1.0, (area / aspect) ** 0.5) * px
    centre_x, centre_y = _uniform(rng, width / 2, px - width / 2), _uniform(rng, height / 2, px - height / 2)
    # Drawn only where used, so that interrupted runs of earlier versions continue with the same random numbers.
    if recipe.zoom != (1, 1):
        width, height = width * _uniform(rng, *recipe.zoom), height * _uniform(rng, *recipe.zoom)
    if recipe.shift:
        centre_x += px * _uniform(rng, -recipe.shift, recipe.shift)
        centre_y += px * _uniform(rng, -recipe.shift, recipe.shift)
    angle = math.radians(_uniform(rng, -recipe.degrees, recipe.degrees))
    mirror = -1.0 if rng.random() < recipe.p_flip else 1.0
    # Output pixel → source pixel: scale to the crop, rotate about its centre, translate. Pixel centres are at +0.5.
    across, down, middle = mirror * width / output_px, height / output_px, (output_px - 1) / 2
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array(
        (
            (cos * across, -sin * down, centre_x - 0.5 - (cos * across - sin * down) * middle),
            (sin * across, cos * down, centre_y - 0.5 - (sin * across + cos * down) * middle),
        )
    )


def draw_interpolation(rng: np.random.Generator) -> int:
    """Draw one of OpenCV's interpolations, mostly the linear one."""
    choice = rng.random()
    return cv2.INTER_LINEAR if choice < 0.7 else cv2.INTER_NEAREST if choice < 0.85 else cv2.INTER_CUBIC


def _frame(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation, output_px: int
) -> npt.NDArray[np.uint8]:
    """Crop, stretch, rotate, flip and resample in a single interpolation."""
    linear = jitter_matrix(picture.shape[0], rng, recipe, output_px)
    how = draw_interpolation(rng)
    border = cv2.BORDER_REPLICATE if recipe.fills_border else cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, linear, (output_px, output_px), flags=how | cv2.WARP_INVERSE_MAP, borderMode=border)  # type: ignore[return-value]


def tone_curve(picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation) -> npt.NDArray[np.uint8]:
    """Draw a tone curve: gamma, then contrast about the mean, then brightness.

    Parameters
    ----------
    picture
        uint8 (px, px).
    rng
        Source of all random numbers.
    recipe
        What to change.

    Returns
    -------
    npt.NDArray[np.uint8]
        (256,): a look-up table.
    """
    grey = 255 * (np.arange(256) / 255) ** _log_uniform(rng, recipe.gamma)
    mean = float(picture.mean())
    grey = (grey - mean) * rng.uniform(*recipe.contrast) + mean + rng.uniform(-recipe.brightness, recipe.brightness)
    return np.clip(grey, 0, 255).astype(np.uint8)


def erase(picture: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Paint one rectangle in one grey value, so that the finding cannot depend on a single marker.

    Parameters
    ----------
    picture
        uint8 (px, px); unchanged.
    rng
        Source of all random numbers.

    Returns
    -------
    npt.NDArray[np.uint8]
        (px, px).
    """
    px = picture.shape[0]
    height, width = (int(px * rng.uniform(0.08, 0.35)) for _ in range(2))
    top, left = int(rng.integers(0, px - height)), int(rng.integers(0, px - width))
    erased = picture.copy()
    erased[top : top + height, left : left + width] = int(rng.integers(0, 256))
    return erased

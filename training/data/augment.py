"""Data augmentation: random changes of framing, exposure, sharpness, compression and noise.

They cover what differs between hospitals, exports and the two halves of the public data.

>>> augmented = augment(picture, np.random.default_rng(1), resolve("strong"), 299)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from imaging.radiograph import enlarge

# field: (minimum, maximum, neutral value). `scaled` stops at the bounds; beyond them a picture is no radiograph.
BOUNDS: dict[str, tuple[float, float, float]] = {
    "area": (0.08, 1.0, 1.0),
    "aspect": (0.25, 4.0, 1.0),
    "zoom": (0.5, 2.0, 1.0),
    "shift": (0.0, 0.5, 0.0),
    "degrees": (0.0, 180.0, 0.0),
    "p_flip": (0.0, 1.0, 0.0),
    "contrast": (0.2, 4.0, 1.0),
    "brightness": (0.0, 100.0, 0.0),
    "gamma": (0.2, 5.0, 1.0),
    "p_equalise": (0.0, 1.0, 0.0),
    "p_blur": (0.0, 1.0, 0.0),
    "blur_sigma": (0.05, 10.0, 0.0),
    "p_sharpen": (0.0, 1.0, 0.0),
    "p_jpeg": (0.0, 1.0, 0.0),
    "jpeg_quality": (10, 100, 100),
    "p_noise": (0.0, 1.0, 0.0),
    "noise": (0.0, 50.0, 0.0),
    "p_erase": (0.0, 1.0, 0.0),
}
LOGARITHMIC = frozenset({"aspect", "gamma"})
MAX_STRENGTH = 2.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A named augmentation recipe; pairs are ranges, drawn uniformly or (aspect, gamma) log-uniformly.

    Parameters
    ----------
    name
        1 to 60 characters.
    area
        Share of the picture that the crop keeps.
    aspect
        Ratio of the crop's width to its height.
    degrees
        Largest rotation either way.
    p_flip
        Probability of a horizontal mirror image.
    contrast
        Factor about the mean grey value.
    brightness
        Largest offset in grey levels.
    gamma
        Exponent of grey values in [0, 1].
    p_equalise, p_blur, p_sharpen, p_jpeg, p_noise, p_erase
        Probabilities of local histogram equalisation, blur, sharpening, JPEG compression, noise, and a painted
        rectangle. `p_blur` and `p_sharpen` add up to at most 1.
    blur_sigma
        In pixels at a side of 224 px.
    jpeg_quality
        Whole numbers.
    noise
        Standard deviation in grey levels.
    zoom
        Factors that stretch the crop's width and height independently, above 1 beyond the picture's border.
    shift
        Largest shift of the crop, as a share of the picture's side.
    fills_border
        Whether the margin continues beyond the border, as `imaging.border` does in service; else it is black.
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
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    fills_border: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for values out of bounds."""
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 60:
            raise ValueError(f"expected a name of 1 to 60 characters. Received: {self.name!r}")
        for field in fields(self)[1:]:
            if field.name in BOUNDS:
                _check(field.name, getattr(self, field.name), field.default)
        # One random number decides between the two; the tolerance is for sums such as 0.7 + 0.3.
        if self.p_blur + self.p_sharpen > 1 + 1e-9:
            raise ValueError(
                f"expected p_blur and p_sharpen to add up to at most 1. Received: {self.p_blur} + {self.p_sharpen}"
            )

    @property
    def changes_tone(self) -> bool:
        """Whether brightness, contrast or gamma change."""
        return bool(self.brightness) or self.contrast != (1, 1) or self.gamma != (1, 1)

    @property
    def changes(self) -> bool:
        """Whether the recipe changes pictures at all."""
        return (
            self.changes_tone
            or any(pair != (1, 1) for pair in (self.area, self.aspect, self.zoom))
            or any(
                (
                    self.degrees,
                    self.shift,
                    self.p_flip,
                    self.p_equalise,
                    self.p_blur,
                    self.p_sharpen,
                    self.p_jpeg,
                    self.p_noise,
                    self.p_erase,
                )
            )
        )


def _check(name: str, value: object, default: object) -> None:
    """Raise ValueError unless `value` is a number within bounds or, like the default, an ascending pair of them."""
    smallest, largest, _ = BOUNDS[name]
    wanted = (int,) if name == "jpeg_quality" else (int, float)
    is_pair = isinstance(default, tuple)
    numbers = value if is_pair else (value,)
    good = (
        isinstance(numbers, tuple)
        and len(numbers) == (2 if is_pair else 1)
        and all(
            isinstance(n, wanted) and not isinstance(n, bool) and math.isfinite(n) and smallest <= n <= largest
            for n in numbers
        )
        and numbers[0] <= numbers[-1]
    )
    if not good:
        kind = "whole number" if name == "jpeg_quality" else "number"
        what = f"two {kind}s, the smaller first, from" if is_pair else f"a {kind} from"
        raise ValueError(f"expected {name} as {what} {smallest:g} to {largest:g}. Received: {value!r}")


PLAIN = Augmentation("plain")
STRONG = Augmentation(
    "strong",
    area=(0.15, 1.0),
    aspect=(0.7, 1.43),
    degrees=10.0,
    p_flip=0.5,
    contrast=(0.5, 1.6),
    brightness=50.0,
    gamma=(0.6, 1.7),
    p_equalise=0.1,
    p_blur=0.3,
    p_sharpen=0.2,
    p_jpeg=0.35,
    p_noise=0.3,
    p_erase=0.25,
)
# The last epochs. Small crops show structures larger than a whole radiograph does in service, so the scale has to be
# corrected at the end (Touvron et al. 2019, https://arxiv.org/abs/1906.06423).
FINETUNE = replace(STRONG, name="finetune", area=(0.5, 1.0), aspect=(0.8, 1.25), p_erase=0.15)
# Against the sensitivity to framing: specificity fell by 30 points under rotation by 10° or cropping to 80 % of a side,
# while the ranking stayed. Larger rotations, and windows beyond the border of the radiograph.
FRAMING = replace(FINETUNE, name="framing", degrees=15.0, zoom=(0.8, 1.25), shift=0.05)
# For the ablation of the changes of sharpness, noise and compression.
ONE_ENCODING = replace(STRONG, name="one_encoding", p_equalise=0.0, p_blur=0.0, p_sharpen=0.0, p_jpeg=0.0, p_noise=0.0)
# Plausible radiographs of another hospital; calibration and the operating point have to hold under it.
DOMAIN_SHIFT = Augmentation(
    "domain_shift",
    area=(0.6, 1.0),
    aspect=(0.8, 1.25),
    degrees=5.0,
    p_flip=0.5,
    contrast=(0.6, 1.4),
    brightness=40.0,
    gamma=(0.7, 1.4),
    p_blur=0.3,
    blur_sigma=(0.3, 1.2),
    p_sharpen=0.2,
    p_jpeg=0.3,
    p_noise=0.2,
    noise=(1.0, 6.0),
)
# Changes that no reader would notice; the shift of the logit under them defines the borderline range.
JITTER = Augmentation(
    "jitter",
    area=(0.92, 1.0),
    aspect=(0.97, 1.03),
    degrees=2.0,
    p_flip=0.5,
    contrast=(0.93, 1.07),
    brightness=8.0,
    gamma=(0.94, 1.06),
)
# For comparison: the well-known Keras notebooks for this data set use ImageDataGenerator with rotation_range=30,
# zoom_range=0.2, width_shift_range=height_shift_range=0.1 and horizontal_flip; the border is black.
KERAS_NOTEBOOK = Augmentation("keras_notebook", degrees=30.0, p_flip=0.5, zoom=(0.8, 1.2), shift=0.1)
RECIPES = {
    recipe.name: recipe
    for recipe in (PLAIN, STRONG, FINETUNE, FRAMING, ONE_ENCODING, DOMAIN_SHIFT, JITTER, KERAS_NOTEBOOK)
}
# Names in configurations, cards and studies written before version 0.2.
FORMER_NAMES = {"settle": "finetune", "shift": "domain_shift", "slight": "jitter", "seed": "keras_notebook"}


def current_name(name: str) -> str:
    """Return the present name of a recipe that an older file may name differently."""
    return FORMER_NAMES.get(name, name)


def resolve(name: str, strength: float = 1.0) -> Augmentation:
    """Return the augmentation recipe `name` at `strength`, 0 to 2 times its own.

    Raises
    ------
    ValueError
        For an unknown name or a strength outside 0 to 2.
    """
    if name not in RECIPES:
        raise ValueError(f"expected an augmentation of {', '.join(sorted(RECIPES))}. Received: {name!r}")
    return scaled(RECIPES[name], strength)


def scaled(recipe: Augmentation, strength: float) -> Augmentation:
    """Return a weaker or stronger recipe.

    Parameters
    ----------
    recipe
        Strength 1.
    strength
        In [0, 2]: 0 changes nothing. Every range and probability is interpolated from its neutral value, on a
        logarithmic scale for ratios, and clipped to its bounds.

    Returns
    -------
    Augmentation
        With the strength in its name, such as "strong×0.50".

    Raises
    ------
    ValueError
        If the strength is out of range.
    """
    if isinstance(strength, bool) or not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"expected a strength from 0 to {MAX_STRENGTH:g}. Received: {strength!r}")
    if strength == 1 or not recipe.changes:
        return recipe

    def moved(name: str, value: float) -> float:
        smallest, largest, neutral = BOUNDS[name]
        if name == "p_flip":  # the variety is largest with half of the pictures mirrored
            largest = max(value, 0.5)
        far = value**strength if name in LOGARITHMIC else neutral + strength * (value - neutral)
        return min(max(round(far) if name == "jpeg_quality" else far, smallest), largest)

    values: dict[str, Any] = {}
    for name in BOUNDS:
        value = getattr(recipe, name)
        values[name] = tuple(moved(name, v) for v in value) if isinstance(value, tuple) else moved(name, value)
    too_many = max(1.0, values["p_blur"] + values["p_sharpen"])
    values |= {name: values[name] / too_many for name in ("p_blur", "p_sharpen")}
    return replace(recipe, name=f"{recipe.name}×{strength:.2f}", **values)


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
        changed = _erase(changed, rng)
    if rng.random() < recipe.p_equalise:
        tiles = int(rng.integers(2, 9))
        changed = cv2.createCLAHE(float(rng.uniform(1, 3)), (tiles, tiles)).apply(changed).astype(np.uint8)
    if recipe.changes_tone:
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


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return the same as `rng.uniform` for scalars, in a third of the time."""
    return low + (high - low) * rng.random()


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(_uniform(rng, math.log(bounds[0]), math.log(bounds[1])))


def _frame(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation, output_px: int
) -> npt.NDArray[np.uint8]:
    """Crop, stretch, rotate, flip and resample in a single interpolation."""
    px = picture.shape[0]
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
    linear = np.array(
        (
            (cos * across, -sin * down, centre_x - 0.5 - (cos * across - sin * down) * middle),
            (sin * across, cos * down, centre_y - 0.5 - (sin * across + cos * down) * middle),
        )
    )
    choice = rng.random()
    how = cv2.INTER_LINEAR if choice < 0.7 else cv2.INTER_NEAREST if choice < 0.85 else cv2.INTER_CUBIC
    border = cv2.BORDER_REPLICATE if recipe.fills_border else cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, linear, (output_px, output_px), flags=how | cv2.WARP_INVERSE_MAP, borderMode=border)  # type: ignore[return-value]


def _tone_curve(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: Augmentation
) -> npt.NDArray[np.uint8]:
    """Draw a look-up table, uint8 (256,): gamma, then contrast about the mean, then brightness."""
    grey = 255 * (np.arange(256) / 255) ** _log_uniform(rng, recipe.gamma)
    mean = float(picture.mean())
    grey = (grey - mean) * rng.uniform(*recipe.contrast) + mean + rng.uniform(-recipe.brightness, recipe.brightness)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _erase(picture: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Paint one rectangle in one grey value, so that the finding cannot depend on a single marker."""
    px = picture.shape[0]
    height, width = (int(px * rng.uniform(0.08, 0.35)) for _ in range(2))
    top, left = int(rng.integers(0, px - height)), int(rng.integers(0, px - width))
    erased = picture.copy()
    erased[top : top + height, left : left + width] = int(rng.integers(0, 256))
    return erased

"""Augmentation recipes: what a training changes at random in its radiographs, and by how much.

They cover what differs between hospitals, exports and the two halves of the public data.

>>> resolve("strong", 0.5).name
'strong×0.50'
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

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
    "p_curve": (0.0, 1.0, 0.0),
    "p_veil": (0.0, 1.0, 0.0),
    "p_marker": (0.0, 1.0, 0.0),
    "p_amplitude": (0.0, 1.0, 0.0),
    "p_histogram": (0.0, 1.0, 0.0),
    "p_outline": (0.0, 1.0, 0.0),
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
    p_curve, p_veil, p_marker
        Of films framed by their lungs: probabilities of a random rising tone curve, of a smooth veil, and of pasted
        letters and collimated edges (`training.data.augment_framed`).
    p_amplitude, p_histogram
        Of films framed by their lungs: probabilities of taking over the low-frequency amplitudes, or the distribution
        of grey values, of a film of the other class.
    p_outline
        Of films framed by their lungs: probability of a wider or narrower outline of the lungs.
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
    p_curve: float = 0.0
    p_veil: float = 0.0
    p_marker: float = 0.0
    p_amplitude: float = 0.0
    p_histogram: float = 0.0
    p_outline: float = 0.0

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
    def is_for_lungs(self) -> bool:
        """Whether it has changes that only films framed by their lungs get."""
        return any(
            (self.p_curve, self.p_veil, self.p_marker, self.p_amplitude, self.p_histogram, self.p_outline),
        )

    @property
    def changes(self) -> bool:
        """Whether the recipe changes pictures at all."""
        return (
            self.changes_tone
            or any(pair != (1, 1) for pair in (self.area, self.aspect, self.zoom))
            or self.is_for_lungs
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
# Films framed by their lungs, with the look of another X-ray unit, under which calibration and operating point have to
# hold.
ANOTHER_UNIT = replace(
    DOMAIN_SHIFT,
    name="another_unit",
    area=(0.85, 1.0),
    aspect=(0.93, 1.08),
    fills_border=True,
    p_curve=0.3,
    p_veil=0.2,
    p_amplitude=0.5,
    p_histogram=0.3,
    p_outline=0.3,
)
# For comparison: the well-known Keras notebooks for this data set use ImageDataGenerator with rotation_range=30,
# zoom_range=0.2, width_shift_range=height_shift_range=0.1 and horizontal_flip; the border is black.
KERAS_NOTEBOOK = Augmentation("keras_notebook", degrees=30.0, p_flip=0.5, zoom=(0.8, 1.2), shift=0.1)
# Films framed by their lungs: the frame is known, so it varies less; the look of the unit varies more.
LUNGS = Augmentation(
    "lungs",
    area=(0.45, 1.0),
    aspect=(0.8, 1.25),
    degrees=10.0,
    p_flip=0.5,
    contrast=(0.6, 1.5),
    brightness=30.0,
    gamma=(0.6, 1.7),
    p_equalise=0.1,
    p_blur=0.3,
    blur_sigma=(0.3, 1.8),
    p_sharpen=0.2,
    p_jpeg=0.3,
    p_noise=0.3,
    p_erase=0.15,
    zoom=(0.85, 1.2),
    shift=0.05,
    fills_border=True,
    p_curve=0.3,
    p_veil=0.3,
    p_marker=0.15,
    p_amplitude=0.5,
    p_histogram=0.25,
    p_outline=0.3,
)
LUNGS_FINETUNE = replace(
    LUNGS, name="lungs_finetune", area=(0.8, 1.0), aspect=(0.87, 1.15), zoom=(0.9, 1.12), p_erase=0.1
)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        PLAIN,
        STRONG,
        FINETUNE,
        FRAMING,
        ONE_ENCODING,
        DOMAIN_SHIFT,
        JITTER,
        KERAS_NOTEBOOK,
        LUNGS,
        LUNGS_FINETUNE,
        ANOTHER_UNIT,
    )
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

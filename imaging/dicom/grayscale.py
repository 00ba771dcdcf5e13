"""The grayscale pipeline of DICOM: stored words to values that grow with brightness, and the file's renderings.

Stored value → Modality LUT or rescale → VOI LUT or window → negative for MONOCHROME1 (PS3.3 C.11.1, C.11.2, C.7.6.3;
PS3.4 annex N). All of it depends on one word, so it is computed once per word and never per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from imaging.dicom.elements import DataSet, Element, Tag
from imaging.dicom.pixels import PixelModule, Words
from imaging.film import Rendering
from imaging.lut import apply_lut

Values = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_WHITE = 65535
_MAX_RENDERINGS = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """The values before the VOI step: `modality`, float64 (levels,), is `slope` · deep + `intercept`.

    `is_negative` is true where the output of the VOI step is shown as its negative.
    """

    modality: Values
    slope: float
    intercept: float
    is_negative: bool


def to_deep(
    words: Words, module: PixelModule, dataset: DataSet
) -> tuple[npt.NDArray[np.uint16], tuple[Rendering, ...]]:
    """Apply the modality step and list the VOI transformations.

    Parameters
    ----------
    words
        (H, W), uint8 or uint16: the stored words.
    module
        How they are stored.
    dataset
        The elements of the file.

    Returns
    -------
    deep
        (H, W), uint16: the values before any window, larger is brighter. Padding (PixelPaddingValue) is 0.
    renderings
        The file's lookup tables, then its windows, then an automatic window, which comes first where the file has none
        or its first rendering shows nothing. Padding is black in all of them.
    """
    whole, stored = _values_of_words(8 * words.dtype.itemsize, module)
    table, scale = _deep_table(stored, module, dataset)
    padding = _padding(words, whole, stored, module, dataset)
    if padding is not None:
        table[padding] = 0
    deep = apply_lut(table, words)
    counts = np.asarray(cv2.calcHist([deep], [0], None, [scale.modality.size], [0, scale.modality.size]), np.float64)
    counts = counts.reshape(-1)
    if padding is not None:
        counts[0] = 0
    renderings = _renderings(dataset, scale, counts)
    for rendering in renderings:
        if padding is not None:
            rendering.curve[0] = 0
        rendering.curve.flags.writeable = False
    deep.flags.writeable = False
    return deep, renderings


def _values_of_words(bits: int, module: PixelModule) -> tuple[Whole, Whole]:
    """Return the value of every word of `bits` bits, int64 (2**bits,): of the whole word, and of its stored bits.

    Other bits may hold an overlay, as the standard once allowed; they are not part of the value.
    """
    words = np.arange(2**bits)
    kept = (words >> (module.high_bit + 1 - module.stored)) & (2**module.stored - 1)
    if not module.is_signed:
        return words, kept
    return _from_twos_complement(words, bits), _from_twos_complement(kept, module.stored)


def _from_twos_complement(values: Whole, bits: int) -> Whole:
    sign = np.int64(2 ** (bits - 1))
    return (values ^ sign) - sign


def _deep_table(stored: Whole, module: PixelModule, dataset: DataSet) -> tuple[npt.NDArray[np.uint16], _Scale]:
    """Return the deep value of every possible word, and the scale of the deep values."""
    lowest = -(2 ** (module.stored - 1)) if module.is_signed else 0
    most = 2**module.stored - 1
    items = dataset.items.get(Tag.ModalityLUTSequence, [])
    lut = _lut(items[0], module.is_signed) if items else None
    if lut is not None:
        first, entries, bits = lut
        most = 2**bits - 1
        deep = np.minimum(entries[np.clip(stored - first, 0, entries.size - 1)].astype(np.int64), most)
        slope, intercept = 1.0, 0.0
    else:
        deep = stored - lowest
        slope = next(iter(dataset.numbers(Tag.RescaleSlope)), 1.0)
        intercept = next(iter(dataset.numbers(Tag.RescaleIntercept)), 0.0)
        if not 1e-9 < abs(slope) < 1e9 or abs(intercept) > 1e9:
            slope, intercept = 1.0, 0.0
        intercept += slope * lowest
    if module.is_negative != (slope < 0):  # so that larger is brighter
        deep = most - deep
        slope, intercept = -slope, intercept + slope * most
    return deep.astype(np.uint16), _Scale(slope * np.arange(most + 1) + intercept, slope, intercept, module.is_negative)


def _padding(
    words: Words, whole: Whole, stored: Whole, module: PixelModule, dataset: DataSet
) -> npt.NDArray[np.bool_] | None:
    """Return which words are padding (PS3.3 C.7.5.1.1.2), bool (words,), or None.

    The padding value may be outside the stored bits, so whole words count as well. Padding fills the picture up to a
    rectangle: where no pixel of the border has it, the value is an ordinary grey, whatever the header says.
    """
    value = dataset.whole(Tag.PixelPaddingValue, signed=module.is_signed)
    if value is None:
        return None
    limit = dataset.whole(Tag.PixelPaddingRangeLimit, signed=module.is_signed)
    low, high = sorted((value, value if limit is None else limit))
    is_padding = (whole >= low) & (whole <= high) | (stored >= low) & (stored <= high)
    border = np.concatenate([words[0], words[-1], words[:, 0], words[:, -1]])
    return is_padding if is_padding[border].any() and not is_padding.all() else None


def _renderings(dataset: DataSet, scale: _Scale, counts: Values) -> tuple[Rendering, ...]:
    given = [*_table_renderings(dataset, scale), *_window_renderings(dataset, scale)][:_MAX_RENDERINGS]
    automatic = _automatic(counts)
    if not given:
        return (replace(automatic, name=f"{automatic.name}: the file names no window"),)
    if _shown(given[0].curve, counts) < 0.01 < _shown(automatic.curve, counts):
        first = replace(automatic, name=f"{automatic.name}: the file's own window shows nothing")
        return (first, *_distinct(given))
    return (*_distinct(given), automatic)


def _table_renderings(dataset: DataSet, scale: _Scale) -> list[Rendering]:
    """The items of the VOI LUT Sequence (PS3.3 C.11.2.1.1)."""
    renderings = []
    for number, item in enumerate(dataset.items.get(Tag.VOILUTSequence, []), 1):
        lut = _lut(item, is_signed=bool(scale.modality.min() < 0))
        if lut is not None:
            first, entries, bits = lut
            at = np.clip(np.round(scale.modality - first), 0, entries.size - 1).astype(np.int64)
            curve = _curve(entries[at] / (2**bits - 1), scale)
            renderings.append(Rendering(_plain(item.text(Tag.LUTExplanation)) or f"Lookup table {number}", curve))
    return renderings


def _window_renderings(dataset: DataSet, scale: _Scale) -> list[Rendering]:
    """The windows with their function (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centres, widths = dataset.numbers(Tag.WindowCenter), dataset.numbers(Tag.WindowWidth)
    names = dataset.texts(Tag.WindowCenterWidthExplanation)
    function = dataset.text(Tag.VOILUTFunction).upper()
    renderings = []
    for number, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        narrowest = 1e-9 if function in ("LINEAR_EXACT", "SIGMOID") else 1
        if not narrowest <= width < 1e9 or abs(centre) > 1e9:
            continue
        name = _plain(names[number]) if number < len(names) else ""
        name = name or (f"Window {number + 1}" if len(centres) > 1 else "The file's window")
        if function == "SIGMOID":
            steep = np.clip(-4 * (scale.modality - centre) / width, -700, 700)
            renderings.append(Rendering(name, _curve(1 / (1 + np.exp(steep)), scale)))
            continue
        if function != "LINEAR_EXACT":  # LINEAR runs from centre - 0.5 - (width - 1) / 2 to as far above
            centre, width = centre - 0.5, width - 1
        curve = _curve(_linear(scale.modality, centre, width), scale)
        window = ((centre - scale.intercept) / scale.slope, width / abs(scale.slope)) if width > 0 else None
        renderings.append(Rendering(name, curve, window))
    return renderings


def _automatic(counts: Values) -> Rendering:
    """Return a window from the 0.5th to the 99.5th percentile of the pixels.

    Eight bits whose range is used are shown unchanged, as in other pictures of eight bits.
    """
    total = np.cumsum(counts)
    low, high = (int(np.searchsorted(total, share * total[-1])) for share in (0.005, 0.995))
    levels = counts.size
    name = "Automatic window"
    if levels <= 256 and (high - low >= levels // 2 or high <= low):
        low, high, name = 0, levels - 1, "As stored"
    elif high <= low:
        low, high = 0, levels - 1
    centre, width = (low + high) / 2, float(high - low)
    curve = np.round(_linear(np.arange(levels, dtype=np.float64), centre, width) * _WHITE).astype(np.uint16)
    return Rendering(name, curve, (centre, width))


def _linear(values: Values, centre: float, width: float) -> Values:
    """Map a window with exact edges to 0–1; a window without width is a threshold."""
    if width <= 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _curve(share: Values, scale: _Scale) -> npt.NDArray[np.uint16]:
    return np.round((1 - share if scale.is_negative else share).clip(0, 1) * _WHITE).astype(np.uint16)


def _shown(curve: npt.NDArray[np.uint16], counts: Values) -> float:
    """Return the share of the picture that is neither black nor white."""
    between = (curve > _WHITE // 100) & (curve < _WHITE - _WHITE // 100)
    return float(counts[between].sum() / max(1.0, float(counts.sum())))


def _lut(item: DataSet, is_signed: bool) -> tuple[int, npt.NDArray[np.uint16], int] | None:
    """Read a lookup table (PS3.3 C.11.1.1): (first value mapped, entries, their bits), None if invalid."""
    element = item.elements.get(Tag.LUTData)
    unsigned, plain = item.numbers(Tag.LUTDescriptor), item.numbers(Tag.LUTDescriptor, signed=is_signed)
    if element is None or len(unsigned) != 3 or len(plain) != 3:
        return None
    count, first, bits = int(unsigned[0]) % 65536 or 65536, int(plain[1]), int(unsigned[2])
    if not 1 <= bits <= 16:
        return None
    entries = _entries(element, count)
    return None if entries is None else (first, entries, bits)


def _entries(element: Element, count: int) -> npt.NDArray[np.uint16] | None:
    if element.vr not in ("OW", "OB", "US", "SS", "UN", ""):
        return None
    if len(element.value) >= 2 * count:
        return np.frombuffer(element.value, "<u2" if element.is_little else ">u2", count).astype(np.uint16)
    if len(element.value) >= count:  # eight bits an entry
        return np.frombuffer(element.value, np.uint8, count).astype(np.uint16)
    return None


def _plain(text: str) -> str:
    """Return an explanation as a name for the screen: one line of at most 64 printable characters."""
    return "".join(char for char in text if char.isprintable()).strip()[:64]


def _distinct(renderings: list[Rendering]) -> list[Rendering]:
    """Number renderings of the same name."""
    names = [rendering.name for rendering in renderings]
    return [
        rendering if names.count(name) == 1 else replace(rendering, name=f"{name} ({names[:k].count(name) + 1})")
        for k, (name, rendering) in enumerate(zip(names, renderings, strict=True))
    ]

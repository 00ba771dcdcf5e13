"""Data augmentation of films framed by their lungs: another frame, another X-ray unit, another outline.

A film of one class takes over the look of a film of the other: the amplitudes of its low spatial frequencies (Yang &
Soatto 2020, "FDA", https://arxiv.org/abs/2004.05498; the phases, which hold the anatomy, stay) or its distribution of
grey values. Where a unit took films of one class alone, such films are the only ones that fill the other class.

>>> augmented = augment_framed(pair, np.random.default_rng(1), resolve("lungs"), 299, donor=other_pair)
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from model.anatomy import convex_hull
from model.framing import WALL, find_frame, framed, shown, warped
from training.data.augment import draw_interpolation, encoded_again, erase, jitter_matrix, tone_curve
from training.data.recipes import Augmentation

Grey = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int_]
# Cycles over the picture up to which amplitudes are taken over, and the share of them.
_CYCLES, _SHARE = (2.0, 18.0), (0.2, 1.0)
_LETTERS = "RLABCDEFKMPSV0123456789"


class Donors:
    """Films that lend their look, drawn with the same probability for every acquisition style.

    Parameters
    ----------
    among
        (m,), int: indices of the films.
    looks
        (n,), int: the style of each film of the dataset; None draws every film with the same probability.
    """

    def __init__(self, among: Ints, looks: Ints | None = None) -> None:
        styles = np.zeros(len(among), np.int_) if looks is None else looks[among]
        self._by_style = [among[styles == style] for style in np.unique(styles)]

    def draw(self, rng: np.random.Generator) -> int | None:
        """Draw the index of a film; None where there is none."""
        if not self._by_style:
            return None
        films = self._by_style[int(rng.integers(len(self._by_style)))]
        return int(films[int(rng.integers(len(films)))])


def augment_framed(
    pair: Grey, rng: np.random.Generator, recipe: Augmentation, output_px: int, donor: Grey | None = None
) -> Grey:
    """Return an augmented network input of a film whose lungs are known.

    Parameters
    ----------
    pair
        uint8 (px, px, 3): film, and the lungs apart, as `model.framing.pair_of` returns them; unchanged.
    rng
        Source of all random numbers.
    recipe
        What to change.
    output_px
        Side of the result.
    donor
        uint8 (px, px, 3): another film, whose look may be taken over; None for none.

    Returns
    -------
    npt.NDArray[np.uint8]
        (output_px, output_px, 2): the film, with one grey value beside the thorax, and its lungs.
    """
    if not recipe.changes:
        return framed(pair, output_px)
    frame = find_frame(np.moveaxis(pair[..., 1:], -1, 0)).matrix(pair.shape[0], output_px)
    jitter = jitter_matrix(output_px, rng, recipe, output_px)
    film, lungs = warped(pair, frame @ np.vstack((jitter, (0, 0, 1))), output_px, draw_interpolation(rng))
    if rng.random() < recipe.p_outline:
        lungs = _another_outline(lungs, rng)
    if donor is not None:
        look = rng.random()
        if look < recipe.p_amplitude + recipe.p_histogram:
            other = framed_film(donor, output_px, rng)
            change = with_amplitudes if look < recipe.p_amplitude else with_histogram
            film = change(film, lungs, *other, rng)
    if rng.random() < recipe.p_erase:
        film = erase(film, rng)
    if rng.random() < recipe.p_equalise:
        tiles = int(rng.integers(2, 9))
        film = np.asarray(cv2.createCLAHE(float(rng.uniform(1, 3)), (tiles, tiles)).apply(film), np.uint8)
    if rng.random() < recipe.p_curve:
        film = np.asarray(cv2.LUT(film, _rising_curve(rng)), np.uint8)
    if recipe.changes_tone:
        film = np.asarray(cv2.LUT(film, tone_curve(film, rng, recipe)), np.uint8)
    if rng.random() < recipe.p_veil:
        film = _veiled(film, rng)
    if rng.random() < recipe.p_marker:
        film = _marked(film, rng)
    return shown(encoded_again(film, rng, recipe), lungs)


def framed_film(pair: Grey, output_px: int, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """Return film and lungs in their frame, half of them mirrored.

    Parameters
    ----------
    pair
        uint8 (px, px, 3), as in `augment_framed`.
    output_px
        Side of the result.
    rng
        Draws whether it is mirrored.

    Returns
    -------
    tuple
        Film and lungs, each uint8 (output_px, output_px).
    """
    frame = find_frame(np.moveaxis(pair[..., 1:], -1, 0))
    film, lungs = warped(pair, frame.matrix(pair.shape[0], output_px), output_px)
    if rng.random() < 0.5:
        film, lungs = np.ascontiguousarray(film[:, ::-1]), np.ascontiguousarray(lungs[:, ::-1])
    return film, lungs


def with_amplitudes(film: Grey, lungs: Grey, other: Grey, other_lungs: Grey, rng: np.random.Generator) -> Grey:
    """Return a film with amplitudes of low spatial frequencies of another one.

    Parameters
    ----------
    film, lungs, other, other_lungs
        uint8 (px, px): both films in their frame, with their lungs.
    rng
        Draws the highest frequency and the share that is taken over.

    Returns
    -------
    npt.NDArray[np.uint8]
        (px, px).
    """
    px = film.shape[0]
    own, looked = (np.fft.rfft2(_inside(*one)) for one in ((film, lungs), (other, other_lungs)))
    cycles = np.hypot(np.fft.fftfreq(px, 1 / px)[:, None], np.fft.rfftfreq(px, 1 / px)[None])
    # Falling off smoothly: a sharp edge between the frequencies rings.
    share = rng.uniform(*_SHARE) * np.exp(-((cycles / rng.uniform(*_CYCLES)) ** 4))
    amplitude = np.abs(own)
    mixed = amplitude * (1 - share) + np.abs(looked) * share
    changed = np.fft.irfft2(own * (mixed / np.maximum(amplitude, 1e-6)), (px, px))
    return np.asarray(np.clip(np.round(changed), 0, 255), np.uint8)


def with_histogram(film: Grey, lungs: Grey, other: Grey, other_lungs: Grey, rng: np.random.Generator) -> Grey:
    """Return a film with the distribution of grey values of another one, inside the thorax.

    Parameters
    ----------
    film, lungs, other, other_lungs
        uint8 (px, px): both films in their frame, with their lungs.
    rng
        Draws how far the distribution is taken over.

    Returns
    -------
    npt.NDArray[np.uint8]
        (px, px).
    """
    levels = np.linspace(0, 1, 65)
    own, looked = (
        np.quantile(picture[hull] if (hull := convex_hull(mask >= 128, WALL)).any() else picture, levels)
        for picture, mask in ((film, lungs), (other, other_lungs))
    )
    own = own + np.arange(65) * 1e-6  # rising, where grey values repeat
    share = rng.uniform(*_SHARE)
    grey = np.arange(256)
    table = grey * (1 - share) + np.interp(grey, own, looked) * share
    return np.asarray(cv2.LUT(film, np.clip(np.round(table), 0, 255).astype(np.uint8)), np.uint8)


def _inside(film: Grey, lungs: Grey) -> npt.NDArray[np.float32]:
    """Return the film with the mean of the thorax beside it, so that nothing there has an amplitude."""
    hull = convex_hull(lungs >= 128, WALL)
    grey = film.astype(np.float32)
    return np.where(hull, grey, grey[hull].mean()) if hull.any() else grey


def _another_outline(lungs: Grey, rng: np.random.Generator) -> Grey:
    """Widen or narrow the outline by up to 3 % of the side, as another reader or a doubtful film would."""
    radius = int(rng.integers(1, max(2, round(0.03 * lungs.shape[0]))))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    changed = cv2.dilate(lungs, around) if rng.random() < 0.6 else cv2.erode(lungs, around)
    return np.asarray(changed, np.uint8) if changed.max() >= 128 else lungs


def _rising_curve(rng: np.random.Generator) -> Grey:
    """Draw a random rising tone curve, uint8 (256,): cumulative sums of random steps."""
    steps = rng.gamma(rng.uniform(1.5, 5.0), size=8)
    heights = np.concatenate(((0.0,), np.cumsum(steps))) / steps.sum()
    grey = np.arange(256) / 255
    share = rng.uniform(0.2, 0.8)
    curve = (1 - share) * grey + share * np.interp(grey, np.linspace(0, 1, 9), heights)
    return np.asarray(np.round(255 * curve), np.uint8)


def _veiled(film: Grey, rng: np.random.Generator) -> Grey:
    """Lay a smooth bright or dark veil over the film, as scatter and uneven exposure do."""
    px = film.shape[0]
    coarse = rng.standard_normal((5, 5), dtype=np.float32)
    veil: Any = cv2.resize(coarse, (px, px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(film + veil * rng.uniform(3, 18), 0, 255), np.uint8)


def _marked(film: Grey, rng: np.random.Generator) -> Grey:
    """Paste letters, or a collimated edge, on the film."""
    px, marked = film.shape[0], film.copy()
    if rng.random() < 0.3:
        width, grey = int(rng.integers(1, max(2, px // 10))), int(rng.integers(0, 40))
        edges = (np.s_[:width], np.s_[px - width :], np.s_[:, :width], np.s_[:, px - width :])
        marked[edges[int(rng.integers(0, 4))]] = grey
        return marked
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(1, 6))))
        place = (int(rng.integers(0, px)), int(rng.integers(px // 12, px)))
        size, grey = float(rng.uniform(0.3, 1.6)) * px / 224, int(rng.integers(170, 256))
        cv2.putText(marked, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, grey, int(rng.integers(1, 4)), cv2.LINE_AA)
    return marked

"""Synthetic outliers: drawn pictures that are not frontal chest radiographs, from which the gate learns what to refuse.

Overlapping textured shapes replace photographs (Lee, Mumford & Huang 2001, "Occlusion models for natural images",
https://doi.org/10.1023/A:1011109015675), limbs, skulls and slices made of ellipses replace other examinations, and
figures, screens and fragments contain the training radiographs themselves. No outside data is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
# Grey values in [0, 1], float32 (h, w); Any because of OpenCV's type stubs.
Canvas = npt.NDArray[Any]
Rng = np.random.Generator
_LETTERS = list("abcdefghiklmnoprstuvwxyzAEHIMNRT0123456789:/.-")


def draw_synthetic_outliers(count: int, films: Picture, seed: int) -> Picture:
    """Draw synthetic outliers, all kinds equally often.

    Parameters
    ----------
    count
        Number of pictures.
    films
        uint8 (n, px, px): training radiographs that some kinds contain.
    seed
        Of the random numbers.

    Returns
    -------
    npt.NDArray[np.uint8]
        (count, px, px).
    """
    px = films.shape[1]
    drawn = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        drawn.append(_finished(KINDS[i % len(KINDS)](rng, films, px), rng, px))
    return np.stack(drawn) if drawn else np.zeros((0, px, px), np.uint8)


def _finished(canvas: Canvas, rng: Rng, px: int) -> Picture:
    """Apply random exposure, sharpness and noise to a drawing in [0, 1]."""
    picture = cv2.resize(canvas.astype(np.float32), (px, px), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.5:
        picture = np.clip(picture, 0, 1) ** rng.uniform(0.6, 1.6)
    picture = picture * rng.uniform(0.7, 1.0) + rng.uniform(0, 0.15)
    if rng.random() < 0.4:
        picture = picture + rng.normal(0, rng.uniform(0.004, 0.03), picture.shape)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _black(px: int) -> Canvas:
    return np.zeros((px, px), np.float32)


def _cloud(rng: Rng, px: int, slope: float) -> Canvas:
    """Return noise in [0, 1] with amplitude 1 / frequency ** slope; photographs have a slope of 1."""
    frequency = np.hypot(np.fft.fftfreq(px)[:, None], np.fft.rfftfreq(px)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(0, 1, (px, px))) / frequency**slope
    cloud = np.fft.irfft2(spectrum, (px, px))
    low, high = np.percentile(cloud, (1, 99))
    return np.asarray(np.clip((cloud - low) / max(high - low, 1e-9), 0, 1), np.float32)


def _noise(rng: Rng, _films: Picture, px: int) -> Canvas:
    return _cloud(rng, px, rng.choice([0, 0.5, 1, 1.5, 2, 3]))


def _ramp(rng: Rng, _films: Picture, px: int) -> Canvas:
    """Gradients, rings, bars and test patterns."""
    y, x = np.mgrid[-1 : 1 : px * 1j, -1 : 1 : px * 1j].astype(np.float32)
    angle, cycles = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 12)
    along = (
        np.hypot(x - rng.uniform(-1, 1), y - rng.uniform(-1, 1))
        if rng.random() < 0.4
        else (x * np.cos(angle) + y * np.sin(angle))
    )
    wave = 0.5 + 0.5 * np.sin(np.pi * cycles * along)
    return np.asarray(np.round(wave * 4) / 4 if rng.random() < 0.5 else wave, np.float32)


def _ellipse(
    canvas: Canvas,
    centre: tuple[float, float],
    half: tuple[float, float],
    turn: float,
    grey: float,
    thickness: int = -1,
) -> None:
    cv2.ellipse(
        canvas,
        (int(centre[0]), int(centre[1])),
        (max(1, int(half[0])), max(1, int(half[1]))),
        turn,
        0,
        360,
        grey,
        thickness,
        cv2.LINE_AA,
    )


def _leaves(rng: Rng, _films: Picture, px: int) -> Canvas:
    """Overlapping shapes of all sizes, shaded and textured: the statistics of a photograph."""
    canvas = _cloud(rng, px, rng.uniform(1, 2))
    texture = _cloud(rng, px, 1.0)
    largest, count = rng.uniform(0.2, 0.7) * px, int(rng.integers(8, 120))
    for _ in range(count):
        size = min(largest, 3.0 / max(rng.random(), 1e-3) ** 0.7)
        centre, grey = rng.uniform(0, px, 2), rng.random()
        shape = _black(px)
        if rng.random() < 0.6:
            _ellipse(shape, tuple(centre), (size, size * rng.uniform(0.3, 1)), rng.uniform(0, 180), 1)
        else:
            corners = centre + size * rng.uniform(-1, 1, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(shape, [corners.astype(np.int32)], 1.0, cv2.LINE_AA)
        inside = (
            grey
            + rng.uniform(0, 0.5) * (texture - 0.5)
            + rng.uniform(-0.3, 0.3)
            * (np.linspace(-1, 1, px)[:, None] if rng.random() < 0.5 else np.linspace(-1, 1, px)[None])
        )
        canvas = canvas * (1 - shape) + inside.astype(np.float32) * shape
    return np.clip(canvas, 0, 1)


def _write(canvas: Canvas, rng: Rng, box: tuple[int, int, int, int], grey: float) -> None:
    """Fill a box (left, top, right, bottom) with lines that look like text."""
    left, top, right, bottom = box
    height, ink = int(rng.integers(3, 12)), np.zeros(canvas.shape, np.uint8)
    for row in range(top, bottom - height, int(height * rng.uniform(1.4, 2.2))):
        x = left
        end = right - int(rng.uniform(0, 0.5) * (right - left)) if rng.random() < 0.4 else right
        while x < end:
            letters = "".join(rng.choice(_LETTERS, int(rng.integers(2, 9))))
            cv2.putText(ink, letters, (x, row + height), cv2.FONT_HERSHEY_SIMPLEX, height / 24, 255, 1, cv2.LINE_AA)
            x += int(len(letters) * height * 0.8) + height
    canvas += (grey - canvas) * (ink / np.float32(255))


def _page(rng: Rng, _films: Picture, px: int) -> Canvas:
    """A document or the window of a program: paper, text, boxes."""
    size = 2 * px
    paper = rng.choice([1.0, 0.96, 0.1, 0.0])
    canvas = np.full((size, size), paper, np.float32)
    for _ in range(int(rng.integers(0, 9))):
        (left, right), (top, bottom) = (np.sort(rng.integers(0, size, 2)) for _ in range(2))
        cv2.rectangle(
            canvas,
            (int(left), int(top)),
            (int(right), int(bottom)),
            float(rng.random()),
            -1 if rng.random() < 0.5 else int(rng.integers(1, 4)),
        )
    for _ in range(int(rng.integers(1, 6))):
        left, top = (int(v) for v in rng.integers(0, size * 3 // 4, 2))
        _write(
            canvas,
            rng,
            (left, top, min(size, left + int(rng.integers(60, size))), min(size, top + int(rng.integers(30, size)))),
            1 - float(paper) * rng.uniform(0.6, 1),
        )
    return canvas


def _film(rng: Rng, films: Picture) -> Canvas:
    return np.asarray(films[int(rng.integers(len(films)))] / np.float32(255))


def _figure(rng: Rng, films: Picture, px: int) -> Canvas:
    """Radiographs within a figure with axes, a viewer with its tools, or a collage."""
    size = 2 * px
    paper = float(rng.choice([1.0, 0.95, 0.2, 0.0]))
    canvas = np.full((size, size), paper, np.float32)
    columns, rows = (int(v) for v in rng.choice([1, 1, 2, 2, 3], 2))
    if columns * rows == 1:
        columns = int(rng.integers(1, 3))
    width, height = size // columns, size // rows
    tight = rng.random() < 0.25 and columns * rows > 1
    for row in range(rows):
        for column in range(columns):
            share = (1.0, 1.0) if tight else tuple(rng.uniform(0.35, 0.8, 2))
            w, h = max(8, int(width * share[0])), max(8, int(height * share[1]))
            left = column * width + int(rng.integers(0, width - w + 1))
            top = row * height + int(rng.integers(0, height - h + 1))
            film = cv2.resize(_film(rng, films), (w, h), interpolation=cv2.INTER_AREA)
            canvas[top : top + h, left : left + w] = film
            if not tight and rng.random() < 0.6:
                _write(canvas, rng, (left, max(0, top - 24), left + w, max(12, top - 4)), 1 - paper)
                cv2.rectangle(canvas, (left, top), (left + w, top + h), 1 - paper, 1)
    for _ in range(0 if tight else int(rng.integers(1, 4))):
        left, top = (int(v) for v in rng.integers(0, size * 4 // 5, 2))
        if rng.random() < 0.5:
            left = int(rng.choice([4, size - 80]))
        _write(canvas, rng, (left, top, min(size, left + 90), min(size, top + int(rng.integers(30, 200)))), 1 - paper)
    return canvas


def _on_a_screen(rng: Rng, films: Picture, px: int) -> Canvas:
    """A radiograph photographed on a screen, in perspective and with its surroundings."""
    size = 2 * px
    canvas = cv2.resize(_leaves(rng, films, px), (size, size)) * np.float32(rng.uniform(0.2, 0.8))
    film = cv2.resize(_film(rng, films), (size, size))
    film = np.pad(film[8:-8, 8:-8], 8, constant_values=0.02)
    inset = rng.uniform(0.08, 0.3, (4, 2)) * size
    source = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    target = np.abs(source - inset.astype(np.float32))
    warp = cv2.getPerspectiveTransform(source, target)
    there = cv2.warpPerspective(np.ones_like(film), warp, (size, size))
    return np.asarray(canvas * (1 - there) + cv2.warpPerspective(film, warp, (size, size)), np.float32)


def _fragment(rng: Rng, films: Picture, px: int) -> Canvas:
    """A small fragment of a radiograph."""
    film, side = _film(rng, films), int(px * rng.uniform(0.12, 0.28))
    top, left = (int(v) for v in rng.integers(0, px - side, 2))
    return cv2.resize(film[top : top + side, left : left + side], (px, px), interpolation=cv2.INTER_CUBIC)


def _shuffled(rng: Rng, films: Picture, px: int) -> Canvas:
    """A radiograph with its pieces in random order."""
    film, n = _film(rng, films), int(rng.integers(2, 6))
    side = px // n
    pieces = [film[r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(n) for c in range(n)]
    order = rng.permutation(len(pieces))
    return np.vstack(
        [np.hstack([np.rot90(pieces[k], int(rng.integers(4))) for k in order[r * n : (r + 1) * n]]) for r in range(n)]
    )


def _swirled(rng: Rng, films: Picture, px: int) -> Canvas:
    """A radiograph distorted beyond anatomy."""
    y, x = np.mgrid[0:px, 0:px].astype(np.float32)
    amplitude, wave = px * rng.uniform(0.06, 0.2), px * rng.uniform(0.1, 0.5)
    phase = rng.uniform(0, 2 * np.pi, 2)
    if rng.random() < 0.4:
        return cv2.warpPolar(
            _film(rng, films),
            (px, px),
            (px / 2, px / 2),
            px * 0.6,
            (cv2.WARP_INVERSE_MAP if rng.random() < 0.5 else 0) | cv2.WARP_FILL_OUTLIERS,
        )
    return cv2.remap(
        _film(rng, films),
        (x + amplitude * np.sin(2 * np.pi * y / wave + phase[0])).astype(np.float32),
        (y + amplitude * np.sin(2 * np.pi * x / wave + phase[1])).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def _stroke(canvas: Canvas, start: npt.NDArray[Any], end: npt.NDArray[Any], width: float) -> None:
    cv2.line(canvas, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0, max(1, int(width)), cv2.LINE_AA)


def _bone(canvas: Canvas, start: npt.NDArray[Any], end: npt.NDArray[Any], width: float, grey: float) -> None:
    """Add one long bone with cortex and two ends to a canvas."""
    shape = np.zeros_like(canvas)
    _stroke(shape, start, end, width)
    for point in (start, end):
        cv2.circle(shape, (int(point[0]), int(point[1])), max(1, int(width * 0.85)), 1.0, -1, cv2.LINE_AA)
    marrow = np.zeros_like(canvas)
    _stroke(marrow, start, end, width * 0.5)
    shape, marrow = cv2.GaussianBlur(shape, (0, 0), 1.5), cv2.GaussianBlur(marrow, (0, 0), 1.5)
    canvas += grey * (shape - 0.45 * marrow)


def _limb(rng: Rng, _films: Picture, px: int) -> Canvas:
    """An arm, a leg, a foot or a hand, on black or inverted."""
    soft, bones = _black(px), _black(px)
    centre, angle = px * rng.uniform(0.35, 0.65, 2), rng.uniform(-0.5, 0.5) + rng.choice([0, np.pi / 2])
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    if rng.random() < 0.5:
        count = int(rng.integers(1, 4))
        width = px * rng.uniform(0.04, 0.1)
        reach = px * rng.uniform(0.3, 0.8)
        _stroke(soft, centre - 1.3 * reach * along, centre + 1.3 * reach * along, width * (count + 2.5))
        for bone in range(count):
            offset = centre + across * (bone - (count - 1) / 2) * width * 1.9
            gap = rng.uniform(-0.3, 0.3) * reach
            _bone(bones, offset - reach * along, offset + gap * along, width, 1)
            _bone(bones, offset + (gap + width * 1.8) * along, offset + reach * along, width * rng.uniform(0.7, 1.2), 1)
    else:
        for finger in range(5):
            spread = (finger - 2) * rng.uniform(0.2, 0.3)
            ray = along * np.cos(spread) + across * np.sin(spread)
            at, width = centre - 0.1 * px * ray, px * rng.uniform(0.02, 0.03)
            for length in np.array([0.2, 0.13, 0.09, 0.06]) * px * rng.uniform(0.9, 1.2):
                _bone(bones, at, at + length * ray, width, 1)
                _stroke(soft, at, at + length * ray, 4 * width)
                at = at + (length + width * 1.6) * ray
        _ellipse(soft, tuple(centre - 0.15 * px * along), (0.16 * px, 0.2 * px), 0, 1.0)
    soft = cv2.GaussianBlur(soft, (0, 0), px * 0.012)
    picture = rng.uniform(0.15, 0.4) * soft + rng.uniform(0.3, 0.6) * np.clip(bones, 0, 1.3)
    picture *= 1 + 0.15 * (_cloud(rng, px, 1.5) - 0.5)
    return np.asarray(1 - picture if rng.random() < 0.15 else picture, np.float32)


def _slice(rng: Rng, _films: Picture, px: int) -> Canvas:
    """A CT or MR slice of a head or trunk: a ring on black, organs, a spine, a table."""
    picture = _black(px)
    centre = px * rng.uniform(0.45, 0.55, 2)
    half = px * np.array([rng.uniform(0.3, 0.48), rng.uniform(0.25, 0.45)])
    _ellipse(picture, tuple(centre), tuple(half), rng.uniform(-8, 8), rng.uniform(0.3, 0.8))
    inner = rng.uniform(0.78, 0.95)
    _ellipse(picture, tuple(centre), tuple(half * inner), 0, rng.uniform(0.05, 0.6))
    texture = _cloud(rng, px, rng.uniform(0.5, 2))
    for _ in range(int(rng.integers(3, 16))):
        at, size = centre + rng.uniform(-0.7, 0.7, 2) * half * inner, px * rng.uniform(0.02, 0.14, 2)
        _ellipse(
            picture, tuple(at), tuple(size), rng.uniform(0, 180), rng.uniform(0, 1), -1 if rng.random() < 0.8 else 2
        )
    if rng.random() < 0.4:
        for side in (-1, 1):
            _ellipse(picture, (centre[0] + side * 0.45 * half[0], centre[1]), tuple(half * (0.32, 0.55)), 0, 0.05)
        _ellipse(picture, (centre[0], centre[1] + 0.6 * half[1]), (0.08 * px, 0.07 * px), 0, 0.95)
    picture = picture * (1 + rng.uniform(0, 0.6) * (texture - 0.5))
    if rng.random() < 0.3:
        cv2.ellipse(picture, (px // 2, int(px * 0.75)), (int(px * 0.45), int(px * 0.2)), 0, 0, 180, 0.4, 1)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.5))


def _round_field(rng: Rng, _films: Picture, px: int) -> Canvas:
    """A round field: vessels, a fundus, cells under a microscope."""
    field = _black(px)
    _ellipse(field, (px / 2, px / 2), (px * rng.uniform(0.4, 0.75),) * 2, 0, 1.0)
    inside = np.full((px, px), rng.uniform(0.2, 0.9), np.float32) + 0.4 * (_cloud(rng, px, 2) - 0.5)
    dark = rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(4, 20))):
            winding = rng.normal(0, 1, (40, 2)).cumsum(0) * rng.uniform(0.5, 1.5)
            steps = winding + rng.normal(0, 2, 2) * np.arange(40)[:, None]
            path, vessel = (px * rng.uniform(0.2, 0.8, 2) + steps).astype(np.int32), _black(px)
            inside += dark * cv2.polylines(vessel, [path], False, 1.0, int(rng.integers(1, 5)), cv2.LINE_AA)
    else:
        size = px * rng.uniform(0.02, 0.15)
        for _ in range(int(rng.integers(3, 90))):
            cell = _black(px)
            _ellipse(
                cell,
                tuple(rng.uniform(0, px, 2)),
                tuple(size * rng.uniform(0.6, 1.2, 2)),
                rng.uniform(0, 180),
                1.0,
                -1 if rng.random() < 0.7 else 2,
            )
            inside += dark * cv2.GaussianBlur(cell, (0, 0), 1)
    return np.asarray(inside * field if rng.random() < 0.6 else inside, np.float32)


def _fan(rng: Rng, _films: Picture, px: int) -> Canvas:
    """An ultrasound image: speckle in a sector, with a scale and text."""
    fan = _black(px)
    apex = (int(px * rng.uniform(0.4, 0.6)), int(px * rng.uniform(-0.15, 0.1)))
    cv2.ellipse(fan, apex, (int(px * 0.95),) * 2, 90, -rng.uniform(25, 50), rng.uniform(25, 50), 1.0, -1)
    _ellipse(fan, apex, (px * rng.uniform(0.05, 0.2),) * 2, 0, 0)
    speckle = rng.rayleigh(0.4, (px, px)).astype(np.float32) * _cloud(rng, px, 1.8) ** 1.5
    picture = fan * cv2.GaussianBlur(speckle, (0, 0), sigmaX=1.4, sigmaY=0.7)
    _write(picture, rng, (4, 4, px // 3, px // 4), 0.9)
    return picture


def _breast(rng: Rng, _films: Picture, px: int) -> Canvas:
    """A mammogram: a bright half disc of fibrous texture at one edge of the film."""
    shape = _black(px)
    half = (px * rng.uniform(0.35, 0.8), px * rng.uniform(0.35, 0.55))
    _ellipse(shape, (0, px * rng.uniform(0.4, 0.6)), half, 0, 1.0)
    shape = cv2.GaussianBlur(shape, (0, 0), 3)
    picture = shape * (rng.uniform(0.2, 0.5) + rng.uniform(0.2, 0.7) * _cloud(rng, px, 1.3))
    return picture[:, ::-1].copy() if rng.random() < 0.5 else picture


def _skull(rng: Rng, _films: Picture, px: int) -> Canvas:
    """A head, a jaw or a pelvis: large bright arcs and dark holes over a grey field."""
    picture = rng.uniform(0.05, 0.3) * np.ones((px, px), np.float32)
    centre, half = px * rng.uniform(0.4, 0.6, 2), px * rng.uniform(0.25, 0.45, 2)
    _ellipse(picture, tuple(centre), tuple(half), rng.uniform(-20, 20), rng.uniform(0.4, 0.7))
    for _ in range(int(rng.integers(2, 7))):
        _ellipse(
            picture,
            tuple(centre + rng.uniform(-0.6, 0.6, 2) * half),
            tuple(half * rng.uniform(0.1, 0.5, 2)),
            rng.uniform(0, 180),
            rng.uniform(0.1, 1),
            int(rng.choice([-1, 2, 4, 8])),
        )
    for tooth in range(int(rng.integers(0, 14))):
        _ellipse(picture, (px * (0.15 + 0.05 * tooth), centre[1]), (px * 0.02, px * 0.07), 0, rng.uniform(0.7, 1))
    picture = picture * (1 + 0.3 * (_cloud(rng, px, 1.5) - 0.5))
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.8, 3))


KINDS: tuple[Callable[[Rng, Picture, int], Canvas], ...] = (
    _noise,
    _ramp,
    _leaves,
    _page,
    _figure,
    _on_a_screen,
    _fragment,
    _shuffled,
    _swirled,
    _limb,
    _slice,
    _round_field,
    _fan,
    _breast,
    _skull,
    _leaves,
    _figure,
    _limb,
    _slice,
    _page,
)

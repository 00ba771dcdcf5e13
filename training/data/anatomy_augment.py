"""Random changes of films with drawn lungs: what the anatomy network must see through.

A lung white with disease is still a lung, so opacities are painted over the lungs while the outline stays. Films are
turned, inverted, stretched, cropped and moved, get text, tubes and collimation, and any tone curve.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from model.networks.architectures import ANATOMY_PX, POSES
from training.data.lung_masks import LEFT, RIGHT, UNKNOWN

Grey = npt.NDArray[np.uint8]
# Any because of OpenCV's type stubs.
Canvas = npt.NDArray[Any]
Rng = np.random.Generator
# Target of a picture that is no frontal chest radiograph; the others are places in `POSES`.
NO_CHEST = len(POSES)
_LETTERS = list("RLPAB0123456789KVmAs")
_TURNED, _INVERTED, _MIRRORED = 0.25, 0.15, 0.5


def augmented(film: Grey, labels: Grey, rng: Rng, px: int = ANATOMY_PX) -> tuple[Grey, Grey, int]:
    """Return a film and its lungs, changed at random.

    Parameters
    ----------
    film
        (h, h), uint8: an upright film, squashed to a square.
    labels
        (h, h), uint8, as `training.data.lung_masks.LungFilms.labels`.
    rng
        Random numbers; the same ones give the same result.
    px
        Side of the result.

    Returns
    -------
    film
        (px, px), uint8.
    lungs
        (px, px, 3), uint8: 255 in the lung that is on the left and on the right of the upright picture, and where the
        outline is not known.
    pose
        Place in `POSES`.
    """
    grey = _with_opacities(film, labels, rng) if rng.random() < 0.3 else film.copy()
    if rng.random() < 0.3:
        grey = _with_gas(grey, labels, rng)
    if rng.random() < 0.3:
        _write(grey, rng)
    if rng.random() < 0.15:
        _draw_tubes(grey, rng)
    quarters = int(rng.integers(1, 4)) if rng.random() < _TURNED else 0
    inverted = bool(rng.random() < _INVERTED)
    mirrored = bool(rng.random() < _MIRRORED)
    moved, lungs = _moved(grey, labels, rng, px, quarters, mirrored)
    toned = np.clip(_collimated(_with_tone(moved, rng), rng), 0, 255)
    shown = np.round(255 - toned if inverted else toned).astype(np.uint8)
    return shown, lungs, POSES.index((quarters, inverted))


def whole(film: Grey, labels: Grey, px: int = ANATOMY_PX) -> tuple[Grey, Grey]:
    """Return a film and its lungs as they are, at the size of the network.

    Parameters
    ----------
    film, labels
        As in `augmented`.
    px
        Side of the result.

    Returns
    -------
    tuple of ndarray
        Film (px, px) and lungs (px, px, 3), as `augmented` returns them.
    """
    size = (px, px)
    planes = [_plane(labels, value) for value in (LEFT, RIGHT, UNKNOWN)]
    return np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA), np.uint8), np.dstack(
        [np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in planes]
    )


def _plane(labels: Grey, value: int) -> Grey:
    return np.where(labels == value, 255, 0).astype(np.uint8)


def _noise(rng: Rng, px: int, sigma: float) -> Canvas:
    """Return smooth noise in [−1, 1], float32 (px, px)."""
    noise = rng.standard_normal((px, px), dtype=np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft / (np.abs(soft).max() + 1e-6), np.float32)


def _with_opacities(film: Grey, labels: Grey, rng: Rng) -> Grey:
    """Paint opacities over the lungs: a lobe or a whole lung, or a few consolidations."""
    rows, columns = np.nonzero((labels == LEFT) | (labels == RIGHT))
    if not len(rows):
        return film.copy()
    px = film.shape[0]
    bright = float(np.percentile(film, rng.uniform(60, 95)))
    canvas: Canvas = film.astype(np.float32)
    if rng.random() < 0.3:
        lung = (labels == (LEFT, RIGHT)[int(rng.integers(2))]).astype(np.float32)
        reached = np.flatnonzero(lung.max(1))
        if len(reached):
            edge = rng.uniform(reached[0] - 30, reached[-1])
            below = 1 / (1 + np.exp((edge - np.arange(px, dtype=np.float32)) / rng.uniform(2, 12)))
            veil = cv2.GaussianBlur(lung * below[:, None], (0, 0), rng.uniform(2, 6)) * rng.uniform(0.4, 1)
            canvas = canvas * (1 - veil) + veil * (bright + 12 * _noise(rng, px, 3))
    else:
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(len(rows)))
            veil = np.zeros((px, px), np.float32)
            axes = (int(rng.integers(6, 45)), int(rng.integers(6, 45)))
            cv2.ellipse(veil, (int(columns[at]), int(rows[at])), axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
            veil = cv2.GaussianBlur(veil, (0, 0), rng.uniform(3, 10)) * rng.uniform(0.3, 1)
            veil = veil * (0.7 + 0.3 * _noise(rng, px, 4))
            canvas = canvas * (1 - veil) + veil * bright
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _with_gas(film: Grey, labels: Grey, rng: Rng) -> Grey:
    """Paint dark areas beside the lungs, as gas in the bowel and air beside the arms are: they are no lung."""
    px = film.shape[0]
    canvas: Canvas = film.astype(np.float32)
    free = 1 - cv2.GaussianBlur((labels != 0).astype(np.float32), (0, 0), 3)
    free = np.where(labels == 0, free, 0)
    for _ in range(int(rng.integers(1, 6))):
        veil = np.zeros((px, px), np.float32)
        at = (int(rng.integers(0, px)), int(rng.integers(px // 3, px)))
        axes = (int(rng.integers(5, 50)), int(rng.integers(5, 50)))
        cv2.ellipse(veil, at, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        veil = cv2.GaussianBlur(veil, (0, 0), rng.uniform(1, 6)) * free * rng.uniform(0.3, 1)
        dark = float(np.percentile(film, rng.uniform(0, 30))) + 10 * _noise(rng, px, 3)
        canvas = canvas * (1 - veil) + veil * dark
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _write(grey: Grey, rng: Rng) -> None:
    """Burn in letters and numbers, in place."""
    px = grey.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(rng.choice(_LETTERS, int(rng.integers(1, 7))))
        at = (int(rng.integers(-5, px - 24)), int(rng.integers(10, px)))
        ink, size = int(rng.choice([255, 230, 0, 200])), float(rng.uniform(0.3, 1.6))
        cv2.putText(grey, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, ink, int(rng.integers(1, 4)), cv2.LINE_AA)


def _draw_tubes(grey: Grey, rng: Rng) -> None:
    """Lay tubes and lines over the chest, in place."""
    px = grey.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        path = np.cumsum(rng.normal(0, 0.08 * px, (6, 2)), 0) + rng.uniform(0.18 * px, 0.82 * px, 2)
        ink, width = int(rng.integers(180, 256)), int(rng.integers(1, 3))
        cv2.polylines(grey, [path.astype(np.int32)], False, ink, width, cv2.LINE_AA)


def _moved(grey: Grey, labels: Grey, rng: Rng, px: int, quarters: int, mirrored: bool) -> tuple[Canvas, Grey]:
    """Turn, mirror, stretch and move film and lungs; the lung on the left of the upright picture comes first."""
    side = grey.shape[0]
    aspect = float(np.exp(rng.uniform(np.log(0.66), np.log(1.5))))
    # Bedside films of small children show much besides the lungs, which are then a third as wide as in a close film.
    scale = float(np.exp(rng.uniform(np.log(0.38), np.log(1.35))))
    across, down = scale * aspect**0.5, scale / aspect**0.5
    angle = np.radians(rng.normal(0, 9)) + quarters * np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([-across if mirrored else across, down]) * (px / side)
    middle = np.full(2, side / 2) + rng.uniform(-0.12, 0.12, 2) * side
    matrix = np.column_stack((linear, np.full(2, px / 2) - linear @ middle))
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    around = 255 if rng.random() < 0.2 else int(rng.integers(0, 40))
    # Sampled as finely as at service, where areas are averaged: warping alone would alias.
    shrinks = side / (px * min(across, down))
    if shrinks > 1:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.35 * shrinks), np.uint8)
    film = cv2.warpAffine(grey, matrix, (px, px), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=around).astype(
        np.float32
    )
    values = (RIGHT, LEFT, UNKNOWN) if mirrored else (LEFT, RIGHT, UNKNOWN)
    lungs = [cv2.warpAffine(_plane(labels, value), matrix, (px, px), flags=cv2.INTER_LINEAR) for value in values]
    return film, np.dstack(lungs).astype(np.uint8)


def _with_tone(film: Canvas, rng: Rng) -> Canvas:
    """Give a film another tone curve, veil, sharpness and noise."""
    px = film.shape[0]
    if rng.random() < 0.9:
        film = 255 * (np.clip(film, 0, 255) / 255) ** np.exp(rng.uniform(-0.7, 0.7))
        mean = film.mean()
        film = (film - mean) * rng.uniform(0.4, 1.7) + mean + rng.uniform(-50, 50)
    if rng.random() < 0.3:
        film = film + _noise(rng, px, rng.uniform(15, 50)) * rng.uniform(5, 60)
    if rng.random() < 0.15:
        tiles = int(rng.integers(2, 9))
        local = cv2.createCLAHE(float(rng.uniform(1, 4)), (tiles, tiles))
        film = local.apply(np.clip(film, 0, 255).astype(np.uint8)).astype(np.float32)
    sharpness = rng.random()
    if sharpness < 0.25:
        film = cv2.GaussianBlur(film, (0, 0), rng.uniform(0.3, 1.6))
    elif sharpness < 0.4:
        film = film + (film - cv2.GaussianBlur(film, (0, 0), 1.0)) * rng.uniform(0.3, 1.5)
    if rng.random() < 0.3:
        film = film + rng.normal(0, rng.uniform(1, 14), film.shape)
    return film


def _collimated(film: Canvas, rng: Rng) -> Canvas:
    """Cover one edge of a film with black or white, now and then."""
    if rng.random() >= 0.1:
        return film
    wide, edge = int(rng.integers(3, max(4, film.shape[0] // 5))), int(rng.integers(4))
    turned = np.rot90(film, edge).copy()
    turned[:wide] = float(rng.choice([0, 255]))
    return np.rot90(turned, -edge)

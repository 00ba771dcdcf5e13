"""A classifier whose answers are known: its logit adds up brightness over chosen cells of the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from model.anatomy import Anatomy
from model.card import Calibration, ModelCard, OperatingPoint
from model.engine import Classifier
from model.networks.architectures import ANATOMY_PX, POSES

PX, ROWS = 40, 10


def fake_card(version: str = "fake-1", input_px: int = PX, point: float = 0.5, **changes: Any) -> ModelCard:
    values: Mapping[str, Any] = {
        "version": version,
        "parent": None,
        "created_at": "2026-11-21T05:00:00+00:00",
        "weights_file": "w.npz",
        "sha256": "",
        "architecture": "fake",
        "parameters": 0,
        "intended_use": "",
        "limitations": (),
        "data": {},
        "preprocessing": {"input_px": input_px, "detail_px": input_px},
        "training": {},
        "history": (),
        "calibration": Calibration(1.0),
        "operating_point": OperatingPoint(point, 0.0, 1.0, "by hand"),
        "evaluations": {},
        "libraries": {},
    }
    return ModelCard(**{**values, **changes})


def fake_classifier(
    card: ModelCard | None = None,
    where: npt.NDArray[np.floating] | None = None,
    cut: float = 128.0,
    shown: npt.NDArray[np.floating] | None = None,
    slope: float = 0.1,
) -> Classifier:
    """Build a classifier with logit = slope · (weighted mean brightness − cut).

    where (ROWS, ROWS) weighs the cells, all alike by default; the evidence map marks `shown`, by default `where`.
    """
    card = card or fake_card()
    px = int(card.preprocessing["input_px"])
    weight = np.ones((ROWS, ROWS)) if where is None else where
    marks = weight if shown is None else shown

    def run(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert pictures.dtype == np.uint8 and pictures.shape[1:] == (px, px)
        cells = pictures.reshape(len(pictures), ROWS, px // ROWS, ROWS, px // ROWS).mean((2, 4))
        return np.asarray(slope * ((cells * weight).sum((1, 2)) / weight.sum() - cut), np.float32)

    def explain(pictures: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        features = np.repeat(marks[None, ..., None], len(pictures), 0).astype(np.float32)
        return run(pictures), features, np.ones((len(pictures), 1), np.float32)

    return Classifier(card, "fake", run, explain, find_lungs=usual_anatomy)  # type: ignore[arg-type]


def usual_lungs(pose: int = 0, probability: int = 250) -> npt.NDArray[np.uint8]:
    """Draw the lungs of a picture in one of `POSES`: uint8 (2, ANATOMY_PX, ANATOMY_PX)."""
    drawn = np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.uint8)
    for lung, x in zip(drawn, (0.3, 0.7), strict=True):
        middle = round(x * ANATOMY_PX), round(0.45 * ANATOMY_PX)
        cv2.ellipse(lung, middle, (round(0.14 * ANATOMY_PX), round(0.3 * ANATOMY_PX)), 0, 0, 360, probability, -1)
    return np.ascontiguousarray(np.rot90(drawn, -POSES[pose][0], axes=(1, 2)))


def usual_anatomy(squares: npt.NDArray[np.uint8]) -> tuple[Anatomy, ...]:
    """Find the usual lungs in every picture."""
    return tuple(Anatomy(usual_lungs(), np.eye(len(POSES), dtype=np.float32)[0], 0.01) for _ in squares)


def framed_classifier(
    find: Callable[[npt.NDArray[np.uint8]], Anatomy] | None = None,
    card: ModelCard | None = None,
    bias: float = -1.0,
    pictures_seen: list[npt.NDArray[np.uint8]] | None = None,
) -> Classifier:
    """Build a classifier that sees films framed by their lungs and pools over them: logit = brightness / 64 + bias.

    `find` tells the anatomy of one square, by default that of `usual_lungs`. `pictures_seen` gets what is read.
    """
    card = card or fake_card(preprocessing={"input_px": 2 * PX, "detail_px": 2 * PX, "frame": "lungs"})

    def anatomy_of(square: npt.NDArray[np.uint8]) -> Anatomy:
        return find(square) if find else Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.01)

    def explain(pictures: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        assert pictures.dtype == np.uint8 and pictures.shape[1:] == (2 * PX, 2 * PX, 2)
        if pictures_seen is not None:
            pictures_seen.extend(pictures)
        side = 2 * PX // ROWS
        film, lungs = np.moveaxis(
            pictures.reshape(len(pictures), ROWS, side, ROWS, side, 2).astype(np.float32).mean((2, 4)), -1, 0
        )
        features = (film / 64) * (lungs / lungs.mean((1, 2), keepdims=True))
        return (features.mean((1, 2)) + bias).astype(np.float32), features[..., None], np.ones((len(film), 1), "f4")

    def run(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return explain(pictures)[0]

    return Classifier(
        card,
        "evidence",
        run,
        explain,  # type: ignore[arg-type]
        find_anatomy=lambda squares: tuple(anatomy_of(square) for square in squares),
    )

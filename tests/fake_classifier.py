"""A classifier whose answers are known: its logit adds up brightness over chosen cells of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.card import Calibration, ModelCard, OperatingPoint
from model.engine import Classifier

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

    return Classifier(card, "fake", run, explain)  # type: ignore[arg-type]

"""Assessments with everything or little to report, and the text of a printed page."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import numpy as np

from imaging.film import FilmHeader
from imaging.radiograph import Radiograph, decode_radiograph
from model.assessment import (
    Assessment,
    EvidenceRegions,
    Heatmap,
    InputIssue,
    Neighbour,
    Population,
    Prediction,
    Stability,
)
from model.card import Calibration, Evaluation, Measure, ModelCard, OperatingPoint, PurposePoint
from model.explanation import grad_cam
from tests.phantoms import as_png, chest

SEEN_AT = datetime(2026, 11, 21, 8, 1, 30, tzinfo=UTC)
NORMAL = (150, 20, 9, 5, 3, 2, 1, 1, 5, 3)
ILL = (2, 3, 2, 2, 5, 6, 12, 30, 60, 290)
VALIDATION = Evaluation(
    "validation",
    611,
    403,
    18,
    181,
    9,
    0.41,
    {
        "sensitivity": Measure(0.978, 0.96, 0.99),
        "specificity": Measure(0.91, 0.862, 0.946),
        "auroc": Measure(0.991, 0.985, 0.996),
    },
    ((0.0, 0.0), (1.0, 1.0)),
    ((0.0, 1.0), (1.0, 0.5)),
    (),
    NORMAL,
    ILL,
)
CARD = ModelCard(
    version="2026.11.21-1",
    parent=None,
    created_at="2026-11-21T05:00:00+00:00",
    weights_file="weights.npz",
    sha256="0123456789abcdef" * 4,
    architecture="inception_v3",
    parameters=21_802_784,
    intended_use="Frontal chest radiographs of children of 1–5 years.",
    limitations=("Not for adults.", "One hospital only."),
    data={},
    preprocessing={"input_px": 299, "detail_px": 224},
    training={},
    history=(),
    calibration=Calibration(1.3),
    operating_point=OperatingPoint(0.41, 0.32, 0.5, "Youden"),
    evaluations={"validation": VALIDATION},
    libraries={},
    purposes=(PurposePoint("screening", 0.2, 0.99, 0.85, "highest of sensitivity"),),
)
OUTSIDE = InputIssue("OUTSIDE_POPULATION", False, "This film is unlike those of children of 1–5 years.")
HEADER = FilmHeader("CR", "PA", "CHEST", None, 3.2, "F", "MONOCHROME2", ("L", "F"), (0.15, 0.15))
NEIGHBOURS = (Neighbour("PNEUMONIA", 3.114), Neighbour("PNEUMONIA", 3.4), Neighbour("NORMAL", 3.9))


@cache
def film_of(size: tuple[int, int]) -> Radiograph:
    return decode_radiograph(as_png(chest(5, size, pneumonia=True)))


def make_assessment(
    probability: float = 0.94,
    *,
    near: bool = False,
    issues: tuple[InputIssue, ...] = (),
    evidence: float = 1.0,
    size: tuple[int, int] = (150, 180),
    **more: object,
) -> Assessment:
    features = np.zeros((8, 8, 1), np.float32)
    features[3, 2] = evidence
    heatmap = grad_cam(features, np.ones(1, np.float32), size)
    prediction = Prediction(2.5, probability, 0.41, near)
    return Assessment(film_of(size), issues, prediction, heatmap, CARD.version, SEEN_AT, 0.4, **more)


def both_sides(rows: int, columns: int) -> Heatmap:
    """A map with a region that speaks for the finding and, elsewhere, one that speaks against it."""
    features = np.zeros((8, 8, 1), np.float32)
    features[3, 2], features[6, 5] = 1.0, -0.5
    return grad_cam(features, np.ones(1, np.float32), (rows, columns))


def full_assessment(**more: object) -> Assessment:
    warning = InputIssue("INVERTED", False, "Black and white were exchanged.")
    fields = {
        "corrections": ("inverted", "turned by 90°"),
        "population": Population(0.62, 1.0, NEIGHBOURS),
        "stability": Stability(0.81, 0.93, (("mirrored", 0.81), ("darker", 0.93))),
        "regions": EvidenceRegions((("right lower zone", 0.6), ("left upper zone", 0.28)), 0.12),
        **more,
    }
    heatmap = fields.pop("heatmap", None)
    full = make_assessment(0.87, issues=(warning,), **fields)
    return replace(full, radiograph=replace(full.radiograph, header=HEADER), heatmap=heatmap or full.heatmap)


def refused_assessment(*, decoded: bool = False) -> Assessment:
    film = film_of((150, 180)) if decoded else None
    issue = InputIssue("UNREADABLE", True, "The file is damaged or incomplete. Export it again.")
    return Assessment.refused((issue,), CARD.version, SEEN_AT, 0.1, radiograph=film)


def drawn(pdf: bytes) -> bytes:
    """The page's content stream."""
    streams = re.findall(rb"/FlateDecode.{0,80}?stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    return b"\n".join(s for s in (_inflated(stream) for stream in streams) if b" Tj" in s)


def typed(pdf: bytes) -> list[tuple[float, str]]:
    """What is printed with its size in points, one entry for each line: the operands of the text operators."""
    size, found = 0.0, []
    for named, text in re.findall(rb"/F\d+ ([\d.]+) Tf|\(((?:[^()\\]|\\.)*)\) Tj", drawn(pdf)):
        if named:
            size = float(named)
        else:
            found.append((size, re.sub(rb"\\(.)", rb"\1", text).decode("cp1252")))
    return found


def lines(pdf: bytes) -> list[str]:
    return [line for _, line in typed(pdf)]


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream)  # which does not mind a last byte that looked like a line's end
    except zlib.error:
        return b""


def printed(pdf: bytes) -> str:
    return " ".join(lines(pdf))


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def pictures(pdf: bytes) -> int:
    return len(re.findall(rb"/Filter /DCTDecode", pdf))

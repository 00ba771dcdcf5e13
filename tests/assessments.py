"""Assessments with everything or little to report, and the text of a printed page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

import numpy as np
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from imaging.film import FilmHeader
from imaging.radiograph import Radiograph, decode_radiograph
from model.anatomy import Anatomy
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
from model.card import Calibration, Evaluation, GroupResult, Measure, ModelCard, OperatingPoint, PurposePoint
from model.explanation import grad_cam
from model.frame_map import frame_of, framed_map
from tests.fake_classifier import usual_lungs
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


def framed_assessment() -> Assessment:
    """An adult's film, framed by its lungs, whose group was measured."""
    anatomy = Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.01)
    features = np.zeros((10, 10, 1), np.float32)
    features[5, 2] = 1.0
    frame, size = frame_of(anatomy.lungs, 224), (150, 180)
    heatmap = framed_map(features, np.ones(1, np.float32), frame, anatomy.lungs, size, 80)
    nothing = Measure(float("nan"), float("nan"), float("nan"))
    group = GroupResult(
        "age and view", "18 years and over, PA", 120, 0, 14, 106, 0, nothing, nothing, Measure(0.88, 0.81, 0.93), False
    )
    return replace(make_assessment(), heatmap=heatmap, anatomy=anatomy, groups=(group,))


def refused_assessment(*, decoded: bool = False) -> Assessment:
    film = film_of((150, 180)) if decoded else None
    issue = InputIssue("UNREADABLE", True, "The file is damaged or incomplete. Export it again.")
    return Assessment.refused((issue,), CARD.version, SEEN_AT, 0.1, radiograph=film)


@dataclass(frozen=True)
class Line:
    """A printed line: its text in the order in which it is drawn, and its place in points from the lower left."""

    text: str
    size: float
    left: float
    baseline: float
    right: float


def drawn(pdf: bytes) -> bytes:
    """The first page's content stream."""
    return PdfReader(io.BytesIO(pdf)).pages[0].get_contents().get_data()


def typed(pdf: bytes) -> list[Line]:
    """What is printed on the first page, one entry for each line, decoded as a viewer decodes it for copying."""
    reader = PdfReader(io.BytesIO(pdf))
    page = reader.pages[0]
    fonts = {name: _glyphs(font.get_object()) for name, font in page["/Resources"]["/Font"].items()}
    glyphs, size, kept, found = {}, 0.0, [], []
    for operands, operator in page.get_contents().operations:
        if operator == b"BT":
            words, edges, pen, baseline = "", [], 0.0, 0.0
        elif operator == b"q":
            kept.append((glyphs, size))
        elif operator == b"Q":
            glyphs, size = kept.pop()
        elif operator == b"Tf":
            glyphs, size = fonts[operands[0]], float(operands[1])
        elif operator in (b"Td", b"Tm"):
            pen, baseline = map(float, operands[-2:])
        elif operator == b"Tj":
            codes = operands[0].original_bytes
            edges.append(pen)
            for code in (int.from_bytes(codes[k : k + 2], "big") for k in range(0, len(codes), 2)):
                said, wide = glyphs[code]
                words, pen = words + said, pen + wide * size / 1000
            edges.append(pen)
        elif operator == b"ET" and words:
            found.append(Line(words, size, min(edges), baseline, max(edges)))
    return found


def _glyphs(font: DictionaryObject) -> dict[int, tuple[str, float]]:
    """Code → the characters that it stands for (ToUnicode) and its width in thousandths of the size (W)."""
    widths, array = {}, list(font["/DescendantFonts"][0].get_object()["/W"])
    while array:
        first, second = int(array.pop(0)), array.pop(0)
        if isinstance(second, list):
            widths |= {first + k: float(wide) for k, wide in enumerate(second)}
        else:
            widths |= dict.fromkeys(range(first, int(second) + 1), float(array.pop(0)))
    pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]*)>\n", font["/ToUnicode"].get_object().get_data())
    said = {int(code, 16): bytes.fromhex(units.decode()).decode("utf-16-be") for code, units in pairs}
    return {code: (said.get(code, ""), wide) for code, wide in widths.items()}


def lines(pdf: bytes) -> list[str]:
    return [line.text for line in typed(pdf)]


def printed(pdf: bytes) -> str:
    return " ".join(lines(pdf))


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def pictures(pdf: bytes) -> int:
    return len(re.findall(rb"/Filter /DCTDecode", pdf))

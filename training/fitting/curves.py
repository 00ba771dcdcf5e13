"""The learning curves of a run as an SVG picture, redrawn after every epoch. Plain text, no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 860, 320, 60, 44, 44, 70
# Told apart by lightness as well as by hue (Okabe & Ito 2008).
_TRAIN, _VALIDATION = "#0072b2", "#d55e00"
_MOST_TICKS = 10


def curves_svg(history: Sequence[Mapping[str, Any]]) -> str:
    """Draw loss and AUROC against epochs, training and validation, one row of `history` for each epoch."""
    width = (_WIDTH - 2 * _LEFT - _GAP) / 2
    panels = [
        _panel(
            history,
            "loss",
            (("loss", _TRAIN, "training, augmented"), ("val_loss", _VALIDATION, "validation")),
            _LEFT,
            width,
        ),
        _panel(
            history,
            "AUROC",
            (("train_auroc", _TRAIN, "training, augmented"), ("val_auroc", _VALIDATION, "validation")),
            _LEFT + width + _GAP,
            width,
        ),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(
    history: Sequence[Mapping[str, Any]], title: str, lines: Sequence[tuple[str, str, str]], left: float, width: float
) -> str:
    height = _HEIGHT - _TOP - _BOTTOM
    values = [float(row[key]) for key, _, _ in lines for row in history if _is_number(row.get(key))]
    low, high, step = _nice(min(values, default=0.0), max(values, default=1.0))
    last = max(2, len(history))

    def x(epoch: float) -> float:
        return left + (epoch - 1) / (last - 1) * width

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * height

    parts = [f'<text x="{left:.0f}" y="18" font-size="14" font-weight="bold">{title}</text>']
    for i in range(round((high - low) / step) + 1):
        value = low + i * step
        parts.append(
            f'<line x1="{left:.1f}" x2="{left + width:.1f}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'stroke="#ddd"/>'
            f'<text x="{left - 6:.1f}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    every = math.ceil(last / _MOST_TICKS)
    parts += [
        f'<text x="{x(epoch):.1f}" y="{_TOP + height + 18:.0f}" text-anchor="middle">{epoch}</text>'
        for epoch in range(1, last + 1, every)
    ]
    parts.append(f'<text x="{left + width / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">epoch</text>')
    for i, (key, colour, name) in enumerate(lines):
        points = [(x(n), y(float(row[key]))) for n, row in enumerate(history, 1) if _is_number(row.get(key))]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in points]
        parts.append(f'<text x="{left + 60 + i * 150:.0f}" y="18" fill="{colour}">{name}</text>')
    return "".join(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _nice(low: float, high: float) -> tuple[float, float, float]:
    """Return (low, high, step) that enclose the values, the step being 1, 2 or 5 times a power of ten."""
    spread = max(high - low, 1e-4)
    raw = spread / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return round(start * step, 10), round(max(end, start + 1) * step, 10), step

"""How large a file and its picture may be, and how everything that decodes refuses the rest."""

from __future__ import annotations

from core.errors import RadiographError

# 6,000 × 6,000: detectors and film scanners stay below 5,000 a side, and decoding stays below 300 MB.
MAX_PIXELS = 36_000_000
MIN_SHORT_SIDE = 32
MAX_BYTES = 200_000_000
# What to do about a file that cannot be used; the end of many a sentence.
EXPORT = "export the radiograph from its viewer as PNG or JPEG and upload that file."
DAMAGED = f"The file is damaged or incomplete; {EXPORT}"


def check_size(width: int, height: int) -> None:
    """Refuse a picture by what its header says, before anything is decoded.

    Raises RadiographError with the codes TOO_LARGE or TOO_SMALL.
    """
    if width * height > MAX_PIXELS:
        raise too_large(f"{width} × {height} px", f"at most {MAX_PIXELS / 1e6:.0f} megapixels")
    if min(width, height) < MIN_SHORT_SIDE:
        raise RadiographError(
            f"expected at least {MIN_SHORT_SIDE} px on the short side. Received: {width} × {height} px",
            code="TOO_SMALL",
            advice="The picture is too small to show a lung; export the radiograph at full size.",
        )


def too_large(received: str, expected: str) -> RadiographError:
    """The refusal of what is beyond a limit."""
    return RadiographError(
        f"expected {expected}. Received: {received}",
        code="TOO_LARGE",
        advice="The picture is too large; export it at the detector's own size or smaller.",
    )

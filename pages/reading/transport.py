"""How a film's pixels reach the browser: as the values that were decoded, in files of their own.

Streamlit's media files, which carry its pictures, carry these: named by content, served to whoever may see the page,
and dropped when no page shows them. A film does not fit through the page's own connection, which speaks JSON.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import streamlit as st
from streamlit import runtime

from imaging.film import Pixels

PREVIEW_PX = 640
# Below this many pixels the film itself is there as soon as a preview would be.
_SMALL = 1_000_000
_MAGIC = b"PLV1"
_HEADER = struct.Struct("<4s5I8x32s")
_MIME = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """A file on its way to the browser: its address on this server and its length in bytes."""

    url: str
    bytes: int


def packed(pixels: Pixels, curves: Sequence[npt.NDArray[np.uint16]] = ()) -> bytes:
    """Return uint8 or uint16 (H, W), and curves of one length, as the viewer's film.js reads them.

    64 bytes of header, little-endian: "PLV1", width, height, bytes a pixel, number and length of the curves, and the
    SHA-256 of what follows. Streamlit names a large file after its ends and its middle alone, the header among them:
    the digest keeps two films apart that differ elsewhere.
    """
    height, width = pixels.shape
    body = [np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data.cast("B")]
    if pixels.nbytes % 2:
        body.append(memoryview(b"\0"))
    body += [np.ascontiguousarray(curve, "<u2").data.cast("B") for curve in curves]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    header = _HEADER.pack(
        _MAGIC, width, height, pixels.itemsize, len(curves), len(curves[0]) if curves else 0, digest.digest()
    )
    return b"".join([header.ljust(64, b"\0"), *body])


def wants_preview(pixels: Pixels) -> bool:
    """Whether a film is so large that a smaller copy of it is on the screen noticeably sooner."""
    return pixels.size > _SMALL


def preview(pixels: Pixels) -> Pixels:
    """Return a small copy of the film, each pixel the mean of its area."""
    height, width = pixels.shape
    scale = PREVIEW_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), pixels.dtype)


def send(name: str, make: Callable[[], bytes], before: Sent | None) -> Sent:
    """Make a file available to this page until its next run that does not ask for it; `name` tells its files apart.

    `before` is what the last run was given for the same content: while the server still holds that, nothing is made.
    """
    files = runtime.get_instance().media_file_mgr
    base = st.get_option("server.baseUrlPath").strip("/")
    prefix = f"/{base}" if base else ""
    held = None
    if before is not None:
        held = files.read_file(before.url.rsplit("/", 1)[-1])
    data = make() if held is None else held.content
    return Sent(prefix + files.add(data, _MIME, f"viewer.{name}"), len(data))

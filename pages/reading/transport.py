"""The transport of an image's pixels to the browser: the stored values, in files of their own.

They are Streamlit media files, like its pictures: named by content, served to whoever may see the page, and dropped
when no page shows them. The page's own connection carries JSON and is too slow for them.
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
from pages.shared import visitor

PREVIEW_PX = 640
# Below this many pixels the image itself arrives as soon as a preview would.
_SMALL = 1_000_000
_MAGIC = b"PLV1"
_HEADER = struct.Struct("<4s5I8x32s")
_HEADER_BYTES = 64
_MIME = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file that the browser can fetch: its URL on this server and its length in bytes."""

    url: str
    bytes: int


def encode_pixels(pixels: Pixels, voi_luts: Sequence[npt.NDArray[np.uint16]] = ()) -> bytes:
    """Return a file that `viewer_component/image.js` reads: a header, the pixels, then the VOI LUTs.

    The header is 64 bytes, little-endian: "PLV1", width, height, bytes per pixel, number and length of the VOI LUTs,
    and the SHA-256 of what follows. Streamlit names a large file after its beginning, middle and end alone; the digest
    keeps two images apart that differ elsewhere.

    Parameters
    ----------
    pixels
        (H, W), uint8 or uint16.
    voi_luts
        (N,), uint16 each, all of one length.
    """
    height, width = pixels.shape
    body = [np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data.cast("B")]
    if pixels.nbytes % 2:
        body.append(memoryview(b"\0"))
    body += [np.ascontiguousarray(table, "<u2").data.cast("B") for table in voi_luts]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    length = len(voi_luts[0]) if voi_luts else 0
    header = _HEADER.pack(_MAGIC, width, height, pixels.itemsize, len(voi_luts), length, digest.digest())
    return b"".join([header.ljust(_HEADER_BYTES, b"\0"), *body])


def needs_preview(pixels: Pixels) -> bool:
    """Return whether an image is so large that a smaller copy is on the screen noticeably sooner."""
    return pixels.size > _SMALL


def make_preview(pixels: Pixels) -> Pixels:
    """Return a copy with a long side of `PREVIEW_PX`; each pixel is the mean of its area."""
    height, width = pixels.shape
    scale = PREVIEW_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8) if pixels.dtype == np.uint8 else np.asarray(small, np.uint16)


def publish(name: str, make: Callable[[], bytes], previous: MediaFile | None) -> MediaFile:
    """Make a file available to this page until a run of the page that does not publish it.

    Parameters
    ----------
    name
        Tells the page's files apart.
    make
        Returns the file's content; called only if the server no longer holds `previous`.
    previous
        What the last run returned for the same content, None for new content.
    """
    files = runtime.get_instance().media_file_mgr
    base = st.get_option("server.baseUrlPath").strip("/")
    prefix = f"/{base}" if base else ""
    held = None
    if previous is not None:
        held = files.read_file(previous.url.rsplit("/", 1)[-1])
    data = make() if held is None else held.content
    url = files.add(data, _MIME, f"viewer.{name}")
    visitor.show_file(url.rsplit("/", 1)[-1])
    return MediaFile(prefix + url, len(data))

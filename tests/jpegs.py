"""Writes JPEG files that PIL does not write: lossless and twelve bits, which only DICOM uses, and those of many scans.

Lossless and twelve bits use Huffman codes of one length, which no real encoder does and every decoder has to take
(ISO/IEC 10918-1).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Whole = npt.NDArray[np.int64]


def lossless_jpeg(values: npt.NDArray[np.generic], bits: int, predictor: int = 1) -> bytes:
    """Encode (H, W) with process 14 (annex H); `predictor` is its selection value, 1–7."""
    grey = values.astype(np.int64) & (2**bits - 1)
    left, above, corner = (np.zeros_like(grey) for _ in range(3))
    left[:, 1:], above[1:], corner[1:, 1:] = grey[:, :-1], grey[:-1], grey[:-1, :-1]
    predicted = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor].copy()
    predicted[1:, 0] = grey[:-1, 0]  # first column from above, first row from the left
    predicted[0, 1:] = grey[0, :-1]
    predicted[0, 0] = 2 ** (bits - 1)
    difference = (((grey - predicted) + 32768) % 65536 - 32768).reshape(-1)  # modulo 2^16
    size, extra = _categories(difference)
    extra[size == 16], more = 0, np.where(size == 16, 0, size)  # the difference of 32768 has no further bits
    tables = _huffman(0, 5, range(17))
    frame = struct.pack(">2sHBHHBBBB", b"\xff\xc3", 11, bits, *grey.shape, 1, 1, 0x11, 0)
    scan = struct.pack(">2sHBBBBBB", b"\xff\xda", 8, 1, 1, 0, predictor, 0, 0)
    return b"\xff\xd8" + frame + tables + scan + _packed((size << more) | extra, 5 + more) + b"\xff\xd9"


def extended_jpeg(values: npt.NDArray[np.generic], bits: int = 12, step: int = 4) -> bytes:
    """Encode (H, W) with process 4 (annex F): the DCT at 8 or 12 bits; `step` quantises every coefficient."""
    height, width = values.shape
    padded = np.pad(values.astype(np.float64), ((0, -height % 8), (0, -width % 8)), "edge") - 2 ** (bits - 1)
    basis = np.cos(np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    zigzag = np.argsort([(i + j) * 100 + (i if (i + j) % 2 else j) for i in range(8) for j in range(8)])
    coefficients = np.round(basis @ blocks @ basis.T / step).astype(np.int64).reshape(-1, 64)[:, zigzag]
    codes: list[int] = []
    lengths: list[int] = []
    dc = np.diff(coefficients[:, 0], prepend=0)
    sizes, extras = _categories(coefficients)
    dc_sizes, dc_extras = _categories(dc)
    for block in range(len(coefficients)):
        codes.append(int(dc_sizes[block] << dc_sizes[block] | dc_extras[block]))
        lengths.append(5 + int(dc_sizes[block]))
        last = 0
        for k in (np.flatnonzero(coefficients[block, 1:]) + 1).tolist():
            run = k - last - 1
            codes += [_AC[0xF0]] * (run // 16)
            lengths += [8] * (run // 16)
            size = int(sizes[block, k])
            codes.append(_AC[run % 16 << 4 | size] << size | int(extras[block, k]))
            lengths.append(8 + size)
            last = k
        if last < 63:
            codes.append(_AC[0])
            lengths.append(8)
    quantisation = struct.pack(">2sHB64B", b"\xff\xdb", 67, 0, *[step] * 64)
    frame = struct.pack(">2sHBHHBBBB", b"\xff\xc1", 11, bits, height, width, 1, 1, 0x11, 0)
    scan = struct.pack(">2sHBBBBBB", b"\xff\xda", 8, 1, 1, 0, 0, 63, 0)
    entropy = _packed(np.array(codes, np.int64), np.array(lengths, np.int64))
    return (
        b"\xff\xd8"
        + quantisation
        + frame
        + _huffman(0, 5, range(16))
        + _huffman(0x10, 8, _AC)
        + scan
        + entropy
        + b"\xff\xd9"
    )


def many_scans(picture: npt.NDArray[np.uint8], scans: int) -> bytes:
    """Encode (H, W) as a progressive JPEG whose last scan, a refinement, is there again until there are `scans`."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "JPEG", progressive=True)
    data = target.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


# Run and size → code: every pair that eight to twelve bits need, in order.
_AC = {
    symbol: code
    for code, symbol in enumerate([0, 0xF0] + [run << 4 | size for run in range(16) for size in range(1, 15)])
}


def _categories(differences: Whole) -> tuple[Whole, Whole]:
    """Return (how many bits each difference needs, these bits), tables F.1 and H.2."""
    size = np.ceil(np.log2(np.abs(differences) + 1)).astype(np.int64)
    return size, np.where(differences < 0, differences + 2**size - 1, differences)


def _huffman(kind: int, length: int, symbols: Sequence[int] | dict[int, int]) -> bytes:
    """Define a table whose codes all have `length` bits and count upwards."""
    counts = [len(symbols) if k == length else 0 for k in range(1, 17)]
    return struct.pack(f">2sHB16B{len(symbols)}B", b"\xff\xc4", 19 + len(symbols), kind, *counts, *symbols)


def _packed(codes: Whole, lengths: Whole) -> bytes:
    """Join codes bit by bit, filled up with ones, with a zero byte after every 255 (section F.1.2.3)."""
    starts = np.cumsum(lengths) - lengths
    which = np.repeat(np.arange(codes.size), lengths)
    place = np.arange(int(lengths.sum())) - starts[which]
    bits = (codes[which] >> (lengths[which] - 1 - place)) & 1
    bits = np.append(bits, np.ones(-bits.size % 8, np.int64))
    return np.packbits(bits.astype(np.uint8)).tobytes().replace(b"\xff", b"\xff\x00")

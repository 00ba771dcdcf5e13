"""Damages radiograph files in ways that can be repeated: real and drawn headers, every transfer syntax, pictures."""

from __future__ import annotations

import io
import random
import re
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from tests.dicoms import LOSSY, SYNTAXES, as_file, code, lut_item, phantom_dicom, set_pixels, stored_values
from tests.phantoms import as_jpeg, as_png, chest

SIZE = (60, 72)
_GROUPS = rb"[\x02\x08\x10\x18\x20\x28\x54]\x00"
_VRS = (b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OW PN SH SL SQ SS ST TM UC UI UL UN UR US UT ZZ").split()
_ELEMENT = re.compile(_GROUPS + rb"..(?=" + b"|".join(_VRS) + rb")", re.DOTALL)
_TEXTS = (
    b"",
    b"\\",
    b"-1",
    b"0",
    b"1e400",
    b"nan",
    b"-inf",
    b"65536",
    b"1\\2\\3",
    b"9" * 20,
    b"\xff\xfe",
    b"1.2.840.10008.1.2.4.90",
    b"MONOCHROME1",
    b"RGB",
    b"\0\0\0\0",
    b"1.0E-300",
    b"SIGMOID",
    b"000Y",
    b"1\\\\\\",
)
_WORDS = (0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 32, 255, 256, 1023, 4096, 32767, 32768, 65534, 65535)


@cache
def drawn_seeds() -> tuple[bytes, ...]:
    """Return small files of drawn radiographs: DICOM in every transfer syntax and with every kind of grey, pictures."""
    film = chest(3, SIZE)
    files: list[bytes] = []
    for syntax in SYNTAXES:
        for bits in (8, 12, 16):
            if (bits > 8 and syntax == "JPEG baseline") or (bits > 12 and syntax == "JPEG extended"):
                continue
            photometric = "MONOCHROME1" if bits == 12 else "MONOCHROME2"
            stored = stored_values(film, bits, syntax not in LOSSY and bits != 8, photometric)
            files.append(
                phantom_dicom(
                    3,
                    stored=stored,
                    syntax=syntax,
                    bits=bits,
                    photometric=photometric,
                    WindowCenter=[2 ** (bits - 1), 100],
                    WindowWidth=[2**bits, 50],
                    WindowCenterWidthExplanation=["NORMAL", "HARD"],
                    PixelPaddingValue=0,
                    PixelPaddingRangeLimit=3,
                )
            )
    drawn = stored_values(film, 12)
    ramp = np.arange(4096, dtype=np.uint16)
    table, steps = lut_item(ramp * 16, explanation="TABLE"), lut_item(ramp[::-1] >> 4, bits=8)
    for syntax in ("explicit", "implicit", "big endian", "deflated"):
        files += [
            phantom_dicom(
                3,
                stored=drawn,
                syntax=syntax,
                VOILUTSequence=[table, steps],
                ModalityLUTSequence=[lut_item(ramp[::-1], bits=12)],
            ),
            phantom_dicom(
                3,
                stored=drawn,
                syntax=syntax,
                RescaleSlope=-2,
                RescaleIntercept=-1024,
                VOILUTFunction="SIGMOID",
                WindowCenter=0,
                WindowWidth=900,
                BodyPartExamined=None,
                AnatomicRegionSequence=code("816094009", meaning="Chest"),
                ViewPosition=None,
                ViewCodeSequence=code("272479007", meaning="postero-anterior"),
            ),
        ]
    # What is decoded in a process of its own takes longest, so the rest is there more often.
    files += [
        phantom_dicom(3, stored=drawn),
        phantom_dicom(3, stored=drawn, syntax="RLE"),
        phantom_dicom(3, stored=film, bits=8, syntax="JPEG baseline"),
    ] * 8
    files += [
        phantom_dicom(3, stored=drawn, meta=False),
        phantom_dicom(3, stored=drawn, preamble=False),
        phantom_dicom(3, stored=drawn, meta=False, syntax="implicit"),
    ]
    colour = np.stack([film, film // 2, film // 3], axis=2)
    files += [as_png(film), as_png(film.astype(np.uint16) * 200), as_png(colour), as_jpeg(film), as_jpeg(colour)]
    for format_, options in (
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("JPEG", {"progressive": True}),
    ):
        target = io.BytesIO()
        Image.fromarray(colour if format_ == "WEBP" else film).save(target, format_, **options)
        files.append(target.getvalue())
    return tuple(files)


def real_seeds(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Return (the headers of the DICOM files below `folder` around a small drawn picture, the files themselves)."""
    names = {uid: name for name, uid in SYNTAXES.items()}
    headers, whole = [], []
    film = chest(3, SIZE)
    for path in sorted(folder.rglob("*.dcm")):
        data = path.read_bytes()
        whole.append(data)
        dataset = pydicom.dcmread(io.BytesIO(data))
        syntax = names.get(dataset.file_meta.TransferSyntaxUID, "explicit")
        bits = min(dataset.BitsStored, 8 if syntax == "JPEG baseline" else 16)
        photometric = dataset.PhotometricInterpretation
        del dataset.PixelData
        set_pixels(dataset, stored_values(film, bits, False, photometric), bits, photometric, syntax)
        headers.append(as_file(dataset, syntax))
    return headers, whole


def mutated(index: int, usual: Sequence[bytes], headers: Sequence[bytes] = (), whole: Sequence[bytes] = ()) -> bytes:
    """Return file number `index`, damaged; always the same for the same seeds.

    Two fifths come from real headers and one in two hundred from whole real files, where there are any.
    """
    rng = random.Random(index)
    place = rng.random()
    source = whole if whole and place < 0.005 else headers if headers and place < 0.4 else usual
    data = bytearray(rng.choice(source))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        if len(data) < 16:
            break
        _damage(data, rng, usual)
    return bytes(data)


def _damage(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    """Do one thing to the file: to a byte, to an element, or to a stretch of it."""
    is_dicom = data[128:132] == b"DICM" or data[:2] in (b"\x08\0", b"\x02\0")
    kind = rng.random()
    if is_dicom and kind < 0.6 and _damage_element(data, rng):
        return
    at = rng.randrange(min(len(data), rng.choice((40, 200, 1_500, 1_500, len(data)))))
    if kind < 0.75:
        data[at] = rng.choice((0, 0xFF, rng.randrange(256), data[at] ^ 1 << rng.randrange(8)))
    elif kind < 0.85:
        data[at : at + 4] = struct.pack(
            "<I", rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
        )
    elif kind < 0.89:
        del data[at : at + rng.choice((1, 2, 8, 100))]
    elif kind < 0.93:
        data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
    elif kind < 0.96:
        data[at:] = rng.choice(others)[at:]  # two files spliced
    else:
        del data[rng.randrange(len(data)) :]


def _damage_element(data: bytearray, rng: random.Random) -> bool:
    """Change VR, length, tag or value of an element in explicit VR, little endian; False where there is none."""
    starts = [match.start() for match in _ELEMENT.finditer(data, 0, min(len(data) - 12, 3_000))]
    if data.rfind(b"\xe0\x7f\x10\x00") > 0:
        starts += [data.rfind(b"\xe0\x7f\x10\x00")] * (len(starts) // 10)
    if not starts:
        return False
    at = rng.choice(starts)
    is_long = bytes(data[at + 4 : at + 6]) in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR")
    first = at + (12 if is_long else 8)
    if first > len(data):
        return False
    length = struct.unpack_from("<I" if is_long else "<H", data, first - (4 if is_long else 2))[0]
    what = rng.randrange(6)
    if what == 0:
        data[at + 4 : at + 6] = rng.choice(_VRS)
    elif what == 1:
        data[at + 6 : at + 8] = struct.pack("<H", rng.choice(_WORDS))
    elif what == 2:
        data[at : at + 4] = struct.pack(
            "<HH",
            rng.choice((0x28, 0x28, 0x7FE0, 0x10, 8, 0xFFFE)),
            rng.choice((0x10, 0x11, 0x100, 0x101, 0x1050, 0x3010, 0xE000, 0xE00D, 0xE0DD)),
        )
    elif what == 3 and length < 100:
        text = rng.choice(_TEXTS)
        data[first : first + length] = (text * (1 + length // max(1, len(text))))[:length] or bytes(length)
    elif what == 4 and length < 100:
        text = rng.choice(_TEXTS)
        text += b" " * (len(text) % 2)
        data[first : first + length] = text
        if not is_long:
            data[at + 6 : at + 8] = struct.pack("<H", len(text))
    elif length < 100:
        data[first : first + 2] = struct.pack("<H", rng.choice(_WORDS))
    else:
        del data[at : first + min(length, 10_000)]
    return True

"""The same files through DCMTK: drawn ones, and every real one where there are any."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from imaging.dicom.elements import Tag, read_elements
from imaging.dicom.grayscale import to_deep
from imaging.dicom.pixels import pixel_module, stored_words
from imaging.film import Rendering
from imaging.lut import apply_lut
from tests.dicoms import lut_item, phantom_dicom

pytestmark = pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK's dcmj2pnm is not installed")

# DCMTK cuts off where we round, so one step of 65,535 may lie between; nothing more may.
STEP = 1


def dcmtk(source: bytes, folder: Path, *options: str, bits: int = 16) -> np.ndarray:
    """What dcmj2pnm makes of a file."""
    (folder / "in.dcm").write_bytes(source)
    # As text, which takes a third of the time of a PNG: "P2", columns and rows, the brightest value, the values.
    kind = "+opw" if bits == 16 else "+opb"
    written = subprocess.run(["dcmj2pnm", kind, *options, str(folder / "in.dcm")], check=True, capture_output=True)
    signature, size, white, values = written.stdout.split(b"\n", 3)
    assert (signature, white) == (b"P2", b"65535" if bits == 16 else b"255")
    columns, rows = map(int, size.split())
    return np.fromstring(values, np.int64, sep=" ").reshape(rows, columns)


def without_jpeg_2000(data: bytes) -> bytes:
    """DCMTK reads no JPEG 2000 (and dcmj2pnm no JPEG-LS): these are decompressed by pydicom's plug-ins first."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    if not dataset.file_meta.TransferSyntaxUID.startswith(("1.2.840.10008.1.2.4.8", "1.2.840.10008.1.2.4.9")):
        return data
    dataset.decompress()
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def check_every_rendering(data: bytes, folder: Path) -> list[str]:
    """Compare each rendering of a file with DCMTK's, pixel by pixel, and return their names."""
    file = read_elements(data)
    words, module = stored_words(file, pixel_module(file.dataset))
    deep, renderings = to_deep(words, module, file.dataset)
    source = without_jpeg_2000(data)
    tables = len(file.dataset.items.get(Tag.VOILUTSequence, []))
    given = [rendering for rendering in renderings if not rendering.name.startswith(("As stored", "Automatic"))]
    for rendering in renderings:
        ours = apply_lut(rendering.curve, deep)
        bits = 16
        if rendering.name.startswith("As stored"):
            options, bits = ["--no-windowing"], 8
        elif rendering.name.startswith("Automatic"):
            options = ["--set-window", *asked_for(rendering, file.dataset, module.is_signed, module.stored)]
        elif given.index(rendering) < tables:
            number = given.index(rendering)
            options = ["--use-voi-lut", str(number + 1)]
            bits = file.dataset.items[Tag.VOILUTSequence][number].numbers(Tag.LUTDescriptor)[2]
        else:
            options = ["--use-window", str(given.index(rendering) - tables + 1)]
        if bits == 8:
            # DCMTK shifts eight bits to sixteen, so that white is 65,280, where we fill the range; in eight bits both
            # are exact, but for its negative, in which 255 is shown as 1. So it is asked for the positive.
            positive = source.replace(b"MONOCHROME1 ", b"MONOCHROME2 ")
            theirs = dcmtk(positive, folder, *options, bits=8)
            np.testing.assert_array_equal(ours // 257, theirs if positive == source else 255 - theirs)
        else:
            assert np.abs(ours.astype(int) - dcmtk(source, folder, *options)).max() <= STEP, rendering.name
    return [rendering.name for rendering in renderings]


def asked_for(rendering: Rendering, dataset: object, signed: bool, stored: int) -> list[str]:
    """Return centre and width of our automatic window as PS3.3's LINEAR has them, in the file's own values."""
    centre, width = rendering.window
    if dataset.text(Tag.PhotometricInterpretation) == "MONOCHROME1":
        centre = rendering.curve.size - 1 - centre
    if Tag.ModalityLUTSequence not in dataset:
        centre -= 2 ** (stored - 1) if signed else 0
        slope = (dataset.numbers(Tag.RescaleSlope) or [1])[0]
        centre = slope * centre + (dataset.numbers(Tag.RescaleIntercept) or [0])[0]
        width *= slope
    return [str(centre + 0.5), str(width + 1)]


RAMP = np.arange(4096, dtype=np.uint16)
DRAWN = {
    "window": {"WindowCenter": [2000, 700], "WindowWidth": [3000, 500]},
    "negative": {"WindowCenter": 2000, "WindowWidth": 3000, "photometric": "MONOCHROME1"},
    "signed": {"WindowCenter": [0, -500], "WindowWidth": [3000, 900], "signed": True},
    # Whole slopes only: DCMTK rounds what the rescale gives to whole numbers before the window, and we do not.
    "rescaled": {"WindowCenter": 2400, "WindowWidth": 5500, "RescaleSlope": 2, "RescaleIntercept": -1024},
    "no window": {},
    "no window, negative, ten bits": {"bits": 10, "photometric": "MONOCHROME1"},
    "sixteen bits": {"bits": 16, "WindowCenter": 30000, "WindowWidth": 50000},
    "eight bits": {"bits": 8},
    "eight bits, negative": {"bits": 8, "photometric": "MONOCHROME1"},
    "eight bits, negative, baseline JPEG": {"photometric": "MONOCHROME1", "syntax": "JPEG baseline"},
    "modality table": {
        "ModalityLUTSequence": [lut_item((RAMP // 2 + 300).astype(np.uint16), bits=12)],
        "WindowCenter": 1200,
        "WindowWidth": 1700,
    },
    "voi table": {
        "VOILUTSequence": [
            lut_item(np.round(65535 * (RAMP / 4095) ** 2).astype(np.uint16)),
            lut_item((RAMP >> 4).astype(np.uint16), bits=8),
        ]
    },
    "table and window": {
        "VOILUTSequence": [lut_item((65535 - RAMP * 16).astype(np.uint16))],
        "WindowCenter": 2000,
        "WindowWidth": 3000,
        "photometric": "MONOCHROME1",
    },
    "lossless JPEG": {"syntax": "JPEG lossless", "WindowCenter": 2000, "WindowWidth": 3000},
    "lossless JPEG, first predictor": {
        "syntax": "JPEG lossless SV1",
        "bits": 16,
        "WindowCenter": 2e4,
        "WindowWidth": 3e4,
    },
    "twelve-bit JPEG": {"syntax": "JPEG extended", "WindowCenter": 2000, "WindowWidth": 3000},
    "baseline JPEG": {"syntax": "JPEG baseline"},
    "RLE": {"syntax": "RLE", "WindowCenter": 2000, "WindowWidth": 3000},
    "implicit": {"syntax": "implicit"},
    "big endian": {"syntax": "big endian"},
    "deflated": {"syntax": "deflated"},
}


@pytest.mark.parametrize("options", DRAWN.values(), ids=DRAWN.keys())
def test_drawn_films_look_as_in_dcmtk(options, tmp_path):
    data = phantom_dicom(5, size=(150, 180), **options)
    assert check_every_rendering(data, tmp_path)


def test_every_real_file_looks_as_in_dcmtk(test_data, tmp_path):
    files = sorted((test_data / "dicom").rglob("*.dcm"))
    assert len(files) >= 10
    names = [check_every_rendering(path.read_bytes(), tmp_path) for path in files]
    kinds = {name.split(":")[0] for found in names for name in found}
    assert kinds >= {"Automatic window", "As stored", "The file's window", "Lookup table 1"}

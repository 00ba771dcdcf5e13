"""Time and memory of decoding, relative to other software on the same bytes.

A synthetic 16-bit DICOM file of 4,000 × 4,000 px, uncompressed, with a window, against pydicom's `pixel_array` with
`apply_voi_lut`, against torchxrayvision's way of reading DICOM (double precision, normalised to ±1024) and against
DCMTK's `dcmj2pnm` where it is installed; a synthetic JPEG of 2,000 × 1,600 px against `cv2.imdecode`. Each runs several
times in a process of its own. Printed are the least processor seconds, their ratio to ours, and peak memory beyond that
of the process with the file read and the libraries loaded."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.usage import processor
from tests.dicoms import SYNTAXES, phantom_dicom, stored_values
from tests.phantoms import as_jpeg, chest

ROOT = Path(__file__).resolve().parent.parent


def ours(data: bytes) -> None:
    """Everything that the product decodes: values, first rendering, header, checksum."""
    from imaging.radiograph import decode_radiograph

    decode_radiograph(data)


def ours_to_eight_bits(data: bytes) -> None:
    """The same and the eight bits that screen and network take."""
    from imaging.radiograph import decode_radiograph, to_uint8

    to_uint8(decode_radiograph(data))


def pydicom_voi(data: bytes) -> None:
    """pydicom's own way to what is shown."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    dataset = pydicom.dcmread(io.BytesIO(data))
    apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)


def xrv_like(data: bytes) -> None:
    """As torchxrayvision's read_xray_dcm: windowed values in double precision, scaled to ±1024."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    dataset = pydicom.dcmread(io.BytesIO(data))
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    values = values - values.min()
    values = (2 * (values / values.max()) - 1.0) * 1024
    values.astype(np.float32)


def opencv(data: bytes) -> None:
    """The picture alone."""
    import cv2

    cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


WAYS: dict[str, Callable[[bytes], None]] = {
    "ours": ours,
    "ours, and to eight bits": ours_to_eight_bits,
    "pydicom": pydicom_voi,
    "like torchxrayvision": xrv_like,
    "cv2.imdecode": opencv,
}
DICOM_WAYS = ("ours", "ours, and to eight bits", "pydicom", "like torchxrayvision")


def measure(way: str, path: Path, repeats: int) -> int:
    """Print the least seconds and the peak of memory of one way, for the process that asked."""
    data = path.read_bytes()
    small = (
        phantom_dicom(size=(64, 64), WindowCenter=2048, WindowWidth=4096)
        if path.suffix == ".dcm"
        else as_jpeg(chest(0, (64, 64)))
    )
    WAYS[way](small)  # loads the libraries
    with Path("/proc/self/clear_refs").open("w") as reset:
        reset.write("5")  # the kernel's peak of memory begins anew
    before = resident("VmHWM")
    seconds, walls = [], []
    for _ in range(repeats):
        began = processor(), time.perf_counter()
        WAYS[way](data)
        seconds.append(processor() - began[0])
        walls.append(time.perf_counter() - began[1])
    print(json.dumps([min(seconds), min(walls), resident("VmHWM") - before]))
    return 0


def resident(name: str) -> float:
    """Return a line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:"))


def dcmtk(path: Path, repeats: int) -> list[float]:
    """Time dcmj2pnm on the file, its start included: [processor seconds, seconds, 0]."""
    seconds, walls = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            began = processor(), time.perf_counter()
            subprocess.run(
                ["dcmj2pnm", "+Wi", "1", "+op", str(path), f"{folder}/out.pgm"], check=True, capture_output=True
            )
            seconds.append(processor() - began[0])
            walls.append(time.perf_counter() - began[1])
    return [min(seconds), min(walls), 0.0]


def main() -> int:
    """Print one table per file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--syntaxes", action="store_true", help="also every other transfer syntax, 2,000 × 1,600 px")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure[0], Path(options.measure[1]), options.repeats)
    large, film = chest(0, (4000, 4000)), chest(0, (1600, 2000))
    files = {
        "DICOM, 4,000 × 4,000 px, 16 bits": (
            "large.dcm",
            phantom_dicom(stored=stored_values(large, 16), bits=16, WindowCenter=32768, WindowWidth=65535),
            DICOM_WAYS,
        )
    }
    files["JPEG, 2,000 × 1,600 px"] = ("film.jpg", as_jpeg(film), ("ours, and to eight bits", "cv2.imdecode"))
    for syntax in SYNTAXES if options.syntaxes else ():
        files[f"DICOM, {syntax}, 2,000 × 1,600 px"] = (
            f"{syntax}.dcm",
            phantom_dicom(size=(1600, 2000), syntax=syntax, WindowCenter=2048, WindowWidth=4096),
            ("ours", "pydicom"),
        )
    with tempfile.TemporaryDirectory() as folder:
        for title, (name, data, ways) in files.items():
            path = Path(folder) / name
            path.write_bytes(data)
            rows = {}
            for way in ways:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.decoding",
                    "--repeats",
                    str(options.repeats),
                    "--measure",
                    way,
                    str(path),
                ]
                answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
                if answer.returncode == 0:
                    rows[way] = json.loads(answer.stdout.splitlines()[-1])
            if name == "large.dcm" and shutil.which("dcmj2pnm"):
                rows["dcmj2pnm, eight bits to a file"] = dcmtk(path, options.repeats)
            print(f"\n{title} ({len(data) / 1e6:.1f} MB)\n\n| | processor s | s | ratio to ours | peak, MB |")
            print("|---|---|---|---|---|")
            for way, (seconds, wall, peak) in rows.items():
                held = f"{peak:.0f}" if peak else "–"
                print(f"| {way} | {seconds:.3f} | {wall:.3f} | {seconds / rows[ways[0]][0]:.1f} | {held} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

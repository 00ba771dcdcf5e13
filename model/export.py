"""A classifier version for another runtime: its network, and beside it in JSON what turns a file into a probability.

>>> export_version(folder, Path("lens_onnx"), "onnx").largest_difference <= TOLERANCE
True
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import ClassifierError
from core.files import PRIVATE_FOLDER, make_folder, write_atomically
from model.card import ModelCard
from model.operating import available_purposes, operating_point
from model.registry import verify

FORMATS = ("saved_model", "onnx", "openvino")
SIDECAR = "classifier.json"
# Of the logit. Runtimes add up in another order; a wrong layer, or a wrong order of channels, differs by far more.
TOLERANCE = 2e-3
FILMS = 8
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Export:
    """An exported version: its folder, and the largest difference of a logit from the version's own on `films`."""

    folder: Path
    films: int
    largest_difference: float


def export_version(version: Path, out: Path, kind: str, architectures: Collection[str] = ()) -> Export:
    """Export the network of a version, check it in the runtime that it is for, and put it in place.

    Parameters
    ----------
    version
        Folder of the version; its checksums are verified first.
    out
        A folder that does not exist; it appears once the check has passed.
    kind
        One of `FORMATS`.
    architectures
        Functions of one's own that a version may call, see `Settings.architectures`.

    Returns
    -------
    Export
        The folder and what the check found.

    Raises
    ------
    ClassifierError
        If the version cannot be loaded, the folder exists, packages are missing, or a logit differs by more than
        `TOLERANCE`.
    """
    refuse_existing(out)
    card = verify(version)
    from model.engine import wrap_network
    from model.networks.export import export_network, exported_function, refuse_missing_packages
    from model.networks.weights import load_network

    refuse_missing_packages(kind)
    px = int(card.preprocessing["input_px"])
    network = load_network(version / card.weights_file, card.architecture, px, architectures)
    films = drawn_films(FILMS, px)
    wanted = wrap_network(network, card).run(films)
    make_folder(out.resolve().parent)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.resolve().parent))
    try:
        path = export_network(network, work, kind, bool(card.preprocessing.get("mirror", False)))
        difference = float(np.abs(exported_function(path, kind)(films) - wanted).max())
        # Not "above": the difference may be nan.
        if not difference <= TOLERANCE:
            raise ClassifierError(
                f"expected logits within {TOLERANCE:g} of the version's. Received: {difference:g} apart",
                advice=f"Do not use this export; try another format, or report it with version {card.version}.",
            )
        write_atomically(work / SIDECAR, json.dumps(described(card, kind, path.name, difference), indent=1) + "\n")
        work.chmod(PRIVATE_FOLDER)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Export(out, FILMS, difference)


def refuse_existing(out: Path) -> None:
    """Raise ClassifierError if `out` exists."""
    if out.exists():
        raise ClassifierError(
            f"expected a folder that does not exist yet. Received: {out}", advice="Name another folder with --out."
        )


def drawn_films(n: int, px: int, seed: int = 0) -> Pictures:
    """Draw pictures of blurred noise at several scales, which reach more of a network than flat ones do.

    Parameters
    ----------
    n
        Number of pictures.
    px
        Their side.
    seed
        Of the noise.

    Returns
    -------
    ndarray
        (n, px, px), uint8.
    """
    rng = np.random.default_rng(seed)
    films = []
    for _ in range(n):
        drawn = np.full((px, px), 128.0)
        for side, contrast in ((4, 60), (16, 20), (64, 8)):
            noise = rng.normal(0, contrast, (side, side))
            drawn += cv2.resize(noise, (px, px), interpolation=cv2.INTER_CUBIC)
        films.append(np.clip(drawn, 0, 255).astype(np.uint8))
    return np.stack(films)


def described(card: ModelCard, kind: str, file: str, difference: float) -> dict[str, Any]:
    """Return what another program must know to use an exported network.

    Parameters
    ----------
    card
        Of the version.
    kind
        One of `FORMATS`.
    file
        Name of the network's file or folder.
    difference
        Largest difference of a logit that the check found.
    """
    px, detail = int(card.preprocessing["input_px"]), int(card.preprocessing["detail_px"])
    fills = bool(card.preprocessing.get("fills_border", False))
    steps = [
        "decode to grey values in MONOCHROME2 (air is black), uint8 after the window",
        f"squash the whole radiograph to {detail} × {detail} px, averaging areas",
        *(["continue the margin over black borders (imaging/border.py)"] if fills else []),
        f"resample to {px} × {px} px: bilinear where that is larger, averaging areas where it is smaller",
        "float32 in [0, 255] with shape (N, px, px, 1); the network scales it itself",
    ]
    points = {name: asdict(operating_point(card, name)) for name in available_purposes(card)}
    return {
        "version": card.version,
        "weights_sha256": card.sha256,
        "architecture": card.architecture,
        "format": kind,
        "file": file,
        "input": {"name": "radiograph", "shape": [None, px, px, 1], "dtype": "float32", "range": [0, 255]},
        "output": {"name": "logit", "shape": [None, 1], "dtype": "float32"},
        "preprocessing": {**card.preprocessing, "steps": steps},
        "calibration": asdict(card.calibration) | {"formula": "1 / (1 + exp(-(logit / temperature + bias)))"},
        "operating_points": points,
        "intended_use": card.intended_use,
        "limitations": list(card.limitations),
        "not_exported": "the gate: a program of one's own must itself refuse what is not a frontal chest radiograph of "
        "the intended population",
        "check": {"drawn_films": FILMS, "largest_difference_of_a_logit": difference, "tolerance": TOLERANCE},
    }

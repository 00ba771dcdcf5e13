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
from model.framing_steps import framing_steps, framing_values
from model.networks.architectures import ANATOMY_PX, POSES
from model.operating import available_purposes, operating_point
from model.registry import ANATOMY, verify

FORMATS = ("saved_model", "onnx", "openvino")
SIDECAR = "classifier.json"
# Of the logit. Runtimes add up in another order; a wrong layer, or a wrong order of channels, differs by far more.
TOLERANCE = 2e-3
FILMS = 8
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Export:
    """An exported version.

    Attributes
    ----------
    folder
        Its folder.
    films
        Number of drawn pictures that it was compared on.
    largest_difference
        Of a logit from the version's own.
    largest_anatomy_difference
        Of a probability from that of the version's anatomy network; None for versions that see the whole film.
    """

    folder: Path
    films: int
    largest_difference: float
    largest_anatomy_difference: float | None = None


def export_version(version: Path, out: Path, kind: str, architectures: Collection[str] = ()) -> Export:
    """Export the network of a version, check it in the runtime that it is for, and put it in place.

    Of a version that frames films by their lungs, its anatomy network is exported and checked too.

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
        If the version cannot be loaded, the folder exists, packages are missing, or a logit, or a probability of the
        anatomy network, differs by more than `TOLERANCE`.
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
    if card.anatomy_sha256:
        films = np.stack((films, drawn_lungs(FILMS, px)), -1)
    wanted = wrap_network(network, card).run(films)
    make_folder(out.resolve().parent)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.resolve().parent))
    try:
        path = export_network(network, work, kind, bool(card.preprocessing.get("mirror", False)))
        difference = float(np.abs(exported_function(path, kind)(films) - wanted).max())
        _refuse_different("logits", difference, card)
        anatomy, of_anatomy = _export_anatomy(version / ANATOMY, work, kind) if card.anatomy_sha256 else (None, None)
        if of_anatomy is not None:
            _refuse_different("lungs and poses", of_anatomy, card)
        text = json.dumps(described(card, kind, path.name, difference, anatomy, of_anatomy), indent=1)
        write_atomically(work / SIDECAR, text + "\n")
        work.chmod(PRIVATE_FOLDER)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Export(out, FILMS, difference, of_anatomy)


def _export_anatomy(weights: Path, work: Path, kind: str) -> tuple[str, float]:
    """Export an anatomy network: the name of its file, and the largest difference of a probability."""
    from model.networks.anatomy import anatomy_function, load_anatomy
    from model.networks.export import export_anatomy, exported_anatomy

    network, films = load_anatomy(weights), drawn_films(FILMS, ANATOMY_PX)
    path = export_anatomy(network, work, kind)
    both = zip(exported_anatomy(path, kind)(films), anatomy_function(network)(films), strict=True)
    return path.name, max(float(np.abs(own - wanted).max()) for own, wanted in both)


def _refuse_different(what: str, difference: float, card: ModelCard) -> None:
    # Not "above": the difference may be nan.
    if not difference <= TOLERANCE:
        raise ClassifierError(
            f"expected {what} within {TOLERANCE:g} of the version's. Received: {difference:g} apart",
            advice=f"Do not use this export; try another format, or report it with version {card.version}.",
        )


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


def drawn_lungs(n: int, px: int, seed: int = 0) -> Pictures:
    """Draw two ellipses where lungs are in a framed film.

    Parameters
    ----------
    n, px, seed
        As in `drawn_films`.

    Returns
    -------
    ndarray
        (n, px, px), uint8, 0 to 255.
    """
    rng, pictures = np.random.default_rng(seed), np.zeros((n, px, px), np.uint8)
    for picture in pictures:
        for x in (0.28, 0.72):
            middle = ((x + rng.uniform(-0.03, 0.03)) * px, rng.uniform(0.45, 0.55) * px)
            size = (rng.uniform(0.26, 0.36) * px, rng.uniform(0.6, 0.8) * px)
            cv2.ellipse(picture, (middle, size, 0.0), 255, -1)
    return pictures


def described(
    card: ModelCard,
    kind: str,
    file: str,
    difference: float,
    anatomy_file: str | None = None,
    anatomy_difference: float | None = None,
) -> dict[str, Any]:
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
    anatomy_file
        Name of the anatomy network's file or folder; None for versions that see the whole film.
    anatomy_difference
        Largest difference of its probabilities that the check found.
    """
    px, detail = int(card.preprocessing["input_px"]), int(card.preprocessing["detail_px"])
    fills, is_framed = bool(card.preprocessing.get("fills_border", False)), anatomy_file is not None
    channels = 2 if is_framed else 1
    steps = [
        "decode to grey values in MONOCHROME2 (air is black), uint8 after the window",
        f"squash the whole radiograph to {detail} × {detail} px, averaging areas",
        *(["continue the margin over black borders (imaging/border.py)"] if fills else []),
        *(
            framing_steps(px, detail)
            if is_framed
            else [f"resample to {px} × {px} px: bilinear where that is larger, averaging areas where it is smaller"]
        ),
        f"float32 in [0, 255] with shape (N, px, px, {channels}); the network scales it itself",
    ]
    anatomy = {
        "file": anatomy_file,
        "sha256": card.anatomy_sha256,
        "input": {
            "name": "square",
            "shape": [None, ANATOMY_PX, ANATOMY_PX, 1],
            "dtype": "float32",
            "range": [0, 255],
        },
        "outputs": {
            "lung_probabilities": {"shape": [None, ANATOMY_PX, ANATOMY_PX, 2], "range": [0, 1]},
            "pose_probabilities": {"shape": [None, len(POSES) + 1], "range": [0, 1]},
        },
        "poses": [*({"quarter_turns": turns, "inverted": inverted} for turns, inverted in POSES), "no chest"],
    }
    points = {name: asdict(operating_point(card, name)) for name in available_purposes(card)}
    return {
        "version": card.version,
        "weights_sha256": card.sha256,
        "architecture": card.architecture,
        "format": kind,
        "file": file,
        "input": {"name": "radiograph", "shape": [None, px, px, channels], "dtype": "float32", "range": [0, 255]},
        "output": {"name": "logit", "shape": [None, 1], "dtype": "float32"},
        **({"anatomy": anatomy} if is_framed else {}),
        "preprocessing": {
            **card.preprocessing,
            **({"framing": framing_values()} if is_framed else {}),
            "steps": steps,
        },
        "calibration": asdict(card.calibration) | {"formula": "1 / (1 + exp(-(logit / temperature + bias)))"},
        "operating_points": points,
        "intended_use": card.intended_use,
        "limitations": list(card.limitations),
        "not_exported": "the gate: a program of one's own must itself refuse what is not a frontal chest radiograph of "
        "the intended population" + (", and set inverted and rotated films right" if is_framed else ""),
        "check": {
            "drawn_films": FILMS,
            "largest_difference_of_a_logit": difference,
            **({"largest_difference_of_anatomy": anatomy_difference} if is_framed else {}),
            "tolerance": TOLERANCE,
        },
    }

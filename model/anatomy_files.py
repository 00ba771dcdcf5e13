"""The anatomy network as a file: checked, loaded once, and run on squared films by any thread.

>>> find = load_anatomy_finder(folder / ANATOMY, card.anatomy_sha256)
>>> find(square[None])[0].areas
(0.17, 0.15)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import ClassifierError
from imaging.resample import resize
from model.anatomy import Anatomy, AnatomyFinder, Pictures, from_output
from model.networks.architectures import ANATOMY_PX
from model.registry import file_sha256

Float = npt.NDArray[np.float32]
ANATOMY = "anatomy.npz"
# The network that serves versions which carry none.
SHIPPED = Path(__file__).parent / "weights" / "anatomy" / ANATOMY
# Films in one pass: the memory that many need at once does not make them faster.
_BATCH = 32


def load_anatomy_finder(path: Path, sha256: str) -> AnatomyFinder:
    """Load an anatomy network after comparing its checksum; it is run once, so that the first film is not slow.

    Parameters
    ----------
    path
        File that `model.networks.weights.save_network` wrote.
    sha256
        Of the file, in hexadecimal digits.

    Returns
    -------
    AnatomyFinder
        From squared films, uint8 (n, px, px) of any size, to the anatomy of each. Safe to share between threads.

    Raises
    ------
    ClassifierError
        If the file is missing, was changed, or is of another network.
    """
    try:
        received = file_sha256(path)
    except OSError as error:
        raise ClassifierError(
            f"expected an anatomy network at {path.name}. Received: {error.strerror}",
            advice="Restore the file from a backup, or install the software again.",
        ) from error
    if received != sha256:
        raise ClassifierError(
            f"expected sha256 {sha256[:12]}… for {path.name}. Received: {received[:12]}…",
            advice="The anatomy network was changed or is cut short. Restore the file from a backup.",
        )
    from model.networks.anatomy import load_anatomy  # lazy: tensorflow takes seconds and hundreds of MB

    try:
        network = load_anatomy(path)
    except (KeyError, ValueError) as error:
        raise ClassifierError(
            f"expected the weights of the anatomy network in {path.name}. Received: {error}",
            advice="The anatomy network does not fit this software; install the software again.",
        ) from error
    finder = anatomy_finder(network)
    finder(np.zeros((1, ANATOMY_PX, ANATOMY_PX), np.uint8))
    return finder


def anatomy_finder(network: Any) -> AnatomyFinder:
    """Return the finder of a network that is in memory, as `model.networks.anatomy.build_anatomy` builds it."""
    from model.networks.anatomy import anatomy_function

    run: Callable[[Pictures], tuple[Float, Float]] = anatomy_function(network)

    def find(squares: Pictures) -> tuple[Anatomy, ...]:
        found: list[Anatomy] = []
        for start in range(0, len(squares), _BATCH):
            small = np.stack([resize(square, ANATOMY_PX) for square in squares[start : start + _BATCH]])
            lungs, pose = run(small)
            found += [from_output(*one) for one in zip(lungs, pose, strict=True)]
        return tuple(found)

    return find


def shipped_anatomy() -> AnatomyFinder:
    """Return the anatomy network that comes with the software, loaded once for the process.

    Raises
    ------
    ClassifierError
        If its files are missing or were changed.
    """
    with _LOADING:
        return _shipped()


_LOADING = threading.Lock()


@cache
def _shipped() -> AnatomyFinder:
    return load_anatomy_finder(SHIPPED, shipped_sha256())


def shipped_sha256() -> str:
    """Return the SHA-256 that the record beside the shipped anatomy network states.

    Raises
    ------
    ClassifierError
        If the record is missing or damaged.
    """
    record = SHIPPED.with_suffix(".json")
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClassifierError(
            f"expected the record of the anatomy network in {record.name}. Received: {type(error).__name__}",
            advice="Install the software again; files of the installation are missing.",
        ) from error

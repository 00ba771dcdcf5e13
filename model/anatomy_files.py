"""Files of anatomy networks: the one that the product ships, and the copy in each version that frames films by lungs.

model/weights/anatomy/anatomy.npz   the weights, a NumPy archive without pickled objects
model/weights/anatomy/anatomy.json  their SHA-256, what they were trained on, and how well they outline lungs

>>> find = load_anatomy_finder(folder / ANATOMY, card.anatomy_sha256)
>>> find(square[None])[0].areas
(0.17, 0.15)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import ClassifierError
from core.json_text import parse_json
from core.settings import Settings
from imaging.resample import resize
from model.anatomy import Anatomy, AnatomyFinder, Pictures, from_output
from model.closer_look import chest_box, cut_out, surer
from model.networks.architectures import ANATOMY_PX
from model.registry import ANATOMY, file_sha256

Float = npt.NDArray[np.float32]
FOLDER, RECORD = "anatomy", "anatomy.json"
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
    """Return the finder of a network that is in memory, as `model.networks.anatomy.build_anatomy` builds it.

    Where it finds lungs with doubt it looks at the chest alone, see `model.closer_look`.
    """
    from model.networks.anatomy import anatomy_function

    run: Callable[[Pictures], tuple[Float, Float]] = anatomy_function(network)
    lock = threading.Lock()

    def looked_at(small: Pictures) -> list[Anatomy]:
        with lock:
            lungs, pose = run(small)
        return [from_output(*one) for one in zip(lungs, pose, strict=True)]

    def find(squares: Pictures) -> tuple[Anatomy, ...]:
        found: list[Anatomy] = []
        for start in range(0, len(squares), _BATCH):
            chunk = squares[start : start + _BATCH]
            seen = looked_at(np.stack([resize(square, ANATOMY_PX) for square in chunk]))
            doubtful = {i: chest_box(one) for i, one in enumerate(seen) if one.is_found and one.is_doubtful}
            if doubtful:
                closer = looked_at(np.stack([cut_out(chunk[i], box) for i, box in doubtful.items()]))
                for (i, box), one in zip(doubtful.items(), closer, strict=True):
                    seen[i] = surer(seen[i], one, box)
            found += seen
        return tuple(found)

    return find


def shipped_anatomy(settings: Settings) -> tuple[Path, str]:
    """Return the anatomy network that the product ships, and its SHA-256 on record.

    Raises
    ------
    ClassifierError
        If its record is missing or damaged.
    """
    return _recorded(settings.shipped_weights / FOLDER)


_LOADING = threading.Lock()


def shipped_finder() -> AnatomyFinder:
    """Return the finder of the shipped network, for versions that carry none; it is loaded once for the process.

    Raises
    ------
    ClassifierError
        If its files are missing or were changed.
    """
    with _LOADING:
        return _shipped_finder()


@cache
def _shipped_finder() -> AnatomyFinder:
    return load_anatomy_finder(*_recorded(Path(__file__).parent / "weights" / FOLDER))


def _recorded(folder: Path) -> tuple[Path, str]:
    """Return the network in a folder and the SHA-256 that the record beside it states."""
    try:
        sha256 = str(parse_json((folder / RECORD).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClassifierError(
            f"expected {RECORD} of the anatomy network. Received: {type(error).__name__}",
            advice="The anatomy network is missing; install the software again.",
        ) from error
    return folder / ANATOMY, sha256

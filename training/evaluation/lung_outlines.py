"""Agreement of the anatomy network with lungs that people have drawn, and with how pictures were turned.

>>> result = measure_outlines(find, read_lung_films(Path("chest_xray/train"), Path("lung_masks")))
>>> result.groups["NORMAL"].dice.value
0.96
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_count, format_estimate, format_rate
from core.progress import Tick
from model.anatomy import Anatomy, AnatomyFinder
from model.card import Measure
from model.intervals import proportion, share_mean
from model.networks.architectures import POSES
from training.data.layout import pathogen_of
from training.data.lung_masks import LEFT, PX, RIGHT, UNKNOWN, LungFilms
from training.evaluation.evaluate import plain

Array = npt.NDArray[Any]
Pictures = npt.NDArray[np.uint8]
# A film has much opacity where at least this share of its drawn lungs is as bright as the body beside them.
MUCH_OPACITY = 0.25
_OPAQUE = "much opacity"
_ALL = "all"
# Films of which every turned and inverted copy is looked at.
_TURNED_FILMS = 200
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class OutlineFigures:
    """Figures of one group of films; each `Measure` has its 95 % interval by patient.

    Attributes
    ----------
    n, n_patients
        Films and patients.
    dice
        Mean over films of the Dice coefficient of both lungs together, without what a device or a marking hides.
    dice_p05
        Fifth percentile over films.
    dice_of_lungs
        Mean of the Dice coefficient of each lung, with the side it was drawn on.
    without_lungs
        Share of films in which no two lungs of plausible size and place are found.
    doubtful
        Share of films in which they are found with doubt.
    upright
        Share of films that are called upright, with the grayscale as it is.
    """

    n: int
    n_patients: int
    dice: Measure
    dice_p05: float
    dice_of_lungs: Measure
    without_lungs: Measure
    doubtful: Measure
    upright: Measure


@dataclass(frozen=True, slots=True)
class Outlines:
    """Figures of an anatomy network.

    Attributes
    ----------
    groups
        Figures by group: "all", class and pathogen by the films' folders and names, and "much opacity".
    turned
        Share of turned and inverted copies whose pose is found; nan where it was not measured.
    patients_known
        Whether every patient is known; else a film counts as a patient.
    left_out
        Films and masks that were not used, by the reason.
    """

    groups: Mapping[str, OutlineFigures]
    turned: Measure
    patients_known: bool
    left_out: Mapping[str, int]


def measure_outlines(find: AnatomyFinder, films: LungFilms, tick: Tick | None = None) -> Outlines:
    """Compare what an anatomy network finds with drawn lungs.

    Parameters
    ----------
    find
        The network.
    films
        Upright films with drawn lungs, n ≥ 1.
    tick
        Called with the number of films done since the last call.

    References
    ----------
    Dice 1945, doi 10.2307/1932409
    """
    found: list[Anatomy] = []
    for start in range(0, len(films.films), _CHUNK):
        found += find(films.films[start : start + _CHUNK])
        if tick is not None:
            tick(len(found) - start)
    both = np.array([_dice(one.outline(PX, PX), films.labels[i]) for i, one in enumerate(found)])
    apart = np.array([_dice_of_lungs(one, films.labels[i]) for i, one in enumerate(found)])
    figures = {
        name: _figures(both[chosen], apart[chosen], [found[i] for i in chosen], [films.patients[i] for i in chosen])
        for name, chosen in _groups(films).items()
    }
    return Outlines(figures, _turned(find, films), films.patients_known, films.left_out)


def opacity_share(film: Pictures, labels: Pictures) -> float:
    """Return how much of the drawn lungs is as bright as the body beside them.

    Parameters
    ----------
    film, labels
        (PX, PX), uint8, as in `LungFilms`.

    Returns
    -------
    float
        Share of the lungs' pixels that are at least as bright as the median of a band around the lungs.
    """
    lung = (labels == LEFT) | (labels == RIGHT)
    around = (cv2.dilate(lung.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0) & ~lung
    return float((film[lung] >= np.median(film[around])).mean()) if lung.any() and around.any() else 0.0


def _groups(films: LungFilms) -> dict[str, list[int]]:
    """Return the places of the films of each group that has any."""
    groups: dict[str, list[int]] = {_ALL: list(range(len(films.films)))}
    for i, name in enumerate(films.names):
        pathogen = pathogen_of((name.rsplit("/", 1)[-1],)) if films.classes[i] == "PNEUMONIA" else ""
        for group in (films.classes[i], pathogen):
            if group:
                groups.setdefault(group, []).append(i)
    opaque = [i for i in groups[_ALL] if opacity_share(films.films[i], films.labels[i]) >= MUCH_OPACITY]
    return groups | ({_OPAQUE: opaque} if opaque else {})


def _figures(both: Array, apart: Array, found: Sequence[Anatomy], patients: Sequence[str]) -> OutlineFigures:
    return OutlineFigures(
        len(both),
        len(set(patients)),
        share_mean(both, patients),
        float(np.percentile(both, 5)),
        share_mean(apart, patients),
        proportion(np.array([not one.is_found for one in found]), patients),
        proportion(np.array([one.is_found and one.is_doubtful for one in found]), patients),
        proportion(np.array([one.orientation == POSES[0] for one in found]), patients),
    )


def _dice(found: npt.NDArray[np.bool_], labels: Pictures) -> float:
    known = labels != UNKNOWN
    drawn = (labels == LEFT) | (labels == RIGHT)
    total = int((found & known).sum()) + int(drawn.sum())
    return 2 * int((found & drawn).sum()) / total if total else 1.0


def _dice_of_lungs(found: Anatomy, labels: Pictures) -> float:
    """Return the mean of the Dice coefficients of the lungs that were drawn."""
    known = labels != UNKNOWN
    shares = []
    for lung, value in zip(found.lungs, (LEFT, RIGHT), strict=True):
        drawn = labels == value
        if drawn.any():
            large = cv2.resize(lung, (PX, PX), interpolation=cv2.INTER_LINEAR) >= 128
            shares.append(2 * int((large & drawn).sum()) / (int((large & known).sum()) + int(drawn.sum())))
    return float(np.mean(shares)) if shares else 1.0


def _turned(find: AnatomyFinder, films: LungFilms) -> Measure:
    """Return the share of turned and inverted copies of some films whose pose is found."""
    places = np.linspace(0, len(films.films) - 1, min(len(films.films), _TURNED_FILMS)).astype(int)
    chosen = np.unique(places)
    right: list[bool] = []
    for quarters, inverted in POSES:
        copies = np.rot90(films.films[chosen], -quarters, (1, 2))
        found = find(np.ascontiguousarray(255 - copies if inverted else copies))
        right += [one.orientation == (quarters, inverted) for one in found]
    return proportion(np.array(right), [films.patients[i] for i in chosen] * len(POSES))


def outlines_to_values(result: Outlines) -> dict[str, Any]:
    """Return the figures for JSON; `null` where one is not defined."""
    values: dict[str, Any] = plain(asdict(result))
    return values


def outlines_to_json(result: Outlines) -> str:
    """Return the figures as JSON."""
    return json.dumps(outlines_to_values(result), indent=1, ensure_ascii=False)


def outlines_to_text(result: Outlines, title: str) -> str:
    """Return the figures in `result` as a table for a terminal, below a `title`, with what it does not cover."""
    lines = [f"{title}: Dice of both lungs, mean over films (95 % interval by patient) and 5th percentile"]
    for name, one in result.groups.items():
        counts = f"{format_count(one.n, 'film')}, {format_count(one.n_patients, 'patient')}"
        lines.append(f"  {name:<14} {format_estimate(one.dice, 3):<22} {one.dice_p05:.3f}   {counts}")
        lines.append(
            f"  {'':<14} each lung {format_rate(one.dice_of_lungs.value, 3)}; without two lungs "
            f"{format_estimate(one.without_lungs, 3)}; doubtful {format_rate(one.doubtful.value, 3)}; upright "
            f"{format_rate(one.upright.value, 3)}"
        )
    lines.append(f"  pose of turned and inverted copies found: {format_estimate(result.turned, 3)}")
    if not result.patients_known:
        lines.append("  patients are not known for every film; each of those counts as a patient of its own")
    lines += [f"  not used: {n} {reason}" for reason, n in result.left_out.items()]
    return "\n".join(lines)

"""Faithfulness of the evidence map: deletion and insertion of the regions that it marks.

Replacing the cells with the strongest evidence must change the probability more than replacing cells in random order
or from the centre outwards (Petsiuk et al. 2018, "RISE", https://arxiv.org/abs/1806.07421). Whether the map depends on
the learned weights is tested in `training.evaluation.sanity_checks`.

Cells are of the film, also for versions that frame it by its lungs: a changed film is framed by the lungs of the
unchanged one, and its grey values are levelled anew, as those of a file with this content would be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from core.formatting import format_difference, format_estimate
from core.progress import Tick
from model.calibration import probabilities
from model.card import Measure
from model.engine import Classifier
from model.intervals import mean_interval
from training.data.sample import Sample
from training.evaluation.evaluate import Failures, decoded, plain
from training.evaluation.readings import aligned, exchanged, film_of, heatmaps, reading_of, with_film

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]
CELLS = 10
STEPS = 10
SHARES = tuple(step / STEPS for step in range(STEPS + 1))
MAP_PX = 8 * CELLS
FILMS = 30
# Closer mean probabilities of radiographs and substitutes leave no contrast between orderings.
NO_CONTRAST = 0.25
OURS = "evidence map"
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Ordering:
    """Results of one order of replacing cells: areas under the probability curve in [0, 1], mean over radiographs.

    A faithful map has a small `deletion` and a large `insertion`. The gains are the paired differences in favour of the
    evidence map. `deletion_curve` and `insertion_curve` are mean probabilities at `SHARES`.
    """

    name: str
    deletion: Measure
    insertion: Measure
    deletion_gain: Measure
    insertion_gain: Measure
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Results with one kind of substitute: mean probability of radiographs and of substitutes, and the orderings.

    Where the two probabilities are similar, the areas cannot separate orderings.
    """

    substitute: str
    probability_film: float
    probability_substitute: float
    orderings: tuple[Ordering, ...]


@dataclass(frozen=True, slots=True)
class Similarity:
    """Similarity of two sets of maps, mean over radiographs: Spearman's correlation of cells, structural similarity.

    Pairs with an empty map, which shows nothing that could be similar, are left out; `empty` counts them. Both measures
    are undefined (nan) where all pairs are.
    """

    name: str
    rank_correlation: Measure
    ssim: Measure
    empty: int = 0


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Faithfulness and sanity checks of one classifier version on n radiographs that it calls pneumonia.

    `randomised` has one row per stage; `other_films` compares the maps of different radiographs, whose similarity is
    due to anatomy alone. `without_map` counts the radiographs called pneumonia that were left out for an empty map.
    """

    version: str
    n: int
    exchanges: tuple[Exchange, ...]
    other_films: Similarity | None
    randomised: tuple[Similarity, ...]
    without_map: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """Readings of radiographs called pneumonia, uint8 (n, px, px), and of NORMAL ones that are not, (m, px, px).

    They are as `training.evaluation.readings.reading_of` returns them, with three channels of framed films.
    `without_map` counts those called pneumonia that the draw came across and left out, since their map is empty.
    """

    pneumonia: Picture
    healthy: Picture
    without_map: int = 0


def choose_films(
    classifier: Classifier,
    samples: Sequence[Sample],
    films: int = FILMS,
    seed: int = 0,
    tick: Tick | None = None,
) -> tuple[Films, Failures]:
    """Draw radiographs that the classifier calls pneumonia, with a map, and as many NORMAL ones that it does not.

    Parameters
    ----------
    classifier
        Decides at the operating point of its card.
    samples
        Drawn from at random.
    films
        Largest number of each kind.
    seed
        Of the draw.
    tick
        Called with 1 for each radiograph called pneumonia.

    Returns
    -------
    tuple of (Films, Failures)
        The readings of both kinds, and the unreadable files with the reason.

    Raises
    ------
    DatasetError
        If none is called pneumonia, or none of those has a map.
    """
    order = np.random.default_rng(seed).permutation(len(samples))
    failures: Failures = []
    found: dict[bool, list[Picture]] = {True: [], False: []}
    without_map = 0
    for start in range(0, len(samples), _BATCH):
        read = list(decoded([samples[i] for i in order[start : start + _BATCH]], failures))
        if not read:
            continue
        pictures = np.stack([reading_of(classifier, radiograph) for _, radiograph in read])
        called = _probabilities(classifier, pictures) >= classifier.card.operating_point.probability
        for (sample, _), picture, is_called in zip(read, pictures, called, strict=True):
            if len(found[bool(is_called)]) == films or (not is_called and sample.label):
                continue
            if is_called and not evidence_maps(classifier, picture[None])[0].any():
                without_map += 1
            else:
                found[bool(is_called)].append(picture)
                if tick is not None and is_called:
                    tick(1)
        if min(map(len, found.values())) == films:
            break
    if not found[True] and without_map:
        raise DatasetError(
            "expected radiographs with an evidence map. Received: an empty map for each of the "
            f"{without_map} that the classifier calls pneumonia",
            advice="No region raises this classifier's probability, so its maps cannot be measured; retrain it.",
        )
    if not found[True]:
        raise DatasetError(
            "expected radiographs that the classifier calls pneumonia. Received: none",
            advice="Name a folder whose PNEUMONIA radiographs this classifier recognises.",
        )
    none = np.zeros((0, *found[True][0].shape), np.uint8)
    return Films(np.stack(found[True]), np.stack(found[False]) if found[False] else none, without_map), failures


def evidence_maps(classifier: Classifier, pictures: Picture) -> Map:
    """Return the evidence maps of readings, over the film.

    Parameters
    ----------
    classifier
        The classifier.
    pictures
        (n, px, px) or (n, px, px, 3), uint8: readings.

    Returns
    -------
    ndarray
        (n, MAP_PX, MAP_PX), float32 in [0, 1].
    """
    starts = range(0, len(pictures), _BATCH)
    maps = [heatmaps(classifier, pictures[start : start + _BATCH], (MAP_PX, MAP_PX)) for start in starts]
    return np.stack([one.values for some in maps for one in some])


def cells(maps: Map) -> Map:
    """Return the mean evidence of each cell.

    Parameters
    ----------
    maps
        (n, MAP_PX, MAP_PX), float32.

    Returns
    -------
    ndarray
        (n, CELLS · CELLS), float32, row by row.
    """
    side = MAP_PX // CELLS
    return np.asarray(maps.reshape(-1, CELLS, side, CELLS, side).mean((2, 4)).reshape(len(maps), -1), np.float32)


def exchanges(classifier: Classifier, films: Films, seed: int = 0, tick: Tick | None = None) -> tuple[Exchange, ...]:
    """Replace cells in three orders by those of a substitute: a NORMAL radiograph, or the blurred radiograph itself.

    A blurred radiograph is the usual substitute, but a classifier may call hidden lungs pneumonia, and the probability
    then does not fall. A NORMAL radiograph, its grey values matched, is one that the classifier calls normal; where
    films are framed by their lungs, its lungs are brought to the place of those that it replaces.

    Parameters
    ----------
    classifier
        The classifier.
    films
        The radiographs.
    seed
        Of the random order.
    tick
        Called with 1 after each radiograph and substitute.

    Returns
    -------
    tuple of Exchange
        One for each substitute.

    References
    ----------
    Petsiuk et al. 2018, "RISE", https://arxiv.org/abs/1806.07421: deletion and insertion.
    """
    marked = cells(evidence_maps(classifier, films.pneumonia))
    substitutes: dict[str, Callable[[int], Picture]] = {}
    if len(films.healthy):
        substitutes["a NORMAL radiograph"] = lambda i: _matched(
            films.healthy[i % len(films.healthy)], films.pneumonia[i]
        )
    substitutes["the radiograph, heavily blurred"] = lambda i: _blurred(films.pneumonia[i])
    results = []
    for name, substitute in substitutes.items():
        traces: dict[str, list[npt.NDArray[np.float64]]] = {}
        for i, picture in enumerate(films.pneumonia):
            for ordering, order in orders(marked[i], np.random.default_rng((seed, i))).items():
                traces.setdefault(ordering, []).append(trace(classifier, picture, substitute(i), order))
            if tick is not None:
                tick(1)
        results.append(_exchange(name, {ordering: np.stack(one) for ordering, one in traces.items()}))
    return tuple(results)


def orders(marked: Map, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int_]]:
    """Return orders in which cells are replaced.

    Parameters
    ----------
    marked
        (CELLS · CELLS,): evidence of each cell.
    rng
        Generator of the random order and of ties.

    Returns
    -------
    dict of str to ndarray
        (CELLS · CELLS,), int: indices of the cells by evidence, at random, and from the centre.
    """
    row, column = np.divmod(np.arange(CELLS * CELLS), CELLS)
    from_centre = np.hypot(row - (CELLS - 1) / 2, column - (CELLS - 1) / 2)
    # Ties, of which a map has many at zero, come in random order and not from the top left.
    chance = rng.permutation(CELLS * CELLS)
    return {
        OURS: np.lexsort((chance, -marked)),
        "random": np.argsort(chance),
        "centre first": np.lexsort((chance, from_centre)),
    }


def trace(
    classifier: Classifier, picture: Picture, substitute: Picture, order: npt.NDArray[np.int_]
) -> npt.NDArray[np.float64]:
    """Return the probabilities while cells are replaced (deletion) and restored (insertion).

    Parameters
    ----------
    classifier
        The classifier.
    picture, substitute
        (px, px) or (px, px, 3), uint8: reading of the radiograph, and the one from which cells are taken.
    order
        (CELLS · CELLS,), int: indices of the cells.

    Returns
    -------
    ndarray
        (2, STEPS + 1), float64 in [0, 1]: deletion, and insertion, which begins with the whole substitute.
    """
    place = np.empty(len(order), np.int_)
    place[order] = np.arange(len(order))
    along = np.arange(picture.shape[0]) * CELLS // picture.shape[0]
    position = place.reshape(CELLS, CELLS)[along[:, None], along]
    early = [position < round(share * len(order)) for share in SHARES[1:-1]]
    film, other, *between = _probabilities(
        classifier,
        np.stack(
            [
                picture,
                substitute,
                *(exchanged(picture, substitute, mask) for mask in early),
                *(exchanged(picture, substitute, ~mask) for mask in early),
            ]
        ),
    )
    return np.array([[film, *between[: len(early)], other], [other, *between[len(early) :], film]])


def _probabilities(classifier: Classifier, pictures: Picture) -> npt.NDArray[np.float64]:
    starts = range(0, len(pictures), 2 * _BATCH)
    logits = [classifier.run(classifier.inputs_of(pictures[start : start + 2 * _BATCH])) for start in starts]
    return probabilities(np.concatenate(logits), classifier.card.calibration)


def _blurred(picture: Picture) -> Picture:
    blurred = cv2.GaussianBlur(film_of(picture), (0, 0), picture.shape[0] / 16)
    return with_film(picture, np.asarray(blurred, np.uint8))


def _matched(picture: Picture, like: Picture) -> Picture:
    """Give a picture the mean and contrast of another one, so that a patch differs in content alone."""
    film, wanted = aligned(picture, like), film_of(like)
    scaled = (film - film.mean()) * (wanted.std() / max(film.std(), 1.0)) + wanted.mean()
    return with_film(like, np.asarray(np.clip(np.round(scaled), 0, 255), np.uint8))


def mean_over_films(values: npt.NDArray[np.float64]) -> Measure:
    """Return the mean of `values`, float64 (n,), over radiographs with its 95 % interval; nan for n = 0."""
    return mean_interval(values)


def _exchange(name: str, traces: dict[str, npt.NDArray[np.float64]]) -> Exchange:
    """Sum up traces (films, 2, STEPS + 1) by ordering."""
    area = {ordering: np.asarray(np.trapezoid(one, SHARES, axis=2)) for ordering, one in traces.items()}

    def row(ordering: str) -> Ordering:
        (deletion, insertion), (our_deletion, our_insertion) = area[ordering].T, area[OURS].T
        deleted, inserted = traces[ordering].mean(0).tolist()
        return Ordering(
            ordering,
            mean_over_films(deletion),
            mean_over_films(insertion),
            mean_over_films(deletion - our_deletion),
            mean_over_films(our_insertion - insertion),
            tuple(deleted),
            tuple(inserted),
        )

    rows = tuple(map(row, area))
    return Exchange(name, rows[0].deletion_curve[0], rows[0].deletion_curve[-1], rows)


def faithfulness_to_json(result: Faithfulness) -> str:
    """Return the result as JSON; an undefined measure is null."""
    return json.dumps({"shares": SHARES} | plain(asdict(result)), indent=1, ensure_ascii=False)


def faithfulness_to_text(result: Faithfulness, split: str) -> str:
    """Return `result`, measured on a `split`, as tables for a terminal."""
    left_out = f"; {result.without_map} more left out, whose map is empty" if result.without_map else ""
    lines = [
        f"{split}: {result.n} radiographs called pneumonia, classifier {result.version}{left_out}",
        "mean probability while cells are replaced (deletion, less is better) or restored (insertion, more is better)",
    ]
    for one in result.exchanges:
        lines += [
            f"  by {one.substitute}: probability {one.probability_film:.3f} → {one.probability_substitute:.3f}",
            f"    {'':<13}  {'deletion':<19}  {'insertion':<19}  gain of the map: deletion, insertion",
        ]
        if abs(one.probability_film - one.probability_substitute) < NO_CONTRAST:
            lines.insert(
                -1, "    (radiographs and substitutes have similar probabilities, so orders cannot be separated)"
            )
        for row in one.orderings:
            gain = (
                ""
                if row.name == OURS
                else f"{format_difference(row.deletion_gain)}, {format_difference(row.insertion_gain)}"
            )
            lines.append(
                f"    {row.name:<13}  {format_estimate(row.deletion, 3):<19}  {format_estimate(row.insertion, 3):<19}  "
                f"{gain}".rstrip()
            )
    rows = [*result.randomised, *([result.other_films] if result.other_films else [])]
    if rows:
        lines.append("maps of randomised networks against the trained network's (less similar is better)")
        lines.append(f"    {'':<24}  {'rank correlation':<26}  structural similarity")
    lines += [
        f"    {row.name:<24}  {format_difference(row.rank_correlation):<26}  {format_difference(row.ssim)}"
        + (f"  ({row.empty} of {result.n} left out: empty map)" if row.empty else "")
        for row in rows
    ]
    return "\n".join(lines)

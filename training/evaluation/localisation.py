"""Localisation: how much of the evidence map lies in the lungs and on the opacities that people outlined.

The map is the one that is served: `model.pipeline.assess`, on the radiograph's own grid. Beside it stand the area of
the regions, which a map without any idea would reach, and two priors: the centre of the film, and the place where the
lungs of other patients' films are.

>>> result = localise(classifier, read_boxes(Path("nih_adult"), Path("boxes.csv")))
>>> result.figures["pointing_game"].value
0.2667
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import DatasetError, RadiographError
from core.formatting import format_count, format_estimate
from core.progress import Tick
from model.card import Measure
from model.engine import Classifier
from model.intervals import proportion, share_mean
from model.pipeline import assess
from training.data.regions import MarkedFilm, MarkedFilms, Marks, Regions, regions_of
from training.evaluation.evaluate import Failures, plain

Array = npt.NDArray[np.float64]
FIGURES = (
    "energy_in_lungs",
    "lung_area",
    "energy_in_opacity",
    "opacity_area",
    "energy_in_opacity_lung_prior",
    "pointing_game",
    "pointing_game_centre",
    "pointing_game_lung_prior",
)
# What each figure is, for the table; a baseline stands below the figure that it belongs to.
_WORDS = {
    "energy_in_lungs": "evidence in the lungs",
    "lung_area": "  area of the lungs",
    "energy_in_opacity": "evidence on opacities",
    "opacity_area": "  area of the opacities",
    "energy_in_opacity_lung_prior": "  the same of the lung prior",
    "pointing_game": "maximum on an opacity",
    "pointing_game_centre": "  centre of the film",
    "pointing_game_lung_prior": "  lung prior",
}
_NO_LUNGS = "boxes do not outline the lungs"
_NO_OPACITY = "the masks outline lungs, not opacities"
_NO_FILM_WITH_OPACITY = "no film has an opacity"
_NO_OTHER_PATIENT = "a lung prior needs films of at least two patients"
_NO_MAP = "every map is empty"
_NO_LUNGS_FOUND = "no lungs were found in the films"
# Values of a map, in [0, 1], that are closer than this differ by rounding.
_EQUAL = 1e-6
# Grid on which the lungs of all films are averaged.
_PRIOR_PX = 224


@dataclass(frozen=True, slots=True)
class Localisation:
    """Localisation of one version's evidence maps.

    Attributes
    ----------
    version
        The version.
    marks
        What is marked: "lungs", "opacities" or "boxes", see `MarkedFilms`.
    n, n_patients
        Radiographs with an evidence map or an empty one, and their patients.
    n_opacity
        Those with a marked opacity.
    n_empty
        Those whose map is empty: no region raised the logit. They point nowhere, which the pointing game counts as
        missed, and have no evidence to divide.
    n_refused, n_outside
        Radiographs that the gate refused, which have no map; and those outside the training population, which have one
        that the page does not show by default.
    figures
        A `Measure` in [0, 1] for each name of `FIGURES`: mean over radiographs, 95 % interval by patient.
    missing
        Why a figure could not be measured, by its name.
    left_out
        As `MarkedFilms.left_out`.
    patients_known
        Whether every radiograph's patient is known; else a file counts as a patient.
    sha256
        SHA-256 of the measured files.
    """

    version: str
    marks: Marks
    n: int
    n_patients: int
    n_opacity: int
    n_empty: int
    n_refused: int
    n_outside: int
    figures: Mapping[str, Measure]
    missing: Mapping[str, str]
    left_out: Mapping[str, int]
    patients_known: bool
    sha256: tuple[str, ...] = ()


@dataclass(slots=True)
class _Measured:
    """One radiograph: its figures by name, and what the lung prior needs of it."""

    film: MarkedFilm
    sha256: str
    values: dict[str, float]
    lungs: npt.NDArray[np.float32]
    opacity: npt.NDArray[np.float32] | None
    is_empty: bool
    is_outside: bool
    has_opacity: bool = field(default=False)


def localise(classifier: Classifier, marked: MarkedFilms, tick: Tick | None = None) -> tuple[Localisation, Failures]:
    """Measure where the evidence maps of a classifier lie.

    Energy is the sum of a map over a region as a share of its sum over the film. The pointing game asks whether the
    map's maximum is on an opacity, without a margin around it; equal maxima count by their share. The lung prior of a
    film is the mean of the lungs of all *other* patients' films, over the whole film; where no lungs are marked it is
    the mean of the lungs that the anatomy network finds in them.

    Parameters
    ----------
    classifier
        The classifier.
    marked
        Radiographs with marked regions.
    tick
        Called with 1 after each radiograph.

    Returns
    -------
    tuple of (Localisation, Failures)
        The figures, and (path, reason) of each film or mask that could not be read.

    Raises
    ------
    DatasetError
        If no film has a map, or a box is not on its film.

    References
    ----------
    Pointing game: Zhang et al. 2018, doi 10.1007/s11263-017-1059-x. Energy: Wang et al. 2020, "Score-CAM",
    https://arxiv.org/abs/1910.01279.
    """
    failures: Failures = []
    measured: list[_Measured] = []
    refused = 0
    for film in marked.films:
        try:
            one = _measured(classifier, film, marked.marks)
        except (OSError, RadiographError) as error:
            failures.append((film.path, str(error)))
        else:
            refused += one is None
            measured += [] if one is None else [one]
        if tick is not None:
            tick(1)
    if not measured:
        raise DatasetError(
            "expected radiographs with an evidence map. Received: none that the classifier assesses",
            advice="Check that the folder holds frontal chest radiographs.",
        )
    _add_lung_prior(measured)
    figures, missing = _figures(measured, marked.marks)
    return Localisation(
        classifier.version,
        marked.marks,
        len(measured),
        len({one.film.patient for one in measured}),
        sum(one.has_opacity for one in measured),
        sum(one.is_empty for one in measured),
        refused,
        sum(one.is_outside for one in measured),
        figures,
        missing,
        marked.left_out,
        all(one.film.patient_known for one in measured),
        tuple(one.sha256 for one in measured),
    ), failures


def _measured(classifier: Classifier, film: MarkedFilm, marks: Marks) -> _Measured | None:
    """Assess one radiograph and divide its map among the regions; None for one that the gate refused."""
    assessment = assess(film.path.read_bytes(), classifier)
    radiograph, heatmap = assessment.radiograph, assessment.heatmap
    if radiograph is None:
        raise RadiographError(
            f"expected a radiograph. Received: {' '.join(assessment.reasons)}", advice="Leave the file out."
        )
    if heatmap is None:
        return None
    shape = (radiograph.height, radiograph.width)
    regions = regions_of(film, marks, shape)
    lungs = regions.lungs
    if lungs is None:
        # Without lungs a film adds nothing to the prior of the others.
        lungs = assessment.anatomy.outline(*shape) if assessment.anatomy else np.zeros(shape, np.bool_)
    return _Measured(
        film,
        radiograph.sha256,
        _shares(heatmap.values, regions),
        _reduced(lungs),
        None if regions.opacity is None else _reduced(regions.opacity),
        heatmap.is_empty,
        assessment.is_outside,
        regions.opacity is not None and bool(regions.opacity.any()),
    )


def _shares(values: npt.NDArray[np.float32], regions: Regions) -> dict[str, float]:
    """Return the figures of one map, (H, W) ≥ 0, that need no other film."""
    found: dict[str, float] = {}
    total = float(values.sum(dtype=np.float64))
    named = (("energy_in_lungs", "lung_area", regions.lungs), ("energy_in_opacity", "opacity_area", regions.opacity))
    for energy, area, region in named:
        if region is not None and total > 0 and (region.any() or energy == "energy_in_lungs"):
            found[energy] = float(values[region].sum(dtype=np.float64)) / total
            found[area] = float(region.mean())
    if regions.opacity is not None and regions.opacity.any():
        found["pointing_game"] = float(regions.opacity[values >= values.max() - _EQUAL].mean()) if total > 0 else 0.0
        height, width = values.shape
        found["pointing_game_centre"] = float(regions.opacity[height // 2, width // 2])
    return found


def _add_lung_prior(measured: Sequence[_Measured]) -> None:
    """Add the figures of the lung prior: for each film the mean of the lungs of other patients' films."""
    by_patient: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(measured):
        by_patient[one.film.patient].append(index)
    total = np.sum([one.lungs for one in measured], axis=0, dtype=np.float64)
    for members in by_patient.values():
        others = len(measured) - len(members)
        if not others:
            continue
        mean = (total - np.sum([measured[index].lungs for index in members], axis=0, dtype=np.float64)) / others
        # Sums of single precision: the last digits would decide between equal maxima.
        mean = np.round(mean, 6)
        for one in (measured[index] for index in members):
            if one.has_opacity and one.opacity is not None and mean.max() > 0:
                one.values["pointing_game_lung_prior"] = float(one.opacity[mean == mean.max()].mean())
                one.values["energy_in_opacity_lung_prior"] = float((mean * one.opacity).sum() / mean.sum())


def _reduced(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the share of each cell of a fixed grid that a region covers: float32 (224, 224)."""
    how = cv2.INTER_AREA if min(region.shape) > _PRIOR_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(region.astype(np.float32), (_PRIOR_PX, _PRIOR_PX), interpolation=how), np.float32)


def _figures(measured: Sequence[_Measured], marks: Marks) -> tuple[dict[str, Measure], dict[str, str]]:
    figures, missing = {}, {}
    nan = float("nan")
    for name in FIGURES:
        films = [one for one in measured if name in one.values]
        if films:
            values = np.array([one.values[name] for one in films])
            # A film hits or misses; shares of the map's energy lie in between.
            mean = proportion if name.startswith("pointing_game") else share_mean
            figures[name] = mean(values, [one.film.patient for one in films])
            continue
        figures[name] = Measure(nan, nan, nan)
        is_of_lungs = name in ("energy_in_lungs", "lung_area")
        if is_of_lungs and marks == "boxes":
            missing[name] = _NO_LUNGS
        elif not is_of_lungs and marks == "lungs":
            missing[name] = _NO_OPACITY
        elif not is_of_lungs and not any(one.has_opacity for one in measured):
            missing[name] = _NO_FILM_WITH_OPACITY
        elif name.endswith("lung_prior"):
            has_lungs = any(one.lungs.any() for one in measured)
            missing[name] = _NO_OTHER_PATIENT if has_lungs else _NO_LUNGS_FOUND
        else:
            missing[name] = _NO_MAP
    return figures, missing


def localisation_to_json(result: Localisation) -> str:
    """Return the figures as one flat JSON object: each with `_ci`, and null, with the reason, where not measured."""
    flat: dict[str, Any] = {"n": result.n}
    for name in FIGURES:
        measure = result.figures[name]
        flat[name] = measure.value
        flat[f"{name}_ci"] = None if name in result.missing else [measure.low, measure.high]
    flat |= {
        "missing": dict(result.missing),
        "marks": result.marks,
        "n_patients": result.n_patients,
        "n_opacity": result.n_opacity,
        "n_empty": result.n_empty,
        "n_refused": result.n_refused,
        "n_outside": result.n_outside,
        "patients_known": result.patients_known,
        "left_out": dict(result.left_out),
        "classifier_version": result.version,
    }
    return json.dumps(plain(flat), indent=1, ensure_ascii=False)


def localisation_to_text(result: Localisation, split: str) -> str:
    """Return `result`, measured on a `split`, as a table for a terminal, with what it does not cover."""
    lines = [
        f"{split}: n = {result.n} ({format_count(result.n_patients, 'patient')}), {result.n_opacity} with an opacity, "
        f"classifier {result.version}",
        "  mean over radiographs; 95 % intervals by patient",
    ]
    lines += [
        f"    {_WORDS[name]:<30}  {format_estimate(result.figures[name], 3)}"
        for name in FIGURES
        if name not in result.missing
    ]
    for reason in dict.fromkeys(result.missing.values()):
        names = [_WORDS[name].strip() for name, own in result.missing.items() if own == reason]
        lines.append(f"  not measured, because {reason}: {', '.join(names)}")
    if result.n_empty:
        lines.append(
            f"  {format_count(result.n_empty, 'map is', 'maps are')} empty (nothing raised the logit): missed in the "
            "pointing game, left out of the shares of evidence"
        )
    if result.n_refused:
        lines.append(f"  {format_count(result.n_refused, 'radiograph')} refused by the gate, without a map")
    if result.n_outside:
        lines.append(
            f"  {format_count(result.n_outside, 'radiograph')} outside the training population: the page does not show "
            "their maps by default"
        )
    if not result.patients_known:
        lines.append("  patients are not known for every radiograph; each of those counts as a patient of its own")
    lines += [f"  not used: {n} {reason}" for reason, n in result.left_out.items()]
    return "\n".join(lines)


def only(marked: MarkedFilms, sha256: Collection[str]) -> MarkedFilms:
    """Return those of `marked` whose file has one of the digests `sha256`; the others are counted as learned from.

    Raises
    ------
    DatasetError
        If there is none.
    """
    kept = tuple(film for film in marked.films if hashlib.sha256(film.path.read_bytes()).hexdigest() in sha256)
    if not kept:
        raise DatasetError(
            "expected marked radiographs of held-out patients. Received: none",
            advice="Name masks or boxes of radiographs that the version did not learn from.",
        )
    others = len(marked.films) - len(kept)
    more = {"films of patients that the version learned from": others} if others else {}
    return MarkedFilms(kept, marked.marks, {**marked.left_out, **more})


def drawn(marked: MarkedFilms, limit: int, seed: int = 0) -> MarkedFilms:
    """Draw at most `limit` radiographs of `marked` at random, by a `seed`; what is left out is counted."""
    if len(marked.films) <= limit:
        return marked
    chosen = sorted(np.random.default_rng(seed).permutation(len(marked.films))[:limit])
    return MarkedFilms(
        tuple(marked.films[index] for index in chosen),
        marked.marks,
        {**marked.left_out, "films beyond the limit": len(marked.films) - limit},
    )

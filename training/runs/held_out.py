"""Held-out radiographs of a run for comparing versions, and the training radiographs of each version among them.

They are the dataset's labelled test split, else the patients that the run held out. The figures of a version on its
own training radiographs, or on those of a version it was initialized from, are optimistic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import AppError, DatasetError
from core.progress import Tick
from core.settings import Settings
from model.card import ModelCard
from model.registry import load_card
from training.data.dataset import scan
from training.data.manifest import MANIFEST, ManifestRow, read_manifest_rows
from training.data.patients import BEFORE_0_2, patient_before_0_2
from training.data.sample import CLASSES, Sample, digest
from training.data.split import DUPLICATES_TOGETHER, HELD_OUT_DIGEST, PATIENT_RULES, hold_out, same_by_group
from training.evaluation.evaluate import labelled_test
from training.runs.request import finished_version, read_request

Split = Literal["test", "validation"]
# How `training.fitting.initial_weights.initial_weights_name` writes on a card that a training started from a version.
_STARTED_FROM = "version "


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Radiographs of a comparison with their SHA-256, empty for a file that cannot be opened."""

    split: Split
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class TrainingOverlap:
    """Training radiographs of a version, or of one that it was initialized from, among those of a comparison.

    `films` counts them; `unknown` names the versions whose training radiographs are not on record.
    """

    films: int
    unknown: tuple[str, ...] = ()


def held_out_films(run_folder: Path) -> HeldOut:
    """Return the radiographs on which the version of a run is compared.

    Raises
    ------
    DatasetError
        If the folder is gone, or a held-out radiograph differs from that of the run.
    """
    request = read_request(run_folder).data
    test = labelled_test(scan(request))
    split: Split = "test" if test else "validation"
    wanted = test or tuple(
        replace(row.sample, path=request.roots[row.root] / row.sample.path)
        for row in read_manifest_rows(run_folder / MANIFEST)
        if row.part == "validation" and row.root < len(request.roots)
    )
    samples = []
    for sample in wanted:
        try:
            found = hashlib.sha256(sample.path.read_bytes()).hexdigest()
        except OSError:
            found = ""
        if split == "validation" and found != sample.sha256:
            raise DatasetError(
                "expected the radiographs that the run held out. Received: a folder that has changed since then",
                advice="Restore the folder as it was when the run began, or start a new run.",
            )
        samples.append(replace(sample, sha256=found))
    return HeldOut(split, tuple(samples))


def read_manifest(run_folder: Path) -> tuple[tuple[Sample, str], ...]:
    """Return a run's radiographs from split.csv, each with its part.

    Returns
    -------
    tuple of (Sample, str)
        The part is "train" or "validation"; paths are below the folder of their source.

    Raises
    ------
    DatasetError
        If split.csv is missing or damaged.
    """
    return tuple((row.sample, row.part) for row in read_manifest_rows(run_folder / MANIFEST))


def keeps_duplicates(run_folder: Path) -> bool:
    """Return whether the split of a run keeps the same pictures together: all but those begun before this was so.

    Raises
    ------
    DatasetError
        If split.csv is damaged.
    """
    manifest = run_folder / MANIFEST
    return not manifest.exists() or any(row.group for row in read_manifest_rows(manifest))


def training_overlap(settings: Settings, version: str, run_folder: Path, films: Sequence[Sample]) -> TrainingOverlap:
    """Count the radiographs on which a version, or one that it was initialized from, was trained.

    The run's split serves every version that was made from the same dataset.

    Parameters
    ----------
    settings
        The installation.
    version
        Name of the version.
    run_folder
        The run.
    films
        Radiographs of a comparison; those without SHA-256 are not counted.

    Raises
    ------
    DatasetError
        If split.csv of the run is missing or damaged.
    """
    wanted = {film.sha256 for film in films if film.sha256}
    manifest = read_manifest_rows(run_folder / MANIFEST)
    seen: set[str] = set()
    unknown = []
    for name, card in lineage(settings, version):
        fitted = None if card is None else _fitted_on(settings, card, manifest)
        if fitted is None:
            unknown.append(name)
        else:
            seen |= fitted & wanted
    return TrainingOverlap(sum(film.sha256 in seen for film in films), tuple(unknown))


def lineage(settings: Settings, version: str) -> Iterator[tuple[str, ModelCard | None]]:
    """Yield a version and those that it was initialized from, newest first.

    Parameters
    ----------
    settings
        The installation.
    version
        Name of the first version.

    Yields
    ------
    tuple of (str, ModelCard or None)
        Name and card; None where the card is missing, which ends the lineage.
    """
    past: set[str] = set()
    while version and version not in past:
        past.add(version)
        try:
            card = load_card(settings, version)
        except AppError:
            yield version, None
            return
        yield version, card
        start = str(card.training.get("backbone_weights", ""))
        version = start.removeprefix(_STARTED_FROM) if start.startswith(_STARTED_FROM) else ""


def _fitted_on(settings: Settings, card: ModelCard, manifest: Sequence[ManifestRow]) -> frozenset[str] | None:
    """Return the SHA-256 of a version's training radiographs, None where they are not on record."""
    for run in settings.runs_dir.glob("*/"):
        if made_version(run) == card.version:
            try:
                return frozenset(s.sha256 for s, part in read_manifest(run) if part == "train")
            except DatasetError:
                break
    samples = [row.sample for row in manifest]
    if not samples or card.data.get("digest") != digest(samples):
        return None
    return _split_again(card, manifest)


def _split_again(card: ModelCard, manifest: Sequence[ManifestRow]) -> frozenset[str] | None:
    """Repeat the split of a version that was trained elsewhere on the same data, as its card describes it.

    A version whose split keeps the same pictures together needs the groups of a run that does so too.
    """
    together = bool(card.data.get(DUPLICATES_TOGETHER))
    if together and not all(row.group for row in manifest):
        return None
    if BEFORE_0_2 in card.data.get(PATIENT_RULES, (BEFORE_0_2,)):
        manifest = [replace(row, sample=_as_before(row.sample)) for row in manifest]
    val = [row.sample for row in manifest if row.split == "val"]
    train = [row.sample for row in manifest if row.split != "val"]
    # Both lists are in the order of the manifest, and [*train, *val] is that of `hold_out`.
    ordered = [row for of_val in (False, True) for row in manifest if (row.split == "val") is of_val]
    same = same_by_group([row.group for row in ordered]) if together else ()
    try:
        out = hold_out(train, val, float(card.training["validation_fraction"]), int(card.training["seed"]), same)
        counts = {name: int(card.data["validation"][name]) for name in CLASSES}
    except (KeyError, TypeError, ValueError):
        return None
    kept = [s for s, held in zip([*train, *val], out, strict=True) if held]
    if counts != {name: sum(s.label == label for s in kept) for label, name in enumerate(CLASSES)}:
        return None  # the split differs
    if HELD_OUT_DIGEST in card.data and card.data[HELD_OUT_DIGEST] != digest(kept):
        return None  # patients were found in another way
    return frozenset(s.sha256 for s, held in zip([*train, *val], out, strict=True) if not held)


def _as_before(sample: Sample) -> Sample:
    """Return a sample with the patient that versions before 0.2.0 found."""
    return replace(sample, patient=patient_before_0_2(sample.path.name)[0])


def made_version(run_folder: Path) -> str | None:
    """Return the name of the version that a run has made, None while it has made none."""
    made = finished_version(run_folder)
    return None if made is None else made.name


def held_out_sha256(settings: Settings, card: ModelCard, root: Path, tick: Tick | None = None) -> frozenset[str]:
    """Return the SHA-256 of the radiographs of patients from whom a version did not learn.

    They are on record in the run that made the version; else its split is repeated.

    Parameters
    ----------
    settings
        The installation.
    card
        The card of the version.
    root
        The dataset folder that the version was trained with.
    tick
        Called with 1 after each file.

    Raises
    ------
    DatasetError
        If there is no such run, and the folder does not hold the radiographs that the version was trained with.
    """
    for run in settings.runs_dir.glob("*/"):
        if made_version(run) == card.version:
            return frozenset(sample.sha256 for sample, part in read_manifest(run) if part == "validation")
    folder = scan(root)
    rows = []
    for split, samples in (("train", folder.train), ("val", folder.val)):
        for sample in samples:
            known = replace(sample, sha256=hashlib.sha256(sample.path.read_bytes()).hexdigest())
            rows.append(ManifestRow(known, "", split=split))
            if tick is not None:
                tick(1)
    every = frozenset(row.sample.sha256 for row in rows)
    is_same = card.data.get("digest") == digest(row.sample for row in rows)
    fitted = _split_again(card, rows) if is_same else None
    if fitted is None:
        raise DatasetError(
            f"expected the radiographs that {card.version} was trained with, or its run. Received: neither",
            advice="Name the folder that the version was trained with, unchanged, or leave out --held-out.",
        )
    return every - fitted

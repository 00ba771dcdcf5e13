"""Comparison of a run's version with another one on the radiographs that the run held out.

Both classify every radiograph; on a sample, robustness to mild perturbations is measured as well; and both evidence
maps are drawn for the radiographs with the largest disagreement. See `training.runs.candidate` for the files.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import ClassifierError, DatasetError
from core.files import write_atomically
from core.formatting import format_count
from core.progress import Progress, Report, ignore
from core.settings import Settings
from imaging.radiograph import decode_radiograph, to_uint8
from model.calibration import probabilities
from model.card import ModelCard
from model.engine import Classifier, load_classifier
from model.examination import examine
from model.overlay import overlay
from model.pipeline import evidence_of
from model.registry import version_folder
from training.data.sample import CLASSES, Sample, digest
from training.data.split import groups_of
from training.data.style_features import StyleFeatures
from training.evaluation.compare import Comparison, Disagreement, Scores, compare_scores, group_differences
from training.evaluation.evaluate import evaluate_scores, score_side_by_side
from training.evaluation.groups import memberships, styles_of
from training.evaluation.looks import recorder
from training.evaluation.robustness import PERTURBATIONS, robustness
from training.runs import candidate, processes
from training.runs.candidate import ROBUSTNESS_FILMS
from training.runs.candidate_result import CandidateComparison, DifferingFilm, result_to_json
from training.runs.held_out import HeldOut, TrainingOverlap, held_out_films, training_overlap
from training.runs.jobs import started_by

# Longer side of the pictures with evidence maps.
PICTURE_PX = 480
OPACITY = 0.5
_SECONDS_BETWEEN_STATUS = 0.5
_MILD = tuple(one for one in PERTURBATIONS if one.mild)
Load = Callable[[Path, Sequence[str]], Classifier]


def compare_run(
    settings: Settings,
    run_folder: Path,
    report: Report = ignore,
    load: Load = load_classifier,
) -> CandidateComparison:
    """Make the comparison that the run's comparison/request.json asks for, and write comparison.json beside it.

    Parameters
    ----------
    settings
        The installation with both versions.
    run_folder
        The run.
    report
        Called with the forward passes done and in total, as they are written to status.json.
    load
        Loads the classifier of a folder; takes the trusted architectures as well.

    Raises
    ------
    DatasetError
        If the held-out radiographs cannot be used; no comparison.json is written then.
    ClassifierError
        If a version is missing or has changed since the request.
    """
    folder = run_folder / candidate.FOLDER
    asked = processes.read_json(folder / candidate.REQUEST)
    status = _Status(folder, report)
    status.phase("checking the held-out radiographs")
    held = held_out_films(run_folder)
    status.phase("loading both classifiers")
    own, other = (_loaded(settings, asked, side, load) for side in ("candidate", "against"))

    sample = stratified(held.samples, ROBUSTNESS_FILMS)
    status.begin(candidate.forward_passes(len(held.samples)))
    status.phase("classifying the radiographs with both versions")
    styled = own.card if own.card.styles else other.card
    features: list[StyleFeatures] = []
    used, logits, failures = score_side_by_side(
        (own, other), held.samples, lambda n: status.done(2 * n), features=features if styled.styles else None
    )
    styles = styles_of(styled, features)
    if {film.label for film in used} != set(range(len(CLASSES))):
        raise DatasetError(
            "expected readable held-out radiographs of both classes. Received: one class",
            advice="Add radiographs with and without pneumonia, then train again.",
        )
    recorder(settings, "compare", started_by(run_folder))(used, (own.version, other.version), held.split)
    labels, patients = np.array([film.label for film in used]), groups_of(used)
    first, second = (
        Scores(one.version, probabilities(row, one.card.calibration), one.card.operating_point.probability)
        for one, row in zip((own, other), logits, strict=True)
    )
    comparison = dataclasses.replace(
        compare_scores(labels, patients, first, second),
        group_differences=group_differences(memberships(used, styles), labels, patients, first, second),
    )
    status.phase("drawing the radiographs with the largest disagreement")
    films = tuple(
        _drawn(folder, place, used[film.index], film, own, other)
        for place, film in enumerate(comparison.disagreeing, start=1)
    )
    left_out = {path for path, _ in failures}
    status.phase("measuring the robustness to perturbations")
    rows, rows_against = (
        robustness(one, sample, _MILD, lambda n: status.done(n * (1 + len(_MILD))))[0] for one in (own, other)
    )

    learned, learned_against = (training_overlap(settings, one.version, run_folder, used) for one in (own, other))
    result = CandidateComparison(
        candidate=own.version,
        against=other.version,
        candidate_sha256=own.card.sha256,
        against_sha256=other.card.sha256,
        split=held.split,
        films_digest=digest(used),
        n=len(used),
        left_out=len(failures),
        patients=_patients(used),
        comparison=comparison,
        evaluation=evaluate_scores(own.card, used, logits[0], held.split, styles),
        evaluation_against=evaluate_scores(other.card, used, logits[1], held.split, styles),
        robustness=rows,
        robustness_against=rows_against,
        films=films,
        learned=learned,
        learned_against=learned_against,
        remarks=remarks(own.card, other.card, held, comparison, learned, learned_against, len(failures), rows[0].n),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds_each=status.seconds_each,
        unreadable=tuple(place for place, film in enumerate(held.samples) if film.path in left_out),
    )
    write_atomically(folder / candidate.RESULT, result_to_json(result))
    return result


class _Status:
    """Writes the progress, at most twice a second within a phase, and measures the time of a forward pass."""

    def __init__(self, folder: Path, report: Report) -> None:
        self._folder, self._report = folder, report
        self._phase, self._done, self._total, self._began, self._written = "", 0, 0, 0.0, 0.0

    def begin(self, total: int) -> None:
        self._total, self._began = total, time.monotonic()

    def phase(self, name: str) -> None:
        self._phase = name
        self._write()

    def done(self, n: int) -> None:
        self._done += n
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_STATUS or self._done >= self._total:
            self._write()

    @property
    def seconds_each(self) -> float:
        return (time.monotonic() - self._began) / max(1, self._done)

    def _write(self) -> None:
        self._written = time.monotonic()
        left = self.seconds_each * max(0, self._total - self._done) if self._done else None
        processes.write_status(self._folder, phase=self._phase, done=self._done, total=self._total, seconds_left=left)
        self._report(Progress(self._phase, self._done, self._total))


def _loaded(settings: Settings, asked: dict[str, str], side: str, load: Load) -> Classifier:
    classifier = load(version_folder(settings, str(asked.get(side))), settings.architectures)
    if classifier.card.sha256 != asked.get(f"{side}_sha256"):
        raise ClassifierError(
            f"expected {classifier.version} with the weights of the request. Received: other weights",
            advice="Start the comparison again.",
        )
    return classifier


def stratified(samples: Sequence[Sample], most: int, seed: int = 0) -> tuple[Sample, ...]:
    """Draw a sample with the same share of each class, in the order of `samples`.

    Parameters
    ----------
    samples
        All samples.
    most
        Largest number drawn; at least one of each class that is present is kept.
    seed
        Of the draw.

    Returns
    -------
    tuple of Sample
        The same for the same arguments.
    """
    if len(samples) <= most:
        return tuple(samples)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in range(len(CLASSES)):
        members = [i for i, sample in enumerate(samples) if sample.label == label]
        if members:
            wanted = max(1, int(most * len(members) / len(samples)))
            chosen += [int(i) for i in rng.permutation(members)[:wanted]]
    return tuple(samples[i] for i in sorted(chosen))


def _patients(samples: Sequence[Sample]) -> tuple[int, int]:
    normal, positive = (len({s.patient for s in samples if s.label == label}) for label in range(len(CLASSES)))
    return normal, positive


def _drawn(
    folder: Path, place: int, sample: Sample, film: Disagreement, own: Classifier, other: Classifier
) -> DifferingFilm:
    """Draw a radiograph without and with each evidence map; the file names begin with its place."""
    radiograph = decode_radiograph(sample.path.read_bytes())
    grey = _reduced(to_uint8(radiograph))
    names = [f"{place:02d}-{what}.png" for what in ("film", "candidate", "in-use")]
    _write_png(folder / names[0], grey)
    empty = []
    for name, classifier in zip(names[1:], (own, other), strict=True):
        heatmap = evidence_of(examine(radiograph, classifier), classifier, (grey.shape[0], grey.shape[1]))
        empty.append(heatmap.is_empty)
        _write_png(folder / name, overlay(grey, heatmap.values, OPACITY)[:, :, ::-1])
    return DifferingFilm(
        film.index, film.label, film.probability_a, film.probability_b, names[0], names[1], names[2], empty[0], empty[1]
    )


def _reduced(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = picture.shape
    scale = PICTURE_PX / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write_png(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    write_atomically(path, cv2.imencode(".png", picture)[1].tobytes())


def remarks(
    own: ModelCard,
    other: ModelCard,
    held: HeldOut,
    comparison: Comparison,
    learned: TrainingOverlap,
    learned_against: TrainingOverlap,
    left_out: int,
    robust_n: int,
) -> tuple[str, ...]:
    """Return the remarks on a comparison: its radiographs, and possible bias of the figures.

    Parameters
    ----------
    own, other
        Model cards of the candidate and of the other version.
    held
        Radiographs of the comparison.
    comparison
        The comparison of the two.
    learned, learned_against
        Training radiographs of the candidate and of the other version among them.
    left_out
        Number of unreadable radiographs.
    robust_n
        Number of radiographs on which robustness was measured.

    Returns
    -------
    tuple of str
        One remark in one or two sentences each.
    """
    sample = f"{comparison.n} radiographs of {comparison.n_patients} patients"
    same_data = own.data.get("digest") is not None and own.data.get("digest") == other.data.get("digest")
    same_split = same_data and own.data.get("validation") == other.data.get("validation")
    found = (
        [f"Compared on the test split: {sample}."]
        if held.split == "test"
        else [
            f"Compared on the held-out validation patients of {own.version}: {sample}. The data has no test split with "
            f"both classes. The operating point and the calibration of {own.version} were chosen on these radiographs, "
            "which biases the comparison in its favour."
        ]
    )
    if same_data:
        found.append(
            "Both versions were trained on the same dataset, "
            + ("with the same number of radiographs held out." if same_split else "with different splits.")
        )
    if learned_against.films:
        found.append(
            f"{learned_against.films} of these radiographs were used to train {other.version} or a version it was "
            "initialized from; its figures are optimistic."
        )
    elif learned_against.unknown:
        found.append(
            f"It is unknown whether these radiographs were used to train {other.version}: the training data of "
            f"{' and '.join(learned_against.unknown)} is not on record. If so, its figures are optimistic."
        )
    elif held.split == "validation" and same_split:
        found.append(f"None of these radiographs was used to train {other.version}, but it was calibrated on them too.")
    else:
        found.append(f"None of these radiographs was used to train {other.version}.")
    if learned.films:
        found.append(
            f"{learned.films} of these radiographs were used to train a version from which {own.version} was "
            "initialized, or are copies of its training radiographs; its figures are optimistic."
        )
    elif learned.unknown:
        found.append(
            f"{own.version} was initialized from {' and '.join(learned.unknown)}, whose training data is not on "
            "record. If it included these radiographs, the figures are optimistic."
        )
    if left_out:
        found.append(
            f"{format_count(left_out, 'radiograph')} {'was' if left_out == 1 else 'were'} unreadable and excluded."
        )
    found.append(f"Robustness was measured on {robust_n} of them, with the same share of both classes.")
    return tuple(found)

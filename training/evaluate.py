"""Evaluate a classifier version on a folder, through the same code that serves the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import probabilities
from model.card import MEASURES, Evaluation
from model.engine import Classifier
from model.errors import DatasetError, RadiographError
from model.metrics import evaluate
from model.radiograph import decode_radiograph, network_input
from training.dataset import CLASSES, DatasetFolder, Sample, scan_folder

BATCH = 16


def evaluate_folder(
    classifier: Classifier, root: Path, split: str | None = None, progress: Callable[[int], object] | None = None,
) -> tuple[Evaluation, list[tuple[Path, str]]]:
    """Evaluate on a folder with NORMAL/ and PNEUMONIA/: (evaluation, files that could not be read with the reason).

    `progress` is called with the number of files done since the last call. Raises DatasetError when nothing is left.
    """
    return evaluate_samples(classifier, scan_folder(root).train, split or root.name, progress)


def evaluate_samples(
    classifier: Classifier, samples: Sequence[Sample], split: str, progress: Callable[[int], object] | None = None,
) -> tuple[Evaluation, list[tuple[Path, str]]]:
    """Evaluate on samples; see `evaluate_folder`."""
    logits: list[npt.NDArray[np.float32]] = []
    used: list[Sample] = []
    failures: list[tuple[Path, str]] = []
    for start in range(0, len(samples), BATCH):
        pictures = []
        for sample in samples[start:start + BATCH]:
            try:
                radiograph = decode_radiograph(sample.path.read_bytes())
            except (OSError, RadiographError) as error:
                failures.append((sample.path, str(error)))
                continue
            pictures.append(network_input(radiograph, classifier.input_px, classifier.detail_px))
            used.append(sample)
        if pictures:
            logits.append(classifier.run(np.stack(pictures))[0])
        if progress is not None:
            progress(len(samples[start:start + BATCH]))
    if not used:
        raise DatasetError("expected readable radiographs. Received: none",
                           advice="Check that the folder holds JPEG or PNG radiographs.")
    card = classifier.card
    return evaluate(
        split, np.array([s.label for s in used]), probabilities(np.concatenate(logits), card.calibration),
        card.operating_point.probability, [s.patient for s in used]), failures


def labelled_test(folder: DatasetFolder) -> tuple[Sample, ...]:
    """Return the folder's own test part, empty when it lacks a class."""
    return folder.test if {s.label for s in folder.test} == set(range(len(CLASSES))) else ()


def evaluation_to_json(evaluation: Evaluation, version: str) -> str:
    """Return the evaluation as one flat JSON object; an undefined figure is null."""
    flat: dict[str, Any] = {"n": evaluation.n}
    for name in MEASURES:
        measure = evaluation.measures[name]
        flat[name] = _number(measure.value)
        flat[f"{name}_ci"] = [_number(measure.low), _number(measure.high)]
    flat |= {"tp": evaluation.tp, "fp": evaluation.fp, "tn": evaluation.tn, "fn": evaluation.fn,
             "classifier_version": version}
    return json.dumps(flat, indent=1)


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def evaluation_to_text(evaluation: Evaluation, version: str) -> str:
    """Return the evaluation as a table for a terminal."""
    lines = [f"{evaluation.split}: n = {evaluation.n}, classifier {version}, "
             f"operating point {evaluation.operating_point:.3f}",
             f"  pneumonia: {evaluation.tp} found, {evaluation.fn} missed; "
             f"normal: {evaluation.tn} right, {evaluation.fp} called pneumonia"]
    for name in MEASURES:
        measure = evaluation.measures[name]
        lines.append(f"  {name:<12} {measure.value:6.3f}  ({measure.low:.3f}–{measure.high:.3f})")
    return "\n".join(lines)
